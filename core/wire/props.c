#include "core/wire/props.h"

#include "core/base/utf8.h"
#include "core/wire/in.h"

enum type { BYTE, U16, U32, VARINT, TEXT, BINARY, PAIR };
enum rule { ANY, BOOLEAN, NOT_ZERO, ALIAS, TOPIC };

static const struct row {
    uint8_t id;
    uint8_t type; /* enum type */
    uint8_t rule; /* enum rule */
    uint16_t packets;
    uint16_t offset; /* of the field in struct mqtt_props */
} rows[PROP_COUNT] = {
#define PROP(name, id, type, rule, field, packets) \
    [PROP_##name] = {id, type, rule, packets, offsetof(struct mqtt_props, field)},
#include "core/wire/props.def"
#undef PROP
};

/* 1 + enum prop for each identifier, 0 where there is none. */
enum { ID_COUNT = 0x2b };
static const uint8_t by_id[ID_COUNT] = {
#define PROP(name, id, ...) [id] = 1 + PROP_##name,
#include "core/wire/props.def"
#undef PROP
};

/* ------------------------------------------------------------------------------ reading */

/* One property, its text not yet checked to be UTF-8: that is done once, in props_decode(). */
static enum err read_item(struct reader *r, struct prop_item *out)
{
    const uint8_t *start = r->at;
    uint8_t id, u8 = 0;
    uint16_t u16 = 0;
    TRY(read_u8(r, &id)); /* a Variable Byte Integer, 2.2.2.2, but all that exist have one byte */
    if (id >= ID_COUNT || by_id[id] == 0) {
        return ERR_MALFORMED; /* 2.2.2.2 */
    }
    out->prop = (enum prop)(by_id[id] - 1);
    out->number = 0;
    out->name = out->value = (struct slice){NULL, 0};
    switch ((enum type)rows[out->prop].type) {
    case BYTE:
        TRY(read_u8(r, &u8));
        out->number = u8;
        break;
    case U16:
        TRY(read_u16(r, &u16));
        out->number = u16;
        break;
    case U32:
        TRY(read_u32(r, &out->number));
        break;
    case VARINT:
        TRY(read_varint(r, &out->number));
        break;
    case TEXT:
    case BINARY:
        TRY(read_binary(r, &out->value));
        break;
    case PAIR:
        TRY(read_binary(r, &out->name));
        TRY(read_binary(r, &out->value));
        break;
    }
    out->bytes = slice_of(start, (size_t)(r->at - start));
    return OK;
}

static enum err check_value(const struct row *row, const struct prop_item *item)
{
    if (row->type == TEXT || row->type == PAIR) {
        /* [MQTT-1.5.4-1] [MQTT-1.5.7-1] [MQTT-3.3.2-13] [MQTT-3.3.2-19] */
        if (!utf8_is_valid(item->value) || !utf8_is_valid(item->name)) {
            return ERR_MALFORMED;
        }
    }
    switch ((enum rule)row->rule) {
    case ANY:
        return OK;
    case BOOLEAN:
        return item->number <= 1 ? OK : ERR_PROTOCOL;
    case NOT_ZERO:
        return item->number != 0 ? OK : ERR_PROTOCOL;
    case ALIAS:
        return item->number != 0 ? OK : ERR_TOPIC_ALIAS; /* [MQTT-3.3.2-8] */
    case TOPIC:
        return slice_find(item->value, '+') == item->value.count &&
                       slice_find(item->value, '#') == item->value.count
                   ? OK
                   : ERR_PROTOCOL; /* [MQTT-3.3.2-14] */
    }
    return OK;
}

static void store(const struct row *row, const struct prop_item *item, struct mqtt_props *out)
{
    uint8_t *field = (uint8_t *)out + row->offset;
    uint8_t u8 = (uint8_t)item->number;
    uint16_t u16 = (uint16_t)item->number;
    switch ((enum type)row->type) {
    case BYTE:
        *field = u8;
        break;
    case U16:
        memcpy(field, &u16, sizeof(u16));
        break;
    case U32:
    case VARINT:
        memcpy(field, &item->number, sizeof(item->number));
        break;
    case TEXT:
    case BINARY:
        memcpy(field, &item->value, sizeof(item->value));
        break;
    case PAIR:
        break; /* walked in raw */
    }
}

enum err props_decode(struct reader *r, enum mqtt_type packet, struct mqtt_props *out)
{
    uint32_t count;
    props_clear(out);
    TRY(read_varint(r, &count));
    TRY(read_bytes(r, count, &out->raw));

    struct reader section = reader_of(out->raw);
    while (reader_left(&section) > 0) {
        struct prop_item item;
        TRY(read_item(&section, &item));
        const struct row *row = &rows[item.prop];
        if ((row->packets & 1u << packet) == 0) {
            return ERR_MALFORMED; /* 2.2.2.2: not valid for its packet type */
        }
        TRY(check_value(row, &item));
        if (props_has(out, item.prop)) {
            bool may_repeat = row->type == PAIR || (row->type == VARINT && packet == MQTT_PUBLISH);
            if (!may_repeat) {
                return ERR_PROTOCOL; /* said at each property: "more than once" */
            }
            continue;
        }
        out->present |= PROP_BIT(item.prop);
        store(row, &item, out);
    }
    if (props_has(out, PROP_AUTH_DATA) && !props_has(out, PROP_AUTH_METHOD)) {
        return ERR_PROTOCOL; /* 3.1.2.11.10 */
    }
    return OK;
}

bool props_next(struct slice *rest, struct prop_item *out)
{
    struct reader r = reader_of(*rest);
    if (reader_left(&r) == 0 || read_item(&r, out) != OK) {
        return false;
    }
    *rest = slice_of(r.at, reader_left(&r));
    return true;
}

/* ------------------------------------------------------------------------------ writing */

static size_t value_size(const struct row *row, const struct mqtt_props *props)
{
    const uint8_t *field = (const uint8_t *)props + row->offset;
    struct slice bytes;
    uint32_t number;
    switch ((enum type)row->type) {
    case BYTE:
        return 1;
    case U16:
        return 2;
    case U32:
        return 4;
    case VARINT:
        memcpy(&number, field, sizeof(number));
        return varint_size(number);
    case TEXT:
    case BINARY:
        memcpy(&bytes, field, sizeof(bytes));
        return binary_size(bytes);
    case PAIR:
        break;
    }
    return 0;
}

static void value_encode(struct writer *w, const struct row *row, const struct mqtt_props *props)
{
    const uint8_t *field = (const uint8_t *)props + row->offset;
    struct slice bytes;
    uint32_t u32;
    uint16_t u16;
    switch ((enum type)row->type) {
    case BYTE:
        writer_u8(w, *field);
        break;
    case U16:
        memcpy(&u16, field, sizeof(u16));
        writer_u16(w, u16);
        break;
    case U32:
        memcpy(&u32, field, sizeof(u32));
        writer_u32(w, u32);
        break;
    case VARINT:
        memcpy(&u32, field, sizeof(u32));
        writer_varint(w, u32);
        break;
    case TEXT:
    case BINARY:
        memcpy(&bytes, field, sizeof(bytes));
        writer_binary(w, bytes);
        break;
    case PAIR:
        break;
    }
}

/* Bytes of the section, without Property Length. */
static size_t section_size(const struct mqtt_props *props, enum mqtt_type packet)
{
    size_t size = props->user.count;
    uint64_t left = props->present & ~PROP_BIT(PROP_USER);
    for (; left != 0; left &= left - 1) {
        unsigned prop = (unsigned)__builtin_ctzll(left);
        ASSERT(prop < PROP_COUNT);
        ASSERT((rows[prop].packets & 1u << packet) != 0);
        size += 1 + value_size(&rows[prop], props);
    }
    return size;
}

size_t props_size(const struct mqtt_props *props, enum mqtt_type packet)
{
    if (props == NULL || props_is_empty(props)) {
        return 1;
    }
    size_t size = section_size(props, packet);
    return varint_size(size) + size;
}

void props_encode(struct writer *w, const struct mqtt_props *props, enum mqtt_type packet)
{
    if (props == NULL || props_is_empty(props)) {
        writer_u8(w, 0); /* [MQTT-2.2.2-1] */
        return;
    }
    writer_varint(w, section_size(props, packet));
    uint64_t left = props->present & ~PROP_BIT(PROP_USER);
    for (; left != 0; left &= left - 1) {
        const struct row *row = &rows[__builtin_ctzll(left)];
        writer_u8(w, row->id);
        value_encode(w, row, props);
    }
    writer_bytes(w, props->user);
}

size_t props_copy_size(struct slice raw, uint64_t which)
{
    struct prop_item item;
    size_t size = 0;
    while (props_next(&raw, &item)) {
        if ((which & PROP_BIT(item.prop)) != 0) {
            size += item.bytes.count;
        }
    }
    return size;
}

void props_copy(struct slice raw, uint64_t which, struct writer *w)
{
    struct prop_item item;
    while (props_next(&raw, &item)) {
        if ((which & PROP_BIT(item.prop)) != 0) {
            writer_bytes(w, item.bytes);
        }
    }
}

size_t prop_user_size(struct slice name, struct slice value)
{
    return 1 + binary_size(name) + binary_size(value);
}

void prop_user_encode(struct writer *w, struct slice name, struct slice value)
{
    writer_u8(w, rows[PROP_USER].id);
    writer_binary(w, name);
    writer_binary(w, value);
}
