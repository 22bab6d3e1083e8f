#include "core/wire/http.h"

#include "core/base/text.h"

#include <stdio.h>
#include <string.h>

/*
 * What each byte may be part of. Everything below follows RFC 9110 5 and RFC 9112 2 to 6.
 */
static bool is_alpha_digit(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_token_byte(uint8_t c)
{
    return is_alpha_digit(c) || (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static bool is_value_byte(uint8_t c)
{
    return is_blank(c) || (c > ' ' && c != 0x7f); /* obs-text, 0x80 and above, is let through */
}

static bool is_target_byte(uint8_t c)
{
    return c > ' ' && c < 0x7f;
}

static bool all(struct slice in, bool (*is)(uint8_t))
{
    for (size_t i = 0; i < in.count; i++) {
        if (!is(in.data[i])) {
            return false;
        }
    }
    return true;
}

bool http_text_equal(struct slice a, struct slice b)
{
    return text_equal_nocase(a, b);
}

static struct slice trim(struct slice in)
{
    while (in.count > 0 && is_blank(in.data[0])) {
        in = slice_skip(in, 1);
    }
    while (in.count > 0 && is_blank(in.data[in.count - 1])) {
        in.count--;
    }
    return in;
}

enum err http_head_find(struct slice in, size_t head_bytes_max, size_t *scanned, size_t *head_bytes)
{
    size_t limit = in.count < head_bytes_max ? in.count : head_bytes_max;
    ASSERT(*scanned <= limit);

    if (limit > 0 && !is_token_byte(in.data[0])) {
        return ERR_MALFORMED; /* a TLS hello, say: no need to wait for more of it */
    }
    while (*scanned < limit) {
        struct slice rest = slice_skip(slice_head(in, limit), *scanned);
        size_t at = *scanned + slice_find(rest, '\n');
        if (at == limit) {
            *scanned = limit;
            break;
        }
        if (in.data[at - 1] != '\r') { /* at > 0: the first byte is no LF */
            return ERR_MALFORMED;
        }
        if (in.data[at - 2] == '\n') { /* at > 1: the first byte is no CR */
            *head_bytes = at + 1;
            return OK;
        }
        *scanned = at + 1;
    }
    return limit == head_bytes_max ? ERR_TOO_LARGE : ERR_MORE;
}

/* The next line without its CRLF; the parsers below give heads that end in an empty line. */
static enum err line_take(struct slice *rest, struct slice *line)
{
    size_t at = slice_find(*rest, '\n');
    if (at == rest->count || at == 0 || rest->data[at - 1] != '\r') {
        return ERR_MALFORMED;
    }
    *line = slice_head(*rest, at - 1);
    *rest = slice_skip(*rest, at + 1);
    return OK;
}

/* "HTTP/1.1" */
static enum err version_parse(struct slice in, uint8_t *minor)
{
    if (in.count != 8 || !slice_starts_with(in, slice_text("HTTP/")) || in.data[6] != '.' ||
        in.data[5] < '0' || in.data[5] > '9' || in.data[7] < '0' || in.data[7] > '9') {
        return ERR_MALFORMED;
    }
    if (in.data[5] != '1' || in.data[7] > '1') {
        return ERR_VERSION;
    }
    *minor = in.data[7] == '1';
    return OK;
}

static enum http_method method_of(struct slice text)
{
    static const struct {
        struct slice text;
        enum http_method method;
    } methods[] = {
        {SLICE("GET"), HTTP_GET},         {SLICE("HEAD"), HTTP_HEAD},
        {SLICE("POST"), HTTP_POST},       {SLICE("PUT"), HTTP_PUT},
        {SLICE("PATCH"), HTTP_PATCH},     {SLICE("DELETE"), HTTP_DELETE},
        {SLICE("OPTIONS"), HTTP_OPTIONS},
    };
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (slice_equal(methods[i].text, text)) { /* methods do heed case */
            return methods[i].method;
        }
    }
    return HTTP_OTHER;
}

/* "/path?query", "http://host/path?query" (a server must take it, RFC 9112 3.2.2), or "*". */
static enum err target_parse(struct slice target, struct http_head *out)
{
    if (target.count == 0 || !all(target, is_target_byte) ||
        slice_find(target, '#') != target.count) {
        return ERR_MALFORMED;
    }
    if (slice_is(target, "*")) {
        if (out->method != HTTP_OPTIONS) {
            return ERR_MALFORMED;
        }
        out->path = target;
        return OK;
    }
    struct slice scheme = slice_text("http://");
    if (target.count > scheme.count && http_text_equal(slice_head(target, scheme.count), scheme)) {
        struct slice rest = slice_skip(target, scheme.count);
        size_t host_bytes = slice_find(rest, '/');
        if (host_bytes == 0) {
            return ERR_MALFORMED;
        }
        target = slice_skip(rest, host_bytes);
    }
    if (target.count == 0 || target.data[0] != '/') {
        return ERR_MALFORMED;
    }
    size_t mark = slice_find(target, '?');
    out->path = slice_head(target, mark);
    if (mark < target.count) {
        out->query = slice_skip(target, mark + 1);
    }
    return OK;
}

/* "GET /metrics HTTP/1.1": one blank between the words. */
static enum err request_line_parse(struct slice line, struct http_head *out)
{
    size_t first = slice_find(line, ' ');
    if (first == 0 || first == line.count) {
        return ERR_MALFORMED;
    }
    out->method_text = slice_head(line, first);
    struct slice rest = slice_skip(line, first + 1);
    size_t second = slice_find(rest, ' ');
    if (second == rest.count || !all(out->method_text, is_token_byte)) {
        return ERR_MALFORMED;
    }
    TRY(version_parse(slice_skip(rest, second + 1), &out->minor));
    if (slice_is(out->method_text, "CONNECT")) {
        return ERR_UNSUPPORTED; /* its target has a form of its own */
    }
    out->method = method_of(out->method_text);
    return target_parse(slice_head(rest, second), out);
}

/* "HTTP/1.1 101 Switching Protocols"; the phrase may be empty. */
static enum err status_line_parse(struct slice line, struct http_head *out)
{
    if (line.count < 12 || line.data[8] != ' ' || (line.count > 12 && line.data[12] != ' ')) {
        return ERR_MALFORMED;
    }
    TRY(version_parse(slice_head(line, 8), &out->minor));
    for (size_t i = 9; i < 12; i++) {
        if (line.data[i] < '0' || line.data[i] > '9') {
            return ERR_MALFORMED;
        }
        out->status = (uint16_t)(out->status * 10 + (line.data[i] - '0'));
    }
    return out->status >= 100 && all(slice_skip(line, 12), is_value_byte) ? OK : ERR_MALFORMED;
}

static enum err header_parse(struct slice line, struct http_head *out)
{
    size_t colon = slice_find(line, ':');
    if (colon == 0 || colon == line.count) {
        return ERR_MALFORMED;
    }
    struct http_header header = {.name = slice_head(line, colon),
                                 .value = trim(slice_skip(line, colon + 1))};
    /* A folded line starts with a blank and fails here too. */
    if (!all(header.name, is_token_byte) || !all(header.value, is_value_byte)) {
        return ERR_MALFORMED;
    }
    if (out->header_count == HTTP_HEADERS_MAX) {
        return ERR_TOO_LARGE;
    }
    out->headers[out->header_count++] = header;
    return OK;
}

static enum err content_length_parse(struct slice value, uint64_t *out)
{
    uint64_t length = 0;
    if (value.count == 0 || value.count > 18) { /* 18 digits fit; "5, 5" is no number */
        return ERR_MALFORMED;
    }
    for (size_t i = 0; i < value.count; i++) {
        if (value.data[i] < '0' || value.data[i] > '9') {
            return ERR_MALFORMED;
        }
        length = length * 10 + (value.data[i] - '0');
    }
    *out = length;
    return OK;
}

/* Where does this message end, and does the connection go on? RFC 9112 6 and 9.3 */
static enum err framing_parse(struct http_head *out)
{
    uint32_t lengths = http_header_count(out, "Content-Length");
    uint32_t codings = http_header_count(out, "Transfer-Encoding");
    if (lengths > 1 || (lengths == 1 && codings > 0)) {
        return ERR_MALFORMED;
    }
    if (codings > 0) {
        return ERR_UNSUPPORTED;
    }
    if (lengths == 1) {
        out->has_content_length = true;
        TRY(content_length_parse(http_header_find(out, "Content-Length")->value,
                                 &out->content_length));
    }
    out->keep_alive = !http_list_contains(out, "Connection", "close") &&
                      (out->minor == 1 || http_list_contains(out, "Connection", "keep-alive"));
    return OK;
}

static enum err headers_parse(struct slice rest, struct http_head *out)
{
    for (;;) {
        struct slice line;
        TRY(line_take(&rest, &line));
        if (line.count == 0) {
            break;
        }
        TRY(header_parse(line, out));
    }
    if (rest.count > 0) {
        return ERR_MALFORMED; /* the caller gave more than the head */
    }
    return framing_parse(out);
}

enum err http_request_parse(struct slice head, struct http_head *out)
{
    struct slice line;
    memset(out, 0, offsetof(struct http_head, headers));
    TRY(line_take(&head, &line));
    TRY(request_line_parse(line, out));
    TRY(headers_parse(head, out));
    uint32_t hosts = http_header_count(out, "Host");
    return hosts > 1 || (hosts == 0 && out->minor == 1) ? ERR_MALFORMED : OK; /* RFC 9112 3.2 */
}

enum err http_response_parse(struct slice head, struct http_head *out)
{
    struct slice line;
    memset(out, 0, offsetof(struct http_head, headers));
    TRY(line_take(&head, &line));
    TRY(status_line_parse(line, out));
    return headers_parse(head, out);
}

/* clang-format off */
static const struct {
    uint16_t status;
    const char *text;
} statuses[] = {
    {101, "Switching Protocols"},
    {200, "OK"},
    {201, "Created"},
    {204, "No Content"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {411, "Length Required"},
    {413, "Content Too Large"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {426, "Upgrade Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {503, "Service Unavailable"},
    {505, "HTTP Version Not Supported"},
};
/* clang-format on */

const char *http_status_text(uint16_t status)
{
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        if (statuses[i].status == status) {
            return statuses[i].text;
        }
    }
    return "Unknown";
}

uint16_t http_status_of(enum err err)
{
    switch (err) {
    case ERR_TOO_LARGE:
        return 431;
    case ERR_UNSUPPORTED:
        return 501;
    case ERR_VERSION:
        return 505;
    default:
        return 400;
    }
}

const struct http_header *http_header_find(const struct http_head *head, const char *name)
{
    for (uint32_t i = 0; i < head->header_count; i++) {
        if (http_text_equal(head->headers[i].name, slice_text(name))) {
            return &head->headers[i];
        }
    }
    return NULL;
}

uint32_t http_header_count(const struct http_head *head, const char *name)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < head->header_count; i++) {
        count += http_text_equal(head->headers[i].name, slice_text(name));
    }
    return count;
}

bool http_list_next(struct slice *rest, struct slice *element)
{
    while (rest->count > 0) {
        size_t comma = slice_find(*rest, ',');
        struct slice found = trim(slice_head(*rest, comma));
        *rest = slice_skip(*rest, comma < rest->count ? comma + 1 : comma);
        if (found.count > 0) {
            *element = found;
            return true;
        }
    }
    return false;
}

bool http_list_contains(const struct http_head *head, const char *name, const char *token)
{
    for (uint32_t i = 0; i < head->header_count; i++) {
        if (!http_text_equal(head->headers[i].name, slice_text(name))) {
            continue;
        }
        struct slice rest = head->headers[i].value, element;
        while (http_list_next(&rest, &element)) {
            if (http_text_equal(element, slice_text(token))) {
                return true;
            }
        }
    }
    return false;
}

enum err http_reply_write(const struct http_reply *reply, uint8_t *out, size_t out_bytes,
                          size_t *head_bytes)
{
    const char *connection = reply->connection != NULL ? reply->connection
                             : reply->keep_alive       ? "keep-alive" /* for HTTP/1.0 clients */
                                                       : "close";
    char length[48] = "";
    if (reply->has_content_length) {
        snprintf(length, sizeof(length), "Content-Length: %llu\r\n",
                 (unsigned long long)reply->content_length);
    }
    bool has_type = reply->content_type != NULL;
    int count = snprintf((char *)out, out_bytes,
                         "HTTP/1.1 %u %s\r\n%s%s%s%sConnection: %s\r\n%s\r\n", reply->status,
                         http_status_text(reply->status), has_type ? "Content-Type: " : "",
                         has_type ? reply->content_type : "", has_type ? "\r\n" : "", length,
                         connection, reply->headers != NULL ? reply->headers : "");
    if (count < 0 || (size_t)count >= out_bytes) {
        return ERR_TOO_LARGE; /* the final NUL needs its byte as well */
    }
    *head_bytes = (size_t)count;
    return OK;
}
