#include "core/admin/visitor.h"

#include "core/io/sock.h"

#include <string.h>

enum { HOST_BYTES_MAX = 64 };

/* Digits and nothing else, or nothing. */
static bool is_port(struct slice text)
{
    for (size_t i = 0; i < text.count; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
    }
    return text.count <= 5;
}

bool visitor_host_is_local(struct slice host)
{
    char name[HOST_BYTES_MAX];
    struct address address;
    size_t bracket = slice_find(host, ']');
    struct slice behind = bracket < host.count ? slice_skip(host, bracket) : host;
    size_t colon = slice_find(behind, ':');
    if (colon < behind.count) {
        if (!is_port(slice_skip(behind, colon + 1))) {
            return false;
        }
        host.count -= behind.count - colon;
    }
    if (host.count == 0 || host.count >= sizeof(name)) {
        return false;
    }
    if (http_text_equal(host, slice_text("localhost"))) {
        return true;
    }
    memcpy(name, host.data, host.count);
    name[host.count] = '\0';
    return name[0] != '/' && address_parse(name, 0, &address) == OK &&
           address_is_loopback(&address);
}

static bool is_json(const struct http_header *type)
{
    if (type == NULL) {
        return false;
    }
    struct slice media = slice_head(type->value, slice_find(type->value, ';'));
    while (media.count > 0 &&
           (media.data[media.count - 1] == ' ' || media.data[media.count - 1] == '\t')) {
        media.count--;
    }
    return http_text_equal(media, slice_text("application/json"));
}

static bool is_passed_on(const struct http_head *head)
{
    static const char *const names[] = {"Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (http_header_find(head, names[i]) != NULL) {
            return true;
        }
    }
    return false;
}

uint16_t visitor_check(const struct http_head *head, bool is_private, const char **why)
{
    const struct http_header *host = http_header_find(head, "Host");
    const struct http_header *site = http_header_find(head, "Sec-Fetch-Site");
    bool is_read = head->method == HTTP_GET || head->method == HTTP_HEAD;
    if (!is_private) {
        *why = "the API is not served beyond this machine, as there are no keys for it yet: ask "
               "over http_socket, or over an http_listener of loopback";
        return 403;
    }
    if (http_header_find(head, "Origin") != NULL ||
        (site != NULL && !slice_is(site->value, "none"))) {
        *why = "the API does not answer web pages";
        return 403;
    }
    if (is_passed_on(head)) {
        *why = "the API does not answer what a proxy passes on";
        return 403;
    }
    if (host == NULL || !visitor_host_is_local(host->value)) {
        *why = "Host has to be localhost or an address of loopback: the API does not answer to "
               "other names";
        return 403;
    }
    if (!is_read && !is_json(http_header_find(head, "Content-Type"))) {
        *why = "what changes something needs Content-Type: application/json";
        return 415;
    }
    return 0;
}
