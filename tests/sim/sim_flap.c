#include "tests/sim/sim_flap.h"

#include "cluster/node_store.h"
#include "core/base/assert.h"
#include "core/base/list.h"
#include "core/broker/shard.h"
#include "core/session/journal.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_check.h"
#include "tests/sim/sim_flaw.h"
#include "tests/sim/sim_net.h"
#include "tests/sim/sim_node.h"
#include "tests/sim/sim_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FLAPS_MAX = 4 };
enum state { LED, CUT, LOST, COMING };

#define PAUSE_NS_MAX  (1500 * SIM_MS)
#define CUT_NS_MAX    (30 * SIM_MS)
#define ABSENT_NS_MAX (1200 * SIM_MS)
#define GRACE_NS      (2 * SIM_S) /* until everything is taken, far and away */

struct wait {
    struct list link; /* in waits of its journal, oldest first */
    journal_done done;
    void *context;
    uint64_t partitions;
    bool is_told, is_lent; /* the node's own journal has it, too */
};

/* What the node's own journal is asked about a partition that is to come. */
struct coming {
    struct front *front;
    uint32_t partition;
};

/* In front of the journal of a shard. */
struct front {
    struct journal journal;
    struct journal *real; /* NULL: the shard is down */
    struct node_store *store;
    struct shard *shard;
    struct list waits;
    enum state states[PARTITION_COUNT];
    uint64_t to_cut, to_lose, to_come, has_come; /* a bit each: at the next chance */
    uint64_t swallowed;                          /* something was logged in vain since it was cut */
    uint64_t cut_ns[PARTITION_COUNT];
    struct coming comings[PARTITION_COUNT];
};

static struct world {
    struct sim *sim;
    struct check *check;
    struct rng rng;
    struct front fronts[SIM_NODE_SHARDS_MAX];
    uint64_t next_ns;
    uint64_t trust_ns; /* when nothing of it is felt any more; UINT64_MAX: not under way */
    struct flap {
        uint64_t partitions; /* 0: none */
        uint64_t lose_ns, come_ns;
        bool is_lost;
    } flaps[FLAPS_MAX];
} world;

static uint64_t bit(uint32_t partition)
{
    return UINT64_C(1) << partition;
}

static struct front *front_of(struct journal *journal)
{
    return CONTAINER_OF(journal, struct front, journal);
}

static const struct front *front_of_const(const struct journal *journal)
{
    return CONTAINER_OF(journal, const struct front, journal);
}

/* ---- the journal ---------------------------------------------------------------------------- */

static enum err front_admit(struct journal *journal, uint32_t partition)
{
    struct front *front = front_of(journal);
    return front->states[partition] >= LOST ? ERR_UNAVAILABLE
                                            : journal_admit(front->real, partition);
}

static uint64_t front_log(struct journal *journal, const struct op *op)
{
    struct front *front = front_of(journal);
    if (front->states[op->partition] == LED) {
        return journal_log(front->real, op);
    }
    front->swallowed |= bit(op->partition);
    return 1;
}

static void on_real(void *context, enum err err)
{
    struct wait *wait = context;
    bool is_told = wait->is_told;
    journal_done done = wait->done;
    void *of_done = wait->context;
    list_remove(&wait->link);
    free(wait);
    if (!is_told) {
        done(of_done, err);
    }
}

static enum err front_await(struct journal *journal, uint64_t partitions, journal_done done,
                            void *context)
{
    struct front *front = front_of(journal);
    for (uint64_t left = partitions; left != 0; left &= left - 1) {
        if (front->states[__builtin_ctzll(left)] >= LOST) {
            return ERR_UNAVAILABLE;
        }
    }
    struct wait *wait = calloc(1, sizeof(*wait));
    ASSERT(wait != NULL);
    *wait = (struct wait){.done = done, .context = context, .partitions = partitions};
    list_push_back(&front->waits, &wait->link);
    if ((partitions & front->swallowed) != 0) {
        return ERR_AGAIN; /* until it is lost */
    }
    wait->is_lent = true;
    enum err err = journal_await(front->real, partitions, on_real, wait);
    if (err != ERR_AGAIN) {
        list_remove(&wait->link);
        free(wait);
    }
    return err;
}

static enum err front_read(struct journal *journal, uint32_t partition, uint64_t session,
                           uint64_t from_sequence, uint32_t max, journal_read_done done,
                           void *context)
{
    return journal_read(front_of(journal)->real, partition, session, from_sequence, max, done,
                        context);
}

static enum err front_read_retained(struct journal *journal, const struct slice *topics,
                                    uint32_t count, journal_retained_done done, void *context)
{
    return journal_read_retained(front_of(journal)->real, topics, count, done, context);
}

static bool front_is_congested(const struct journal *journal)
{
    return journal_is_congested(front_of_const(journal)->real);
}

static bool front_has_news(const struct journal *journal)
{
    const struct front *front = front_of_const(journal);
    return journal_has_news(front->real) ||
           (front->to_lose | front->to_come | front->has_come) != 0;
}

static uint64_t front_wake_ns(const struct journal *journal)
{
    return journal_wake_ns(front_of_const(journal)->real);
}

static void front_leave_io(struct journal *journal)
{
    journal_leave_io(front_of(journal)->real);
}

/* ---- coming and going ------------------------------------------------------------------------ */

/* In their order. Each is looked for anew: who is told may do anything. */
static void tell(struct front *front, uint64_t partitions, enum err err)
{
    for (bool is_over = false; !is_over;) {
        is_over = true;
        LIST_EACH (&front->waits, link) {
            struct wait *wait = CONTAINER_OF(link, struct wait, link);
            if (wait->is_told || (wait->partitions & partitions) == 0) {
                continue;
            }
            journal_done done = wait->done;
            void *context = wait->context;
            wait->is_told = true;
            if (!wait->is_lent) {
                list_remove(&wait->link);
                free(wait);
            }
            done(context, err);
            is_over = false;
            break;
        }
    }
}

static void lose(struct front *front, uint32_t partition)
{
    uint64_t begun_ns = front->states[partition] == CUT ? front->cut_ns[partition]
                                                        : world.sim->now_ns;
    if (front->states[partition] >= LOST) {
        return;
    }
    sim_trace(world.sim, "==== partition %u is lost", partition);
    front->states[partition] = LOST;
    tell(front, bit(partition), ERR_UNAVAILABLE);
    check_lead_lost(world.check, partition, begun_ns);
    node_store_lost(front->store, front->shard, partition);
}

static void led(struct front *front, uint32_t partition)
{
    sim_trace(world.sim, "==== partition %u is led again", partition);
    front->states[partition] = LED;
    front->swallowed &= ~bit(partition);
    check_led(world.check, partition);
    node_store_led(front->store, front->shard, partition);
}

static void on_read(void *context, enum err err, const struct stored_item *items, uint32_t count)
{
    const struct coming *coming = context;
    (void)items, (void)count;
    if (err == OK) {
        coming->front->has_come |= bit(coming->partition);
    }
}

/* All of it is committed: the lane of the state writes it before it reads. */
static void on_committed(void *context, enum err err)
{
    struct coming *coming = context;
    if (err == OK) { /* else the journal is fenced: it comes with the next start */
        (void)journal_read(coming->front->real, coming->partition, 1, 0, 1, on_read, coming);
    }
}

static void come(struct front *front, uint32_t partition)
{
    if (front->states[partition] != LOST) {
        return;
    }
    struct coming *coming = &front->comings[partition];
    *coming = (struct coming){front, partition};
    front->states[partition] = COMING;
    enum err err = journal_await(front->real, bit(partition), on_committed, coming);
    if (err != ERR_AGAIN) {
        on_committed(coming, err);
    }
}

static uint32_t take_lowest(uint64_t *partitions)
{
    uint32_t lowest = (uint32_t)__builtin_ctzll(*partitions);
    *partitions &= *partitions - 1;
    return lowest;
}

static void front_collect(struct journal *journal)
{
    struct front *front = front_of(journal);
    journal_collect(front->real);
    while (front->to_lose != 0) {
        lose(front, take_lowest(&front->to_lose));
    }
    while (front->to_come != 0) {
        come(front, take_lowest(&front->to_come));
    }
    while (front->has_come != 0) {
        led(front, take_lowest(&front->has_come));
    }
}

/* What is logged in one turn is in one entry: it is cut between two. */
static void front_flush(struct journal *journal)
{
    struct front *front = front_of(journal);
    journal_flush(front->real);
    while (front->to_cut != 0) {
        uint32_t partition = take_lowest(&front->to_cut);
        if (front->states[partition] == LED) {
            front->states[partition] = CUT;
            front->cut_ns[partition] = world.sim->now_ns;
        }
    }
}

static const struct journal_calls front_calls = {.admit = front_admit,
                                                 .log = front_log,
                                                 .await = front_await,
                                                 .read = front_read,
                                                 .read_retained = front_read_retained,
                                                 .is_congested = front_is_congested,
                                                 .collect = front_collect,
                                                 .flush = front_flush,
                                                 .has_news = front_has_news,
                                                 .wake_ns = front_wake_ns,
                                                 .leave_io = front_leave_io};

/* ---- ports ----------------------------------------------------------------------------------- */

static void front_init(struct front *front)
{
    struct list *link;
    while (front->waits.next != NULL && (link = list_pop_front(&front->waits)) != NULL) {
        free(CONTAINER_OF(link, struct wait, link)); /* of a node that crashed */
    }
    *front = (struct front){.journal = {&front_calls}};
    list_init(&front->waits);
}

enum err flap_journal_new(void *context, struct io *io, uint32_t shard, struct journal **out,
                          uint64_t *wall_ms, struct broker_failure *failure)
{
    struct front *front = &world.fronts[shard];
    ASSERT(shard < SIM_NODE_SHARDS_MAX);
    front_init(front);
    TRY(flaw_journal_new(context, io, shard, &front->real, wall_ms, failure));
    front->store = context;
    *out = &front->journal;
    return OK;
}

enum err flap_journal_load(void *context, struct journal *journal, struct shard *shard,
                           struct broker_failure *failure)
{
    struct front *front = front_of(journal);
    front->shard = shard;
    return node_store_journal_load(context, front->real, shard, failure);
}

bool flap_journal_load_more(void *context, struct journal *journal, struct shard *shard)
{
    return node_store_journal_load_more(context, front_of(journal)->real, shard);
}

void flap_journal_free(struct journal *journal)
{
    struct front *front = front_of(journal);
    struct journal *real = front->real;
    front->shard = NULL;
    node_store_journal_free(real);
    tell(front, UINT64_MAX, ERR_SHUTDOWN); /* who waited in vain */
    front->real = NULL;
}

/* ---- who does it ----------------------------------------------------------------------------- */

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t wants_ns(void *object)
{
    (void)object;
    uint64_t at_ns = world.sim->is_stormy ? world.next_ns : UINT64_MAX;
    at_ns = sooner(at_ns, world.trust_ns);
    for (uint32_t i = 0; i < FLAPS_MAX; i++) {
        const struct flap *flap = &world.flaps[i];
        if (flap->partitions != 0) {
            at_ns = sooner(at_ns, flap->is_lost ? flap->come_ns : flap->lose_ns);
        }
    }
    return at_ns;
}

/* Where something lives, as a rule. */
static uint64_t partitions_draw(void)
{
    static const char *const groups[] = {"one/s/0/+", "two/s/#"};
    uint64_t what = rng_below(&world.rng, 20), who = rng_below(&world.rng, 10);
    char key[16];
    if (what == 0) {
        return UINT64_MAX; /* it is cut off from all others */
    }
    if (what < 4) {
        return bit(partition_of(slice_text(groups[who % 2])));
    }
    snprintf(key, sizeof(key), what < 7 ? "r/%u" : "c%u", (unsigned)who);
    uint64_t one = bit(partition_of(slice_text(key)));
    return rng_below(&world.rng, 4) == 0 ? one | rng_u64(&world.rng) : one;
}

static bool is_under_way(void)
{
    bool is = false;
    for (uint32_t i = 0; i < FLAPS_MAX; i++) {
        is |= world.flaps[i].partitions != 0;
    }
    return is;
}

static bool is_up(const struct front *front, uint32_t shard)
{
    return world.sim->node->broker != NULL && world.sim->node->shards[shard].shard != NULL &&
           front->real != NULL && front->shard != NULL;
}

/* Some partition is not as it should be. */
static bool flaps_are_felt(void)
{
    bool is_felt = is_under_way();
    for (uint32_t i = 0; i < SIM_NODE_SHARDS_MAX; i++) {
        const struct front *front = &world.fronts[i];
        for (uint32_t k = 0; is_up(front, i) && k < PARTITION_COUNT; k++) {
            is_felt |= front->states[k] != LED;
        }
    }
    return is_felt;
}

/* Of each shard what is its own; those that are down miss it. */
static void ask(uint64_t partitions, enum state wanted)
{
    for (uint32_t i = 0; i < SIM_NODE_SHARDS_MAX; i++) {
        struct front *front = &world.fronts[i];
        if (!is_up(front, i)) {
            continue;
        }
        uint64_t mine = partitions & front->shard->partitions.mine;
        if (wanted == CUT) {
            front->to_cut |= mine;
        } else if (wanted == LOST) {
            front->to_cut &= ~mine;
            front->to_lose |= mine;
        } else {
            front->to_come |= mine;
        }
        io_wake(NULL, front->shard->io);
    }
}

static void begin(struct flap *flap)
{
    struct sim *sim = world.sim;
    bool is_sudden = rng_below(&world.rng, 4) == 0;
    *flap = (struct flap){.partitions = partitions_draw()};
    flap->lose_ns = sim->now_ns + (is_sudden ? 0 : rng_below(&world.rng, CUT_NS_MAX));
    flap->come_ns = flap->lose_ns + rng_below(&world.rng, ABSENT_NS_MAX) /
                                        (rng_below(&world.rng, 3) == 0 ? 1000 : 1);
    sim->lead_is_bad = true;
    world.trust_ns = UINT64_MAX;
    net_doubt(sim->net);
    if (!is_sudden) {
        sim_trace(sim, "==== partitions %016llx are cut off", (unsigned long long)flap->partitions);
        ask(flap->partitions, CUT);
    }
}

static void turn(void *object)
{
    struct sim *sim = world.sim;
    struct flap *unused = NULL;
    (void)object;
    for (uint32_t i = 0; i < FLAPS_MAX; i++) {
        struct flap *flap = &world.flaps[i];
        if (flap->partitions != 0 && !flap->is_lost && flap->lose_ns <= sim->now_ns) {
            flap->is_lost = true;
            ask(flap->partitions, LOST);
        } else if (flap->partitions != 0 && flap->is_lost && flap->come_ns <= sim->now_ns) {
            ask(flap->partitions, COMING);
            flap->partitions = 0;
        }
        unused = flap->partitions == 0 ? flap : unused;
    }
    if (sim->lead_is_bad && world.trust_ns == UINT64_MAX && !is_under_way()) {
        world.trust_ns = sim->now_ns + GRACE_NS;
    } else if (world.trust_ns <= sim->now_ns) {
        sim->lead_is_bad = flaps_are_felt();
        world.trust_ns = sim->lead_is_bad ? sim->now_ns + GRACE_NS : UINT64_MAX;
    }
    if (sim->is_stormy && world.next_ns <= sim->now_ns) {
        if (unused != NULL && sim->node->broker != NULL) {
            begin(unused);
        }
        world.next_ns = sim->now_ns + rng_below(&world.rng, PAUSE_NS_MAX);
    }
}

void flaps_init(struct sim *sim, struct check *check)
{
    if (!sim->options.plan.has[PLAN_FLAPS]) {
        return;
    }
    world.sim = sim;
    world.check = check;
    rng_init(&world.rng, sim->options.seed ^ UINT64_C(0x666c6170));
    world.next_ns = sim->now_ns + rng_below(&world.rng, PAUSE_NS_MAX);
    world.trust_ns = UINT64_MAX;
    memset(world.flaps, 0, sizeof(world.flaps));
    sim_actor_add(sim, "flaps", &world, wants_ns, turn);
}
