#include "core/io/tls_context.h"
#include "core/io/tls_inside.h"

#include <openssl/cipher.h>
#include <openssl/hmac.h>
#include <openssl/mem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/*
 * A ticket is a session that the client keeps for us, sealed with a key that we alone have (RFC 5077
 * section 4). Two keys live at a time:
 *
 *     new:     seals and opens                        a new one every TLS_TICKET_KEY_S
 *     before:  opens, and the client is given a ticket of the new key instead
 *
 * So a ticket opens for 12 to 24 hours, and who steals both keys reads TLS 1.2 sessions of no longer
 * (TLS 1.3 agrees on fresh keys even when it resumes).
 */

enum { IV_BYTES = 16, AES_BYTES = 32, HMAC_BYTES = 32 };

struct ticket_key {
    uint8_t name[SSL_TICKET_KEY_NAME_LEN];
    uint8_t aes[AES_BYTES], hmac[HMAC_BYTES];
    bool is_set;
};

struct tls_tickets {
    pthread_mutex_t lock; /* over all below; held for copying a key */
    struct ticket_key now, before;
    int64_t made_s; /* on the clock that only runs forward */
};

static int64_t seconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now); /* a machine that slept has aged its keys, too */
    return now.tv_sec;
}

static void rotate(struct tls_tickets *tickets)
{
    tickets->before = tickets->now;
    RAND_bytes(tickets->now.name, sizeof(tickets->now.name));
    RAND_bytes(tickets->now.aes, sizeof(tickets->now.aes));
    RAND_bytes(tickets->now.hmac, sizeof(tickets->now.hmac));
    tickets->now.is_set = true;
    tickets->made_s = seconds_now();
}

/* Whoever comes first after the time turns the keys; after a long night both are too old. */
static void rotate_by_time(struct tls_tickets *tickets)
{
    int64_t age_s = seconds_now() - tickets->made_s;

    if (age_s >= TLS_TICKET_KEY_S) {
        rotate(tickets);
    }
    if (age_s >= 2 * TLS_TICKET_KEY_S) {
        tickets->before.is_set = false;
    }
}

struct tls_tickets *tls_tickets_new(void)
{
    struct tls_tickets *tickets = calloc(1, sizeof(*tickets));

    if (tickets == NULL) {
        return NULL;
    }
    pthread_mutex_init(&tickets->lock, NULL);
    rotate(tickets);
    return tickets;
}

void tls_tickets_free(struct tls_tickets *tickets)
{
    if (tickets == NULL) {
        return;
    }
    pthread_mutex_destroy(&tickets->lock);
    OPENSSL_cleanse(tickets, sizeof(*tickets));
    free(tickets);
}

void tls_tickets_rotate(struct tls_tickets *tickets)
{
    pthread_mutex_lock(&tickets->lock);
    rotate(tickets);
    pthread_mutex_unlock(&tickets->lock);
}

/* The key to seal with (name NULL), or the one of that name. false: it is nobody's, or too old. */
static bool key_copy(struct tls_tickets *tickets, const uint8_t *name, struct ticket_key *out,
                     bool *is_new)
{
    bool is_found = true;

    pthread_mutex_lock(&tickets->lock);
    rotate_by_time(tickets);
    *is_new = true;
    if (name == NULL || memcmp(name, tickets->now.name, SSL_TICKET_KEY_NAME_LEN) == 0) {
        *out = tickets->now;
    } else if (tickets->before.is_set &&
               memcmp(name, tickets->before.name, SSL_TICKET_KEY_NAME_LEN) == 0) {
        *out = tickets->before;
        *is_new = false;
    } else {
        is_found = false;
    }
    pthread_mutex_unlock(&tickets->lock);
    return is_found;
}

/* What BoringSSL asks for: 1 it works, 2 it works and is to be renewed, 0 unknown, -1 broken. */
static int ticket_key(SSL *ssl, uint8_t *name, uint8_t *iv, EVP_CIPHER_CTX *cipher, HMAC_CTX *hmac,
                      int is_sealing)
{
    struct ticket_key key;
    bool is_new = false;

    if (!key_copy(tls_of(ssl)->context->tickets, is_sealing ? NULL : name, &key, &is_new)) {
        return 0;
    }
    if (is_sealing) {
        memcpy(name, key.name, sizeof(key.name));
        RAND_bytes(iv, IV_BYTES);
    }
    bool is_good = EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.aes, iv, is_sealing) ==
                       1 &&
                   HMAC_Init_ex(hmac, key.hmac, sizeof(key.hmac), EVP_sha256(), NULL) == 1;
    OPENSSL_cleanse(&key, sizeof(key));
    if (!is_good) {
        return -1;
    }
    return is_new ? 1 : 2;
}

void tls_tickets_use(SSL_CTX *ssl_context)
{
    SSL_CTX_set_tlsext_ticket_key_cb(ssl_context, ticket_key);
    SSL_CTX_set_timeout(ssl_context, TLS_TICKET_KEY_S);
    SSL_CTX_set_session_psk_dhe_timeout(ssl_context, TLS_TICKET_KEY_S);
    /* A device comes back once, and is given a new ticket then. */
    SSL_CTX_set_num_tickets(ssl_context, 1);
}
