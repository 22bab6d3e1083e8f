/*
 * bench_sharing: what it costs when what two shards write lies on one cache line.
 *
 * Two threads on two cores do what two shards do, each to its own place: once in the structs as they
 * are, once in copies of them from which the distance was taken out. The rows at the end are about
 * what shards do share, and what it would cost in another way.
 *
 * An operation is one thread's; both threads' CPU time is in it, so a core that waits for a line
 * counts. Both write as fast as they can, which no broker does: the figures are the worst case.
 */
#include "bench/micro/micro.h"
#include "core/base/assert.h"
#include "core/base/metrics.h"
#include "core/base/ring.h"
#include "core/broker/broker_shared.h"
#include "core/io/cpu.h"
#include "core/pubsub/msg.h"
#include "core/pubsub/trie_node.h"

#include <pthread.h>
#include <sched.h>

enum { OPS = 20000000, SPIN_MAX = 64 };

/* ---- two threads --------------------------------------------------------------------------- */

/* What one thread does, ops times, to its own place. */
typedef void pattern(void *place, uint64_t ops);

struct two {
    pattern *pattern[2];
    void *place[2];
};

struct side {
    const struct two *two;
    uint64_t ops;
    uint32_t index;
};

static uint32_t cores[2]; /* two that this process may use */

static void *side_run(void *context)
{
    const struct side *side = context;
    cpu_pin(cores[side->index]);
    side->two->pattern[side->index](side->two->place[side->index], side->ops);
    return NULL;
}

static void both(void *context, uint64_t ops)
{
    struct side sides[2];
    pthread_t threads[2];
    for (uint32_t i = 0; i < 2; i++) {
        sides[i] = (struct side){context, ops / 2, i};
        if (pthread_create(&threads[i], NULL, side_run, &sides[i]) != 0) {
            abort();
        }
    }
    for (uint32_t i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
}

static void compare(const char *name, const char *how, struct two two)
{
    char text[64];
    snprintf(text, sizeof(text), "%s, %s", name, how);
    micro_run(text, both, &two, OPS);
}

static void locked_adds(void *place, uint64_t ops)
{
    for (uint64_t i = 0; i < ops; i++) {
        atomic_fetch_add_explicit((_Atomic uint32_t *)place, 1, memory_order_relaxed);
    }
}

static void looks(void *place, uint64_t ops)
{
    for (uint64_t i = 0; i < ops; i++) {
        micro_keep(atomic_load_explicit((_Atomic uint32_t *)place, memory_order_acquire));
    }
}

static void locks(void *place, uint64_t ops)
{
    pthread_mutex_t *lock = place;
    for (uint64_t i = 0; i < ops; i++) {
        pthread_mutex_lock(lock);
        pthread_mutex_unlock(lock);
    }
}

static void adds(void *place, uint64_t ops)
{
    _Atomic uint64_t *cell = place;
    for (uint64_t i = 0; i < ops; i++) {
        /* As metric_cell_add(): one writer. */
        atomic_store_explicit(cell, atomic_load_explicit(cell, memory_order_relaxed) + 1,
                              memory_order_relaxed);
    }
}

/* The other one may not be on a core right now. */
static void wait_a_little(uint32_t *spins)
{
    if (++*spins == SPIN_MAX) {
        *spins = 0;
        sched_yield();
    }
}

/* ---- how far is it? ------------------------------------------------------------------------ */

struct ball {
    _Alignas(LIMIT_APART_BYTES) _Atomic uint64_t count;
};

static void play(struct ball *ball, uint64_t ops, uint64_t first)
{
    uint32_t spins = 0;
    for (uint64_t turn = first; turn < 2 * ops;) {
        if (atomic_load_explicit(&ball->count, memory_order_acquire) == turn) {
            atomic_store_explicit(&ball->count, turn + 1, memory_order_release);
            turn += 2;
        } else {
            wait_a_little(&spins);
        }
    }
}

static void serves(void *place, uint64_t ops)
{
    play(place, ops, 0);
}

/* The game begins anew with the first ball, when the last one came back. */
static void returns(void *place, uint64_t ops)
{
    play(place, ops, 1);
    atomic_store_explicit(&((struct ball *)place)->count, 0, memory_order_release);
}

/*
 * A line goes there and comes back. Below some 60 ns of both threads' time the two "cores" are threads
 * of one: its cache is both's, nothing moves, and the rows below show no difference.
 */
static void bench_distance(void)
{
    static struct ball ball;
    compare("a line", "there and back", (struct two){{serves, returns}, {&ball, &ball}});
}

/* ---- in one struct, apart and packed -------------------------------------------------------- */

static void bench_counters(void)
{
    struct metrics *metrics[2] = {metrics_new(), metrics_new()};
    static struct {
        _Alignas(LIMIT_APART_BYTES) _Atomic uint64_t cells[2];
    } packed;
    const char *name = "counters of two shards";
    ASSERT(metrics[0] != NULL);
    ASSERT(metrics[1] != NULL);
    compare(name, "apart",
            (struct two){{adds, adds}, {&metrics[0]->cells[0], &metrics[1]->cells[0]}});
    compare(name, "packed", (struct two){{adds, adds}, {&packed.cells[0], &packed.cells[1]}});
    metrics_free(metrics[0]);
    metrics_free(metrics[1]);
}

/* A turn looks whether it is to stop; elsewhere clients come and go. */
static void bench_broker(void)
{
    static struct broker broker;
    static struct {
        _Alignas(LIMIT_APART_BYTES) _Atomic uint32_t conn_count, listener_conn_count;
        _Atomic int stop;
    } packed;
    const char *name = "look at stop while clients are counted";
    compare(name, "apart", (struct two){{looks, locked_adds}, {&broker.stop, &broker.conn_count}});
    compare(name, "packed", (struct two){{looks, locked_adds}, {&packed.stop, &packed.conn_count}});
}

/* A match reads the version; elsewhere somebody subscribes. */
static void bench_trie(void)
{
    static struct trie trie;
    static struct {
        _Alignas(LIMIT_APART_BYTES) _Atomic uint64_t version;
        pthread_mutex_t lock;
    } packed;
    const char *name = "read the trie's version, lock it";
    pthread_mutex_init(&trie.lock, NULL);
    pthread_mutex_init(&packed.lock, NULL);
    compare(name, "apart", (struct two){{looks, locks}, {&trie.version, &trie.lock}});
    compare(name, "packed", (struct two){{looks, locks}, {&packed.version, &packed.lock}});
    pthread_mutex_destroy(&trie.lock);
    pthread_mutex_destroy(&packed.lock);
}

/* ---- rings --------------------------------------------------------------------------------- */

enum { RING_SLOTS = 1024, ITEM_WORDS = 7 }; /* as between shards: struct mail has 56 bytes */

struct item {
    uint64_t words[ITEM_WORDS];
};

/* core/base/ring.c without distances; the same steps. */
struct packed_ring {
    _Alignas(LIMIT_APART_BYTES) _Atomic uint32_t tail;
    uint32_t head_seen;
    _Atomic uint32_t head;
    uint32_t tail_seen;
    struct item items[RING_SLOTS];
};

static bool packed_push(struct packed_ring *ring, const struct item *item)
{
    uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    if (tail - ring->head_seen >= RING_SLOTS) {
        ring->head_seen = atomic_load_explicit(&ring->head, memory_order_acquire);
        if (tail - ring->head_seen >= RING_SLOTS) {
            return false;
        }
    }
    ring->items[tail % RING_SLOTS] = *item;
    atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
    return true;
}

static bool packed_pop(struct packed_ring *ring, struct item *item)
{
    uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    if (head == ring->tail_seen) {
        ring->tail_seen = atomic_load_explicit(&ring->tail, memory_order_acquire);
        if (head == ring->tail_seen) {
            return false;
        }
    }
    *item = ring->items[head % RING_SLOTS];
    atomic_store_explicit(&ring->head, head + 1, memory_order_release);
    return true;
}

static void pushes(void *place, uint64_t ops)
{
    struct item item = {{0}};
    uint32_t spins = 0;
    for (uint64_t i = 0; i < ops;) {
        if (ring_push(place, &item)) {
            i++;
        } else {
            wait_a_little(&spins);
        }
    }
}

static void pops(void *place, uint64_t ops)
{
    struct item item;
    uint32_t spins = 0;
    for (uint64_t i = 0; i < ops;) {
        if (ring_pop(place, &item)) {
            i++;
        } else {
            wait_a_little(&spins);
        }
    }
}

static void packed_pushes(void *place, uint64_t ops)
{
    struct item item = {{0}};
    uint32_t spins = 0;
    for (uint64_t i = 0; i < ops;) {
        if (packed_push(place, &item)) {
            i++;
        } else {
            wait_a_little(&spins);
        }
    }
}

static void packed_pops(void *place, uint64_t ops)
{
    struct item item;
    uint32_t spins = 0;
    for (uint64_t i = 0; i < ops;) {
        if (packed_pop(place, &item)) {
            i++;
        } else {
            wait_a_little(&spins);
        }
    }
}

static void bench_ring(void)
{
    static struct packed_ring packed;
    struct ring *ring = ring_new(RING_SLOTS, sizeof(struct item));
    ASSERT(ring != NULL);
    compare("ring of mail", "apart", (struct two){{pushes, pops}, {ring, ring}});
    compare("ring of mail", "packed",
            (struct two){{packed_pushes, packed_pops}, {&packed, &packed}});
    ring_free(ring);
}

/* ---- what is shared ------------------------------------------------------------------------ */

/* A delivery of QoS 1 takes a reference and gives it back. */
static void refs(void *place, uint64_t ops)
{
    for (uint64_t i = 0; i < ops; i++) {
        msg_unref(msg_ref(place));
    }
}

static void bench_message(void)
{
    struct msg_spec spec = {.topic = slice_text("factory/7/line/3/temperature"),
                            .payload = slice_text("21.5")};
    struct msg *msgs[2] = {msg_new(&spec), msg_new(&spec)};
    const char *name = "message: ref, unref";
    ASSERT(msgs[0] != NULL);
    ASSERT(msgs[1] != NULL);
    compare(name, "one for each shard", (struct two){{refs, refs}, {msgs[0], msgs[1]}});
    compare(name, "one for both", (struct two){{refs, refs}, {msgs[0], msgs[0]}});
    msg_unref(msgs[0]);
    msg_unref(msgs[1]);
}

static void exchanges(void *place, uint64_t ops)
{
    for (uint64_t i = 0; i < ops; i++) {
        micro_keep(atomic_exchange_explicit((_Atomic uint32_t *)place, 0, memory_order_acq_rel));
    }
}

static void fenced_looks(void *place, uint64_t ops)
{
    for (uint64_t i = 0; i < ops; i++) {
        atomic_thread_fence(memory_order_seq_cst);
        micro_keep(atomic_load_explicit((_Atomic uint32_t *)place, memory_order_relaxed));
    }
}

/* At the end of each turn with mail: does its reader sleep? Two shards ask about a third. */
static void bench_flag(void)
{
    static _Alignas(LIMIT_APART_BYTES) _Atomic uint32_t flag;
    const char *name = "is it asleep, two ask";
    compare(name, "exchange", (struct two){{exchanges, exchanges}, {&flag, &flag}});
    compare(name, "fence and look", (struct two){{fenced_looks, fenced_looks}, {&flag, &flag}});
}

int main(int argc, char **argv)
{
    micro_begin(argc, argv);
    if (cpu_usable(cores, 2) < 2) {
        fprintf(stderr, "%s: one core: nothing to share\n", micro.program);
        return 0;
    }
    bench_distance();
    bench_counters();
    bench_broker();
    bench_trie();
    bench_ring();
    bench_message();
    bench_flag();
    return 0;
}
