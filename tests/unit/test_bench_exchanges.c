/* bench/exchanges: an answer that belongs to no question is noticed. */
#include "bench/load/exchanges.h"
#include "core/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct exchanges exchanges;

static uint16_t begin(enum mqtt_type type, uint8_t qos)
{
    uint16_t id = 0;
    assert_int_equal(exchanges_begin(&exchanges, type, qos, &id), OK);
    return id;
}

/* The answer is wrong, and nothing has changed. */
static void assert_refused(enum mqtt_type type, uint16_t id)
{
    uint32_t open_count = exchanges.open_count;
    bool is_over = true;
    assert_int_equal(exchanges_answer(&exchanges, type, id, false, &is_over), ERR_ID_UNKNOWN);
    assert_int_equal(exchanges.open_count, open_count);
    assert_true(is_over);
}

static bool answer(enum mqtt_type type, uint16_t id, bool is_failure)
{
    bool is_over;
    assert_int_equal(exchanges_answer(&exchanges, type, id, is_failure, &is_over), OK);
    return is_over;
}

static void each_question_has_its_own_answer_once(void **state)
{
    (void)state;
    assert_int_equal(begin(MQTT_SUBSCRIBE, 0), 1);
    assert_int_equal(begin(MQTT_PUBLISH, 1), 2);
    assert_int_equal(begin(MQTT_PUBLISH, 2), 3);
    assert_refused(MQTT_PUBACK, 1);
    assert_refused(MQTT_PUBACK, 3);
    assert_refused(MQTT_PUBCOMP, 3); /* before PUBREC */
    assert_refused(MQTT_PUBACK, 0);
    assert_refused(MQTT_PUBACK, 4); /* not asked yet */
    assert_refused(MQTT_PUBACK, 65535);
    assert_true(answer(MQTT_PUBACK, 2, false));
    assert_refused(MQTT_PUBACK, 2);
    assert_false(answer(MQTT_PUBREC, 3, false));
    assert_refused(MQTT_PUBREC, 3);
    assert_true(answer(MQTT_PUBCOMP, 3, false));
    assert_refused(MQTT_PUBCOMP, 3);
    assert_int_equal(exchanges.open_count, 1);
    assert_true(answer(MQTT_SUBACK, 1, false));
    assert_refused(MQTT_SUBACK, 1);
    assert_int_equal(exchanges.open_count, 0);
    exchanges_free(&exchanges);
}

static void a_refused_message_is_over(void **state)
{
    (void)state;
    uint16_t id = begin(MQTT_PUBLISH, 2);
    assert_true(answer(MQTT_PUBREC, id, true));
    assert_refused(MQTT_PUBCOMP, id);
    id = begin(MQTT_PUBLISH, 1);
    assert_true(answer(MQTT_PUBACK, id, true));
    exchanges_free(&exchanges);
}

static void an_id_is_not_given_again_while_it_waits(void **state)
{
    uint16_t unset = 0;
    (void)state;
    assert_int_equal(exchanges_room(&exchanges), UINT16_MAX);
    for (uint32_t i = 1; i <= UINT16_MAX; i++) {
        assert_int_equal(begin(MQTT_PUBLISH, 1), i);
    }
    for (uint16_t id = 2; id < 1000; id++) {
        assert_true(answer(MQTT_PUBACK, id, false));
    }
    assert_int_equal(exchanges_begin(&exchanges, MQTT_PUBLISH, 1, &unset), ERR_LIMIT);
    assert_int_equal(unset, 0);
    assert_int_equal(exchanges_room(&exchanges), 0);
    assert_true(answer(MQTT_PUBACK, 1, false));
    assert_int_equal(begin(MQTT_PUBLISH, 1), 1);
    assert_int_equal(begin(MQTT_PUBLISH, 1), 2);
    exchanges_free(&exchanges);
}

/* Many exchanges in any order, several times around 65535, beside a plain list of what is open. */
static void it_agrees_with_a_plain_list(void **state)
{
    enum { STEPS = 400000, OPEN_MAX = 200 };
    static uint8_t waits_for[UINT16_MAX + 1]; /* an enum mqtt_type, or 0 */
    uint16_t open[OPEN_MAX];
    uint32_t open_count = 0;
    struct rng rng;
    (void)state;
    memset(waits_for, 0, sizeof(waits_for));
    rng_init(&rng, 3);
    for (uint32_t step = 0; step < STEPS; step++) {
        if (open_count < OPEN_MAX && rng_below(&rng, 2) == 0) {
            uint8_t qos = (uint8_t)(1 + rng_below(&rng, 2));
            uint16_t id = begin(MQTT_PUBLISH, qos);
            assert_int_equal(waits_for[id], 0);
            waits_for[id] = qos == 1 ? MQTT_PUBACK : MQTT_PUBREC;
            open[open_count++] = id;
        } else if (open_count > 0) {
            uint32_t which = (uint32_t)rng_below(&rng, open_count);
            uint16_t id = open[which], stranger = (uint16_t)(1 + rng_below(&rng, UINT16_MAX));
            enum mqtt_type type = (enum mqtt_type)waits_for[id];
            if (waits_for[stranger] != type) {
                assert_refused(type, stranger);
            }
            bool is_over = answer(type, id, false);
            assert_true(is_over == (type != MQTT_PUBREC));
            waits_for[id] = is_over ? 0 : MQTT_PUBCOMP;
            if (is_over) {
                open[which] = open[--open_count];
            }
        }
        assert_int_equal(exchanges.open_count, open_count);
    }
    assert_true(exchanges.next > UINT16_MAX);
    exchanges_free(&exchanges);
    exchanges_free(&exchanges); /* nothing is left to free */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_question_has_its_own_answer_once),
        cmocka_unit_test(a_refused_message_is_over),
        cmocka_unit_test(an_id_is_not_given_again_while_it_waits),
        cmocka_unit_test(it_agrees_with_a_plain_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
