/* Messages about images: written by us, read by us and by protobuf-c, which knows transfer.proto. */
#include "cluster/transfer_msg.h"
#include "core/base/rng.h"

#include "proto/transfer.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROUNDS = 1000 };

static uint64_t number(struct rng *rng)
{
    return 1 + (rng_u64(rng) >> (1 + rng_below(rng, 62))); /* of any size, not 0 */
}

static struct transfer_msg draft(struct rng *rng, uint8_t data[64])
{
    struct transfer_msg msg = {
        .kind = (enum transfer_kind)(1 + rng_below(rng, TRANSFER_KIND_END - 1))};
    msg.head.partition = (uint32_t)rng_below(rng, 64);
    msg.head.id = msg.kind == TRANSFER_OPEN ? 0 : number(rng);
    if (msg.kind == TRANSFER_OPEN || msg.kind == TRANSFER_HEAD) {
        msg.head.index = number(rng);
    }
    if (msg.kind == TRANSFER_HEAD) {
        msg.head.term = number(rng);
        msg.members.index = 1 + rng_below(rng, msg.head.index);
        msg.members.count = 1 + (uint32_t)rng_below(rng, CONSENSUS_MEMBERS_MAX);
        for (uint32_t i = 0; i < msg.members.count; i++) {
            msg.members.rows[i] = (struct consensus_member){
                1 + i * 7, (enum consensus_role)rng_below(rng, CONSENSUS_GONE)};
        }
    }
    if (msg.kind == TRANSFER_ASK || msg.kind == TRANSFER_CHUNK) {
        msg.number = (uint32_t)rng_below(rng, 100000);
    }
    if (msg.kind == TRANSFER_CHUNK) {
        size_t count = rng_below(rng, 65);
        for (size_t i = 0; i < count; i++) {
            data[i] = (uint8_t)rng_u64(rng);
        }
        msg.is_last = rng_below(rng, 2) == 0;
        msg.data = slice_of(data, count);
    }
    return msg;
}

static void assert_same(const struct transfer_msg *a, const struct transfer_msg *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_memory_equal(&a->head, &b->head, sizeof(a->head));
    assert_int_equal(a->members.index, b->members.index);
    assert_int_equal(a->members.count, b->members.count);
    for (uint32_t i = 0; i < a->members.count; i++) {
        assert_int_equal(a->members.rows[i].id, b->members.rows[i].id);
        assert_int_equal(a->members.rows[i].role, b->members.rows[i].role);
    }
    assert_int_equal(a->number, b->number);
    assert_int_equal(a->is_last, b->is_last);
    assert_true(slice_equal(a->data, b->data));
}

static void assert_same_to_protobuf(const struct transfer_msg *msg, struct slice bytes)
{
    Tern__Transfer__Message *read = tern__transfer__message__unpack(NULL, bytes.count, bytes.data);
    assert_non_null(read);
    assert_int_equal(read->kind, msg->kind);
    assert_int_equal(read->partition, msg->head.partition);
    assert_int_equal(read->id, msg->head.id);
    assert_int_equal(read->index, msg->head.index);
    assert_int_equal(read->term, msg->head.term);
    assert_int_equal(read->members_index, msg->members.index);
    assert_int_equal(read->members.len > 0, msg->members.count > 0);
    assert_int_equal(read->number, msg->number);
    assert_int_equal(read->is_last, msg->is_last);
    assert_int_equal(read->data.len, msg->data.count);
    if (msg->data.count > 0) {
        assert_memory_equal(read->data.data, msg->data.data, msg->data.count);
    }
    size_t size = tern__transfer__message__get_packed_size(read);
    uint8_t *packed = malloc(size);
    assert_int_equal(tern__transfer__message__pack(read, packed), size);
    assert_int_equal(size, bytes.count);
    assert_memory_equal(packed, bytes.data, size);
    free(packed);
    tern__transfer__message__free_unpacked(read, NULL);
}

static void what_is_written_is_read_by_us_and_by_protobuf(void **state)
{
    struct rng rng;
    uint8_t data[64];
    (void)state;
    rng_init(&rng, 4);
    for (int i = 0; i < ROUNDS; i++) {
        struct transfer_msg msg = draft(&rng, data), read;
        struct buf bytes = {0};
        assert_int_equal(transfer_msg_encode(&msg, &bytes), OK);
        assert_int_equal(transfer_msg_decode(buf_bytes(&bytes), &read), OK);
        assert_same(&msg, &read);
        assert_same_to_protobuf(&msg, buf_bytes(&bytes));
        buf_deinit(&bytes);
    }
}

static void assert_malformed(const struct transfer_msg *msg)
{
    struct transfer_msg read;
    struct buf bytes = {0};
    assert_int_equal(transfer_msg_encode(msg, &bytes), OK);
    assert_int_equal(transfer_msg_decode(buf_bytes(&bytes), &read), ERR_MALFORMED);
    buf_deinit(&bytes);
}

static void what_cannot_be_is_refused(void **state)
{
    struct transfer_msg good = {.kind = TRANSFER_HEAD,
                                .head = {9, 7, 50, 3},
                                .members = {.index = 2, .count = 1, .rows = {{1, 1}}}},
                        msg = good, read;
    struct buf bytes = {0};
    (void)state;
    assert_int_equal(transfer_msg_encode(&good, &bytes), OK);
    assert_int_equal(transfer_msg_decode(buf_bytes(&bytes), &read), OK);
    for (size_t count = 0; count < buf_count(&bytes); count++) { /* none of it may be missing */
        assert_int_equal(transfer_msg_decode(slice_head(buf_bytes(&bytes), count), &read),
                         ERR_MALFORMED);
    }
    buf_deinit(&bytes);
    msg.head.partition = 64;
    assert_malformed(&msg);
    msg = good;
    msg.head.id = 0;
    assert_malformed(&msg);
    msg = good;
    msg.head.term = 0;
    assert_malformed(&msg);
    msg = good;
    msg.members.index = 51; /* later than the image */
    assert_malformed(&msg);
    static const uint8_t unknown[] = {8, TRANSFER_KIND_END};
    assert_int_equal(transfer_msg_decode(slice_of(unknown, 2), &read), ERR_MALFORMED);
}

static void the_largest_chunk_fits(void **state)
{
    struct transfer_msg msg = {.kind = TRANSFER_CHUNK,
                               .head = {.id = UINT64_MAX, .partition = 63},
                               .number = UINT32_MAX,
                               .is_last = true},
                        read;
    uint8_t *data = calloc(1, IMAGE_CHUNK_BYTES_MAX + 1);
    struct buf bytes = {0};
    (void)state;
    msg.data = slice_of(data, IMAGE_CHUNK_BYTES_MAX);
    assert_int_equal(transfer_msg_encode(&msg, &bytes), OK);
    assert_true(buf_count(&bytes) <= TRANSFER_MSG_BYTES_MAX);
    assert_int_equal(transfer_msg_decode(buf_bytes(&bytes), &read), OK);
    assert_same(&msg, &read);
    buf_deinit(&bytes);
    msg.data.count++;
    assert_malformed(&msg);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_by_us_and_by_protobuf),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(the_largest_chunk_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
