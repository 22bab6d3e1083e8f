#include "core/io/exchange.h"

#include "core/io/sock_native.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

enum { READ_BYTES = 16384 };

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

/* Until fd may be read or written. */
static enum err wait_for(int fd, short events, int64_t until_ms)
{
    struct pollfd wanted = {.fd = fd, .events = events};
    for (;;) {
        int64_t left_ms = until_ms - now_ms();
        int rc = left_ms <= 0 ? 0 : poll(&wanted, 1, (int)left_ms);
        if (rc >= 0) {
            return rc > 0 ? OK : ERR_TIMEOUT;
        }
        if (errno != EINTR) {
            return err_from_errno(errno);
        }
    }
}

static enum err connect_to(int fd, const struct address *to, int64_t until_ms)
{
    struct sockaddr_storage native;
    socklen_t bytes, error_bytes = sizeof(int);
    int error = 0;
    TRY(address_to_native(to, &native, &bytes));
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
        return err_from_errno(errno);
    }
    if (connect(fd, (struct sockaddr *)&native, bytes) == 0) {
        return OK;
    }
    if (errno != EINPROGRESS) {
        return err_from_errno(errno); /* EAGAIN too: a Unix socket with a full queue */
    }
    TRY(wait_for(fd, POLLOUT, until_ms));
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_bytes) < 0) {
        return err_from_errno(errno);
    }
    return error == 0 ? OK : err_from_errno(error);
}

static enum err send_all(int fd, struct slice request, int64_t until_ms)
{
    while (request.count > 0) {
        TRY(wait_for(fd, POLLOUT, until_ms));
        ssize_t count = send(fd, request.data, request.count, MSG_NOSIGNAL);
        if (count < 0 && errno != EAGAIN && errno != EINTR) {
            return err_from_errno(errno);
        }
        request = slice_skip(request, count < 0 ? 0 : (size_t)count);
    }
    return OK;
}

static enum err read_all(int fd, int64_t until_ms, size_t bytes_max, struct buf *out)
{
    size_t left = bytes_max;
    for (;;) {
        TRY(wait_for(fd, POLLIN, until_ms));
        TRY(buf_reserve(out, READ_BYTES));
        ssize_t count = recv(fd, buf_tail(out), READ_BYTES, 0);
        if (count == 0) {
            return OK;
        }
        if (count < 0 && errno != EAGAIN && errno != EINTR) {
            return err_from_errno(errno);
        }
        if (count > 0) {
            if ((size_t)count > left) {
                return ERR_TOO_LARGE;
            }
            left -= (size_t)count;
            buf_commit(out, (size_t)count);
        }
    }
}

enum err exchange(const struct address *to, struct slice request, uint32_t timeout_ms,
                  size_t bytes_max, struct buf *out)
{
    int64_t until_ms = now_ms() + timeout_ms;
    int fd;
    TRY(sock_for_connect(to, NULL, &fd));
    enum err err = connect_to(fd, to, until_ms);
    /* A server that refuses early closes while we still send: what it said is read all the same. */
    if (err == OK) {
        enum err sent = send_all(fd, request, until_ms);
        err = read_all(fd, until_ms, bytes_max, out);
        err = err == OK && sent != OK && buf_count(out) == 0 ? sent : err;
    }
    close(fd);
    return err;
}
