#include "runner/placement.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "matrix/file.h"

#define LIST_MAX 65536

/* A CPU's number; false where there is none, or none that fits a set. */
static bool parse_number(const char **at, int *out) {
    char *end;
    errno = 0;
    long n = isdigit((unsigned char)**at) ? strtol(*at, &end, 10) : -1;
    if (n < 0 || errno || n >= CPU_SETSIZE) {
        return false;
    }
    *at = end;
    *out = (int)n;
    return true;
}

bool placement_parse(const char *list, cpu_set_t *out) {
    CPU_ZERO(out);
    for (const char *at = list; *at && *at != '\n';) {
        int first, last;
        bool good = parse_number(&at, &first);
        last = first;
        if (good && *at == '-') {
            at++;
            good = parse_number(&at, &last);
        }
        if (!good || last < first || !strchr(",\n", *at)) {
            CPU_ZERO(out);
            return false;
        }
        for (int cpu = first; cpu <= last; cpu++) {
            CPU_SET(cpu, out);
        }
        at += *at == ',';
    }
    return true;
}

void placement_show(const cpu_set_t *cpus, struct text *out) {
    const char *separator = "";
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, cpus)) {
            continue;
        }
        int last = cpu;
        while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, cpus)) {
            last++;
        }
        text_addf(out, "%s%d", separator, cpu);
        if (last > cpu) {
            text_addf(out, "-%d", last);
        }
        separator = ",";
        cpu = last;
    }
}

bool placement_find(const char *root, const char *bus_id, cpu_set_t *out) {
    struct text path = {0}, list = {0}, ignored = {0};
    cpu_set_t mine;
    text_addf(&path, "%s/", root);
    for (const char *c = bus_id; *c; c++) {
        text_addf(&path, "%c", tolower((unsigned char)*c));
    }
    text_add(&path, "/local_cpulist");
    CPU_ZERO(out);
    if (file_read(text_get(&path), LIST_MAX, &list, &ignored) &&
            placement_parse(text_get(&list), out) &&
            sched_getaffinity(0, sizeof mine, &mine) == 0) {
        CPU_AND(out, out, &mine);
    } else {
        CPU_ZERO(out);
    }
    text_finish(&path);
    text_finish(&list);
    text_finish(&ignored);
    return CPU_COUNT(out) > 0;
}
