#include "core/io/sock.h"

#include "core/base/assert.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

static enum err parse_unix(const char *text, struct address *out)
{
    if (strlen(text) >= ADDRESS_PATH_MAX) {
        return ERR_INVALID;
    }
    *out = (struct address){.kind = ADDRESS_UNIX};
    memcpy(out->path, text, strlen(text));
    return OK;
}

static enum err parse_ip6(const char *text, uint16_t port, struct address *out)
{
    char host[ADDRESS_TEXT_MAX];
    size_t count = strlen(text);
    struct address address = {.kind = ADDRESS_IP6, .port = port};

    if (text[0] == '[') {
        if (text[count - 1] != ']') {
            return ERR_INVALID;
        }
        text++;
        count -= 2;
    }
    if (count >= sizeof(host)) {
        return ERR_INVALID;
    }
    memcpy(host, text, count);
    host[count] = '\0';
    char *scope = strchr(host, '%');
    if (scope != NULL) {
        *scope++ = '\0';
        address.scope_id = if_nametoindex(scope);
        if (address.scope_id == 0) {
            return ERR_INVALID;
        }
    }
    if (inet_pton(AF_INET6, host, address.ip) != 1) {
        return ERR_INVALID;
    }
    *out = address;
    return OK;
}

enum err address_parse(const char *text, uint16_t port, struct address *out)
{
    struct address address = {.kind = ADDRESS_IP4, .port = port};

    if (text[0] == '/') {
        return parse_unix(text, out);
    }
    if (strchr(text, ':') != NULL) {
        return parse_ip6(text, port, out);
    }
    if (strcmp(text, "*") != 0 && inet_pton(AF_INET, text, address.ip) != 1) {
        return ERR_INVALID;
    }
    *out = address;
    return OK;
}

/* Write the host alone; IPv6 without brackets. */
static void host_write(const struct address *address, char out[ADDRESS_TEXT_MAX])
{
    char host[INET6_ADDRSTRLEN] = "";

    switch (address->kind) {
    case ADDRESS_IP4:
        inet_ntop(AF_INET, address->ip, out, ADDRESS_TEXT_MAX);
        return;
    case ADDRESS_IP6:
        inet_ntop(AF_INET6, address->ip, host, sizeof(host));
        if (address->scope_id != 0) {
            char name[IF_NAMESIZE] = "";
            if (if_indextoname(address->scope_id, name) == NULL) {
                snprintf(name, sizeof(name), "%u", address->scope_id);
            }
            snprintf(out, ADDRESS_TEXT_MAX, "%s%%%s", host, name);
            return;
        }
        snprintf(out, ADDRESS_TEXT_MAX, "%s", host);
        return;
    case ADDRESS_UNIX:
        snprintf(out, ADDRESS_TEXT_MAX, "unix:%s", address->path);
        return;
    case ADDRESS_NONE:
        break;
    }
    snprintf(out, ADDRESS_TEXT_MAX, "unknown");
}

const char *address_host_text(const struct address *address, char out[ADDRESS_TEXT_MAX])
{
    host_write(address, out);
    return out;
}

const char *address_text(const struct address *address, char out[ADDRESS_TEXT_MAX])
{
    char host[ADDRESS_TEXT_MAX];

    host_write(address, host);
    if (address->kind == ADDRESS_IP4) {
        snprintf(out, ADDRESS_TEXT_MAX, "%.100s:%u", host, address->port);
    } else if (address->kind == ADDRESS_IP6) {
        snprintf(out, ADDRESS_TEXT_MAX, "[%.100s]:%u", host, address->port);
    } else {
        memcpy(out, host, sizeof(host));
    }
    return out;
}

bool address_is_loopback(const struct address *address)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    static const uint8_t ip6_one[16] = {[15] = 1};

    switch (address->kind) {
    case ADDRESS_IP4:
        return address->ip[0] == 127;
    case ADDRESS_IP6:
        if (memcmp(address->ip, mapped, sizeof(mapped)) == 0) {
            return address->ip[12] == 127;
        }
        return memcmp(address->ip, ip6_one, sizeof(ip6_one)) == 0;
    case ADDRESS_UNIX:
        return true;
    case ADDRESS_NONE:
        break;
    }
    return false;
}
