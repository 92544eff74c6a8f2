#include "runner/profile.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runner/folder.h"

static const char *const nsys_words[] = {"profile", "--trace=cuda,nvtx",
        "--sample=none", "--cpuctxsw=none", "--cuda-graph-trace=node",
        "--force-overwrite=true"};
// Clocks stay as they are, as in every other attempt. The range is the worker's own:
// what runs before the measured steps is warm-up.
static const char *const ncu_words[] = {"--clock-control", "none", "--target-processes",
        "all", "--nvtx", "--nvtx-include", "measure/", "--launch-count", "200",
        "--force-overwrite"};

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* Append the path of `name` in PATH, if it is there and may be run. */
static void find(const char *name, struct text *out) {
    const char *path = getenv("PATH");
    struct text one = {0};
    for (const char *at = path; at && *at && !out->size;) {
        size_t size = strcspn(at, ":");
        text_clear(&one);
        text_add_bytes(&one, at, size);
        text_addf(&one, "%s%s", size ? "/" : "./", name);
        if (access(text_get(&one), X_OK) == 0) {
            text_add(out, text_get(&one));
        }
        at += size + (at[size] == ':');
    }
    text_finish(&one);
}

void profile_find(struct text *out) {
    find("nsys", out);
    if (!out->size) {
        find("ncu", out);
    }
}

const char *profile_name(const char *profiler) {
    const char *slash = profiler ? strrchr(profiler, '/') : NULL;
    return slash ? slash + 1 : profiler ? profiler : "";
}

char **profile_words(const char *profiler, const char *folder) {
    bool ncu = !strcmp(profile_name(profiler), "ncu");
    const char *const *options = ncu ? ncu_words : nsys_words;
    size_t count = ncu ? COUNT(ncu_words) : COUNT(nsys_words);
    char **words = text_allocate_zeroed(count + 4, sizeof *words);
    struct text output = {0};
    size_t n = 0;
    words[n++] = text_copy(profiler);
    for (size_t i = 0; i < count; i++) {
        words[n++] = text_copy(options[i]);
    }
    words[n++] = text_copy("-o");
    text_addf(&output, "%s/profile", folder);
    words[n] = text_take(&output);
    return words;
}

void profile_free_words(char **words) {
    for (char **w = words; w && *w; w++) {
        free(*w);
    }
    free(words);
}

void profile_list(const char *folder, struct text *out) {
    char **names = folder_names(folder, "profile.");
    for (char **n = names; *n; n++) {
        text_addf(out, "%s%s", n == names ? "" : ", ", *n);
    }
    folder_free_names(names);
}
