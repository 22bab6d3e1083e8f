#include "core/access/auth.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct auth_exchange {
    const struct auth_method *method;
    bool is_waiting;      /* for the client's answer */
    char challenge[9];    /* of TERN-TEST */
    struct scram *scram;  /* the latest one; NULL: another method */
    struct scram *proven; /* the last finished one */
};

struct auth_method {
    const char *name;
    enum auth_how how;
    enum err (*begin)(struct auth_exchange *exchange, const struct auth_policy *policy,
                      struct slice data, struct rng *rng, struct auth_reply *reply);
    enum err (*proceed)(struct auth_exchange *exchange, struct slice data,
                        struct auth_reply *reply);
};

const char *auth_how_text(enum auth_how how)
{
    static const char *const texts[AUTH_HOW_COUNT] = {[AUTH_ANONYMOUS] = "anonymous",
                                                      [AUTH_PASSWORD] = "password",
                                                      [AUTH_CERTIFICATE] = "certificate",
                                                      [AUTH_SCRAM] = "scram",
                                                      [AUTH_TEST] = "test"};
    return texts[how];
}

static enum err refuse(struct auth_reply *reply, enum err why, const char *detail)
{
    reply->detail = detail;
    return why;
}

/* ---- TERN-TEST ----------------------------------------------------------------------------- */

static void reply_text(struct auth_reply *reply, const char *text)
{
    size_t count = strlen(text);
    memcpy(reply->data, text, count);
    reply->data_bytes = (uint32_t)count;
}

/* hello -> challenge:xxxxxxxx -> the digits reversed -> welcome */
static enum err test_begin(struct auth_exchange *exchange, const struct auth_policy *policy,
                           struct slice data, struct rng *rng, struct auth_reply *reply)
{
    char text[32];
    (void)policy;
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

/* ---- SCRAM-SHA-256, RFC 7677 ---------------------------------------------------------------- */

static enum err scram_start(struct auth_exchange *exchange, const struct auth_policy *policy,
                            struct slice data, struct rng *rng, struct auth_reply *reply)
{
    (void)rng; /* nonces are secrets: they come from BoringSSL */
    struct scram *begun = NULL;
    if (policy->passwords == NULL) {
        return refuse(reply, ERR_NOT_AUTHORIZED, "this listener has no password_file");
    }
    enum err err = scram_begin(policy->passwords, data, &begun, (char *)reply->data,
                               &reply->data_bytes);
    if (err != ERR_MORE) {
        return err;
    }
    scram_free(exchange->scram);
    exchange->scram = begun;
    return ERR_MORE;
}

static enum err scram_end(struct auth_exchange *exchange, struct slice data,
                          struct auth_reply *reply)
{
    enum err err = scram_finish(exchange->scram, data, (char *)reply->data, &reply->data_bytes);
    if (err != OK) {
        return err;
    }
    if (exchange->proven != NULL &&
        !slice_equal(scram_username(exchange->scram), scram_username(exchange->proven))) {
        reply->data_bytes = 0;
        return refuse(reply, ERR_NOT_AUTHORIZED, "re-authentication as another user");
    }
    scram_free(exchange->proven);
    exchange->proven = exchange->scram;
    exchange->scram = NULL;
    return OK;
}

static const struct auth_method methods[] = {
    {"SCRAM-SHA-256", AUTH_SCRAM, scram_start, scram_end},
    {"TERN-TEST", AUTH_TEST, test_begin, test_proceed},
};

static const struct auth_method *method_find(const struct auth_policy *policy, struct slice name)
{
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        const struct auth_method *method = &methods[i];
        bool is_offered = method->how == AUTH_TEST ? policy->allow_test_method
                                                   : policy->passwords != NULL;
        if (is_offered && slice_is(name, method->name)) {
            return method;
        }
    }
    return NULL;
}

/* ---- the judgement -------------------------------------------------------------------------- */

static enum err method_begin(const struct auth_policy *policy, const struct auth_request *request,
                             struct rng *rng, struct auth_exchange **exchange,
                             struct auth_reply *reply)
{
    const struct auth_method *method = method_find(policy, request->method);
    if (method == NULL) {
        return refuse(reply, ERR_AUTH_METHOD, "authentication method not offered here");
    }
    struct auth_exchange *begun = calloc(1, sizeof(*begun));
    if (begun == NULL) {
        return ERR_NOMEM;
    }
    begun->method = method;
    reply->how = method->how;
    enum err err = method->begin(begun, policy, request->data, rng, reply);
    if (err != OK && err != ERR_MORE) {
        auth_exchange_free(begun);
        return err;
    }
    begun->is_waiting = err == ERR_MORE;
    *exchange = begun;
    return err;
}

static enum err nobody(const struct auth_policy *policy, struct auth_reply *reply)
{
    reply->how = AUTH_ANONYMOUS;
    return policy->allow_anonymous ? OK
                                   : refuse(reply, ERR_NOT_AUTHORIZED,
                                            "no name is proven and allow_anonymous is false here");
}

enum err auth_begin(const struct auth_policy *policy, const struct auth_request *request,
                    struct rng *rng, struct auth_exchange **exchange, struct auth_reply *reply)
{
    *exchange = NULL;
    reply->data_bytes = 0;
    reply->how = AUTH_ANONYMOUS;
    reply->detail = NULL;
    if (request->method.count > 0) {
        return method_begin(policy, request, rng, exchange, reply);
    }
    if (policy->wants_certificate_name && policy->has_certificate) {
        reply->how = AUTH_CERTIFICATE;
        return policy->certificate_name.count > 0
                   ? OK
                   : refuse(reply, ERR_CREDENTIALS, "the certificate has no name for a user");
    }
    if (request->has_password && policy->is_exposed) {
        return refuse(reply, ERR_NOT_AUTHORIZED,
                      "a password in clear: use TLS, or allow_cleartext_passwords true");
    }
    bool shows_something = request->has_username || request->has_password;
    if (policy->passwords == NULL || !shows_something) {
        return nobody(policy, reply);
    }
    reply->how = AUTH_PASSWORD;
    return ERR_AGAIN;
}

enum err auth_continue(const struct auth_policy *policy, struct auth_exchange *exchange, bool again,
                       struct slice method, struct slice data, struct rng *rng,
                       struct auth_reply *reply)
{
    reply->data_bytes = 0;
    reply->detail = NULL;
    reply->how = exchange->method->how;
    if (!slice_is(method, exchange->method->name) || again == exchange->is_waiting) {
        return refuse(reply, ERR_PROTOCOL, "AUTH out of turn, or of another method");
    }
    enum err err = again ? exchange->method->begin(exchange, policy, data, rng, reply)
                         : exchange->method->proceed(exchange, data, reply);
    exchange->is_waiting = err == ERR_MORE;
    return err;
}

struct slice auth_exchange_method(const struct auth_exchange *exchange)
{
    return slice_text(exchange->method->name);
}

bool auth_exchange_username(const struct auth_exchange *exchange, struct slice *out)
{
    const struct scram *scram = exchange->proven != NULL ? exchange->proven : exchange->scram;
    if (scram == NULL) {
        return false;
    }
    *out = scram_username(scram);
    return true;
}

void auth_exchange_free(struct auth_exchange *exchange)
{
    if (exchange != NULL) {
        scram_free(exchange->scram);
        scram_free(exchange->proven);
        free(exchange);
    }
}
