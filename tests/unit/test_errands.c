/*
 * Errands between three nodes whose partitions change leaders, over links that break: a run for each seed.
 * A partition is a list of what is committed; what its leader took and had not committed when it lost it is
 * committed all the same, or gone.
 */
#include "cluster/errands.h"
#include "core/base/assert.h"
#include "core/base/rng.h"
#include "core/base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    NODES = 3,
    PARTITIONS = 6,
    MESSAGES_MAX = 400,
    COMMITTED_MAX = 8192,
    FRAMES_MAX = 8192,
    TAKEN_MAX = 4096,
};

/* What a node published. */
struct message {
    uint64_t partitions;
    bool is_waited_for, is_done;
    bool was_refused; /* somewhere, for lack of space; if that answer is lost it may come late */
    enum err err;
};

struct committed {
    uint32_t node, message, reign; /* of the leader that took it */
    bool is_doubtful;              /* its sender was told that it may not be there */
};

struct partition {
    uint32_t leader; /* 0: nobody */
    uint32_t reign;  /* grows with each leader */
    struct committed log[COMMITTED_MAX];
    uint32_t log_count;
};

/* Taken by a leader, not committed yet. */
struct taken {
    uint32_t leader; /* who took it; 0: it is over */
    uint64_t partitions;
    uint32_t reign[PARTITIONS];
    uint32_t node, message;
    enum err err; /* a partition of it was given up */
    mesh_done done;
    void *context;
};

struct frame {
    uint32_t from, to, count;
    bool is_answer;
    uint8_t *bytes;
};

static struct world {
    struct rng rng;
    uint64_t now_ms;
    struct node {
        uint32_t id;
        uint64_t incarnation;
        struct errands *errands;
        struct message messages[MESSAGES_MAX];
        uint32_t message_count, dropped;
    } nodes[NODES + 1];
    struct partition partitions[PARTITIONS];
    bool is_cut[NODES + 1][NODES + 1];
    struct frame frames[FRAMES_MAX]; /* under way, in order for each pair */
    uint32_t frame_count;
    struct taken taken[TAKEN_MAX];
    uint32_t taken_count;
} * world;

static uint64_t bit(uint32_t partition)
{
    return UINT64_C(1) << partition;
}

static uint32_t host_leader(void *context, uint32_t partition)
{
    const struct node *node = context;
    uint32_t leader = world->partitions[partition].leader;
    return leader == 0 || world->is_cut[node->id][leader] ? 0 : leader;
}

/* Nodes 1 and 2 have one shard, node 3 has two. */
static uint32_t host_place(void *context, uint32_t node, uint32_t partition)
{
    (void)context;
    return node == 3 ? partition % 2 : 0;
}

static enum err host_send(void *context, uint32_t to, bool is_answer, uint32_t partition,
                          struct slice body)
{
    const struct node *node = context;
    (void)partition;
    assert_true(to != node->id && to >= 1 && to <= NODES);
    if (world->is_cut[node->id][to]) {
        return ERR_UNAVAILABLE;
    }
    assert_true(world->frame_count < FRAMES_MAX);
    uint8_t *bytes = malloc(body.count);
    memcpy(bytes, body.data, body.count);
    world->frames[world->frame_count++] = (struct frame){.from = node->id,
                                                         .to = to,
                                                         .count = (uint32_t)body.count,
                                                         .is_answer = is_answer,
                                                         .bytes = bytes};
    return OK;
}

/* The payload says who sent it, and which message it is. */
static void host_serve(void *context, const struct mesh_errand *errand, mesh_done done,
                       void *done_context)
{
    const struct node *node = context;
    uint32_t said[2];
    memcpy(said, errand->msg->payload.data, sizeof(said));
    struct taken taken = {.leader = node->id,
                          .partitions = errand->partitions,
                          .node = said[0],
                          .message = said[1],
                          .done = done,
                          .context = done_context};
    for (uint32_t i = 0; i < PARTITIONS; i++) {
        bool is_named = (errand->partitions >> i & 1) != 0;
        assert_true(!is_named || world->partitions[i].leader == node->id);
        taken.reign[i] = world->partitions[i].reign;
    }
    if (done == NULL) {
        return;
    }
    if (rng_below(&world->rng, 40) == 0) {
        world->nodes[said[0]].messages[said[1]].was_refused = true;
        done(done_context, ERR_NO_SPACE);
        return;
    }
    assert_true(world->taken_count < TAKEN_MAX);
    world->taken[world->taken_count++] = taken;
}

static void host_dropped(void *context, struct slice topic)
{
    struct node *node = context;
    (void)topic;
    node->dropped++;
}

static void node_new(uint32_t id)
{
    struct node *node = &world->nodes[id];
    struct errands_host host = {host_leader, host_place, host_send, host_serve, host_dropped, node};
    node->id = id;
    node->incarnation++;
    node->errands = errands_new(id, node->incarnation, &host);
    assert_non_null(node->errands);
}

/* ---- what happens --------------------------------------------------------------------------- */

static void on_done(void *context, enum err err)
{
    struct message *message = context;
    assert_false(message->is_done);
    message->is_done = true;
    message->err = err;
}

static void publish(void)
{
    struct node *node = &world->nodes[1 + rng_below(&world->rng, NODES)];
    uint64_t partitions = 0;
    for (uint32_t i = 0; i < PARTITIONS; i++) {
        bool is_here = world->partitions[i].leader == node->id;
        partitions |= !is_here && rng_below(&world->rng, 3) == 0 ? bit(i) : 0;
    }
    if (partitions == 0 || node->message_count == MESSAGES_MAX) {
        return;
    }
    uint32_t said[2] = {node->id, node->message_count};
    struct message *message = &node->messages[node->message_count++];
    *message = (struct message){.partitions = partitions,
                                .is_waited_for = rng_below(&world->rng, 8) > 0};
    struct msg *msg = msg_new(&(struct msg_spec){
        .qos = 1, .topic = slice_text("t"), .payload = slice_of((uint8_t *)said, sizeof(said))});
    struct mesh_errand errand = {.kind = MESH_PUBLISH, .partitions = partitions, .msg = msg};
    errand.origin.number = message->is_waited_for && rng_below(&world->rng, 2) == 0 ? 7 : 0;
    errands_forward(node->errands, world->now_ms, &errand, message->is_waited_for ? on_done : NULL,
                    message);
    msg_unref(msg);
}

static void tell_moved(uint64_t partitions)
{
    for (uint32_t i = 1; i <= NODES; i++) {
        errands_moved(world->nodes[i].errands, world->now_ms, partitions);
    }
}

static void write(const struct taken *taken, uint32_t p, bool is_doubtful)
{
    struct partition *partition = &world->partitions[p];
    assert_true(partition->log_count < COMMITTED_MAX);
    partition->log[partition->log_count++] = (struct committed){taken->node, taken->message,
                                                                taken->reign[p], is_doubtful};
}

static void commit(struct taken *taken)
{
    for (uint32_t i = 0; i < PARTITIONS; i++) {
        if ((taken->partitions >> i & 1) != 0) {
            write(taken, i, false);
        }
    }
    taken->leader = 0;
    taken->done(taken->context, taken->err);
}

/* The oldest of some node. */
static void commit_one(void)
{
    uint32_t leader = 1 + (uint32_t)rng_below(&world->rng, NODES);
    for (uint32_t i = 0; i < world->taken_count; i++) {
        struct taken *taken = &world->taken[i];
        if (taken->leader == leader) {
            commit(taken);
            return;
        }
    }
}

/* What was taken and is not committed may be, in its order. Who waits for others too is told with them. */
static void give_up(uint32_t p)
{
    struct partition *partition = &world->partitions[p];
    uint32_t old = partition->leader;
    bool is_kept = rng_below(&world->rng, 2) == 0;
    partition->leader = 0;
    for (uint32_t i = 0; old != 0 && i < world->taken_count; i++) {
        struct taken *taken = &world->taken[i];
        if (taken->leader != old || (taken->partitions & bit(p)) == 0) {
            continue;
        }
        if (is_kept) {
            write(taken, p, true);
        }
        is_kept = is_kept && rng_below(&world->rng, 4) > 0;
        taken->partitions &= ~bit(p);
        taken->err = ERR_UNAVAILABLE;
        if (taken->partitions == 0) {
            taken->leader = 0;
            taken->done(taken->context, ERR_UNAVAILABLE);
        }
    }
    if (old != 0) {
        errands_given_up(world->nodes[old].errands, bit(p));
    }
}

static void move(uint32_t p, uint32_t leader)
{
    give_up(p);
    world->partitions[p].reign++;
    world->partitions[p].leader = leader;
    tell_moved(bit(p));
}

static void deliver(uint32_t at)
{
    struct frame frame = world->frames[at];
    world->frame_count--;
    memmove(&world->frames[at], &world->frames[at + 1], (world->frame_count - at) * sizeof(frame));
    struct node *to = &world->nodes[frame.to];
    struct slice body = slice_of(frame.bytes, frame.count);
    enum err err = frame.is_answer ? errands_answered(to->errands, world->now_ms, frame.from, body)
                                   : errands_receive(to->errands, frame.from,
                                                     world->nodes[frame.from].incarnation, body);
    assert_int_equal(err, OK);
    free(frame.bytes);
}

/* The oldest of a pair of nodes: links are in order. */
static void deliver_one(void)
{
    if (world->frame_count == 0) {
        return;
    }
    struct frame picked = world->frames[rng_below(&world->rng, world->frame_count)];
    for (uint32_t i = 0; i < world->frame_count; i++) {
        if (world->frames[i].from == picked.from && world->frames[i].to == picked.to) {
            deliver(i);
            return;
        }
    }
}

/* What was under way on it is lost. */
static void cut(uint32_t a, uint32_t b, bool is_cut)
{
    world->is_cut[a][b] = world->is_cut[b][a] = is_cut;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < world->frame_count; i++) {
        struct frame frame = world->frames[i];
        bool is_of_it = (frame.from == a && frame.to == b) || (frame.from == b && frame.to == a);
        if (is_of_it) {
            free(frame.bytes);
        } else {
            world->frames[kept++] = frame;
        }
    }
    world->frame_count = kept;
    tell_moved(UINT64_C(0x3F));
}

/* It ends, and begins another life. Others lead what it led. */
static void restart(uint32_t id)
{
    for (uint32_t a = 1; a <= NODES; a++) {
        if (a != id) {
            cut(a, id, true);
        }
    }
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        if (world->partitions[p].leader == id) {
            move(p, 1 + id % NODES);
        }
    }
    errands_free(world->nodes[id].errands);
    node_new(id);
    for (uint32_t a = 1; a <= NODES; a++) {
        if (a != id) {
            cut(a, id, false);
        }
    }
}

static void time_passes(uint64_t ms)
{
    world->now_ms += ms;
    for (uint32_t i = 1; i <= NODES; i++) {
        if (errands_wake_ms(world->nodes[i].errands) <= world->now_ms) {
            errands_run(world->nodes[i].errands, world->now_ms);
        }
    }
}

static void something(void)
{
    uint64_t what = rng_below(&world->rng, 1000);
    if (what < 300) {
        publish();
    } else if (what < 650) {
        deliver_one();
    } else if (what < 900) {
        commit_one();
    } else if (what < 915) {
        move((uint32_t)rng_below(&world->rng, PARTITIONS),
             (uint32_t)rng_below(&world->rng, NODES + 1));
    } else if (what < 917) {
        restart(1 + (uint32_t)rng_below(&world->rng, NODES));
    } else if (what < 925) {
        uint32_t a = 1 + (uint32_t)rng_below(&world->rng, NODES);
        cut(a, 1 + a % NODES, rng_below(&world->rng, 2) == 0);
    } else {
        time_passes(rng_below(&world->rng, 30));
    }
}

static void calm_down(void)
{
    for (uint32_t a = 1; a <= NODES; a++) {
        cut(a, 1 + a % NODES, false);
    }
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        if (world->partitions[p].leader == 0) {
            move(p, 1 + p % NODES);
        }
    }
    for (uint32_t i = 0; i < 200; i++) {
        while (world->frame_count > 0) {
            deliver_one();
        }
        for (uint32_t k = 0; k < world->taken_count; k++) {
            if (world->taken[k].leader != 0) {
                commit(&world->taken[k]);
            }
        }
        time_passes(20);
    }
}

/* ---- what has to be true -------------------------------------------------------------------- */

/* How often it is in the log; is_twice: twice by the same leader. */
static uint32_t found(const struct partition *partition, uint32_t node, uint32_t message,
                      bool *is_twice)
{
    uint32_t count = 0, reign = UINT32_MAX;
    for (uint32_t i = 0; i < partition->log_count; i++) {
        const struct committed *at = &partition->log[i];
        if (at->node == node && at->message == message) {
            *is_twice = *is_twice || at->reign == reign;
            reign = at->is_doubtful ? UINT32_MAX : at->reign;
            count++;
        }
    }
    return count;
}

static void judge_partition(uint32_t p, uint64_t seed)
{
    static uint8_t seen[NODES + 1][MESSAGES_MAX];
    const struct partition *partition = &world->partitions[p];
    uint32_t last[NODES + 1] = {0};
    memset(seen, 0, sizeof(seen));
    for (uint32_t i = 0; i < partition->log_count; i++) {
        const struct committed *at = &partition->log[i];
        bool may_be_late = world->nodes[at->node].messages[at->message].was_refused;
        if (seen[at->node][at->message] == 0 && !may_be_late && at->message + 1 < last[at->node]) {
            fail_msg("seed %llu: of partition %u message %u of node %u came behind %u",
                     (unsigned long long)seed, p, at->message, at->node, last[at->node] - 1);
        }
        seen[at->node][at->message] = 1;
        last[at->node] = at->message + 1 > last[at->node] ? at->message + 1 : last[at->node];
    }
}

static void judge(uint64_t seed)
{
    for (uint32_t n = 1; n <= NODES; n++) {
        struct node *node = &world->nodes[n];
        for (uint32_t m = 0; m < node->message_count; m++) {
            const struct message *message = &node->messages[m];
            if (message->is_waited_for && !message->is_done) {
                fail_msg("seed %llu: message %u of node %u has no answer", (unsigned long long)seed,
                         m, n);
            }
            for (uint32_t p = 0; p < PARTITIONS && message->is_waited_for; p++) {
                bool is_twice = false;
                uint32_t count = found(&world->partitions[p], n, m, &is_twice);
                bool is_named = (message->partitions >> p & 1) != 0;
                if ((is_named && message->err == OK && count == 0) || (!is_named && count > 0) ||
                    is_twice) {
                    fail_msg("seed %llu: message %u of node %u is %u times in partition %u",
                             (unsigned long long)seed, m, n, count, p);
                }
            }
        }
    }
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        judge_partition(p, seed);
    }
}

static void run(uint64_t seed)
{
    world = calloc(1, sizeof(*world));
    rng_init(&world->rng, seed);
    for (uint32_t i = 1; i <= NODES; i++) {
        node_new(i);
    }
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        world->partitions[p].leader = 1 + (uint32_t)rng_below(&world->rng, NODES);
    }
    for (uint32_t i = 0; i < 1500; i++) {
        something();
    }
    calm_down();
    judge(seed);
    for (uint32_t i = 1; i <= NODES; i++) {
        struct errands_figures figures;
        errands_look(world->nodes[i].errands, &figures);
        assert_int_equal(figures.kept_count, 0);
        assert_int_equal(figures.kept_bytes, 0);
        errands_free(world->nodes[i].errands);
    }
    free(world);
}

static uint64_t number_of_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

/* TERN_SEED, TERN_RUNS: others, and more of them. */
static void what_was_answered_is_there_in_order_whoever_leads(void **state)
{
    (void)state;
    uint64_t seed = number_of_environment("TERN_SEED", 1);
    uint64_t runs = number_of_environment("TERN_RUNS", 40);
    for (uint64_t i = 0; i < runs; i++) {
        run(seed + i);
    }
}

/* Who waits is told when all ends, and what is being served then is told to nobody. */
static void whoever_waits_is_told_at_the_end(void **state)
{
    (void)state;
    world = calloc(1, sizeof(*world));
    rng_init(&world->rng, 5);
    for (uint32_t i = 1; i <= NODES; i++) {
        node_new(i);
    }
    world->partitions[0].leader = 2;
    for (uint32_t i = 0; i < 100; i++) {
        publish();
        deliver_one();
    }
    for (uint32_t i = 1; i <= NODES; i++) {
        errands_free(world->nodes[i].errands);
        for (uint32_t m = 0; m < world->nodes[i].message_count; m++) {
            const struct message *message = &world->nodes[i].messages[m];
            assert_true(message->is_done || !message->is_waited_for);
        }
    }
    for (uint32_t i = 0; i < world->taken_count; i++) {
        if (world->taken[i].leader != 0) {
            world->taken[i].done(world->taken[i].context, ERR_SHUTDOWN);
        }
    }
    for (uint32_t i = 0; i < world->frame_count; i++) {
        free(world->frames[i].bytes);
    }
    free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_answered_is_there_in_order_whoever_leads),
        cmocka_unit_test(whoever_waits_is_told_at_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
