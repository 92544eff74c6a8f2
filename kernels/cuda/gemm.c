#include "kernels/cuda/gemm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/fill.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/tune.h"

struct gemm {
    cublasLtHandle_t handle;
    enum math math;
    struct algorithm_machine machine;
    struct algorithms *algorithms;
    /* Products met so far, by hash of their key; a free place has no operation. */
    struct product *products;
    size_t count, room; /* room: a power of two, at most half used */
};

/* -- what this is timed on ----------------------------------------------------------
 */

// The kernel module's version, e.g. "580.95.05"; "" where the system does not tell.
static void module_version(char *out, size_t size) {
    FILE *file = fopen("/sys/module/nvidia/version", "re");
    out[0] = 0;
    if (file) {
        if (!fgets(out, (int)size, file)) {
            out[0] = 0;
        }
        fclose(file);
    }
    out[strcspn(out, "\t\n")] = 0;
}

static bool find_machine(
        struct algorithm_machine *machine, int device, struct kernel_error *err) {
    struct cudaDeviceProp properties;
    int driver = 0;
    char module[32];
    if (!cuda_done(cudaGetDeviceProperties(&properties, device),
                "asking for the device's name", err) ||
            !cuda_done(cudaDriverGetVersion(&driver), "asking for the driver's version",
                    err)) {
        return false;
    }
    module_version(module, sizeof(module));
    // Cards of one name differ in their multiprocessors where some are switched off.
    snprintf(machine->gpu, sizeof(machine->gpu), "%.96s, %d SMs", properties.name,
            properties.multiProcessorCount);
    snprintf(machine->driver, sizeof(machine->driver), "CUDA %d%s%s", driver,
            module[0] ? ", driver " : "", module);
    snprintf(machine->library, sizeof(machine->library), "cuBLASLt %zu",
            cublasLtGetVersion());
    return true;
}

bool gemm_create(const struct stream_options *options, struct gemm **out,
        struct kernel_error *err) {
    *out = NULL;
    struct gemm *g = calloc(1, sizeof(*g));
    if (!g) {
        return kernel_fail(err, KERNEL_OUT_OF_MEMORY, "no memory for GEMM algorithms");
    }
    g->math = options->math;
    if (!product_done(cublasLtCreate(&g->handle), "opening cuBLASLt", err) ||
            !find_machine(&g->machine, options->device, err) ||
            !algorithms_read(&g->algorithms, options->tuning, err)) {
        gemm_destroy(g);
        return false;
    }
    *out = g;
    return true;
}

void gemm_destroy(struct gemm *g) {
    if (!g) {
        return;
    }
    for (size_t i = 0; i < g->room; i++) {
        product_finish(&g->products[i]);
    }
    free(g->products);
    algorithms_destroy(g->algorithms);
    if (g->handle) {
        (void)cublasLtDestroy(g->handle);
    }
    free(g);
}

/* -- products met so far ------------------------------------------------------------
 */

static size_t place(const struct gemm *g, const struct algorithm_key *key) {
    uint64_t words[sizeof(*key) / sizeof(uint64_t)], h = 0xcbf29ce484222325u;
    memcpy(words, key, sizeof(words));
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
        h = (h ^ words[i]) * 0x100000001b3u;
        h ^= h >> 32;
    }
    size_t at = (size_t)h & (g->room - 1);
    while (g->products[at].operation &&
            memcmp(&g->products[at].key, key, sizeof(*key)) != 0) {
        at = (at + 1) & (g->room - 1);
    }
    return at;
}

static bool grow(struct gemm *g, struct kernel_error *err) {
    struct gemm larger = {.room = g->room ? 2 * g->room : 64};
    larger.products = calloc(larger.room, sizeof(*larger.products));
    if (!larger.products) {
        return kernel_fail(err, KERNEL_OUT_OF_MEMORY, "no memory for matrix products");
    }
    for (size_t i = 0; i < g->room; i++) {
        if (g->products[i].operation) {
            larger.products[place(&larger, &g->products[i].key)] = g->products[i];
        }
    }
    free(g->products);
    g->products = larger.products;
    g->room = larger.room;
    return true;
}

static bool no_algorithm(const struct algorithm_key *k, struct kernel_error *err) {
    return kernel_fail(err, KERNEL_UNSUPPORTED,
            "cuBLASLt has no algorithm for a product %lld × %lld × %lld of %s into %s",
            (long long)k->m, (long long)k->n, (long long)k->k,
            dtype_name((enum dtype)k->type), dtype_name((enum dtype)k->out_type));
}

// A product whose candidates exist: with its bias as an epilogue, or else filled in.
static bool describe(struct product *p, const struct gemm *g,
        const struct algorithm_key *key, struct kernel_error *err) {
    for (int before = 0; before <= (key->bias ? 1 : 0); before++) {
        cublasLtMatmulAlgo_t candidates[PRODUCT_CANDIDATES];
        int count = 0;
        if (!product_init(p, key, before, err)) {
            return false;
        }
        if (!product_candidates(p, g->handle, candidates, &count, err)) {
            product_finish(p);
            return false;
        }
        if (count > 0) {
            p->algorithm = candidates[0];
            return true;
        }
        product_finish(p);
    }
    return no_algorithm(key, err);
}

// The algorithm that the table holds, if any.
static bool take_chosen(
        struct product *p, const struct gemm *g, struct kernel_error *err) {
    const unsigned char *chosen = algorithms_find(g->algorithms, &g->machine, &p->key);
    _Static_assert(sizeof(p->algorithm) == ALGORITHM_BYTES, "the library's own size");
    if (!chosen) {
        return true;
    }
    memcpy(&p->algorithm, chosen, sizeof(p->algorithm));
    return product_allows(p, g->handle, &p->algorithm) ||
           kernel_fail(err, KERNEL_DEVICE_FAULT,
                   "cuBLASLt refuses the algorithm in the tuning table for a product "
                   "%lld × %lld × %lld (delete the table to time anew)",
                   (long long)p->key.m, (long long)p->key.n, (long long)p->key.k);
}

static bool find_product(struct gemm *g, const struct algorithm_key *key,
        struct product **out, struct kernel_error *err) {
    if (2 * (g->count + 1) > g->room && !grow(g, err)) {
        return false;
    }
    struct product *p = &g->products[place(g, key)];
    if (!p->operation) {
        if (!describe(p, g, key, err)) {
            return false;
        }
        if (!take_chosen(p, g, err)) {
            product_finish(p);
            return false;
        }
        g->count++;
    }
    *out = p;
    return true;
}

bool gemm_run(struct stream *stream, const struct gemm_call *call, void *workspace,
        struct kernel_error *err) {
    struct gemm *g = stream->gemm;
    struct algorithm_key key = product_key(call, g->math);
    struct product *p;
    return find_product(g, &key, &p, err) &&
           (!p->bias_before || fill_rows(stream, call->out, call->out_type, call->m,
                                       call->n, call->ldout, call->bias, err)) &&
           product_launch(p, g->handle, call, workspace, stream->handle, err);
}

/* -- the table ----------------------------------------------------------------------
 */

bool gemm_tune(
        struct stream *stream, const struct gemm_call *call, struct kernel_error *err) {
    struct gemm *g = stream->gemm;
    struct gemm_call plain = *call;
    struct product *p;
    double microseconds;
    plain.a = plain.b = plain.out = NULL;
    plain.bias = call->bias ? (const void *)16 : NULL; // as aligned as operands are
    struct algorithm_key key = product_key(&plain, g->math);
    if (algorithms_find(g->algorithms, &g->machine, &key)) {
        return true;
    }
    return find_product(g, &key, &p, err) &&
           tune_product(p, g->handle, stream, &plain, &microseconds, err) &&
           algorithms_put(g->algorithms, &g->machine, &key,
                   (const unsigned char *)&p->algorithm, microseconds, err);
}

bool cuda_tuning_save(
        struct stream *stream, const char *path, struct kernel_error *err) {
    return algorithms_save(stream->gemm->algorithms, path, err);
}

void cuda_tuning_digest(struct stream *stream, char digest[17]) {
    algorithms_digest(stream->gemm->algorithms, &stream->gemm->machine, digest);
}
