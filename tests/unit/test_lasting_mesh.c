/*
 * One shard of a node among others: some partitions are led elsewhere. The mesh is the test's: it writes
 * down what it is asked, and answers when the test says so.
 */
#include "core/broker/afar.h"
#include "core/broker/conn.h"
#include "core/broker/partition.h"
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
    /* One channel, whichever end of it is ours. */
    struct {
        const struct mesh_channel_events *events;
        void *owner; /* NULL: it is closed */
        struct mesh_client client;
        uint32_t partition;
        uint8_t said[512];
        size_t said_count;
        bool is_full, is_paused;
        enum err open_err;
    } channel;
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

static struct mesh_channel *const the_channel = (struct mesh_channel *)&mesh.channel;

static enum err mesh_on_open(struct mesh *self, uint32_t partition,
                             const struct mesh_client *client,
                             const struct mesh_channel_events *events, void *owner,
                             struct mesh_channel **out)
{
    (void)self;
    if (mesh.channel.open_err != OK) {
        return mesh.channel.open_err;
    }
    mesh.channel.events = events;
    mesh.channel.owner = owner;
    mesh.channel.client = *client;
    mesh.channel.partition = partition;
    *out = the_channel;
    return OK;
}

static bool mesh_on_send(struct mesh *self, struct mesh_channel *channel, struct slice bytes)
{
    (void)self;
    assert_ptr_equal(channel, the_channel);
    assert_non_null(mesh.channel.owner);
    assert_true(mesh.channel.said_count + bytes.count <= sizeof(mesh.channel.said));
    memcpy(mesh.channel.said + mesh.channel.said_count, bytes.data, bytes.count);
    mesh.channel.said_count += bytes.count;
    return !mesh.channel.is_full;
}

static void mesh_on_pause(struct mesh *self, struct mesh_channel *channel, bool is_paused)
{
    (void)self;
    assert_ptr_equal(channel, the_channel);
    mesh.channel.is_paused = is_paused;
}

static void mesh_on_close(struct mesh *self, struct mesh_channel *channel)
{
    (void)self;
    assert_ptr_equal(channel, the_channel);
    assert_non_null(mesh.channel.owner);
    mesh.channel.owner = NULL;
}

static const struct mesh_calls mesh_calls = {.forward = mesh_on_forward,
                                             .route = mesh_on_route,
                                             .await = mesh_on_await,
                                             .open = mesh_on_open,
                                             .send = mesh_on_send,
                                             .pause = mesh_on_pause,
                                             .close = mesh_on_close};

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

/* ---- clients ------------------------------------------------------------------------------------ */

#define CONNECT_S "\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01s"

static void expect_said(const char *bytes, size_t count)
{
    assert_int_equal(mesh.channel.said_count, count);
    assert_memory_equal(mesh.channel.said, bytes, count);
    mesh.channel.said_count = 0;
}

#define EXPECT_SAID(text) expect_said(text, sizeof(text) - 1)

static void other_says(const char *bytes, size_t count)
{
    mesh.channel.events->bytes(mesh.channel.owner, slice_of(bytes, count));
}

#define OTHER_SAYS(text) other_says(text, sizeof(text) - 1)

static void a_client_whose_session_is_led_elsewhere_is_served_there(void **state)
{
    (void)state;
    struct scene scene = scene_among_others();
    struct client *client = add(&scene, client_new(scene.house));
    uint32_t partition = partition_of(slice_text("s"));
    shard_of_scene(&scene)->elsewhere |= bit(partition);
    SAY(client, CONNECT_S "\xc0\0"); /* and what comes behind it */
    assert_int_equal(mesh.channel.partition, partition);
    EXPECT_SAID(CONNECT_S "\xc0\0");
    EXPECT_NOTHING(client);
    OTHER_SAYS("\x20\x02\0\0\xd0\0");
    turns(scene.house);
    EXPECT(client, "\x20\x02\0\0\xd0\0");
    SAY(client, "\x30\x04\0\x01tx\xe0"); /* however it is cut */
    EXPECT_SAID("\x30\x04\0\x01tx\xe0");
    scene_free(&scene);
}

static void a_client_that_goes_is_gone_there_too(void **state)
{
    (void)state;
    struct scene scene = scene_among_others();
    struct client *client = add(&scene, client_new(scene.house));
    shard_of_scene(&scene)->elsewhere |= bit(partition_of(slice_text("s")));
    SAY(client, CONNECT_S);
    assert_non_null(mesh.channel.owner);
    conn_drop(mesh.channel.owner, ERR_RESET);
    turns(scene.house);
    assert_null(mesh.channel.owner);
    scene_free(&scene);
}

static void who_is_let_go_there_is_let_go_here(void **state)
{
    (void)state;
    struct scene scene = scene_among_others();
    struct client *client = add(&scene, client_new(scene.house));
    shard_of_scene(&scene)->elsewhere |= bit(partition_of(slice_text("s")));
    SAY(client, CONNECT_S);
    OTHER_SAYS("\x20\x02\0\x05");
    void *owner = mesh.channel.owner;
    mesh.channel.owner = NULL;
    mesh.channel.events->closed(owner, ERR_CLOSED);
    turns(scene.house);
    EXPECT(client, "\x20\x02\0\x05");
    assert_true(link_is_closed(client->link));
    scene_free(&scene);
}

static void where_nobody_is_known_to_lead_it_is_unavailable(void **state)
{
    (void)state;
    struct scene scene = scene_among_others();
    struct client *client = add(&scene, client_new(scene.house));
    shard_of_scene(&scene)->elsewhere |= bit(partition_of(slice_text("s")));
    mesh.channel.open_err = ERR_UNAVAILABLE;
    SAY(client, CONNECT_S);
    EXPECT(client, "\x20\x02\0\x03");
    assert_true(link_is_closed(client->link));
    scene_free(&scene);
}

static void *serve_one(const struct scene *scene)
{
    struct mesh_client who = {.address_kind = ADDRESS_IP4, .ip = {203, 0, 113, 7}, .port = 40123};
    mesh.channel.owner = afar_serve(shard_of_scene(scene), the_channel, &who, &mesh.channel.events);
    return mesh.channel.owner;
}

static void a_client_of_another_node_is_served_as_one_of_ours(void **state)
{
    (void)state;
    struct scene scene = scene_among_others();
    struct client *client = add(&scene, connected(scene.house, 'p', true));
    assert_non_null(serve_one(&scene));
    OTHER_SAYS("\x10\x0d\0\x04MQTT\x04\x00\0\0\0\x01s");
    turns(scene.house);
    EXPECT_SAID("");
    commit(scene.house);
    EXPECT_SAID("\x20\x02\0\0");
    OTHER_SAYS("\x82\x06\0\x01\0\x01t\x01\xc0");
    OTHER_SAYS("\0");
    commit(scene.house);
    EXPECT_SAID("\xd0\0\x90\x03\0\x01\x01");
    SAY(client, "\x32\x06\0\x01t\0\x07x");
    commit(scene.house);
    EXPECT(client, "\x40\x02\0\x07");
    EXPECT_SAID("\x32\x06\0\x01t\0\x02x");
    OTHER_SAYS("\x40\x02\0\x02\xe0\0");
    commit(scene.house);
    assert_null(mesh.channel.owner); /* it is closed when its end is on disk */
    scene_free(&scene);
}

/* It is led by a third one by now: its client is told, and asks again. */
static void a_client_that_comes_to_the_wrong_node_is_refused_there(void **state)
{
    (void)state;
    struct scene scene = scene_among_others();
    partition_end(shard_of_scene(&scene), partition_of(slice_text("s")));
    assert_non_null(serve_one(&scene));
    OTHER_SAYS(CONNECT_S);
    turns(scene.house);
    EXPECT_SAID("\x20\x02\0\x03");
    assert_null(mesh.channel.owner);
    scene_free(&scene);
}

static void what_its_node_cannot_take_waits_here(void **state)
{
    (void)state;
    struct scene scene = scene_among_others();
    struct client *client = add(&scene, connected(scene.house, 'p', true));
    assert_non_null(serve_one(&scene));
    OTHER_SAYS(CONNECT_S "\x82\x06\0\x01\0\x01t\0");
    turns(scene.house);
    EXPECT_SAID("\x20\x02\0\0\x90\x03\0\x01\0");
    mesh.channel.is_full = true;
    SAY(client, "\x30\x04\0\x01tx");
    EXPECT_SAID("\x30\x04\0\x01tx"); /* it is too much from here on */
    SAY(client, "\x30\x04\0\x01ty");
    EXPECT_SAID("");
    mesh.channel.is_full = false;
    mesh.channel.events->room(mesh.channel.owner);
    turns(scene.house);
    EXPECT_SAID("\x30\x04\0\x01ty");
    scene_free(&scene);
}

static void a_served_client_whose_link_breaks_was_lost(void **state)
{
    (void)state;
    struct scene scene = scene_among_others();
    struct client *client = add(&scene, connected(scene.house, 'p', true));
    SAY(client, "\x82\x06\0\x01\0\x01w\0");
    EXPECT(client, "\x90\x03\0\x01\0");
    assert_non_null(serve_one(&scene));
    OTHER_SAYS("\x10\x13\0\x04MQTT\x04\x06\0\0\0\x01s\0\x01w\0\x01!"); /* with a will */
    commit(scene.house);
    EXPECT_SAID("\x20\x02\0\0");
    void *owner = mesh.channel.owner;
    mesh.channel.owner = NULL;
    mesh.channel.events->closed(owner, ERR_UNAVAILABLE);
    commit(scene.house);
    EXPECT(client, "\x30\x04\0\x01w!");
    assert_int_equal(map_count(shard_of_scene(&scene)->sessions), 1);
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
        cmocka_unit_test(a_client_whose_session_is_led_elsewhere_is_served_there),
        cmocka_unit_test(a_client_that_goes_is_gone_there_too),
        cmocka_unit_test(who_is_let_go_there_is_let_go_here),
        cmocka_unit_test(where_nobody_is_known_to_lead_it_is_unavailable),
        cmocka_unit_test(a_client_of_another_node_is_served_as_one_of_ours),
        cmocka_unit_test(a_client_that_comes_to_the_wrong_node_is_refused_there),
        cmocka_unit_test(what_its_node_cannot_take_waits_here),
        cmocka_unit_test(a_served_client_whose_link_breaks_was_lost),
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
