#include "core/access/bans.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { NOW_MS = 1000000 };

static enum err add(struct bans *bans, enum ban_kind kind, const char *value,
                    uint64_t until_wall_ms)
{
    struct ban ban = {.kind = kind,
                      .by = BAN_BY_OPERATOR,
                      .value = slice_text(value),
                      .reason = slice_text("because"),
                      .until_wall_ms = until_wall_ms};
    return bans_add(bans, &ban, NOW_MS, NULL);
}

static bool bans_ip(struct bans *bans, uint8_t a, uint8_t b, uint8_t c, uint8_t d, uint64_t wall_ms)
{
    const uint8_t ip[4] = {a, b, c, d};
    return bans_find_address(bans, ip, 4, wall_ms) != BAN_KIND_COUNT;
}

static enum ban_kind find(struct bans *bans, const char *client_id, const char *user)
{
    return bans_find_client(bans, slice_text(client_id), user != NULL,
                            slice_text(user != NULL ? user : ""), NOW_MS);
}

static void lines_are_read(void **state)
{
    static const struct {
        const char *text, *value;
        enum ban_kind kind;
    } good[] = {
        {"address 203.0.113.7", "203.0.113.7", BAN_ADDRESS},
        {"  address\t2001:db8::1 ", "2001:db8::1", BAN_ADDRESS},
        {"network 198.51.100.0/24", "198.51.100.0/24", BAN_NETWORK},
        {"client meter 17", "meter 17", BAN_CLIENT},
        {"user \" mallory\"", " mallory", BAN_USER},
    };
    static const struct {
        const char *text, *reason;
    } bad[] = {
        {"", "missing or not known"},
        {"mallory", "missing or not known"},
        {"address", "no address"},
        {"address 203.0.113.0/24", "no address"},
        {"address 203.0.113", "no address"},
        {"network 203.0.113.7", "no network"},
        {"network 203.0.113.7/24", "no network"},
        {"client", "no client id"},
        {"user \"\"", "no user name"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct ban ban;
        char why[256];
        assert_int_equal(ban_parse(slice_text(good[i].text), &ban, why), OK);
        assert_int_equal(ban.kind, good[i].kind);
        assert_int_equal(ban.by, BAN_BY_CONFIG);
        assert_true(slice_is(ban.value, good[i].value));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct ban ban;
        char why[256] = "";
        assert_int_equal(ban_parse(slice_text(bad[i].text), &ban, why), ERR_INVALID);
        if (strstr(why, bad[i].reason) == NULL) {
            fail_msg("%s: %s", bad[i].text, why);
        }
    }
}

static void addresses_and_networks_are_found(void **state)
{
    struct bans *bans = bans_new(1);
    const uint8_t mapped[16] = {[10] = 0xff, 0xff, 203, 0, 113, 7};
    const uint8_t ip6[16] = {0x20, 1, 0xd, 0xb8, [15] = 9};
    (void)state;
    assert_false(bans_ip(bans, 203, 0, 113, 7, NOW_MS));
    assert_int_equal(add(bans, BAN_ADDRESS, "203.0.113.7", 0), OK);
    assert_true(bans_ip(bans, 203, 0, 113, 7, NOW_MS));
    assert_false(bans_ip(bans, 203, 0, 113, 8, NOW_MS));
    assert_int_equal(bans_find_address(bans, mapped, 16, NOW_MS), BAN_ADDRESS);
    assert_int_equal(bans_find_address(bans, NULL, 0, NOW_MS), BAN_KIND_COUNT);
    assert_int_equal(add(bans, BAN_NETWORK, "198.51.0.0/16", 0), OK);
    assert_int_equal(add(bans, BAN_NETWORK, "2001:db8::/64", 0), OK);
    assert_true(bans_ip(bans, 198, 51, 7, 7, NOW_MS));
    assert_false(bans_ip(bans, 198, 52, 7, 7, NOW_MS));
    assert_int_equal(bans_find_address(bans, ip6, 16, NOW_MS), BAN_NETWORK);
    assert_int_equal(bans_remove(bans, BAN_NETWORK, slice_text("198.51.0.0/16")), OK);
    assert_false(bans_ip(bans, 198, 51, 7, 7, NOW_MS));
    assert_int_equal(bans_remove(bans, BAN_NETWORK, slice_text("198.51.0.0/16")), ERR_NOT_FOUND);
    assert_int_equal(bans_remove(bans, BAN_NETWORK, slice_text("198.51.0.0")), ERR_INVALID);
    assert_int_equal(add(bans, BAN_NETWORK, "0.0.0.0/0", 0), OK);
    assert_true(bans_ip(bans, 8, 8, 8, 8, NOW_MS));
    assert_int_equal(bans_count(bans), 3);
    bans_free(bans);
    bans_free(NULL);
}

static void clients_and_users_are_found_apart(void **state)
{
    struct bans *bans = bans_new(1);
    (void)state;
    assert_int_equal(add(bans, BAN_CLIENT, "meter", 0), OK);
    assert_int_equal(find(bans, "meter", NULL), BAN_CLIENT);
    assert_int_equal(find(bans, "other", "meter"), BAN_KIND_COUNT);
    assert_int_equal(add(bans, BAN_USER, "mallory", 0), OK);
    assert_int_equal(find(bans, "other", "mallory"), BAN_USER);
    assert_int_equal(find(bans, "mallory", "alice"), BAN_KIND_COUNT);
    assert_int_equal(find(bans, "other", NULL), BAN_KIND_COUNT);
    assert_int_equal(add(bans, BAN_CLIENT, "", 0), ERR_INVALID);
    bans_free(bans);
}

static void a_ban_ends_at_its_time(void **state)
{
    struct bans *bans = bans_new(1);
    (void)state;
    assert_int_equal(add(bans, BAN_ADDRESS, "203.0.113.7", NOW_MS + 1000), OK);
    assert_true(bans_ip(bans, 203, 0, 113, 7, NOW_MS + 999));
    assert_false(bans_ip(bans, 203, 0, 113, 7, NOW_MS + 1000));
    /* Another for the same replaces it: longer now. */
    assert_int_equal(add(bans, BAN_ADDRESS, "203.0.113.7", NOW_MS + 5000), OK);
    assert_true(bans_ip(bans, 203, 0, 113, 7, NOW_MS + 4999));
    assert_int_equal(bans_count(bans), 1);
    bans_free(bans);
}

static void those_of_the_configuration_come_and_go_with_it(void **state)
{
    struct bans *bans = bans_new(1);
    struct ban list[2];
    char why[256];
    (void)state;
    assert_int_equal(ban_parse(slice_text("address 203.0.113.7"), &list[0], why), OK);
    assert_int_equal(ban_parse(slice_text("client x"), &list[1], why), OK);
    assert_int_equal(add(bans, BAN_USER, "mallory", 0), OK);
    assert_int_equal(add(bans, BAN_CLIENT, "x", NOW_MS + 1), OK);
    assert_int_equal(bans_set_config(bans, list, 2, NOW_MS), OK); /* takes the operator's over */
    assert_true(bans_ip(bans, 203, 0, 113, 7, NOW_MS));
    assert_int_equal(bans_remove(bans, BAN_CLIENT, slice_text("x")), ERR_PERMISSION);
    assert_int_equal(add(bans, BAN_CLIENT, "x", NOW_MS + 1), ERR_EXISTS);
    assert_int_equal(bans_set_config(bans, list, 1, NOW_MS), OK);
    assert_int_equal(find(bans, "x", NULL), BAN_KIND_COUNT);
    assert_int_equal(find(bans, "y", "mallory"), BAN_USER);
    assert_true(bans_ip(bans, 203, 0, 113, 7, NOW_MS));
    bans_free(bans);
}

struct shown {
    uint32_t count;
    uint64_t last;
    char texts[8][64];
};

static void show(void *context, const struct ban *ban)
{
    struct shown *shown = context;
    assert_true(ban->id > shown->last);
    shown->last = ban->id;
    snprintf(shown->texts[shown->count++], 64, "%s %.*s by %s: %.*s", ban_kind_name(ban->kind),
             (int)ban->value.count, (const char *)ban->value.data, ban_by_name(ban->by),
             (int)ban->reason.count, (const char *)ban->reason.data);
}

static void the_list_is_shown_in_pages(void **state)
{
    struct bans *bans = bans_new(1);
    struct shown shown = {0};
    (void)state;
    add(bans, BAN_ADDRESS, "203.0.113.7", 0);
    add(bans, BAN_CLIENT, "gone", NOW_MS + 1);
    add(bans, BAN_CLIENT, "a", 0);
    add(bans, BAN_USER, "b", 0);
    assert_int_equal(bans_page(bans, 0, 2, NOW_MS + 1, show, &shown), 2);
    assert_int_equal(bans_page(bans, shown.last, 2, NOW_MS + 1, show, &shown), 1);
    assert_int_equal(bans_page(bans, shown.last, 2, NOW_MS + 1, show, &shown), 0);
    assert_string_equal(shown.texts[0], "address 203.0.113.7 by operator: because");
    assert_string_equal(shown.texts[1], "client a by operator: because");
    assert_string_equal(shown.texts[2], "user b by operator: because");
    bans_free(bans);
}

static void the_list_has_a_bound_and_lets_go_of_what_has_ended(void **state)
{
    struct bans *bans = bans_new(1);
    char name[32], reason[300];
    uint64_t id = 0;
    (void)state;
    for (int i = 0; i < BANS_MAX; i++) {
        snprintf(name, sizeof(name), "c%d", i);
        assert_int_equal(add(bans, BAN_CLIENT, name, i % 2 ? NOW_MS + 1 : 0), OK);
    }
    assert_int_equal(add(bans, BAN_CLIENT, "more", 0), ERR_LIMIT);
    struct ban late = {.kind = BAN_CLIENT, .by = BAN_BY_OPERATOR, .value = slice_text("more")};
    memset(reason, 'x', sizeof(reason));
    memcpy(reason + BAN_REASON_MAX - 1, "\xc3\xa9", 2); /* would be cut in the middle */
    late.reason = slice_of(reason, sizeof(reason));
    assert_int_equal(bans_add(bans, &late, NOW_MS + 1, &id), OK);
    assert_int_equal(bans_count(bans), BANS_MAX / 2 + 1);
    assert_int_equal(bans_remove_id(bans, id), OK);
    assert_int_equal(bans_remove_id(bans, id), ERR_NOT_FOUND);
    assert_int_equal(bans_count(bans), BANS_MAX / 2);
    assert_int_equal(find(bans, "c1", NULL), BAN_KIND_COUNT);
    assert_int_equal(find(bans, "c2", NULL), BAN_CLIENT);
    bans_free(bans);
}

static void *look(void *context)
{
    struct bans *bans = context;
    uint32_t found = 0;
    for (int i = 0; i < 20000; i++) {
        found += bans_ip(bans, 203, 0, 113, 7, NOW_MS);
        found += find(bans, "c", "u") != BAN_KIND_COUNT;
    }
    return (void *)(uintptr_t)found;
}

static void shards_look_while_it_changes(void **state)
{
    struct bans *bans = bans_new(1);
    pthread_t threads[3];
    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, look, bans), 0);
    }
    for (int i = 0; i < 500; i++) {
        assert_int_equal(add(bans, BAN_ADDRESS, "203.0.113.7", 0), OK);
        assert_int_equal(add(bans, BAN_CLIENT, "c", 0), OK);
        assert_int_equal(bans_remove(bans, BAN_ADDRESS, slice_text("203.0.113.7")), OK);
        assert_int_equal(bans_remove(bans, BAN_CLIENT, slice_text("c")), OK);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(bans_count(bans), 0);
    bans_free(bans);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_read),
        cmocka_unit_test(addresses_and_networks_are_found),
        cmocka_unit_test(clients_and_users_are_found_apart),
        cmocka_unit_test(a_ban_ends_at_its_time),
        cmocka_unit_test(those_of_the_configuration_come_and_go_with_it),
        cmocka_unit_test(the_list_is_shown_in_pages),
        cmocka_unit_test(the_list_has_a_bound_and_lets_go_of_what_has_ended),
        cmocka_unit_test(shards_look_while_it_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
