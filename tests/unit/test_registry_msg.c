#include "cluster/registry_msg.h"
#include "tests/lib/registry_draft.h"

#include "proto/registry.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

/* Random commands, written by us and read by us and by protobuf-c, which knows registry.proto. */
enum { ROUNDS = 3000 };

static struct buf encoded(const struct registry_command *command)
{
    struct buf bytes = {0};
    assert_int_equal(registry_command_encode(command, &bytes), OK);
    return bytes;
}

/* protobuf-c reads the same numbers of fields, and writes the same bytes. */
static void assert_known_to_protobuf(struct slice bytes)
{
    Tern__Registry__Command *read = tern__registry__command__unpack(NULL, bytes.count, bytes.data);
    uint8_t written[16384];
    assert_non_null(read);
    assert_int_equal(read->base.n_unknown_fields, 0);
    size_t count = tern__registry__command__pack(read, written);
    assert_int_equal(count, bytes.count);
    assert_memory_equal(written, bytes.data, count);
    tern__registry__command__free_unpacked(read, NULL);
}

/* A state that some random commands have made. */
static struct registry_state *walked(uint64_t seed, uint32_t steps)
{
    struct registry_state *state = registry_new();
    struct rng rng;
    rng_init(&rng, seed);
    for (uint32_t i = 0; i < steps; i++) {
        struct registry_command command;
        struct registry_result result;
        draft_command(&rng, state,
                      (enum registry_command_kind)(1 + rng_below(&rng, REGISTRY_COMMAND_END - 1)),
                      &command);
        assert_int_equal(registry_apply(state, state->index + 1, &command, &result), OK);
    }
    return state;
}

static void every_command_is_read_as_it_was_written(void **state)
{
    struct registry_state *registry = walked(1, 500);
    struct rng rng;
    (void)state;
    rng_init(&rng, 2);
    for (int i = 0; i < ROUNDS; i++) {
        struct registry_command command, again;
        draft_command(&rng, registry,
                      (enum registry_command_kind)(1 + i % (REGISTRY_COMMAND_END - 1)), &command);
        struct buf bytes = encoded(&command);
        assert_int_equal(registry_command_decode(buf_bytes(&bytes), &again), OK);
        assert_memory_equal(&command, &again, sizeof command);
        assert_known_to_protobuf(buf_bytes(&bytes));
        buf_deinit(&bytes);
    }
    registry_free(registry);
}

static void protobuf_finds_each_field_under_its_name(void **state)
{
    struct registry_command command = {.kind = REGISTRY_SERVICE_PUT, .wall_ms = 12};
    struct registry_service *service = &command.service;
    (void)state;
    *service = (struct registry_service){.alias = "uaa",
                                         .id = "a",
                                         .place = {"https", "10.1.2.3", 8443},
                                         .zone = "z",
                                         .weight = 1,
                                         .health = SERVICE_DRAINING,
                                         .load = 3,
                                         .ttl_ms = 4,
                                         .until_ms = 5,
                                         .epoch = 6};
    struct buf bytes = encoded(&command);
    Tern__Registry__Command *read = tern__registry__command__unpack(NULL, buf_count(&bytes),
                                                                    buf_bytes(&bytes).data);
    assert_int_equal(read->kind_case, TERN__REGISTRY__COMMAND__KIND_SERVICE_PUT);
    assert_int_equal(read->wall_ms, 12);
    assert_string_equal(read->service_put->alias, "uaa");
    assert_string_equal(read->service_put->id, "a");
    assert_string_equal(read->service_put->place->scheme, "https");
    assert_string_equal(read->service_put->place->host, "10.1.2.3");
    assert_int_equal(read->service_put->place->port, 8443);
    assert_string_equal(read->service_put->zone, "z");
    assert_int_equal(read->service_put->weight, 1);
    assert_int_equal(read->service_put->health, 1);
    assert_int_equal(read->service_put->load, 3);
    assert_int_equal(read->service_put->ttl_ms, 4);
    assert_int_equal(read->service_put->until_ms, 5);
    assert_int_equal(read->service_put->epoch, 6);
    tern__registry__command__free_unpacked(read, NULL);
    buf_deinit(&bytes);
}

static void what_is_cut_short_is_refused(void **state)
{
    struct registry_command command = {.kind = REGISTRY_ASSIGN, .wall_ms = 7}, again;
    (void)state;
    command.assign = (struct registry_assign){
        .version = 1, .rows = {{3, {1, 2, 300}, 3, 2}}, .count = 1};
    struct buf bytes = encoded(&command);
    for (size_t count = 0; count < buf_count(&bytes); count++) {
        assert_int_equal(registry_command_decode(slice_head(buf_bytes(&bytes), count), &again),
                         ERR_CORRUPT);
    }
    buf_deinit(&bytes);
}

static void what_a_newer_version_says_stops_the_reader(void **state)
{
    static const uint8_t kind[] = {0x08, 7, 0xAA, 0x01, 0};     /* field 21: no such command yet */
    static const uint8_t field[] = {0x42, 4, 0x08, 1, 0x18, 1}; /* GONE with a field 3 */
    static const uint8_t state_field[] = {0x78, 1};             /* a snapshot with a field 15 */
    struct registry_command command = {.kind = REGISTRY_LIVE};
    struct registry_state *registry = NULL;
    (void)state;
    assert_int_equal(registry_command_decode(slice_of(kind, sizeof kind), &command),
                     ERR_UNSUPPORTED);
    assert_int_equal(registry_command_decode(slice_of(field, sizeof field), &command),
                     ERR_UNSUPPORTED);
    assert_int_equal(command.kind, REGISTRY_LIVE); /* untouched */
    assert_int_equal(registry_snapshot_decode(slice_of(state_field, sizeof state_field), &registry),
                     ERR_UNSUPPORTED);
    assert_null(registry);
}

static void what_is_too_long_is_refused(void **state)
{
    uint8_t bytes[4 + 64] = {0x7A, 2 + 64, 0x0A, 64}; /* SET with a key of 64 letters */
    struct registry_command command;
    (void)state;
    memset(bytes + 4, 'a', 64);
    assert_int_equal(registry_command_decode(slice_of(bytes, 4 + 64), &command), ERR_CORRUPT);
    bytes[1]--;
    bytes[3]--;
    assert_int_equal(registry_command_decode(slice_of(bytes, 4 + 63), &command), OK);
    assert_int_equal(strlen(command.setting.key), 63);
    bytes[10] = 0;
    assert_int_equal(registry_command_decode(slice_of(bytes, 4 + 63), &command), ERR_CORRUPT);
}

/* A struct is as long as its longest text: everything at its bound is written and read. */
static void a_node_that_says_as_much_as_it_may_is_read(void **state)
{
    struct registry_command command = {.kind = REGISTRY_START}, again;
    struct registry_profile *profile = &command.start.profile;
    (void)state;
    memset(profile->name, 'n', REGISTRY_NAME_BYTES - 1);
    memset(profile->zone, 'z', REGISTRY_NAME_BYTES - 1);
    memset(profile->fingerprint, 0xFF, REGISTRY_HASH_BYTES);
    profile->weight = profile->level_min = profile->level_max = UINT32_MAX;
    profile->link_count = REGISTRY_LINKS_MAX;
    profile->client_count = REGISTRY_CLIENTS_MAX;
    for (uint32_t i = 0; i < REGISTRY_CLIENTS_MAX; i++) {
        struct registry_place *place = &profile->clients[i];
        memset(place->scheme, 's', REGISTRY_SCHEME_BYTES - 1);
        memset(place->host, 'h', REGISTRY_HOST_BYTES - 1);
        place->port = UINT16_MAX;
        profile->links[i % REGISTRY_LINKS_MAX] = *place;
    }
    struct buf bytes = encoded(&command);
    assert_int_equal(registry_command_decode(buf_bytes(&bytes), &again), OK);
    assert_memory_equal(&command, &again, sizeof command);
    assert_true(buf_count(&bytes) < REGISTRY_ROW_BYTES_MAX - 64); /* with the numbers of a member */
    assert_known_to_protobuf(buf_bytes(&bytes));
    buf_deinit(&bytes);
}

static void a_snapshot_is_the_state(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct registry_state *registry = walked(seed, 400), *again = NULL;
        struct buf first = {0}, second = {0};
        uint64_t a, b;
        assert_int_equal(registry_snapshot_encode(registry, &first), OK);
        Tern__Registry__Snapshot *read = tern__registry__snapshot__unpack(NULL, buf_count(&first),
                                                                          buf_bytes(&first).data);
        assert_non_null(read);
        assert_int_equal(read->base.n_unknown_fields, 0);
        assert_int_equal(read->n_members, registry->member_count);
        assert_int_equal(read->n_services, registry->service_count);
        assert_true(read->hash == registry->hash);
        tern__registry__snapshot__free_unpacked(read, NULL);
        assert_int_equal(registry_snapshot_decode(buf_bytes(&first), &again), OK);
        assert_true(again->hash == registry->hash);
        assert_int_equal(again->index, registry->index);
        assert_int_equal(registry_digest(registry, &a), OK);
        assert_int_equal(registry_digest(again, &b), OK);
        assert_true(a == b);
        assert_int_equal(registry_snapshot_encode(again, &second), OK);
        assert_true(slice_equal(buf_bytes(&first), buf_bytes(&second)));
        buf_deinit(&first);
        buf_deinit(&second);
        registry_free(registry);
        registry_free(again);
    }
}

static void a_snapshot_whose_rows_contradict_each_other_is_refused(void **state)
{
    (void)state;
    for (int what = 0; what < 5; what++) {
        struct registry_state *registry = walked(3, 400), *again = NULL;
        struct buf bytes = {0};
        assert_true(registry->member_count > 1 && registry->setting_count > 1);
        assert_true(registry->service_count > 1);
        switch (what) {
        case 0: /* who should lead is none of the replicas */
            registry->partitions[5].preferred = 39;
            break;
        case 1: /* a number that was never given */
            registry->members[1].number = registry->node_next;
            break;
        case 2:
            registry->settings[0] = registry->settings[1];
            break;
        case 3:
            *registry->services[1] = *registry->services[0];
            break;
        default:
            registry->partition_count = 63;
        }
        assert_int_equal(registry_snapshot_encode(registry, &bytes), OK);
        assert_int_equal(registry_snapshot_decode(buf_bytes(&bytes), &again), ERR_CORRUPT);
        assert_null(again);
        buf_deinit(&bytes);
        registry_free(registry);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_command_is_read_as_it_was_written),
        cmocka_unit_test(protobuf_finds_each_field_under_its_name),
        cmocka_unit_test(what_is_cut_short_is_refused),
        cmocka_unit_test(what_a_newer_version_says_stops_the_reader),
        cmocka_unit_test(what_is_too_long_is_refused),
        cmocka_unit_test(a_node_that_says_as_much_as_it_may_is_read),
        cmocka_unit_test(a_snapshot_is_the_state),
        cmocka_unit_test(a_snapshot_whose_rows_contradict_each_other_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
