/*
 * A partition goes, and comes again, while its shard runs: what leaves with it, what is told, and what
 * is found again. A shard on a journal that says what the test says; the disk is what the test tells.
 */
#include "core/broker/outbox.h"
#include "core/broker/partition.h"
#include "core/broker/restore.h"
#include "tests/lib/held_journal.h"

#define CONNECT_S   "\x10\x0d\0\x04MQTT\x04\0\0\0\0\x01s"
#define CONNECT_S_5 "\x10\x13\0\x04MQTT\x05\0\0\0\x05\x11\0\0\0\x64\0\x01s"
#define CONNECT_W_5 "\x10\x13\0\x04MQTT\x05\x02\0\0\x05\x11\0\0\0\x64\0\x01w"
#define GROUP       "g/t"

static uint32_t count_of(enum op_kind kind)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < held.op_count; i++) {
        count += held.ops[i] == kind;
    }
    return count;
}

static struct shard *shard_of_scene(const struct scene *scene)
{
    return house_shard(scene->house, 0);
}

static uint32_t partition_of_text(const char *text)
{
    return partition_of(slice_text(text));
}

/* As the journal does: who waits first. */
static void lose(struct scene *scene, const char *key)
{
    tell_all(ERR_UNAVAILABLE);
    uint32_t before = held.op_count;
    partition_end(shard_of_scene(scene), partition_of_text(key));
    turns(scene->house);
    assert_int_equal(held.op_count, before); /* nothing is logged */
}

static void come(struct scene *scene, const char *key, void (*disk)(struct restore *restore),
                 uint32_t will_grace_ms)
{
    struct shard *shard = shard_of_scene(scene);
    uint64_t bit = UINT64_C(1) << partition_of_text(key);
    struct restore *restore = restore_begin(shard, bit, will_grace_ms);
    assert_non_null(restore);
    if (disk != NULL) {
        disk(restore);
    }
    turns(scene->house); /* it may take its time */
    assert_false(partition_is_led(shard, partition_of_text(key)));
    assert_int_equal(restore_end(restore, OK), OK);
    turns(scene->house);
    assert_true(partition_is_led(shard, partition_of_text(key)));
}

static struct client *connected_5(struct scene *scene, const char *connect, size_t count)
{
    struct client *client = add(scene, client_new(scene->house));
    say(client, connect, count);
    commit(scene->house);
    assert_true(client->heard_count > 4 && client->heard[0] == 0x20 && client->heard[3] == 0);
    client->heard_count = 0;
    return client;
}

#define CONNECTED_5(scene, text) connected_5((scene), text, sizeof(text) - 1)

static void subscribe(struct client *client)
{
    SAY(client, "\x82\x06\0\x01\0\x01t\x02");
    commit(client->house);
    EXPECT(client, "\x90\x03\0\x01\x02");
}

/* Session s, which was connected to the last and has a will; it has subscribed to t. */
static void s_on_disk(struct restore *restore)
{
    struct restored_session session = {.key = 700 * SHARD_COUNT_MAX,
                                       .open = {.client_id = slice_text("s"), .expiry_s = 100}};
    session.open.will = (struct op_will){
        .message = {.topic = slice_text("w"), .payload = slice_text("!")}};
    assert_int_equal(restore_session(restore, &session), OK);
    struct op_subscribe wanted = {.text = slice_text("t"), .filter = slice_text("t"), .qos = 2};
    assert_int_equal(restore_subscription(restore, &wanted), OK);
}

static void member_on_disk(struct restore *restore)
{
    struct restored_session session = {.key = 701 * SHARD_COUNT_MAX,
                                       .open = {.client_id = slice_text("s"), .expiry_s = 100}};
    assert_int_equal(restore_session(restore, &session), OK);
    struct op_subscribe wanted = {.text = slice_text("$share/g/t"),
                                  .share_name = slice_text("g"),
                                  .filter = slice_text("t"),
                                  .qos = 1};
    assert_int_equal(restore_subscription(restore, &wanted), OK);
}

static void retained_on_disk(struct restore *restore)
{
    struct msg_spec message = {
        .retain = true, .topic = slice_text("t"), .payload = slice_text("x")};
    assert_int_equal(restore_retained(restore, &message), OK);
}

/* ---- it goes -------------------------------------------------------------------------------- */

static void who_lived_there_is_told_to_come_again_and_finds_nobody(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *client = CONNECTED_5(&scene, CONNECT_S_5);
    lose(&scene, "s");
    EXPECT(client, "\xe0\x01\x89"); /* Server busy */
    assert_true(link_is_closed(client->link));
    assert_int_equal(map_count(shard_of_scene(&scene)->sessions), 0);
    assert_false(was_logged(OP_CLOSE));
    struct client *again = add(&scene, client_new(scene.house));
    SAY(again, CONNECT_S);
    EXPECT(again, "\x20\x02\0\x03"); /* Server unavailable */
    scene_free(&scene);
}

static void who_waits_for_its_connack_is_refused(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *client = add(&scene, client_new(scene.house));
    SAY(client, CONNECT_S);
    EXPECT_NOTHING(client);
    lose(&scene, "s");
    EXPECT(client, "\x20\x02\0\x03");
    assert_int_equal(map_count(shard_of_scene(&scene)->sessions), 0);
    scene_free(&scene);
}

static void whoever_might_be_missed_is_not_passed_over(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *reader = add(&scene, connected(scene.house, 's', false));
    subscribe(reader);
    struct client *writer = CONNECTED_5(&scene, CONNECT_W_5);
    lose(&scene, "s");
    SAY(writer, "\x32\x07\0\x01t\0\x07\0x");
    EXPECT(writer, "\x40\x03\0\x07\x83");
    SAY(writer, "\xc0\0"); /* the connection goes on */
    EXPECT(writer, "\xd0\0");
    come(&scene, "s", s_on_disk, 0);
    SAY(writer, "\x32\x07\0\x01t\0\x08\0y");
    commit(scene.house);
    EXPECT(writer, "\x40\x02\0\x08");
    assert_int_equal(count_of(OP_ENQUEUE), 1);
    scene_free(&scene);
}

static void what_is_loaded_half_goes_as_well(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct shard *shard = shard_of_scene(&scene);
    lose(&scene, "s");
    struct restore *restore = restore_begin(shard, UINT64_C(1) << partition_of_text("s"), 0);
    s_on_disk(restore);
    struct stored_item item = {.sequence = 1, .message = {.topic = slice_text("t")}, .qos = 1};
    assert_int_equal(restore_item(restore, &item), OK);
    assert_int_equal(restore_end(restore, ERR_UNAVAILABLE), ERR_UNAVAILABLE);
    lose(&scene, "s");
    assert_int_equal(map_count(shard->sessions), 0);
    come(&scene, "s", s_on_disk, 0);
    assert_int_equal(map_count(shard->sessions), 1);
    scene_free(&scene);
}

/* ---- wills ---------------------------------------------------------------------------------- */

static struct scene come_with_a_will(uint32_t grace_ms)
{
    struct scene scene = scene_new();
    lose(&scene, "s");
    come(&scene, "s", s_on_disk, grace_ms);
    return scene;
}

static void pass(struct scene *scene, uint64_t ms)
{
    door_wait(shard_of_scene(scene)->io, ms * UINT64_C(1000000));
    turns(scene->house);
}

static void a_will_waits_for_who_lost_the_leader(void **state)
{
    (void)state;
    struct scene scene = come_with_a_will(4000);
    pass(&scene, 3900);
    assert_false(was_logged(OP_SEND));
    struct client *client = add(&scene, client_new(scene.house));
    SAY(client, CONNECT_S);
    commit(scene.house);
    EXPECT(client, "\x20\x02\x01\0");
    pass(&scene, 5000);
    assert_false(was_logged(OP_SEND));
    scene_free(&scene);
}

static void a_will_is_published_when_nobody_comes(void **state)
{
    (void)state;
    struct scene scene = come_with_a_will(4000);
    pass(&scene, 4100);
    assert_int_equal(count_of(OP_SEND), 1);
    scene_free(&scene);
    scene = come_with_a_will(0);
    pass(&scene, 10);
    assert_int_equal(count_of(OP_SEND), 1);
    scene_free(&scene);
}

/* ---- what is on its way --------------------------------------------------------------------- */

static void what_did_not_reach_it_is_sent_again_by_the_outbox_and_to_nobody_twice(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *writer = add(&scene, connected(scene.house, 'p', false));
    struct client *reader = add(&scene, connected(scene.house, 's', false));
    struct client *other = add(&scene, connected(scene.house, 'o', false));
    subscribe(reader);
    subscribe(other);
    SAY(writer, "\x34\x06\0\x01t\0\x07x");
    tell_all(OK);
    turns(scene.house);
    EXPECT(writer, "\x50\x02\0\x07");
    assert_int_equal(count_of(OP_ENQUEUE), 2); /* on their way to the disk */
    lose(&scene, "s");
    SAY(writer, "\x62\x02\0\x07\x34\x06\0\x01t\0\x08y"); /* it stands behind the first one */
    commit(scene.house);
    assert_int_equal(count_of(OP_SENT), 0);
    assert_int_equal(count_of(OP_ENQUEUE), 2);
    come(&scene, "s", s_on_disk, 4000);
    commit(scene.house);
    assert_int_equal(count_of(OP_ENQUEUE), 2 + 1 + 2); /* x for s alone, y for both */
    assert_int_equal(count_of(OP_SENT), 2);
    scene_free(&scene);
}

static void an_outbox_goes_with_its_partition(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *writer = add(&scene, connected(scene.house, 'p', false));
    struct client *reader = add(&scene, connected(scene.house, 's', false));
    subscribe(reader);
    SAY(writer, "\x34\x06\0\x01t\0\x07x");
    lose(&scene, "p"); /* not committed, so not routed */
    come(&scene, "p", NULL, 0);
    commit(scene.house);
    EXPECT_NOTHING(reader);
    assert_int_equal(count_of(OP_ENQUEUE), 0);
    assert_int_equal(writer->heard_count, 0); /* neither PUBREC nor a refusal: it may be there */
    scene_free(&scene);
}

/* ---- groups, and what is retained ----------------------------------------------------------- */

static void publish_to_group(struct scene *scene)
{
    struct client *writer = add(scene, connected(scene->house, 'w', true));
    SAY(writer, "\x32\x06\0\x01t\0\x07x");
    commit(scene->house);
    EXPECT(writer, "\x40\x02\0\x07");
    assert_int_equal(count_of(OP_ENQUEUE), 1);
}

static void a_group_finds_its_members_when_its_partition_comes(void **state)
{
    (void)state;
    held_disk = member_on_disk;
    struct scene scene = scene_new();
    held_disk = NULL;
    assert_int_not_equal(partition_of_text(GROUP), partition_of_text("s"));
    lose(&scene, GROUP);
    come(&scene, GROUP, NULL, 0);
    publish_to_group(&scene);
    scene_free(&scene);
}

static void a_member_finds_its_group_when_its_own_partition_comes(void **state)
{
    (void)state;
    held_disk = member_on_disk;
    struct scene scene = scene_new();
    held_disk = NULL;
    lose(&scene, "s");
    come(&scene, "s", member_on_disk, 0);
    publish_to_group(&scene);
    scene_free(&scene);
}

static void nobody_joins_a_group_that_is_not_here(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *client = add(&scene, connected(scene.house, 's', false));
    lose(&scene, GROUP);
    SAY(client, "\x82\x0f\0\x01\0\x0a$share/g/t\x01");
    commit(scene.house);
    EXPECT(client, "\x90\x03\0\x01\x80");
    assert_false(was_logged(OP_SUBSCRIBE));
    scene_free(&scene);
}

static void what_is_retained_is_that_of_the_disk_again(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *writer = add(&scene, connected(scene.house, 'w', true));
    SAY(writer, "\x31\x04\0\x01ty"); /* it is not committed */
    lose(&scene, "t");
    assert_int_equal(retain_count(shard_of_scene(&scene)->retain), 0);
    SAY(writer, "\x31\x04\0\x01tz");
    come(&scene, "t", retained_on_disk, 0);
    struct client *reader = add(&scene, connected(scene.house, 'r', true));
    SAY(reader, "\x82\x06\0\x01\0\x01t\x00");
    EXPECT(reader, "\x90\x03\0\x01\0\x31\x04\0\x01tx");
    scene_free(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_lived_there_is_told_to_come_again_and_finds_nobody),
        cmocka_unit_test(who_waits_for_its_connack_is_refused),
        cmocka_unit_test(whoever_might_be_missed_is_not_passed_over),
        cmocka_unit_test(what_is_loaded_half_goes_as_well),
        cmocka_unit_test(a_will_waits_for_who_lost_the_leader),
        cmocka_unit_test(a_will_is_published_when_nobody_comes),
        cmocka_unit_test(what_did_not_reach_it_is_sent_again_by_the_outbox_and_to_nobody_twice),
        cmocka_unit_test(an_outbox_goes_with_its_partition),
        cmocka_unit_test(a_group_finds_its_members_when_its_partition_comes),
        cmocka_unit_test(a_member_finds_its_group_when_its_own_partition_comes),
        cmocka_unit_test(nobody_joins_a_group_that_is_not_here),
        cmocka_unit_test(what_is_retained_is_that_of_the_disk_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
