#include "core/base/assert.h"
#include "core/io/io.h"
#include "core/session/journal.h"
#include "storage/image.h"
#include "tests/raft/journal_world.h"

/*
 * What brings images, in one step: cluster/transfer.c and storage/install.c do it in many, and have tests
 * of their own. Here is what they say to a journal, and what they leave on its disk.
 */

void on_fetch(void *context, uint32_t partition, uint64_t peer, uint64_t index)
{
    struct node *node = context;
    (void)index;
    node->fetches[partition / SHARDS].peer = peer;
    node->fetches[partition / SHARDS].at_ms = node->world->now_ms + 1 + draw(node->world, 500);
}

static void chunks_move(struct image_out *from, struct image_in *to)
{
    bool is_last = false;

    ASSERT(image_in_write(to) == OK); /* what was there goes first */
    for (uint32_t number = 0; !is_last; number++) {
        struct buf bytes = {0};
        ASSERT(image_out_chunk(from, number, &bytes, &is_last) == OK);
        ASSERT(image_in_take(to, buf_bytes(&bytes)) == OK);
        ASSERT(image_in_write(to) == OK);
        buf_deinit(&bytes);
    }
    ASSERT(image_in_is_whole(to));
}

/* Everything that was handed to the lanes is done, the image takes its place, the log is cut to it. */
static void image_install(struct node *node, struct image_out *from)
{
    struct image_head head = image_out_head(from);
    struct raftlog_mark mark = {head.index, head.term};
    struct kv_batch *batch = kv_batch_new();
    struct image_in *to;

    lane_turn(store_log_lane(node->store), io_now_ns(&node->io));
    lane_turn(store_state_lane(node->store), io_now_ns(&node->io));
    ASSERT(batch != NULL && image_in_new(store_state(node->store), &head, &to) == OK);
    chunks_move(from, to);
    image_in_free(to);
    ASSERT(kv_flush(store_state(node->store)) == OK);
    raftlog_truncate(batch, head.partition, 1);
    raftlog_end_mark(batch, head.partition, &mark);
    ASSERT(kv_write(store_log(node->store), batch) == OK);
    ASSERT(kv_sync(store_log(node->store), true) == OK);
    kv_batch_free(batch);
    store_applied(node->store, head.partition, head.index, head.term);
}

static void fetch(struct node *node, struct node *leader, uint32_t part)
{
    struct consensus_snapshot image = {0};
    struct image_out *from;

    if (image_out_open(store_state(leader->store), partition_at(part), 1, &from) != OK) {
        return;
    }
    image.index = image_out_head(from).index;
    image.term = image_out_head(from).term;
    if (journal_raft_members_at(leader->journal, partition_at(part), image.index, &image.members) &&
        journal_raft_may_install(node->journal, partition_at(part), &image)) {
        struct machine *machine;
        journal_flush(node->journal);
        image_install(node, from);
        ASSERT(machine_open(store_state(node->store), partition_at(part), &machine) == OK);
        journal_raft_installed(node->journal, partition_at(part), &image, machine);
        node->fetches[part].at_ms = 0;
        node->world->counts.installs++;
    }
    image_out_close(from);
}

void fetches_turn(struct node *node)
{
    struct world *world = node->world;

    for (uint32_t part = 0; part < PARTS; part++) {
        uint64_t at_ms = node->fetches[part].at_ms;
        if (at_ms == 0 || world->now_ms < at_ms) {
            continue;
        }
        struct node *leader = &world->nodes[node->fetches[part].peer - 1];
        node->fetches[part].at_ms = world->now_ms + 100; /* unless it is done */
        if (leader->is_up && !world->links[leader->id - 1][node->id - 1].is_cut) {
            fetch(node, leader, part);
        }
    }
}
