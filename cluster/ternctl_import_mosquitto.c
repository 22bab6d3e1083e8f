#include "cluster/ternctl.h"
#include "cluster/ternctl_import.h"
#include "cluster/ternctl_mosquitto_db.h"
#include "core/pubsub/topic.h"
#include "core/wire/props.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * Packet ids. Ours follow from the sequence of a message, 1 + sequence modulo 65535. So what is in
 * flight is given the next sequence that comes to the packet id mosquitto gave it: then a client that
 * has the message already, at QoS 2, knows it by its id, and a PUBREL finds its end. What was not sent
 * yet simply follows.
 */
enum { PACKET_IDS = 65535, SEQUENCE_BEGIN = PACKET_IDS - 1 /* so that the next one has id 1 */ };

struct source {
    struct import *import;
    struct import_session *session; /* of the last client; NULL: left out */
    uint64_t sequence;              /* the last one given to it */
    uint64_t flight_first;          /* of its messages in flight; 0: none */
};

static enum err client_end(struct source *source)
{
    struct import_session *session = source->session;
    source->session = NULL;
    return session == NULL ? OK : import_close(source->import, session);
}

static uint32_t expiry_of(const struct source *source, const struct mosquitto_client *client)
{
    uint64_t now_ms = source->import->wall_ms, until_ms = client->expires_wall_ms;
    if (client->expiry_s == MOSQUITTO_NEVER || client->expiry_s == 0 || until_ms == 0) {
        return client->expiry_s == MOSQUITTO_NEVER ? EXPIRY_NEVER : client->expiry_s;
    }
    if (until_ms <= now_ms) {
        return 0;
    }
    uint64_t left = (until_ms - now_ms + 999) / 1000;
    return left < client->expiry_s ? (uint32_t)left : client->expiry_s;
}

static enum err on_client(void *context, const struct mosquitto_client *client)
{
    struct source *source = context;
    struct session_record record = {
        .open = {.client_id = client->id, .username = client->username},
        .is_closed = true,
        .closed_wall_ms = source->import->wall_ms,
        .opened_wall_ms = source->import->wall_ms,
    };
    TRY(client_end(source));
    record.open.expiry_s = expiry_of(source, client);
    source->sequence = SEQUENCE_BEGIN;
    source->flight_first = 0;
    source->import->figures.usernames_left += client->is_username_doubtful;
    enum err err = import_open(source->import, &record, &source->session);
    return err == ERR_EXISTS ? OK : err;
}

/* ---- messages --------------------------------------------------------------------------------------- */

/* The message as we keep it; *room is to be freed. publisher: its session, or NULL. ERR_NOMEM. */
static enum err spec_of(const struct mosquitto_message *message,
                        const struct import_session *publisher, const struct import *import,
                        struct msg_spec *out, uint8_t **room)
{
    size_t count = props_forwardable_size(message->props);
    uint64_t now_ms = import->wall_ms, until_ms = message->expires_wall_ms;
    *room = NULL;
    *out = (struct msg_spec){
        .qos = message->qos,
        .retain = message->retain,
        .publisher = publisher == NULL ? 0 : publisher->key,
        .expires_wall_ms = until_ms,
        .expiry_s = until_ms > now_ms ? (uint32_t)((until_ms - now_ms + 999) / 1000) : 0,
        .topic = message->topic,
        .payload = message->payload,
    };
    if (count > 0) {
        *room = malloc(count);
        if (*room == NULL) {
            return ERR_NOMEM;
        }
        struct writer w = writer_of(*room, count);
        props_copy_forwardable(message->props, &w);
        out->props = slice_of(*room, count);
    }
    return OK;
}

/* The sequence that a message is given. false: of one in flight, the packet id is another now. */
static bool sequence_next(struct source *source, const struct mosquitto_item *item)
{
    bool is_in_flight = item->step != MOSQUITTO_QUEUED && item->packet_id != 0;
    if (!is_in_flight) {
        source->sequence++;
        return item->step == MOSQUITTO_QUEUED;
    }
    uint64_t wanted = item->packet_id - 1u, now = source->sequence % PACKET_IDS;
    uint64_t step = (wanted + PACKET_IDS - now) % PACKET_IDS;
    uint64_t next = source->sequence + (step == 0 ? PACKET_IDS : step);
    bool is_near = source->flight_first == 0 || next - source->flight_first < PACKET_IDS;
    /* In flight, sequences span less than all packet ids: who is out of order gets the next one. */
    source->sequence = is_near ? next : source->sequence + 1;
    source->flight_first = source->flight_first == 0 ? source->sequence : source->flight_first;
    return is_near;
}

static enum err owe(struct source *source, const struct mosquitto_item *item,
                    const struct msg_spec *spec)
{
    struct item_record record = {
        .spec = *spec,
        .ids = item->ids,
        .id_count = item->id_count,
        .qos = item->qos,
        .retain = item->retain,
        .awaits_pubcomp = item->step == MOSQUITTO_WAITS_PUBCOMP && item->qos == 2,
    };
    if (item->qos > 0) {
        bool is_kept = sequence_next(source, item);
        source->import->figures.packet_ids_changed += !is_kept && item->qos == 2;
        if (item->step != MOSQUITTO_QUEUED) {
            source->session->sent_sequence = source->sequence;
        }
    }
    return import_item(source->import, source->session, source->sequence, &record);
}

/*
 * It has our PUBREC, and mosquitto gives it to others when the PUBREL comes. Tern has promised it to
 * all who want it from the PUBREC on: it is on its way, and its packet id is taken.
 */
static enum err pass_on(struct source *source, const struct mosquitto_item *item,
                        const struct msg_spec *spec)
{
    if (item->qos != 2 || item->packet_id == 0) {
        return OK; /* the client sends it again */
    }
    TRY(import_packet_id(source->import, source->session, item->packet_id));
    struct outgoing_record record = {.message = *spec};
    return import_send(source->import, source->session->partition, 0, &record);
}

static enum err on_item(void *context, const struct mosquitto_item *item)
{
    struct source *source = context;
    struct import_session *session = source->session;
    struct msg_spec spec;
    uint8_t *room;
    if (session == NULL || session->is_left_out ||
        !slice_equal(session->client_id, item->client_id)) {
        source->import->figures.of_nobody++;
        return OK;
    }
    bool has_come = item->step == MOSQUITTO_CAME;
    TRY(spec_of(item->message, has_come ? session : NULL, source->import, &spec, &room));
    enum err err = has_come ? pass_on(source, item, &spec) : owe(source, item, &spec);
    free(room);
    return err;
}

static enum err on_retained(void *context, const struct mosquitto_message *message)
{
    struct source *source = context;
    struct msg_spec spec;
    uint8_t *room;
    TRY(spec_of(message, import_find(source->import, message->source_id), source->import, &spec,
                &room));
    spec.retain = true;
    enum err err = import_retained(source->import, &spec);
    free(room);
    return err;
}

static enum err on_subscription(void *context, const struct mosquitto_subscription *subscription)
{
    struct source *source = context;
    struct import_session *session = import_find(source->import, subscription->client_id);
    struct topic_filter parts;
    if (session == NULL) {
        source->import->figures.of_nobody++;
        return OK;
    }
    enum err err = topic_filter_parse(subscription->filter, UINT32_MAX, &parts);
    ASSERT(err == OK); /* the reader has looked */
    struct op_subscribe record = {
        .text = subscription->filter,
        .share_name = parts.share,
        .filter = parts.filter,
        .id = subscription->id,
        .qos = subscription->qos,
        .no_local = subscription->no_local,
        .retain_as_published = subscription->retain_as_published,
    };
    return import_subscribe(source->import, session, &record);
}

/* ---- the file --------------------------------------------------------------------------------------- */

static int file_failed(const char *path, const char *why)
{
    fprintf(stderr, "ternctl import: cannot read %s: %s\n", path, why);
    return TERNCTL_DATA;
}

static int bytes_import(struct import *import, const char *path, struct slice bytes)
{
    static const struct mosquitto_events events = {on_client, on_item, on_subscription,
                                                   on_retained};
    struct source source = {.import = import};
    struct mosquitto_figures figures;
    struct mosquitto_trouble trouble;
    enum err err = mosquitto_db_read(bytes, &events, &source, &figures, &trouble);
    if (err != OK && trouble.text[0] != '\0') {
        return file_failed(path, trouble.text);
    }
    err = err != OK ? err : client_end(&source);
    if (err != OK) {
        return import_failed(err);
    }
    if (figures.invalid_count + figures.lost_count + figures.unknown_count > 0) {
        fprintf(stderr,
                "ternctl import: warning: in %s %llu entries are such as no client can have sent, "
                "%llu are of messages that are not in it, %llu are of an unknown kind: left out\n",
                path, (unsigned long long)figures.invalid_count,
                (unsigned long long)figures.lost_count, (unsigned long long)figures.unknown_count);
    }
    return TERNCTL_OK;
}

int import_mosquitto(struct import *import, const char *path)
{
    struct stat info;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (file < 0) {
        return file_failed(path, err_text(err_from_errno(errno)));
    }
    if (fstat(file, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size == 0) {
        close(file);
        return file_failed(path, "it is empty, or no file: give mosquitto.db");
    }
    /* Mapped, not loaded: mosquitto replaces the file as a whole, it never changes it. */
    void *bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    close(file);
    if (bytes == MAP_FAILED) {
        return file_failed(path, err_text(err_from_errno(errno)));
    }
    int status = bytes_import(import, path, slice_of(bytes, (size_t)info.st_size));
    munmap(bytes, (size_t)info.st_size);
    return status;
}
