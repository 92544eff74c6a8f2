#include <stdio.h>

#include "runner/clean.h"
#include "runner/devices.h"
#include "runner/forecast.h"
#include "runner/options.h"
#include "runner/plan.h"
#include "runner/review.h"
#include "runner/run.h"
#include "runner/supervise.h"

#define EXIT_USAGE 2

static int perform(const struct options *o, struct text *err) {
    struct text usage = {0};
    if (o->help || o->command == COMMAND_HELP) {
        options_usage(o->command, &usage);
        fputs(text_get(&usage), stdout);
        text_finish(&usage);
        return 0;
    }
    switch (o->command) {
    case COMMAND_RUN:
    case COMMAND_TRY:
        return run_command(o, err);
    case COMMAND_PLAN:
        return plan_command(o, stdout, stderr, err);
    case COMMAND_CLEAN:
        return clean_command(o, stdout, stderr, err);
    case COMMAND_REPORT:
        return review_command(o, stdout, stderr, err);
    case COMMAND_FORECAST:
        return forecast_command(o, stdout, stderr, err);
    case COMMAND_DEVICES:
        return devices_command(o, stdout, err);
    case COMMAND_SUPERVISE:
        return supervise_run(o->files.items[0], err) ? 0 : 1;
    default:
        fputs("runner " LM_VERSION "\n", stdout);
        return 0;
    }
}

int main(int argc, char **argv) {
    struct text err = {0};
    struct options o;
    int code = EXIT_USAGE;
    if (options_parse(argc, argv, &o, &err)) {
        code = perform(&o, &err);
        options_finish(&o);
    }
    if (err.size) {
        fprintf(stderr, "runner: %s\n", text_get(&err));
    }
    if (fflush(stdout) || ferror(stdout)) {
        fputs("runner: cannot write to standard output\n", stderr);
        code = code ? code : 1;
    }
    text_finish(&err);
    return code;
}
