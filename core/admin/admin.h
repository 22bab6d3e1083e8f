/*
 * admin: the HTTP listener: /metrics for Prometheus, /health for balancers and orchestrators, and the
 * API that ternctl asks.
 *
 * Floor:  admin; runs on the io of one shard and never waits.
 * Thread: the shard whose io and wheel were handed in; metrics of other shards are only read.
 * Memory: at most ADMIN_CONNECTIONS_MAX connections of ADMIN_HEAD_BYTES_MAX, a body of
 *         ADMIN_BODY_BYTES_MAX and an answer each, and up to twice as many that are closing.
 *
 * What it bounds, so that nobody who can reach it harms the shard or locks others out:
 *   a head has to be complete ADMIN_HEAD_NS after its first byte, however slowly it drips;
 *   a body has to be complete ADMIN_BODY_NS after its head;
 *   each piece of an answer has to be read within ADMIN_SEND_NS;
 *   a connection may idle ADMIN_IDLE_NS between requests; the first has to begin in ADMIN_HEAD_NS;
 *   when all connections are taken, the one that has been waiting longest makes room for the next;
 *   requests sent at once (pipelining) are answered one per turn, and text made once per turn serves
 *   all who ask in that turn.
 *   who asks all shards gets an answer within ADMIN_ASK_NS, from those that have answered by then.
 * Requests with a body that no route wants are answered and closed.
 *
 * Whoever reaches the listener may read /metrics and /health. The API (/api/) tells and changes more,
 * and there are no keys yet: it is for a Unix socket, and for a TCP listener of loopback with
 * everybody on this machine behind it, except the browsers (visitor.h).
 */
#ifndef TERN_ADMIN_ADMIN_H
#define TERN_ADMIN_ADMIN_H

#include "core/base/err.h"
#include "core/base/metrics.h"
#include "core/base/wheel.h"
#include "core/io/io.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    ADMIN_CONNECTIONS_MAX = 64,
    ADMIN_HEAD_BYTES_MAX = 8192,
    ADMIN_BODY_BYTES_MAX = 65536,
    ADMIN_LISTENERS_MAX = 2,
    ADMIN_BACKUP_PATH_BYTES = 1024,
};

#define ADMIN_HEAD_NS 5000000000ull  /* 5 s */
#define ADMIN_BODY_NS 5000000000ull  /* 5 s */
#define ADMIN_ASK_NS  2000000000ull  /* 2 s */
#define ADMIN_SEND_NS 5000000000ull  /* 5 s */
#define ADMIN_IDLE_NS 75000000000ull /* 75 s: longer than the usual minute between two scrapes */

/* Of core/broker/explain.h. */
struct explain;
struct explain_question;
struct explain_story;

struct ban; /* of core/access/bans.h */
struct bans;
struct security;

/* What guards the listeners now, and how often it was read anew. */
struct admin_security {
    const struct security *security;   /* until the turn ends; NULL: nothing is guarded */
    uint64_t reload_count, fail_count; /* since the start: of these so many found something bad */
};

/* What is kept on disk, and how that goes. */
struct admin_storage {
    bool is_kept;    /* false: state is in memory alone, and nothing else in here is set */
    enum err admits; /* OK, ERR_NO_SPACE: what would last is refused; ERR_IO: until a restart */
    uint64_t syncs, sync_ns, appends, append_bytes, applied, flushes, cuts, free_bytes;
};

/* The last copy of the store that was asked for since the start. */
enum admin_backup_state {
    ADMIN_BACKUP_NONE,
    ADMIN_BACKUP_RUNNING,
    ADMIN_BACKUP_DONE,
    ADMIN_BACKUP_FAILED
};

struct admin_backup {
    enum admin_backup_state state;
    uint64_t since_wall_ms, until_wall_ms; /* until: 0 while it runs */
    char folder[ADMIN_BACKUP_PATH_BYTES];
    char why[1024]; /* of one that failed: what to do */
};

/* Where the answers come from; all of it is borrowed for the life of the admin. */
struct admin_sources {
    struct metrics *const *metrics; /* one per shard; [0] is of the shard that admin runs on */
    uint32_t metrics_count;         /* 1 or more */
    uint64_t start_wall_ms;
    bool (*is_draining)(void *context); /* NULL: never */
    /* explain_ask() of this shard, explain_tell(), explain_end(). NULL, all three: it is not told. */
    enum err (*explain_ask)(void *context, const struct explain_question *question,
                            struct explain **out);
    enum err (*explain_tell)(const struct explain *explain, struct explain_story *out);
    void (*explain_end)(struct explain *explain);
    struct bans *bans; /* NULL: there is no list */
    /* A ban was added: whoever it concerns and is connected has to go. NULL: nobody goes. */
    void (*banned)(void *context, const struct ban *ban);
    /* Called in the thread of the admin's shard. NULL: nothing is guarded. */
    void (*security)(void *context, struct admin_security *out);
    void (*storage)(void *context, struct admin_storage *out); /* NULL: nothing is kept */
    /* Begin to copy the store into a new folder, elsewhere; ERR_BUSY: one is being made; ERR_NOMEM.
     * NULL, both: nothing is kept on disk. Called in the thread of the admin's shard. */
    enum err (*backup_begin)(void *context, const char *folder);
    void (*backup_look)(void *context, struct admin_backup *out);
    void *context;
};

struct admin;

/*
 * Listen at that address. `at` with port 0: the kernel picks one, admin_address() tells.
 * Errors of io_listen(), ERR_NOMEM.
 */
enum err admin_new(struct io *io, struct wheel *wheel, const struct address *at,
                   const struct admin_sources *sources, struct admin **out);

/* The same at one more address; ADMIN_LISTENERS_MAX in all. Errors of io_listen(). */
enum err admin_listen(struct admin *admin, const struct address *at);

/* Where it listens; index 0 is that of admin_new(). false: there is no such listener. */
bool admin_address(const struct admin *admin, uint32_t index, struct address *out);

/* Connections that hold memory, closing ones too. */
uint32_t admin_connection_count(const struct admin *admin);

/* Stop listening and close all connections; they are gone some turns later. Safe twice. */
void admin_stop(struct admin *admin);

/*
 * Free the memory. Either after io_free() of its io, or after admin_stop() once
 * admin_connection_count() is 0; before wheel_free() in both cases. Accepts NULL.
 */
void admin_free(struct admin *admin);

#endif
