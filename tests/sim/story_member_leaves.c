/*
 * A member of a share group ends with messages it has not acknowledged. At QoS 1 the other member
 * gets them; at QoS 2 it must not, for the first one may have used them [MQTT-4.8.2-5].
 */
#include "tests/sim/sim_story.h"

enum { FILTER_ONE = 8, FILTER_TWO = 9, MESSAGES = 4 };

static void publish_all(struct story *story, struct client *carol, const char *topic, uint8_t qos)
{
    for (uint32_t i = 0; i < MESSAGES; i++) {
        client_publish(carol, topic, qos, false, false);
        client_write(carol);
        story_wait_ms(story, 5);
    }
    story_wait_ms(story, 20);
}

void story_member_leaves(struct story *story)
{
    const struct client_character lasting = {
        .version = MQTT_5, .expiry_s = UINT32_MAX, .keepalive_s = 60, .window = 8};
    const struct client_character fleeting = {.version = MQTT_5, .keepalive_s = 60, .window = 8};
    struct client *anna = story_client(story, "anna", 0, &lasting);
    struct client *ben = story_client(story, "ben", 1, &fleeting);
    struct client *carol = story_client(story, "carol", 0, &lasting);

    story_connect(story, anna, false);
    story_connect(story, ben, true);
    story_connect(story, carol, false);
    client_subscribe(anna, FILTER_ONE, 1);
    client_subscribe(ben, FILTER_ONE, 1);
    client_write(anna);
    client_write(ben);
    story_wait_ms(story, 20);

    story_tell(story, "---- four messages at QoS 1 for two members, one of them silent");
    story_falls_silent(ben);
    publish_all(story, carol, "s/0/x", 1);
    story_tell(story, "---- the silent one is gone: what it had goes to the other");
    client_vanish(ben, CLIENT_RESETS);
    story_wait_ms(story, 50);

    story_tell(story, "---- the same at QoS 2");
    story_connect(story, ben, true);
    client_subscribe(anna, FILTER_TWO, 2);
    client_subscribe(ben, FILTER_TWO, 2);
    client_write(anna);
    client_write(ben);
    story_wait_ms(story, 20);
    publish_all(story, carol, "s/1/x", 2);
    story_tell(story, "---- it is gone again: what was sent to it is lost with it");
    client_vanish(ben, CLIENT_RESETS);
    story_wait_ms(story, 50);
}
