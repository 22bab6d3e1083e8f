/*
 * paho_c: stories told by the synchronous client of Eclipse Paho for C.
 *
 *     paho_c URI VERSION PREFIX STORY
 *
 * VERSION is 3, 4 or 5 as in CONNECT, PREFIX begins every topic and client id, STORY is a row of the
 * table at the end. Over TLS (ssl:, wss:) the environment names the files: CA, and CERT and KEY for a
 * client that proves who it is. The exit status is 0 when the story went as told; otherwise a line
 * says where not.
 * test_paho_c.py compiles and runs it.
 */
#include <MQTTClient.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    WAIT_MS = 15000,
    TOPIC_BYTES = 256,
};

static const char *uri, *prefix;
static int version;

#define EXPECT(condition)                                                    \
    do {                                                                     \
        if (!(condition)) {                                                  \
            printf("paho_c.c:%d: %s does not hold\n", __LINE__, #condition); \
            exit(1);                                                         \
        }                                                                    \
    } while (0)

struct setup {
    bool keep_session;
    const char *will_topic;
};

/* "<prefix>/<name>" in one of four buffers taken in turn. */
static char *topic(const char *name)
{
    static char buffers[4][TOPIC_BYTES];
    static unsigned turn;
    char *out = buffers[turn++ % 4];
    snprintf(out, TOPIC_BYTES, "%s/%s", prefix, name);
    return out;
}

/* A connected client; session_present may be NULL. */
static MQTTClient open_client(const char *name, struct setup setup, int *session_present)
{
    char id[TOPIC_BYTES];
    MQTTClient client;
    MQTTClient_createOptions create = MQTTClient_createOptions_initializer;
    bool is_ws = strncmp(uri, "ws:", 3) == 0 || strncmp(uri, "wss:", 4) == 0;
    MQTTClient_connectOptions plain = MQTTClient_connectOptions_initializer;
    MQTTClient_connectOptions plain_ws = MQTTClient_connectOptions_initializer_ws;
    MQTTClient_connectOptions five = MQTTClient_connectOptions_initializer5;
    MQTTClient_connectOptions five_ws = MQTTClient_connectOptions_initializer5_ws;
    MQTTClient_willOptions will = MQTTClient_willOptions_initializer;
    MQTTClient_SSLOptions ssl = MQTTClient_SSLOptions_initializer;
    MQTTClient_connectOptions options = version == 5 ? (is_ws ? five_ws : five)
                                                     : (is_ws ? plain_ws : plain);
    MQTTProperties properties = MQTTProperties_initializer;
    MQTTProperty expiry = {.identifier = MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL,
                           .value.integer4 = 600};

    snprintf(id, sizeof(id), "%s%s", prefix, name);
    create.MQTTVersion = version;
    EXPECT(MQTTClient_createWithOptions(&client, uri, id, MQTTCLIENT_PERSISTENCE_NONE, NULL,
                                        &create) == MQTTCLIENT_SUCCESS);
    options.MQTTVersion = version;
    options.reliable = 0;
    if (strncmp(uri, "ssl:", 4) == 0 || strncmp(uri, "wss:", 4) == 0) {
        ssl.trustStore = getenv("CA");
        ssl.keyStore = getenv("CERT");
        ssl.privateKey = getenv("KEY");
        ssl.enableServerCertAuth = 1;
        ssl.verify = 1; /* the name too */
        options.ssl = &ssl;
    }
    if (setup.will_topic != NULL) {
        will.topicName = setup.will_topic;
        will.message = "gone";
        will.qos = 1;
        options.will = &will;
    }
    if (version == 5) {
        options.cleanstart = !setup.keep_session;
        if (setup.keep_session) {
            MQTTProperties_add(&properties, &expiry);
        }
        MQTTResponse response = MQTTClient_connect5(client, &options, &properties, NULL);
        EXPECT(response.reasonCode == MQTTREASONCODE_SUCCESS);
        MQTTResponse_free(response);
        MQTTProperties_free(&properties);
    } else {
        options.cleansession = !setup.keep_session;
        EXPECT(MQTTClient_connect(client, &options) == MQTTCLIENT_SUCCESS);
    }
    if (session_present != NULL) {
        *session_present = options.returned.sessionPresent;
    }
    return client;
}

static void close_client(MQTTClient client)
{
    if (version == 5) {
        MQTTClient_disconnect5(client, 1000, MQTTREASONCODE_SUCCESS, NULL);
    } else {
        MQTTClient_disconnect(client, 1000);
    }
    MQTTClient_destroy(&client);
}

static void subscribe(MQTTClient client, const char *filter, int qos)
{
    if (version == 5) {
        MQTTResponse response = MQTTClient_subscribe5(client, filter, qos, NULL, NULL);
        EXPECT((int)response.reasonCode == qos);
        MQTTResponse_free(response);
    } else {
        EXPECT(MQTTClient_subscribe(client, filter, qos) == MQTTCLIENT_SUCCESS);
    }
}

/* Publish and wait until the exchange of the QoS is over. */
static void publish(MQTTClient client, const char *to, const void *payload, int bytes, int qos,
                    bool retained)
{
    MQTTClient_deliveryToken token;
    if (version == 5) {
        MQTTResponse response = MQTTClient_publish5(client, to, bytes, payload, qos, retained, NULL,
                                                    &token);
        EXPECT(response.reasonCode == MQTTREASONCODE_SUCCESS);
        MQTTResponse_free(response);
    } else {
        EXPECT(MQTTClient_publish(client, to, bytes, payload, qos, retained, &token) ==
               MQTTCLIENT_SUCCESS);
    }
    EXPECT(qos == 0 || MQTTClient_waitForCompletion(client, token, WAIT_MS) == MQTTCLIENT_SUCCESS);
}

static void publish_text(MQTTClient client, const char *to, const char *text, int qos,
                         bool retained)
{
    publish(client, to, text, (int)strlen(text), qos, retained);
}

/* The next message must be this one. */
static void expect_message(MQTTClient client, const char *from, const void *payload, int bytes,
                           int qos, bool retained)
{
    char *name = NULL;
    int name_bytes = 0;
    MQTTClient_message *message = NULL;
    int status = MQTTClient_receive(client, &name, &name_bytes, &message, WAIT_MS);
    EXPECT(status == MQTTCLIENT_SUCCESS || status == MQTTCLIENT_TOPICNAME_TRUNCATED);
    EXPECT(message != NULL);
    EXPECT(strcmp(name, from) == 0);
    EXPECT(message->payloadlen == bytes);
    EXPECT(bytes == 0 || memcmp(message->payload, payload, (size_t)bytes) == 0);
    EXPECT(message->qos == qos);
    EXPECT((message->retained != 0) == retained);
    MQTTClient_freeMessage(&message);
    MQTTClient_free(name);
}

static void expect_text(MQTTClient client, const char *from, const char *text, int qos,
                        bool retained)
{
    expect_message(client, from, text, (int)strlen(text), qos, retained);
}

static void all_qualities_arrive_in_order(void)
{
    MQTTClient sub = open_client("sub", (struct setup){0}, NULL);
    MQTTClient pub = open_client("pub", (struct setup){0}, NULL);
    for (int qos = 0; qos <= 2; qos++) {
        char name[16], text[16];
        snprintf(name, sizeof(name), "qos%d", qos);
        subscribe(sub, topic(name), qos);
        for (int number = 0; number < 20; number++) {
            snprintf(text, sizeof(text), "%d", number);
            publish_text(pub, topic(name), text, qos, false);
            expect_text(sub, topic(name), text, qos, false);
        }
    }
    close_client(pub);
    close_client(sub);
}

static void retained_messages_wait(void)
{
    MQTTClient pub = open_client("pub", (struct setup){0}, NULL);
    publish_text(pub, topic("state"), "warm", 1, true);
    MQTTClient sub = open_client("sub", (struct setup){0}, NULL);
    subscribe(sub, topic("state"), 1);
    expect_text(sub, topic("state"), "warm", 1, true);
    publish_text(pub, topic("state"), "", 1, true);
    expect_text(sub, topic("state"), "", 1, false);
    close_client(sub);
    sub = open_client("sub", (struct setup){0}, NULL);
    subscribe(sub, topic("state"), 1);
    publish_text(pub, topic("state"), "after", 1, false);
    expect_text(sub, topic("state"), "after", 1, false);
    close_client(sub);
    close_client(pub);
}

static void a_session_is_resumed(void)
{
    int present = -1;
    MQTTClient sub = open_client("sub", (struct setup){.keep_session = true}, &present);
    EXPECT(version != 4 || present == 0);
    subscribe(sub, topic("x"), 2);
    close_client(sub);
    MQTTClient pub = open_client("pub", (struct setup){0}, NULL);
    publish_text(pub, topic("x"), "one", 1, false);
    publish_text(pub, topic("x"), "two", 1, false);
    publish_text(pub, topic("x"), "three", 2, false);
    sub = open_client("sub", (struct setup){.keep_session = true}, &present);
    EXPECT(version != 4 || present == 1); /* 3.1 has no such flag; for 5 the library hides it */
    expect_text(sub, topic("x"), "one", 1, false);
    expect_text(sub, topic("x"), "two", 1, false);
    expect_text(sub, topic("x"), "three", 2, false);
    close_client(pub);
    close_client(sub);
}

static void members_share(void)
{
    enum { MESSAGE_COUNT = 40 };
    bool seen[MESSAGE_COUNT] = {false};
    char filter[TOPIC_BYTES];
    MQTTClient members[2];
    int counts[2] = {0};

    snprintf(filter, sizeof(filter), "$share/%sgroup/%s/work", prefix, prefix);
    members[0] = open_client("m0", (struct setup){0}, NULL);
    members[1] = open_client("m1", (struct setup){0}, NULL);
    MQTTClient pub = open_client("pub", (struct setup){0}, NULL);
    subscribe(members[0], filter, 1);
    subscribe(members[1], filter, 1);
    for (int number = 0; number < MESSAGE_COUNT; number++) {
        char text[16];
        snprintf(text, sizeof(text), "%d", number);
        publish_text(pub, topic("work"), text, 1, false);
    }
    for (int tries = 0; counts[0] + counts[1] < MESSAGE_COUNT; tries++) {
        char *name = NULL;
        int name_bytes = 0;
        MQTTClient_message *message = NULL;
        EXPECT(tries < 50 * MESSAGE_COUNT);
        MQTTClient_receive(members[tries % 2], &name, &name_bytes, &message, 50);
        if (message == NULL) {
            continue;
        }
        int number = atoi(message->payload);
        EXPECT(number >= 0 && number < MESSAGE_COUNT && !seen[number]);
        seen[number] = true;
        counts[tries % 2]++;
        MQTTClient_freeMessage(&message);
        MQTTClient_free(name);
    }
    EXPECT(counts[0] > 0);
    EXPECT(counts[1] > 0);
    close_client(members[0]);
    close_client(members[1]);
    close_client(pub);
}

static void payloads_arrive_whole(int bytes)
{
    char *payload = malloc((size_t)bytes);
    EXPECT(payload != NULL);
    for (int at = 0; at < bytes; at++) {
        payload[at] = (char)(at * 31 + at / 251);
    }
    MQTTClient sub = open_client("sub", (struct setup){0}, NULL);
    MQTTClient pub = open_client("pub", (struct setup){0}, NULL);
    subscribe(sub, topic("big"), 2);
    for (int qos = 0; qos <= 2; qos++) {
        publish(pub, topic("big"), payload, bytes, qos, false);
        expect_message(sub, topic("big"), payload, bytes, qos, false);
    }
    close_client(pub);
    close_client(sub);
    free(payload);
}

static void a_megabyte_arrives_whole(void)
{
    payloads_arrive_whole(1000003);
}

static void payloads_of_64_mib_arrive_whole(void)
{
    payloads_arrive_whole(64 << 20);
}

static void watch(void)
{
    MQTTClient watcher = open_client("watcher", (struct setup){0}, NULL);
    subscribe(watcher, topic("will"), 1);
    printf("watching\n");
    fflush(stdout);
    expect_text(watcher, topic("will"), "gone", 1, false);
    close_client(watcher);
}

/* Connected until somebody kills it. */
static void be_doomed(void)
{
    open_client("doomed", (struct setup){.will_topic = topic("will")}, NULL);
    printf("connected\n");
    fflush(stdout);
    for (;;) {
        pause();
    }
}

static const struct {
    const char *name;
    void (*tell)(void);
} stories[] = {
    {"all_qualities_arrive_in_order", all_qualities_arrive_in_order},
    {"retained_messages_wait", retained_messages_wait},
    {"a_session_is_resumed", a_session_is_resumed},
    {"members_share", members_share},
    {"a_megabyte_arrives_whole", a_megabyte_arrives_whole},
    {"payloads_of_64_mib_arrive_whole", payloads_of_64_mib_arrive_whole},
    {"watch", watch},
    {"be_doomed", be_doomed},
};

int main(int argument_count, char **arguments)
{
    if (argument_count != 5) {
        fprintf(stderr, "usage: paho_c URI VERSION PREFIX STORY\n");
        return 64;
    }
    uri = arguments[1];
    version = atoi(arguments[2]);
    prefix = arguments[3];
    for (size_t at = 0; at < sizeof(stories) / sizeof(stories[0]); at++) {
        if (strcmp(stories[at].name, arguments[4]) == 0) {
            stories[at].tell();
            return 0;
        }
    }
    fprintf(stderr, "no story %s\n", arguments[4]);
    return 64;
}
