/*
 * tern-bench: load for MQTT brokers, and the account of what they did with it.
 *
 *     tern-bench run pairs --port 1883 --broker-pid 4711
 *     tern-bench sub -p 1883 -c 10 -t 'room/#'
 */
#include "bench/classic.h"
#include "bench/scenario.h"
#include "core/io/io.h"
#include "core/io/sys.h"

#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { EXIT_USAGE = 64, EXIT_NO_HOST = 68, EXIT_UNAVAILABLE = 69, PROBE_TEXT_BYTES = 512 };

enum long_option {
    OPTION_HELP = 256,
    OPTION_PREFIX,
    OPTION_IFADDR,
    OPTION_WINDOW,
    OPTION_BURST,
    OPTION_SECONDS,
    OPTION_WARMUP,
    OPTION_BROKER_PID,
    OPTION_RATE,
    OPTION_JSON,
};

/* clang-format off */
static const struct option options_long[] = {
    {"help",               no_argument,       NULL, OPTION_HELP},
    {"host",               required_argument, NULL, 'h'},
    {"port",               required_argument, NULL, 'p'},
    {"version",            required_argument, NULL, 'V'},
    {"count",              required_argument, NULL, 'c'},
    {"startnumber",        required_argument, NULL, 'n'},
    {"connrate",           required_argument, NULL, 'R'},
    {"interval",           required_argument, NULL, 'i'},
    {"interval_of_msg",    required_argument, NULL, 'I'},
    {"limit",              required_argument, NULL, 'L'},
    {"topic",              required_argument, NULL, 't'},
    {"size",               required_argument, NULL, 's'},
    {"qos",                required_argument, NULL, 'q'},
    {"retain",             required_argument, NULL, 'r'},
    {"keepalive",          required_argument, NULL, 'k'},
    {"clean",              required_argument, NULL, 'C'},
    {"session-expiry",     required_argument, NULL, 'x'},
    {"username",           required_argument, NULL, 'u'},
    {"password",           required_argument, NULL, 'P'},
    {"prefix",             required_argument, NULL, OPTION_PREFIX},
    {"ifaddr",             required_argument, NULL, OPTION_IFADDR},
    {"pairs",              required_argument, NULL, 'c'},
    {"window",             required_argument, NULL, OPTION_WINDOW},
    {"burst",              required_argument, NULL, OPTION_BURST},
    {"seconds",            required_argument, NULL, OPTION_SECONDS},
    {"warmup",             required_argument, NULL, OPTION_WARMUP},
    {"broker-pid",         required_argument, NULL, OPTION_BROKER_PID},
    {"rate",               required_argument, NULL, OPTION_RATE},
    {"json",               no_argument,       NULL, OPTION_JSON},
    {NULL, 0, NULL, 0},
};
/* clang-format on */

struct arguments {
    const char *host, *ifaddr;
    uint16_t port;
    bool is_json, is_count_given;
    struct classic_options classic;
    struct scenario_options scenario;
};

static volatile bool is_stopped;

static void on_signal(int number)
{
    (void)number;
    is_stopped = true;
}

static void usage(FILE *out)
{
    fprintf(out, "usage: tern-bench conn|pub|sub [options]     as emqtt-bench\n"
                 "       tern-bench run SCENARIO [options]     and every message is checked\n\n"
                 "scenarios:\n");
    scenario_list(out);
    fprintf(out,
            "\nboth:\n"
            "  -h HOST  -p PORT        where the broker listens [127.0.0.1, 1883]; a path: Unix\n"
            "  -V 3|4|5                protocol version [conn, pub, sub: 5; run: 4]\n"
            "  -c N, --pairs N         clients, or n of the scenario\n"
            "  -s BYTES  -q QOS        payload and QoS\n"
            "  -k S  -C BOOL  -x S     keep alive, clean start, session expiry\n"
            "  -u USER  -P PASSWORD\n"
            "  --ifaddr ADDRESS        local address to connect from\n"
            "  --seconds S             how long [run: 5; others: until interrupted]\n"
            "conn, pub, sub:\n"
            "  -R N, -i MS             connects per second, or the time between two [-i 10]\n"
            "  -t TOPIC                %%i is the client's number, %%c its id, %%u its user\n"
            "  -n N  --prefix TEXT     first number, and beginning, of client ids\n"
            "  -I MS  -L N  -r BOOL    pub: time between messages, how many in all, retain\n"
            "run:\n"
            "  --window N              closed loop: messages under way per publisher\n"
            "  --burst N               of those, how many leave in one write [1]\n"
            "  --rate N                open loop: messages per second in all, whatever happens [1000]\n"
            "  --warmup S              before the figures begin [1]\n"
            "  --broker-pid PID        measure the broker's CPU time and memory\n"
            "  --json                  one JSON object\n\n"
            "exit: 0 all is well; 1 messages lost, repeated, out of order or changed, or clients\n"
            "refused; 64 usage; 68 no such host; 69 this machine or the broker cannot serve\n");
}

static void usage_error(const char *what, const char *value)
{
    fprintf(stderr, "tern-bench: %s: '%s'; see tern-bench --help\n", what, value);
    exit(EXIT_USAGE);
}

static double number_in(const char *text, double low, double high)
{
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (errno != 0 || end == text || *end != '\0' || !(value >= low && value <= high)) {
        usage_error("not a number in range", text);
    }
    return value;
}

static uint32_t count_in(const char *text, uint32_t low, uint32_t high)
{
    return (uint32_t)number_in(text, low, high);
}

static bool truth(const char *text)
{
    if (strcmp(text, "true") == 0 || strcmp(text, "1") == 0) {
        return true;
    }
    if (strcmp(text, "false") != 0 && strcmp(text, "0") != 0) {
        usage_error("neither true nor false", text);
    }
    return false;
}

/* Options that say who the clients are. */
static bool take_client_option(struct arguments *a, int option, const char *value)
{
    struct load_config *load = &a->classic.load;
    switch (option) {
    case 'h':
        a->host = value;
        return true;
    case 'p':
        a->port = (uint16_t)count_in(value, 1, UINT16_MAX);
        return true;
    case 'V':
        load->version = (enum mqtt_version)count_in(value, MQTT_3_1, MQTT_5);
        return true;
    case 'k':
        load->keepalive_s = (uint16_t)count_in(value, 0, UINT16_MAX);
        return true;
    case 'C':
        load->clean_start = truth(value);
        return true;
    case 'x':
        load->session_expiry_s = count_in(value, 0, UINT32_MAX);
        return true;
    case 'u':
        load->username = value;
        return true;
    case 'P':
        load->password = value;
        return true;
    case OPTION_IFADDR:
        a->ifaddr = value;
        return true;
    case OPTION_PREFIX:
        a->classic.prefix = value;
        return true;
    case 'n':
        a->classic.start_number = count_in(value, 0, UINT32_MAX);
        return true;
    default:
        return false;
    }
}

/* Options that say what they do. */
static bool take_work_option(struct arguments *a, int option, const char *value)
{
    struct classic_options *classic = &a->classic;
    struct scenario_options *scenario = &a->scenario;
    switch (option) {
    case 'c':
        classic->client_count = count_in(value, 1, 1000000);
        a->is_count_given = true;
        return true;
    case 'R':
        classic->connect_rate = number_in(value, 0, 1e7);
        return true;
    case 'i':
        classic->connect_every_ms = count_in(value, 0, 3600000);
        return true;
    case 'I':
        classic->publish_every_ms = count_in(value, 0, 86400000);
        return true;
    case 'L':
        classic->message_limit = (uint64_t)number_in(value, 0, 1e15);
        return true;
    case 't':
        classic->topic = value;
        return true;
    case 's':
        classic->payload_bytes = count_in(value, 0, MQTT_REMAINING_MAX - UINT16_MAX - 64);
        return true;
    case 'q':
        classic->qos = (uint8_t)count_in(value, 0, 2);
        return true;
    case 'r':
        classic->retain = truth(value);
        return true;
    case OPTION_WINDOW:
        scenario->window = count_in(value, 1, 60000);
        return true;
    case OPTION_BURST:
        scenario->burst = count_in(value, 1, 60000);
        return true;
    case OPTION_RATE:
        scenario->rate = number_in(value, 0, 1e9);
        return true;
    case OPTION_SECONDS:
        classic->seconds = number_in(value, 0, 1e6);
        return true;
    case OPTION_WARMUP:
        scenario->warmup_seconds = number_in(value, 0, 1e6);
        return true;
    case OPTION_BROKER_PID:
        scenario->broker_pid = (int32_t)count_in(value, 1, INT32_MAX);
        return true;
    case OPTION_JSON:
        a->is_json = true;
        return true;
    default:
        return false;
    }
}

static void read_options(struct arguments *a, int count, char **values)
{
    int option;
    optind = 1;
    while ((option = getopt_long(
                count, values, "h:p:V:c:n:R:i:I:L:t:s:q:r:k:C:x:u:P:", options_long, NULL)) != -1) {
        if (option == OPTION_HELP) {
            usage(stdout);
            exit(0);
        }
        if (!take_client_option(a, option, optarg) && !take_work_option(a, option, optarg)) {
            exit(EXIT_USAGE); /* getopt has said why */
        }
    }
    if (optind < count) {
        usage_error("what is this for", values[optind]);
    }
}

/* Names are looked up here, once; the door to the world takes addresses only. */
static void find_host(const char *host, uint16_t port, struct address *out)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    if (address_parse(host, port, out) == OK) {
        return;
    }
    int rc = getaddrinfo(host, NULL, &hints, &found);
    if (rc != 0) {
        fprintf(stderr, "tern-bench: %s: %s\n", host, gai_strerror(rc));
        exit(EXIT_NO_HOST);
    }
    *out = (struct address){.port = port};
    if (found->ai_family == AF_INET) {
        out->kind = ADDRESS_IP4;
        memcpy(out->ip, &((struct sockaddr_in *)found->ai_addr)->sin_addr, 4);
    } else {
        out->kind = ADDRESS_IP6;
        memcpy(out->ip, &((struct sockaddr_in6 *)found->ai_addr)->sin6_addr, 16);
    }
    freeaddrinfo(found);
}

static void find_addresses(struct arguments *a)
{
    find_host(a->host, a->port, &a->classic.load.to);
    if (a->ifaddr != NULL) {
        find_host(a->ifaddr, 0, &a->classic.load.from);
    }
}

static int run_classic(struct arguments *a, enum classic_kind kind)
{
    a->classic.kind = kind;
    if (kind != CLASSIC_CONN && a->classic.topic == NULL) {
        usage_error("a topic is needed", "-t");
    }
    return classic_run(&a->classic, &is_stopped);
}

static int run_scenario(struct arguments *a, const char *name)
{
    static struct report report; /* too large for a stack */
    const struct scenario *scenario = scenario_find(name);

    if (scenario == NULL) {
        usage_error("no such scenario", name);
    }
    a->scenario.load = a->classic.load;
    a->scenario.count = a->is_count_given ? a->classic.client_count : 0;
    a->scenario.payload_bytes = a->classic.payload_bytes;
    a->scenario.qos = a->classic.qos;
    a->scenario.seconds = a->classic.seconds;
    char why[SCENARIO_WHY_BYTES];
    if (scenario_check(scenario, &a->scenario, why) != OK) {
        usage_error(why, name);
    }
    enum err err = scenario_run(scenario, &a->scenario, &report);
    if (err != OK) {
        fprintf(stderr, "tern-bench: %s: %s\n", name, err_text(err));
        return EXIT_UNAVAILABLE;
    }
    if (a->is_json) {
        report_print_json(&report, stdout);
    } else {
        report_print(&report, stdout);
    }
    return report_is_clean(&report) ? 0 : 1;
}

static void defaults(struct arguments *a, bool is_run)
{
    *a = (struct arguments){
        .host = "127.0.0.1",
        .port = 1883,
        .classic =
            {
                .load = {.version = is_run ? MQTT_3_1_1 : MQTT_5,
                         .clean_start = true,
                         .keepalive_s = 300},
                .client_count = 200,
                .connect_every_ms = 10,
                .publish_every_ms = 1000,
                .payload_bytes = is_run ? 64 : 256,
                .seconds = is_run ? 5 : 0,
            },
        .scenario = {.warmup_seconds = 1},
    };
}

int main(int count, char **values)
{
    static const char *const kinds[] = {"conn", "pub", "sub"};
    struct arguments arguments;
    char text[PROBE_TEXT_BYTES];

    if (count < 2) {
        usage(stderr);
        return EXIT_USAGE;
    }
    const char *command = values[1];
    bool is_run = strcmp(command, "run") == 0;
    if (strcmp(command, "--help") == 0 || strcmp(command, "help") == 0) {
        usage(stdout);
        return 0;
    }
    if (is_run && count < 3) {
        usage_error("which scenario", "run");
    }
    defaults(&arguments, is_run);
    int skip = is_run ? 2 : 1;
    read_options(&arguments, count - skip, values + skip);
    if (io_probe(text, sizeof(text)) != OK) {
        fprintf(stderr, "tern-bench: %s\n", text);
        return EXIT_UNAVAILABLE;
    }
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    signal(SIGPIPE, SIG_IGN);
    sys_raise_file_limit();
    find_addresses(&arguments);
    if (is_run) {
        return run_scenario(&arguments, values[2]);
    }
    for (int kind = CLASSIC_CONN; kind <= CLASSIC_SUB; kind++) {
        if (strcmp(command, kinds[kind]) == 0) {
            return run_classic(&arguments, (enum classic_kind)kind);
        }
    }
    usage_error("no such command", command);
    return EXIT_USAGE;
}
