/*
 * registry_msg: REG's commands, rows and snapshots <-> bytes (proto/registry.proto).
 *
 * Floor:  cluster.
 *
 * Written in the order of the fields, each number as short as it goes: equal rows give equal bytes.
 * Read strictly: what is not known is not skipped, as replicas would differ (cluster.md 5.12).
 */
#ifndef TERN_CLUSTER_REGISTRY_MSG_H
#define TERN_CLUSTER_REGISTRY_MSG_H

#include "cluster/registry_state.h"
#include "core/base/buf.h"

/* Append it to out. ERR_NOMEM. */
enum err registry_command_encode(const struct registry_command *command, struct buf *out);

/*
 * ERR_UNSUPPORTED  of a newer version: a command or a field that is not known
 * ERR_CORRUPT      not such a command, or something in it is longer than it may be
 * out is written only on OK.
 */
enum err registry_command_decode(struct slice bytes, struct registry_command *out);

/* The whole state; index and hash are in it. ERR_NOMEM. */
enum err registry_snapshot_encode(const struct registry_state *state, struct buf *out);

/* A new state. As of a command; ERR_CORRUPT also where rows contradict each other. ERR_NOMEM. */
enum err registry_snapshot_decode(struct slice bytes, struct registry_state **out);

/* Of the content, however it came about: XXH3 of the snapshot without index and hash. ERR_NOMEM. */
enum err registry_digest(const struct registry_state *state, uint64_t *out);

/* ---- for registry_state: a changed row, folded into the running hash ------------------------------- */

enum registry_row {
    REGISTRY_ROW_CLUSTER, /* what stands once: id, name, level, counters */
    REGISTRY_ROW_PARTITION,
    REGISTRY_ROW_MEMBER,
    REGISTRY_ROW_SETTING,
    REGISTRY_ROW_TOKEN,
    REGISTRY_ROW_SERVICE,
};
enum { REGISTRY_ROW_BYTES_MAX = 8192 };
/* row: the struct of registry_rows.h; of CLUSTER the state. Returns how many bytes. */
size_t registry_row_write(enum registry_row kind, const void *row,
                          uint8_t bytes[REGISTRY_ROW_BYTES_MAX]);

#endif
