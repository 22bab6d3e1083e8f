/*
 * A shard gets no turn for a while, and its mailbox fills up. Whoever fills it is not read any more
 * until there is room again; nothing is lost, and the order holds.
 */
#include "tests/sim/sim_node.h"
#include "tests/sim/sim_story.h"

enum { FILTER_T_0_A = 0, MESSAGES = 6000, AT_ONCE = 50 };

/* How many bytes the publisher could not get rid of: the broker has stopped reading it. */
static uint32_t publish_all(struct story *story, struct client *client)
{
    for (uint32_t i = 0; i < MESSAGES; i++) {
        client_publish(client, "t/0/a", 0, false, false);
        if (i % AT_ONCE == AT_ONCE - 1) {
            client_write(client);
            story_wait_ms(story, 1);
        }
    }
    story_wait_ms(story, 100);
    return (uint32_t)buf_count(&client->out);
}

void story_full_mailbox(struct story *story)
{
    const struct client_character lasting = {
        .version = MQTT_3_1_1, .expiry_s = UINT32_MAX, .keepalive_s = 600, .window = 4};
    struct client *dora = story_client(story, "dora", 0, &lasting);
    struct client *emil = story_client(story, "emil", 1, &lasting);

    story_connect(story, dora, false);
    story_connect(story, emil, false);
    client_subscribe(emil, FILTER_T_0_A, 0);
    client_write(emil);
    story_wait_ms(story, 20);

    story_tell(story,
               "---- shard B, where emil lives, gets no turn; dora publishes without a pause");
    story->sim->node->shards[1].actor->is_held = true;
    story->sim->is_mute = true;
    uint32_t stuck_bytes = publish_all(story, dora);
    uint32_t before = check_delivery_count(story->check);
    story->sim->is_mute = false;
    sim_trace(story->sim, "dora has sent all of it: %s; emil got %u",
              stuck_bytes > 0 ? "no" : "yes", before);

    story_tell(story, "---- shard B runs again");
    story->sim->node->shards[1].actor->is_held = false;
    story->sim->is_mute = true;
    story_wait_ms(story, 5000);
    story->sim->is_mute = false;
    sim_trace(story->sim, "dora has sent all of it: %s; emil got %u",
              buf_count(&dora->out) > 0 ? "no" : "yes", check_delivery_count(story->check));
}
