#include <elf.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "worker/build.h"

static char id[2 * 64 + 1];

static size_t padded(size_t n) {
    return (n + 3) / 4 * 4;
}

/* The first object that the loader lists is the executable itself. */
static int find(struct dl_phdr_info *info, size_t size, void *unused) {
    (void)size;
    (void)unused;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type != PT_NOTE) {
            continue;
        }
        const unsigned char *at =
                (const unsigned char *)(info->dlpi_addr + segment->p_vaddr);
        const unsigned char *end = at + segment->p_memsz;
        while (at + sizeof(ElfW(Nhdr)) <= end) {
            ElfW(Nhdr) note;
            memcpy(&note, at, sizeof note);
            const unsigned char *name = at + sizeof note;
            const unsigned char *value = name + padded(note.n_namesz);
            if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
                    memcmp(name, "GNU", 4) == 0 && note.n_descsz <= 64) {
                for (unsigned k = 0; k < note.n_descsz; k++) {
                    snprintf(id + 2 * k, 3, "%02x", value[k]);
                }
                return 1;
            }
            at = value + padded(note.n_descsz);
        }
    }
    return 1;
}

const char *build_id(void) {
    if (!id[0]) {
        dl_iterate_phdr(find, NULL);
    }
    return id[0] ? id : "unknown";
}
