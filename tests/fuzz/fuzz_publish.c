/*
 * fuzz_publish: no bytes break the reader of PUBLISH, and a message forwarded as the broker does it,
 * head and payload apart, arrives unchanged.
 *
 * Input: the flags in the low half of the first byte, the version in the high half; then the body.
 */
#include "core/wire/frame.h"
#include "core/wire/publish.h"
#include "tests/lib/wire_random.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* All subscription identifiers of a section; free() them. */
static uint32_t *ids_of(struct slice raw, uint32_t *count)
{
    uint32_t *ids = malloc((raw.count / 2 + 1) * sizeof(*ids)); /* each takes two bytes or more */
    struct prop_item item;
    ASSERT(ids != NULL);
    *count = 0;
    while (props_next(&raw, &item)) {
        if (item.prop == PROP_SUBSCRIPTION_ID) {
            ids[(*count)++] = item.number;
        }
    }
    return ids;
}

/* What msg keeps of the properties; free() data. */
static struct slice stored_of(struct slice raw)
{
    size_t size = props_forwardable_size(raw);
    uint8_t *bytes = malloc(size + 1);
    ASSERT(bytes != NULL);
    struct writer w = writer_of(bytes, size);
    props_copy_forwardable(raw, &w);
    return slice_of(bytes, size);
}

static void check_equal(const struct mqtt_publish *a, const struct mqtt_publish *b)
{
    uint32_t a_count, b_count;
    uint32_t *a_ids = ids_of(a->props.raw, &a_count), *b_ids = ids_of(b->props.raw, &b_count);
    ASSERT(a->qos == b->qos && a->dup == b->dup && a->retain == b->retain);
    ASSERT(a->packet_id == b->packet_id);
    ASSERT(slice_equal(a->topic, b->topic));
    ASSERT(slice_equal(a->payload, b->payload));
    ASSERT(wire_props_equal(&a->props, &b->props));
    ASSERT(a_count == b_count && memcmp(a_ids, b_ids, a_count * sizeof(*a_ids)) == 0);
    free(a_ids);
    free(b_ids);
}

static void check_forwarded(const struct mqtt_publish *p, enum mqtt_version version)
{
    struct mqtt_publish copy = *p, again;
    uint32_t id_count;
    uint32_t *ids = ids_of(p->props.raw, &id_count);
    copy.props.raw = stored_of(p->props.raw);
    size_t head = mqtt_publish_head_size(&copy, version, ids, id_count);
    ASSERT(head > 0);
    uint8_t *bytes = malloc(head + p->payload.count);
    ASSERT(bytes != NULL);
    struct writer w = writer_of(bytes, head);
    mqtt_publish_head_encode(&w, &copy, version, ids, id_count);
    ASSERT(writer_left(&w) == 0);
    w = writer_of(bytes + head, p->payload.count);
    writer_bytes(&w, p->payload);

    struct frame frame;
    struct slice packet = slice_of(bytes, head + p->payload.count);
    ASSERT(frame_next(packet, UINT32_MAX, &frame) == OK);
    ASSERT(frame.type == MQTT_PUBLISH && frame.total_bytes == packet.count);
    ASSERT(mqtt_publish_decode(frame.flags, frame.body, version, &again) == OK);
    check_equal(p, &again);
    free(bytes);
    free(ids);
    free((void *)copy.props.raw.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mqtt_publish p;

    if (size == 0) {
        return 0;
    }
    enum mqtt_version version = (enum mqtt_version)(MQTT_3_1 + (data[0] >> 4) % 3);
    struct slice body = slice_of(data + 1, size - 1);
    if (mqtt_publish_decode(data[0] & 15, body, version, &p) == OK) {
        ASSERT(p.qos <= 2 && (p.packet_id != 0) == (p.qos > 0));
        check_forwarded(&p, version);
    }
    return 0;
}
