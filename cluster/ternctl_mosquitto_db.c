#include "cluster/ternctl_mosquitto_db.h"

#include "core/base/utf8.h"
#include "core/pubsub/topic.h"
#include "core/wire/props.h"

#include <stdio.h>
#include <stdlib.h>

enum { MAGIC_BYTES = 15, HEAD_BYTES = MAGIC_BYTES + 8, PAYLOAD_MAX = VARINT_MAX };
enum { VERSION_MIN = 2, VERSION_USERNAMES = 4, VERSION_ALIGNED = 5, VERSION_MAX = 6 };

enum chunk_kind {
    CHUNK_CONFIG = 1,
    CHUNK_MESSAGE,
    CHUNK_ITEM,
    CHUNK_RETAINED,
    CHUNK_SUBSCRIPTION,
    CHUNK_CLIENT
};

static const uint8_t magic[MAGIC_BYTES] = {0,   0xB5, 0,   'm', 'o', 's', 'q', 'u',
                                           'i', 't',  't', 'o', ' ', 'd', 'b'};

/* Where a message begins, by its id. */
struct place {
    uint64_t id, at;
};

struct chunk {
    uint32_t kind;
    uint64_t message_id; /* of an item, a retained one */
    union {
        struct mosquitto_client client;
        struct mosquitto_message message;
        struct mosquitto_item item;
        struct mosquitto_subscription subscription;
    };
};

struct db {
    struct slice file;
    uint32_t version;
    struct place *places; /* sorted by id once all are there */
    size_t place_count, place_capacity;
    struct mosquitto_figures *figures;
    /* Of mosquitto 2.0.11's leak of user names: the last name, and that it may be repeated now. */
    struct slice username_last;
    bool is_leaking;
};

/* ---- pieces ---------------------------------------------------------------------------------- */

/* As amd64 and arm64 write them. Ids too: they are only compared. */
static enum err read_native(struct reader *r, size_t bytes, uint64_t *out)
{
    struct slice raw;
    uint64_t value = 0;
    TRY(read_bytes(r, bytes, &raw));
    for (size_t i = bytes; i > 0; i--) {
        value = value << 8 | raw.data[i - 1];
    }
    *out = value;
    return OK;
}

/* A point in time, in seconds; 0 and what no clock shows: none. */
static uint64_t wall_ms_of(uint64_t seconds)
{
    return seconds > UINT32_MAX * UINT64_C(1000) ? 0 : seconds * 1000;
}

static enum err read_props(struct reader *r, struct mqtt_props *out)
{
    if (reader_left(r) == 0) {
        props_clear(out);
        return OK;
    }
    return props_decode(r, MQTT_PUBLISH, out);
}

/* ---- formats 5 and 6: fixed parts first, aligned as C has them ----------------------------------- */

static enum err read_client(struct reader *r, uint32_t version, struct mosquitto_client *out)
{
    struct mosquitto_client client = {0};
    uint64_t expires_s;
    uint16_t id_bytes, port, username_bytes = 0;
    struct slice skipped;

    TRY(read_native(r, 8, &expires_s));
    TRY(read_u32(r, &client.expiry_s));
    TRY(read_u16(r, &client.packet_id_last));
    TRY(read_u16(r, &id_bytes));
    if (version > VERSION_ALIGNED) {
        TRY(read_u16(r, &port));
        TRY(read_u16(r, &username_bytes));
        TRY(read_bytes(r, 4, &skipped));
    }
    TRY(read_bytes(r, id_bytes, &client.id));
    if (username_bytes > 0) {
        TRY(read_bytes(r, username_bytes, &client.username));
    }
    client.expires_wall_ms = wall_ms_of(expires_s);
    *out = client;
    return OK;
}

static enum err read_message(struct reader *r, struct mosquitto_message *out)
{
    struct mosquitto_message message = {0};
    struct mqtt_props props;
    uint64_t expires_s;
    uint32_t payload_bytes;
    uint16_t source_packet_id, source_bytes, username_bytes, topic_bytes, port;
    uint8_t retain;
    struct slice skipped;

    TRY(read_native(r, 8, &message.id));
    TRY(read_native(r, 8, &expires_s));
    TRY(read_u32(r, &payload_bytes));
    TRY(read_u16(r, &source_packet_id));
    TRY(read_u16(r, &source_bytes));
    TRY(read_u16(r, &username_bytes));
    TRY(read_u16(r, &topic_bytes));
    TRY(read_u16(r, &port));
    TRY(read_u8(r, &message.qos));
    TRY(read_u8(r, &retain));
    TRY(read_bytes(r, source_bytes, &message.source_id));
    TRY(read_bytes(r, username_bytes, &skipped));
    TRY(read_bytes(r, topic_bytes, &message.topic));
    TRY(read_bytes(r, payload_bytes, &message.payload));
    TRY(read_props(r, &props));
    message.props = props.raw;
    message.retain = retain != 0;
    message.expires_wall_ms = wall_ms_of(expires_s);
    *out = message;
    return OK;
}

/* What mosquitto calls the state of a message, by number. */
static enum mosquitto_step step_of(uint8_t direction, uint8_t state)
{
    static const enum mosquitto_step steps[] = {
        [2] = MOSQUITTO_SENT,          /* publish at QoS 1 */
        [3] = MOSQUITTO_SENT,          /* wait for PUBACK */
        [4] = MOSQUITTO_SENT,          /* publish at QoS 2 */
        [5] = MOSQUITTO_SENT,          /* wait for PUBREC */
        [6] = MOSQUITTO_WAITS_PUBCOMP, /* send PUBREL again */
        [9] = MOSQUITTO_WAITS_PUBCOMP, /* wait for PUBCOMP */
        [11] = MOSQUITTO_QUEUED,
    };
    bool is_known = state < sizeof(steps) / sizeof(steps[0]);
    return direction == 0 ? MOSQUITTO_CAME : is_known ? steps[state] : MOSQUITTO_QUEUED;
}

/* More identifiers than there is room for are left out: each is one overlapping subscription. */
static void take_ids(struct slice raw, struct mosquitto_item *item)
{
    struct prop_item prop;
    while (item->id_count < MOSQUITTO_IDS_MAX && props_next(&raw, &prop)) {
        if (prop.prop == PROP_SUBSCRIPTION_ID) {
            item->ids[item->id_count++] = prop.number;
        }
    }
}

static enum err read_item(struct reader *r, struct chunk *out)
{
    struct mosquitto_item *item = &out->item;
    struct mqtt_props props;
    uint16_t id_bytes;
    uint8_t state, flags, direction;

    TRY(read_native(r, 8, &out->message_id));
    TRY(read_u16(r, &item->packet_id));
    TRY(read_u16(r, &id_bytes));
    TRY(read_u8(r, &item->qos));
    TRY(read_u8(r, &state));
    TRY(read_u8(r, &flags));
    TRY(read_u8(r, &direction));
    TRY(read_bytes(r, id_bytes, &item->client_id));
    TRY(read_props(r, &props));
    take_ids(props.raw, item);
    item->step = step_of(direction, state);
    item->retain = (flags & 0xF0) != 0;
    return OK;
}

static enum err read_subscription(struct reader *r, struct mosquitto_subscription *out)
{
    uint16_t id_bytes, filter_bytes;
    uint8_t options;
    struct slice skipped;

    TRY(read_u32(r, &out->id));
    TRY(read_u16(r, &id_bytes));
    TRY(read_u16(r, &filter_bytes));
    TRY(read_u8(r, &out->qos));
    TRY(read_u8(r, &options));
    TRY(read_bytes(r, 2, &skipped));
    TRY(read_bytes(r, id_bytes, &out->client_id));
    TRY(read_bytes(r, filter_bytes, &out->filter));
    out->no_local = (options & 0x04) != 0;
    out->retain_as_published = (options & 0x08) != 0;
    return OK;
}

static enum err read_aligned(struct reader *r, uint32_t version, struct chunk *out)
{
    switch (out->kind) {
    case CHUNK_MESSAGE:
        return read_message(r, &out->message);
    case CHUNK_ITEM:
        return read_item(r, out);
    case CHUNK_RETAINED:
        return read_native(r, 8, &out->message_id);
    case CHUNK_SUBSCRIPTION:
        return read_subscription(r, &out->subscription);
    case CHUNK_CLIENT:
        return read_client(r, version, &out->client);
    default:
        return OK;
    }
}

/* ---- formats 2 to 4: a text stands where it belongs, behind its length ---------------------------- */

static enum err read_old_message(struct reader *r, uint32_t version, struct mosquitto_message *out)
{
    struct slice skipped;
    uint32_t payload_bytes;
    uint16_t number;
    uint8_t retain;

    TRY(read_native(r, 8, &out->id));
    TRY(read_binary(r, &out->source_id));
    if (version == VERSION_USERNAMES) {
        TRY(read_binary(r, &skipped));
        TRY(read_u16(r, &number)); /* port */
    }
    TRY(read_u16(r, &number)); /* packet id of the source */
    TRY(read_u16(r, &number)); /* and one that means nothing */
    TRY(read_binary(r, &out->topic));
    TRY(read_u8(r, &out->qos));
    TRY(read_u8(r, &retain));
    TRY(read_u32(r, &payload_bytes));
    out->retain = retain != 0;
    return read_bytes(r, payload_bytes, &out->payload);
}

static enum err read_old_item(struct reader *r, struct chunk *out)
{
    struct mosquitto_item *item = &out->item;
    uint8_t retain, direction, state, dup;

    TRY(read_binary(r, &item->client_id));
    TRY(read_native(r, 8, &out->message_id));
    TRY(read_u16(r, &item->packet_id));
    TRY(read_u8(r, &item->qos));
    TRY(read_u8(r, &retain));
    TRY(read_u8(r, &direction));
    TRY(read_u8(r, &state));
    TRY(read_u8(r, &dup));
    item->step = step_of(direction, state);
    item->retain = retain != 0;
    return OK;
}

/* The time of the disconnection has what is left of the chunk: 4 bytes or 8, and none in format 2. */
static enum err read_old_client(struct reader *r, struct mosquitto_client *out)
{
    TRY(read_binary(r, &out->id));
    TRY(read_u16(r, &out->packet_id_last));
    out->expiry_s = MOSQUITTO_NEVER;
    return OK;
}

static enum err read_old_subscription(struct reader *r, struct mosquitto_subscription *out)
{
    TRY(read_binary(r, &out->client_id));
    TRY(read_binary(r, &out->filter));
    return read_u8(r, &out->qos);
}

static enum err read_old(struct reader *r, uint32_t version, struct chunk *out)
{
    switch (out->kind) {
    case CHUNK_MESSAGE:
        return read_old_message(r, version, &out->message);
    case CHUNK_ITEM:
        return read_old_item(r, out);
    case CHUNK_RETAINED:
        return read_native(r, 8, &out->message_id);
    case CHUNK_SUBSCRIPTION:
        return read_old_subscription(r, &out->subscription);
    case CHUNK_CLIENT:
        return read_old_client(r, &out->client);
    default:
        return OK;
    }
}

/* ---- chunks ------------------------------------------------------------------------------------ */

/* The chunk at *at, which moves behind it. ERR_MALFORMED: it runs over its end, or the file's. */
static enum err chunk_read(const struct db *db, uint64_t *at, struct chunk *out)
{
    struct reader r = reader_of(slice_skip(db->file, (size_t)*at)), inside;
    uint32_t bytes;
    uint16_t kind;
    struct slice body;

    *out = (struct chunk){0};
    if (db->version >= VERSION_ALIGNED) {
        TRY(read_u32(&r, &out->kind));
    } else {
        TRY(read_u16(&r, &kind));
        out->kind = kind;
    }
    TRY(read_u32(&r, &bytes));
    TRY(read_bytes(&r, bytes, &body));
    inside = reader_of(body);
    TRY(db->version >= VERSION_ALIGNED ? read_aligned(&inside, db->version, out)
                                       : read_old(&inside, db->version, out));
    *at = (uint64_t)(r.at - db->file.data);
    return OK;
}

static enum err trouble_tell(struct mosquitto_trouble *trouble, enum err err, uint64_t at)
{
    snprintf(trouble->text, sizeof(trouble->text),
             err == ERR_NOMEM ? "memory is exhausted (at byte %llu of the file)"
                              : "it is damaged at byte %llu: mosquitto would not load it either; "
                                "take an older copy of it",
             (unsigned long long)at);
    return err == ERR_NOMEM ? err : ERR_CORRUPT;
}

static enum err head_read(struct db *db, struct mosquitto_trouble *trouble)
{
    if (db->file.count < HEAD_BYTES || memcmp(db->file.data, magic, MAGIC_BYTES) != 0) {
        snprintf(trouble->text, sizeof(trouble->text),
                 "it is no persistence file of mosquitto: give the file that persistence_location "
                 "and persistence_file name, mosquitto.db");
        return ERR_UNSUPPORTED;
    }
    struct reader r = reader_of(slice_skip(db->file, MAGIC_BYTES + 4));
    TRY(read_u32(&r, &db->version));
    if (db->version < VERSION_MIN || db->version > VERSION_MAX) {
        snprintf(
            trouble->text, sizeof(trouble->text),
            "it has format %u, and formats %d to %d are known: let a mosquitto 2.0 load it and "
            "save it again",
            db->version, VERSION_MIN, VERSION_MAX);
        return ERR_UNSUPPORTED;
    }
    db->figures->version = db->version;
    return OK;
}

/* ---- messages by their id ------------------------------------------------------------------------ */

static enum err place_add(struct db *db, uint64_t id, uint64_t at)
{
    if (db->place_count == db->place_capacity) {
        size_t capacity = db->place_capacity == 0 ? 1024 : db->place_capacity * 2;
        struct place *places = realloc(db->places, capacity * sizeof(*places));
        if (places == NULL) {
            return ERR_NOMEM;
        }
        db->places = places;
        db->place_capacity = capacity;
    }
    db->places[db->place_count++] = (struct place){id, at};
    return OK;
}

static int place_order(const void *a, const void *b)
{
    const struct place *first = a, *second = b;
    return (first->id > second->id) - (first->id < second->id);
}

/* false: it is not in the file. */
static bool message_find(const struct db *db, uint64_t id, struct mosquitto_message *out)
{
    struct place wanted = {.id = id};
    const struct place *place = db->place_count == 0 ? NULL
                                                     : bsearch(&wanted, db->places, db->place_count,
                                                               sizeof(wanted), place_order);
    struct chunk chunk;
    if (place == NULL) {
        return false;
    }
    uint64_t at = place->at;
    enum err err = chunk_read(db, &at, &chunk);
    ASSERT(err == OK && chunk.kind == CHUNK_MESSAGE); /* it was read before */
    *out = chunk.message;
    return true;
}

/* ---- what a client could have said ---------------------------------------------------------------- */

static bool client_id_is_good(struct slice id)
{
    return id.count > 0 && utf8_is_valid(id);
}

static bool message_is_good(const struct mosquitto_message *message)
{
    return utf8_is_valid(message->topic) && topic_name_check(message->topic, UINT32_MAX) == OK &&
           message->qos <= 2 && message->payload.count <= PAYLOAD_MAX;
}

/*
 * mosquitto 2.0.11 has a field for the length of a name that it does not clear: for the next client
 * without a name it holds the last length with its bytes swapped (and as many bytes of its memory
 * follow), for the one after that the last name once more, and so on. So what is no text is no name,
 * and the same name again behind such a thing may be nobody's.
 */
static void username_judge(struct db *db, struct mosquitto_client *client)
{
    struct slice name = client->username;
    bool is_text = utf8_is_valid(name);
    if (name.data == NULL) {
        return;
    }
    if (is_text && !(db->is_leaking && slice_equal(name, db->username_last))) {
        db->username_last = name;
        db->is_leaking = false;
        return;
    }
    client->username = slice_of(NULL, 0);
    client->is_username_doubtful = is_text;
    db->is_leaking = true;
}

/* ---- telling --------------------------------------------------------------------------------------- */

static enum err invalid(struct db *db)
{
    db->figures->invalid_count++;
    return OK;
}

static enum err client_tell(struct db *db, struct mosquitto_client *client,
                            const struct mosquitto_events *events, void *context)
{
    username_judge(db, client);
    return client_id_is_good(client->id) ? events->client(context, client) : invalid(db);
}

static enum err item_tell(struct db *db, struct chunk *chunk, const struct mosquitto_events *events,
                          void *context)
{
    struct mosquitto_message message;
    if (!message_find(db, chunk->message_id, &message)) {
        db->figures->lost_count++;
        return OK;
    }
    if (!client_id_is_good(chunk->item.client_id) || chunk->item.qos > 2 ||
        !message_is_good(&message)) {
        return invalid(db);
    }
    chunk->item.message = &message;
    return events->item(context, &chunk->item);
}

static enum err retained_tell(struct db *db, uint64_t id, const struct mosquitto_events *events,
                              void *context)
{
    struct mosquitto_message message;
    if (!message_find(db, id, &message)) {
        db->figures->lost_count++;
        return OK;
    }
    return message_is_good(&message) ? events->retained(context, &message) : invalid(db);
}

static enum err subscription_tell(struct db *db, const struct mosquitto_subscription *subscription,
                                  const struct mosquitto_events *events, void *context)
{
    struct topic_filter parts;
    bool is_good = client_id_is_good(subscription->client_id) && subscription->qos <= 2 &&
                   subscription->id <= VARINT_MAX && utf8_is_valid(subscription->filter) &&
                   topic_filter_parse(subscription->filter, UINT32_MAX, &parts) == OK;
    return is_good ? events->subscription(context, subscription) : invalid(db);
}

static enum err chunk_tell(struct db *db, struct chunk *chunk,
                           const struct mosquitto_events *events, void *context)
{
    switch (chunk->kind) {
    case CHUNK_ITEM:
        return item_tell(db, chunk, events, context);
    case CHUNK_RETAINED:
        return retained_tell(db, chunk->message_id, events, context);
    case CHUNK_SUBSCRIPTION:
        return subscription_tell(db, &chunk->subscription, events, context);
    case CHUNK_CLIENT:
        return client_tell(db, &chunk->client, events, context);
    default:
        return OK;
    }
}

/* ---- both passes ----------------------------------------------------------------------------------- */

/* Is all of it readable? And where are the messages? */
static enum err look(struct db *db, struct mosquitto_trouble *trouble)
{
    struct chunk chunk;
    for (uint64_t at = HEAD_BYTES; at < db->file.count;) {
        uint64_t begin = at;
        enum err err = chunk_read(db, &at, &chunk);
        if (err == OK && chunk.kind == CHUNK_MESSAGE) {
            err = place_add(db, chunk.message.id, begin);
        }
        if (err != OK) {
            return trouble_tell(trouble, err, begin);
        }
        db->figures->client_count += chunk.kind == CHUNK_CLIENT;
        db->figures->unknown_count += chunk.kind < CHUNK_CONFIG || chunk.kind > CHUNK_CLIENT;
    }
    db->figures->message_count = db->place_count;
    if (db->place_count > 0) {
        qsort(db->places, db->place_count, sizeof(*db->places), place_order);
    }
    return OK;
}

static enum err tell(struct db *db, const struct mosquitto_events *events, void *context)
{
    struct chunk chunk;
    for (uint64_t at = HEAD_BYTES; at < db->file.count;) {
        enum err err = chunk_read(db, &at, &chunk);
        ASSERT(err == OK); /* look() has read it */
        TRY(chunk_tell(db, &chunk, events, context));
    }
    return OK;
}

enum err mosquitto_db_read(struct slice file, const struct mosquitto_events *events, void *context,
                           struct mosquitto_figures *figures, struct mosquitto_trouble *trouble)
{
    struct db db = {.file = file, .figures = figures};
    *figures = (struct mosquitto_figures){0};
    trouble->text[0] = '\0';
    enum err err = head_read(&db, trouble);
    err = err != OK ? err : look(&db, trouble);
    err = err != OK ? err : tell(&db, events, context);
    free(db.places);
    return err;
}
