#include "cluster/replica_parts.h"

/*
 * A follower that was away for a while is sent what it lacks from the log; only one that is behind all
 * of that needs an image of the whole state, which costs many times as much. So the store keeps more
 * of the log than it needs itself: the last tail_bytes, and of these nothing older than TAIL_MS.
 * Every member keeps as much, as any may lead tomorrow. Alone there is nobody to keep it for.
 *
 * A CHANGE is not cut off before its members have a record of their own (raftlog.h).
 */
enum { TAIL_MS = 10 * 60 * 1000 };

static void chunk_push(struct tail *tail, uint64_t first, uint64_t now_ms)
{
    if (tail->count == TAIL_CHUNKS) {
        memmove(&tail->chunks[0], &tail->chunks[1], (TAIL_CHUNKS - 1) * sizeof tail->chunks[0]);
        tail->count--;
    }
    tail->chunks[tail->count].first = first;
    tail->chunks[tail->count++].begin_ms = now_ms;
    tail->bytes = 0;
}

void tail_begin(struct replica *replica, uint64_t index)
{
    replica->tail.count = 0;
    chunk_push(&replica->tail, index, replica->now_ms);
}

void tail_note(struct replica *replica, uint64_t index, size_t bytes)
{
    struct tail *tail = &replica->tail;

    tail->bytes += bytes;
    if (tail->count > 0 && tail->bytes < replica->config.tail_bytes / TAIL_CHUNKS) {
        return;
    }
    chunk_push(tail, index, replica->now_ms);
    while (tail->count > 1 && tail->chunks[1].begin_ms + TAIL_MS < replica->now_ms) {
        tail->count--;
        memmove(&tail->chunks[0], &tail->chunks[1], tail->count * sizeof tail->chunks[0]);
    }
    tail_keep(replica);
}

void tail_keep(struct replica *replica)
{
    uint64_t index = UINT64_MAX;

    if (replica->config.partition >= STORE_PARTITIONS) {
        return; /* its log is cut by its owner */
    }
    if (!consensus_status(replica->consensus).is_alone) {
        index = replica->tail.count > 0 ? replica->tail.chunks[0].first : replica->told + 1;
    }
    if (replica->members_stored < replica->members_told && replica->members_told < index) {
        index = replica->members_told;
    }
    if (index != replica->tail.kept) {
        replica->tail.kept = index;
        store_keep_from(replica->config.store, replica->config.partition, index);
    }
}
