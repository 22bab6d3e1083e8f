#include "core/io/sock_native.h"

#include "core/base/assert.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 4096 }; /* the kernel cuts it to net.core.somaxconn */

enum err address_to_native(const struct address *address, struct sockaddr_storage *out,
                           socklen_t *bytes_out)
{
    struct sockaddr_in *ip4 = (struct sockaddr_in *)out;
    struct sockaddr_in6 *ip6 = (struct sockaddr_in6 *)out;
    struct sockaddr_un *local = (struct sockaddr_un *)out;

    memset(out, 0, sizeof(*out));
    switch (address->kind) {
    case ADDRESS_IP4:
        ip4->sin_family = AF_INET;
        ip4->sin_port = htons(address->port);
        memcpy(&ip4->sin_addr, address->ip, sizeof(ip4->sin_addr));
        *bytes_out = sizeof(*ip4);
        return OK;
    case ADDRESS_IP6:
        ip6->sin6_family = AF_INET6;
        ip6->sin6_port = htons(address->port);
        ip6->sin6_scope_id = address->scope_id;
        memcpy(&ip6->sin6_addr, address->ip, sizeof(ip6->sin6_addr));
        *bytes_out = sizeof(*ip6);
        return OK;
    case ADDRESS_UNIX:
        if (address->path[0] == '\0' || memchr(address->path, '\0', ADDRESS_PATH_MAX) == NULL) {
            return ERR_INVALID;
        }
        local->sun_family = AF_UNIX;
        memcpy(local->sun_path, address->path, sizeof(local->sun_path));
        *bytes_out = sizeof(*local);
        return OK;
    case ADDRESS_NONE:
        break;
    }
    return ERR_INVALID;
}

void address_from_native(const struct sockaddr_storage *native, socklen_t bytes,
                         struct address *out)
{
    const struct sockaddr_in *ip4 = (const struct sockaddr_in *)native;
    const struct sockaddr_in6 *ip6 = (const struct sockaddr_in6 *)native;
    const struct sockaddr_un *local = (const struct sockaddr_un *)native;

    *out = (struct address){.kind = ADDRESS_NONE};
    if (native->ss_family == AF_INET && bytes >= sizeof(*ip4)) {
        out->kind = ADDRESS_IP4;
        out->port = ntohs(ip4->sin_port);
        memcpy(out->ip, &ip4->sin_addr, sizeof(ip4->sin_addr));
    } else if (native->ss_family == AF_INET6 && bytes >= sizeof(*ip6)) {
        out->kind = ADDRESS_IP6;
        out->port = ntohs(ip6->sin6_port);
        out->scope_id = ip6->sin6_scope_id;
        memcpy(out->ip, &ip6->sin6_addr, sizeof(ip6->sin6_addr));
    } else if (native->ss_family == AF_UNIX) {
        out->kind = ADDRESS_UNIX; /* a client has no path as a rule */
        size_t path_bytes = bytes - offsetof(struct sockaddr_un, sun_path);
        if (bytes > offsetof(struct sockaddr_un, sun_path) && local->sun_path[0] != '\0') {
            memcpy(out->path, local->sun_path,
                   path_bytes < ADDRESS_PATH_MAX ? path_bytes : ADDRESS_PATH_MAX - 1);
        }
    }
}

void sock_local_address(int fd, struct address *out)
{
    struct sockaddr_storage native = {0};
    socklen_t bytes = sizeof(native);
    if (getsockname(fd, (struct sockaddr *)&native, &bytes) < 0) {
        bytes = 0;
    }
    address_from_native(&native, bytes, out);
}

void sock_peer_address(int fd, struct address *out)
{
    struct sockaddr_storage native = {0};
    socklen_t bytes = sizeof(native);
    if (getpeername(fd, (struct sockaddr *)&native, &bytes) < 0) {
        bytes = 0;
    }
    address_from_native(&native, bytes, out);
}

static bool option_set(int fd, int level, int option)
{
    int one = 1;
    return setsockopt(fd, level, option, &one, sizeof(one)) == 0;
}

/* The errors of socket(), bind(), listen(); EADDRNOTAVAIL is a wrong address, not a broken disk. */
static enum err err_of_bind(int errno_value)
{
    return errno_value == EADDRNOTAVAIL || errno_value == ENODEV ? ERR_INVALID
                                                                 : err_from_errno(errno_value);
}

/* A blocking socket: io_uring waits by itself, and O_NONBLOCK would hand us its -EAGAIN. */
static enum err sock_new(const struct address *address, int *fd_out)
{
    int family = address->kind == ADDRESS_IP4   ? AF_INET
                 : address->kind == ADDRESS_IP6 ? AF_INET6
                                                : AF_UNIX;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    size_t device_bytes = strnlen(address->device, sizeof(address->device));
    bool is_set = family == AF_UNIX || option_set(fd, IPPROTO_TCP, TCP_NODELAY);
    is_set = is_set && (family != AF_INET6 || option_set(fd, IPPROTO_IPV6, IPV6_V6ONLY));
    is_set = is_set && (device_bytes == 0 || setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE,
                                                        address->device, device_bytes) == 0);
    if (!is_set) {
        enum err err = err_of_bind(errno);
        close(fd);
        return err;
    }
    *fd_out = fd;
    return OK;
}

/* A socket file that nobody answers at is a left-over of a process that died. */
static bool unix_file_is_stale(const struct sockaddr_storage *native, socklen_t bytes)
{
    const struct sockaddr_un *local = (const struct sockaddr_un *)native;
    struct stat file;
    if (lstat(local->sun_path, &file) < 0 || !S_ISSOCK(file.st_mode)) {
        return false;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return false;
    }
    int rc = connect(fd, (const struct sockaddr *)native, bytes);
    bool is_stale = rc < 0 && errno == ECONNREFUSED;
    close(fd);
    return is_stale;
}

enum err sock_listen(const struct address *at, enum io_share share, int *fd_out)
{
    struct sockaddr_storage native;
    socklen_t bytes;
    int fd = -1;

    TRY(address_to_native(at, &native, &bytes));
    TRY(sock_new(at, &fd)); /* an accepted socket inherits TCP_NODELAY from the listener */
    if (at->kind != ADDRESS_UNIX &&
        (!option_set(fd, SOL_SOCKET, SO_REUSEADDR) ||
         (share == IO_SHARE_JOIN && !option_set(fd, SOL_SOCKET, SO_REUSEPORT)))) {
        goto fail;
    }
    /* In all that we speak the client speaks first: its first bytes bring the connection with them. */
    if (at->kind != ADDRESS_UNIX && !option_set(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT)) {
        goto fail;
    }
    /* The file takes its mode from the socket's: nobody finds it wider for a moment. */
    if (at->kind == ADDRESS_UNIX && at->mode != 0 && fchmod(fd, at->mode) < 0) {
        goto fail;
    }
    int rc = bind(fd, (struct sockaddr *)&native, bytes);
    if (rc < 0 && errno == EADDRINUSE && at->kind == ADDRESS_UNIX) {
        if (!unix_file_is_stale(&native, bytes) || unlink(at->path) < 0) {
            close(fd);
            return ERR_EXISTS;
        }
        rc = bind(fd, (struct sockaddr *)&native, bytes);
    }
    if (rc < 0 || listen(fd, BACKLOG) < 0) {
        goto fail;
    }
    /* Not before: with it, another process of the same user could listen here, too. */
    if (share == IO_SHARE_FIRST && !option_set(fd, SOL_SOCKET, SO_REUSEPORT)) {
        goto fail;
    }
    *fd_out = fd;
    return OK;
fail:;
    enum err err = err_of_bind(errno);
    close(fd);
    return err;
}

enum err sock_for_connect(const struct address *to, const struct address *from, int *fd_out)
{
    struct sockaddr_storage native;
    socklen_t bytes;
    int fd = -1;

    TRY(sock_new(to, &fd));
    if (from != NULL && from->kind != ADDRESS_NONE) {
        enum err err = address_to_native(from, &native, &bytes);
        if (err == OK && from->port == 0 && from->kind != ADDRESS_UNIX) {
            /* Leave the port to connect(): it may then be shared by several destinations. */
            (void)option_set(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT);
        }
        if (err == OK && bind(fd, (struct sockaddr *)&native, bytes) < 0) {
            err = err_of_bind(errno);
        }
        if (err != OK) {
            close(fd);
            return err;
        }
    }
    *fd_out = fd;
    return OK;
}
