#include <stdio.h>
#include <string.h>

#include "runner/options.h"
#include "runner/supervise.h"

#define EXIT_USAGE 2

static int supervise(const struct options *o, struct text *err) {
    return supervise_run(o->files.items[0], err) ? 0 : 1;
}

int main(int argc, char **argv) {
    struct text err = {0}, usage = {0};
    struct options o;
    int code = EXIT_USAGE;
    if (!options_parse(argc, argv, &o, &err)) {
        fprintf(stderr, "runner: %s\n", text_get(&err));
        text_finish(&err);
        return EXIT_USAGE;
    }
    if (o.help || o.command == COMMAND_HELP) {
        options_usage(o.command, &usage);
        fputs(text_get(&usage), stdout);
        code = 0;
    } else if (o.command == COMMAND_SUPERVISE) {
        code = supervise(&o, &err);
    } else {
        text_fail(&err, "this command is not part of this version");
    }
    if (err.size) {
        fprintf(stderr, "runner: %s\n", text_get(&err));
    }
    options_finish(&o);
    text_finish(&err);
    text_finish(&usage);
    return code;
}
