#include "core/session/inbound.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* [MQTT-4.3.3-10] */
static void a_repeat_is_known_until_it_is_released(void **state)
{
    struct inbound inbound = {0};
    (void)state;
    assert_false(inbound_has(&inbound, 7));
    assert_int_equal(inbound_add(&inbound, 7), OK);
    assert_int_equal(inbound_add(&inbound, 7), ERR_EXISTS);
    assert_int_equal(inbound.count, 1);
    assert_true(inbound_has(&inbound, 7));
    assert_false(inbound_remove(&inbound, 8));
    assert_true(inbound_remove(&inbound, 7));
    assert_false(inbound_remove(&inbound, 7));
    assert_int_equal(inbound_add(&inbound, 7), OK); /* a new message with the old id */
    inbound_deinit(&inbound);
    assert_int_equal(inbound.count, 0);
}

static void every_packet_id_finds_room_in_any_order(void **state)
{
    struct inbound inbound = {0};
    (void)state;
    for (uint32_t i = 0; i < 65535; i++) {
        /* 7919 and 65535 have no common factor: every id once */
        assert_int_equal(inbound_add(&inbound, (uint16_t)(1 + i * 7919 % 65535)), OK);
    }
    assert_int_equal(inbound.count, 65535);
    assert_false(inbound_has(&inbound, 0));
    for (uint32_t i = 0; i < 65535; i++) {
        assert_int_equal(inbound.ids[i], i + 1); /* sorted */
    }
    for (uint32_t id = 1; id <= 65535; id += 2) {
        assert_true(inbound_remove(&inbound, (uint16_t)id));
    }
    for (uint32_t id = 1; id <= 65535; id++) {
        assert_int_equal(inbound_has(&inbound, (uint16_t)id), id % 2 == 0);
    }
    inbound_deinit(&inbound);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_repeat_is_known_until_it_is_released),
        cmocka_unit_test(every_packet_id_finds_room_in_any_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
