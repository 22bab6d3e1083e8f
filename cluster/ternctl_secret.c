/*
 * While a password is typed the terminal shows nothing; a signal that would end us puts it back first.
 */
#include "cluster/ternctl_secret.h"

#include "cluster/ternctl.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/select.h>
#include <termios.h>
#include <unistd.h>

/* ---- a line ---------------------------------------------------------------------------------- */

/* Byte by byte, so that what comes after the line stays for others. -1: errno tells. */
static int read_line(int fd, struct ternctl_secret *out)
{
    out->count = 0;
    for (;;) {
        uint8_t byte;
        ssize_t got = read(fd, &byte, 1);
        if (got < 0) {
            return -1; /* EINTR too: a signal came while we waited */
        }
        if (got == 0 || byte == '\n') {
            break;
        }
        if (out->count == sizeof(out->bytes)) {
            errno = EFBIG;
            return -1;
        }
        out->bytes[out->count++] = byte;
    }
    if (out->count > 0 && out->bytes[out->count - 1] == '\r') {
        out->count--;
    }
    return 0;
}

static int judge(const struct ternctl_secret *secret)
{
    if (secret->count == 0) {
        fprintf(stderr, "ternctl: the password is empty: give one of a byte or more\n");
        return TERNCTL_DATA;
    }
    if (secret->count > TERNCTL_SECRET_BYTES_MAX) {
        fprintf(stderr, "ternctl: the password is too long: MQTT allows %d bytes\n",
                TERNCTL_SECRET_BYTES_MAX);
        return TERNCTL_DATA;
    }
    if (secret->bytes[secret->count - 1] == '\0') {
        fprintf(stderr, "ternctl: the password ends in a NUL byte: is it text?\n");
        return TERNCTL_DATA;
    }
    return TERNCTL_OK;
}

static int read_plain(int fd, const char *name, struct ternctl_secret *out)
{
    if (read_line(fd, out) == 0) {
        return judge(out);
    }
    if (errno == EFBIG) {
        out->count = sizeof(out->bytes);
        return judge(out);
    }
    fprintf(stderr, "ternctl: %s: %s: is it a file with the password in its first line?\n", name,
            strerror(errno));
    return TERNCTL_DATA;
}

/* ---- a terminal ------------------------------------------------------------------------------ */

static volatile sig_atomic_t caught;

static void on_signal(int number)
{
    caught = number;
}

static const int deadly[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
enum { DEADLY_COUNT = sizeof(deadly) / sizeof(deadly[0]) };

/* A signal ends the wait, also one that came just before it: they are let in only here. */
static int wait_for_line(int fd, const sigset_t *free)
{
    fd_set ready;
    FD_ZERO(&ready);
    FD_SET(fd, &ready);
    return pselect(fd + 1, &ready, NULL, NULL, NULL, free) == 1 ? 0 : -1;
}

/* One answer, unseen. -1: errno tells. */
static int ask_hidden(int fd, const char *question, struct ternctl_secret *out)
{
    struct sigaction before[DEADLY_COUNT], stop_before;
    struct sigaction during = {.sa_handler = on_signal}; /* without SA_RESTART: read() ends */
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    struct termios shown, hidden;
    if (tcgetattr(fd, &shown) != 0) {
        return -1;
    }
    sigset_t held, free;
    sigemptyset(&held);
    for (int i = 0; i < DEADLY_COUNT; i++) {
        sigaction(deadly[i], &during, &before[i]);
        sigaddset(&held, deadly[i]);
    }
    sigaction(SIGTSTP, &ignore, &stop_before);
    sigprocmask(SIG_BLOCK, &held, &free);
    hidden = shown;
    hidden.c_lflag &= (tcflag_t) ~(ECHO | ECHOE | ECHOK | ECHONL);
    fprintf(stderr, "%s: ", question);
    tcsetattr(fd, TCSAFLUSH, &hidden);
    int status = wait_for_line(fd, &free) == 0 ? read_line(fd, out) : -1;
    int errno_kept = errno;
    sigprocmask(SIG_SETMASK, &free, NULL);
    tcsetattr(fd, TCSAFLUSH, &shown);
    fputc('\n', stderr);
    for (int i = 0; i < DEADLY_COUNT; i++) {
        sigaction(deadly[i], &before[i], NULL);
    }
    sigaction(SIGTSTP, &stop_before, NULL);
    if (caught != 0) {
        raise(caught);
    }
    errno = errno_kept;
    return status;
}

static int ask(int fd, bool is_new, struct ternctl_secret *out)
{
    static struct ternctl_secret again;
    if (ask_hidden(fd, is_new ? "New password" : "Password", out) != 0) {
        fprintf(stderr, "ternctl: the password cannot be read: %s\n", strerror(errno));
        return TERNCTL_DATA;
    }
    int status = judge(out);
    if (status != TERNCTL_OK || !is_new) {
        return status;
    }
    if (ask_hidden(fd, "The same again", &again) != 0 ||
        !slice_equal(ternctl_secret_bytes(&again), ternctl_secret_bytes(out))) {
        fprintf(stderr, "ternctl: the two are not the same: nothing was changed, try again\n");
        status = TERNCTL_DATA;
    }
    ternctl_secret_forget(&again);
    return status;
}

/* ---- where from ------------------------------------------------------------------------------ */

int ternctl_secret_read(const char *path, bool is_new, struct ternctl_secret *out)
{
    if (path == NULL && isatty(STDIN_FILENO)) {
        return ask(STDIN_FILENO, is_new, out);
    }
    if (path == NULL || strcmp(path, "-") == 0) {
        return read_plain(STDIN_FILENO, "standard input", out);
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        fprintf(stderr, "ternctl: %s: %s: check the path, and who may read it\n", path,
                strerror(errno));
        return TERNCTL_DATA;
    }
    int status = read_plain(fd, path, out);
    close(fd);
    return status;
}

void ternctl_secret_forget(struct ternctl_secret *secret)
{
    explicit_bzero(secret, sizeof(*secret));
}
