#include "bench/limit/packet.h"

#include <string.h>

/* What is left of a packet; reading beyond the end fails, for good. */
struct in {
    const uint8_t *at, *end;
    bool is_bad;
};

static const uint8_t *in_bytes(struct in *in, size_t count)
{
    if (in->is_bad || (size_t)(in->end - in->at) < count) {
        in->is_bad = true;
        return NULL;
    }
    const uint8_t *bytes = in->at;
    in->at += count;
    return bytes;
}

static uint8_t in_u8(struct in *in)
{
    const uint8_t *byte = in_bytes(in, 1);
    return byte == NULL ? 0 : *byte;
}

static uint16_t in_u16(struct in *in)
{
    const uint8_t *bytes = in_bytes(in, 2);
    return bytes == NULL ? 0 : (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static const char *in_text(struct in *in, size_t *count_out)
{
    *count_out = in_u16(in);
    return (const char *)in_bytes(in, *count_out);
}

static void skip_properties(struct in *in, uint8_t version)
{
    uint32_t length = 0, shift = 0;
    uint8_t byte = 0x80;
    while (version == 5 && byte >= 0x80 && shift < 28 && !in->is_bad) {
        byte = in_u8(in);
        length |= (uint32_t)(byte & 0x7f) << shift;
        shift += 7;
    }
    in_bytes(in, length);
}

static struct in in_body(const uint8_t *data, size_t count)
{
    struct in in = {.at = data, .end = data + count};
    in_u8(&in);
    while (!in.is_bad && in_u8(&in) >= 0x80) {
    }
    return in;
}

/* The number after prefix, if that is all there is. */
static bool number_after(const char *text, size_t count, const char *prefix, uint32_t *out)
{
    size_t prefix_count = strlen(prefix);
    uint32_t number = 0;
    if (count <= prefix_count || count > prefix_count + 7 ||
        memcmp(text, prefix, prefix_count) != 0) {
        return false;
    }
    for (size_t i = prefix_count; i < count; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return false;
        }
        number = number * 10 + (uint32_t)(text[i] - '0');
    }
    *out = number;
    return true;
}

bool packet_connect(const uint8_t *data, size_t count, struct connect *out)
{
    struct in in = in_body(data, count);
    struct connect connect = {0};
    size_t bytes;

    in_text(&in, &bytes); /* "MQTT" or "MQIsdp" */
    connect.version = in_u8(&in);
    in_u8(&in);  /* flags */
    in_u16(&in); /* keep alive: nobody is sent away */
    skip_properties(&in, connect.version);
    const char *id = in_text(&in, &bytes);
    if (in.is_bad) {
        return false;
    }
    if (number_after(id, bytes, "bench-pub-", &connect.index)) {
        connect.role = ROLE_WRITER;
    } else if (number_after(id, bytes, "bench-sub-", &connect.index)) {
        connect.role = ROLE_READER;
    }
    *out = connect;
    return true;
}

bool packet_subscribe(const uint8_t *data, size_t count, uint8_t version, struct subscribe *out)
{
    struct in in = in_body(data, count);
    struct subscribe subscribe = {.id = in_u16(&in)};
    skip_properties(&in, version);
    while (!in.is_bad && in.at < in.end) {
        size_t bytes;
        const char *filter = in_text(&in, &bytes);
        in_u8(&in); /* options: QoS 0 is granted */
        if (in.is_bad) {
            return false;
        }
        subscribe.filter_count++;
        subscribe.is_all = bytes == 7 && memcmp(filter, "bench/+", 7) == 0;
        subscribe.is_number = number_after(filter, bytes, "bench/", &subscribe.number);
    }
    *out = subscribe;
    return !in.is_bad && subscribe.filter_count > 0;
}
