#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/corpus.h"
#include "worker/measure.h"
#include "worker/stories.h"

#define STORIES_BYTES 1000000
#define STORIES_SEED 1337

bool corpus_allocate(void **out, size_t bytes, const char *what,
        struct kernel_error *why, struct text *err) {
    *out = malloc(bytes > 0 ? bytes : 1);
    if (*out) {
        return true;
    }
    why->kind = KERNEL_OUT_OF_MEMORY;
    why->bytes_asked = bytes;
    int64_t host = measure_host_free(), limit = measure_limit_left();
    why->bytes_free = (size_t)(host < limit ? host : limit);
    return text_fail(err, "no memory for %zu bytes of %s", bytes, what);
}

/* "500000", "4MB", "1GiB" and what follows it; false where it is none of these. */
static bool parse_size(const char *s, size_t *out, const char **end) {
    static const struct {
        const char *name;
        double bytes;
    } units[] = {{"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"kB", 1e3},
            {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}};
    if (!isdigit((unsigned char)*s)) {
        return false;
    }
    char *rest;
    double size = strtod(s, &rest);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        size_t length = strlen(units[i].name);
        if (strncmp(rest, units[i].name, length) == 0) {
            size *= units[i].bytes;
            rest += length;
            break;
        }
    }
    if (!(size >= 1 && size <= 0x1p50)) {
        return false;
    }
    *out = (size_t)size;
    *end = rest;
    return true;
}

static bool generate(struct corpus *c, const char *asked, struct kernel_error *why,
        struct text *err) {
    size_t size = STORIES_BYTES;
    unsigned long long seed = STORIES_SEED;
    const char *rest = asked + strlen("stories");
    bool good = true;
    if (*rest == ':') {
        good = parse_size(rest + 1, &size, &rest);
        if (good && *rest == ':' && isdigit((unsigned char)rest[1])) {
            char *end;
            errno = 0;
            seed = strtoull(rest + 1, &end, 10);
            good = errno == 0;
            rest = end;
        }
    }
    if (!good || *rest) {
        return text_fail(err,
                "data '%s': expected stories, stories:SIZE or "
                "stories:SIZE:SEED, such as stories:4MB:1337",
                asked);
    }
    if (!corpus_allocate((void **)&c->bytes, size, "stories", why, err)) {
        return false;
    }
    c->size = size;
    stories_generate(seed, c->bytes, size);
    snprintf(c->source, sizeof c->source, "stories seed %llu, %.1f MB", seed,
            (double)size / 1e6);
    return true;
}

/* Append one file; `rooted`: its path is absolute or begins with LM_DATA. */
static bool append(struct corpus *c, const char *path, bool rooted,
        struct kernel_error *why, struct text *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return text_fail(err, "cannot open data file '%s': %s%s", path, strerror(errno),
                rooted ? "" : "; LM_DATA, the folder it should lie in, is not set");
    }
    bool done = false;
    struct stat status;
    if (fstat(fd, &status) < 0) {
        text_addf(err, "cannot read data file '%s': %s", path, strerror(errno));
        goto out;
    }
    if (S_ISDIR(status.st_mode)) {
        why->kind = KERNEL_UNSUPPORTED;
        text_addf(err,
                "data '%s' is a folder: this version reads text files only; name "
                "files or a glob such as '%s/*.txt'",
                path, path);
        goto out;
    }
    if (!S_ISREG(status.st_mode)) {
        text_addf(err, "data '%s' is not a regular file", path);
        goto out;
    }
    size_t size = (size_t)status.st_size;
    char *bytes;
    if (!corpus_allocate((void **)&bytes, c->size + size, "text", why, err)) {
        goto out;
    }
    if (c->size > 0) {
        memcpy(bytes, c->bytes, c->size);
    }
    free(c->bytes);
    c->bytes = bytes;
    while (size > 0) {
        ssize_t got = read(fd, c->bytes + c->size, size);
        if (got < 0) {
            text_addf(err, "cannot read data file '%s': %s", path, strerror(errno));
            goto out;
        }
        if (got == 0) {
            text_addf(err, "data file '%s' shrank while it was read", path);
            goto out;
        }
        c->size += (size_t)got;
        size -= (size_t)got;
    }
    done = true;
out:
    close(fd);
    return done;
}

/* Append the files that one word of the list names: a path, or a glob. */
static bool append_word(struct corpus *c, const char *word, const char *root,
        struct kernel_error *why, struct text *err) {
    bool is_glob = strpbrk(word, "*?[") != NULL, rooted = word[0] == '/' || *root;
    struct text path = {0};
    if (word[0] != '/' && *root) {
        for (const char *p = root; *p; p++) {
            if (is_glob && strchr("*?[\\", *p)) {
                text_add(&path, "\\"); // the root is meant literally
            }
            text_add_bytes(&path, p, 1);
        }
        text_add(&path, "/");
    }
    text_add(&path, word);
    bool done = true;
    if (!is_glob) {
        done = append(c, text_get(&path), rooted, why, err);
        text_finish(&path);
        return done;
    }
    glob_t found = {0};
    int failure = glob(text_get(&path), GLOB_ERR, NULL, &found);
    if (failure == GLOB_NOMATCH) {
        done = text_fail(err, "data '%s' matches no file", text_get(&path));
    } else if (failure) {
        done = text_fail(err, "cannot search for data '%s': %s", text_get(&path),
                failure == GLOB_NOSPACE ? "no memory" : strerror(errno));
    }
    for (size_t i = 0; done && i < found.gl_pathc; i++) {
        done = append(c, found.gl_pathv[i], rooted, why, err);
    }
    globfree(&found);
    text_finish(&path);
    return done;
}

bool corpus_init(struct corpus *c, const char *asked, const char *root,
        struct kernel_error *why, struct text *err) {
    memset(c, 0, sizeof *c);
    if (strncmp(asked, "stories", 7) == 0 && (asked[7] == '\0' || asked[7] == ':')) {
        return generate(c, asked, why, err);
    }
    char *words = text_copy(asked), *rest = words, *word;
    bool done = true;
    while (done && (word = strsep(&rest, ","))) {
        word += strspn(word, " ");
        for (size_t end = strlen(word); end > 0 && word[end - 1] == ' '; end--) {
            word[end - 1] = '\0';
        }
        done = *word ? append_word(c, word, root, why, err)
                     : text_fail(err, "data '%s' has an empty file name", asked);
    }
    free(words);
    if (!done) {
        corpus_finish(c);
        return false;
    }
    snprintf(c->source, sizeof c->source, "%s, %.1f MB", asked, (double)c->size / 1e6);
    return true;
}

void corpus_finish(struct corpus *c) {
    free(c->bytes);
    memset(c, 0, sizeof *c);
}
