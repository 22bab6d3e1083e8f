#include "cluster/placement.h"
#include "core/base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PARTITIONS = REGISTRY_PARTITIONS, CLUSTERS = 12, EVENTS = 12, NODES_DRAWN = 12 };

/* What the bounds of placement.h come to. */
static struct {
    uint32_t wants, moves, needed, steps, rounds;
    double share_off, lead_off;
} seen;

/* ---- nodes ---------------------------------------------------------------------------------------- */

static struct placement_nodes nodes_of(uint32_t count, uint32_t zones)
{
    struct placement_nodes nodes = {.count = count};
    for (uint32_t i = 0; i < count; i++) {
        nodes.rows[i] = (struct placement_node){i + 1, i % zones, 1, true, true};
    }
    return nodes;
}

static const struct placement_node *node_of(const struct placement_nodes *nodes, uint64_t number)
{
    for (uint32_t i = 0; i < nodes->count; i++) {
        if (nodes->rows[i].number == number) {
            return &nodes->rows[i];
        }
    }
    return NULL;
}

static bool holds(const struct placement_row *row, uint64_t number)
{
    for (uint32_t i = 0; i < row->count; i++) {
        if (row->replicas[i] == number) {
            return true;
        }
    }
    return false;
}

static uint32_t load_of(const struct placement_map *map, uint64_t number)
{
    uint32_t load = 0;
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        load += holds(&map->rows[p], number);
    }
    return load;
}

static uint32_t leads_of(const struct placement_map *map, uint64_t number)
{
    uint32_t leads = 0;
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        leads += map->rows[p].preferred == number;
    }
    return leads;
}

/* ---- the bounds, told by other means --------------------------------------------------------------- */

struct zones {
    uint32_t nodes[REGISTRY_MEMBERS_MAX], low[REGISTRY_MEMBERS_MAX], high[REGISTRY_MEMBERS_MAX];
    double weight[REGISTRY_MEMBERS_MAX];
};

static struct zones zones_of(const struct placement_nodes *nodes, uint32_t replicas)
{
    struct zones zones = {0};
    uint32_t level = 0, room = 0;
    for (uint32_t i = 0; i < nodes->count; i++) {
        if (nodes->rows[i].may_hold) {
            zones.nodes[nodes->rows[i].zone]++;
            zones.weight[nodes->rows[i].zone] += nodes->rows[i].weight;
        }
    }
    while (room < replicas) {
        level++;
        room = 0;
        for (uint32_t z = 0; z < REGISTRY_MEMBERS_MAX; z++) {
            zones.low[z] = zones.nodes[z] < level - 1 ? zones.nodes[z] : level - 1;
            zones.high[z] = zones.nodes[z] < level ? zones.nodes[z] : level;
            room += zones.high[z];
        }
    }
    return zones;
}

/* total over what has these weights, each between low and high: the exact shares, by bisection. */
static void shares_of(double total, uint32_t count, const double *weight, const double *low,
                      const double *high, double *out)
{
    double from = 0, to = 1e6;
    for (int i = 0; i < 100; i++) {
        double each = (from + to) / 2, sum = 0;
        for (uint32_t k = 0; k < count; k++) {
            out[k] = fmax(low[k], fmin(high[k], each * weight[k]));
            sum += out[k];
        }
        *(sum < total ? &from : &to) = each;
    }
}

static double share_of(const struct placement_nodes *nodes, const struct zones *zones,
                       uint32_t replicas, uint64_t number)
{
    double weight[REGISTRY_MEMBERS_MAX], low[REGISTRY_MEMBERS_MAX], high[REGISTRY_MEMBERS_MAX];
    double zone_share[REGISTRY_MEMBERS_MAX], share[REGISTRY_MEMBERS_MAX];
    uint32_t zone = node_of(nodes, number)->zone;
    for (uint32_t z = 0; z < REGISTRY_MEMBERS_MAX; z++) {
        low[z] = PARTITIONS * zones->low[z];
        high[z] = PARTITIONS * zones->high[z];
    }
    shares_of(PARTITIONS * replicas, REGISTRY_MEMBERS_MAX, zones->weight, low, high, zone_share);
    for (uint32_t i = 0; i < nodes->count; i++) {
        bool is_in = nodes->rows[i].may_hold && nodes->rows[i].zone == zone;
        weight[i] = nodes->rows[i].weight;
        low[i] = 0;
        high[i] = is_in ? PARTITIONS : 0;
    }
    shares_of(zone_share[zone], nodes->count, weight, low, high, share);
    return share[node_of(nodes, number) - nodes->rows];
}

static void assert_row_is_right(const struct placement_nodes *nodes, const struct zones *zones,
                                uint32_t replicas, const struct placement_row *row)
{
    uint32_t count[REGISTRY_MEMBERS_MAX] = {0};
    assert_int_equal(row->count, replicas);
    assert_true(holds(row, row->preferred));
    for (uint32_t i = 0; i < row->count; i++) {
        const struct placement_node *node = node_of(nodes, row->replicas[i]);
        assert_non_null(node);
        assert_true(node->may_hold);
        count[node->zone]++;
        for (uint32_t k = 0; k < i; k++) {
            assert_true(row->replicas[k] != row->replicas[i]);
        }
        bool can_be_led = node->is_live;
        assert_true(!can_be_led || node_of(nodes, row->preferred)->is_live);
    }
    for (uint32_t z = 0; z < REGISTRY_MEMBERS_MAX; z++) {
        assert_in_range(count[z], zones->low[z], zones->high[z]); /* B2 */
    }
}

static void assert_same_map(const struct placement_map *a, const struct placement_map *b)
{
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        assert_int_equal(a->rows[p].count, b->rows[p].count);
        assert_int_equal(a->rows[p].preferred, b->rows[p].preferred);
        assert_memory_equal(a->rows[p].replicas, b->rows[p].replicas, sizeof a->rows[p].replicas);
    }
}

/* B1 to B5. */
static void assert_is_wanted(const struct placement_nodes *nodes, uint32_t replicas,
                             const struct placement_map *now, const struct placement_map *want)
{
    struct zones zones = zones_of(nodes, replicas);
    struct placement_map again;
    uint32_t needed = 0;
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        assert_row_is_right(nodes, &zones, replicas, &want->rows[p]);
    }
    for (uint32_t i = 0; i < nodes->count; i++) {
        const struct placement_node *node = &nodes->rows[i];
        if (node->may_hold) {
            uint32_t load = load_of(want, node->number), had = load_of(now, node->number);
            double off = fabs(load - share_of(nodes, &zones, replicas, node->number));
            needed += load > had ? load - had : 0;
            seen.share_off = fmax(seen.share_off, off);
            assert_true(off < 1.5); /* B3 */
        }
    }
    double weight[REGISTRY_MEMBERS_MAX], low[REGISTRY_MEMBERS_MAX] = {0},
                                         most[REGISTRY_MEMBERS_MAX], share[REGISTRY_MEMBERS_MAX],
                                         total = 0;
    for (uint32_t i = 0; i < nodes->count; i++) {
        weight[i] = nodes->rows[i].weight;
        most[i] = nodes->rows[i].is_live ? load_of(want, nodes->rows[i].number) : 0;
        total += nodes->rows[i].is_live ? leads_of(want, nodes->rows[i].number) : 0;
    }
    shares_of(total, nodes->count, weight, low, most, share);
    for (uint32_t i = 0; i < nodes->count && replicas > 1; i++) {
        double off = fabs(leads_of(want, nodes->rows[i].number) - share[i]);
        off = nodes->rows[i].is_live ? off : 0; /* it leads what nobody else could */
        seen.lead_off = fmax(seen.lead_off, off);
        assert_true(off < 5); /* B3 */
    }
    seen.moves += placement_distance(now, want);
    seen.needed += needed;
    seen.wants++;
    placement_want(nodes, replicas, want, &again);
    assert_same_map(want, &again); /* B5 */
}

/* ---- a cluster in which raft does what the map says, sooner or later -------------------------------- */

static void assert_step_is_right(const struct placement_row *now, const struct placement_row *want,
                                 const struct registry_assignment *row)
{
    struct placement_row next = {.count = row->replica_count, .preferred = row->preferred};
    uint32_t come = 0, gone = 0;
    memcpy(next.replicas, row->replicas, sizeof next.replicas);
    for (uint32_t i = 0; i < next.count; i++) {
        come += !holds(now, next.replicas[i]);
    }
    for (uint32_t i = 0; i < now->count; i++) {
        gone += !holds(&next, now->replicas[i]);
    }
    assert_true(come <= 1 && gone <= 1);
    assert_true(next.count >= (now->count < want->count ? now->count : want->count));
    assert_true(holds(&next, next.preferred));
}

static void assert_nobody_moves_too_much(const struct placement_nodes *nodes,
                                         const struct placement_map *map,
                                         const struct placement_report *reports)
{
    for (uint32_t i = 0; i < nodes->count; i++) {
        uint64_t number = nodes->rows[i].number;
        uint32_t moving = 0;
        for (uint32_t p = 0; p < PARTITIONS; p++) {
            bool is_there = false;
            for (uint32_t k = 0; k < reports[p].count; k++) {
                is_there = is_there || reports[p].members[k] == number;
            }
            moving += is_there != holds(&map->rows[p], number);
        }
        assert_true(moving <= PLACEMENT_MOVES_PER_NODE || !nodes->rows[i].is_live);
    }
}

static struct placement_report settled(const struct placement_row *row)
{
    struct placement_report report = {
        .is_known = true, .leader = row->preferred, .count = row->count};
    memcpy(report.members, row->replicas, sizeof row->replicas);
    return report;
}

/* Steps until the map is as wanted; each partition gets there some rounds after it was told. */
static void carry_out(struct rng *rng, const struct placement_nodes *nodes,
                      struct placement_map *now, const struct placement_map *want)
{
    struct placement_report reports[PARTITIONS];
    uint32_t rounds = 0, idle = 0;
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        reports[p] = settled(&now->rows[p]);
    }
    while (idle < 2) { /* nothing to be done, and nothing under way */
        struct registry_assign assign;
        placement_plan(nodes, now, want, reports, &assign);
        for (uint32_t i = 0; i < assign.count; i++) {
            const struct registry_assignment *row = &assign.rows[i];
            struct placement_row *old = &now->rows[row->partition];
            assert_step_is_right(old, &want->rows[row->partition], row);
            *old = (struct placement_row){.count = row->replica_count, .preferred = row->preferred};
            memcpy(old->replicas, row->replicas, sizeof old->replicas);
        }
        assert_nobody_moves_too_much(nodes, now, reports);
        bool is_under_way = false;
        for (uint32_t p = 0; p < PARTITIONS; p++) {
            struct placement_report there = settled(&now->rows[p]);
            bool is_there = there.leader == reports[p].leader && there.count == reports[p].count &&
                            memcmp(there.members, reports[p].members, sizeof there.members) == 0;
            is_under_way = is_under_way || !is_there;
            if (!is_there && rng_below(rng, 3) == 0) {
                reports[p] = there;
            }
        }
        seen.steps += assign.count;
        idle = assign.count == 0 && !is_under_way ? idle + 1 : 0;
        assert_true(++rounds < 20000); /* it ends */
    }
    seen.rounds = rounds > seen.rounds ? rounds : seen.rounds;
    assert_int_equal(placement_distance(now, want), 0);
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        assert_int_equal(now->rows[p].count, want->rows[p].count);
        assert_int_equal(now->rows[p].preferred, want->rows[p].preferred);
    }
}

/* Something happens to a node. */
static void befall(struct rng *rng, struct placement_nodes *nodes)
{
    struct placement_node *node = &nodes->rows[rng_below(rng, nodes->count)];
    uint32_t holders = 0;
    for (uint32_t i = 0; i < nodes->count; i++) {
        holders += nodes->rows[i].may_hold && nodes->rows[i].is_live;
    }
    switch (rng_below(rng, 6)) {
    case 0:
    case 1:
        if (nodes->count < NODES_DRAWN) {
            uint64_t number = nodes->rows[nodes->count - 1].number + 1;
            nodes->rows[nodes->count++] = (struct placement_node){
                number, (uint32_t)rng_below(rng, 4), 1 + (uint32_t)rng_below(rng, 4), true, true};
        }
        break;
    case 2: /* drains, or no more */
        node->may_hold = !node->may_hold || !node->is_live || holders == 1;
        break;
    case 3: /* is removed */
        if (holders > 1) {
            node->may_hold = node->is_live = false;
        }
        break;
    case 4: /* is gone for a moment, or back */
        if (node->may_hold && holders > 1) {
            node->is_live = !node->is_live;
        }
        break;
    default:
        node->weight = 1 + (uint32_t)rng_below(rng, 4);
    }
}

/* ---- tests ---------------------------------------------------------------------------------------- */

static void random_clusters_get_what_the_bounds_say(void **state)
{
    (void)state;
    const char *clusters = getenv("TERN_TEST_CLUSTERS"); /* thousands, by hand */
    uint64_t last = clusters == NULL ? CLUSTERS : strtoull(clusters, NULL, 10);
    for (uint64_t seed = 1; seed <= last; seed++) {
        struct placement_map now = {0}, want;
        struct placement_nodes nodes = nodes_of(1, 1);
        char warning[PLACEMENT_WARNING_BYTES];
        struct rng rng;
        rng_init(&rng, seed);
        for (uint32_t p = 0; p < PARTITIONS; p++) { /* as the founder has it */
            now.rows[p] = (struct placement_row){{1}, 1, 1};
        }
        uint32_t wished = 1 + 2 * (uint32_t)rng_below(&rng, 3);
        for (int event = 0; event < EVENTS; event++) {
            befall(&rng, &nodes);
            uint32_t replicas = placement_replicas(&nodes, wished, warning);
            assert_true(replicas > 0);
            placement_want(&nodes, replicas, &now, &want);
            assert_is_wanted(&nodes, replicas, &now, &want);
            carry_out(&rng, &nodes, &now, &want);
        }
    }
    if (clusters != NULL) {
        printf("%u maps: %u copies made, %u needed, %u steps, at most %u rounds; "
               "off the share: %.2f, of leaders %.2f\n",
               seen.wants, seen.moves, seen.needed, seen.steps, seen.rounds, seen.share_off,
               seen.lead_off);
    }
    assert_true(seen.moves <= seen.needed + seen.needed / 50); /* B4 */
}

static void nodes_that_are_alike_hold_and_lead_alike(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= NODES_DRAWN; count++) {
        for (uint32_t wished = 1; wished <= 5; wished += 2) {
            struct placement_nodes nodes = nodes_of(count, count % 3 == 0 ? 3 : 1);
            struct placement_map none = {0}, map;
            char warning[PLACEMENT_WARNING_BYTES];
            uint32_t replicas = placement_replicas(&nodes, wished, warning);
            placement_want(&nodes, replicas, &none, &map);
            assert_is_wanted(&nodes, replicas, &none, &map);
            for (uint64_t n = 1; n <= count; n++) {
                uint32_t share = PARTITIONS * replicas / count, leads = PARTITIONS / count;
                assert_in_range(load_of(&map, n), share, share + 1);
                assert_in_range(leads_of(&map, n), leads, leads + 1);
            }
        }
    }
}

static void a_node_that_comes_or_drains_moves_its_share_and_nothing_else(void **state)
{
    (void)state;
    for (uint32_t count = 3; count < NODES_DRAWN; count++) {
        struct placement_nodes nodes = nodes_of(count, 1);
        struct placement_map none = {0}, before, after;
        placement_want(&nodes, 3, &none, &before);
        nodes = nodes_of(count + 1, 1);
        placement_want(&nodes, 3, &before, &after);
        assert_int_equal(placement_distance(&before, &after), load_of(&after, count + 1));
        nodes.rows[1].may_hold = false; /* node 2 drains: what it has, and no more */
        placement_want(&nodes, 3, &after, &before);
        assert_in_range(placement_distance(&after, &before), load_of(&after, 2),
                        load_of(&after, 2) + 1); /* by way of another node, now and then */
        assert_int_equal(load_of(&before, 2), 0);
    }
}

static void a_node_that_is_away_keeps_what_it_holds_and_leads_nothing(void **state)
{
    struct placement_nodes nodes = nodes_of(3, 1);
    struct placement_map none = {0}, before, after;
    (void)state;
    placement_want(&nodes, 3, &none, &before);
    nodes.rows[1].is_live = false;
    placement_want(&nodes, 3, &before, &after);
    assert_int_equal(placement_distance(&before, &after), 0);
    assert_int_equal(leads_of(&after, 2), 0);
    assert_int_equal(leads_of(&after, 1), 32);
}

static void heavier_nodes_hold_more(void **state)
{
    struct placement_nodes nodes = nodes_of(4, 1);
    struct placement_map none = {0}, map;
    (void)state;
    nodes.rows[3].weight = 5;
    placement_want(&nodes, 1, &none, &map);
    assert_int_equal(load_of(&map, 4), 40);
    assert_int_equal(load_of(&map, 1), 8);
    placement_want(&nodes, 3, &none, &map);
    assert_int_equal(load_of(&map, 4), 64); /* one of each at most */
    assert_in_range(load_of(&map, 1), 42, 43);
    assert_int_equal(leads_of(&map, 4), 40);
}

/* Five copies in four zones: each has one at least, also the one whose nodes are to carry little. */
static void no_zone_is_left_out(void **state)
{
    struct placement_nodes nodes = nodes_of(8, 4);
    struct placement_map none = {0}, map;
    (void)state;
    for (uint32_t i = 0; i < nodes.count; i++) {
        nodes.rows[i].weight = nodes.rows[i].zone == 3 ? 1 : 10;
    }
    placement_want(&nodes, 5, &none, &map);
    assert_is_wanted(&nodes, 5, &none, &map);
    assert_int_equal(load_of(&map, 4) + load_of(&map, 8), PARTITIONS);
}

static void what_is_dead_is_replaced_first_and_leavers_before_the_rest(void **state)
{
    struct placement_nodes nodes = nodes_of(6, 1);
    struct placement_map none = {0}, now, want;
    struct placement_report reports[PARTITIONS];
    struct registry_assign assign;
    bool rest_came = false;
    (void)state;
    nodes.count = 5;
    placement_want(&nodes, 3, &none, &now);
    nodes.count = 6;
    nodes.rows[0].may_hold = nodes.rows[0].is_live = false;
    placement_want(&nodes, 3, &now, &want);
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        reports[p] = settled(&now.rows[p]);
    }
    placement_plan(&nodes, &now, &want, reports, &assign);
    assert_true(assign.count > 0);
    for (uint32_t i = 0; i < assign.count; i++) {
        bool had_dead = holds(&now.rows[assign.rows[i].partition], 1);
        assert_false(had_dead && rest_came);
        rest_came = rest_came || !had_dead;
    }
    assert_true(holds(&now.rows[assign.rows[0].partition], 1));
}

static void a_partition_without_a_leader_is_left_alone(void **state)
{
    struct placement_nodes nodes = nodes_of(3, 1);
    struct placement_map now = {0}, want;
    struct placement_report reports[PARTITIONS] = {{0}};
    struct registry_assign assign;
    (void)state;
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        now.rows[p] = (struct placement_row){{1}, 1, 1};
    }
    placement_want(&nodes, 3, &now, &want);
    placement_plan(&nodes, &now, &want, reports, &assign);
    assert_int_equal(assign.count, 0);
    reports[7] = settled(&now.rows[7]);
    placement_plan(&nodes, &now, &want, reports, &assign);
    assert_int_equal(assign.count, 1);
    assert_int_equal(assign.rows[0].partition, 7);
    reports[7].members[reports[7].count++] = 2; /* one that is still to go */
    placement_plan(&nodes, &now, &want, reports, &assign);
    assert_int_equal(assign.count, 0);
}

static void an_operator_is_told_what_few_nodes_mean(void **state)
{
    char warning[PLACEMENT_WARNING_BYTES];
    struct placement_nodes nodes = nodes_of(5, 5);
    (void)state;
    assert_int_equal(placement_replicas(&nodes, 3, warning), 3);
    assert_string_equal(warning, "");
    assert_int_equal(placement_replicas(&nodes, 1, warning), 1);
    assert_string_equal(warning, "");
    nodes.rows[0].may_hold = false;
    assert_int_equal(placement_replicas(&nodes, 5, warning), 3);
    assert_non_null(strstr(warning, "4 nodes"));
    nodes = nodes_of(3, 2);
    assert_int_equal(placement_replicas(&nodes, 3, warning), 3);
    assert_non_null(strstr(warning, "two zones"));
    nodes = nodes_of(2, 2);
    assert_int_equal(placement_replicas(&nodes, 3, warning), 2);
    assert_non_null(strstr(warning, "two nodes"));
    nodes = nodes_of(1, 1);
    assert_int_equal(placement_replicas(&nodes, 3, warning), 1);
    assert_non_null(strstr(warning, "one node"));
    nodes.rows[0].may_hold = false;
    assert_int_equal(placement_replicas(&nodes, 3, warning), 0);
    assert_non_null(strstr(warning, "no node"));
}

/* One key of n goes to a new node, and only to it; weights count. */
static void rendezvous_is_fair_by_weight(void **state)
{
    enum { KEYS = 20000 };
    static const uint32_t weights[4] = {1, 1, 2, 4};
    uint32_t counts[4] = {0}, moved = 0;
    (void)state;
    for (uint64_t key = 0; key < KEYS; key++) {
        int best[2] = {0, 0};
        for (int count = 3; count <= 4; count++) {
            for (int n = 1; n < count; n++) {
                if (placement_is_nearer(placement_score(key, (uint64_t)n, weights[n]),
                                        placement_score(key, (uint64_t)best[count - 3],
                                                        weights[best[count - 3]]))) {
                    best[count - 3] = n;
                }
            }
        }
        assert_true(best[0] == best[1] || best[1] == 3);
        moved += best[0] != best[1];
        counts[best[1]]++;
    }
    for (int n = 0; n < 4; n++) {
        double share = KEYS * weights[n] / 8.0;
        assert_true(fabs(counts[n] - share) < 4 * sqrt(share));
    }
    assert_int_equal(moved, counts[3]);
}

static void what_reg_knows_is_read(void **state)
{
    struct registry_state *registry = registry_new();
    struct placement_nodes nodes;
    struct placement_map map;
    (void)state;
    registry->member_count = 5;
    registry->partition_count = PARTITIONS;
    for (uint32_t i = 0; i < 5; i++) {
        registry->members[i] = (struct registry_member){
            .number = 2 * i + 1, .state = MEMBER_ACTIVE, .was_live = true};
        registry->members[i].profile.weight = i + 1;
        registry->members[i].profile.zone[0] = (char)('a' + i % 2);
    }
    registry->members[1].state = MEMBER_GONE;
    registry->members[2].state = MEMBER_DRAINING;
    registry->members[2].is_draining = true;
    registry->members[3].state = MEMBER_JOINING;
    registry->members[3].was_live = false;
    registry->members[4].state = MEMBER_LEFT;
    registry->partitions[9] = (struct registry_partition){1, {3, 5}, 2, 5};
    placement_read(registry, &nodes, &map);
    static const struct placement_node expected[5] = {{1, 0, 1, true, true},
                                                      {3, 1, 2, true, false},
                                                      {5, 0, 3, false, true},
                                                      {7, 1, 4, false, false},
                                                      {9, 0, 5, false, false}};
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(nodes.rows[i].number, expected[i].number);
        assert_int_equal(nodes.rows[i].zone, expected[i].zone);
        assert_int_equal(nodes.rows[i].weight, expected[i].weight);
        assert_int_equal(nodes.rows[i].may_hold, expected[i].may_hold);
        assert_int_equal(nodes.rows[i].is_live, expected[i].is_live);
    }
    assert_int_equal(map.rows[9].count, 2);
    assert_int_equal(map.rows[9].replicas[1], 5);
    assert_int_equal(map.rows[9].preferred, 5);
    registry_free(registry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_clusters_get_what_the_bounds_say),
        cmocka_unit_test(nodes_that_are_alike_hold_and_lead_alike),
        cmocka_unit_test(a_node_that_comes_or_drains_moves_its_share_and_nothing_else),
        cmocka_unit_test(a_node_that_is_away_keeps_what_it_holds_and_leads_nothing),
        cmocka_unit_test(heavier_nodes_hold_more),
        cmocka_unit_test(no_zone_is_left_out),
        cmocka_unit_test(what_is_dead_is_replaced_first_and_leavers_before_the_rest),
        cmocka_unit_test(a_partition_without_a_leader_is_left_alone),
        cmocka_unit_test(an_operator_is_told_what_few_nodes_mean),
        cmocka_unit_test(rendezvous_is_fair_by_weight),
        cmocka_unit_test(what_reg_knows_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
