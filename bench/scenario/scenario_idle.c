/* n clients connect and stay silent: what a connection costs the broker, and the kernel. */
#include "bench/scenario/crowd.h"
#include "bench/scenario/footprint.h"
#include "bench/scenario/scenario_kinds.h"

static const struct crowd_events events = {0};

static enum err hold(struct crowd *crowd, struct report *out)
{
    const struct scenario_options *options = crowd->options;
    uint64_t hold_ns = (uint64_t)(options->seconds * 1e9);

    footprint_before(options, true, out);
    crowd_meet(crowd, CREW_READY); /* weighed, and nobody has come */
    TRY(crowd_gather(crowd, CROWD_COMING_MAX));
    crowd_meet(crowd, CREW_SENT);
    crowd_turn_until(crowd, load_clock_ns() +
                                (hold_ns > FOOTPRINT_SETTLE_NS ? hold_ns : FOOTPRINT_SETTLE_NS));
    footprint_after(options, out);
    out->idle_count = crowd->ready_count;
    out->is_stopped_early = scenario_is_stopped(options);
    crowd_meet(crowd, CREW_DRAINED);
    return OK;
}

enum err scenario_idles(const struct scenario_options *options, struct report *out)
{
    struct crowd crowd = {.options = options, .report = out, .name = "idle", .events = &events};
    enum err err = load_new(&options->load, &crowd.load);
    if (err == OK) {
        err = crowd_init(&crowd, options->count);
    }
    if (err == OK) {
        err = hold(&crowd, out);
        crowd_leave(&crowd);
    }
    load_free(crowd.load);
    crowd_deinit(&crowd);
    return err;
}
