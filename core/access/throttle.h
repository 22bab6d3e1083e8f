/*
 * throttle: who guesses passwords waits, longer after each failure; the honest owner gets in.
 *
 *     ask ──> OK: check the password, then tell how it went
 *      │
 *      ├────> ERR_AGAIN: ask again at *again_ns
 *      └────> ERR_CONNECT_RATE: it would wait too long, or too many wait
 *
 * Failures are counted for four keys, and forgotten with time:
 *
 *     key                    free  one forgotten  then the next check is delayed by
 *     address and identity      3      every 60 s  0.5 s, doubled by each failure, up to delay_max
 *     address                  20      every  5 s  as above       (a spray over many identities)
 *     prefix (/24, /64)       100      every  1 s  as above       (the same from a network)
 *     identity                 10      every 10 s  see below      (a distributed guess)
 *
 * What keeps the honest owner from being locked out:
 *   - where an identity has logged in before (the last THROTTLE_GOOD_MAX hosts are remembered: an
 *     address of IPv4, a /64 of IPv6), only the first key counts: what others do elsewhere, or with
 *     other identities, delays nothing;
 *   - the key of the identity alone delays a host that has not failed with it yet by chance, at most
 *     THROTTLE_LOTTERY_NS, and never refuses it: an attacker needs new hosts all the time;
 *   - a success forgets the failures of the first key;
 *   - what is refused was not checked and counts as no failure.
 * What it cannot do: who logs in for the first time since the broker started, from an address that
 * others spray from at that moment, competes with them for the checks that this address is given.
 *
 * Floor:  access.
 * Thread: shared by all shards; stripes with a lock each, one held at a time.
 * Memory: at most entries_max entries, the least recently used go first; as many records of hosts
 *         where identities were good, apart, so that failures never push these out.
 */
#ifndef TERN_ACCESS_THROTTLE_H
#define TERN_ACCESS_THROTTLE_H

#include "core/base/err.h"
#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    THROTTLE_ENTRIES_MAX = 1 << 17, /* of about 150 bytes */
    THROTTLE_GOOD_MAX = 8,
    THROTTLE_PENDING_MAX = 8,    /* checks at once for an address and identity... */
    THROTTLE_WAITING_MAX = 4096, /* who waits, in all */
};
#define THROTTLE_LOTTERY_NS UINT64_C(4000000000)
#define THROTTLE_DELAY_NS   UINT64_C(500000000) /* after the first failure that is not free */
#define THROTTLE_RETRY_NS   UINT64_C(100000000) /* ...more look again after this time */

struct throttle;

struct throttle_options {
    uint32_t failures_free; /* of an address and identity; 0: nobody is delayed at all */
    uint64_t delay_max_ns;
    uint64_t wait_max_ns; /* who would wait longer is refused */
};

/* Who wants in. Borrowed for the call. */
struct throttle_who {
    const uint8_t *ip; /* ip_bytes of it: 4, 16, or 0: a Unix socket */
    uint32_t ip_bytes;
    struct slice identity; /* the user name */
};

/* One login; of its connection. Zero-initialised; moved with it, ended by one of the three below. */
struct throttle_ticket {
    uint64_t asked_ns, start_ns;
    bool is_waiting, is_checking;
};

/* Nobody is delayed before the first throttle_set(). NULL: memory is exhausted. */
struct throttle *throttle_new(uint64_t seed, uint32_t entries_max);
void throttle_free(struct throttle *throttle); /* accepts NULL */
void throttle_set(struct throttle *throttle,
                  const struct throttle_options *options); /* any thread */

/* May the password be checked? *again_ns is written with ERR_AGAIN. ERR_NOMEM. */
enum err throttle_ask(struct throttle *throttle, struct throttle_ticket *ticket,
                      const struct throttle_who *who, uint64_t now_ns, uint64_t *again_ns);

/* It was checked: wrong, or right. */
void throttle_failed(struct throttle *throttle, struct throttle_ticket *ticket,
                     const struct throttle_who *who, uint64_t now_ns);
void throttle_succeeded(struct throttle *throttle, struct throttle_ticket *ticket,
                        const struct throttle_who *who, uint64_t now_ns);

/* Nobody waits for the answer any more, or there was none. Also without having asked. */
void throttle_gave_up(struct throttle *throttle, struct throttle_ticket *ticket,
                      const struct throttle_who *who);

#endif
