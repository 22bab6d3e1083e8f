/*
 * bench_link: messages of 200 bytes over a link between two nodes: both ends in this one thread, over a
 * socket of loopback, so that a figure is the CPU of sender, receiver and kernel together.
 *
 * In clear and by TLS; as many a turn as a busy shard brings, and one alone; as they are, and packed by
 * lz4. The bodies are what devices publish: numbers in JSON, no two alike.
 */
#include "bench/micro/micro.h"
#include "cluster/ca.h"
#include "cluster/link_tls.h"
#include "cluster/peer.h"
#include "core/base/assert.h"
#include "core/base/log.h"

#include <sys/stat.h>
#include <unistd.h>

enum {
    BODY_BYTES = 200,
    BODIES = 4096,
    MESSAGES = 1000000,
    MESSAGES_ALONE = 40000,
    PATH_BYTES = 96
};
enum { UNDER_WAY_MAX = 16384 };

static char bodies[BODIES][BODY_BYTES + 1];

struct node {
    struct peers *peers;
    struct address address;
    uint64_t received, bytes;
    bool is_up;
};

struct pair {
    struct io *io;
    struct wheel *wheel;
    struct node nodes[2];
    uint32_t a_turn;
    uint64_t sent;
};

/* ---- two nodes ---------------------------------------------------------------------------------- */

static void on_message(void *context, uint32_t node, uint64_t generation,
                       const struct link_message *message)
{
    struct node *self = context;
    self->received++;
    self->bytes += message->body.data[0];
    peers_release(self->peers, node, generation, message->body.count);
}

static void on_up(void *context, uint32_t node, uint64_t generation,
                  const struct link_welcome *welcome)
{
    (void)node;
    (void)generation;
    (void)welcome;
    ((struct node *)context)->is_up = true;
}

static void on_down(void *context, uint32_t node, enum link_reason reason)
{
    (void)context;
    (void)node;
    fprintf(stderr, "bench_link: %s\n", link_reason_text(reason));
    abort();
}

static const struct peers_events events = {.message = on_message, .up = on_up, .down = on_down};

static void node_start(struct pair *pair, uint32_t index, const struct link_tls *tls,
                       uint64_t pack_from_bytes)
{
    struct node *node = &pair->nodes[index];
    struct peers_config config = {
        .link = {.client = tls->client,
                 .server = tls->server,
                 .cluster_name = "bench",
                 .silence_ns = UINT64_C(60000000000),
                 .pack_from_bytes = pack_from_bytes},
        .cluster_id = "sixteen bytes..",
        .node = index + 1,
        .name = index == 0 ? "a" : "b",
        .incarnation = 1,
        .shard_count = 1,
        .seed = 1,
    };
    node->peers = peers_new(pair->io, pair->wheel, &config, &events, node);
    ASSERT(node->peers != NULL);
    ASSERT(address_parse("127.0.0.1", 0, &node->address) == OK);
    ASSERT(peers_listen(node->peers, &node->address, IO_SHARE_NONE) == OK);
    peers_address(node->peers, &node->address);
}

static void turn(struct pair *pair, uint64_t wait_ns)
{
    for (uint32_t i = 0; i < 2; i++) {
        peers_flush(pair->nodes[i].peers);
    }
    io_turn(pair->io, wait_ns);
    wheel_run(pair->wheel, io_now_ns(pair->io));
}

static void pair_open(struct pair *pair, const struct link_tls tls[2], uint64_t pack_from_bytes)
{
    static const struct io_config config = {.stream_count_max = 16};
    *pair = (struct pair){0};
    ASSERT(io_new(&config, &pair->io) == OK);
    pair->wheel = wheel_new(io_now_ns(pair->io));
    ASSERT(pair->wheel != NULL);
    node_start(pair, 0, &tls[0], pack_from_bytes);
    node_start(pair, 1, &tls[1], pack_from_bytes);
    ASSERT(peers_set(pair->nodes[0].peers, 2, "b", &pair->nodes[1].address) == OK);
    ASSERT(peers_set(pair->nodes[1].peers, 1, "a", &pair->nodes[0].address) == OK);
    while (!pair->nodes[0].is_up || !pair->nodes[1].is_up) {
        turn(pair, 1000000);
    }
}

static void pair_close(struct pair *pair)
{
    io_free(pair->io);
    peers_free(pair->nodes[0].peers);
    peers_free(pair->nodes[1].peers);
    wheel_free(pair->wheel);
}

/* ---- what is measured --------------------------------------------------------------------------- */

static void send_all(void *context, uint64_t ops)
{
    struct pair *pair = context;
    struct node *to = &pair->nodes[1];
    uint64_t end = pair->sent + ops;
    while (to->received < end) {
        for (uint32_t i = 0;
             i < pair->a_turn && pair->sent < end && pair->sent - to->received < UNDER_WAY_MAX;
             i++) {
            const char *body = bodies[pair->sent % BODIES];
            ASSERT(peers_send(pair->nodes[0].peers, 2, LINK_KIND_PUBLISH, pair->sent % 64,
                              slice_of(body, BODY_BYTES)) == OK);
            pair->sent++;
        }
        bool waits = pair->a_turn == 1 || pair->sent == end;
        turn(pair, waits ? 1000000 : 0);
        while (pair->a_turn == 1 && to->received < pair->sent) {
            turn(pair, 1000000);
        }
    }
}

static void measure(const struct link_tls tls[2], const char *what, uint32_t a_turn,
                    uint64_t pack_from_bytes, uint64_t messages)
{
    struct pair pair;
    char name[64];
    pair_open(&pair, tls, pack_from_bytes);
    pair.a_turn = a_turn;
    snprintf(name, sizeof(name), "200 B, %s", what);
    micro_run(name, send_all, &pair, messages);
    uint64_t begun_ns = micro_clock_ns(CLOCK_MONOTONIC), count = micro_scaled(messages);
    send_all(&pair, count);
    double seconds = (double)(micro_clock_ns(CLOCK_MONOTONIC) - begun_ns) / 1e9;
    snprintf(name, sizeof(name), "  a second, both ends on one core");
    micro_value(name, (double)count / seconds, "messages");
    pair_close(&pair);
}

/* Encoding and decoding alone: what it costs without a socket. */
static void code_all(void *context, uint64_t ops)
{
    struct buf frame = {0};
    struct link_message message = {.kind = LINK_KIND_PUBLISH};
    (void)context;
    for (uint64_t done = 0; done < ops;) {
        for (uint32_t i = 0; i < 256; i++, done++) {
            message.body = slice_of(bodies[done % BODIES], BODY_BYTES);
            ASSERT(link_message_encode(&message, &frame) == OK);
        }
        struct slice rest = buf_bytes(&frame);
        while (link_message_next(&rest, &message)) {
            micro_keep(message.body.count);
        }
        buf_consume(&frame, buf_count(&frame));
    }
}

struct packing {
    struct buf plain, packed, again;
};

static void packing_fill(struct packing *packing)
{
    struct link_message message = {.kind = LINK_KIND_PUBLISH};
    for (uint32_t i = 0; i < 256; i++) {
        message.body = slice_of(bodies[i], BODY_BYTES);
        ASSERT(link_message_encode(&message, &packing->plain) == OK);
    }
}

static void pack_all(void *context, uint64_t ops)
{
    struct packing *packing = context;
    for (uint64_t done = 0; done < ops; done += 256) {
        buf_consume(&packing->packed, buf_count(&packing->packed));
        ASSERT(link_messages_pack(buf_bytes(&packing->plain), &packing->packed));
    }
}

static void unpack_all(void *context, uint64_t ops)
{
    struct packing *packing = context;
    struct link_frame frame = {.unpacked_bytes = buf_count(&packing->plain),
                               .packed = buf_bytes(&packing->packed)};
    for (uint64_t done = 0; done < ops; done += 256) {
        buf_consume(&packing->again, buf_count(&packing->again));
        ASSERT(link_messages_unpack(&frame, &packing->again) == OK);
    }
}

static void measure_code(void)
{
    struct packing packing = {0};
    micro_run("200 B, encoded and decoded, no socket", code_all, NULL, MESSAGES);
    packing_fill(&packing);
    micro_run("200 B, packed by lz4, 256 a frame", pack_all, &packing, MESSAGES);
    micro_run("200 B, unpacked", unpack_all, &packing, MESSAGES);
    micro_value("  packed, of what it was",
                100.0 * (double)buf_count(&packing.packed) / (double)buf_count(&packing.plain),
                "%");
    buf_deinit(&packing.plain);
    buf_deinit(&packing.packed);
    buf_deinit(&packing.again);
}

/* ---- certificates ------------------------------------------------------------------------------- */

static char folder[] = "/tmp/tern-bench-link-XXXXXX";

static const char *file_write(char path[PATH_BYTES], const char *name, const struct buf *text)
{
    snprintf(path, PATH_BYTES, "%s/%s", folder, name);
    FILE *file = fopen(path, "we");
    ASSERT(file != NULL);
    ASSERT(fwrite(buf_bytes(text).data, 1, buf_count(text), file) == buf_count(text));
    ASSERT(fclose(file) == 0);
    return path;
}

static void node_certify(const struct ca_pair *ca, const char *name, struct link_tls *out)
{
    char ca_path[PATH_BYTES], certificate[PATH_BYTES], key[PATH_BYTES];
    struct ca_wish wish = {.node = name, .days = 1};
    struct tls_trouble trouble = {""};
    struct ca_pair node = {0};
    int64_t until_s;
    ASSERT(ca_issue(buf_bytes(&ca->certificate), buf_bytes(&ca->key), &wish, time(NULL), &node,
                    &until_s, &trouble) == OK);
    struct link_tls_settings settings = {
        .cafile = file_write(ca_path, "ca.pem", &ca->certificate),
        .certfile = file_write(certificate, "node.pem", &node.certificate),
        .keyfile = file_write(key, "node.key", &node.key),
    };
    ASSERT(link_tls_new(&settings, (uint64_t)time(NULL) * 1000, out, &trouble) == OK);
    unlink(ca_path);
    unlink(certificate);
    unlink(key);
    ca_wipe(&node);
}

static void bodies_fill(void)
{
    uint64_t state = 1;
    for (uint32_t i = 0; i < BODIES; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        snprintf(
            bodies[i], sizeof(bodies[i]),
            "{\"device\":\"pump-%05u\",\"time\":\"2026-11-22T06:%02u:%02u.%03uZ\","
            "\"temperature\":%u.%02u,\"pressure\":%u.%03u,\"flow\":%u.%u,\"state\":\"running\","
            "\"errors\":%u,\"firmware\":\"4.17.2\",\"serial\":\"%016llx\"}",
            (unsigned)(state >> 40) % 65536, i / 60 % 60, i % 60, (unsigned)(state >> 30) % 1000,
            15 + (unsigned)(state >> 50) % 40, (unsigned)(state >> 20) % 100,
            1 + (unsigned)(state >> 45) % 9, (unsigned)(state >> 33) % 1000,
            (unsigned)(state >> 48) % 300, (unsigned)(state >> 17) % 10, i % 3,
            (unsigned long long)state);
    }
}

int main(int argc, char **argv)
{
    struct link_tls clear[2] = {{0}, {0}}, secure[2];
    struct ca_pair ca = {0};
    micro_begin(argc, argv);
    log_setup(-1, LOG_LOGFMT, 0);
    bodies_fill();
    ASSERT(mkdtemp(folder) != NULL);
    ASSERT(ca_create("bench", time(NULL), &ca) == OK);
    node_certify(&ca, "a", &secure[0]);
    node_certify(&ca, "b", &secure[1]);
    ca_wipe(&ca);
    rmdir(folder);

    measure_code();
    measure(clear, "256 a turn, in clear", 256, UINT64_MAX, MESSAGES);
    measure(secure, "256 a turn, TLS", 256, UINT64_MAX, MESSAGES);
    measure(secure, "256 a turn, packed, TLS", 256, 1, MESSAGES);
    measure(clear, "16 a turn, in clear", 16, UINT64_MAX, MESSAGES / 4);
    measure(secure, "16 a turn, TLS", 16, UINT64_MAX, MESSAGES / 4);
    measure(clear, "one alone, there, in clear", 1, UINT64_MAX, MESSAGES_ALONE);
    measure(secure, "one alone, there, TLS", 1, UINT64_MAX, MESSAGES_ALONE);
    for (uint32_t i = 0; i < 2; i++) {
        link_tls_free(&secure[i]);
    }
    return 0;
}
