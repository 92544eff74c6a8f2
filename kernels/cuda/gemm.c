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

// As the table knows it: an algorithm goes with the way that a bias is added.
static struct algorithm_key table_key(const struct product *p) {
    struct algorithm_key key = p->key;
    key.bias = p->bias_before ? 2 : key.bias;
    return key;
}

// *good: p has an algorithm, from the table, or else the library's first answer.
static bool choose(
        const struct gemm *g, struct product *p, bool *good, struct kernel_error *err) {
    _Static_assert(sizeof(p->algorithm) == ALGORITHM_BYTES, "the library's own size");
    cublasLtMatmulAlgo_t candidates[PRODUCT_CANDIDATES];
    struct algorithm_key key = table_key(p);
    const unsigned char *known = algorithms_find(g->algorithms, &g->machine, &key);
    int count = 0;
    *good = true;
    if (known) {
        memcpy(&p->algorithm, known, sizeof(p->algorithm));
        return product_allows(p, g->handle, &p->algorithm) ||
               kernel_fail(err, KERNEL_FAILED,
                       "cuBLASLt refuses the algorithm in the tuning table for a "
                       "product %lld × %lld × %lld (delete the table to time anew)",
                       (long long)key.m, (long long)key.n, (long long)key.k);
    }
    if (!product_candidates(p, g->handle, candidates, &count, err)) {
        return false;
    }
    *good = count > 0;
    if (*good) {
        p->algorithm = candidates[0];
    }
    return true;
}

// A product ready to run: its bias as an epilogue, or where that is not to be had,
// filled in before.
static bool describe(const struct gemm *g, struct product *p,
        const struct algorithm_key *key, struct kernel_error *err) {
    for (int before = 0; before <= (key->bias ? 1 : 0); before++) {
        bool good = false;
        if (!product_init(p, key, before, err)) {
            return false;
        }
        bool asked = choose(g, p, &good, err);
        if (asked && good) {
            return true;
        }
        product_finish(p);
        if (!asked) {
            return false;
        }
    }
    return no_algorithm(key, err);
}

static bool find_product(struct gemm *g, const struct algorithm_key *key,
        struct product **out, struct kernel_error *err) {
    if (2 * (g->count + 1) > g->room && !grow(g, err)) {
        return false;
    }
    *out = &g->products[place(g, key)];
    if (!(*out)->operation) {
        if (!describe(g, *out, key, err)) {
            return false;
        }
        g->count++;
    }
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
    if (!find_product(g, &key, &p, err)) {
        return false;
    }
    key = table_key(p);
    return algorithms_find(g->algorithms, &g->machine, &key) ||
           (tune_product(p, g->handle, stream, &plain, &microseconds, err) &&
                   algorithms_put(g->algorithms, &g->machine, &key,
                           (const unsigned char *)&p->algorithm, microseconds, err));
}

bool cuda_tuning_save(
        struct stream *stream, const char *path, struct kernel_error *err) {
    return algorithms_save(stream->gemm->algorithms, path, err);
}

void cuda_tuning_digest(struct stream *stream, char digest[17]) {
    algorithms_digest(stream->gemm->algorithms, &stream->gemm->machine, digest);
}
