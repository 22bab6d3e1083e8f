#include "core/base/err.h"

#include <errno.h>

static const struct {
    const char *name, *text;
} texts[ERR_COUNT] = {
#define ERR_ROW(name, text) {#name, text},
    ERR_TABLE(ERR_ROW)
#undef ERR_ROW
};

const char *err_name(enum err err)
{
    return (unsigned)err < ERR_COUNT ? texts[err].name : "ERR_UNKNOWN";
}

const char *err_text(enum err err)
{
    return (unsigned)err < ERR_COUNT ? texts[err].text : "unknown error";
}

enum err err_from_errno(int errno_value)
{
    switch (errno_value) {
    case ENOMEM:
    case ENOBUFS:
        return ERR_NOMEM;
    case ENOENT:
        return ERR_NOT_FOUND;
    case EEXIST:
    case EADDRINUSE:
        return ERR_EXISTS;
    case EINVAL:
        return ERR_INVALID;
    case EMFILE:
    case ENFILE:
    case EADDRNOTAVAIL: /* of connect(): no local port is left; bind() has its own word for it */
        return ERR_LIMIT;
    case ENOSPC:
    case EDQUOT:
        return ERR_NO_SPACE;
    case ENOSYS:
    case EOPNOTSUPP:
    case EAFNOSUPPORT:
        return ERR_UNSUPPORTED;
    case EPERM:
    case EACCES:
        return ERR_PERMISSION;
    case EPIPE:
        return ERR_CLOSED;
    case ECONNRESET:
    case ECONNABORTED:
        return ERR_RESET;
    case ECONNREFUSED:
        return ERR_REFUSED;
    case EHOSTUNREACH:
    case ENETUNREACH:
        return ERR_UNREACHABLE;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    case EAGAIN:
    case EINTR:
        return ERR_AGAIN;
    default:
        return ERR_IO;
    }
}
