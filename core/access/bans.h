/*
 * bans: who is not let in, and until when.
 *
 *     ban address 203.0.113.7        at accept, before any TLS work
 *     ban network 198.51.100.0/24    likewise
 *     ban client meter-17            at CONNECT
 *     ban user mallory               at CONNECT; in quotes if the name has blanks
 *
 * Those of the configuration hold until it no longer says so; others are added while it runs, with
 * an end or without, by an operator or because a client flaps. These live as long as the process:
 * nothing of them is on disk.
 *
 * Floor:  access.
 * Thread: any; a lock for reading and writing. Where there is no ban of a kind, nobody takes it.
 * Memory: at most BANS_MAX entries. What has ended is removed when another is added.
 */
#ifndef TERN_ACCESS_BANS_H
#define TERN_ACCESS_BANS_H

#include "core/base/err.h"
#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum { BANS_MAX = 1 << 16, BAN_REASON_MAX = 127 };

enum ban_kind { BAN_ADDRESS, BAN_NETWORK, BAN_CLIENT, BAN_USER, BAN_KIND_COUNT };
enum ban_by { BAN_BY_CONFIG, BAN_BY_OPERATOR, BAN_BY_FLAPPING, BAN_BY_COUNT };

struct ban {
    enum ban_kind kind;
    enum ban_by by;
    struct slice value;
    struct slice reason;        /* for people; longer ones are cut */
    uint64_t until_wall_ms;     /* 0: for ever */
    uint64_t id, since_wall_ms; /* the id grows; both are given when it is added */
};

const char *ban_kind_name(enum ban_kind kind);
enum ban_kind ban_kind_find(struct slice name); /* BAN_KIND_COUNT: none has this name */
const char *ban_by_name(enum ban_by by);

/* Read one `ban`; value is borrowed from text. ERR_INVALID: why tells. */
enum err ban_parse(struct slice text, struct ban *out, char why[256]);

struct bans;

/* NULL: memory is exhausted. */
struct bans *bans_new(uint64_t seed);
void bans_free(struct bans *bans); /* accepts NULL */

/*
 * Ban, texts are copied; a ban of the same kind and value is replaced. *id: the new one's, may be
 * NULL. ERR_INVALID: value is no address or network; ERR_EXISTS: the configuration bans it, for as
 * long as it says so; ERR_LIMIT: there are BANS_MAX; ERR_NOMEM.
 */
enum err bans_add(struct bans *bans, const struct ban *ban, uint64_t wall_ms, uint64_t *id);

/* ERR_NOT_FOUND; ERR_PERMISSION: it is one of the configuration's. */
enum err bans_remove(struct bans *bans, enum ban_kind kind, struct slice value);
enum err bans_remove_id(struct bans *bans, uint64_t id);

/* The configuration's from now on; those it had are gone. ERR_LIMIT, ERR_NOMEM: some are missing. */
enum err bans_set_config(struct bans *bans, const struct ban *list, uint32_t count,
                         uint64_t wall_ms);

/* At accept: ip_bytes are 4 or 16; 0: a Unix socket. What bans it, or BAN_KIND_COUNT: nothing does. */
enum ban_kind bans_find_address(struct bans *bans, const uint8_t *ip, uint32_t ip_bytes,
                                uint64_t wall_ms);

/* At CONNECT. */
enum ban_kind bans_find_client(struct bans *bans, struct slice client_id, bool has_user,
                               struct slice username, uint64_t wall_ms);

/*
 * Show up to count bans that have not ended, in the order of their ids, beginning after the id
 * `after` (0: the first). Locked for reading: visit may not change bans. Returns how many.
 */
uint32_t bans_page(struct bans *bans, uint64_t after, uint32_t count, uint64_t wall_ms,
                   void (*visit)(void *context, const struct ban *ban), void *context);

uint32_t bans_count(struct bans *bans); /* with those that have ended and were not removed yet */

#endif
