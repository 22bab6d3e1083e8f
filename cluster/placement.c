#include "cluster/placement.h"

#include "core/base/assert.h"
#include "core/base/map.h"

#include <endian.h>
#include <string.h>

enum { PARTITIONS = REGISTRY_PARTITIONS, NODES = REGISTRY_MEMBERS_MAX, NOBODY = -1 };

/* ---- rendezvous ------------------------------------------------------------------------------- */

/* -log2(value / 2^64), 32 bits behind the point: the square of a mantissa tells its next digit. */
static uint64_t log_of(uint64_t value)
{
    uint32_t zeros = (uint32_t)__builtin_clzll(value | 1);
    uint64_t mantissa = (value | 1) << zeros; /* [1, 2), 63 bits behind the point */
    uint64_t digits = 0;
    for (int i = 0; i < 32; i++) {
        unsigned __int128 square = (unsigned __int128)mantissa * mantissa;
        bool is_two = square >> 127 != 0;
        digits = digits << 1 | is_two;
        mantissa = (uint64_t)(square >> (is_two ? 64 : 63));
    }
    return ((uint64_t)(zeros + 1) << 32) - digits;
}

struct placement_score placement_score(uint64_t key, uint64_t node, uint32_t weight)
{
    uint64_t both[2] = {htole64(key), htole64(node)};
    return (struct placement_score){log_of(hash_bytes(slice_of(both, sizeof both))), weight};
}

bool placement_is_nearer(struct placement_score a, struct placement_score b)
{
    return (unsigned __int128)a.log * b.weight < (unsigned __int128)b.log * a.weight;
}

/* ---- the work: a map as a matrix ------------------------------------------------------------------ */

struct work {
    struct placement_node nodes[NODES]; /* that may hold */
    int node_count;
    uint32_t replicas;
    bool has[PARTITIONS][NODES], had[PARTITIONS][NODES];
    struct placement_score scores[PARTITIONS][NODES];
    int zone_count[PARTITIONS][NODES]; /* of has[], by zone */
    int load[NODES], quota[NODES];
    int zone_low[NODES], zone_high[NODES]; /* replicas of a partition in that zone (B2) */
    int lead[PARTITIONS];                  /* node, or NOBODY */
};

static void put(struct work *work, int partition, int node, bool is_there)
{
    ASSERT(work->has[partition][node] != is_there);
    work->has[partition][node] = is_there;
    work->load[node] += is_there ? 1 : -1;
    work->zone_count[partition][work->nodes[node].zone] += is_there ? 1 : -1;
}

static int replica_count(const struct work *work, int partition)
{
    int count = 0;
    for (int n = 0; n < work->node_count; n++) {
        count += work->has[partition][n];
    }
    return count;
}

/*
 * Units are given one by one to who has least for its weight (Sainte-Laguë), up to what each can
 * take. Of those alike the one that had more, so that nothing moves for nothing.
 */
static void share_out(int units, int count, const uint64_t *weights, const int *most,
                      const int *had, int *shares)
{
    while (units > 0) {
        int best = NOBODY;
        for (int i = 0; i < count; i++) {
            if (shares[i] >= most[i]) {
                continue;
            }
            uint64_t a = (uint64_t)(2 * shares[i] + 1), b = 0;
            if (best != NOBODY) {
                a *= weights[best];
                b = (uint64_t)(2 * shares[best] + 1) * weights[i];
            }
            if (best == NOBODY || a < b ||
                (a == b && had[i] - shares[i] > had[best] - shares[best])) {
                best = i;
            }
        }
        if (best == NOBODY) {
            return;
        }
        shares[best]++;
        units--;
    }
}

/* How many replicas of each partition a zone has at least and at most (B2). */
static void zones_bound(struct work *work)
{
    int nodes[NODES] = {0}, level = 0, room = 0;
    for (int n = 0; n < work->node_count; n++) {
        nodes[work->nodes[n].zone]++;
    }
    while (room < (int)work->replicas) {
        level++;
        room = 0;
        for (int z = 0; z < NODES; z++) {
            room += nodes[z] < level ? nodes[z] : level;
        }
    }
    for (int z = 0; z < NODES; z++) {
        work->zone_low[z] = nodes[z] < level - 1 ? nodes[z] : level - 1;
        work->zone_high[z] = nodes[z] < level ? nodes[z] : level;
    }
}

/* Over zones first, then over the nodes of each. */
static void quotas_make(struct work *work)
{
    uint64_t zone_weights[NODES] = {0};
    int zone_most[NODES], zone_had[NODES] = {0}, zone_share[NODES], units;
    units = PARTITIONS * (int)work->replicas;
    for (int n = 0; n < work->node_count; n++) {
        zone_weights[work->nodes[n].zone] += work->nodes[n].weight;
        zone_had[work->nodes[n].zone] += work->load[n];
    }
    for (int z = 0; z < NODES; z++) {
        zone_share[z] = PARTITIONS * work->zone_low[z];
        zone_most[z] = PARTITIONS * work->zone_high[z];
        units -= zone_share[z];
    }
    share_out(units, NODES, zone_weights, zone_most, zone_had, zone_share);
    for (uint32_t z = 0; z < NODES; z++) {
        uint64_t weights[NODES];
        int most[NODES];
        for (int n = 0; n < work->node_count; n++) {
            weights[n] = work->nodes[n].weight;
            most[n] = work->nodes[n].zone == z ? PARTITIONS : 0;
        }
        int shares[NODES] = {0};
        share_out(zone_share[z], work->node_count, weights, most, work->load, shares);
        for (int n = 0; n < work->node_count; n++) {
            work->quota[n] += shares[n];
        }
    }
}

/* ---- who comes, who goes -------------------------------------------------------------------------- */

/* Is a, with a key that is lower, the better one? By score when the keys are equal. */
static bool is_better(const struct work *work, int partition, int a, int key_a, int b, int key_b)
{
    return b == NOBODY || key_a < key_b ||
           (key_a == key_b &&
            placement_is_nearer(work->scores[partition][a], work->scores[partition][b]));
}

/* Someone comes: where a zone has too few, who has too few, who is nearest. */
static int newcomer_of(const struct work *work, int partition)
{
    int best = NOBODY, best_key = 0;
    for (int n = 0; n < work->node_count; n++) {
        uint32_t zone = work->nodes[n].zone;
        int count = work->zone_count[partition][zone];
        if (work->has[partition][n] || count >= work->zone_high[zone]) {
            continue;
        }
        int key = (count < work->zone_low[zone] ? 0 : 2) + (work->load[n] < work->quota[n] ? 0 : 1);
        if (is_better(work, partition, n, key, best, best_key)) {
            best = n;
            best_key = key;
        }
    }
    return best;
}

/* Someone goes: where a zone has too many, who has too many, who is farthest. */
static int leaver_of(const struct work *work, int partition)
{
    int worst = NOBODY, worst_key = 0;
    for (int n = 0; n < work->node_count; n++) {
        uint32_t zone = work->nodes[n].zone;
        int count = work->zone_count[partition][zone];
        if (!work->has[partition][n]) {
            continue;
        }
        int key = (count > work->zone_high[zone]  ? 4
                   : count > work->zone_low[zone] ? 2
                                                  : 0) +
                  (work->load[n] > work->quota[n] ? 1 : 0);
        if (worst == NOBODY || key > worst_key ||
            (key == worst_key &&
             placement_is_nearer(work->scores[partition][worst], work->scores[partition][n]))) {
            worst = n;
            worst_key = key;
        }
    }
    return worst;
}

static bool zones_are_right(const struct work *work, int partition)
{
    for (uint32_t z = 0; z < NODES; z++) {
        int count = work->zone_count[partition][z];
        if (count < work->zone_low[z] || count > work->zone_high[z]) {
            return false;
        }
    }
    return true;
}

/* As many as there are to be, in the zones where they are to be. */
static void partition_repair(struct work *work, int partition)
{
    while (replica_count(work, partition) > (int)work->replicas) {
        put(work, partition, leaver_of(work, partition), false);
    }
    while (replica_count(work, partition) < (int)work->replicas) {
        put(work, partition, newcomer_of(work, partition), true);
    }
    while (!zones_are_right(work, partition)) { /* each exchange brings it one nearer */
        put(work, partition, leaver_of(work, partition), false);
        put(work, partition, newcomer_of(work, partition), true);
    }
}

/* ---- balance: along the shortest way from who has too many to who has too few -------------------- */

/* The partition by which a hands one over to b, or NOBODY. */
typedef int way_of(const struct work *work, int a, int b);

static int replica_way(const struct work *work, int a, int b)
{
    uint32_t zone_a = work->nodes[a].zone, zone_b = work->nodes[b].zone;
    int best = NOBODY, best_key = 0;
    for (int p = 0; p < PARTITIONS; p++) {
        if (!work->has[p][a] || work->has[p][b] ||
            (zone_a != zone_b && (work->zone_count[p][zone_a] <= work->zone_low[zone_a] ||
                                  work->zone_count[p][zone_b] >= work->zone_high[zone_b]))) {
            continue;
        }
        int key = work->had[p][a] - work->had[p][b]; /* copies that have to be made for it */
        if (best == NOBODY || key < best_key ||
            (key == best_key && placement_is_nearer(work->scores[p][b], work->scores[best][b]))) {
            best = p;
            best_key = key;
        }
    }
    return best;
}

static int lead_way(const struct work *work, int a, int b)
{
    int best = NOBODY;
    for (int p = 0; p < PARTITIONS; p++) {
        if (work->lead[p] == a && work->has[p][b] && work->nodes[b].is_live &&
            (best == NOBODY || placement_is_nearer(work->scores[p][b], work->scores[best][b]))) {
            best = p;
        }
    }
    return best;
}

/* Breadth first from all who have too many. Returns who has too few, or NOBODY; from[]: the way back. */
static int way_find(const struct work *work, const int *load, const int *quota, way_of *way_of_two,
                    int from[NODES])
{
    int queue[NODES], head = 0, tail = 0;
    for (int n = 0; n < work->node_count; n++) {
        from[n] = NOBODY;
        if (load[n] > quota[n]) {
            from[n] = n;
            queue[tail++] = n;
        }
    }
    while (head < tail) {
        int a = queue[head++];
        for (int b = 0; b < work->node_count; b++) {
            if (from[b] != NOBODY || way_of_two(work, a, b) == NOBODY) {
                continue;
            }
            from[b] = a;
            if (load[b] < quota[b]) {
                return b;
            }
            queue[tail++] = b;
        }
    }
    return NOBODY;
}

static void replicas_balance(struct work *work)
{
    int from[NODES];
    for (int round = 0; round < 2 * PARTITIONS * REGISTRY_REPLICAS_MAX; round++) {
        int to = way_find(work, work->load, work->quota, replica_way, from);
        if (to == NOBODY) {
            return;
        }
        for (; from[to] != to; to = from[to]) {
            int p = replica_way(work, from[to], to);
            if (p == NOBODY) { /* a step before took it away: look for another way */
                break;
            }
            put(work, p, from[to], false);
            put(work, p, to, true);
        }
    }
}

/* ---- leaders -------------------------------------------------------------------------------------- */

static void leaders_choose(struct work *work)
{
    uint64_t weights[NODES];
    int most[NODES] = {0}, leads[NODES] = {0}, quota[NODES] = {0}, from[NODES], units = 0;
    for (int n = 0; n < work->node_count; n++) {
        weights[n] = work->nodes[n].weight;
        most[n] = work->nodes[n].is_live ? work->load[n] : 0;
    }
    for (int p = 0; p < PARTITIONS; p++) {
        bool can_be_led = false;
        for (int n = 0; n < work->node_count; n++) {
            can_be_led = can_be_led || (work->has[p][n] && work->nodes[n].is_live);
        }
        int lead = work->lead[p];
        bool is_right = lead != NOBODY && work->has[p][lead] &&
                        (work->nodes[lead].is_live || !can_be_led);
        work->lead[p] = is_right ? lead : NOBODY;
        units += can_be_led;
        if (is_right) {
            leads[lead]++;
        }
    }
    share_out(units, work->node_count, weights, most, leads, quota);
    for (int p = 0; p < PARTITIONS; p++) {
        int best = work->lead[p], best_key = 0;
        for (int n = 0; n < work->node_count && work->lead[p] == NOBODY; n++) {
            int key = (work->nodes[n].is_live ? 0 : 2) + (leads[n] < quota[n] ? 0 : 1);
            if (work->has[p][n] && is_better(work, p, n, key, best, best_key)) {
                best = n;
                best_key = key;
            }
        }
        leads[best] += work->lead[p] == NOBODY;
        work->lead[p] = best;
    }
    for (int round = 0; round < 2 * PARTITIONS; round++) {
        int to = way_find(work, leads, quota, lead_way, from);
        if (to == NOBODY) {
            return;
        }
        for (; from[to] != to; to = from[to]) {
            int p = lead_way(work, from[to], to);
            if (p == NOBODY) {
                break;
            }
            work->lead[p] = to;
            leads[to]++;
            leads[from[to]]--;
        }
    }
}

/* ---- from and to a map ---------------------------------------------------------------------------- */

static int index_of(const struct work *work, uint64_t number)
{
    for (int n = 0; n < work->node_count; n++) {
        if (work->nodes[n].number == number) {
            return n;
        }
    }
    return NOBODY;
}

static void work_begin(struct work *work, const struct placement_nodes *nodes, uint32_t replicas,
                       const struct placement_map *now)
{
    *work = (struct work){.replicas = replicas};
    for (uint32_t i = 0; i < nodes->count; i++) {
        ASSERT(nodes->rows[i].zone < NODES && nodes->rows[i].weight > 0);
        if (nodes->rows[i].may_hold) {
            work->nodes[work->node_count++] = nodes->rows[i];
        }
    }
    ASSERT((int)replicas <= work->node_count);
    for (int p = 0; p < PARTITIONS; p++) {
        for (int n = 0; n < work->node_count; n++) {
            work->scores[p][n] = placement_score((uint64_t)p, work->nodes[n].number,
                                                 work->nodes[n].weight);
        }
        for (uint32_t i = 0; i < now->rows[p].count; i++) {
            int n = index_of(work, now->rows[p].replicas[i]);
            if (n != NOBODY) {
                put(work, p, n, true);
                work->had[p][n] = true;
            }
        }
        work->lead[p] = index_of(work, now->rows[p].preferred);
    }
}

/* Who was there keeps its place in the row, so that equal maps are equal bytes. */
static void row_write(const struct work *work, int p, const struct placement_row *now,
                      struct placement_row *out)
{
    *out = (struct placement_row){.preferred = work->nodes[work->lead[p]].number};
    for (uint32_t i = 0; i < now->count; i++) {
        int n = index_of(work, now->replicas[i]);
        if (n != NOBODY && work->has[p][n]) {
            out->replicas[out->count++] = now->replicas[i];
        }
    }
    for (int n = 0; n < work->node_count; n++) {
        if (work->has[p][n] && !work->had[p][n]) {
            out->replicas[out->count++] = work->nodes[n].number;
        }
    }
}

static bool rows_are_equal(const struct placement_row *a, const struct placement_row *b)
{
    return a->count == b->count && a->preferred == b->preferred &&
           memcmp(a->replicas, b->replicas, sizeof a->replicas) == 0;
}

/* Returns whether it differs from now. */
static bool want_once(const struct placement_nodes *nodes, uint32_t replicas,
                      const struct placement_map *now, struct placement_map *out)
{
    struct work work;
    work_begin(&work, nodes, replicas, now);
    zones_bound(&work);
    quotas_make(&work);
    for (int p = 0; p < PARTITIONS; p++) {
        partition_repair(&work, p);
    }
    replicas_balance(&work);
    leaders_choose(&work);
    bool is_other = false;
    for (int p = 0; p < PARTITIONS; p++) {
        row_write(&work, p, &now->rows[p], &out->rows[p]);
        is_other = is_other || !rows_are_equal(&now->rows[p], &out->rows[p]);
    }
    return is_other;
}

/* Quotas that are alike go to who has more: where they cannot all be met, who that is may change once
 * more. So again, until nothing changes (B5). */
void placement_want(const struct placement_nodes *nodes, uint32_t replicas,
                    const struct placement_map *now, struct placement_map *out)
{
    enum { PASSES_MAX = 8 };
    struct placement_map from = *now, want = *now;
    ASSERT(replicas <= REGISTRY_REPLICAS_MAX);
    for (int pass = 0; pass < PASSES_MAX && replicas > 0; pass++) {
        if (!want_once(nodes, replicas, &from, &want)) {
            break;
        }
        from = want;
    }
    *out = want;
}
