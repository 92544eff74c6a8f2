/* Run a fuzz target over files and folders of files, without libFuzzer. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "matrix/file.h"
#include "tests/fuzz/fuzz.h"

static int replay_file(const char *path) {
    struct text bytes = {0}, err = {0};
    bool ok = file_read(path, 16 << 20, &bytes, &err);
    if (ok) {
        // A copy of exactly that size, so that a sanitizer sees a read past its end.
        uint8_t *copy = text_allocate(bytes.size);
        memcpy(copy, text_get(&bytes), bytes.size);
        LLVMFuzzerTestOneInput(copy, bytes.size);
        free(copy);
    } else {
        fprintf(stderr, "%s\n", text_get(&err));
    }
    text_finish(&bytes);
    text_finish(&err);
    return ok ? 1 : 0;
}

static int replay_folder(const char *path) {
    int count = 0;
    DIR *stream = opendir(path);
    struct dirent *entry;
    while (stream && (entry = readdir(stream))) {
        struct text file = {0};
        text_addf(&file, "%s/%s", path, entry->d_name);
        if (*entry->d_name != '.') {
            count += replay_file(text_get(&file));
        }
        text_finish(&file);
    }
    if (stream) {
        closedir(stream);
    }
    return count;
}

int main(int argc, char **argv) {
    int count = 0;
    for (int i = 1; i < argc; i++) {
        struct stat st;
        bool folder = stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode);
        count += folder ? replay_folder(argv[i]) : replay_file(argv[i]);
    }
    printf("%d inputs\n", count);
    return count ? 0 : 1; // an empty corpus proves nothing
}
