/*
 * paho_c_async: many messages in flight at once, by the asynchronous client of Eclipse Paho for C.
 *
 *     paho_c_async URI VERSION PREFIX QOS
 *
 * One client publishes to itself, hundreds of messages without waiting; each must come back once and
 * in order. Over TLS the environment names whom it trusts: CA. The exit status is 0 when it did.
 * test_paho_c.py compiles and runs it.
 */
#include <MQTTAsync.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    MESSAGE_COUNT = 500,
    WAIT_S = 30,
};

/* What the library's threads tell the main thread. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_connected, is_subscribed, has_failed;
    int received, completed;
    bool is_out_of_order;
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void tell(bool *what)
{
    pthread_mutex_lock(&seen.lock);
    *what = true;
    pthread_cond_broadcast(&seen.changed);
    pthread_mutex_unlock(&seen.lock);
}

static void on_connected(void *context, MQTTAsync_successData *data)
{
    (void)context, (void)data;
    tell(&seen.is_connected);
}

static void on_connected5(void *context, MQTTAsync_successData5 *data)
{
    (void)context, (void)data;
    tell(&seen.is_connected);
}

static void on_subscribed(void *context, MQTTAsync_successData *data)
{
    (void)context, (void)data;
    tell(&seen.is_subscribed);
}

static void on_subscribed5(void *context, MQTTAsync_successData5 *data)
{
    (void)context, (void)data;
    tell(&seen.is_subscribed);
}

static void on_failure(void *context, MQTTAsync_failureData *data)
{
    (void)context;
    printf("failed: %d %s\n", data->code, data->message == NULL ? "" : data->message);
    tell(&seen.has_failed);
}

static void on_failure5(void *context, MQTTAsync_failureData5 *data)
{
    (void)context;
    printf("failed: %d reason %d\n", data->code, data->reasonCode);
    tell(&seen.has_failed);
}

static int on_message(void *context, char *name, int name_bytes, MQTTAsync_message *message)
{
    char text[16] = "";
    (void)context, (void)name_bytes;
    if (message->payloadlen < (int)sizeof(text)) {
        memcpy(text, message->payload, (size_t)message->payloadlen);
    }
    pthread_mutex_lock(&seen.lock);
    if (atoi(text) != seen.received) {
        seen.is_out_of_order = true;
    }
    seen.received++;
    pthread_cond_broadcast(&seen.changed);
    pthread_mutex_unlock(&seen.lock);
    MQTTAsync_freeMessage(&message);
    MQTTAsync_free(name);
    return 1;
}

static void on_delivered(void *context, MQTTAsync_token token)
{
    (void)context, (void)token;
    pthread_mutex_lock(&seen.lock);
    seen.completed++;
    pthread_cond_broadcast(&seen.changed);
    pthread_mutex_unlock(&seen.lock);
}

static bool is_all_there(int qos)
{
    return seen.received >= MESSAGE_COUNT && (qos == 0 || seen.completed >= MESSAGE_COUNT);
}

/* Wait until *what holds (NULL: until all messages are there); false after a failure or WAIT_S. */
static bool wait_for(const bool *what, int qos)
{
    struct timespec until;
    bool in_time = true;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    pthread_mutex_lock(&seen.lock);
    while (in_time && !seen.has_failed && !(what != NULL ? *what : is_all_there(qos))) {
        in_time = pthread_cond_timedwait(&seen.changed, &seen.lock, &until) == 0;
    }
    bool holds = !seen.has_failed && (what != NULL ? *what : is_all_there(qos));
    pthread_mutex_unlock(&seen.lock);
    return holds;
}

static int fail(const char *what)
{
    printf("%s: received %d, completed %d of %d\n", what, seen.received, seen.completed,
           MESSAGE_COUNT);
    return 1;
}

int main(int argument_count, char **arguments)
{
    if (argument_count != 5) {
        fprintf(stderr, "usage: paho_c_async URI VERSION PREFIX QOS\n");
        return 64;
    }
    const char *uri = arguments[1];
    int version = atoi(arguments[2]);
    int qos = atoi(arguments[4]);
    char topic[256];
    MQTTAsync client;
    MQTTAsync_createOptions create = MQTTAsync_createOptions_initializer;
    MQTTAsync_createOptions create5 = MQTTAsync_createOptions_initializer5;
    bool is_ws = strncmp(uri, "ws:", 3) == 0 || strncmp(uri, "wss:", 4) == 0;
    MQTTAsync_connectOptions plain = MQTTAsync_connectOptions_initializer;
    MQTTAsync_connectOptions plain_ws = MQTTAsync_connectOptions_initializer_ws;
    MQTTAsync_connectOptions five = MQTTAsync_connectOptions_initializer5;
    MQTTAsync_connectOptions five_ws = MQTTAsync_connectOptions_initializer5_ws;
    MQTTAsync_connectOptions connect = version == 5 ? (is_ws ? five_ws : five)
                                                    : (is_ws ? plain_ws : plain);
    MQTTAsync_SSLOptions ssl = MQTTAsync_SSLOptions_initializer;
    MQTTAsync_responseOptions response = MQTTAsync_responseOptions_initializer;

    snprintf(topic, sizeof(topic), "%s/x", arguments[3]);
    create5.MQTTVersion = MQTTVERSION_5;
    create.MQTTVersion = version;
    if (MQTTAsync_createWithOptions(&client, uri, arguments[3], MQTTCLIENT_PERSISTENCE_NONE, NULL,
                                    version == 5 ? &create5 : &create) != MQTTASYNC_SUCCESS) {
        return fail("create");
    }
    MQTTAsync_setCallbacks(client, NULL, NULL, on_message, on_delivered);
    connect.MQTTVersion = version;
    connect.maxInflight = 100;
    if (strncmp(uri, "ssl:", 4) == 0 || strncmp(uri, "wss:", 4) == 0) {
        ssl.trustStore = getenv("CA");
        ssl.verify = 1;
        connect.ssl = &ssl;
    }
    if (version == 5) {
        connect.onSuccess5 = on_connected5;
        connect.onFailure5 = on_failure5;
        response.onSuccess5 = on_subscribed5;
        response.onFailure5 = on_failure5;
    } else {
        connect.onSuccess = on_connected;
        connect.onFailure = on_failure;
        response.onSuccess = on_subscribed;
        response.onFailure = on_failure;
    }
    if (MQTTAsync_connect(client, &connect) != MQTTASYNC_SUCCESS ||
        !wait_for(&seen.is_connected, qos)) {
        return fail("connect");
    }
    if (MQTTAsync_subscribe(client, topic, qos, &response) != MQTTASYNC_SUCCESS ||
        !wait_for(&seen.is_subscribed, qos)) {
        return fail("subscribe");
    }
    for (int number = 0; number < MESSAGE_COUNT; number++) {
        char text[16];
        int bytes = snprintf(text, sizeof(text), "%d", number);
        int status;
        struct timespec pause = {.tv_nsec = 1000000};
        /* The library refuses while its window is full: try again. */
        for (int tries = 0; tries < WAIT_S * 1000; tries++) {
            status = MQTTAsync_send(client, topic, bytes, text, qos, 0, NULL);
            if (status != MQTTASYNC_MAX_BUFFERED_MESSAGES && status != MQTTASYNC_NO_MORE_MSGIDS) {
                break;
            }
            nanosleep(&pause, NULL);
        }
        if (status != MQTTASYNC_SUCCESS) {
            return fail("send");
        }
    }
    if (!wait_for(NULL, qos)) {
        return fail("deliver");
    }
    if (seen.is_out_of_order || seen.received != MESSAGE_COUNT) {
        return fail("order");
    }
    return 0;
}
