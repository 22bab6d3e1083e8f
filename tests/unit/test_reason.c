#include "core/wire/reason.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const enum mqtt_type answers[] = {MQTT_CONNACK, MQTT_PUBACK, MQTT_PUBREC,   MQTT_PUBREL,
                                         MQTT_PUBCOMP, MQTT_SUBACK, MQTT_UNSUBACK, MQTT_DISCONNECT};
enum { ANSWER_COUNT = sizeof(answers) / sizeof(answers[0]) };

/* Table 2-6, read a second time: CONNACK PUBACK PUBREC PUBREL PUBCOMP SUBACK UNSUBACK DISCONNECT AUTH */
static void a_code_stands_only_where_table_2_6_lets_it(void **state)
{
    static const struct {
        uint8_t code;
        const char *packets;
    } table[] = {
        {0x00, "CARLPSUDX"}, {0x01, "S"},      {0x02, "S"},  {0x04, "D"},      {0x10, "AR"},
        {0x11, "U"},         {0x18, "X"},      {0x19, "X"},  {0x80, "CARSUD"}, {0x81, "CD"},
        {0x82, "CD"},        {0x83, "CARSUD"}, {0x84, "C"},  {0x85, "C"},      {0x86, "C"},
        {0x87, "CARSUD"},    {0x88, "C"},      {0x89, "CD"}, {0x8a, "C"},      {0x8b, "D"},
        {0x8c, "CD"},        {0x8d, "D"},      {0x8e, "D"},  {0x8f, "SUD"},    {0x90, "CARD"},
        {0x91, "ARSU"},      {0x92, "LP"},     {0x93, "D"},  {0x94, "D"},      {0x95, "CD"},
        {0x96, "D"},         {0x97, "CARSD"},  {0x98, "D"},  {0x99, "CARD"},   {0x9a, "CD"},
        {0x9b, "CD"},        {0x9c, "CD"},     {0x9d, "CD"}, {0x9e, "SD"},     {0x9f, "CD"},
        {0xa0, "D"},         {0xa1, "SD"},     {0xa2, "SD"},
    };
    static const char letters[MQTT_TYPE_COUNT + 1] = "--C-ARLP-S-U--DX";
    (void)state;
    for (unsigned code = 0; code < 256; code++) {
        const char *packets = "";
        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
            packets = table[i].code == code ? table[i].packets : packets;
        }
        for (unsigned type = 0; type < MQTT_TYPE_COUNT; type++) {
            bool want = letters[type] != '-' && strchr(packets, letters[type]) != NULL;
            if (reason_is_allowed((enum mqtt_type)type, (uint8_t)code) != want) {
                fail_msg("code 0x%02x in packet %u", code, type);
            }
        }
        assert_int_equal(strcmp(reason_name((uint8_t)code), "Reserved") == 0, packets[0] == '\0');
    }
}

static void every_error_has_a_code_in_every_answer(void **state)
{
    (void)state;
    for (unsigned err = 0; err < ERR_COUNT; err++) {
        for (unsigned i = 0; i < ANSWER_COUNT; i++) {
            uint8_t reason = reason_from_err((enum err)err, answers[i]);
            assert_true(reason_is_allowed(answers[i], reason));
            if (err == OK) {
                assert_int_equal(reason, 0);
            } else if (err != ERR_NOT_FOUND) {
                assert_true(reason_is_failure(reason));
            }
        }
    }
}

static void the_closest_code_is_chosen(void **state)
{
    static const struct {
        enum err err;
        enum mqtt_type packet;
        uint8_t want;
    } cases[] = {
        {ERR_MALFORMED, MQTT_CONNACK, 0x81},      {ERR_MALFORMED, MQTT_DISCONNECT, 0x81},
        {ERR_PROTOCOL, MQTT_DISCONNECT, 0x82},    {ERR_VERSION, MQTT_CONNACK, 0x84},
        {ERR_CLIENT_ID, MQTT_CONNACK, 0x85},      {ERR_CREDENTIALS, MQTT_CONNACK, 0x86},
        {ERR_NOT_AUTHORIZED, MQTT_CONNACK, 0x87}, {ERR_NOT_AUTHORIZED, MQTT_PUBACK, 0x87},
        {ERR_NOT_AUTHORIZED, MQTT_SUBACK, 0x87},  {ERR_NOMEM, MQTT_CONNACK, 0x88},
        {ERR_NOMEM, MQTT_PUBACK, 0x97},           {ERR_NOMEM, MQTT_UNSUBACK, 0x83},
        {ERR_QUOTA, MQTT_SUBACK, 0x97},           {ERR_QUOTA, MQTT_PUBREC, 0x97},
        {ERR_UNAVAILABLE, MQTT_CONNACK, 0x88},    {ERR_UNAVAILABLE, MQTT_PUBACK, 0x83},
        {ERR_SHUTDOWN, MQTT_DISCONNECT, 0x8b},    {ERR_SHUTDOWN, MQTT_CONNACK, 0x88},
        {ERR_KEEPALIVE, MQTT_DISCONNECT, 0x8d},   {ERR_TAKEN_OVER, MQTT_DISCONNECT, 0x8e},
        {ERR_FILTER, MQTT_SUBACK, 0x8f},          {ERR_TOPIC, MQTT_PUBACK, 0x90},
        {ERR_TOPIC, MQTT_DISCONNECT, 0x90},       {ERR_ID_UNKNOWN, MQTT_PUBREL, 0x92},
        {ERR_ID_UNKNOWN, MQTT_PUBCOMP, 0x92},     {ERR_RECEIVE_MAX, MQTT_DISCONNECT, 0x93},
        {ERR_TOPIC_ALIAS, MQTT_DISCONNECT, 0x94}, {ERR_TOO_LARGE, MQTT_DISCONNECT, 0x95},
        {ERR_NOT_FOUND, MQTT_PUBACK, 0x10},       {ERR_NOT_FOUND, MQTT_UNSUBACK, 0x11},
        {ERR_SHARED, MQTT_SUBACK, 0x9e},          {ERR_WILDCARD, MQTT_SUBACK, 0xa2},
        {ERR_PROTOCOL, MQTT_PUBACK, 0x80},        {ERR_NOMEM, MQTT_PUBREL, 0x92},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(reason_from_err(cases[i].err, cases[i].packet), cases[i].want);
    }
}

static void old_clients_hear_one_of_five_refusals(void **state)
{
    (void)state;
    assert_int_equal(reason_v3_connack(REASON_SUCCESS), 0);
    assert_int_equal(reason_v3_connack(REASON_VERSION), 1);
    assert_int_equal(reason_v3_connack(REASON_CLIENT_ID), 2);
    assert_int_equal(reason_v3_connack(REASON_UNAVAILABLE), 3);
    assert_int_equal(reason_v3_connack(REASON_CREDENTIALS), 4);
    assert_int_equal(reason_v3_connack(REASON_NOT_AUTHORIZED), 5);
    assert_int_equal(reason_v3_connack(0xff), 3);
    for (unsigned reason = REASON_FAILURE_MIN; reason < 256; reason++) {
        uint8_t v3 = reason_v3_connack((uint8_t)reason);
        assert_true(v3 >= 1 && v3 <= CONNACK_V3_MAX); /* a refusal is never read as success */
        assert_int_equal(reason_v3_suback((uint8_t)reason), 0x80);
    }
    assert_int_equal(reason_v3_suback(REASON_GRANTED_QOS_2), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_code_stands_only_where_table_2_6_lets_it),
        cmocka_unit_test(every_error_has_a_code_in_every_answer),
        cmocka_unit_test(the_closest_code_is_chosen),
        cmocka_unit_test(old_clients_hear_one_of_five_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
