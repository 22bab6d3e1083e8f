#include "core/base/log.h"
#include "core/base/rng.h"
#include "tests/lib/link_pair.h"

/* Nodes in clear, on loopback sockets: order, priorities, credit, cuts, generations. */

static void pair_of_two(struct pair *pair)
{
    struct peers_config a = pair_config(0), b = pair_config(1);
    pair_init(pair);
    pair_node_start(pair, 0, &a);
    pair_node_start(pair, 1, &b);
    pair_meet(pair, 0, 1);
    PAIR_UNTIL(pair, pair->nodes[0].up_count == 1 && pair->nodes[1].up_count == 1);
}

static void two_nodes_meet_and_messages_come_in_order(void **state)
{
    enum { COUNT = 2000 };
    struct pair pair;
    (void)state;
    pair_of_two(&pair);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(pair_send(&pair, 0, 1, LINK_KIND_PUBLISH, i, 4 + i % 200), OK);
        assert_int_equal(pair_send(&pair, 1, 0, LINK_KIND_CONSENSUS, i, 4), OK);
        if (i % 100 == 0) {
            pair_turn(&pair);
        }
    }
    PAIR_UNTIL(&pair, pair.nodes[0].told_count == COUNT && pair.nodes[1].told_count == COUNT);
    for (uint32_t i = 0; i < COUNT; i++) {
        const struct told *told = &pair.nodes[1].told[i];
        assert_int_equal(told->number, i);
        assert_int_equal(told->body_bytes, 4 + i % 200);
        assert_int_equal(told->node, 1);
        assert_int_equal(told->to, i % 64);
        assert_int_equal(told->kind, LINK_KIND_PUBLISH);
        assert_int_equal(told->generation, pair.nodes[0].generation);
        assert_int_equal(pair.nodes[0].told[i].number, i);
    }
    assert_true(peers_is_up(pair.nodes[0].peers, 2));
    assert_int_not_equal(peers_heard_ns(pair.nodes[0].peers, 2), 0);
    assert_int_equal(metric_value(pair.nodes[0].metrics, METRIC_links_up), 1);
    pair_deinit(&pair);
}

static void raft_goes_before_control_and_control_before_data(void **state)
{
    struct pair pair;
    (void)state;
    pair_of_two(&pair);
    for (uint32_t i = 0; i < 10; i++) {
        assert_int_equal(pair_send(&pair, 0, 1, LINK_KIND_PUBLISH, 100 + i, 300), OK);
        assert_int_equal(pair_send(&pair, 0, 1, LINK_KIND_ROUTES, 10 + i, 300), OK);
        assert_int_equal(pair_send(&pair, 0, 1, LINK_KIND_CONSENSUS, i, 300), OK);
    }
    PAIR_UNTIL(&pair, pair.nodes[1].told_count == 30);
    for (uint32_t i = 0; i < 30; i++) {
        assert_int_equal(pair.nodes[1].told[i].number, i < 20 ? i : 80 + i);
    }
    pair_deinit(&pair);
}

/* Data fills several frames: what is sent later by raft does not wait for all of them. */
static void raft_overtakes_data_that_waits(void **state)
{
    enum { PIECE = 200 << 10, PIECES = 10 };
    struct pair pair;
    uint32_t at = 0;
    (void)state;
    pair_of_two(&pair);
    for (uint32_t i = 0; i < PIECES; i++) {
        assert_int_equal(pair_send(&pair, 0, 1, LINK_KIND_PUBLISH, i, PIECE), OK);
    }
    pair_turn(&pair); /* the first frame is on its way */
    assert_int_equal(pair_send(&pair, 0, 1, LINK_KIND_CONSENSUS, 77, PIECE), OK);
    PAIR_UNTIL(&pair, pair.nodes[1].told_count == PIECES + 1);
    while (pair.nodes[1].told[at].kind != LINK_KIND_CONSENSUS) {
        at++;
    }
    assert_in_range(at, 0, PIECES / 2);
    pair_deinit(&pair);
}

static void a_slow_reader_of_data_holds_up_data_alone(void **state)
{
    enum { BODY = 1000, COUNT = 100 };
    struct peers_config a = pair_config(0), b = pair_config(1);
    struct pair pair;
    (void)state;
    b.link.window_bytes = 20 * BODY;
    pair_init(&pair);
    pair_node_start(&pair, 0, &a);
    pair_node_start(&pair, 1, &b);
    pair_meet(&pair, 0, 1);
    pair.nodes[1].keeps = true;
    PAIR_UNTIL(&pair, pair.nodes[0].up_count == 1);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(pair_send(&pair, 0, 1, LINK_KIND_PUBLISH, i, BODY), OK);
    }
    uint64_t fitting = 20 * BODY / (BODY + LINK_COST_BYTES);
    PAIR_UNTIL(&pair, pair.nodes[1].told_count == fitting);
    for (uint32_t i = 0; i < 50; i++) {
        assert_int_equal(pair_send(&pair, 0, 1, LINK_KIND_RECEIPT, i, BODY), OK);
    }
    PAIR_UNTIL(&pair, pair.nodes[1].told_count == fitting + 50); /* and no data */
    assert_in_range(peers_waiting(pair.nodes[0].peers, 2, LINK_DATA), (COUNT - fitting) * BODY,
                    (COUNT - fitting) * (BODY + 32));
    assert_int_equal(peers_waiting(pair.nodes[0].peers, 2, LINK_CONTROL), 0);
    pair.nodes[1].keeps = false; /* it catches up */
    for (uint64_t i = 0; i < fitting; i++) {
        peers_release(pair.nodes[1].peers, 1, pair.nodes[0].generation, BODY);
    }
    PAIR_UNTIL(&pair, pair.nodes[1].told_count == COUNT + 50);
    for (uint32_t i = (uint32_t)fitting; i < COUNT; i++) {
        assert_int_equal(pair.nodes[1].told[50 + i].number, i);
    }
    assert_int_equal(peers_waiting(pair.nodes[0].peers, 2, LINK_DATA), 0);
    assert_int_equal(pair.nodes[0].down_count, 0);
    pair_deinit(&pair);
}

static void more_than_is_kept_breaks_the_link_and_memory_stays_bounded(void **state)
{
    enum { BODY = 1000, BOUND = 100 * BODY };
    struct peers_config a = pair_config(0), b = pair_config(1);
    struct pair pair;
    enum err err = OK;
    (void)state;
    a.link.queue_bytes_max = BOUND;
    b.link.window_bytes = 10 * BODY;
    pair_init(&pair);
    pair_node_start(&pair, 0, &a);
    pair_node_start(&pair, 1, &b);
    pair_meet(&pair, 0, 1);
    pair.nodes[1].keeps = true;
    PAIR_UNTIL(&pair, pair.nodes[0].up_count == 1);
    for (uint32_t i = 0; err == OK && i < 1000; i++) {
        err = pair_send(&pair, 0, 1, LINK_KIND_PUBLISH, i, BODY);
        assert_in_range(peers_waiting(pair.nodes[0].peers, 2, LINK_DATA), 0, BOUND + 2 * BODY);
        pair_turn(&pair);
    }
    assert_int_equal(err, ERR_LIMIT);
    PAIR_UNTIL(&pair, pair.nodes[0].down_count == 1);
    assert_int_equal(pair.nodes[0].down_reason, LINK_REASON_LIMIT);
    PAIR_UNTIL(&pair,
               pair.nodes[0].up_count == 2); /* and it begins anew, with nothing of the old */
    assert_int_equal(peers_waiting(pair.nodes[0].peers, 2, LINK_DATA), 0);
    pair_deinit(&pair);
}

static void a_message_larger_than_the_window_goes_alone(void **state)
{
    struct peers_config a = pair_config(0), b = pair_config(1);
    struct pair pair;
    (void)state;
    b.link.window_bytes = 1000;
    pair_init(&pair);
    pair_node_start(&pair, 0, &a);
    pair_node_start(&pair, 1, &b);
    pair_meet(&pair, 0, 1);
    PAIR_UNTIL(&pair, pair.nodes[0].up_count == 1);
    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(pair_send(&pair, 0, 1, LINK_KIND_PUBLISH, i, i % 2 ? 3 << 20 : 100), OK);
    }
    PAIR_UNTIL(&pair, pair.nodes[1].told_count == 6);
    assert_int_equal(pair.nodes[1].told[5].number, 5);
    assert_int_equal(pair.nodes[1].told[5].body_bytes, 3 << 20);
    pair_deinit(&pair);
}

static void data_that_waits_is_packed_where_that_is_asked_for(void **state)
{
    struct peers_config a = pair_config(0), b = pair_config(1);
    struct pair pair;
    (void)state;
    a.link.pack_from_bytes = 1;
    pair_init(&pair);
    pair_node_start(&pair, 0, &a);
    pair_node_start(&pair, 1, &b);
    pair_meet(&pair, 0, 1);
    PAIR_UNTIL(&pair, pair.nodes[0].up_count == 1);
    for (uint32_t i = 0; i < 1000; i++) {
        assert_int_equal(pair_send(&pair, 0, 1, LINK_KIND_PUBLISH, i, 900), OK);
        assert_int_equal(pair_send(&pair, 0, 1, LINK_KIND_CONSENSUS, i, 20), OK);
    }
    PAIR_UNTIL(&pair, pair.nodes[1].told_count == 2000);
    uint32_t next[2] = {0, 0};
    for (uint32_t i = 0; i < 2000; i++) {
        const struct told *told = &pair.nodes[1].told[i];
        assert_int_equal(told->number, next[told->kind == LINK_KIND_PUBLISH]++);
    }
    pair_deinit(&pair);
}

/* It is connected when it is first wanted. */
static void bulk_open(struct pair *pair)
{
    assert_int_equal(pair_send(pair, 0, 1, LINK_KIND_TRANSFER, 0, 4), ERR_UNAVAILABLE);
    PAIR_UNTIL(pair, metric_value(pair->nodes[0].metrics, METRIC_links_up) == 2);
}

static void bulk_has_a_stream_of_its_own(void **state)
{
    enum { PIECE = 256 << 10, PIECES = 8 };
    struct pair pair;
    (void)state;
    pair_of_two(&pair);
    bulk_open(&pair);
    for (uint32_t i = 0; i < PIECES; i++) {
        assert_int_equal(pair_send(&pair, 0, 1, LINK_KIND_TRANSFER, i, PIECE), OK);
    }
    assert_int_equal(pair_send(&pair, 0, 1, LINK_KIND_CONSENSUS, 77, 100), OK);
    PAIR_UNTIL(&pair, pair.nodes[1].told_count == PIECES + 1);
    assert_int_not_equal(pair.nodes[1].told[PIECES].kind, LINK_KIND_CONSENSUS); /* overtaken */
    assert_int_equal(pair.nodes[0].up_count, 1);
    assert_int_equal(metric_value(pair.nodes[0].metrics, METRIC_links_up), 2);
    pair_deinit(&pair);
}

static void a_throttled_bulk_stream_takes_its_time_and_loses_nothing(void **state)
{
    struct peers_config a = pair_config(0), b = pair_config(1);
    struct pair pair;
    (void)state;
    a.link.bulk_bytes_per_s = 20 << 20;
    pair_init(&pair);
    pair_node_start(&pair, 0, &a);
    pair_node_start(&pair, 1, &b);
    pair_meet(&pair, 0, 1);
    PAIR_UNTIL(&pair, pair.nodes[0].up_count == 1);
    bulk_open(&pair);
    uint64_t begun_ns = io_now_ns(pair.io);
    for (uint32_t i = 0; i < 9; i++) {
        assert_int_equal(pair_send(&pair, 0, 1, LINK_KIND_TRANSFER, i, 256 << 10), OK);
    }
    PAIR_UNTIL(&pair, pair.nodes[1].told_count == 9);
    uint64_t took_ns = io_now_ns(pair.io) - begun_ns;
    assert_true(took_ns >= 90 * PAIR_MS); /* 100 ms: not sooner than the rate allows */
    for (uint32_t i = 0; i < 9; i++) {
        assert_int_equal(pair.nodes[1].told[i].number, i);
    }
    pair_deinit(&pair);
}

/* ---- what goes wrong ---------------------------------------------------------------------------- */

static void pair_with_relay(struct pair *pair, struct relay *relay, const struct peers_config *a,
                            const struct peers_config *b)
{
    pair_init(pair);
    pair_node_start(pair, 0, a);
    pair_node_start(pair, 1, b);
    relay_init(relay, pair->io, &pair->nodes[1].address);
    assert_int_equal(peers_set(pair->nodes[0].peers, 2, "b", &relay->address), OK);
    assert_int_equal(peers_set(pair->nodes[1].peers, 1, "a", &pair->nodes[0].address), OK);
}

/* E5: what a generation brings is a beginning of what was sent by it; no message twice, none of an
 * older generation behind one of a newer. */
static void a_stream_cut_at_any_byte_loses_an_end_and_nothing_else(void **state)
{
    enum { COUNT = 40 };
    struct peers_config a = pair_config(0), b = pair_config(1);
    struct relay relay;
    struct pair pair;
    (void)state;
    a.backoff_ns_max = PAIR_MS;
    pair_with_relay(&pair, &relay, &a, &b);
    struct pair_node *sender = &pair.nodes[0], *receiver = &pair.nodes[1];
    for (uint64_t cut = 1; cut < 400; cut += 11) {
        relay.cut_after = cut;
        relay_cut(&relay);
        uint64_t streams = relay.stream_count;
        uint32_t ups = sender->up_count;
        receiver->told_count = 0;
        PAIR_UNTIL(&pair, sender->up_count > ups || relay.stream_count > streams + 2);
        uint64_t generation = sender->generation;
        uint32_t sent = 0;
        while (sent < COUNT && peers_is_up(sender->peers, 2) && sender->generation == generation) {
            sent += pair_send(&pair, 0, 1, LINK_KIND_ROUTES, sent, 5) == OK;
            pair_turn(&pair);
        }
        uint64_t last = 0;
        uint32_t expected = 0;
        for (uint64_t i = 0; i < receiver->told_count; i++) {
            assert_true(receiver->told[i].generation >= last);
            expected = receiver->told[i].generation > last ? 0 : expected;
            last = receiver->told[i].generation;
            assert_int_equal(receiver->told[i].number, expected++);
        }
    }
    relay.cut_after = UINT64_MAX;
    relay_cut(&relay);
    uint32_t ups = sender->up_count;
    PAIR_UNTIL(&pair, sender->up_count > ups);
    assert_true(sender->up_count >= 10);
    receiver->told_count = 0;
    assert_int_equal(pair_send(&pair, 0, 1, LINK_KIND_ROUTES, 5, 5), OK);
    PAIR_UNTIL(&pair, receiver->told_count == 1);
    assert_int_equal(receiver->told[0].generation, sender->generation);
    pair_deinit(&pair);
    relay_deinit(&relay);
}

static void a_peer_that_falls_silent_is_told_as_down_on_both_sides(void **state)
{
    struct peers_config a = pair_config(0), b = pair_config(1);
    struct relay relay;
    struct pair pair;
    (void)state;
    a.link.silence_ns = b.link.silence_ns = 150 * PAIR_MS;
    pair_with_relay(&pair, &relay, &a, &b);
    PAIR_UNTIL(&pair, pair.nodes[0].up_count == 1 && pair.nodes[1].up_count == 1);
    relay.is_stalled = true;
    PAIR_UNTIL(&pair, pair.nodes[0].down_count == 1);
    assert_int_equal(pair.nodes[0].down_reason, LINK_REASON_SILENT);
    assert_int_equal(pair_send(&pair, 0, 1, LINK_KIND_ROUTES, 5, 5), ERR_UNAVAILABLE);
    assert_int_equal(pair.nodes[1].down_count, 0); /* its own way is open */
    relay.is_stalled = false;
    PAIR_UNTIL(&pair, pair.nodes[0].up_count == 2);
    pair_deinit(&pair);
    relay_deinit(&relay);
}

static void a_node_that_starts_again_comes_back_with_a_higher_generation(void **state)
{
    struct peers_config b = pair_config(1);
    struct pair pair;
    (void)state;
    pair_of_two(&pair);
    uint64_t before = pair.nodes[1].generation;
    struct address address = pair.nodes[1].address;
    assert_int_equal(pair_send(&pair, 1, 0, LINK_KIND_ROUTES, 1, 5), OK);
    PAIR_UNTIL(&pair, pair.nodes[0].told_count == 1);
    peers_stop(pair.nodes[1].peers);
    PAIR_UNTIL(&pair, pair.nodes[0].down_count == 1);
    /* Its memory goes with the io in this test; a real node takes all of it along. */
    struct pair_node old = pair.nodes[1];
    b.incarnation = 2;
    pair.nodes[1] = (struct pair_node){.told = old.told, .metrics = old.metrics};
    pair.nodes[1].peers = peers_new(pair.io, pair.wheel, &b, &pair_events, &pair.nodes[1]);
    assert_int_equal(peers_listen(pair.nodes[1].peers, &address, IO_SHARE_NONE), OK);
    assert_int_equal(peers_set(pair.nodes[1].peers, 1, "a", &pair.nodes[0].address), OK);
    PAIR_UNTIL(&pair, pair.nodes[0].up_count == 2 && pair.nodes[1].up_count == 1);
    assert_true(pair.nodes[1].generation > before);
    assert_int_equal(pair_send(&pair, 1, 0, LINK_KIND_ROUTES, 1, 5), OK);
    PAIR_UNTIL(&pair, pair.nodes[0].told_count == 2);
    assert_true(pair.nodes[0].told[1].generation > pair.nodes[0].told[0].generation);
    io_free(pair.io);
    peers_free(old.peers);
    for (uint32_t i = 0; i < 2; i++) {
        peers_free(pair.nodes[i].peers);
        metrics_free(pair.nodes[i].metrics);
        free(pair.nodes[i].told);
    }
    wheel_free(pair.wheel);
}

/* The same node number once more, of an older start: its hello is refused. */
static void a_generation_never_goes_back(void **state)
{
    struct peers_config a = pair_config(0), old = pair_config(0), b = pair_config(1);
    struct pair pair;
    (void)state;
    a.incarnation = 5;
    old.incarnation = 4;
    pair_init(&pair);
    pair_node_start(&pair, 0, &a);
    pair_node_start(&pair, 1, &b);
    pair_meet(&pair, 0, 1);
    PAIR_UNTIL(&pair, pair.nodes[0].up_count == 1);
    pair_node_start(&pair, 2, &old);
    assert_int_equal(peers_set(pair.nodes[2].peers, 2, "b", &pair.nodes[1].address), OK);
    for (uint32_t i = 0; i < 100; i++) {
        pair_turn(&pair);
    }
    assert_int_equal(pair.nodes[2].up_count, 0);
    assert_int_equal(pair.nodes[0].down_count, 0);
    old.incarnation = 6; /* and a newer one takes its place */
    peers_stop(pair.nodes[2].peers);
    struct peers *stopped = pair.nodes[2].peers;
    pair.nodes[2].peers = peers_new(pair.io, pair.wheel, &old, &pair_events, &pair.nodes[2]);
    assert_int_equal(peers_set(pair.nodes[2].peers, 2, "b", &pair.nodes[1].address), OK);
    PAIR_UNTIL(&pair, pair.nodes[2].up_count == 1 && pair.nodes[0].down_count == 1);
    pair_deinit(&pair);
    peers_free(stopped);
}

/* ---- who is let in, in clear -------------------------------------------------------------------- */

static const struct refusal_row {
    const char *what;
    enum link_reason reason;
} refusals[] = {
    {"another cluster", LINK_REASON_CLUSTER}, {"another name", LINK_REASON_NAME},
    {"a stranger", LINK_REASON_UNKNOWN},      {"it meant another node", LINK_REASON_MEANT},
    {"feature levels", LINK_REASON_LEVEL},
};

static void who_says_the_wrong_thing_is_refused_and_counted_by_reason(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        struct peers_config a = pair_config(0), b = pair_config(1);
        enum link_reason reason = refusals[i].reason;
        struct pair pair;
        a.cluster_id[3] ^= reason == LINK_REASON_CLUSTER;
        a.name = reason == LINK_REASON_NAME ? "impostor" : a.name;
        a.level_min = a.level_max = reason == LINK_REASON_LEVEL ? 2 : 1;
        pair_init(&pair);
        pair_node_start(&pair, 0, &a);
        pair_node_start(&pair, 1, &b);
        uint32_t meant = reason == LINK_REASON_MEANT ? 3 : 2;
        assert_int_equal(peers_set(pair.nodes[0].peers, meant, "b", &pair.nodes[1].address), OK);
        if (reason != LINK_REASON_UNKNOWN) {
            assert_int_equal(peers_set(pair.nodes[1].peers, 1, "a", &pair.nodes[0].address), OK);
        }
        PAIR_UNTIL(&pair,
                   metric_label_value(pair.nodes[0].metrics, METRIC_links_refused, reason) > 0 &&
                       metric_label_value(pair.nodes[1].metrics, METRIC_links_refused, reason) > 0);
        assert_int_equal(pair.nodes[0].up_count, 0);
        assert_int_equal(pair.nodes[1].told_count, 0);
        pair_deinit(&pair);
    }
}

static void a_node_that_is_forgotten_is_out_and_may_be_let_in_again(void **state)
{
    struct pair pair;
    (void)state;
    pair_of_two(&pair);
    peers_forget(pair.nodes[1].peers, 1);
    assert_int_equal(pair_send(&pair, 1, 0, LINK_KIND_ROUTES, 1, 5), ERR_NOT_FOUND);
    PAIR_UNTIL(&pair, pair.nodes[0].down_count == 1);
    PAIR_UNTIL(&pair, metric_label_value(pair.nodes[0].metrics, METRIC_links_refused,
                                         LINK_REASON_UNKNOWN) > 0);
    assert_int_equal(peers_set(pair.nodes[1].peers, 1, "a", &pair.nodes[0].address), OK);
    PAIR_UNTIL(&pair, pair.nodes[0].up_count == 2 && pair.nodes[1].up_count == 2);
    pair_deinit(&pair);
}

static void names_and_numbers_that_are_none_are_not_taken(void **state)
{
    struct peers_config a = pair_config(0);
    struct pair pair;
    (void)state;
    pair_init(&pair);
    pair_node_start(&pair, 0, &a);
    struct peers *peers = pair.nodes[0].peers;
    const struct address *at = &pair.nodes[0].address;
    assert_int_equal(peers_set(peers, 0, "b", at), ERR_INVALID);
    assert_int_equal(peers_set(peers, 1, "b", at), ERR_INVALID);
    assert_int_equal(peers_set(peers, 2, "", at), ERR_INVALID);
    assert_int_equal(peers_set(peers, 2, "b/c", at), ERR_INVALID);
    assert_int_equal(pair_send(&pair, 0, 1, LINK_KIND_ROUTES, 1, 5), ERR_NOT_FOUND);
    pair_deinit(&pair);
}

/* ---- shards ------------------------------------------------------------------------------------- */

/* b has two shards, nodes[1] and nodes[2]; a's shard 1 of 2 reaches shard 0 first. */
static void a_stream_is_carried_to_the_shard_that_it_is_for(void **state)
{
    struct peers_config a = pair_config(0), b = pair_config(1), c = pair_config(1);
    struct pair pair;
    (void)state;
    a.shard = c.shard = 1;
    a.shard_count = b.shard_count = c.shard_count = 2;
    pair_init(&pair);
    pair_node_start(&pair, 0, &a);
    pair_node_start(&pair, 1, &b);
    pair_node_start(&pair, 2, &c);
    pair.nodes[1].carries_to = &pair.nodes[2];
    for (uint32_t i = 1; i <= 2; i++) {
        assert_int_equal(peers_set(pair.nodes[i].peers, 1, "a", &pair.nodes[0].address), OK);
    }
    assert_int_equal(peers_set(pair.nodes[0].peers, 2, "b", &pair.nodes[1].address), OK);
    PAIR_UNTIL(&pair, pair.nodes[0].up_count == 1);
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(pair_send(&pair, 0, 1, LINK_KIND_PUBLISH, i, 100), OK);
    }
    PAIR_UNTIL(&pair, pair.nodes[2].told_count == 100);
    assert_int_equal(pair.nodes[1].told_count, 0);
    assert_int_equal(pair.nodes[2].told[99].number, 99);
    bulk_open(&pair);
    assert_int_equal(pair_send(&pair, 0, 1, LINK_KIND_TRANSFER, 7, 1000), OK);
    PAIR_UNTIL(&pair, pair.nodes[2].told_count == 101);
    assert_int_equal(pair.nodes[2].told[100].kind, LINK_KIND_TRANSFER);
    pair_deinit(&pair);
}

/* ---- a peer that speaks as it likes -------------------------------------------------------------- */

struct raw {
    struct io_stream *stream;
    struct buf out;
    uint64_t received;
    bool is_connected, is_closed;
};

static void raw_bytes(void *owner, struct slice bytes)
{
    ((struct raw *)owner)->received += bytes.count;
}

static void raw_sent(void *owner)
{
    struct raw *raw = owner;
    if (raw->is_connected || buf_count(&raw->out) == 0) {
        return;
    }
    raw->is_connected = true;
    struct slice bytes = buf_bytes(&raw->out);
    io_send(raw->stream, &bytes, 1);
}

static void raw_closed(void *owner, enum err why)
{
    (void)why;
    ((struct raw *)owner)->is_closed = true;
}

static const struct io_stream_events raw_events = {
    .bytes = raw_bytes, .sent = raw_sent, .closed = raw_closed};

static void raw_hello(struct raw *raw, uint64_t generation)
{
    struct peers_config a = pair_config(0);
    struct link_packet packet = {.kind = LINK_PACKET_HELLO,
                                 .hello = {.version = LINK_VERSION,
                                           .cluster = slice_of(a.cluster_id, LINK_CLUSTER_BYTES),
                                           .node = 1,
                                           .name = slice_text("a"),
                                           .meant = 2,
                                           .incarnation = 1,
                                           .generation = generation,
                                           .shard_count = 1,
                                           .level_min = 1,
                                           .level_max = 1}};
    assert_int_equal(link_greeting_encode(&packet, &raw->out), OK);
}

static void raw_frame(struct raw *raw, uint64_t credit, uint32_t kind, size_t body_bytes)
{
    static uint8_t body[4096];
    uint8_t head[LINK_FRAME_HEAD_MAX];
    struct buf messages = {0};
    struct link_message message = {.kind = kind, .body = slice_of(body, body_bytes)};
    assert_int_equal(link_message_encode(&message, &messages), OK);
    size_t count = link_frame_head(credit, buf_count(&messages), 0, 0, head);
    assert_int_equal(buf_append(&raw->out, slice_of(head, count)), OK);
    assert_int_equal(buf_append(&raw->out, buf_bytes(&messages)), OK);
    buf_deinit(&messages);
}

/* All of it is said at once; until the other side ends it, or has had its turns. */
static void raw_speak(struct pair *pair, struct raw *raw, uint32_t turns)
{
    assert_int_equal(
        io_connect(pair->io, &pair->nodes[1].address, NULL, &raw_events, raw, &raw->stream), OK);
    for (uint32_t i = 0; i < turns && !raw->is_closed; i++) {
        pair_turn(pair);
    }
}

static void raw_end(struct pair *pair, struct raw *raw)
{
    if (!raw->is_closed) {
        io_close(raw->stream);
        PAIR_UNTIL(pair, raw->is_closed);
    }
    buf_deinit(&raw->out);
}

static void pair_of_one(struct pair *pair)
{
    struct peers_config b = pair_config(1);
    struct address nowhere;
    b.link.window_bytes = 1000;
    b.backoff_ns_min = b.backoff_ns_max = 1000 * PAIR_MS;
    pair_init(pair);
    pair_node_start(pair, 1, &b);
    assert_int_equal(address_parse("127.0.0.1", 1, &nowhere), OK);
    assert_int_equal(peers_set(pair->nodes[1].peers, 1, "a", &nowhere), OK);
}

static void who_breaks_the_rules_of_a_link_loses_it(void **state)
{
    enum {
        SENDS_BEYOND_CREDIT,
        CREDITS_WHAT_WAS_NEVER_SENT,
        SENDS_BULK,
        GREETS_TWICE,
        OBEYS,
        CASES
    };
    (void)state;
    for (uint32_t i = 0; i < CASES; i++) {
        struct raw raw = {0};
        struct pair pair;
        pair_of_one(&pair);
        pair.nodes[1].keeps = true;
        raw_hello(&raw, 1);
        raw_frame(&raw, 0, LINK_KIND_PUBLISH, 900);
        if (i == SENDS_BEYOND_CREDIT) {
            raw_frame(&raw, 0, LINK_KIND_PUBLISH, 900);
        } else if (i == CREDITS_WHAT_WAS_NEVER_SENT) {
            raw_frame(&raw, 1, LINK_KIND_ROUTES, 10);
        } else if (i == SENDS_BULK) {
            raw_frame(&raw, 0, LINK_KIND_TRANSFER, 10);
        } else if (i == GREETS_TWICE) {
            raw_hello(&raw, 2);
        }
        raw_speak(&pair, &raw, i == OBEYS ? 20 : PAIR_TURNS_MAX);
        assert_int_equal(raw.is_closed, i != OBEYS);
        assert_int_equal(pair.nodes[1].told_count, 1);
        assert_int_equal(metric_label_value(pair.nodes[1].metrics, METRIC_links_refused,
                                            LINK_REASON_PROTOCOL),
                         i != OBEYS);
        raw_end(&pair, &raw);
        pair_deinit(&pair);
    }
}

static void no_bytes_of_a_stranger_break_anything(void **state)
{
    struct pair pair;
    struct rng rng;
    (void)state;
    rng_init(&rng, 1);
    pair_of_one(&pair);
    for (uint32_t i = 0; i < 150; i++) {
        struct raw raw = {0};
        raw_hello(&raw, i + 1);
        raw_frame(&raw, 0, (uint32_t)rng_below(&rng, 64), (size_t)rng_below(&rng, 300));
        raw_frame(&raw, 0, (uint32_t)rng_below(&rng, 64), (size_t)rng_below(&rng, 300));
        for (uint64_t k = rng_below(&rng, 4); k > 0; k--) { /* a few bytes are others */
            raw.out.data[raw.out.begin + rng_below(&rng, buf_count(&raw.out))] = (uint8_t)rng_u64(
                &rng);
        }
        raw_speak(&pair, &raw, 4);
        raw_end(&pair, &raw);
    }
    struct raw honest = {0};
    raw_hello(&honest, UINT64_MAX);
    raw_frame(&honest, 0, LINK_KIND_ROUTES, 10);
    uint64_t before = pair.nodes[1].told_count;
    raw_speak(&pair, &honest, 20);
    assert_int_equal(pair.nodes[1].told_count, before + 1);
    raw_end(&pair, &honest);
    pair_deinit(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_nodes_meet_and_messages_come_in_order),
        cmocka_unit_test(raft_goes_before_control_and_control_before_data),
        cmocka_unit_test(raft_overtakes_data_that_waits),
        cmocka_unit_test(a_slow_reader_of_data_holds_up_data_alone),
        cmocka_unit_test(more_than_is_kept_breaks_the_link_and_memory_stays_bounded),
        cmocka_unit_test(a_message_larger_than_the_window_goes_alone),
        cmocka_unit_test(data_that_waits_is_packed_where_that_is_asked_for),
        cmocka_unit_test(bulk_has_a_stream_of_its_own),
        cmocka_unit_test(a_throttled_bulk_stream_takes_its_time_and_loses_nothing),
        cmocka_unit_test(a_stream_cut_at_any_byte_loses_an_end_and_nothing_else),
        cmocka_unit_test(a_peer_that_falls_silent_is_told_as_down_on_both_sides),
        cmocka_unit_test(a_node_that_starts_again_comes_back_with_a_higher_generation),
        cmocka_unit_test(a_generation_never_goes_back),
        cmocka_unit_test(who_says_the_wrong_thing_is_refused_and_counted_by_reason),
        cmocka_unit_test(a_node_that_is_forgotten_is_out_and_may_be_let_in_again),
        cmocka_unit_test(names_and_numbers_that_are_none_are_not_taken),
        cmocka_unit_test(a_stream_is_carried_to_the_shard_that_it_is_for),
        cmocka_unit_test(who_breaks_the_rules_of_a_link_loses_it),
        cmocka_unit_test(no_bytes_of_a_stranger_break_anything),
    };
    log_setup(getenv("TEST_LOG") != NULL ? 2 : -1, LOG_LOGFMT, 0xff);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
