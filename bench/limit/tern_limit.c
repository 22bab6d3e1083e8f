/*
 * tern-limit: the physical limit beside which brokers are measured.
 *
 * It forwards the QoS 0 traffic of `tern-bench run pairs`, `fanout`, `fanin` (and answers `connect`
 * and `idle`) with the least work that the kernel allows, on one thread: see forward.h. It is no
 * broker: topics are not looked at, who feeds whom follows from the client identifiers.
 *
 * With --sync it measures the limit of what lasts instead: how fast the disk syncs (sync.h).
 */
#include "bench/limit/forward.h"
#include "bench/limit/pool.h"
#include "bench/limit/sync.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    EXIT_USAGE = 64,
    EXIT_UNAVAILABLE = 69,
    BACKLOG = 4096,
    SYNC_SECONDS = 2,
    MEMORY_MIB = 256,
    MEMORY_MIB_MIN = 4,
    MEMORY_MIB_MAX = 4095, /* a buffer's number has 16 bits */
    BUFFERS_PER_MIB = 1024 * 1024 / POOL_BUFFER_BYTES,
};

/* clang-format off */
static const struct shape shapes[] = {
    {"pairs",  "bench-pub-N to bench-sub-N; also for `run connect` and `run idle`", true},
    {"fanout", "bench-pub-0 to every bench-sub-N",                                  false},
    {"fanin",  "every bench-pub-N to bench-sub-0",                                  false},
};

static const struct option options_long[] = {
    {"shape",  required_argument, NULL, 's'},
    {"port",   required_argument, NULL, 'p'},
    {"cpu",    required_argument, NULL, 'c'},
    {"memory", required_argument, NULL, 'm'},
    {"sync",   required_argument, NULL, 'S'},
    {"help",   no_argument,       NULL, 'h'},
    {0},
};
/* clang-format on */

enum { SHAPE_COUNT = sizeof(shapes) / sizeof(shapes[0]) };

static void usage(FILE *out)
{
    fprintf(out, "tern-limit: forward what tern-bench sends, with the least work there is\n\n"
                 "  --shape NAME   who feeds whom [pairs]\n");
    for (size_t i = 0; i < SHAPE_COUNT; i++) {
        fprintf(out, "      %-8s   %s\n", shapes[i].name, shapes[i].help);
    }
    fprintf(out,
            "  --port N       on 127.0.0.1; 0: the kernel chooses [0]\n"
            "  --cpu N        stay on this core\n"
            "  --memory MIB   held back at most for slow receivers [%d]\n"
            "  --sync FOLDER  serve nobody: append 4 KiB to a file there and sync it, for 2 s\n"
            "  --help\n\n"
            "It says its port on standard output, serves QoS 0 and MQTT 3.1.1 or 5, and ends on "
            "SIGTERM.\n"
            "exit: 0 well; 64 usage; 69 this machine cannot serve\n",
            MEMORY_MIB);
}

static void usage_error(const char *option, const char *value, const char *why)
{
    fprintf(stderr, "tern-limit: %s: '%s' %s; see tern-limit --help\n", option, value, why);
    exit(EXIT_USAGE);
}

static uint32_t number_in(const char *option, const char *text, uint32_t low, uint32_t high)
{
    char why[64], *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || text[0] == '-' || value < low ||
        value > high) {
        snprintf(why, sizeof(why), "is no number from %u to %u", low, high);
        usage_error(option, text, why);
    }
    return (uint32_t)value;
}

static const struct shape *shape_named(const char *name)
{
    for (size_t i = 0; i < SHAPE_COUNT; i++) {
        if (strcmp(shapes[i].name, name) == 0) {
            return &shapes[i];
        }
    }
    usage_error("--shape", name, "is none of pairs, fanout, fanin: nothing else is forwarded");
    return NULL;
}

static void unavailable(const char *what)
{
    fprintf(stderr, "tern-limit: %s: %s\n", what, strerror(errno));
    exit(EXIT_UNAVAILABLE);
}

static void stay_on(const char *text)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(number_in("--cpu", text, 0, CPU_SETSIZE - 1), &set);
    if (sched_setaffinity(0, sizeof(set), &set) < 0) {
        usage_error("--cpu", text, "is no core that this process may use");
    }
}

/* A listening socket; *port is what the kernel gave. Accepted sockets inherit TCP_NODELAY. */
static int listen_on(uint16_t *port)
{
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(*port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t bytes = sizeof(address);
    if (fd < 0) {
        unavailable("socket");
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (bind(fd, (const struct sockaddr *)&address, bytes) < 0) {
        unavailable("--port: it cannot be bound; is another program listening there?");
    }
    if (listen(fd, BACKLOG) < 0 || getsockname(fd, (struct sockaddr *)&address, &bytes) < 0) {
        unavailable("listen");
    }
    *port = ntohs(address.sin_port);
    return fd;
}

static int signals_to_end(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, SFD_CLOEXEC);
    if (fd < 0) {
        unavailable("signalfd");
    }
    return fd;
}

static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void print_totals(const struct forward_totals *totals)
{
    printf("tern-limit: %" PRIu64 " clients, %" PRIu64 " frames in; %" PRIu64 " turns, %" PRIu64
           " receives, %" PRIu64 " sends\n",
           totals->accepts, totals->frames, totals->turns, totals->receives, totals->sends);
}

static int measure_syncs(const char *folder)
{
    struct sync_figures figures;
    if (!sync_measure(folder, SYNC_SECONDS, &figures)) {
        unavailable(folder);
    }
    printf("tern-limit: %.0f syncs a second, p50 %.3f ms, p99 %.3f ms, max %.3f ms\n",
           figures.per_second, figures.p50_ms, figures.p99_ms, figures.max_ms);
    return 0;
}

int main(int count, char **values)
{
    struct forward_options options = {
        .shape = &shapes[0],
        .buffer_count = MEMORY_MIB * BUFFERS_PER_MIB,
    };
    struct forward_totals totals;
    uint16_t port = 0;
    int option;

    while ((option = getopt_long(count, values, "h", options_long, NULL)) != -1) {
        switch (option) {
        case 's':
            options.shape = shape_named(optarg);
            break;
        case 'p':
            port = (uint16_t)number_in("--port", optarg, 0, UINT16_MAX);
            break;
        case 'c':
            stay_on(optarg);
            break;
        case 'm':
            options.buffer_count = BUFFERS_PER_MIB *
                                   number_in("--memory", optarg, MEMORY_MIB_MIN, MEMORY_MIB_MAX);
            break;
        case 'S':
            return measure_syncs(optarg);
        case 'h':
            usage(stdout);
            return 0;
        default:
            return EXIT_USAGE; /* getopt has said why */
        }
    }
    if (optind < count) {
        usage_error("argument", values[optind], "is not understood");
    }
    raise_file_limit();
    options.signals = signals_to_end();
    options.listener = listen_on(&port);
    printf("tern-limit: %s on 127.0.0.1:%u\n", options.shape->name, port);
    fflush(stdout);
    if (!forward_run(&options, &totals)) {
        return EXIT_UNAVAILABLE;
    }
    print_totals(&totals);
    return 0;
}
