/*
 * image_lane: the thread that reads and writes images (image.h), for all shards of a node.
 *
 * A lane of its own: an image is many megabytes, read and written a chunk at a time, and neither the log
 * nor the state may wait for it. Work is done in the order it was handed in, so many images share it
 * fairly: each has one chunk of a kind under way.
 *
 * Floor:  storage.
 */
#ifndef TERN_STORAGE_IMAGE_LANE_H
#define TERN_STORAGE_IMAGE_LANE_H

#include "storage/lane.h"

struct image_work {
    struct job job;
    enum err (*work)(
        struct image_work *work); /* in the lane; what it returns is what done is told */
};

/* ERR_NOMEM. Ended with lane_free(), before the store is closed. */
enum err image_lane_new(bool has_thread, struct lane **out);
void image_lane_submit(struct lane_desk *desk, struct image_work *work);

#endif
