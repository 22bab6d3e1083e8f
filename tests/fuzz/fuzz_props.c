/*
 * fuzz_props: no bytes break the reader of properties, and what it accepts is written and read again
 * without a change.
 *
 * Input: the packet type in the low half of the first byte, then Property Length and properties.
 */
#include "core/wire/props.h"
#include "tests/lib/wire_random.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Written again from the fields, it must say the same. */
static void check_round_trip(const struct mqtt_props *props, enum mqtt_type packet)
{
    struct mqtt_props copy = *props, again;
    copy.user = wire_user_bytes(props);
    copy.raw = (struct slice){NULL, 0};
    size_t size = props_size(&copy, packet);
    uint8_t *bytes = malloc(size);
    ASSERT(bytes != NULL);
    struct writer w = writer_of(bytes, size);
    props_encode(&w, &copy, packet);
    ASSERT(writer_left(&w) == 0);
    struct reader r = reader_of(slice_of(bytes, size));
    ASSERT(props_decode(&r, packet, &again) == OK);
    ASSERT(reader_left(&r) == 0);
    ASSERT(wire_props_equal(props, &again));
    free(bytes);
    free((void *)copy.user.data);
}

/* What is forwarded is itself a section of a PUBLISH, and forwarding it again takes nothing away. */
static void check_forwardable(struct slice raw)
{
    size_t size = props_forwardable_size(raw);
    ASSERT(size <= raw.count);
    uint8_t *bytes = malloc(size + 1);
    ASSERT(bytes != NULL);
    struct writer w = writer_of(bytes, size);
    props_copy_forwardable(raw, &w);
    ASSERT(writer_left(&w) == 0);
    struct slice rest = slice_of(bytes, size);
    struct prop_item item;
    ASSERT(props_forwardable_size(rest) == size);
    while (props_next(&rest, &item)) {
        ASSERT((PROPS_FORWARDABLE & PROP_BIT(item.prop)) != 0);
    }
    ASSERT(rest.count == 0);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mqtt_props props;

    if (size == 0) {
        return 0;
    }
    enum mqtt_type packet = (enum mqtt_type)(data[0] & 15);
    struct slice in = slice_of(data + 1, size - 1);
    struct reader r = reader_of(in);
    check_forwardable(in); /* also where the bytes are no properties at all */
    if (props_decode(&r, packet, &props) != OK) {
        return 0;
    }
    struct slice rest = props.raw;
    struct prop_item item;
    while (props_next(&rest, &item)) {
        ASSERT(props_has(&props, item.prop));
    }
    ASSERT(rest.count == 0);
    check_round_trip(&props, packet);
    check_forwardable(props.raw);
    return 0;
}
