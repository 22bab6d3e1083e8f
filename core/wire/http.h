/*
 * http: heads of HTTP/1.1 requests and responses, the little of it that a broker needs.
 *
 * Floor:  wire; pure.
 * Memory: every slice borrows from the bytes that were parsed.
 *
 * Ours rather than http-parser: we need whole heads of a few KiB, no bodies, no chunks and no
 * callbacks. That is some 300 lines which read like RFC 9112, are fuzzed, and are stricter than a
 * general library may be. What could make two parsers disagree about where a message ends (request
 * smuggling) is refused: bare LF, folded lines, blanks before the colon, Content-Length twice or
 * beside Transfer-Encoding, an empty line before the request.
 */
#ifndef TERN_WIRE_HTTP_H
#define TERN_WIRE_HTTP_H

#include "core/base/err.h"
#include "core/base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HTTP_HEADERS_MAX = 64 };

enum http_method {
    HTTP_OTHER, /* any token not in this list; its text is in method_text */
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_PATCH,
    HTTP_DELETE,
    HTTP_OPTIONS,
};

struct http_header {
    struct slice name;  /* as sent; compare without regard to case */
    struct slice value; /* blanks around it removed */
};

struct http_head {
    enum http_method method; /* requests */
    uint16_t status;         /* responses */
    uint8_t minor;           /* HTTP/1.minor: 0 or 1 */
    bool keep_alive;         /* the connection may be used again afterwards */
    bool has_content_length;
    uint64_t content_length; /* 0 when there is none */
    struct slice method_text;
    struct slice path;  /* starts with '/', or is "*" (OPTIONS); not percent-decoded */
    struct slice query; /* after '?', which is left out */
    uint32_t header_count;
    struct http_header headers[HTTP_HEADERS_MAX];
};

/*
 * How long is the head that starts at in.data? Written to *head_bytes on OK, its blank line counted.
 *
 * scanned  0 at the start of each head, kept by the caller between calls while bytes are added at
 *          the end of in: so that a head that drips in is looked at once, not once per byte
 *
 * ERR_MORE       the blank line has not come yet
 * ERR_TOO_LARGE  it is not among the first head_bytes_max bytes
 * ERR_MALFORMED  it cannot become a head any more: a bare LF, or no letter at the start
 */
enum err http_head_find(struct slice in, size_t head_bytes_max, size_t *scanned,
                        size_t *head_bytes);

/*
 * Read a complete head, of the length that http_head_find() told. It is large, so it is filled in
 * place: what *out holds after an error means nothing.
 *
 * ERR_MALFORMED    not HTTP, or one of the tricks above (400)
 * ERR_TOO_LARGE    more than HTTP_HEADERS_MAX headers (431)
 * ERR_UNSUPPORTED  Transfer-Encoding, or the method CONNECT (501)
 * ERR_VERSION      not HTTP/1.0 or HTTP/1.1 (505)
 */
enum err http_request_parse(struct slice head, struct http_head *out);
enum err http_response_parse(struct slice head, struct http_head *out);

/* The status to answer for an error of the two functions above. */
uint16_t http_status_of(enum err err);

/* "Not Found"; "Unknown" for a status not in the table. */
const char *http_status_text(uint16_t status);

/* Case is ignored. NULL: no such header; several: the first. Borrowed from head. */
const struct http_header *http_header_find(const struct http_head *head, const char *name);

/* How many headers have that name. */
uint32_t http_header_count(const struct http_head *head, const char *name);

/* One of the headers of that name holds token in its comma-separated list; case is ignored. */
bool http_list_contains(const struct http_head *head, const char *name, const char *token);

/* "a" and "A" are equal. */
bool http_text_equal(struct slice a, struct slice b);

/*
 * Walk "a, b ,c": the next element without blanks, empty ones skipped; false at the end.
 * rest is the list at first, and is moved on.
 */
bool http_list_next(struct slice *rest, struct slice *element);

struct http_reply {
    uint16_t status;
    bool keep_alive;          /* false: "Connection: close" is written */
    bool has_content_length;  /* false only where the body ends with the connection, or for 1xx */
    uint64_t content_length;  /* of the body that a GET would get, also for HEAD */
    const char *content_type; /* NULL: none */
    const char *headers;      /* more lines, each ending in "\r\n", or NULL */
    const char *connection;   /* value of Connection instead of the one above, or NULL */
};

/* Write the head of a response. ERR_TOO_LARGE: out is too small; what it holds means nothing. */
enum err http_reply_write(const struct http_reply *reply, uint8_t *out, size_t out_bytes,
                          size_t *head_bytes);

#endif
