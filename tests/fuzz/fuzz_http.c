/*
 * fuzz_http: no bytes break the head parser; how they are cut changes no verdict; what is handed
 * out lies within the head; whatever handshake is accepted can be answered.
 */
#include "core/wire/http.h"
#include "core/wire/ws.h"

#include <stdlib.h>

enum { HEAD_BYTES_MAX = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void within(struct slice head, struct slice part)
{
    ASSERT(part.count == 0 ||
           (part.data >= head.data && part.data + part.count <= head.data + head.count));
}

static void handshake(const struct http_head *head)
{
    struct ws_handshake out;
    uint8_t reply[WS_REPLY_MAX];
    struct http_head answer;

    uint16_t status = ws_handshake_check(head, &out);
    size_t count = status == 101 ? ws_handshake_accept(&out, reply)
                                 : ws_handshake_refuse(status, reply);
    size_t scanned = 0, head_bytes = 0;
    enum err err = http_head_find(slice_of(reply, count), count, &scanned, &head_bytes);
    ASSERT(err == OK);
    err = http_response_parse(slice_of(reply, head_bytes), &answer);
    ASSERT(err == OK);
    ASSERT(answer.status == status);
    ASSERT(status != 101 || ws_response_check(&answer, out.key.data) ==
                                (slice_is(out.protocol, "mqtt") ? OK : ERR_PROTOCOL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct http_head head;
    struct slice in = slice_of(data, size);
    size_t scanned = 0, head_bytes = 0;
    enum err whole = http_head_find(in, HEAD_BYTES_MAX, &scanned, &head_bytes);

    /* The same bytes one by one: the first verdict that is not ERR_MORE is the whole's. */
    size_t drip_scanned = 0, drip_bytes = 0;
    enum err drip = ERR_MORE;
    for (size_t i = 0; i <= size && drip == ERR_MORE; i++) {
        drip = http_head_find(slice_head(in, i), HEAD_BYTES_MAX, &drip_scanned, &drip_bytes);
    }
    ASSERT(drip == whole);
    ASSERT(drip_bytes == head_bytes);

    (void)http_request_parse(in, &head); /* what was not found by http_head_find() breaks nothing */
    (void)http_response_parse(in, &head);
    if (whole != OK) {
        return 0;
    }
    uint8_t *exact = malloc(head_bytes); /* so that ASan sees a read beyond the head */
    ASSERT(exact != NULL);
    memcpy(exact, data, head_bytes);
    in = slice_of(exact, head_bytes);
    if (http_request_parse(in, &head) == OK) {
        ASSERT(head.path.count > 0);
        ASSERT(head.header_count <= HTTP_HEADERS_MAX);
        within(in, head.path);
        within(in, head.query);
        within(in, head.method_text);
        for (uint32_t i = 0; i < head.header_count; i++) {
            within(in, head.headers[i].name);
            within(in, head.headers[i].value);
        }
        handshake(&head);
    }
    if (http_response_parse(in, &head) == OK) {
        ASSERT(head.status >= 100 && head.status <= 999);
        static const uint8_t key[WS_KEY_BYTES];
        (void)ws_response_check(&head, key);
    }
    free(exact);
    return 0;
}
