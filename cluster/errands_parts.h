/*
 * errands_parts: what errands.c (as a sender) and errands_serve.c (as a receiver) have in common. Nobody
 * else includes it.
 *
 * Floor:  cluster.
 */
#ifndef TERN_CLUSTER_ERRANDS_PARTS_H
#define TERN_CLUSTER_ERRANDS_PARTS_H

#include "cluster/errands.h"
#include "core/base/list.h"
#include "core/base/map.h"
#include "core/session/session.h"

/* What a node has sent us, in one life of it. */
struct sender {
    uint32_t node;
    uint64_t incarnation;
    uint64_t shut;                  /* partitions of which nothing is taken but a restart: E2 */
    uint64_t seen[PARTITION_COUNT]; /* the last number that was taken */
    struct list serving, refused;   /* of struct served */
};

/* An errand that is being served for somebody, or was refused. */
struct served {
    struct list link;
    struct errands *errands;
    struct sender *sender; /* NULL: ourselves */
    uint64_t number, partitions;
    enum err err;
};

struct errands {
    uint32_t node;
    uint64_t incarnation;
    struct errands_host host;
    struct list kept;
    struct map *by_number;
    uint64_t kept_bytes, number_last, sent_again;
    uint64_t now_ms;
    uint64_t deadline_ms; /* no errand's is earlier; UINT64_MAX: none has one */
    uint64_t retry_ms;    /* when blocked partitions are looked at again; UINT64_MAX: none is */
    uint64_t fresh;       /* partitions of which the next one that is sent is a restart */
    uint32_t target[PARTITION_COUNT];     /* whom its errands go to; 0: nobody, they wait */
    uint32_t open_count[PARTITION_COUNT]; /* of those that are kept */
    struct map *senders;                  /* by node */
    struct list local;                    /* of struct served: of our own, led here meanwhile */
    struct buf scratch;
};

static inline uint64_t errands_bit(uint32_t partition)
{
    return UINT64_C(1) << partition;
}

static inline uint32_t errands_lowest(uint64_t partitions)
{
    return (uint32_t)__builtin_ctzll(partitions);
}

/* Those of them that are led here, and loaded. */
uint64_t errands_led_here(struct errands *errands, uint64_t partitions);

/* Senders, by node. NULL: memory. */
struct map *errands_senders_new(void);
void errands_senders_free(struct map *senders);

#endif
