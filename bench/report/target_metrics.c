#include "bench/report/target_metrics.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { HOST_BYTES = 256, PORT_BYTES = 8, REQUEST_BYTES = 1024, FIRST_ROOM_BYTES = 65536 };

/* ---- the page ------------------------------------------------------------------------------ */

/* name{labels} value: one sample of the page. */
struct sample {
    struct slice name, labels;
    double value;
};

/* False: a comment, an empty line, or nothing that reads as a sample. */
static bool read_sample(struct slice line, struct sample *out)
{
    char number[64];
    size_t name_count = 0;
    while (name_count < line.count && strchr("{ \t", line.data[name_count]) == NULL) {
        name_count++;
    }
    if (name_count == 0 || name_count == line.count || line.data[0] == '#') {
        return false;
    }
    out->name = slice_head(line, name_count);
    out->labels = slice_of(NULL, 0);
    struct slice rest = slice_skip(line, name_count);
    if (rest.data[0] == '{') {
        bool in_text = false;
        size_t end = 1;
        while (end < rest.count && (in_text || rest.data[end] != '}')) {
            in_text ^= rest.data[end] == '"';
            end += rest.data[end] == '\\' ? 2 : 1;
        }
        if (end >= rest.count) {
            return false;
        }
        out->labels = slice_of(rest.data + 1, end - 1);
        rest = slice_skip(rest, end + 1);
    }
    snprintf(number, sizeof(number), "%.*s", (int)(rest.count < 60 ? rest.count : 60),
             (const char *)rest.data);
    char *end;
    out->value = strtod(number, &end);
    return end != number;
}

/* reason="queue_full": the value of that label; empty when there is none. */
static struct slice label_value(struct slice labels, const char *name)
{
    size_t name_count = strlen(name);
    while (labels.count > name_count + 2) {
        size_t begin = slice_find(labels, '"');
        if (begin == labels.count) {
            break;
        }
        struct slice rest = slice_skip(labels, begin + 1);
        size_t end = slice_find(rest, '"');
        if (begin == name_count + 1 && labels.data[name_count] == '=' &&
            memcmp(labels.data, name, name_count) == 0) {
            return slice_head(rest, end);
        }
        labels = slice_skip(rest, end < rest.count ? end + 1 : end);
        while (labels.count > 0 && (labels.data[0] == ',' || labels.data[0] == ' ')) {
            labels = slice_skip(labels, 1);
        }
    }
    return slice_of(NULL, 0);
}

static uint64_t as_count(double value)
{
    return !(value > 0) ? 0 : value < 9e18 ? (uint64_t)value : (uint64_t)9e18;
}

static void add_dropped(struct target_account *account, const struct sample *sample)
{
    struct slice reason = label_value(sample->labels, "reason");
    if (account->reason_count == TARGET_REASONS_MAX) {
        struct target_dropped *last = &account->dropped[TARGET_REASONS_MAX - 1];
        snprintf(last->reason, sizeof(last->reason), "others");
        last->count += as_count(sample->value);
        return;
    }
    struct target_dropped *dropped = &account->dropped[account->reason_count++];
    size_t count = reason.count < TARGET_REASON_BYTES ? reason.count : TARGET_REASON_BYTES - 1;
    snprintf(dropped->reason, sizeof(dropped->reason), "%.*s", (int)count,
             reason.count == 0 ? "" : (const char *)reason.data);
    dropped->count = as_count(sample->value);
}

static void take_sample(const struct sample *sample, struct target_metrics *out)
{
    if (slice_is(sample->name, "process_cpu_seconds_total")) {
        out->usage.cpu_ns = as_count(sample->value * 1e9);
        out->has_usage = true;
    } else if (slice_is(sample->name, "process_resident_memory_bytes")) {
        out->usage.resident_bytes = as_count(sample->value);
        out->has_usage = true;
    } else if (slice_is(sample->name, "tern_publish_received_total")) {
        out->account.received_count += as_count(sample->value);
        out->has_account = true;
    } else if (slice_is(sample->name, "tern_publish_sent_total")) {
        out->account.sent_count += as_count(sample->value);
        out->has_account = true;
    } else if (slice_is(sample->name, "tern_dropped_total")) {
        add_dropped(&out->account, sample);
        out->has_account = true;
    }
}

enum err target_metrics_read(struct slice text, struct target_metrics *out)
{
    struct target_metrics metrics = {0};
    struct sample sample;
    while (text.count > 0) {
        struct slice line = slice_head(text, slice_find(text, '\n'));
        text = slice_skip(text, line.count < text.count ? line.count + 1 : line.count);
        if (read_sample(line, &sample)) {
            take_sample(&sample, &metrics);
        }
    }
    if (!metrics.has_usage && !metrics.has_account) {
        return ERR_UNSUPPORTED;
    }
    *out = metrics;
    return OK;
}

/* ---- getting it ---------------------------------------------------------------------------- */

struct url {
    char host[HOST_BYTES], port[PORT_BYTES];
    const char *path; /* borrowed from the text */
};

static bool read_url(const char *text, struct url *out)
{
    static const char scheme[] = "http://";
    if (strncmp(text, scheme, sizeof(scheme) - 1) != 0 || strpbrk(text, " \r\n") != NULL) {
        return false;
    }
    const char *host = text + sizeof(scheme) - 1;
    const char *port = "80";
    size_t host_count = strcspn(host, ":/"), port_count = 2;
    const char *at = host + host_count;
    if (host[0] == '[') { /* [::1]:9090 */
        const char *end = strchr(host, ']');
        if (end == NULL) {
            return false;
        }
        host++;
        host_count = (size_t)(end - host);
        at = end + 1;
    }
    if (*at == ':') {
        port = at + 1;
        port_count = strspn(port, "0123456789");
        at = port + port_count;
    }
    if (host_count == 0 || host_count >= HOST_BYTES || port_count == 0 ||
        port_count >= PORT_BYTES || (*at != '/' && *at != '\0')) {
        return false;
    }
    snprintf(out->host, sizeof(out->host), "%.*s", (int)host_count, host);
    snprintf(out->port, sizeof(out->port), "%.*s", (int)port_count, port);
    out->path = *at == '\0' ? "/metrics" : at;
    return true;
}

/* A connected socket, or -1 with *err set. */
static int open_socket(const struct url *url, enum err *err)
{
    static const struct timeval patience = {.tv_sec = TARGET_METRICS_TIMEOUT_MS / 1000};
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int socket_fd = -1;
    if (getaddrinfo(url->host, url->port, &hints, &found) != 0) {
        *err = ERR_NOT_FOUND;
        return -1;
    }
    *err = ERR_IO;
    for (const struct addrinfo *at = found; at != NULL && socket_fd < 0; at = at->ai_next) {
        socket_fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (socket_fd < 0) {
            continue;
        }
        (void)setsockopt(socket_fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        (void)setsockopt(socket_fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
        if (connect(socket_fd, at->ai_addr, at->ai_addrlen) != 0) {
            *err = errno == EINPROGRESS ? ERR_TIMEOUT : err_from_errno(errno);
            close(socket_fd);
            socket_fd = -1;
        }
    }
    freeaddrinfo(found);
    return socket_fd;
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Everything until the other side closes; the caller frees *text. */
static enum err read_all(int socket_fd, char **text, size_t *count)
{
    size_t room = FIRST_ROOM_BYTES;
    uint64_t until_ms = now_ms() + TARGET_METRICS_TIMEOUT_MS;
    *text = malloc(room);
    *count = 0;
    while (*text != NULL) {
        ssize_t got = recv(socket_fd, *text + *count, room - *count, 0);
        if (got == 0) {
            return OK;
        }
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return errno == EAGAIN || errno == EWOULDBLOCK ? ERR_TIMEOUT : err_from_errno(errno);
        }
        *count += (size_t)got;
        if (*count > TARGET_METRICS_BYTES_MAX) {
            return ERR_TOO_LARGE;
        }
        if (now_ms() > until_ms) {
            return ERR_TIMEOUT; /* a page that drips */
        }
        if (*count == room) {
            char *more = realloc(*text, 2 * room);
            if (more == NULL) {
                return ERR_NOMEM;
            }
            *text = more;
            room *= 2;
        }
    }
    return ERR_NOMEM;
}

/* HTTP/1.0, so that the answer is not chunked and ends with the connection. */
static enum err fetch(const struct url *url, char **text, size_t *count)
{
    char request[REQUEST_BYTES];
    enum err err;
    int length = snprintf(request, sizeof(request),
                          "GET %s HTTP/1.0\r\nHost: %s:%s\r\nAccept: text/plain\r\n"
                          "Connection: close\r\n\r\n",
                          url->path, url->host, url->port);
    if (length >= (int)sizeof(request)) {
        return ERR_INVALID;
    }
    int socket_fd = open_socket(url, &err);
    if (socket_fd < 0) {
        return err;
    }
    ssize_t sent = send(socket_fd, request, (size_t)length, MSG_NOSIGNAL);
    err = sent == length ? read_all(socket_fd, text, count) : ERR_IO;
    close(socket_fd);
    return err;
}

/* The body of an answer. problem is set when the status is another than 200. */
static enum err body_of(struct slice answer, struct slice *body, char *problem)
{
    static const char blank[] = "\r\n\r\n";
    char status[16] = "";
    const uint8_t *end = NULL;
    if (answer.count >= 12 && memcmp(answer.data, "HTTP/1.", 7) == 0) {
        end = memmem(answer.data, answer.count, blank, 4);
    }
    if (end == NULL) {
        snprintf(problem, TARGET_PROBLEM_BYTES, "what answers there does not speak HTTP");
        return ERR_MALFORMED;
    }
    memcpy(status, answer.data + 9, 3);
    if (strcmp(status, "200") != 0) {
        snprintf(problem, TARGET_PROBLEM_BYTES, "answers with status %s", status);
        return ERR_NOT_FOUND;
    }
    *body = slice_skip(answer, (size_t)(end + 4 - answer.data));
    return OK;
}

enum err target_metrics_get(const char *url, struct target_metrics *out,
                            char problem[TARGET_PROBLEM_BYTES])
{
    struct url parts;
    struct slice body = {0};
    char *text = NULL, why[TARGET_PROBLEM_BYTES] = "";
    size_t count = 0;
    enum err err = ERR_INVALID;
    problem[0] = '\0';
    if (!read_url(url, &parts)) {
        snprintf(why, sizeof(why), "no URL of the form http://HOST:PORT/metrics");
    } else {
        err = fetch(&parts, &text, &count);
        err = err != OK ? err : body_of(slice_of(text, count), &body, why);
        err = err != OK ? err : target_metrics_read(body, out);
    }
    free(text);
    if (err == ERR_UNSUPPORTED) {
        snprintf(why, sizeof(why),
                 "neither process_cpu_seconds_total nor Tern's counters are there");
    }
    if (err != OK) {
        snprintf(problem, TARGET_PROBLEM_BYTES, "%.100s: %.90s", url,
                 why[0] != '\0' ? why : err_text(err));
    }
    return err;
}

/* ---- the difference of two ----------------------------------------------------------------- */

static uint64_t since(uint64_t before, uint64_t after)
{
    return after >= before ? after - before : after;
}

void target_account_since(const struct target_account *before, const struct target_account *after,
                          struct target_account *out)
{
    struct target_account result = *after;
    result.received_count = since(before->received_count, after->received_count);
    result.sent_count = since(before->sent_count, after->sent_count);
    for (uint32_t i = 0; i < result.reason_count; i++) {
        for (uint32_t k = 0; k < before->reason_count; k++) {
            if (strcmp(result.dropped[i].reason, before->dropped[k].reason) == 0) {
                result.dropped[i].count = since(before->dropped[k].count, result.dropped[i].count);
            }
        }
    }
    *out = result;
}

uint64_t target_account_dropped(const struct target_account *account)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < account->reason_count; i++) {
        count += account->dropped[i].count;
    }
    return count;
}
