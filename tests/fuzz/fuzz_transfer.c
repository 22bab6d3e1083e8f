/*
 * fuzz_transfer: no bytes of a peer break the reader of messages about images, what it accepts is written and
 * read again without a change, and no order of messages brings a sender or a receiver to fall. And no bytes
 * are taken for a chunk of an image that are none.
 *
 * Input: steps: what to do (1 byte), length (2 bytes), a message or a chunk.
 */
#include "cluster/transfer_in.h"
#include "cluster/transfer_out.h"
#include "core/base/assert.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PLACES = 2, STEPS_MAX = 64 };

struct house {
    struct transfer_out *out;
    struct transfer_in *in;
    uint64_t now_ms;
    struct image_head heads[PLACES];
    bool is_opening[PLACES], is_reading[PLACES];
    bool is_sinking[64];
    uint8_t what;
};

static void source_open(void *context, uint32_t place, uint32_t partition, uint64_t id)
{
    struct house *house = context;
    ASSERT(place < PLACES && !house->is_opening[place] && !house->is_reading[place]);
    house->is_opening[place] = true;
    house->heads[place] = (struct image_head){id, partition, 50, 3};
}

static void source_read(void *context, uint32_t place, uint32_t number)
{
    struct house *house = context;
    (void)number;
    ASSERT(place < PLACES && !house->is_opening[place] && !house->is_reading[place]);
    house->is_reading[place] = true;
}

static void source_close(void *context, uint32_t place)
{
    (void)context;
    ASSERT(place < PLACES);
}

static void sink_asked(struct house *house, uint32_t partition)
{
    ASSERT(partition < 64 && !house->is_sinking[partition]);
    house->is_sinking[partition] = true;
}

static void sink_begin(void *context, uint32_t partition, const struct image_head *head)
{
    ASSERT(head->id != 0 && head->partition == partition);
    sink_asked(context, partition);
}

static void sink_take(void *context, uint32_t partition, struct slice chunk)
{
    struct image_chunk read;
    (void)image_chunk_read(chunk, &read);
    sink_asked(context, partition);
}

static void sink_end(void *context, uint32_t partition)
{
    sink_asked(context, partition);
}

static bool offers(void *context, uint32_t partition, uint64_t peer, uint64_t index)
{
    (void)partition, (void)peer;
    return ((struct house *)context)->what % 8 != 7 && index < 100;
}

static bool members_at(void *context, uint32_t partition, uint64_t index,
                       struct consensus_members *out)
{
    (void)context, (void)partition, (void)index;
    *out = (struct consensus_members){.index = 2, .count = 1, .rows = {{1, CONSENSUS_VOTER}}};
    return true;
}

static bool accepts(void *context, uint32_t partition, const struct image_head *head,
                    const struct consensus_members *members)
{
    (void)context, (void)partition;
    return members_check(members) == OK && head->index < 1000;
}

static void installed(void *context, uint32_t partition, const struct image_head *head,
                      const struct consensus_members *members)
{
    (void)context, (void)partition, (void)head;
    ASSERT(members_check(members) == OK);
}

static void failed(void *context, uint32_t partition, enum err err)
{
    (void)context, (void)partition;
    ASSERT(err != OK);
}

static void said(void *context, uint64_t peer, uint32_t partition, struct slice message)
{
    struct transfer_msg msg;
    (void)context, (void)peer;
    ASSERT(transfer_msg_decode(message, &msg) == OK && msg.head.partition == partition);
}

static void check_again(const struct transfer_msg *msg)
{
    struct transfer_msg again;
    struct buf first = {0}, second = {0};
    ASSERT(transfer_msg_encode(msg, &first) == OK);
    ASSERT(transfer_msg_decode(buf_bytes(&first), &again) == OK);
    ASSERT(transfer_msg_encode(&again, &second) == OK);
    ASSERT(slice_equal(buf_bytes(&first), buf_bytes(&second)));
    buf_deinit(&first);
    buf_deinit(&second);
}

/* Answers of source and sink, time, and what the owner does. */
static void act(struct house *house, uint8_t what)
{
    static const enum err errors[] = {OK, OK, ERR_CORRUPT, ERR_IO};
    uint32_t partition = what >> 4, place = what >> 4 & 1;
    enum err err = errors[what >> 5 & 3];
    switch (what >> 2 & 3) {
    case 0:
        house->now_ms += 700;
        transfer_in_turn(house->in, house->now_ms);
        transfer_out_turn(house->out, house->now_ms);
        break;
    case 1:
        transfer_in_fetch(house->in, house->now_ms, partition, 1 + (what >> 7), 40);
        break;
    case 2:
        if (house->is_sinking[partition]) {
            house->is_sinking[partition] = false;
            transfer_in_done(house->in, house->now_ms, partition, err);
        }
        break;
    case 3:
        if (house->is_opening[place]) {
            house->is_opening[place] = false;
            transfer_out_opened(house->out, house->now_ms, place, err, &house->heads[place]);
        } else if (house->is_reading[place]) {
            house->is_reading[place] = false;
            transfer_out_read(house->out, house->now_ms, place, err, slice_of("x", 1), what & 1);
        }
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct house house = {.now_ms = 1000};
    const struct transfer_source source = {source_open, source_read, source_close, &house};
    const struct transfer_sink sink = {sink_begin, sink_take, sink_end, &house};
    const struct transfer_out_host out_host = {offers, members_at, said, &house};
    const struct transfer_in_host in_host = {accepts, installed, failed, said, &house};
    const struct transfer_out_config out = {
        .open_max = PLACES, .bytes_per_s = 1000, .source = &source, .host = &out_host};
    const struct transfer_in_config in = {.sink = &sink, .host = &in_host};
    struct slice rest = slice_of(data, size);
    ASSERT(transfer_out_new(&out, &house.out) == OK && transfer_in_new(&in, &house.in) == OK);
    for (int step = 0; step < STEPS_MAX && rest.count >= 3; step++) {
        house.what = rest.data[0];
        size_t count = rest.data[1] | (size_t)rest.data[2] << 8;
        struct transfer_msg msg;
        if ((house.what & 3) == 3) {
            act(&house, house.what);
            rest = slice_skip(rest, 1);
            continue;
        }
        rest = slice_skip(rest, 3);
        count = count < rest.count ? count : rest.count;
        if (transfer_msg_decode(slice_head(rest, count), &msg) == OK) {
            check_again(&msg);
            transfer_out_receive(house.out, house.now_ms, 1 + (house.what >> 7), &msg);
            transfer_in_receive(house.in, house.now_ms, 1 + (house.what >> 7), &msg);
        }
        rest = slice_skip(rest, count);
    }
    transfer_out_free(house.out);
    transfer_in_free(house.in);
    return 0;
}
