#include "core/base/utf8.h"

static bool is_continuation(uint8_t byte)
{
    return (byte & 0xc0) == 0x80;
}

/* RFC 3629, section 4: the second byte's range depends on the first. */
uint32_t utf8_first(struct slice text, uint32_t *code_point)
{
    const uint8_t *b = text.data;
    size_t count = text.count;

    if (count == 0) {
        return 0;
    }
    if (b[0] < 0x80) {
        *code_point = b[0];
        return 1;
    }
    if (b[0] < 0xc2) {
        return 0; /* a continuation, or an overlong form of ASCII */
    }
    if (b[0] < 0xe0) {
        if (count < 2 || !is_continuation(b[1])) {
            return 0;
        }
        *code_point = (b[0] & 0x1fu) << 6 | (b[1] & 0x3fu);
        return 2;
    }
    if (b[0] < 0xf0) {
        uint8_t low = b[0] == 0xe0 ? 0xa0 : 0x80;  /* below: overlong */
        uint8_t high = b[0] == 0xed ? 0x9f : 0xbf; /* above: surrogates [MQTT-1.5.4-1] */
        if (count < 3 || b[1] < low || b[1] > high || !is_continuation(b[2])) {
            return 0;
        }
        *code_point = (b[0] & 0x0fu) << 12 | (b[1] & 0x3fu) << 6 | (b[2] & 0x3fu);
        return 3;
    }
    if (b[0] < 0xf5) {
        uint8_t low = b[0] == 0xf0 ? 0x90 : 0x80;  /* below: overlong */
        uint8_t high = b[0] == 0xf4 ? 0x8f : 0xbf; /* above: beyond U+10FFFF */
        if (count < 4 || b[1] < low || b[1] > high || !is_continuation(b[2]) ||
            !is_continuation(b[3])) {
            return 0;
        }
        *code_point = (b[0] & 0x07u) << 18 | (b[1] & 0x3fu) << 12 | (b[2] & 0x3fu) << 6 |
                      (b[3] & 0x3fu);
        return 4;
    }
    return 0;
}

/* Eight bytes at once: none of them 0, none above 0x7f. */
static bool all_plain(const uint8_t *bytes)
{
    const uint64_t ones = 0x0101010101010101, highs = 0x8080808080808080;
    uint64_t word;
    memcpy(&word, bytes, sizeof(word));
    return ((word | (word - ones)) & highs) == 0; /* of ASCII, only 0 borrows into its high bit */
}

bool utf8_is_valid(struct slice text)
{
    while (text.count > 0) {
        while (text.count >= 8 && all_plain(text.data)) {
            text.data += 8;
            text.count -= 8;
        }
        if (text.count == 0) {
            break;
        }
        uint32_t code_point;
        uint32_t length = utf8_first(text, &code_point);
        if (length == 0 || code_point == 0) {
            return false; /* [MQTT-1.5.4-1], [MQTT-1.5.4-2] */
        }
        text.data += length;
        text.count -= length;
    }
    return true;
}
