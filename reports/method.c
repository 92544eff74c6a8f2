/* How the numbers were made, so that a reader can judge them, and make them again. */
#include <math.h>
#include <string.h>

#include "reports/choice.h"
#include "reports/fresh.h"
#include "reports/markdown.h"
#include "reports/page.h"
#include "reports/peak.h"

static const char formulas[] =
        "- **tokens/s**: tokens trained in the timed window over all ranks, divided by "
        "the slowest rank's wall time. The window begins after `warmup_steps` and "
        "includes loading the data; evaluation is outside.\n"
        "- **step**: median time of a step in that window, without instruments. The "
        "phases of a step (data, forward, backward, communication not hidden, "
        "optimizer) come from separate instrumented steps.\n"
        "- **speed-up**: tokens/s divided by the baseline's. **Memory saving**: 1 − "
        "peak ÷ the baseline's peak.\n"
        "- **scaling efficiency**: tokens/s on N ranks ÷ (N × tokens/s on one), "
        "against the cell that is alike but for `ranks`, `first_gpu`, `ddp` and "
        "`bucket_mb` and has `ranks: 1`, `ddp: none` and as many threads a rank; where "
        "it ran on several of the N GPUs, ÷ the sum of what each does. *Weak*: `batch` "
        "is per rank, so the work grows with the ranks. *Strong*: `global_batch` is "
        "shared out.\n"
        "- **memory overhead**: a rank's peak less that one-rank cell's peak; not "
        "shown for strong scaling, where a rank holds a share of that cell's batch.\n"
        "- **peak memory**: the most that one rank held, workspaces handed to "
        "libraries included; the largest over the ranks.\n"
        "- **validation perplexity**: exp of the mean loss per token over the "
        "validation tokens.\n";

static const char mfu_formula[] =
        "- **MFU**: (6 × parameters in matrix products + 12 × layers × d_model × mean "
        "unmasked keys) × tokens/s ÷ (ranks × the device's dense peak for the "
        "precision). **HFU**: the same with the products that checkpointing computes "
        "again. Both are empty where that peak is not known, as on every CPU.";

static const char peer_memory[] =
        "- On a CPU **PyTorch's peak** is by how much its process grew since before "
        "the model, as PyTorch does not count there: more than the planned arenas "
        "that it stands beside.\n";

static const char allreduce_formula[] =
        "- **all-reduce**: a repetition begins where a sum of a few elements has "
        "ended, "
        "which brings the ranks together, and is timed by marks on each rank's stream "
        "(on a CPU by its clock); it took as long as on the slowest rank. **Bus "
        "bandwidth**: bytes × 2(n − 1)/n ÷ its median, at the best size. **Latency**: "
        "the median at the smallest size.\n";

// The peaks that were divided by, each once.
static void add_peaks(struct page *p) {
    struct text device = {0}, peaks = {0}, one = {0};
    for (size_t i = 0; i < p->tallies->count; i++) {
        const struct tally *o = p->tallies->items + i;
        if (!isfinite(tally_metric(o, "mfu"))) {
            continue;
        }
        const struct params *params = &o->cell->params;
        text_clear(&device);
        text_clear(&one);
        fresh_provenance(&o->last->record, "device", &device);
        double peak =
                peak_flops(text_get(&device), params_integer(params, PARAM_PRECISION));
        text_addf(&one, "%s in %s: %.4g TFLOP/s", text_get(&device),
                params_choice(params, PARAM_PRECISION), peak / 1e12);
        if (!strstr(text_get(&peaks), text_get(&one))) {
            text_addf(&peaks, "%s%s", peaks.size ? "; " : "", text_get(&one));
        }
    }
    if (peaks.size) {
        text_add(&p->markdown, " Peaks: ");
        markdown_add_text(&p->markdown, text_get(&peaks));
        text_add(&p->markdown, ".");
    }
    text_add(&p->markdown, "\n");
    text_finish(&device);
    text_finish(&peaks);
    text_finish(&one);
}

static void add_noise(struct page *p) {
    bool repeats = false;
    for (size_t i = 0; i < p->tallies->count; i++) {
        repeats |= p->tallies->items[i].ok_count > 1;
    }
    text_add(&p->markdown, "- **noise**: ");
    if (repeats) {
        text_add(&p->markdown,
                "a cell with repeats shows its median ± half the range of the repeats, "
                "and may as well have been anywhere in that range. ");
    }
    text_add(&p->markdown,
            "A cell with one attempt may as well have been as slow as its slow steps "
            "(90th percentile) or as quick as its quick ones (10th). Two speeds whose "
            "ranges meet are *within noise*. Steps do not show how the machine "
            "drifts from one cell to the next, so a difference is called *faster* or "
            "*slower* only between cells with two attempts or more each, or where all "
            "like pairs, at least ");
    text_addf(&p->markdown, "%d, agree beyond noise. ", CHOICE_PAIRS_PROVE);
    text_addf(&p->markdown,
            "Peaks within %.1f %% and, for single seeds, perplexities within %.1f %% "
            "count as equal.\n",
            100 * CANDIDATE_MEMORY_TIE, 100 * CANDIDATE_QUALITY_TIE);
}

static bool is_peer(const struct tally *t) {
    return t->status == STATUS_OK &&
           params_integer(&t->cell->params, PARAM_ENGINE) != ENGINE_NATIVE;
}

static bool have_peer(const struct page *p, bool on_cpu) {
    bool have = false;
    for (size_t i = 0; i < p->tallies->count && !have; i++) {
        const struct tally *t = p->tallies->items + i;
        have = is_peer(t) && !(on_cpu && tally_on_gpu(t));
    }
    return have;
}

static void add_commands(struct page *p) {
    const struct plan *plan = &p->tallies->results->plan;
    struct text lines = {0};
    if (!plan->command_count) {
        return;
    }
    for (size_t i = 0; i < plan->command_count; i++) {
        text_addf(&lines, "%s%s", i ? "\n" : "", plan->commands[i]);
    }
    text_add(&p->markdown, "## To repeat it\n\n");
    if (plan->command_count > 1) {
        text_add(&p->markdown, "Several runs filled this folder; each command stands "
                               "where it was first given.\n\n");
    }
    markdown_add_block(&p->markdown, "sh", text_get(&lines));
    text_finish(&lines);
    if (plan->source && *plan->source) {
        text_add(&p->markdown, "The matrix is ");
        markdown_add_code(&p->markdown, plan->source);
        text_add(&p->markdown, ". ");
    }
    if (have_peer(p, false)) {
        text_add(&p->markdown, "`LM_PYTHON` must name a Python that has PyTorch. ");
    }
    text_add(&p->markdown, "Cells that have fresh results are not run again unless "
                           "`--fresh` is given. This page and its tables are rebuilt "
                           "from the records alone by `runner report`.\n");
}

bool method_add(struct page *p, struct text *err) {
    (void)err;
    struct text name = {0};
    page_file_name(p, "results.csv", &name);
    text_add(&p->markdown, "## How the numbers were made\n\n");
    bool trains = tallies_have_task(p->tallies, TASK_TRAIN);
    if (trains) {
        text_add(&p->markdown, formulas);
        text_add(&p->markdown, mfu_formula);
        add_peaks(p);
        text_add(&p->markdown, have_peer(p, true) ? peer_memory : "");
    }
    if (tallies_have_task(p->tallies, TASK_ALLREDUCE)) {
        text_add(&p->markdown, allreduce_formula);
    }
    if (trains && tallies_are_timings(p->tallies)) {
        add_noise(p);
    }
    text_add(&p->markdown, "- Every number here is raw, in bytes and unrounded, in ");
    markdown_add_code(&p->markdown, text_get(&name));
    text_add(&p->markdown, ", one row per planned cell.\n\n");
    add_commands(p);
    text_finish(&name);
    return true;
}
