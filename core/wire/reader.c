#include "core/wire/reader.h"

#include "core/base/utf8.h"

enum err read_text(struct reader *r, struct slice *out)
{
    struct slice text;
    TRY(read_binary(r, &text));
    if (!utf8_is_valid(text)) {
        /* [MQTT-1.5.4-1] [MQTT-1.5.4-2] [v3:MQTT-1.5.3-1] [v3:MQTT-1.5.3-2] */
        return ERR_MALFORMED;
    }
    *out = text;
    return OK;
}

enum err read_varint(struct reader *r, uint32_t *out)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < VARINT_BYTES_MAX; i++) {
        uint8_t byte;
        TRY(read_u8(r, &byte));
        value |= (uint32_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            if (byte == 0 && i > 0) {
                return ERR_MALFORMED; /* a leading zero: not the fewest bytes [MQTT-1.5.5-1] */
            }
            *out = value;
            return OK;
        }
    }
    return ERR_MALFORMED;
}
