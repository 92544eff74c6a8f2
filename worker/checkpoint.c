#include "worker/checkpoint.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/safetensors.h"

enum { PIECES_MAX = 3 };

/* Rows of one of our parameters, as one tensor of theirs. */
struct piece {
    char name[SAFETENSORS_NAME];
    int64_t first_row, rows, columns; /* columns 0: a vector */
    bool transposed;
};

/* `name` with the word `from` replaced. */
static void rename_to(
        struct piece *piece, const char *name, const char *from, const char *to) {
    const char *at = strstr(name, from);
    snprintf(piece->name, sizeof piece->name, "%.*s%s%s", (int)(at - name), name, to,
            at + strlen(from));
}

static int pieces_of(const struct parameter *p, struct piece out[PIECES_MAX]) {
    int64_t rows = p->size[0], columns = p->rank == 2 ? p->size[1] : 0;
    bool linear = strstr(p->name, "c_attn") || strstr(p->name, "c_proj") ||
                  strstr(p->name, "c_fc");
    if (strstr(p->name, "qkv_proj")) {
        int64_t queries = columns, keys = (rows - queries) / 2;
        out[0] = (struct piece){.rows = queries, .columns = columns};
        out[1] = (struct piece){.first_row = queries, .rows = keys, .columns = columns};
        out[2] = (struct piece){
                .first_row = queries + keys, .rows = keys, .columns = columns};
        rename_to(&out[0], p->name, "qkv_proj", "q_proj");
        rename_to(&out[1], p->name, "qkv_proj", "k_proj");
        rename_to(&out[2], p->name, "qkv_proj", "v_proj");
        return 3;
    }
    if (strstr(p->name, "gate_up_proj")) {
        out[0] = (struct piece){.rows = rows / 2, .columns = columns};
        out[1] = (struct piece){
                .first_row = rows / 2, .rows = rows / 2, .columns = columns};
        rename_to(&out[0], p->name, "gate_up_proj", "gate_proj");
        rename_to(&out[1], p->name, "gate_up_proj", "up_proj");
        return 2;
    }
    out[0] = (struct piece){
            .rows = rows, .columns = columns, .transposed = linear && columns};
    snprintf(out[0].name, sizeof out[0].name, "%s", p->name);
    return 1;
}

/* Where element `i` of the parameter's rows from `first_row` on stands in the piece. */
static int64_t position(const struct piece *piece, int64_t i) {
    return piece->transposed ? i % piece->columns * piece->rows + i / piece->columns
                             : i;
}

static struct tensor piece_shape(const struct piece *piece) {
    bool turned = piece->transposed;
    return (struct tensor){.type = DTYPE_F32,
            .rank = piece->columns ? 2 : 1,
            .size = {turned ? piece->columns : piece->rows,
                    turned ? piece->rows : piece->columns}};
}

static int64_t first_element(const struct piece *piece) {
    return piece->first_row * (piece->columns ? piece->columns : 1);
}

/* -- write ---------------------------------------------------------------------------
 */

static void cut(
        const struct piece *piece, const double *values, struct named_tensor *out) {
    out->tensor = piece_shape(piece);
    int64_t count = piece->rows * (piece->columns ? piece->columns : 1);
    float *data = text_allocate((size_t)count * sizeof *data);
    for (int64_t i = 0; i < count; i++) {
        data[position(piece, i)] = (float)values[first_element(piece) + i];
    }
    out->tensor.data = data;
    memcpy(out->name, piece->name, sizeof out->name);
}

bool checkpoint_write(struct engine *e, const char *path, struct text *err) {
    const struct parameters *all = engine_parameters(e);
    struct named_tensor *items =
            text_allocate_zeroed((size_t)all->count * PIECES_MAX, sizeof *items);
    json_t *metadata = json_pack("{s:s}", "format", "pt"); // transformers asks for it
    int count = 0;
    bool good = true;
    for (int i = 0; good && i < all->count; i++) {
        struct piece pieces[PIECES_MAX];
        double *values = text_allocate((size_t)all->items[i].count * sizeof *values);
        int cuts = pieces_of(&all->items[i], pieces);
        good = engine_read_parameter(e, i, values, err);
        for (int k = 0; good && k < cuts; k++) {
            cut(&pieces[k], values, &items[count++]);
        }
        free(values);
    }
    good = good && safetensors_write(path, items, count, metadata, err);
    for (int i = 0; i < count; i++) {
        free(items[i].tensor.data);
    }
    free(items);
    json_decref(metadata);
    return good;
}

/* -- read ----------------------------------------------------------------------------
 */

static bool is_float(enum dtype type) {
    return type == DTYPE_F32 || type == DTYPE_BF16 || type == DTYPE_F16 ||
           type == DTYPE_F64;
}

/* Every piece of every parameter is there and has its shape. */
static bool check(const struct parameters *all, const struct safetensors *file,
        const char *path, struct text *err) {
    for (int i = 0; i < all->count; i++) {
        struct piece pieces[PIECES_MAX];
        int cuts = pieces_of(&all->items[i], pieces);
        for (int k = 0; k < cuts; k++) {
            const struct tensor *t = safetensors_find(file, pieces[k].name);
            struct tensor wanted = piece_shape(&pieces[k]);
            if (!t) {
                return text_fail(err, "'%s' lacks '%s'", path, pieces[k].name);
            }
            if (!is_float(t->type) || t->rank != wanted.rank ||
                    memcmp(t->size, wanted.size, sizeof t->size) != 0) {
                return text_fail(err, "'%s': '%s' has another shape or type", path,
                        pieces[k].name);
            }
        }
    }
    return true;
}

/* Element `i` of a host tensor, converted by hand: files are read once. */
static double element(const struct tensor *t, int64_t i) {
    const unsigned char *at =
            (const unsigned char *)t->data + (size_t)i * dtype_size(t->type);
    float single;
    double twice;
    uint16_t half;
    uint32_t bits;
    switch (t->type) {
    case DTYPE_F64:
        memcpy(&twice, at, sizeof twice);
        return twice;
    case DTYPE_BF16:
        memcpy(&half, at, sizeof half);
        bits = (uint32_t)half << 16;
        memcpy(&single, &bits, sizeof single);
        return single;
    case DTYPE_F16: {
        memcpy(&half, at, sizeof half);
        int exponent = half >> 10 & 31, sign = half >> 15 ? -1 : 1;
        double fraction = half & 1023;
        if (exponent == 31) {
            return fraction != 0 ? NAN : sign * INFINITY;
        }
        return sign * (exponent ? ldexp(1024 + fraction, exponent - 25)
                                : ldexp(fraction, -24));
    }
    default:
        memcpy(&single, at, sizeof single);
        return single;
    }
}

bool checkpoint_read(struct engine *e, const char *path, struct text *err) {
    const struct parameters *all = engine_parameters(e);
    struct safetensors file;
    if (!safetensors_read(path, &file, err)) {
        return false;
    }
    bool good = check(all, &file, path, err);
    for (int i = 0; good && i < all->count; i++) {
        struct piece pieces[PIECES_MAX];
        int cuts = pieces_of(&all->items[i], pieces);
        double *values = text_allocate((size_t)all->items[i].count * sizeof *values);
        for (int k = 0; k < cuts; k++) {
            const struct tensor *t = safetensors_find(&file, pieces[k].name);
            for (int64_t n = 0; n < tensor_count(t); n++) {
                values[first_element(&pieces[k]) + n] =
                        element(t, position(&pieces[k], n));
            }
        }
        good = engine_write_parameter(e, i, values, err);
        free(values);
    }
    safetensors_finish(&file);
    return good;
}
