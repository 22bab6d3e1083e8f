/*
 * fuzz_mosquitto_db: no file breaks the reader of mosquitto's persistence file; what it tells could
 * have come from clients, and it tells nothing of a file that is damaged anywhere.
 */
/* A program's own file: it is in no library, so it is taken in here. */
#include "cluster/ternctl_mosquitto_db.c"
#include "core/base/map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t told;

static void look_at_message(const struct mosquitto_message *message)
{
    struct slice rest = message->props;
    struct prop_item item;
    told++;
    ASSERT(topic_name_check(message->topic, UINT32_MAX) == OK);
    ASSERT(utf8_is_valid(message->topic) && message->qos <= 2);
    ASSERT(hash_bytes(message->payload) != 1 || hash_bytes(message->source_id) != 1); /* touched */
    while (props_next(&rest, &item)) {
    }
    ASSERT(rest.count == 0);
}

static enum err on_client(void *context, const struct mosquitto_client *client)
{
    (void)context;
    told++;
    ASSERT(client->id.count > 0 && utf8_is_valid(client->id));
    ASSERT(utf8_is_valid(client->username));
    ASSERT(!client->is_username_doubtful || client->username.data == NULL);
    return OK;
}

static enum err on_item(void *context, const struct mosquitto_item *item)
{
    (void)context;
    look_at_message(item->message);
    ASSERT(item->client_id.count > 0 && utf8_is_valid(item->client_id));
    ASSERT(item->qos <= 2 && item->id_count <= MOSQUITTO_IDS_MAX);
    for (uint32_t i = 0; i < item->id_count; i++) {
        ASSERT(item->ids[i] > 0 && item->ids[i] <= VARINT_MAX);
    }
    return OK;
}

static enum err on_subscription(void *context, const struct mosquitto_subscription *subscription)
{
    struct topic_filter parts;
    (void)context;
    told++;
    ASSERT(subscription->client_id.count > 0 && utf8_is_valid(subscription->client_id));
    ASSERT(topic_filter_parse(subscription->filter, UINT32_MAX, &parts) == OK);
    ASSERT(subscription->qos <= 2 && subscription->id <= VARINT_MAX);
    return OK;
}

static enum err on_retained(void *context, const struct mosquitto_message *message)
{
    (void)context;
    look_at_message(message);
    return OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct mosquitto_events events = {on_client, on_item, on_subscription,
                                                   on_retained};
    struct mosquitto_figures figures;
    struct mosquitto_trouble trouble;
    told = 0;
    enum err err = mosquitto_db_read(slice_of(data, size), &events, NULL, &figures, &trouble);
    ASSERT(err == OK || err == ERR_CORRUPT || err == ERR_UNSUPPORTED);
    ASSERT(err == OK || (told == 0 && trouble.text[0] != '\0'));
    ASSERT(err != OK || trouble.text[0] == '\0');
    return 0;
}
