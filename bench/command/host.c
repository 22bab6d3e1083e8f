#include "bench/command/host.h"

#include "core/base/text.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TRY_MS = 1000, HOST_BYTES = 256 };

static void take(const struct addrinfo *found, uint16_t port, struct address *out)
{
    *out = (struct address){.port = port};
    if (found->ai_family == AF_INET) {
        out->kind = ADDRESS_IP4;
        memcpy(out->ip, &((const struct sockaddr_in *)found->ai_addr)->sin_addr, 4);
    } else {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)found->ai_addr;
        out->kind = ADDRESS_IP6;
        out->scope_id = in6->sin6_scope_id;
        memcpy(out->ip, &in6->sin6_addr, 16);
    }
}

/* Whether somebody accepts there, within TRY_MS. */
static bool is_listening(const struct addrinfo *found)
{
    int error = 1;
    socklen_t bytes = sizeof(error);
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    bool is_done = connect(fd, found->ai_addr, found->ai_addrlen) == 0;
    struct pollfd poller = {.fd = fd, .events = POLLOUT};
    if (!is_done && poll(&poller, 1, TRY_MS) == 1) {
        is_done = getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &bytes) == 0 && error == 0;
    }
    close(fd);
    return is_done;
}

enum err host_find(const char *host, uint16_t port, struct address *out,
                   char problem[HOST_PROBLEM_BYTES])
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    char service[8];

    problem[0] = '\0';
    if (address_parse(host, port, out) == OK) {
        return OK;
    }
    snprintf(service, sizeof(service), "%u", port);
    int rc = getaddrinfo(host, service, &hints, &found);
    if (rc != 0) {
        snprintf(problem, HOST_PROBLEM_BYTES, "%.180s: %s", host, gai_strerror(rc));
        return ERR_NOT_FOUND;
    }
    const struct addrinfo *best = found;
    bool is_tried = port != 0 && found->ai_next != NULL;
    for (const struct addrinfo *at = found; is_tried && at != NULL; at = at->ai_next) {
        if (is_listening(at)) {
            best = at;
            break;
        }
    }
    take(best, port, out);
    freeaddrinfo(found);
    return OK;
}

enum err host_find_port(const char *text, struct address *out, char problem[HOST_PROBLEM_BYTES])
{
    char host[HOST_BYTES] = "127.0.0.1";
    const char *colon = strrchr(text, ':');
    const char *digits = colon == NULL ? text : colon + 1;
    uint64_t port = 0;

    if (text_read_u64(slice_text(digits), &port) != OK || port > UINT16_MAX ||
        strlen(text) >= HOST_BYTES) {
        snprintf(problem, HOST_PROBLEM_BYTES,
                 "'%.150s' is no HOST:PORT such as 10.0.0.2:7883 or [::1]:7883", text);
        return ERR_INVALID;
    }
    if (colon != NULL) {
        memcpy(host, text, (size_t)(colon - text));
        host[colon - text] = '\0';
    }
    struct address address;
    TRY(host_find(host, 0, &address, problem));
    address.port = (uint16_t)port;
    *out = address;
    return OK;
}
