/*
 * ternctl_http: ask a running broker.
 *
 * Floor:  cluster; a part of ternctl.
 */
#ifndef TERN_CLUSTER_TERNCTL_HTTP_H
#define TERN_CLUSTER_TERNCTL_HTTP_H

#include "core/base/buf.h"
#include "core/base/json.h"

#include <stdio.h>

#define TERNCTL_HTTP_DEFAULT "127.0.0.1:8888"

struct ternctl_answer {
    uint16_t status;
    struct buf bytes;      /* the whole answer */
    struct slice body;     /* points into bytes */
    struct json *document; /* of the body; NULL: it is empty */
};

/*
 * where: "127.0.0.1:8888", "[::1]:8888", "localhost:8888" or the path of a Unix socket. method and
 * target as HTTP has them; body: JSON, or empty.
 *
 * TERNCTL_OK: the broker did what it was asked (a status 2xx). Else everything has been said on
 * stderr and *out is empty.
 */
int ternctl_ask(const char *where, const char *method, const char *target, struct slice body,
                struct ternctl_answer *out);
void ternctl_answer_deinit(struct ternctl_answer *answer);

/* Percent-encode a value of a query; ERR_NOMEM. */
enum err ternctl_encode(struct slice text, struct buf *out);

/*
 * Print text that others chose: what is not printable becomes an escape, so that nobody writes to the
 * terminal of who reads it.
 */
void ternctl_print_safe(FILE *out, struct slice text);

/* A member that is a text, or "". */
struct slice ternctl_text(const struct json *object, const char *key);
/* A member that is a number, or 0. */
uint64_t ternctl_number(const struct json *object, const char *key);

#endif
