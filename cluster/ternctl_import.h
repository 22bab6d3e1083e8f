/*
 * ternctl_import: what lasts, put into a closed store.
 *
 *     ternctl_import.c             the command
 *     ternctl_import_lines.c       from JSON lines (storage/dump.h)
 *     ternctl_import_mosquitto.c   from mosquitto's persistence file
 *     ternctl_import_sink.c        sessions, messages -> ops -> journal
 *     ternctl_import_store.c       the store, and its journal
 *
 * Everything goes in as ops through the journal that shards use (cluster/journal_raft.h): it becomes
 * entries of the raft log, is synced, and applied, like what clients do. So replay is right because
 * it is the usual one: whatever moment a crash comes at, the next start finds a prefix of these
 * entries. State written past the log would need an applied index that no log knows of, and a second
 * way to change a session.
 *
 * Floor:  cluster; a part of ternctl.
 * Thread: one.
 */
#ifndef TERN_CLUSTER_TERNCTL_IMPORT_H
#define TERN_CLUSTER_TERNCTL_IMPORT_H

#include "core/base/map.h"
#include "core/session/journal.h"
#include "core/session/session.h"
#include "storage/dump.h"

#include <stdio.h>

struct import_figures {
    uint64_t sessions, subscriptions, messages, packet_ids, retained, on_their_way;
    /* Left out, and why. */
    uint64_t sessions_there;     /* the store has a session of that client */
    uint64_t sessions_over;      /* expired, or end with their connection */
    uint64_t messages_over;      /* expired */
    uint64_t messages_qos0;      /* are not kept for who is away */
    uint64_t retained_there;     /* the store has a retained message of that topic */
    uint64_t of_nobody;          /* belongs to a session that is not there, or was left out */
    uint64_t usernames_left;     /* mosquitto's file does not tell whose the session is */
    uint64_t packet_ids_changed; /* QoS 2 in flight whose packet id could not be kept */
    uint64_t perhaps_twice;      /* on their way when they were exported, into a store in use */
};

/* A session that things are put into. */
struct import_session {
    struct slice client_id; /* owned */
    uint64_t key;
    uint32_t partition;
    bool is_left_out, was_open;
    uint32_t expiry_s;      /* from now on */
    uint64_t sequence_last; /* of a message */
    uint64_t sent_sequence; /* see op_close */
};

struct import {
    struct journal *journal;
    /* Let the journal go on with what was logged; may wait for it a little. */
    void (*turn)(struct import *import);
    /* Is there a retained message of that topic? NULL: there is none at all. */
    bool (*has_retained)(struct import *import, struct slice topic);
    uint64_t wall_ms; /* now, for all of it */
    bool is_fresh;    /* there was no session, outbox or retained message in the store */
    uint64_t key_last;
    struct map *sessions;                  /* by client id: struct import_session */
    uint64_t outbox_last[PARTITION_COUNT]; /* numbers given */
    uint64_t bytes_open;                   /* logged since the last turn */
    bool is_finished;                      /* the journal has told import_finish() */
    enum err finish_err;
    struct import_figures figures;
};

/* ---- the sink ---------------------------------------------------------------------------------- */

/* What it holds is empty afterwards. ERR_NOMEM. */
enum err import_init(struct import *import, uint64_t seed);
void import_deinit(struct import *import);

/* A client of which the store has a session: what is imported of it is left out. ERR_NOMEM. */
enum err import_knows(struct import *import, struct slice client_id);

/*
 * A session begins. key 0: a new one. *out is the import's; if its time is over, what is put into it
 * is left out. ERR_EXISTS: there is one of that client, it is counted. Errors of the journal; ERR_NOMEM.
 */
enum err import_open(struct import *import, const struct session_record *record,
                     struct import_session **out);
struct import_session *import_find(const struct import *import, struct slice client_id);
enum err import_subscribe(struct import *import, struct import_session *session,
                          const struct op_subscribe *subscription);
enum err import_packet_id(struct import *import, struct import_session *session,
                          uint16_t packet_id);
/* sequence: greater than 0; grows, or what came before with that number is replaced. */
enum err import_item(struct import *import, struct import_session *session, uint64_t sequence,
                     const struct item_record *item);
/* All of it has been put in, but for subscriptions: its time begins to run. */
enum err import_close(struct import *import, struct import_session *session);

enum err import_retained(struct import *import, const struct msg_spec *spec);
/* A message on its way. number 0: the next one. */
enum err import_send(struct import *import, uint32_t partition, uint64_t number,
                     const struct outgoing_record *record);
enum err import_received(struct import *import, uint32_t partition, uint32_t source,
                         uint64_t number);
enum err import_taken(struct import *import, uint32_t partition, uint32_t source, uint64_t number,
                      uint64_t group);

/* Once: wait until all of it is on stable storage. ERR_UNAVAILABLE: the journal is fenced; ERR_NO_SPACE. */
enum err import_finish(struct import *import);

/* ---- where it comes from: exit codes; stderr has been told --------------------------------------- */

int import_lines(struct import *import, FILE *in);
int import_mosquitto(struct import *import, const char *path);

/* "ternctl import: ...", of an error of the sink. Returns the exit code. */
int import_failed(enum err err);

/* ---- the store ------------------------------------------------------------------------------------ */

struct import_store;

/* Opens it, or makes a new one. TERNCTL_OK; else the exit code, and stderr has been told. */
int import_store_open(const char *folder, struct import_store **out);
struct import *import_store_sink(struct import_store *store);
/* is_wanted false: a store that was new is removed. Was it? Accepts NULL. */
bool import_store_close(struct import_store *store, bool is_wanted);

#endif
