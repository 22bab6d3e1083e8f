#include "storage/image_lane.h"

#include "core/base/list.h"

#include <stddef.h>

static void run(void *owner, struct job *jobs)
{
    (void)owner;
    while (jobs != NULL) {
        struct image_work *work = CONTAINER_OF(jobs, struct image_work, job);
        jobs = jobs->next; /* it is another's when it is given back */
        lane_give_back(&work->job, work->work(work));
    }
}

enum err image_lane_new(bool has_thread, struct lane **out)
{
    const struct lane_config config = {.run = run, .name = "tern image", .has_thread = has_thread};
    return lane_new(&config, out);
}

void image_lane_submit(struct lane_desk *desk, struct image_work *work)
{
    lane_submit(desk, &work->job);
}
