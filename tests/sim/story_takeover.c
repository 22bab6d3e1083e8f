/*
 * Both ends of a QoS 2 exchange are taken over by second connections while it is under way, and the
 * second connections arrive at the wrong shard as often as not. The message arrives once.
 */
#include "tests/sim/sim_story.h"

enum { FILTER_T_ALL = 3 };

void story_takeover(struct story *story)
{
    const struct client_character lasting = {
        .version = MQTT_5, .expiry_s = UINT32_MAX, .keepalive_s = 60, .window = 4};
    struct client *alice = story_client(story, "alice", 0, &lasting);
    struct client *bob = story_client(story, "bob", 1, &lasting);

    story_connect(story, alice, false);
    story_connect(story, bob, false);
    client_subscribe(alice, FILTER_T_ALL, 2);
    client_write(alice);
    story_wait_ms(story, 20);

    story_tell(story, "---- alice gets a message and is taken over before she can acknowledge it");
    story_falls_silent(alice);
    client_publish(bob, "t/0/a", 2, false, false);
    client_write(bob);
    story_wait_ms(story, 20);
    client_take_over(alice);
    client_write(alice);
    story_wait_ms(story, 100);

    story_tell(story, "---- she acknowledges on the new connection");
    story_answers(alice);
    client_flush_acks(alice, CLIENT_ACKS_MAX);
    client_write(alice);
    story_wait_ms(story, 50);

    story_tell(story, "---- bob is taken over while his next message is on its way");
    client_publish(bob, "t/1/b", 2, false, false);
    client_write(bob);
    client_take_over(bob);
    client_write(bob);
    story_wait_ms(story, 200);
}
