#include "worker/safetensors.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "matrix/file.h"

#define HEADER_MAX (100 << 20) /* bytes; as the format's own implementation has it */

static const struct {
    enum dtype type;
    const char *name;
} dtypes[] = {{DTYPE_F32, "F32"}, {DTYPE_BF16, "BF16"}, {DTYPE_F16, "F16"},
        {DTYPE_F64, "F64"}, {DTYPE_I32, "I32"}, {DTYPE_U8, "U8"}};

enum { DTYPES = sizeof dtypes / sizeof *dtypes };

static const char *type_name(enum dtype type) {
    int i = 0;
    while (dtypes[i].type != type) {
        i++;
    }
    return dtypes[i].name;
}

static bool type_parse(const char *name, enum dtype *out) {
    for (int i = 0; name && i < DTYPES; i++) {
        if (!strcmp(dtypes[i].name, name)) {
            *out = dtypes[i].type;
            return true;
        }
    }
    return false;
}

/* -- write ---------------------------------------------------------------------------
 */

static json_t *describe(const struct tensor *t, size_t from) {
    json_t *shape = json_array();
    for (int i = 0; i < t->rank; i++) {
        json_array_append_new(shape, json_integer(t->size[i]));
    }
    return json_pack("{s:s, s:o, s:[I,I]}", "dtype", type_name(t->type), "shape", shape,
            "data_offsets", (json_int_t)from, (json_int_t)(from + tensor_bytes(t)));
}

/* The header as text, padded with spaces to a multiple of eight. */
static void header_text(const struct named_tensor *items, int count,
        const json_t *metadata, struct text *out) {
    json_t *header = json_object();
    size_t offset = 0;
    if (metadata) {
        json_object_set_new(header, "__metadata__", json_deep_copy(metadata));
    }
    for (int i = 0; i < count; i++) {
        json_object_set_new(header, items[i].name, describe(&items[i].tensor, offset));
        offset += tensor_bytes(&items[i].tensor);
    }
    char *dumped = json_dumps(header, JSON_COMPACT);
    text_add(out, dumped);
    while (out->size % 8) {
        text_add(out, " ");
    }
    free(dumped);
    json_decref(header);
}

bool safetensors_write(const char *path, const struct named_tensor *items, int count,
        const json_t *metadata, struct text *err) {
    struct text header = {0};
    header_text(items, count, metadata, &header);
    size_t size = 8 + header.size;
    for (int i = 0; i < count; i++) {
        size += tensor_bytes(&items[i].tensor);
    }
    unsigned char *bytes = text_allocate(size), *at = bytes + 8 + header.size;
    for (int i = 0; i < 8; i++) {
        bytes[i] = (unsigned char)((uint64_t)header.size >> (8 * i));
    }
    memcpy(bytes + 8, header.data, header.size);
    for (int i = 0; i < count; i++) {
        memcpy(at, items[i].tensor.data, tensor_bytes(&items[i].tensor));
        at += tensor_bytes(&items[i].tensor);
    }
    bool good = file_write(path, bytes, size, err);
    free(bytes);
    text_finish(&header);
    return good;
}

/* -- read ----------------------------------------------------------------------------
 */

static bool read_shape(const json_t *shape, struct tensor *t) {
    if (!json_is_array(shape) || json_array_size(shape) > TENSOR_RANK_MAX) {
        return false;
    }
    t->rank = (int)json_array_size(shape);
    int64_t count = 1;
    for (int i = 0; i < t->rank; i++) {
        const json_t *size = json_array_get(shape, (size_t)i);
        t->size[i] = json_is_integer(size) ? json_integer_value(size) : -1;
        if (t->size[i] < 0 || (t->size[i] && count > INT64_MAX / 8 / t->size[i])) {
            return false;
        }
        count *= t->size[i];
    }
    return true;
}

static bool read_item(const char *path, const char *name, const json_t *entry,
        unsigned char *bytes, int64_t size, struct named_tensor *out,
        struct text *err) {
    struct tensor t = {0};
    const json_t *offsets = json_object_get(entry, "data_offsets");
    if (strlen(name) >= sizeof out->name) {
        return text_fail(err, "'%s': the name '%.40s…' is too long", path, name);
    }
    if (!type_parse(json_string_value(json_object_get(entry, "dtype")), &t.type)) {
        return text_fail(err, "'%s': '%s' has no known dtype", path, name);
    }
    if (!read_shape(json_object_get(entry, "shape"), &t)) {
        return text_fail(err, "'%s': '%s' has no valid shape", path, name);
    }
    const json_t *first = json_array_get(offsets, 0),
                 *second = json_array_get(offsets, 1);
    int64_t from = json_is_integer(first) ? json_integer_value(first) : -1;
    int64_t to = json_is_integer(second) ? json_integer_value(second) : -1;
    if (from < 0 || to < from || to > size || to - from != (int64_t)tensor_bytes(&t)) {
        return text_fail(
                err, "'%s': the bytes of '%s' do not lie in the file", path, name);
    }
    t.data = bytes + from;
    out->tensor = t;
    snprintf(out->name, sizeof out->name, "%s", name);
    return true;
}

static bool read_items(const char *path, json_t *header, unsigned char *bytes,
        int64_t size, struct safetensors *out, struct text *err) {
    const char *key;
    json_t *entry;
    out->items = text_allocate_zeroed(json_object_size(header), sizeof *out->items);
    json_object_foreach(header, key, entry) {
        if (!strcmp(key, "__metadata__")) {
            if (!json_is_object(entry)) {
                return text_fail(err, "'%s': its metadata is no object", path);
            }
            json_object_update(out->metadata, entry);
        } else if (!read_item(path, key, entry, bytes, size, &out->items[out->count++],
                           err)) {
            return false;
        }
    }
    return true;
}

/* The header's JSON; NULL with a sentence. */
static json_t *read_header(
        const char *path, const unsigned char *bytes, int64_t size, struct text *err) {
    uint64_t length = 0;
    for (int i = 7; size >= 8 && i >= 0; i--) {
        length = length << 8 | bytes[i];
    }
    if (size < 8 || length > HEADER_MAX || (int64_t)length > size - 8) {
        text_fail(err, "'%s' is truncated or no safetensors file", path);
        return NULL;
    }
    json_error_t where;
    json_t *header = json_loadb(
            (const char *)bytes + 8, (size_t)length, JSON_REJECT_DUPLICATES, &where);
    if (!json_is_object(header)) {
        json_decref(header);
        text_fail(err, "'%s': its header is no JSON object", path);
        return NULL;
    }
    return header;
}

bool safetensors_read(const char *path, struct safetensors *out, struct text *err) {
    struct text file = {0};
    *out = (struct safetensors){0};
    if (!file_read(path, SIZE_MAX, &file, err)) {
        return false;
    }
    int64_t size = (int64_t)file.size, start = 8;
    out->bytes = text_take(&file);
    out->metadata = json_object();
    unsigned char *bytes = out->bytes;
    json_t *header = read_header(path, bytes, size, err);
    for (int i = 0; header && i < 8; i++) {
        start += (int64_t)bytes[i] << (8 * i);
    }
    bool good =
            header && read_items(path, header, bytes + start, size - start, out, err);
    json_decref(header);
    if (!good) {
        safetensors_finish(out);
    }
    return good;
}

void safetensors_finish(struct safetensors *s) {
    json_decref(s->metadata);
    free(s->items);
    free(s->bytes);
    *s = (struct safetensors){0};
}

const struct tensor *safetensors_find(const struct safetensors *s, const char *name) {
    for (int i = 0; i < s->count; i++) {
        if (!strcmp(s->items[i].name, name)) {
            return &s->items[i].tensor;
        }
    }
    return NULL;
}
