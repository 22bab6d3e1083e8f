#include "cluster/registry_json.h"
#include "core/base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Two nodes; partition 0 on both, led by 2; of the others nothing is known but of 1. */
static struct registry_state *house(void)
{
    struct registry_state *registry = registry_new();
    *registry = (struct registry_state){.index = 9,
                                        .hash = 0xAB,
                                        .cluster_id = {0x01, 0xFF},
                                        .cluster_name = "house",
                                        .wall_ms = 5000,
                                        .level = 1,
                                        .node_next = 3,
                                        .map_version = 4,
                                        .epoch_next = 8};
    registry->partition_count = REGISTRY_PARTITIONS;
    for (uint32_t p = 0; p < REGISTRY_PARTITIONS; p++) {
        registry->partitions[p] = (struct registry_partition){1, {1}, 1, 1};
    }
    registry->partitions[0] = (struct registry_partition){4, {1, 2}, 2, 2};
    registry->member_count = 2;
    for (uint32_t i = 0; i < 2; i++) {
        struct registry_member *member = &registry->members[i];
        *member = (struct registry_member){
            .number = i + 1, .incarnation = 3, .since_ms = 4000, .state = MEMBER_ACTIVE};
        snprintf(member->profile.name, sizeof member->profile.name, "n%u", i + 1);
        member->profile.weight = 1;
        member->profile.level_min = 1;
        member->profile.level_max = 2;
    }
    registry->members[1].profile.zone[0] = 'z';
    registry->members[1].profile.fingerprint[31] = 0xCD;
    registry->members[1].profile.links[0] = (struct registry_place){"", "fe80::1", 7000};
    registry->members[1].profile.clients[0] = (struct registry_place){"mqtts", "h.example", 8883};
    registry->members[1].profile.link_count = registry->members[1].profile.client_count = 1;
    registry->setting_count = 1;
    registry->settings[0] = (struct registry_setting){"replicas", "3"};
    registry->token_count = 1;
    registry->tokens[0] = (struct registry_token){{0xDE, 0xAD, 0xBE, 0xEF, 0x11}, 7000, 2};
    return registry;
}

static struct placement_report reports[REGISTRY_PARTITIONS];
static struct lease_own own;
static struct registry_view view;

static int begin(void **state)
{
    (void)state;
    memset(reports, 0, sizeof reports);
    reports[0] = (struct placement_report){true, 2, {2, 1}, 2};
    reports[1] = (struct placement_report){true, 1, {1, 2}, 2};
    own = (struct lease_own){.incarnation = 3, .until_ms = 1500};
    view = (struct registry_view){
        .number = 2, .meta_leader = 1, .now_ms = 1000, .own = &own, .reports = reports};
    return 0;
}

static struct buf text;
static struct json_writer writer;

static struct json_writer *out(void)
{
    buf_deinit(&text);
    writer = json_writer(&text, 1 << 20);
    return &writer;
}

static void assert_text(const char *expected)
{
    assert_int_equal(json_writer_end(&writer), OK);
    assert_int_equal(buf_append(&text, slice_of("", 1)), OK);
    assert_string_equal((const char *)buf_bytes(&text).data, expected);
    buf_deinit(&text);
}

/* Programs read these names: they never change. */
static void the_fields_have_the_names_that_the_header_gives(void **state)
{
    struct registry_state *registry = house();
    (void)state;
    registry_json_cluster(out(), NULL, registry);
    assert_text("{\"id\":\"01ff0000000000000000000000000000\",\"name\":\"house\",\"level\":1,"
                "\"level_possible\":2,\"map_version\":4,\"index\":9,\"hash\":\"00000000000000ab\","
                "\"time_ms\":5000,\"members\":2,\"active\":2,\"services\":0}");
    registry_json_node(out(), NULL, registry, &view);
    assert_text("{\"number\":2,\"name\":\"n2\",\"incarnation\":3,\"state\":\"active\","
                "\"is_live\":true,\"lease_left_ms\":500,\"meta_leader\":1,\"leads\":1,\"holds\":1,"
                "\"unknown\":62}");
    registry_json_settings(out(), NULL, registry);
    assert_text("{\"replicas\":\"3\"}");
    registry_json_tokens(out(), NULL, registry);
    assert_text("[{\"id\":\"deadbeef\",\"uses_left\":2,\"expires_ms\":7000}]");
    registry->member_count = 1; /* the other one by itself */
    registry->members[0] = registry->members[1];
    registry_json_members(out(), NULL, registry, &view);
    assert_text("[{\"number\":2,\"name\":\"n2\",\"state\":\"active\",\"draining\":false,"
                "\"incarnation\":3,\"since_ms\":4000,\"zone\":\"z\",\"weight\":1,\"level_min\":1,"
                "\"level_max\":2,\"lease\":null,\"holds\":1,\"leads\":1,"
                "\"links\":[{\"host\":\"fe80::1\",\"port\":7000,\"url\":\"[fe80::1]:7000\"}],"
                "\"clients\":[{\"scheme\":\"mqtts\",\"host\":\"h.example\",\"port\":8883,"
                "\"url\":\"mqtts://h.example:8883\"}],\"fingerprint\":"
                "\"00000000000000000000000000000000000000000000000000000000000000cd\"}]");
    registry_free(registry);
}

static void a_partition_is_shown_as_it_is_to_be_and_as_it_is(void **state)
{
    struct registry_state *registry = house();
    (void)state;
    registry->partition_count = 3;
    registry_json_partitions(out(), NULL, registry, &view);
    assert_text("[{\"partition\":0,\"replicas\":[1,2],\"preferred\":2,\"version\":4,\"leader\":2,"
                "\"members\":[2,1],\"settled\":true},"
                "{\"partition\":1,\"replicas\":[1],\"preferred\":1,\"version\":1,\"leader\":1,"
                "\"members\":[1,2],\"settled\":false},"
                "{\"partition\":2,\"replicas\":[1],\"preferred\":1,\"version\":1,\"leader\":null,"
                "\"members\":null,\"settled\":false}]");
    registry_free(registry);
}

static void services_are_shown_a_page_at_a_time(void **state)
{
    struct registry_state *registry = house();
    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        struct registry_service service = {.alias = "db",
                                           .place = {"https", "10.0.0.1", 443},
                                           .weight = 1,
                                           .load = 7,
                                           .ttl_ms = 30,
                                           .until_ms = 5000 + i,
                                           .epoch = 1 + i};
        snprintf(service.id, sizeof service.id, "i%u", i);
        memcpy(service.alias, i == 2 ? "uaa" : "db", 3);
        assert_int_equal(registry_service_load(registry, &service), OK);
    }
    registry_json_services(out(), NULL, registry, slice_text("db"), 0, 1);
    assert_text("[{\"alias\":\"db\",\"id\":\"i0\",\"address\":\"10.0.0.1\",\"port\":443,"
                "\"scheme\":\"https\",\"url\":\"https://10.0.0.1:443\",\"zone\":\"\",\"weight\":1,"
                "\"health\":\"up\",\"load\":7,\"ttl_ms\":30,\"until_ms\":5000,\"expired\":true,"
                "\"epoch\":1}]");
    for (uint32_t first = 0; first < 4; first++) {
        struct json *read;
        registry_json_services(out(), NULL, registry, (struct slice){0}, first, 2);
        assert_int_equal(json_writer_end(&writer), OK);
        struct json_limits limits = {1 << 20, 8};
        assert_int_equal(json_read(buf_bytes(&text), &limits, &read, NULL), OK);
        assert_int_equal(json_count(read), first < 2 ? 2 : 3 - first);
        json_free(read);
    }
    registry_json_services(out(), NULL, registry, slice_text("none"), 0, 9);
    assert_text("[]");
    const struct registry_service *found[1] = {registry->services[2]};
    registry_json_found(out(), NULL, registry, found, 1);
    assert_int_equal(json_writer_end(&writer), OK);
    registry_free(registry);
}

static void who_is_told_where_to_connect_is_told_why(void **state)
{
    struct registry_state *registry = house();
    struct lookup_node node = {.member = &registry->members[1],
                               .place = &registry->members[1].profile.clients[0],
                               .partition = 5,
                               .why = LOOKUP_PREFERRED};
    (void)state;
    registry_json_client(out(), NULL, &node);
    assert_text("{\"node\":2,\"name\":\"n2\",\"url\":\"mqtts://h.example:8883\","
                "\"host\":\"h.example\",\"port\":8883,\"scheme\":\"mqtts\",\"partition\":5,"
                "\"why\":\"preferred\"}");
    registry_free(registry);
}

static const struct json *status_of(const struct registry_state *registry, struct json **read)
{
    struct json_limits limits = {1 << 20, 8};
    registry_json_status(out(), NULL, registry, &view);
    assert_int_equal(json_writer_end(&writer), OK);
    assert_int_equal(json_read(buf_bytes(&text), &limits, read, NULL), OK);
    buf_deinit(&text);
    return *read;
}

static bool warns(const struct json *status, const char *of)
{
    const struct json *warnings = json_member(status, "warnings");
    for (size_t i = 0; i < json_count(warnings); i++) {
        struct slice words;
        assert_int_equal(json_get_text(json_item(warnings, i), &words), OK);
        char line[PLACEMENT_WARNING_BYTES] = {0};
        memcpy(line, words.data, words.count);
        if (strstr(line, of) != NULL) {
            return true;
        }
    }
    return false;
}

static void a_status_warns_of_what_is_wrong(void **state)
{
    struct registry_state *registry = house();
    struct json *read;
    (void)state;
    registry->members[0].was_live = registry->members[1].was_live = true;
    status_of(registry, &read);
    assert_int_equal(json_count(read), 6);
    assert_int_equal(json_count(json_member(read, "partitions")), 64);
    assert_true(warns(read, "two nodes"));
    assert_true(warns(read, "62 partitions"));
    assert_false(warns(read, "no lease"));
    json_free(read);
    registry->settings[0].value[0] = '1';
    view.now_ms = 1500;
    for (uint32_t p = 0; p < REGISTRY_PARTITIONS; p++) {
        reports[p].is_known = true;
        reports[p].leader = 1;
    }
    status_of(registry, &read);
    assert_int_equal(json_count(json_member(read, "warnings")), 1);
    assert_true(warns(read, "no lease"));
    json_free(read);
    registry_free(registry);
}

static void leases_are_shown_where_they_are_known(void **state)
{
    static const char *const words[3] = {"live", "suspect", "gone"};
    static const uint64_t at_ms[3] = {1100, 2000, 5000};
    struct registry_state *registry = house();
    struct lease_table table;
    struct lease_config config = lease_config();
    (void)state;
    lease_begin(&table, &config, 1000);
    lease_add(&table, 1, 3, 1000);
    view.leases = &table; /* of node 2, which leads */
    for (int i = 0; i < 3; i++) {
        struct json *read;
        struct slice lease;
        view.now_ms = at_ms[i];
        const struct json *members = json_member(status_of(registry, &read), "members");
        json_get_text(json_member(json_item(members, 0), "lease"), &lease);
        assert_true(slice_is(lease, words[i]));
        json_get_text(json_member(json_item(members, 1), "lease"), &lease);
        assert_true(slice_is(lease, "live"));
        json_free(read);
    }
    registry_free(registry);
}

static void before_there_is_a_cluster_a_status_says_so_and_warns_of_nothing(void **state)
{
    struct registry_state *registry = registry_new();
    struct json *read;
    uint64_t level;
    (void)state;
    view.number = 0;
    own.until_ms = 0;
    status_of(registry, &read);
    assert_int_equal(json_get_u64(json_member(json_member(read, "cluster"), "level"), &level), OK);
    assert_int_equal(level, 0);
    assert_int_equal(json_count(json_member(read, "warnings")), 0);
    json_free(read);
    registry_free(registry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_fields_have_the_names_that_the_header_gives, begin),
        cmocka_unit_test_setup(a_partition_is_shown_as_it_is_to_be_and_as_it_is, begin),
        cmocka_unit_test_setup(services_are_shown_a_page_at_a_time, begin),
        cmocka_unit_test_setup(who_is_told_where_to_connect_is_told_why, begin),
        cmocka_unit_test_setup(a_status_warns_of_what_is_wrong, begin),
        cmocka_unit_test_setup(leases_are_shown_where_they_are_known, begin),
        cmocka_unit_test_setup(before_there_is_a_cluster_a_status_says_so_and_warns_of_nothing,
                               begin),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    buf_deinit(&text);
    return failed;
}
