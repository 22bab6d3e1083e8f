/*
 * Images between two nodes: sender and receiver over a network that breaks, with a source that forgets and
 * a sink that is slow and refuses.
 */
#include "cluster/transfer_in.h"
#include "cluster/transfer_out.h"
#include "core/base/log.h"
#include "storage/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LEADER = 1, FOLLOWER = 2, PLACES = 3, QUEUE_MAX = 256, INDEX = 50 };

struct letter {
    uint64_t peer; /* whom it goes to */
    uint64_t at_ms;
    struct buf bytes;
};

/* What the source has open, and what was asked of it. */
struct place_seen {
    bool is_open, is_asked, is_read;
    uint32_t partition, number;
    uint64_t id;
};

/* What the sink was given. */
struct sunk {
    bool is_asked;
    enum err answer;
    uint64_t id, index;
    uint32_t next, chunk_count;
    bool is_ended;
    uint32_t begun, installed, failed;
};

struct world {
    struct rng rng;
    uint64_t now_ms, id_seed;
    struct transfer_out *out;
    struct transfer_in *in;
    struct transfer_source source;
    struct transfer_sink sink;
    struct transfer_out_host out_host;
    struct transfer_in_host in_host;
    struct letter letters[QUEUE_MAX];
    uint32_t letter_count, said;
    struct place_seen places[PLACES];
    struct sunk sunk[STORE_PARTITIONS];
    uint32_t chunk_count; /* of every image */
    uint64_t image_index; /* of every image */
    uint32_t refuses;     /* in so many of 100 cases the sink refuses a chunk */
    uint32_t break_at;    /* at which letter the link breaks; 0: it does not */
    uint64_t sent_bytes;
    bool is_leader, is_accepting, has_members;
};

/* ---- the network ------------------------------------------------------------------------------------ */

static void link_break(struct world *world)
{
    for (uint32_t i = 0; i < world->letter_count; i++) {
        buf_deinit(&world->letters[i].bytes);
    }
    world->letter_count = 0;
}

static void letter_send(struct world *world, uint64_t peer, struct slice bytes)
{
    struct letter *letter = &world->letters[world->letter_count];
    assert_true(world->letter_count < QUEUE_MAX);
    assert_true(bytes.count <= TRANSFER_MSG_BYTES_MAX);
    *letter = (struct letter){.peer = peer, .at_ms = world->now_ms + 1};
    assert_int_equal(buf_append(&letter->bytes, bytes), OK);
    world->letter_count++;
    if (++world->said == world->break_at) {
        link_break(world);
        transfer_in_up(world->in, world->now_ms, LEADER);
    }
}

static void out_send(void *context, uint64_t peer, uint32_t partition, struct slice message)
{
    (void)partition;
    assert_int_equal(peer, FOLLOWER);
    letter_send(context, peer, message);
}

static void in_send(void *context, uint64_t peer, uint32_t partition, struct slice message)
{
    (void)partition;
    if (peer == LEADER) { /* another one is not there */
        letter_send(context, peer, message);
    }
}

static void letter_deliver(struct world *world)
{
    struct letter letter = world->letters[0];
    struct transfer_msg msg;
    memmove(world->letters, world->letters + 1, --world->letter_count * sizeof(letter));
    assert_int_equal(transfer_msg_decode(buf_bytes(&letter.bytes), &msg), OK);
    if (letter.peer == LEADER) {
        transfer_out_receive(world->out, world->now_ms, FOLLOWER, &msg);
    } else {
        world->sent_bytes += msg.data.count;
        transfer_in_receive(world->in, world->now_ms, LEADER, &msg);
    }
    buf_deinit(&letter.bytes);
}

/* ---- a source, and a sink ----------------------------------------------------------------------------- */

static void source_open(void *context, uint32_t place, uint32_t partition, uint64_t id)
{
    struct world *world = context;
    assert_true(place < PLACES && !world->places[place].is_asked && !world->places[place].is_open);
    world->places[place] = (struct place_seen){.is_asked = true, .partition = partition, .id = id};
}

static void source_read(void *context, uint32_t place, uint32_t number)
{
    struct world *world = context;
    struct place_seen *seen = &world->places[place];
    assert_true(place < PLACES && seen->is_open && !seen->is_asked);
    seen->is_asked = seen->is_read = true;
    seen->number = number;
}

static void source_close(void *context, uint32_t place)
{
    struct world *world = context;
    assert_true(world->places[place].is_open && !world->places[place].is_asked);
    world->places[place].is_open = false;
}

struct content {
    uint64_t id;
    uint32_t partition, number;
    uint8_t filling[500];
};

static void source_answer(struct world *world, uint32_t place)
{
    struct place_seen *seen = &world->places[place];
    struct image_head head = {seen->id, seen->partition, world->image_index, 3};
    struct content content = {.id = seen->id, .partition = seen->partition, .number = seen->number};
    bool was_read = seen->is_read, is_last = seen->number + 1 == world->chunk_count;
    seen->is_asked = seen->is_read = false;
    if (!was_read) {
        seen->is_open = true;
        transfer_out_opened(world->out, world->now_ms, place, OK, &head);
    } else {
        enum err err = seen->number < world->chunk_count ? OK : ERR_RANGE;
        transfer_out_read(world->out, world->now_ms, place, err,
                          slice_of(&content, sizeof(content)), is_last);
    }
}

static void sink_begin(void *context, uint32_t partition, const struct image_head *head)
{
    struct sunk *sunk = &((struct world *)context)->sunk[partition];
    assert_false(sunk->is_asked);
    sunk->is_asked = true;
    sunk->answer = OK;
    sunk->id = head->id;
    sunk->index = head->index;
    sunk->next = 0;
    sunk->is_ended = false;
    sunk->begun++;
}

static void sink_take(void *context, uint32_t partition, struct slice chunk)
{
    struct world *world = context;
    struct sunk *sunk = &world->sunk[partition];
    struct content content;
    assert_false(sunk->is_asked);
    assert_int_equal(chunk.count, sizeof(content));
    memcpy(&content, chunk.data, sizeof(content));
    assert_int_equal(content.id, sunk->id);
    assert_int_equal(content.partition, partition);
    assert_int_equal(content.number, sunk->next);
    sunk->is_asked = true;
    sunk->next++;
    sunk->answer = rng_below(&world->rng, 100) < world->refuses ? ERR_CORRUPT : OK;
}

static void sink_end(void *context, uint32_t partition)
{
    struct world *world = context;
    struct sunk *sunk = &world->sunk[partition];
    assert_false(sunk->is_asked);
    assert_int_equal(sunk->next, world->chunk_count);
    sunk->is_asked = sunk->is_ended = true;
    sunk->answer = OK;
}

static bool offers(void *context, uint32_t partition, uint64_t peer, uint64_t index)
{
    (void)partition, (void)index;
    assert_int_equal(peer, FOLLOWER);
    return ((struct world *)context)->is_leader;
}

static bool members_at(void *context, uint32_t partition, uint64_t index,
                       struct consensus_members *out)
{
    (void)partition, (void)index;
    *out = (struct consensus_members){
        .index = 2, .count = 2, .rows = {{LEADER, CONSENSUS_VOTER}, {FOLLOWER, CONSENSUS_STANDBY}}};
    return ((struct world *)context)->has_members;
}

static bool accepts(void *context, uint32_t partition, const struct image_head *head,
                    const struct consensus_members *members)
{
    (void)partition;
    assert_int_equal(head->term, 3);
    assert_int_equal(members->count, 2);
    assert_int_equal(members->rows[1].id, FOLLOWER);
    return ((struct world *)context)->is_accepting;
}

static void installed(void *context, uint32_t partition, const struct image_head *head,
                      const struct consensus_members *members)
{
    struct world *world = context;
    struct sunk *sunk = &world->sunk[partition];
    assert_true(sunk->is_ended && head->id == sunk->id && head->index == sunk->index);
    assert_int_equal(members->index, 2);
    assert_false(transfer_in_is_fetching(world->in, partition));
    sunk->installed++;
}

static void failed(void *context, uint32_t partition, enum err err)
{
    assert_int_not_equal(err, OK);
    ((struct world *)context)->sunk[partition].failed++;
}

/* ---- the world turns --------------------------------------------------------------------------------------- */

static void out_start(struct world *world, uint64_t bytes_per_s)
{
    const struct transfer_out_config config = {.open_max = PLACES,
                                               .bytes_per_s = bytes_per_s,
                                               .seed = ++world->id_seed,
                                               .source = &world->source,
                                               .host = &world->out_host};
    assert_int_equal(transfer_out_new(&config, &world->out), OK);
}

static struct world *world_new(uint64_t seed)
{
    struct world *world = calloc(1, sizeof(*world));
    log_setup(-1, LOG_LOGFMT, 0);
    rng_init(&world->rng, seed);
    *world = (struct world){.rng = world->rng,
                            .now_ms = 1000,
                            .id_seed = seed * 100,
                            .source = {source_open, source_read, source_close, world},
                            .sink = {sink_begin, sink_take, sink_end, world},
                            .out_host = {offers, members_at, out_send, world},
                            .in_host = {accepts, installed, failed, in_send, world},
                            .chunk_count = 10,
                            .image_index = INDEX,
                            .is_leader = true,
                            .is_accepting = true,
                            .has_members = true};
    const struct transfer_in_config in = {.sink = &world->sink, .host = &world->in_host};
    out_start(world, 0);
    assert_int_equal(transfer_in_new(&in, &world->in), OK);
    return world;
}

/* The sender's process ends: what was open is gone. */
static void out_stop(struct world *world)
{
    for (uint32_t i = 0; i < PLACES; i++) {
        world->places[i].is_asked = world->places[i].is_read = false;
    }
    transfer_out_free(world->out);
    link_break(world);
    for (uint32_t i = 0; i < PLACES; i++) {
        assert_false(world->places[i].is_open);
    }
}

static void world_free(struct world *world)
{
    out_stop(world);
    transfer_in_free(world->in);
    link_break(world);
    free(world);
}

static void sink_answer(struct world *world, uint32_t partition)
{
    struct sunk *sunk = &world->sunk[partition];
    sunk->is_asked = false;
    transfer_in_done(world->in, world->now_ms, partition, sunk->answer);
}

/* Something that can happen now does; else time goes on to where something does. */
static void step(struct world *world)
{
    uint32_t drawn = (uint32_t)rng_below(&world->rng, 8);
    for (uint32_t i = 0; i < PLACES; i++) {
        if (world->places[i].is_asked && drawn % 2 == 0) {
            source_answer(world, i);
            return;
        }
    }
    for (uint32_t i = 0; i < STORE_PARTITIONS; i++) {
        if (world->sunk[i].is_asked && drawn % 3 == 0) {
            sink_answer(world, i);
            return;
        }
    }
    if (world->letter_count > 0 && world->letters[0].at_ms <= world->now_ms) {
        letter_deliver(world);
        return;
    }
    uint64_t in_ms = transfer_in_wake_ms(world->in), out_ms = transfer_out_wake_ms(world->out);
    uint64_t wake_ms = in_ms < out_ms ? in_ms : out_ms;
    bool is_idle = world->letter_count == 0;
    for (uint32_t i = 0; i < STORE_PARTITIONS; i++) {
        is_idle = is_idle && !world->sunk[i].is_asked && !(i < PLACES && world->places[i].is_asked);
    }
    world->now_ms = is_idle && wake_ms > world->now_ms && wake_ms != UINT64_MAX ? wake_ms
                                                                                : world->now_ms + 1;
    transfer_in_turn(world->in, world->now_ms);
    transfer_out_turn(world->out, world->now_ms);
}

static bool run(struct world *world, uint32_t partition)
{
    uint32_t before = world->sunk[partition].installed;
    for (int i = 0; i < 20000 && world->sunk[partition].installed == before; i++) {
        step(world);
    }
    return world->sunk[partition].installed == before + 1;
}

static void run_on(struct world *world, int steps)
{
    for (int i = 0; i < steps; i++) {
        step(world);
    }
}

/* ---- tests ----------------------------------------------------------------------------------------------------- */

static void an_image_comes_whole_and_in_order(void **state)
{
    struct world *world = world_new(1);
    (void)state;
    transfer_in_fetch(world->in, world->now_ms, 7, LEADER, 40);
    assert_true(transfer_in_is_fetching(world->in, 7));
    assert_true(run(world, 7));
    while (world->letter_count > 0) {
        letter_deliver(world);
    }
    assert_int_equal(world->sunk[7].begun, 1);
    assert_int_equal(world->sunk[7].installed, 1);
    assert_int_equal(world->sent_bytes, 10 * sizeof(struct content)); /* each once */
    assert_int_equal(transfer_out_count(world->out), 0);              /* DONE closed it */
    assert_int_equal(transfer_in_wake_ms(world->in), UINT64_MAX);
    world_free(world);
}

static void a_link_that_breaks_at_any_message_costs_no_more_than_what_was_under_way(void **state)
{
    (void)state;
    for (uint32_t at = 1; at < 34; at++) {
        struct world *world = world_new(at);
        world->break_at = at;
        transfer_in_fetch(world->in, world->now_ms, 7, LEADER, 40);
        assert_true(run(world, 7));
        assert_int_equal(world->sunk[7].begun, 1);
        assert_true(world->sent_bytes <= (10 + 5) * sizeof(struct content));
        world_free(world);
    }
}

static void a_sender_that_was_restarted_knows_no_image_and_gives_another(void **state)
{
    (void)state;
    for (uint32_t at = 1; at < 60; at += 3) {
        struct world *world = world_new(at);
        transfer_in_fetch(world->in, world->now_ms, 7, LEADER, 40);
        run_on(world, (int)at);
        bool was_done = world->sunk[7].installed > 0;
        out_stop(world);
        out_start(world, 0);
        world->image_index++;
        assert_true(was_done || run(world, 7));
        assert_true(world->sunk[7].index == INDEX + 1 || at > 30);
        world_free(world);
    }
}

static void a_chunk_that_is_refused_begins_the_whole_again(void **state)
{
    struct world *world = world_new(5);
    (void)state;
    world->refuses = 15;
    for (uint32_t i = 1; i <= 10; i++) {
        transfer_in_fetch(world->in, world->now_ms, 7, LEADER, 40);
        assert_true(run(world, 7));
        assert_int_equal(world->sunk[7].installed, i);
    }
    assert_true(world->sunk[7].begun > 15);
    world_free(world);
}

/* Everything at once, for many partitions; by hand for as many seeds as the argument says. */
static uint64_t seed_count = 20;

static void whatever_breaks_all_of_them_come_in_the_end(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= seed_count; seed++) {
        struct world *world = world_new(seed);
        world->refuses = 3;
        for (uint32_t i = 0; i < 8; i++) {
            transfer_in_fetch(world->in, world->now_ms, i * 9, LEADER, 40);
        }
        for (int i = 0; i < 1500; i++) {
            uint64_t drawn = rng_below(&world->rng, 200);
            step(world);
            if (drawn == 0) {
                link_break(world);
            } else if (drawn == 1) {
                link_break(world);
                transfer_in_up(world->in, world->now_ms, LEADER);
            } else if (drawn == 2) {
                out_stop(world);
                out_start(world, 0);
            } else if (drawn == 3) {
                world->is_leader = !world->is_leader;
            } else if (drawn == 4) {
                world->is_accepting = !world->is_accepting;
            } else if (drawn == 5) {
                transfer_in_fetch(world->in, world->now_ms, 9, 1 + rng_below(&world->rng, 2) * 2,
                                  45);
            } else if (drawn == 6) {
                transfer_in_cancel(world->in, world->now_ms, 18);
                transfer_in_fetch(world->in, world->now_ms, 18, LEADER, 40);
            } else if (drawn == 7) {
                transfer_out_stop(world->out, 27);
            }
        }
        world->is_leader = world->is_accepting = true;
        world->refuses = 0;
        for (uint32_t i = 0; i < 8; i++) {
            bool must_run = i * 9 == 9 || world->sunk[i * 9].installed == 0;
            transfer_in_fetch(world->in, world->now_ms, i * 9, LEADER, 40);
            assert_true(!must_run || world->sunk[i * 9].installed > 0 || run(world, i * 9));
            assert_int_equal(world->sunk[i * 9].failed, 0);
        }
        world_free(world);
    }
}

static void no_more_than_so_many_are_open_at_once(void **state)
{
    struct world *world = world_new(3);
    uint32_t most = 0;
    (void)state;
    for (uint32_t i = 0; i < 12; i++) {
        transfer_in_fetch(world->in, world->now_ms, i, LEADER, 40);
    }
    for (int i = 0; i < 20000; i++) {
        uint32_t begun = 0;
        step(world);
        for (uint32_t k = 0; k < 12; k++) {
            begun += world->sunk[k].begun > world->sunk[k].installed;
        }
        most = begun > most ? begun : most;
        assert_true(transfer_out_count(world->out) <= PLACES);
    }
    assert_int_equal(most, 2);
    for (uint32_t i = 0; i < 12; i++) {
        assert_int_equal(world->sunk[i].installed, 1);
    }
    world_free(world);
}

static void who_asks_for_one_too_many_is_told_to_come_again(void **state)
{
    struct world *world = world_new(3);
    struct transfer_msg open = {.kind = TRANSFER_OPEN, .head = {.index = 1}}, said;
    (void)state;
    for (uint32_t i = 0; i <= PLACES; i++) {
        assert_int_equal(world->letter_count, 0);
        open.head.partition = i;
        transfer_out_receive(world->out, world->now_ms, FOLLOWER, &open);
    }
    assert_int_equal(transfer_out_count(world->out), PLACES);
    assert_int_equal(world->letter_count, 1);
    assert_int_equal(transfer_msg_decode(buf_bytes(&world->letters[0].bytes), &said), OK);
    assert_int_equal(said.kind, TRANSFER_GONE);
    assert_int_equal(said.head.partition, PLACES);
    world_free(world);
}

static void what_nobody_wants_any_more_is_not_installed(void **state)
{
    (void)state;
    for (uint32_t at = 0; at < 60; at += 2) {
        struct world *world = world_new(at);
        transfer_in_fetch(world->in, world->now_ms, 7, LEADER, 40);
        run_on(world, (int)at);
        uint32_t before = world->sunk[7].installed;
        transfer_in_cancel(world->in, world->now_ms, 7);
        assert_false(transfer_in_is_fetching(world->in, 7));
        run_on(world, 300);
        assert_int_equal(world->sunk[7].installed, before);
        assert_int_equal(transfer_out_count(world->out), 0);
        transfer_in_fetch(world->in, world->now_ms, 7, LEADER, 40);
        assert_true(run(world, 7));
        world_free(world);
    }
}

static void an_image_that_nobody_asks_for_is_let_go(void **state)
{
    struct world *world = world_new(3);
    (void)state;
    transfer_in_fetch(world->in, world->now_ms, 7, LEADER, 40);
    while (world->sunk[7].next < 3) {
        step(world);
    }
    transfer_in_free(world->in); /* the receiver's process ends */
    const struct transfer_in_config in = {.sink = &world->sink, .host = &world->in_host};
    assert_int_equal(transfer_in_new(&in, &world->in), OK);
    world->sunk[7].is_asked = false;
    link_break(world);
    while (world->places[0].is_asked) {
        source_answer(world, 0);
    }
    link_break(world);
    assert_int_equal(transfer_out_count(world->out), 1);
    transfer_out_turn(world->out, world->now_ms + 29000);
    assert_int_equal(transfer_out_count(world->out), 1);
    transfer_out_turn(world->out, world->now_ms + 31000);
    assert_int_equal(transfer_out_count(world->out), 0);
    world_free(world);
}

static void bytes_per_second_are_kept(void **state)
{
    struct world *world = world_new(3);
    enum { PER_S = 1000 };
    (void)state;
    transfer_out_free(world->out);
    out_start(world, PER_S);
    world->chunk_count = 60;
    uint64_t began_ms = world->now_ms;
    transfer_in_fetch(world->in, world->now_ms, 7, LEADER, 40);
    assert_true(run(world, 7));
    uint64_t bytes = 60 * sizeof(struct content), took_ms = world->now_ms - began_ms;
    assert_true(took_ms > (bytes - 2 * PER_S) * 1000 / PER_S);
    assert_true(took_ms < bytes * 1000 / PER_S * 11 / 10);
    assert_int_equal(world->sent_bytes, bytes); /* and who waits does not ask twice for long */
    world_free(world);
}

static void who_may_not_have_it_or_will_not_have_it_asks_again_later(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct world *world = world_new(3);
        world->is_leader = i != 0;
        world->is_accepting = i != 1;
        world->has_members = i != 2;
        transfer_in_fetch(world->in, world->now_ms, 7, LEADER, i == 3 ? INDEX + 1 : 40);
        run_on(world, 500);
        assert_int_equal(world->sunk[7].begun, 0);
        assert_true(transfer_in_is_fetching(world->in, 7));
        assert_true(world->said < 500); /* not without end */
        world->is_leader = world->is_accepting = world->has_members = true;
        world->image_index = INDEX + 1;
        assert_true(run(world, 7));
        world_free(world);
    }
}

static void another_leader_or_a_later_index_begins_it_again(void **state)
{
    struct world *world = world_new(3);
    (void)state;
    transfer_in_fetch(world->in, world->now_ms, 7, 3, 40); /* who is not there */
    run_on(world, 200);
    transfer_in_fetch(world->in, world->now_ms, 7, LEADER, 40);
    while (world->sunk[7].next < 3) {
        step(world);
    }
    transfer_in_fetch(world->in, world->now_ms, 7, LEADER, INDEX); /* that it has */
    run_on(world, 3);
    assert_int_equal(world->sunk[7].begun, 1);
    world->image_index = INDEX + 5;
    transfer_in_fetch(world->in, world->now_ms, 7, LEADER, INDEX + 1);
    assert_true(run(world, 7));
    assert_int_equal(world->sunk[7].begun, 2);
    assert_int_equal(world->sunk[7].index, INDEX + 5);
    world_free(world);
}

static void a_disk_that_fails_gives_it_up(void **state)
{
    static const enum err errors[] = {ERR_IO, ERR_UNSUPPORTED};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct world *world = world_new(3);
        transfer_in_fetch(world->in, world->now_ms, 7, LEADER, 40);
        while (world->sunk[7].next < 3 || !world->sunk[7].is_asked) {
            step(world);
        }
        world->sunk[7].answer = errors[i];
        sink_answer(world, 7);
        assert_int_equal(world->sunk[7].failed, 1);
        assert_false(transfer_in_is_fetching(world->in, 7));
        run_on(world, 100);
        assert_int_equal(transfer_out_count(world->out), 0);
        world_free(world);
    }
}

int main(int argument_count, char **arguments)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_image_comes_whole_and_in_order),
        cmocka_unit_test(a_link_that_breaks_at_any_message_costs_no_more_than_what_was_under_way),
        cmocka_unit_test(a_sender_that_was_restarted_knows_no_image_and_gives_another),
        cmocka_unit_test(a_chunk_that_is_refused_begins_the_whole_again),
        cmocka_unit_test(whatever_breaks_all_of_them_come_in_the_end),
        cmocka_unit_test(no_more_than_so_many_are_open_at_once),
        cmocka_unit_test(who_asks_for_one_too_many_is_told_to_come_again),
        cmocka_unit_test(what_nobody_wants_any_more_is_not_installed),
        cmocka_unit_test(an_image_that_nobody_asks_for_is_let_go),
        cmocka_unit_test(bytes_per_second_are_kept),
        cmocka_unit_test(who_may_not_have_it_or_will_not_have_it_asks_again_later),
        cmocka_unit_test(another_leader_or_a_later_index_begins_it_again),
        cmocka_unit_test(a_disk_that_fails_gives_it_up),
    };
    seed_count = argument_count > 1 ? strtoull(arguments[1], NULL, 10) : seed_count;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
