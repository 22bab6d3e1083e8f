#include "core/access/auth.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct auth_exchange {
    const struct auth_method *method;
    bool is_waiting;   /* for the client's answer */
    char challenge[9]; /* of TERN-TEST */
};

struct auth_method {
    const char *name;
    bool is_for_tests;
    enum err (*begin)(struct auth_exchange *exchange, struct slice data, struct rng *rng,
                      struct auth_reply *reply);
    enum err (*proceed)(struct auth_exchange *exchange, struct slice data,
                        struct auth_reply *reply);
};

static void reply_text(struct auth_reply *reply, const char *text)
{
    size_t count = strlen(text);
    memcpy(reply->data, text, count);
    reply->data_bytes = (uint32_t)count;
}

/* hello -> challenge:xxxxxxxx -> the digits reversed -> welcome */
static enum err test_begin(struct auth_exchange *exchange, struct slice data, struct rng *rng,
                           struct auth_reply *reply)
{
    char text[32];
    if (!slice_is(data, "hello")) {
        return ERR_NOT_AUTHORIZED;
    }
    snprintf(exchange->challenge, sizeof(exchange->challenge), "%08x", (uint32_t)rng_u64(rng));
    snprintf(text, sizeof(text), "challenge:%s", exchange->challenge);
    reply_text(reply, text);
    return ERR_MORE;
}

static enum err test_proceed(struct auth_exchange *exchange, struct slice data,
                             struct auth_reply *reply)
{
    if (data.count != 8) {
        return ERR_NOT_AUTHORIZED;
    }
    for (size_t i = 0; i < 8; i++) {
        if (data.data[i] != (uint8_t)exchange->challenge[7 - i]) {
            return ERR_NOT_AUTHORIZED;
        }
    }
    reply_text(reply, "welcome");
    return OK;
}

static const struct auth_method methods[] = {
    {"TERN-TEST", true, test_begin, test_proceed},
};

static const struct auth_method *method_find(const struct auth_policy *policy, struct slice name)
{
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (slice_is(name, methods[i].name) &&
            (!methods[i].is_for_tests || policy->allow_test_method)) {
            return &methods[i];
        }
    }
    return NULL;
}

enum err auth_begin(const struct auth_policy *policy, const struct auth_request *request,
                    struct rng *rng, struct auth_exchange **exchange, struct auth_reply *reply)
{
    *exchange = NULL;
    reply->data_bytes = 0;
    if (request->method.count == 0) {
        /* No identities are known yet but "nobody": a name or password proves nothing. */
        return request->allow_anonymous ? OK : ERR_NOT_AUTHORIZED;
    }
    const struct auth_method *method = method_find(policy, request->method);
    if (method == NULL) {
        return ERR_AUTH_METHOD;
    }
    struct auth_exchange *begun = calloc(1, sizeof(*begun));
    if (begun == NULL) {
        return ERR_NOMEM;
    }
    begun->method = method;
    enum err err = method->begin(begun, request->data, rng, reply);
    if (err != OK && err != ERR_MORE) {
        auth_exchange_free(begun);
        return err;
    }
    begun->is_waiting = err == ERR_MORE;
    *exchange = begun;
    return err;
}

enum err auth_continue(struct auth_exchange *exchange, bool again, struct slice method,
                       struct slice data, struct rng *rng, struct auth_reply *reply)
{
    reply->data_bytes = 0;
    if (!slice_is(method, exchange->method->name) || again == exchange->is_waiting) {
        return ERR_PROTOCOL;
    }
    enum err err = again ? exchange->method->begin(exchange, data, rng, reply)
                         : exchange->method->proceed(exchange, data, reply);
    exchange->is_waiting = err == ERR_MORE;
    return err;
}

struct slice auth_exchange_method(const struct auth_exchange *exchange)
{
    return slice_text(exchange->method->name);
}

void auth_exchange_free(struct auth_exchange *exchange)
{
    free(exchange);
}
