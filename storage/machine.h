/*
 * machine: the replicated state machine of one partition: committed entries -> state on disk.
 *
 * Floor:  storage.
 * Thread: one at a time (the state lane's; at start whoever loads the partition).
 *
 * It decides nothing (op.h): the same entries give the same bytes on every replica and at every
 * replay. What it writes goes into the caller's set together with the applied index, so that state
 * and index cannot differ after a crash. A running hash of all that was written is kept beside it.
 *
 *     op            keys (key.h) that are written
 *     OPEN          S with its record; D with the will or gone; C gone
 *     CLOSE         S 'C'
 *     END           all of S, a range where there may be more; what its items shared counts down
 *     SUBSCRIBE     S 'F'
 *     UNSUBSCRIBE   S 'F' gone
 *     ENQUEUE       S 'Q', with the message, or M with the message and C with how many share it
 *     SETTLE        S 'Q' gone, or without its message; C counts down, to 0: C and M gone
 *     SEEN RELEASE  S 'I' there, gone
 *     RETAIN        R, gone when the payload is empty
 *     WILL          S 'D' gone
 *     SEND SENT     O there, gone
 *     RECEIVED      L; with a group T, and those of the same source below done_below gone
 *     every entry   A
 *
 * Nothing is read to write, but for the items of a session that ends: how many share a message is
 * held in memory as well (16 bytes each), and a message that is not there is not shared.
 *
 * Invariants
 *   I1  C number is there exactly when M number is, and says how many items name it as shared; an
 *       item that awaits PUBCOMP goes on counting, so that each counts down once, with its last SETTLE.
 *   I2  what is part of a session is there only while the session is.
 *   I3  state, A and what is held in memory are those after the same entry.
 *   I4  M, its C, O above all before it, and Q are new when they are put: the numbers because prepare
 *       refuses others, Q because a leader gives no sequence that something owed has (op.h). What is new and gone before
 *       the set is written costs the map nothing.
 */
#ifndef TERN_STORAGE_MACHINE_H
#define TERN_STORAGE_MACHINE_H

#include "core/base/err.h"
#include "core/session/journal.h"
#include "storage/kv.h"
#include "storage/record.h"
#include "storage/write_set.h"

#include <stdint.h>

struct machine;

/* Reads where the partition stands. ERR_CORRUPT, ERR_UNSUPPORTED, ERR_IO, ERR_NOMEM. */
enum err machine_open(struct kv *state, uint32_t partition, struct machine **out);
void machine_close(struct machine *machine); /* accepts NULL */

/* The last entry applied; 0: none. */
uint64_t machine_index(const struct machine *machine);
uint64_t machine_term(const struct machine *machine);
/* Of all mutations so far, in order: equal on all replicas at the same index. */
uint64_t machine_hash(const struct machine *machine);
/* The number that the next new message of the partition gets: 1 or more. */
uint64_t machine_message_next(const struct machine *machine);
/* The number of the next OP_SEND: one more than the highest that was ever there; 1 or more. */
uint64_t machine_send_next(const struct machine *machine);
/* The latest time that any entry said: no clock of the leader may be behind it. 0: none. */
uint64_t machine_wall_ms(const struct machine *machine);

/*
 * Apply one entry; index is the last one + 1 or more (entries of the engine's own have no bytes and
 * may be left out). May have to write what is in the set already, to read it back: then the set is
 * written to the map first. ERR_CORRUPT, ERR_UNSUPPORTED, ERR_IO, ERR_NO_SPACE, ERR_NOMEM: nothing of
 * this entry is in the set, and it may be tried again.
 *
 * From OK on the machine is ahead of the map until the set is written. When it is dropped, the machine
 * is of no use any more: close it (I3).
 */
enum err machine_apply(struct machine *machine, uint64_t index, uint64_t term, struct slice bytes,
                       struct write_set *writes);

/*
 * Everything the partition holds in the map, in the order of the table; each pointer borrowed for the
 * call. A session comes before what it has; its items in order of sequence, a shared message filled in.
 * Who is NULL is not told. An error of a call ends the walk and is returned. ERR_CORRUPT: also a part
 * without its session, and an item whose message is not there. ERR_IO, ERR_NOMEM.
 */
struct machine_reader {
    enum err (*received)(void *context, uint32_t source, uint64_t number);
    enum err (*outbox)(void *context, uint64_t number, const struct outgoing_record *record);
    enum err (*retained)(void *context, const struct msg_spec *message);
    enum err (*session)(void *context, const struct session_record *session);
    enum err (*subscription)(void *context, uint64_t session, const struct op_subscribe *record);
    enum err (*packet_id)(void *context, uint64_t session, uint16_t packet_id);
    enum err (*item)(void *context, uint64_t session, uint64_t sequence,
                     const struct item_record *item);
    enum err (*taken)(void *context, uint32_t source, uint64_t number, uint64_t group);
};
enum err machine_read(struct machine *machine, const struct machine_reader *reader, void *context);

/*
 * The same in parts: the map is seen as it was at machine_walk_new(), and nothing may be applied to the
 * machine meanwhile. machine_walk_step(): so many keys more; *is_done: that was all. An error ends the walk.
 */
struct machine_walk;
struct machine_walk *machine_walk_new(struct machine *machine, const struct machine_reader *reader,
                                      void *context); /* NULL: memory is exhausted */
enum err machine_walk_step(struct machine_walk *walk, uint32_t keys_max, bool *is_done);
void machine_walk_free(struct machine_walk *walk); /* accepts NULL */

/*
 * What the map has of what is owed to a session, from that sequence on, in order: count_max of them, or
 * as many as make bytes_max, but at least one; fewer: there are no more. Memory is the arena's.
 * ERR_CORRUPT, ERR_IO, ERR_NOMEM.
 */
enum err machine_read_items(struct machine *machine, uint64_t session, uint64_t from_sequence,
                            uint32_t count_max, size_t bytes_max, struct arena *arena,
                            struct stored_item **out, uint32_t *count_out);

/* An item of a walk as those are told; what it points to is the record's. */
struct stored_item machine_stored_item(uint64_t sequence, const struct item_record *record);

/*
 * The retained message of a topic of that partition, as the map of the state has it; no machine is
 * asked, so it may be another shard's. key is scratch, memory is the arena's, out->topic is topic.
 * ERR_NOT_FOUND: there is none. ERR_CORRUPT, ERR_IO, ERR_NOMEM.
 */
struct key;
enum err machine_read_retained(struct kv *state, uint32_t partition, struct slice topic,
                               struct key *key, struct arena *arena, struct msg_spec *out);

/*
 * XOR of XXH3 over all keys and values of the partition in the map, but for A: equal states, however
 * they came about. ERR_IO, ERR_CORRUPT.
 */
enum err machine_digest(struct machine *machine, uint64_t *out);

#endif
