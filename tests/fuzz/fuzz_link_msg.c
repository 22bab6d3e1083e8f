/*
 * fuzz_link_msg: no bytes of a peer break the reader of links, and what it accepts is written and
 * read again without a change.
 */
#include "cluster/link_msg.h"
#include "core/base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_greeting(const struct link_packet *packet)
{
    struct buf first = {0}, second = {0};
    struct link_packet again;
    struct slice bytes;
    size_t total;
    ASSERT(link_greeting_encode(packet, &first) == OK);
    ASSERT(link_packet_next(buf_bytes(&first), LINK_GREETING_BYTES_MAX, &bytes, &total) == OK);
    ASSERT(link_packet_decode(bytes, &again) == OK);
    ASSERT(again.kind == packet->kind);
    ASSERT(link_greeting_encode(&again, &second) == OK);
    ASSERT(slice_equal(buf_bytes(&first), buf_bytes(&second)));
    buf_deinit(&first);
    buf_deinit(&second);
}

static void check_messages(struct slice messages)
{
    struct link_message message, again;
    struct buf encoded = {0};
    uint32_t count = 0;
    for (struct slice rest = messages; link_message_next(&rest, &message); count++) {
        ASSERT(message.kind < LINK_KIND_COUNT);
        ASSERT(link_message_encode(&message, &encoded) == OK);
    }
    for (struct slice rest = buf_bytes(&encoded); count > 0; count--) {
        ASSERT(link_message_next(&rest, &again));
        ASSERT(link_message_next(&messages, &message));
        ASSERT(again.kind == message.kind && again.to == message.to);
        ASSERT(slice_equal(again.body, message.body));
    }
    buf_deinit(&encoded);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = slice_of(size == 0 ? NULL : data, size), bytes;
    struct buf plain = {0};
    struct link_packet packet;
    size_t total;
    while (link_packet_next(rest, LINK_PACKET_BYTES_MAX, &bytes, &total) == OK) {
        rest = slice_skip(rest, total);
        if (link_packet_decode(bytes, &packet) != OK) {
            continue;
        }
        if (packet.kind != LINK_PACKET_FRAME) {
            check_greeting(&packet);
            continue;
        }
        check_messages(packet.frame.messages);
        if (packet.frame.packed.count > 0 && link_messages_unpack(&packet.frame, &plain) == OK) {
            check_messages(buf_bytes(&plain));
            buf_deinit(&plain);
        }
    }
    buf_deinit(&plain);
    return 0;
}
