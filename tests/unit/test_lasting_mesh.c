/*
 * One shard of a node among others: some partitions are led elsewhere. The mesh is the test's: it writes
 * down what it is asked, and answers when the test says so.
 */
#include "core/broker/remote.h"
#include "core/broker/routes.h"
#include "core/session/mesh.h"
#include "tests/lib/held_journal.h"

/* ---- a mesh that waits for the test --------------------------------------------------------- */

enum { SENT_MAX = 64, ROUTED_MAX = 64 };

static struct {
    struct mesh mesh;
    struct sent {
        struct mesh_errand errand; /* its msg is ours */
        char group[32];
        mesh_done done;
        void *context;
    } sent[SENT_MAX];
    uint32_t sent_count;
    struct {
        uint32_t partition;
        char filter[32];
        bool is_wanted;
    } routed[ROUTED_MAX];
    uint32_t routed_count;
} mesh;

static void mesh_on_forward(struct mesh *self, const struct mesh_errand *errand, mesh_done done,
                            void *context)
{
    (void)self;
    assert_true(mesh.sent_count < SENT_MAX);
    struct sent *sent = &mesh.sent[mesh.sent_count++];
    *sent = (struct sent){.errand = *errand, .done = done, .context = context};
    assert_true(errand->group.count < sizeof(sent->group));
    if (errand->group.count > 0) {
        memcpy(sent->group, errand->group.data, errand->group.count);
    }
    msg_ref(errand->msg);
}

static void mesh_on_route(struct mesh *self, uint32_t partition, struct slice filter,
                          bool is_wanted)
{
    (void)self;
    assert_true(mesh.routed_count < ROUTED_MAX);
    assert_true(filter.count < sizeof(mesh.routed[0].filter));
    mesh.routed[mesh.routed_count].partition = partition;
    mesh.routed[mesh.routed_count].is_wanted = is_wanted;
    memcpy(mesh.routed[mesh.routed_count++].filter, filter.data, filter.count);
}

static enum err mesh_on_await(struct mesh *self, uint32_t partition, mesh_done done, void *context)
{
    (void)self, (void)partition, (void)done, (void)context;
    return OK;
}

static const struct mesh_calls mesh_calls = {
    .forward = mesh_on_forward, .route = mesh_on_route, .await = mesh_on_await};

static enum err mesh_on_new(void *context, struct io *io, struct shard *shard, struct mesh **out,
                            struct broker_failure *failure)
{
    (void)context, (void)io, (void)shard, (void)failure;
    memset(&mesh, 0, sizeof(mesh));
    mesh.mesh.calls = &mesh_calls;
    *out = &mesh.mesh;
    return OK;
}

static void mesh_on_free(struct mesh *self)
{
    assert_ptr_equal(self, &mesh.mesh);
    for (uint32_t i = 0; i < mesh.sent_count; i++) {
        struct sent *sent = &mesh.sent[i];
        if (sent->done != NULL) {
            sent->done(sent->context, ERR_SHUTDOWN);
        }
        msg_unref(sent->errand.msg);
    }
}

static void answer(uint32_t index, enum err err)
{
    mesh_done done = mesh.sent[index].done;
    assert_non_null(done);
    mesh.sent[index].done = NULL;
    done(mesh.sent[index].context, err);
}

static struct scene scene_among_others(void)
{
    struct broker_ports among = ports;
    among.mesh_new = mesh_on_new;
    among.mesh_free = mesh_on_free;
    return (struct scene){.house = house_new_on(&among, 1, 0, 1000, "")};
}

static uint64_t bit(uint32_t partition)
{
    return UINT64_C(1) << partition;
}

static struct shard *shard_of_scene(const struct scene *scene)
{
    return house_shard(scene->house, 0);
}

/* Led elsewhere from now on, with a subscription to each of these filters. */
static void lead_elsewhere(const struct scene *scene, uint32_t partition, const char *filter)
{
    struct shard *shard = shard_of_scene(scene);
    shard->elsewhere |= bit(partition);
    assert_int_equal(routes_put(shard, partition, slice_text(filter)), OK);
}

static uint32_t done_count;
static enum err done_err;

static void on_done(void *context, enum err err)
{
    assert_ptr_equal(context, &done_count);
    done_count++;
    done_err = err;
}

/* ---- away ----------------------------------------------------------------------------------- */

static void puback_waits_for_every_node_that_leads_a_receiver(void **state)
{
    (void)state;
    struct scene scene = scene_among_others();
    struct client *client = add(&scene, connected(scene.house, 's', true));
    lead_elsewhere(&scene, 5, "t");
    lead_elsewhere(&scene, 7, "+");
    lead_elsewhere(&scene, 9, "other");
    SAY(client, "\x32\x06\0\x01t\0\x07x");
    EXPECT_NOTHING(client);
    assert_int_equal(mesh.sent_count, 1);
    assert_int_equal(mesh.sent[0].errand.kind, MESH_PUBLISH);
    assert_int_equal(mesh.sent[0].errand.partitions, bit(5) | bit(7));
    assert_int_equal(mesh.sent[0].errand.origin.number, 0);
    answer(0, OK);
    turns(scene.house);
    EXPECT(client, "\x40\x02\0\x07");
    scene_free(&scene);
}

static void at_qos_0_nobody_waits_and_subscribers_here_hear_it_too(void **state)
{
    (void)state;
    struct scene scene = scene_among_others();
    struct client *client = add(&scene, connected(scene.house, 's', true));
    SAY(client, "\x82\x06\0\x01\0\x01t\0");
    EXPECT(client, "\x90\x03\0\x01\0");
    lead_elsewhere(&scene, 5, "t");
    SAY(client, "\x30\x04\0\x01tx");
    EXPECT(client, "\x30\x04\0\x01tx");
    assert_int_equal(mesh.sent_count, 1);
    assert_null(mesh.sent[0].done);
    scene_free(&scene);
}

static void what_nobody_else_wants_stays_here(void **state)
{
    (void)state;
    struct scene scene = scene_among_others();
    struct client *client = add(&scene, connected(scene.house, 's', true));
    lead_elsewhere(&scene, 5, "t");
    routes_drop(shard_of_scene(&scene), 5, slice_text("t"));
    SAY(client, "\x32\x06\0\x01t\0\x07x");
    EXPECT(client, "\x40\x02\0\x07");
    assert_int_equal(mesh.sent_count, 0);
    scene_free(&scene);
}

/* 3.x cannot hear why not: nothing is acknowledged, and it is to come again. */
static void a_refusal_elsewhere_is_one_here(void **state)
{
    (void)state;
    struct scene scene = scene_among_others();
    struct client *client = add(&scene, connected(scene.house, 's', true));
    lead_elsewhere(&scene, 5, "t");
    SAY(client, "\x32\x06\0\x01t\0\x07x");
    answer(0, ERR_UNAVAILABLE);
    turns(scene.house);
    EXPECT_NOTHING(client);
    scene_free(&scene);
}

static void qos_2_goes_with_its_number_when_it_is_committed(void **state)
{
    (void)state;
    struct scene scene = scene_among_others();
    struct client *client = add(&scene, connected(scene.house, 's', false));
    lead_elsewhere(&scene, 5, "t");
    SAY(client, "\x34\x06\0\x01t\0\x07x");
    assert_int_equal(mesh.sent_count, 0);
    commit(scene.house);
    EXPECT(client, "\x50\x02\0\x07");
    assert_int_equal(mesh.sent_count, 1);
    assert_int_not_equal(mesh.sent[0].errand.origin.number, 0);
    assert_int_equal(mesh.sent[0].errand.origin.partition, partition_of(slice_text("s")));
    assert_false(was_logged(OP_SENT));
    answer(0, OK);
    assert_true(was_logged(OP_SENT));
    scene_free(&scene);
}

static void what_is_retained_is_kept_by_who_leads_its_topic(void **state)
{
    (void)state;
    struct scene scene = scene_among_others();
    struct client *client = add(&scene, connected(scene.house, 's', true));
    struct shard *shard = shard_of_scene(&scene);
    uint32_t partition = partition_of(slice_text("t"));
    shard->elsewhere |= bit(partition);
    SAY(client, "\x33\x06\0\x01t\0\x07x");
    EXPECT_NOTHING(client);
    assert_int_equal(mesh.sent_count, 1);
    assert_int_equal(mesh.sent[0].errand.kind, MESH_RETAIN);
    assert_int_equal(mesh.sent[0].errand.partitions, bit(partition));
    assert_int_equal(retain_count(shard->retain), 0);
    assert_false(was_logged(OP_RETAIN));
    answer(0, OK);
    turns(scene.house);
    EXPECT(client, "\x40\x02\0\x07");
    scene_free(&scene);
}

/* ---- from away ------------------------------------------------------------------------------ */

static void an_errand_reaches_the_partitions_it_names_and_is_told_when_they_committed(void **state)
{
    (void)state;
    struct scene scene = scene_among_others();
    struct client *one = add(&scene, connected(scene.house, 'a', false));
    struct client *two = add(&scene, connected(scene.house, 'b', false));
    uint32_t partition = partition_of(slice_text("a"));
    assert_int_not_equal(partition, partition_of(slice_text("b")));
    SAY(one, "\x82\x06\0\x01\0\x01t\x01");
    SAY(two, "\x82\x06\0\x01\0\x01t\x01");
    commit(scene.house);
    EXPECT(one, "\x90\x03\0\x01\x01");
    EXPECT(two, "\x90\x03\0\x01\x01");
    struct msg *msg = msg_new(
        &(struct msg_spec){.qos = 1, .topic = slice_text("t"), .payload = slice_text("x")});
    struct mesh_errand errand = {.kind = MESH_PUBLISH, .partitions = bit(partition), .msg = msg};
    done_count = 0;
    remote_serve(shard_of_scene(&scene), &errand, on_done, &done_count);
    msg_unref(msg);
    turns(scene.house);
    assert_int_equal(done_count, 0);
    EXPECT_NOTHING(one);
    commit(scene.house);
    assert_int_equal(done_count, 1);
    assert_int_equal(done_err, OK);
    EXPECT(one, "\x32\x06\0\x01t\0\x02x");
    EXPECT_NOTHING(two);
    assert_int_equal(mesh.sent_count, 0);
    scene_free(&scene);
}

static void an_errand_to_retain_is_kept_and_told_when_it_is_committed(void **state)
{
    (void)state;
    struct scene scene = scene_among_others();
    struct shard *shard = shard_of_scene(&scene);
    struct msg *msg = msg_new(&(struct msg_spec){
        .qos = 1, .retain = true, .topic = slice_text("t"), .payload = slice_text("x")});
    struct mesh_errand errand = {
        .kind = MESH_RETAIN, .partitions = bit(partition_of(msg->topic)), .msg = msg};
    done_count = 0;
    remote_serve(shard, &errand, on_done, &done_count);
    msg_unref(msg);
    assert_int_equal(retain_count(shard->retain), 1);
    assert_true(was_logged(OP_RETAIN));
    assert_int_equal(done_count, 0);
    commit(scene.house);
    assert_int_equal(done_count, 1);
    scene_free(&scene);
}

/* ---- routes --------------------------------------------------------------------------------- */

static void the_first_subscription_to_a_filter_is_told_and_the_last_that_goes(void **state)
{
    (void)state;
    struct scene scene = scene_among_others();
    struct client *client = add(&scene, connected(scene.house, 's', true));
    struct shard *shard = shard_of_scene(&scene);
    uint32_t partition = partition_of(slice_text("s"));
    uint64_t empty = routes_digest(shard, partition);
    SAY(client, "\x82\x06\0\x01\0\x01t\0");
    SAY(client, "\x82\x06\0\x02\0\x01t\x01"); /* again, with another QoS */
    assert_int_equal(mesh.routed_count, 1);
    assert_int_equal(mesh.routed[0].partition, partition);
    assert_string_equal(mesh.routed[0].filter, "t");
    assert_true(mesh.routed[0].is_wanted);
    assert_true(routes_digest(shard, partition) != empty);
    SAY(client, "\xa2\x05\0\x03\0\x01t");
    assert_int_equal(mesh.routed_count, 2);
    assert_false(mesh.routed[1].is_wanted);
    assert_true(routes_digest(shard, partition) == empty);
    scene_free(&scene);
}

/* A shared one is told by the partition of its group. */
static void a_group_is_told_by_its_own_partition(void **state)
{
    (void)state;
    struct scene scene = scene_among_others();
    struct client *client = add(&scene, connected(scene.house, 's', true));
    SAY(client, "\x82\x0f\0\x01\0\x0a$share/g/t\0");
    assert_int_equal(mesh.routed_count, 1);
    assert_int_equal(mesh.routed[0].partition, partition_of(slice_text("g/t")));
    assert_string_equal(mesh.routed[0].filter, "t");
    SAY(client, "\xe0\0");
    assert_int_equal(mesh.routed_count, 2);
    assert_false(mesh.routed[1].is_wanted);
    scene_free(&scene);
}

static void who_gives_up_a_partition_sends_there_what_it_served(void **state)
{
    (void)state;
    struct scene scene = scene_among_others();
    struct client *one = add(&scene, connected(scene.house, 'a', true));
    struct client *two = add(&scene, connected(scene.house, 'b', true));
    struct shard *shard = shard_of_scene(&scene);
    uint32_t partition = partition_of(slice_text("a"));
    SAY(one, "\x82\x06\0\x01\0\x01t\0");
    EXPECT(one, "\x90\x03\0\x01\0");
    uint64_t digest = routes_digest(shard, partition);
    assert_int_equal(routes_give_up(shard, partition), OK);
    shard->elsewhere |= bit(partition);
    SAY(one, "\xe0\0"); /* its subscription goes, and nobody is told */
    assert_int_equal(mesh.routed_count, 1);
    assert_true(routes_digest(shard, partition) == digest);
    SAY(two, "\x30\x04\0\x01tx");
    assert_int_equal(mesh.sent_count, 1);
    assert_int_equal(mesh.sent[0].errand.partitions, bit(partition));
    shard->elsewhere = 0;
    routes_take_up(shard, partition);
    SAY(two, "\x30\x04\0\x01tx");
    assert_int_equal(mesh.sent_count, 1);
    scene_free(&scene);
}

/* Its subscriptions hang one by one; until all do, it gets what it wants by who sends it there. */
static void a_partition_that_is_being_loaded_is_not_served_yet(void **state)
{
    (void)state;
    struct scene scene = scene_among_others();
    struct client *one = add(&scene, connected(scene.house, 'a', true));
    struct client *two = add(&scene, connected(scene.house, 'b', true));
    struct shard *shard = shard_of_scene(&scene);
    uint32_t partition = partition_of(slice_text("a"));
    lead_elsewhere(&scene, partition, "t");
    SAY(one, "\x82\x06\0\x01\0\x01t\0");
    EXPECT(one, "\x90\x03\0\x01\0");
    SAY(two, "\x30\x04\0\x01tx");
    EXPECT_NOTHING(one);
    assert_int_equal(mesh.sent_count, 1);
    shard->elsewhere = 0;
    routes_take_up(shard, partition);
    SAY(two, "\x30\x04\0\x01ty");
    EXPECT(one, "\x30\x04\0\x01ty");
    assert_int_equal(mesh.sent_count, 1);
    scene_free(&scene);
}

static void a_renewal_takes_off_what_it_does_not_name(void **state)
{
    (void)state;
    struct scene scene = scene_among_others();
    struct shard *shard = shard_of_scene(&scene);
    lead_elsewhere(&scene, 5, "a");
    uint64_t only_a = routes_digest(shard, 5);
    lead_elsewhere(&scene, 5, "b");
    lead_elsewhere(&scene, 6, "b");
    uint64_t of_six = routes_digest(shard, 6);
    routes_renew(shard, 5);
    assert_int_equal(routes_put(shard, 5, slice_text("a")), OK);
    routes_renewed(shard, 5);
    assert_true(routes_digest(shard, 5) == only_a);
    assert_true(routes_digest(shard, 6) == of_six);
    scene_free(&scene);
}

static void what_hangs_here_is_told_in_full_when_asked(void **state)
{
    (void)state;
    struct scene scene = scene_among_others();
    struct client *client = add(&scene, connected(scene.house, 's', true));
    struct shard *shard = shard_of_scene(&scene);
    uint32_t partition = partition_of(slice_text("s"));
    uint64_t cursor = 0;
    struct slice filter;
    uint32_t count = 0;
    SAY(client, "\x82\x0a\0\x01\0\x01t\0\0\x01u\0");
    while (routes_next(shard, partition, &cursor, &filter)) {
        assert_true(slice_is(filter, "t") || slice_is(filter, "u"));
        count++;
    }
    assert_int_equal(count, 2);
    scene_free(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(puback_waits_for_every_node_that_leads_a_receiver),
        cmocka_unit_test(at_qos_0_nobody_waits_and_subscribers_here_hear_it_too),
        cmocka_unit_test(what_nobody_else_wants_stays_here),
        cmocka_unit_test(a_refusal_elsewhere_is_one_here),
        cmocka_unit_test(qos_2_goes_with_its_number_when_it_is_committed),
        cmocka_unit_test(what_is_retained_is_kept_by_who_leads_its_topic),
        cmocka_unit_test(an_errand_reaches_the_partitions_it_names_and_is_told_when_they_committed),
        cmocka_unit_test(an_errand_to_retain_is_kept_and_told_when_it_is_committed),
        cmocka_unit_test(the_first_subscription_to_a_filter_is_told_and_the_last_that_goes),
        cmocka_unit_test(a_group_is_told_by_its_own_partition),
        cmocka_unit_test(who_gives_up_a_partition_sends_there_what_it_served),
        cmocka_unit_test(a_partition_that_is_being_loaded_is_not_served_yet),
        cmocka_unit_test(a_renewal_takes_off_what_it_does_not_name),
        cmocka_unit_test(what_hangs_here_is_told_in_full_when_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
