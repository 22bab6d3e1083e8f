#include "cluster/link_msg.h"
#include "core/base/rng.h"

#include "proto/link.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

/* What we write is read by us and by protobuf-c, which knows link.proto. */
enum { ROUNDS = 500, MESSAGES_MAX = 40, BODY_MAX = 300 };

static const uint8_t cluster[LINK_CLUSTER_BYTES] = "sixteen bytes..";

static uint64_t number(struct rng *rng)
{
    return rng_u64(rng) >> rng_below(rng, 64); /* of any size */
}

static struct slice packet_of(const struct buf *buf)
{
    struct slice packet;
    size_t total;
    assert_int_equal(link_packet_next(buf_bytes(buf), LINK_PACKET_BYTES_MAX, &packet, &total), OK);
    assert_int_equal(total, buf_count(buf));
    return packet;
}

static struct link_packet hello_make(struct rng *rng)
{
    struct link_hello hello = {
        .version = (uint32_t)number(rng),
        .cluster = slice_of(cluster, LINK_CLUSTER_BYTES),
        .node = (uint32_t)number(rng),
        .name = slice_of("a-node-whose-name-is-cut", (size_t)rng_below(rng, 20)),
        .meant = (uint32_t)number(rng),
        .incarnation = number(rng),
        .generation = number(rng),
        .shard = (uint32_t)rng_below(rng, 8),
        .shard_count = 8 + (uint32_t)rng_below(rng, 57),
        .is_bulk = rng_below(rng, 2) == 1,
        .level_min = (uint32_t)number(rng),
        .level_max = (uint32_t)number(rng),
    };
    return (struct link_packet){.kind = LINK_PACKET_HELLO, .hello = hello};
}

static void a_hello_is_read_as_it_was_written_by_us_and_by_protobuf(void **state)
{
    struct rng rng;
    (void)state;
    rng_init(&rng, 1);
    for (int i = 0; i < ROUNDS; i++) {
        struct link_packet packet = hello_make(&rng), again;
        const struct link_hello *a = &packet.hello, *b = &again.hello;
        struct buf buf = {0};
        assert_int_equal(link_greeting_encode(&packet, &buf), OK);
        struct slice bytes = packet_of(&buf);
        assert_int_equal(link_packet_decode(bytes, &again), OK);
        assert_int_equal(again.kind, LINK_PACKET_HELLO);
        assert_true(slice_equal(a->name, b->name) && slice_equal(a->cluster, b->cluster));
        assert_true(a->version == b->version && a->node == b->node && a->meant == b->meant);
        assert_true(a->incarnation == b->incarnation && a->generation == b->generation);
        assert_true(a->shard == b->shard && a->shard_count == b->shard_count);
        assert_true(a->is_bulk == b->is_bulk && a->level_min == b->level_min);
        assert_int_equal(a->level_max, b->level_max);

        Tern__Link__Packet *theirs = tern__link__packet__unpack(NULL, bytes.count, bytes.data);
        assert_non_null(theirs);
        assert_int_equal(theirs->kind_case, TERN__LINK__PACKET__KIND_HELLO);
        const Tern__Link__Hello *c = theirs->hello;
        assert_true(a->version == c->version && a->node == c->node && a->meant == c->meant);
        assert_true(slice_equal(a->name, slice_of(c->name.data, c->name.len)));
        assert_true(a->incarnation == c->incarnation && a->generation == c->generation);
        assert_true(a->shard == c->shard && a->shard_count == c->shard_count);
        assert_true(a->is_bulk == c->bulk && a->level_max == c->level_max);
        tern__link__packet__free_unpacked(theirs, NULL);
        buf_deinit(&buf);
    }
}

static void welcome_and_refusal_are_read_as_they_were_written(void **state)
{
    struct link_packet welcome = {.kind = LINK_PACKET_WELCOME, .welcome = {1, 2, 3, 4, 5, 6}};
    struct link_packet refusal = {.kind = LINK_PACKET_REFUSAL,
                                  .refusal = {LINK_REASON_NAME, slice_text("no")}};
    struct link_packet again;
    struct buf buf = {0};
    (void)state;
    assert_int_equal(link_greeting_encode(&welcome, &buf), OK);
    assert_int_equal(link_packet_decode(packet_of(&buf), &again), OK);
    assert_int_equal(again.kind, LINK_PACKET_WELCOME);
    assert_memory_equal(&again.welcome, &welcome.welcome, sizeof(again.welcome));
    buf_deinit(&buf);
    assert_int_equal(link_greeting_encode(&refusal, &buf), OK);
    assert_int_equal(link_packet_decode(packet_of(&buf), &again), OK);
    assert_int_equal(again.refusal.reason, LINK_REASON_NAME);
    assert_true(slice_is(again.refusal.text, "no"));
    Tern__Link__Packet *theirs = tern__link__packet__unpack(NULL, packet_of(&buf).count,
                                                            packet_of(&buf).data);
    assert_int_equal(theirs->refusal->reason, LINK_REASON_NAME);
    tern__link__packet__free_unpacked(theirs, NULL);
    buf_deinit(&buf);
}

/* ---- frames ------------------------------------------------------------------------------------- */

struct draft {
    struct link_message messages[MESSAGES_MAX];
    uint8_t bodies[MESSAGES_MAX][BODY_MAX];
    uint32_t count;
    struct buf encoded;
};

static void draft_make(struct draft *draft, struct rng *rng, uint8_t letters)
{
    draft->count = (uint32_t)rng_below(rng, MESSAGES_MAX);
    draft->encoded = (struct buf){0};
    for (uint32_t i = 0; i < draft->count; i++) {
        size_t count = (size_t)rng_below(rng, BODY_MAX + 1);
        for (size_t k = 0; k < count; k++) {
            draft->bodies[i][k] = (uint8_t)rng_below(rng, letters);
        }
        draft->messages[i] = (struct link_message){
            .kind = (uint32_t)rng_below(rng, LINK_KIND_COUNT),
            .to = (uint32_t)number(rng),
            .body = slice_of(draft->bodies[i], count),
        };
        assert_int_equal(link_message_encode(&draft->messages[i], &draft->encoded), OK);
    }
}

static void draft_compare(const struct draft *draft, struct slice messages)
{
    struct link_message message;
    for (uint32_t i = 0; i < draft->count; i++) {
        assert_true(link_message_next(&messages, &message));
        assert_int_equal(message.kind, draft->messages[i].kind);
        assert_int_equal(message.to, draft->messages[i].to);
        assert_true(slice_equal(message.body, draft->messages[i].body));
    }
    assert_false(link_message_next(&messages, &message));
}

static void frame_put(struct buf *out, uint64_t credit, struct slice messages, size_t unpacked,
                      struct slice packed)
{
    uint8_t head[LINK_FRAME_HEAD_MAX];
    size_t count = link_frame_head(credit, messages.count, unpacked, packed.count, head);
    assert_int_equal(buf_append(out, slice_of(head, count)), OK);
    assert_int_equal(buf_append(out, packed), OK);
    assert_int_equal(buf_append(out, messages), OK);
}

static void messages_of_a_frame_come_in_order_for_us_and_for_protobuf(void **state)
{
    static struct draft draft;
    struct rng rng;
    (void)state;
    rng_init(&rng, 2);
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t credit = number(&rng);
        struct link_packet packet;
        struct buf buf = {0};
        draft_make(&draft, &rng, 255);
        frame_put(&buf, credit, buf_bytes(&draft.encoded), 0, slice_of(NULL, 0));
        struct slice bytes = packet_of(&buf);
        assert_int_equal(link_packet_decode(bytes, &packet), OK);
        assert_int_equal(packet.kind, LINK_PACKET_FRAME);
        assert_int_equal(packet.frame.credit, credit);
        draft_compare(&draft, packet.frame.messages);
        Tern__Link__Packet *theirs = tern__link__packet__unpack(NULL, bytes.count, bytes.data);
        assert_non_null(theirs);
        assert_int_equal(theirs->frame->credit, credit);
        assert_int_equal(theirs->frame->n_messages, draft.count);
        for (uint32_t k = 0; k < draft.count; k++) {
            const Tern__Link__Message *message = theirs->frame->messages[k];
            assert_int_equal(message->kind, draft.messages[k].kind);
            assert_int_equal(message->to, draft.messages[k].to);
            assert_true(slice_equal(slice_of(message->body.data, message->body.len),
                                    draft.messages[k].body));
        }
        tern__link__packet__free_unpacked(theirs, NULL);
        buf_deinit(&draft.encoded);
        buf_deinit(&buf);
    }
}

static void packed_messages_are_the_same_messages(void **state)
{
    static struct draft draft;
    struct rng rng;
    (void)state;
    rng_init(&rng, 3);
    for (int i = 0; i < ROUNDS; i++) {
        struct buf packed = {0}, buf = {0}, plain = {0};
        struct link_packet packet;
        draft_make(&draft, &rng, 4);
        struct slice messages = buf_bytes(&draft.encoded);
        if (link_messages_pack(messages, &packed)) {
            frame_put(&buf, 0, slice_of(NULL, 0), messages.count, buf_bytes(&packed));
            assert_in_range(buf_count(&packed), 1, messages.count - messages.count / 8);
            assert_int_equal(link_packet_decode(packet_of(&buf), &packet), OK);
            assert_int_equal(link_messages_unpack(&packet.frame, &plain), OK);
            draft_compare(&draft, buf_bytes(&plain));
        } else {
            assert_in_range(messages.count, 0, 2000);
        }
        buf_deinit(&draft.encoded);
        buf_deinit(&packed);
        buf_deinit(&plain);
        buf_deinit(&buf);
    }
}

static void what_gets_no_shorter_is_not_packed(void **state)
{
    struct buf encoded = {0}, packed = {0};
    uint8_t noise[4096];
    struct rng rng;
    (void)state;
    rng_init(&rng, 4);
    for (size_t i = 0; i < sizeof(noise); i++) {
        noise[i] = (uint8_t)rng_u64(&rng);
    }
    struct link_message message = {.kind = LINK_KIND_PUBLISH, .body = slice_of(noise, 4096)};
    assert_int_equal(link_message_encode(&message, &encoded), OK);
    assert_false(link_messages_pack(buf_bytes(&encoded), &packed));
    assert_int_equal(buf_count(&packed), 0);
    buf_deinit(&encoded);
    buf_deinit(&packed);
}

/* ---- bounds ------------------------------------------------------------------------------------- */

static void a_packet_is_awaited_until_it_is_whole_and_no_longer_than_allowed(void **state)
{
    struct rng rng;
    (void)state;
    rng_init(&rng, 5);
    struct link_packet packet = hello_make(&rng);
    struct slice whole, found;
    struct buf buf = {0};
    size_t total;
    assert_int_equal(link_greeting_encode(&packet, &buf), OK);
    whole = buf_bytes(&buf);
    for (size_t count = 0; count < whole.count; count++) {
        assert_int_equal(link_packet_next(slice_head(whole, count), 1024, &found, &total),
                         ERR_MORE);
    }
    size_t length = whole.count - LINK_LENGTH_BYTES;
    assert_int_equal(link_packet_next(slice_head(whole, 4), length - 1, &found, &total),
                     ERR_TOO_LARGE);
    assert_int_equal(link_packet_next(whole, length, &found, &total), OK);
    buf_deinit(&buf);
}

/* Each breaks one bound of a hello that is fine. */
static void a_hello_beyond_a_bound_is_malformed(void **state)
{
    struct rng rng;
    (void)state;
    for (int broken = 0; broken < 4; broken++) {
        rng_init(&rng, 6);
        struct link_packet packet = hello_make(&rng), again;
        struct buf buf = {0};
        packet.hello.cluster.count -= broken == 1;
        packet.hello.shard = broken == 2 ? packet.hello.shard_count : packet.hello.shard;
        packet.hello.shard_count = broken == 3 ? LIMIT_THREADS_MAX + 1 : packet.hello.shard_count;
        assert_int_equal(link_greeting_encode(&packet, &buf), OK);
        assert_int_equal(link_packet_decode(packet_of(&buf), &again),
                         broken == 0 ? OK : ERR_MALFORMED);
        buf_deinit(&buf);
    }
}

static void a_frame_that_is_wrong_anywhere_is_malformed_as_a_whole(void **state)
{
    struct link_message good = {.kind = LINK_KIND_RECEIPT, .body = slice_text("fine")};
    struct link_message foreign = {.kind = LINK_KIND_COUNT};
    struct link_packet packet;
    struct buf messages = {0}, buf = {0};
    (void)state;
    assert_int_equal(link_message_encode(&good, &messages), OK);
    assert_int_equal(link_message_encode(&foreign, &messages), OK);
    frame_put(&buf, 0, buf_bytes(&messages), 0, slice_of(NULL, 0));
    assert_int_equal(link_packet_decode(packet_of(&buf), &packet), ERR_MALFORMED);
    buf_deinit(&buf);
    frame_put(&buf, 0, slice_of("\x12\x7f", 2), 0, slice_of(NULL, 0)); /* longer than there is */
    assert_int_equal(link_packet_decode(packet_of(&buf), &packet), ERR_MALFORMED);
    buf_deinit(&buf);
    frame_put(&buf, 0, slice_of(NULL, 0), LINK_FRAME_BYTES + 1, slice_text("bomb"));
    assert_int_equal(link_packet_decode(packet_of(&buf), &packet), ERR_MALFORMED);
    buf_deinit(&buf);
    frame_put(&buf, 0, slice_of(NULL, 0), 100, slice_text("no lz4 at all"));
    assert_int_equal(link_packet_decode(packet_of(&buf), &packet), OK);
    struct buf plain = {0};
    assert_int_equal(link_messages_unpack(&packet.frame, &plain), ERR_MALFORMED);
    assert_int_equal(buf_count(&plain), 0);
    buf_deinit(&plain);
    buf_deinit(&messages);
    buf_deinit(&buf);
}

static void every_reason_has_words_and_a_name_of_its_own(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < LINK_REASON_COUNT; i++) {
        assert_non_null(link_reason_text((enum link_reason)i));
        for (uint32_t k = 0; k < i; k++) {
            assert_string_not_equal(link_reason_name((enum link_reason)i),
                                    link_reason_name((enum link_reason)k));
        }
    }
    assert_string_equal(link_reason_name(LINK_REASON_COUNT), "other");
    assert_non_null(link_reason_text(LINK_REASON_COUNT));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hello_is_read_as_it_was_written_by_us_and_by_protobuf),
        cmocka_unit_test(welcome_and_refusal_are_read_as_they_were_written),
        cmocka_unit_test(messages_of_a_frame_come_in_order_for_us_and_for_protobuf),
        cmocka_unit_test(packed_messages_are_the_same_messages),
        cmocka_unit_test(what_gets_no_shorter_is_not_packed),
        cmocka_unit_test(a_packet_is_awaited_until_it_is_whole_and_no_longer_than_allowed),
        cmocka_unit_test(a_hello_beyond_a_bound_is_malformed),
        cmocka_unit_test(a_frame_that_is_wrong_anywhere_is_malformed_as_a_whole),
        cmocka_unit_test(every_reason_has_words_and_a_name_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
