/*
 * check: is a store whole? Every record is decoded, and what belongs together is compared.
 *
 * Floor:  storage.
 * Thread: any; nobody else has the maps open. It blocks.
 * Memory: one record; 16 bytes for each session of a partition, and for each message that several of
 *         its sessions share.
 *
 * What it does not look at: the sums of the map's files; that is kv_verify().
 */
#ifndef TERN_STORAGE_CHECK_H
#define TERN_STORAGE_CHECK_H

#include "core/base/err.h"
#include "storage/kv.h"

#include <stdint.h>

struct check_figures {
    uint64_t entries; /* of the log, */
    uint64_t waiting; /* and of these, those that the state has not yet: a start applies them */
    uint64_t sessions, subscriptions, packet_ids, items, shared_messages, retained, outbox;
};

struct check {
    /* Something is wrong: where, what, and what to do. One line. */
    void (*finding)(void *context, const char *text);
    void *context;
    uint64_t finding_count;
    struct check_figures figures;
};

/*
 * Look at all of one partition, and go on behind what is damaged. OK: it has been looked at, findings
 * or not. ERR_NOMEM; ERR_IO: the disk cannot be read.
 */
enum err check_partition(struct kv *log, struct kv *state, uint32_t partition, struct check *check);

#endif
