/*
 * wire_random: random packets and their comparison, for tests, fuzzers and benches of the codec.
 *
 * What a decoder gives for an encoded struct must equal that struct; what "equal" means for
 * properties is said once, here, from the same table the codec uses.
 */
#ifndef TERN_TESTS_WIRE_RANDOM_H
#define TERN_TESTS_WIRE_RANDOM_H

#include "core/base/rng.h"
#include "core/wire/in.h"
#include "core/wire/props.h"

#include <stdlib.h>

enum wire_type { WIRE_BYTE, WIRE_U16, WIRE_U32, WIRE_VARINT, WIRE_TEXT, WIRE_BINARY, WIRE_PAIR };
enum wire_rule { WIRE_ANY, WIRE_BOOLEAN, WIRE_NOT_ZERO, WIRE_ALIAS, WIRE_TOPIC };

static const struct wire_prop {
    const char *name;
    enum wire_type type;
    enum wire_rule rule;
    size_t offset;
    unsigned packets;
} wire_props[PROP_COUNT] = {
#define PROP(name, id, type, rule, field, packets) \
    {#name, WIRE_##type, WIRE_##rule, offsetof(struct mqtt_props, field), packets},
#include "core/wire/props.def"
#undef PROP
};

/* Text of up to 65535 bytes, mostly short; valid UTF-8 without wildcards; lives for ever. */
static inline struct slice wire_random_text(struct rng *rng, size_t count_min)
{
    static char ascii[UINT16_MAX];
    static const char *const words[] = {"",
                                        "a",
                                        "sensors/7/temp",
                                        "\xc3\xa9t\xc3\xa9/\xe2\x82\xac",
                                        "\xf0\x9f\x90\xa6",
                                        "$SYS/broker",
                                        "/",
                                        "x y z"};
    if (ascii[0] == '\0') {
        memset(ascii, 'x', sizeof(ascii));
    }
    struct slice text = slice_text(words[rng_below(rng, sizeof(words) / sizeof(words[0]))]);
    switch (rng_below(rng, 16)) {
    case 0:
        text = slice_of(ascii, rng_below(rng, sizeof(ascii) + 1));
        break;
    case 1:
        text = slice_of(ascii, rng_below(rng, 300));
        break;
    default:
        break;
    }
    return text.count >= count_min ? text : slice_of(ascii, count_min);
}

static inline struct slice wire_random_binary(struct rng *rng)
{
    static const uint8_t bytes[] = {0, 0xff, 0xc0, '+', '#', 1, 2, 3, 0, 0};
    return slice_of(bytes, rng_below(rng, sizeof(bytes) + 1));
}

/*
 * Random properties that the packet may carry, each with one chance in three, and up to three User
 * Properties written to user_bytes, which must hold WIRE_USER_BYTES_MAX.
 */
enum { WIRE_USER_BYTES_MAX = 3 * (1 + 2 * (2 + UINT16_MAX)) };
static inline struct mqtt_props wire_random_props(struct rng *rng, enum mqtt_type packet,
                                                  uint8_t *user_bytes)
{
    struct mqtt_props props = {0};
    for (unsigned i = 0; i < PROP_COUNT; i++) {
        const struct wire_prop *row = &wire_props[i];
        if ((row->packets & 1u << packet) == 0 || i == PROP_USER || rng_below(rng, 3) != 0) {
            continue;
        }
        uint8_t *field = (uint8_t *)&props + row->offset;
        uint32_t u32 = (uint32_t)rng_u64(rng);
        bool not_zero = row->rule == WIRE_NOT_ZERO || row->rule == WIRE_ALIAS;
        struct slice bytes;
        uint16_t u16 = (uint16_t)u32;
        props.present |= PROP_BIT(i);
        switch (row->type) {
        case WIRE_BYTE:
            *field = (uint8_t)(u32 & 1);
            break;
        case WIRE_U16:
            u16 = not_zero && u16 == 0 ? 1 : u16;
            memcpy(field, &u16, sizeof(u16));
            break;
        case WIRE_U32:
        case WIRE_VARINT:
            u32 &= row->type == WIRE_VARINT ? (uint32_t)VARINT_MAX >> rng_below(rng, 28)
                                            : UINT32_MAX;
            u32 = not_zero && u32 == 0 ? 1 : u32;
            memcpy(field, &u32, sizeof(u32));
            break;
        case WIRE_TEXT:
        case WIRE_BINARY:
            bytes = row->type == WIRE_TEXT ? wire_random_text(rng, 0) : wire_random_binary(rng);
            memcpy(field, &bytes, sizeof(bytes));
            break;
        case WIRE_PAIR:
            break;
        }
    }
    if (props_has(&props, PROP_AUTH_DATA) || packet == MQTT_AUTH) {
        props.auth_method = props_has(&props, PROP_AUTH_METHOD) ? props.auth_method
                                                                : slice_text("SCRAM-SHA-256");
        props.present |= PROP_BIT(PROP_AUTH_METHOD);
    }
    struct writer w = writer_of(user_bytes, WIRE_USER_BYTES_MAX);
    for (uint64_t i = rng_below(rng, 4); i > 0; i--) {
        prop_user_encode(&w, wire_random_text(rng, 0), wire_random_text(rng, 0));
    }
    props.user = slice_of(user_bytes, (size_t)(w.at - user_bytes));
    return props;
}

/* The User Properties of either kind of struct, to write or just read; free() data. */
static inline struct slice wire_user_bytes(const struct mqtt_props *props)
{
    size_t size = props->user.count + props_copy_size(props->raw, PROP_BIT(PROP_USER));
    uint8_t *bytes = malloc(size == 0 ? 1 : size);
    ASSERT(bytes != NULL);
    struct writer w = writer_of(bytes, size);
    writer_bytes(&w, props->user);
    props_copy(props->raw, PROP_BIT(PROP_USER), &w);
    ASSERT(w.at == w.end);
    return slice_of(bytes, size);
}

/* Whether both say the same; each may be a struct to write or one just read. */
static inline bool wire_props_equal(const struct mqtt_props *a, const struct mqtt_props *b)
{
    if (((a->present ^ b->present) & ~PROP_BIT(PROP_USER)) != 0) {
        return false;
    }
    for (unsigned i = 0; i < PROP_COUNT; i++) {
        static const size_t sizes[] = {
            [WIRE_BYTE] = 1, [WIRE_U16] = 2, [WIRE_U32] = 4, [WIRE_VARINT] = 4};
        const struct wire_prop *row = &wire_props[i];
        const uint8_t *x = (const uint8_t *)a + row->offset, *y = (const uint8_t *)b + row->offset;
        if (i == PROP_USER || !props_has(a, (enum prop)i)) {
            continue;
        }
        if (row->type == WIRE_TEXT || row->type == WIRE_BINARY) {
            struct slice s, t;
            memcpy(&s, x, sizeof(s));
            memcpy(&t, y, sizeof(t));
            if (!slice_equal(s, t)) {
                return false;
            }
        } else if (memcmp(x, y, sizes[row->type]) != 0) {
            return false;
        }
    }
    struct slice user_a = wire_user_bytes(a), user_b = wire_user_bytes(b);
    bool same = slice_equal(user_a, user_b);
    free((void *)user_a.data);
    free((void *)user_b.data);
    return same;
}

#endif
