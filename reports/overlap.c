#include "reports/overlap.h"

#include <math.h>

struct overlap overlap_produced(double compute_ms, double slowdown,
        const struct overlap_transfer *transfers, size_t count) {
    double now = 0;      // of the transfers' timeline
    double done = 0;     // compute so far, in ms of undisturbed compute
    double computed = 0; // when compute was complete
    double slower = 1 + slowdown;
    for (size_t i = 0; i < count; i++) {
        double ready = transfers[i].at * compute_ms;
        if (done < ready) {
            now += ready - done;
            done = ready;
            computed = now;
        }
        double meanwhile = fmin(compute_ms - done, transfers[i].ms / slower);
        if (meanwhile > 0) {
            computed = now + meanwhile * slower;
            done += meanwhile;
        }
        now += transfers[i].ms;
    }
    if (done < compute_ms) {
        now += compute_ms - done;
        computed = now;
    }
    return (struct overlap){computed, fmax(0, now - computed)};
}

struct overlap overlap_needed(double compute_ms, double slowdown,
        const struct overlap_transfer *transfers, size_t count) {
    double total = 0;
    for (size_t i = 0; i < count; i++) {
        total += transfers[i].ms;
    }
    double now = 0, stalled = 0, arrived = 0;
    for (size_t i = 0; i <= count; i++) {
        double from = i ? transfers[i - 1].at : 0;
        double to = i < count ? transfers[i].at : 1;
        double work = (to - from) * compute_ms;
        double beside = fmin(work, fmax(0, total - now) / (1 + slowdown));
        now += beside * (1 + slowdown) + (work - beside);
        arrived += i < count ? transfers[i].ms : 0;
        if (i < count && arrived > now) {
            stalled += arrived - now;
            now = arrived;
        }
    }
    return (struct overlap){now - stalled, stalled};
}
