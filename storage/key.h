/*
 * key: how the state of a node lies in its map. One byte says the partition, so that a partition is
 * one range; all of a session is one range in it.
 *
 *     p 'A'                      how far the log is applied, and the machine's own counters
 *     p 'C' number8              how many items still share that message
 *     p 'L' source1              how far the outbox of that partition has been received
 *     p 'M' number8              a message that several items share
 *     p 'O' number8              outbox: a message on its way to other partitions
 *     p 'R' topic                the retained message of a topic
 *     p 'S' session8             the session, as it was opened
 *     p 'S' session8 'C'         its connection is gone: since when, and until when it lasts
 *     p 'S' session8 'D'         its will
 *     p 'S' session8 'F' text    a subscription
 *     p 'S' session8 'I' id2     a QoS 2 packet id of the client
 *     p 'S' session8 'Q' seq8    a message owed, by its sequence
 *     p 'T' source1 number8 group8   that message of that outbox was taken for that share group
 *
 * Numbers are big-endian, so that they sort as numbers. C and D stand apart from the session, so that
 * what ends a connection or a will is written without reading. Values are records of proto/store.proto
 * (machine.h says which) without a sum of ours: the map's files have sums, block by block.
 *
 * Floor:  storage.
 */
#ifndef TERN_STORAGE_KEY_H
#define TERN_STORAGE_KEY_H

#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum { KEY_BYTES_MAX = 1 + 1 + 8 + 1 + 65535 + 65535 };

enum key_kind {
    KEY_APPLIED = 'A',
    KEY_SHARED_COUNT = 'C',
    KEY_RECEIVED = 'L',
    KEY_MESSAGE = 'M',
    KEY_OUTBOX = 'O',
    KEY_RETAINED = 'R',
    KEY_SESSION = 'S',
    KEY_TAKEN = 'T',
};
enum key_part {
    PART_SESSION = 0, /* the session itself */
    PART_AWAY = 'C',
    PART_WILL = 'D',
    PART_SUBSCRIPTION = 'F',
    PART_PACKET_ID = 'I',
    PART_ITEM = 'Q',
};

/* A key under construction: large enough for any, so not one for every thread's stack. */
struct key {
    size_t count;
    uint8_t bytes[KEY_BYTES_MAX];
};

static inline struct slice key_slice(const struct key *key)
{
    return slice_of(key->bytes, key->count);
}

/* partition: at most 255. Texts: at most 2 * 65535 bytes. */
void key_of_partition(struct key *key, uint32_t partition); /* what all of it begins with */
/* A as it is, of the others what they begin with. */
void key_of_kind(struct key *key, uint32_t partition, enum key_kind kind);
void key_of_number(struct key *key, uint32_t partition, enum key_kind kind, uint64_t number);
void key_of_taken(struct key *key, uint32_t partition, uint32_t source, uint64_t number,
                  uint64_t group);
void key_of_retained(struct key *key, uint32_t partition, struct slice topic);
void key_of_session(struct key *key, uint32_t partition, uint64_t session);
void key_of_session_part(struct key *key, uint32_t partition, uint64_t session, enum key_part part);
void key_of_subscription(struct key *key, uint32_t partition, uint64_t session, struct slice text);
void key_of_packet_id(struct key *key, uint32_t partition, uint64_t session, uint16_t packet_id);
void key_of_item(struct key *key, uint32_t partition, uint64_t session, uint64_t sequence);

/* The first key behind all that begin with this one: the end of a range. Empty: there is none. */
void key_end(struct key *key);

/* What a key is of; text is borrowed from bytes. false: no key of ours. */
struct key_parts {
    uint32_t partition;
    enum key_kind kind;
    enum key_part part;
    uint64_t number;   /* of C, L, M, O, T; the session of S */
    uint64_t second;   /* packet id, sequence, group */
    uint32_t source;   /* of T */
    struct slice text; /* topic of R, text of F */
};
bool key_read(struct slice bytes, struct key_parts *out);

#endif
