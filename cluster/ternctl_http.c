#include "cluster/ternctl_http.h"

#include "cluster/ternctl.h"
#include "core/base/text.h"
#include "core/base/utf8.h"
#include "core/io/exchange.h"
#include "core/wire/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TIMEOUT_MS = 10000,
    ANSWER_BYTES_MAX = 4 << 20,
    HEAD_BYTES_MAX = 16384,
};

/* "localhost:8888" is 127.0.0.1: nothing is looked up. */
static enum err where_read(const char *where, struct address *out)
{
    char host[ADDRESS_TEXT_MAX];
    uint64_t port;
    const char *colon = strrchr(where, ':');
    if (where[0] == '/') {
        return address_parse(where, 0, out);
    }
    if (colon == NULL || (size_t)(colon - where) >= sizeof(host) ||
        text_read_u64(slice_text(colon + 1), &port) != OK || port == 0 || port > UINT16_MAX) {
        return ERR_INVALID;
    }
    snprintf(host, sizeof(host), "%.*s", (int)(colon - where), where);
    return address_parse(strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, (uint16_t)port, out);
}

/* What to do about a broker that cannot be asked. */
static int unreachable(const char *where, enum err err)
{
    if (err == ERR_PERMISSION) {
        fprintf(stderr,
                "ternctl: %s is not for this user: ask as the user that the broker runs as\n",
                where);
    } else if (err == ERR_REFUSED || err == ERR_NOT_FOUND) {
        fprintf(stderr,
                "ternctl: nobody listens at %s: start the broker, or name its http_listener or "
                "http_socket with --http ADDRESS:PORT or --http /PATH\n",
                where);
    } else {
        fprintf(stderr,
                "ternctl: the broker at %s does not answer: %s: see its log, or name another "
                "address with --http\n",
                where, err_text(err));
    }
    return TERNCTL_UNAVAILABLE;
}

static enum err append_text(struct buf *out, const char *text)
{
    return buf_append(out, slice_text(text));
}

static enum err request_write(struct buf *out, const struct address *to, const char *method,
                              const char *target, struct slice body)
{
    char host[ADDRESS_TEXT_MAX], length[64];
    bool is_unix = to->kind == ADDRESS_UNIX;
    TRY(append_text(out, method));
    TRY(append_text(out, " "));
    TRY(append_text(out, target));
    TRY(append_text(out, " HTTP/1.1\r\nHost: "));
    TRY(append_text(out, is_unix ? "localhost" : address_text(to, host)));
    TRY(append_text(out, "\r\nUser-Agent: ternctl/" TERN_VERSION "\r\nConnection: close\r\n"));
    if (strcmp(method, "GET") != 0) {
        snprintf(length, sizeof(length), "Content-Length: %zu\r\n", body.count);
        TRY(append_text(out, "Content-Type: application/json\r\n"));
        TRY(append_text(out, length));
    }
    TRY(append_text(out, "\r\n"));
    return buf_append(out, body);
}

/* Head and body of an answer that ends with its connection. */
static enum err answer_read(struct ternctl_answer *answer)
{
    static struct http_head head;
    static const struct json_limits limits = {.bytes_max = ANSWER_BYTES_MAX, .depth_max = 8};
    struct slice all = buf_bytes(&answer->bytes);
    size_t scanned = 0, head_bytes;
    enum err err = http_head_find(all, HEAD_BYTES_MAX, &scanned, &head_bytes);
    if (err != OK) {
        return ERR_MALFORMED; /* also one that broke off: ERR_MORE */
    }
    TRY(http_response_parse(slice_head(all, head_bytes), &head));
    answer->status = head.status;
    answer->body = slice_skip(all, head_bytes);
    if (head.has_content_length && head.content_length != answer->body.count) {
        return ERR_MALFORMED;
    }
    return answer->body.count == 0 ? OK : json_read(answer->body, &limits, &answer->document, NULL);
}

/* The broker's own words about what it refuses. */
static int refused(const char *where, const struct ternctl_answer *answer)
{
    struct slice detail = ternctl_text(answer->document, "detail");
    fprintf(stderr, "ternctl: the broker at %s refuses: ", where);
    if (detail.count > 0) {
        ternctl_print_safe(stderr, detail);
        fprintf(stderr, "\n");
    } else {
        fprintf(stderr, "%u %s\n", answer->status, http_status_text(answer->status));
    }
    return answer->status == 400   ? TERNCTL_USAGE
           : answer->status == 404 ? TERNCTL_NO
                                   : TERNCTL_UNAVAILABLE;
}

int ternctl_ask(const char *where, const char *method, const char *target, struct slice body,
                struct ternctl_answer *out)
{
    struct ternctl_answer answer = {.status = 0};
    struct buf request = {0};
    struct address to;
    *out = answer;
    if (where_read(where, &to) != OK) {
        fprintf(stderr,
                "ternctl: --http %s is not an address: write ADDRESS:PORT such as %s, or the path "
                "of a Unix socket\n",
                where, TERNCTL_HTTP_DEFAULT);
        return TERNCTL_USAGE;
    }
    enum err err = request_write(&request, &to, method, target, body);
    if (err == OK) {
        err = exchange(&to, buf_bytes(&request), TIMEOUT_MS, ANSWER_BYTES_MAX, &answer.bytes);
    }
    buf_deinit(&request);
    if (err != OK) {
        ternctl_answer_deinit(&answer);
        return unreachable(where, err);
    }
    if (answer_read(&answer) != OK) {
        fprintf(stderr, "ternctl: what answers at %s is not a broker's API\n", where);
        ternctl_answer_deinit(&answer);
        return TERNCTL_DATA;
    }
    if (answer.status / 100 != 2) {
        int code = refused(where, &answer);
        ternctl_answer_deinit(&answer);
        return code;
    }
    *out = answer;
    return TERNCTL_OK;
}

void ternctl_answer_deinit(struct ternctl_answer *answer)
{
    json_free(answer->document);
    buf_deinit(&answer->bytes);
    *answer = (struct ternctl_answer){.status = 0};
}

enum err ternctl_encode(struct slice text, struct buf *out)
{
    for (size_t i = 0; i < text.count; i++) {
        uint8_t byte = text.data[i];
        bool is_plain = (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
                        (byte >= 'A' && byte <= 'Z') || memchr("-._~", byte, 4) != NULL;
        char escaped[4] = {'%'};
        text_hex(slice_of(&byte, 1), escaped + 1);
        TRY(buf_append(out, is_plain ? slice_of(&byte, 1) : slice_of(escaped, 3)));
    }
    return OK;
}

/* Letters of any language pass. Controls do not, nor what turns or hides what stands beside it. */
static bool is_plain(uint32_t code_point)
{
    static const struct {
        uint32_t first, last;
    } refused[] = {{0, 0x1f},        {0x7f, 0x9f},     {0x200b, 0x200f},
                   {0x2028, 0x202e}, {0x2060, 0x206f}, {0xfeff, 0xfeff}};
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        if (code_point >= refused[i].first && code_point <= refused[i].last) {
            return false;
        }
    }
    return true;
}

void ternctl_print_safe(FILE *out, struct slice text)
{
    while (text.count > 0) {
        uint32_t code_point = 0, count = utf8_first(text, &code_point);
        if (count > 0 && is_plain(code_point)) {
            fwrite(text.data, 1, count, out);
        } else {
            count = 1;
            fprintf(out, "\\x%02x", text.data[0]);
        }
        text = slice_skip(text, count);
    }
}

struct slice ternctl_text(const struct json *object, const char *key)
{
    struct slice text = {NULL, 0};
    (void)json_get_text(json_member(object, key), &text);
    return text;
}

uint64_t ternctl_number(const struct json *object, const char *key)
{
    uint64_t number = 0;
    (void)json_get_u64(json_member(object, key), &number);
    return number;
}
