#include "core/io/pair.h"

#include <errno.h>
#include <sys/socket.h>

enum err pair_new(int64_t handles[2])
{
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
        return err_from_errno(errno);
    }
    handles[0] = fds[0];
    handles[1] = fds[1];
    return OK;
}
