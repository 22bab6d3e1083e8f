/*
 * TLS between a client's socket and what it says, the client's side.
 *
 *     connecting ──hello──> SHAKING ──finished──> OPEN ──close_notify, alert──> the client ends
 *                              └── an alert, a certificate that proves nothing ──> the client fails
 *
 * Until OPEN what is to be said waits in `queued`. What a turn queued is sealed together when the
 * last send is over, so that many packets share a record. Plain bytes of a record are read into one
 * buffer that all clients of a load share: what is idle has none.
 */
#include "bench/load/load_client.h"
#include "core/io/tls_client.h"

#include <stdio.h>
#include <string.h>

static bool take_cipher(void *owner, struct slice cipher)
{
    struct load_client *client = owner;
    if (cipher.count > 0) {
        memcpy(bytes_extend(client->load, &client->sealed, cipher.count), cipher.data,
               cipher.count);
    }
    return true;
}

/* An alert may be in `sealed`: the broker is told before the end. */
static void fail(struct load_client *client, enum err why)
{
    client->is_tls_broken = true;
    if (client->sealed.count == 0 || io_is_sending(client->stream)) {
        client_fail(client, why);
        return;
    }
    client->is_ending = true;
    client->why = why;
    client_mark_dirty(client);
}

enum err secure_new(struct load_client *client, const struct tls_session *ticket)
{
    struct load *load = client->load;
    client->tls = tls_new(load->config.tls, load->config.tls_server_name);
    if (client->tls == NULL) {
        return ERR_NOMEM;
    }
    tls_set_sink(client->tls, take_cipher, client);
    if (ticket != NULL) {
        tls_client_resume(client->tls, ticket);
    }
    enum err err = tls_handshake(client->tls);
    return err == ERR_MORE ? OK : err;
}

void secure_free(struct load_client *client)
{
    tls_free(client->tls);
}

bool secure_is_open(const struct load_client *client)
{
    return tls_is_open(client->tls);
}

struct tls_session *load_ticket(const struct load_client *client)
{
    return client->tls == NULL ? NULL : tls_client_session(client->tls);
}

/* ---- hearing ------------------------------------------------------------------------------- */

static void count_handshake(struct load_client *client)
{
    struct load_tally *tally = client->load->config.tally;
    struct tls_facts facts;
    if (tally == NULL) {
        return;
    }
    tls_facts(client->tls, &facts);
    tally->handshake_count++;
    tally->resumed_count += facts.is_resumed ? 1 : 0;
    if (tally->agreed[0] == '\0') {
        snprintf(tally->agreed, sizeof(tally->agreed), "%s %s %s", facts.version, facts.cipher,
                 facts.group);
    }
}

/* A client has nobody else to hold up: it makes its signatures here and now. */
static enum err shake(struct load_client *client)
{
    enum err err;
    while ((err = tls_handshake(client->tls)) == ERR_AGAIN) {
        struct tls_signature *signature = tls_signature_take(client->tls);
        tls_signature_make(signature);
        tls_signature_done(client->tls, signature);
    }
    if (client->sealed.count > 0) {
        client_mark_dirty(client);
    }
    if (err == OK) {
        count_handshake(client);
        client_mark_dirty(client); /* what waits in queued */
    }
    return err;
}

void secure_feed(struct load_client *client, struct slice bytes, uint64_t received_ns)
{
    uint8_t *plain = client->load->plain;
    size_t count;
    enum err err = OK;

    tls_feed(client->tls, bytes);
    if (!tls_is_open(client->tls)) {
        err = shake(client);
    }
    while (err == OK && !client->is_ending) {
        err = tls_read(client->tls, plain, &count);
        if (err == OK) {
            client_hear(client, slice_of(plain, count), received_ns);
        }
    }
    if (client->sealed.count > 0) {
        client_mark_dirty(client); /* reading may answer, too */
    }
    if (err == ERR_CLOSED) {
        client_fail(client, err);
    } else if (err != OK && err != ERR_MORE && !client->is_ending) {
        fail(client, err);
    }
}

/* ---- saying -------------------------------------------------------------------------------- */

void secure_parts(struct load_client *client, const struct slice *parts, uint32_t count)
{
    enum err err = tls_seal(client->tls, parts, count, io_now_ns(client->load->io));
    ASSERT(err != ERR_NOMEM); /* see bytes_extend() */
    if (err != OK) {
        fail(client, err);
    } else if (client->is_ending) {
        tls_goodbye(client->tls);
    }
}

/* ---- what to tell people ------------------------------------------------------------------- */

const char *load_explain_client(const struct load_config *config, const struct load_client *client,
                                enum err why, uint8_t reason, char out[LOAD_TEXT_MAX])
{
    char to[ADDRESS_TEXT_MAX];
    address_text(&config->to, to);
    if (client == NULL || client->tls == NULL) {
        return load_explain(config, why, reason, out);
    }
    if (client->is_tls_broken) {
        snprintf(out, LOAD_TEXT_MAX, "TLS with %s failed: %s", to, tls_failure(client->tls));
        return out;
    }
    if (!tls_is_open(client->tls) && (why == ERR_CLOSED || why == ERR_RESET)) {
        snprintf(
            out, LOAD_TEXT_MAX,
            "%s ended the connection during the handshake of TLS: does it listen for TLS there?",
            to);
        return out;
    }
    return load_explain(config, why, reason, out);
}
