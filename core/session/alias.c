#include "core/session/alias.h"

#include <stdlib.h>
#include <string.h>

enum { TOPIC_BYTES_MIN = 4 }; /* an alias costs 3 bytes of property */

static enum err slice_copy(struct slice source, struct slice *out)
{
    uint8_t *bytes = malloc(source.count);
    if (bytes == NULL) {
        return ERR_NOMEM;
    }
    memcpy(bytes, source.data, source.count);
    *out = slice_of(bytes, source.count);
    return OK;
}

static void slice_free(struct slice *slice)
{
    free((void *)(uintptr_t)slice->data);
    *slice = (struct slice){0};
}

void alias_in_deinit(struct alias_in *in)
{
    for (uint32_t i = 0; in->topics != NULL && i < in->count_max; i++) {
        slice_free(&in->topics[i]);
    }
    free(in->topics);
    in->topics = NULL;
}

enum err alias_in_resolve(struct alias_in *in, uint16_t alias, struct slice *topic)
{
    if (alias == 0 || alias > in->count_max) {
        return ERR_TOPIC_ALIAS; /* [MQTT-3.3.2-8] [MQTT-3.3.2-9] */
    }
    if (in->topics == NULL) {
        in->topics = calloc(in->count_max, sizeof(*in->topics));
        if (in->topics == NULL) {
            return ERR_NOMEM;
        }
    }
    struct slice *slot = &in->topics[alias - 1];
    if (topic->count == 0) {
        if (slot->count == 0) {
            return ERR_PROTOCOL; /* 3.3.2.3.4: no mapping was set */
        }
        *topic = *slot;
        return OK;
    }
    if (!slice_equal(*slot, *topic)) {
        struct slice copy;
        TRY(slice_copy(*topic, &copy));
        slice_free(slot);
        *slot = copy;
    }
    return OK;
}

struct alias_out_slot {
    uint64_t hash;
    struct slice topic;
    uint16_t alias; /* 0: empty */
};

void alias_out_deinit(struct alias_out *out)
{
    for (uint32_t i = 0; out->slots != NULL && i < 2u * out->count_max; i++) {
        slice_free(&out->slots[i].topic);
    }
    free(out->slots);
    out->slots = NULL;
}

uint16_t alias_out_find(struct alias_out *out, struct slice topic, uint64_t topic_hash,
                        bool *is_new)
{
    *is_new = false;
    if (out->count_max == 0 || topic.count < TOPIC_BYTES_MIN) {
        return 0;
    }
    uint32_t slot_count = 2u * out->count_max;
    if (out->slots == NULL) {
        out->slots = calloc(slot_count, sizeof(*out->slots));
        if (out->slots == NULL) {
            return 0;
        }
    }
    for (uint32_t i = (uint32_t)(topic_hash % slot_count);; i = (i + 1) % slot_count) {
        struct alias_out_slot *slot = &out->slots[i];
        if (slot->alias == 0) {
            if (out->count == out->count_max || slice_copy(topic, &slot->topic) != OK) {
                return 0;
            }
            slot->hash = topic_hash;
            slot->alias = ++out->count;
            *is_new = true;
            return slot->alias;
        }
        if (slot->hash == topic_hash && slice_equal(slot->topic, topic)) {
            return slot->alias;
        }
    }
}
