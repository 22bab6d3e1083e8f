/*
 * tls_pair: a TLS server and a TLS client in memory, and the certificates of tests/lib/certs.py.
 *
 *     client.out ──pair_carry──> server.in        what the sink got waits in out until it is carried
 *     client.in  <──pair_carry── server.out
 */
#ifndef TERN_TESTS_LIB_TLS_PAIR_H
#define TERN_TESTS_LIB_TLS_PAIR_H

#include "core/base/buf.h"
#include "core/io/tls.h"
#include "core/io/tls_client.h"
#include "core/io/tls_context.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { TLS_PATH_BYTES = 512, TLS_STEPS_MAX = 64, TLS_SIGNATURES_INSIDE = 8 };

/* ---- files --------------------------------------------------------------------------------- */

static char tls_folder[TLS_PATH_BYTES / 2];

static inline void tls_folder_find(void)
{
    const char *command = "/usr/bin/python3 -c 'import sys; sys.path.insert(0, \"tests/lib\"); "
                          "import certs; print(certs.folder())'";
    if (tls_folder[0] != '\0') {
        return;
    }
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    assert_non_null(fgets(tls_folder, sizeof(tls_folder), pipe));
    assert_int_equal(pclose(pipe), 0);
    tls_folder[strcspn(tls_folder, "\n")] = '\0';
}

/* "server-ecdsa.pem": its path; a few may be in use at a time. A path stays what it is. */
static inline const char *tls_path(const char *name)
{
    static char paths[32][TLS_PATH_BYTES];
    static unsigned next;

    if (name == NULL || name[0] == '\0') {
        return name;
    }
    tls_folder_find();
    char *path = paths[next++ % 32];
    snprintf(path, TLS_PATH_BYTES, "%s%s%.200s", name[0] == '/' ? "" : tls_folder,
             name[0] == '/' ? "" : "/", name);
    return path;
}

static inline uint64_t tls_now_ms(void)
{
    return (uint64_t)time(NULL) * 1000;
}

/* "ecdsa" or "/somewhere/name": name.pem and name.key; with a prefix for the first kind. */
static inline struct tls_pair tls_pair_named(const char *prefix, const char *name)
{
    char file[TLS_PATH_BYTES / 2];
    struct tls_pair pair;

    prefix = name[0] == '/' ? "" : prefix;
    snprintf(file, sizeof(file), "%.20s%.200s.pem", prefix, name);
    pair.certfile = tls_path(file);
    snprintf(file, sizeof(file), "%.20s%.200s.key", prefix, name);
    pair.keyfile = tls_path(file);
    return pair;
}

/* ---- contexts ------------------------------------------------------------------------------ */

/* What a test wants of a server; what it leaves out is the plainest. */
struct server_wish {
    const char *names[4]; /* of certs.py; none: "ecdsa" */
    const char *cafile, *capath, *crlfile, *ciphers, *curves, *keylog;
    enum tls_ask ask;
    bool is_1_3_only;
    const char *protocols[3];
    struct tls_tickets *tickets;
};

static inline enum err server_try(struct server_wish wish, struct tls_context **out,
                                  struct tls_trouble *trouble)
{
    struct tls_pair pairs[4];
    struct tls_settings settings = {
        .pairs = pairs,
        .cafile = tls_path(wish.cafile),
        .capath = tls_path(wish.capath),
        .crlfile = tls_path(wish.crlfile),
        .ask = wish.ask,
        .is_1_3_only = wish.is_1_3_only,
        .ciphers = wish.ciphers,
        .curves = wish.curves,
        .protocols = wish.protocols,
        .keylog = wish.keylog,
        .tickets = wish.tickets,
    };
    if (wish.names[0] == NULL) {
        wish.names[0] = "ecdsa";
    }
    while (settings.pair_count < 4 && wish.names[settings.pair_count] != NULL) {
        pairs[settings.pair_count] = tls_pair_named("server-", wish.names[settings.pair_count]);
        settings.pair_count++;
    }
    while (settings.protocol_count < 3 && wish.protocols[settings.protocol_count] != NULL) {
        settings.protocol_count++;
    }
    return tls_context_new(&settings, tls_now_ms(), out, trouble);
}

static inline struct tls_context *server_make(struct server_wish wish)
{
    struct tls_trouble trouble = {.text = ""};
    struct tls_context *context = NULL;
    enum err err = server_try(wish, &context, &trouble);
    assert_string_equal(trouble.text, "");
    assert_int_equal(err, OK);
    return context;
}

struct client_wish {
    const char *name;   /* of certs.py: what it proves; NULL: nothing */
    const char *cafile; /* NULL: "ca.pem" */
    bool is_insecure;
    const char *version, *ciphers, *curves;
    const char *protocols[3];
};

static inline enum err client_try(struct client_wish wish, struct tls_context **out,
                                  struct tls_trouble *trouble)
{
    struct tls_client_settings settings = {
        .cafile = tls_path(wish.cafile == NULL ? "ca.pem" : wish.cafile),
        .is_insecure = wish.is_insecure,
        .version = wish.version,
        .ciphers = wish.ciphers,
        .curves = wish.curves,
        .protocols = wish.protocols,
    };
    if (wish.name != NULL) {
        struct tls_pair pair = tls_pair_named("client-", wish.name);
        settings.certfile = pair.certfile;
        settings.keyfile = pair.keyfile;
    }
    while (settings.protocol_count < 3 && wish.protocols[settings.protocol_count] != NULL) {
        settings.protocol_count++;
    }
    return tls_client_context_new(&settings, out, trouble);
}

static inline struct tls_context *client_make(struct client_wish wish)
{
    struct tls_trouble trouble = {.text = ""};
    struct tls_context *context = NULL;
    enum err err = client_try(wish, &context, &trouble);
    assert_string_equal(trouble.text, "");
    assert_int_equal(err, OK);
    return context;
}

/* ---- two ends ------------------------------------------------------------------------------ */

struct tls_side {
    struct tls *tls;
    struct buf in, out, plain;
    uint64_t signature_count;
    enum err last;
    bool refuses_bytes; /* its sink is out of memory */
};

struct tls_duo {
    struct tls_side client, server;
};

static inline bool side_sink(void *owner, struct slice cipher)
{
    struct tls_side *side = owner;
    return !side->refuses_bytes && buf_append(&side->out, cipher) == OK;
}

static inline void side_init(struct tls_side *side, struct tls_context *context, const char *name)
{
    *side = (struct tls_side){.tls = tls_new(context, name)};
    assert_non_null(side->tls);
    tls_set_sink(side->tls, side_sink, side);
}

static inline void side_deinit(struct tls_side *side)
{
    tls_free(side->tls);
    buf_deinit(&side->in);
    buf_deinit(&side->out);
    buf_deinit(&side->plain);
}

static inline void duo_init(struct tls_duo *duo, struct tls_context *server,
                            struct tls_context *client, const char *name)
{
    side_init(&duo->server, server, NULL);
    side_init(&duo->client, client, name == NULL ? "localhost" : name);
}

static inline void duo_deinit(struct tls_duo *duo)
{
    side_deinit(&duo->client);
    side_deinit(&duo->server);
}

/* One step of the handshake, or all reads that there are bytes for. */
static inline enum err side_step(struct tls_side *side)
{
    uint8_t plain[TLS_PLAIN_BYTES];
    size_t count = 0;

    tls_feed(side->tls, buf_bytes(&side->in));
    enum err err = tls_is_open(side->tls) ? OK : tls_handshake(side->tls);
    for (uint32_t i = 0; err == ERR_AGAIN && i < TLS_SIGNATURES_INSIDE; i++) {
        struct tls_signature *signature = tls_signature_take(side->tls);
        assert_non_null(signature);
        assert_null(tls_signature_take(side->tls));
        tls_signature_make(signature);
        tls_signature_done(side->tls, signature);
        side->signature_count++;
        err = tls_handshake(side->tls);
    }
    while (err == OK) {
        err = tls_read(side->tls, plain, &count);
        if (err == OK) {
            assert_in_range(count, 1, TLS_PLAIN_BYTES);
            assert_int_equal(buf_append(&side->plain, slice_of(plain, count)), OK);
        }
    }
    if (err == ERR_MORE) {
        assert_int_equal(tls_unread(side->tls), 0);
    }
    buf_consume(&side->in, buf_count(&side->in) - tls_unread(side->tls));
    tls_feed(side->tls, buf_bytes(&side->in));
    side->last = err;
    return err;
}

static inline void side_carry(struct tls_side *from, struct tls_side *to)
{
    assert_int_equal(buf_append(&to->in, buf_bytes(&from->out)), OK);
    buf_consume(&from->out, buf_count(&from->out));
}

/* Steps of both until neither has anything to say. */
static inline void duo_run(struct tls_duo *duo)
{
    for (uint32_t i = 0; i < TLS_STEPS_MAX; i++) {
        if (duo->client.last == OK || duo->client.last == ERR_MORE) {
            side_step(&duo->client);
        }
        side_carry(&duo->client, &duo->server);
        if (duo->server.last == OK || duo->server.last == ERR_MORE) {
            side_step(&duo->server);
        }
        side_carry(&duo->server, &duo->client);
        if (buf_count(&duo->client.in) == 0 && i > 0) {
            return;
        }
        if (duo->client.last != OK && duo->client.last != ERR_MORE) {
            return;
        }
    }
}

/* Both are open. */
static inline void duo_open(struct tls_duo *duo)
{
    duo_run(duo);
    if (!tls_is_open(duo->client.tls) || !tls_is_open(duo->server.tls)) {
        print_error("client: %s (%s); server: %s (%s)\n", err_name(duo->client.last),
                    tls_failure(duo->client.tls), err_name(duo->server.last),
                    tls_failure(duo->server.tls));
    }
    assert_true(tls_is_open(duo->client.tls));
    assert_true(tls_is_open(duo->server.tls));
}

static inline void side_say(struct tls_side *side, const char *text)
{
    struct slice part = slice_text(text);
    assert_int_equal(tls_seal(side->tls, &part, 1, 1), OK);
}

static inline void side_heard(struct tls_side *side, const char *text)
{
    assert_int_equal(buf_count(&side->plain), strlen(text));
    assert_memory_equal(side->plain.data + side->plain.begin, text, strlen(text));
    buf_consume(&side->plain, strlen(text));
}

/* Both hear each other. */
static inline void duo_talk(struct tls_duo *duo)
{
    side_say(&duo->client, "hello broker");
    side_say(&duo->server, "hello device");
    duo_run(duo);
    side_heard(&duo->server, "hello broker");
    side_heard(&duo->client, "hello device");
}

/* The records that wait in bytes: how many of that type (0: of any). */
static inline uint32_t record_count(struct slice bytes, uint8_t type)
{
    uint32_t count = 0;
    while (bytes.count >= 5) {
        size_t length = 5 + ((size_t)bytes.data[3] << 8 | bytes.data[4]);
        count += type == 0 || bytes.data[0] == type;
        assert_true(length <= bytes.count);
        bytes = slice_skip(bytes, length);
    }
    assert_int_equal(bytes.count, 0);
    return count;
}

#endif
