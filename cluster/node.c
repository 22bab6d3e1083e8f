#include "cluster/node.h"

#include "cluster/node_backup.h"
#include "cluster/node_bridge.h"
#include "cluster/node_http.h"
#include "cluster/node_store.h"
#include "cluster/warden.h"
#include "core/base/log.h"
#include "core/base/rng.h"
#include "core/broker/banish.h"
#include "core/broker/explain.h"
#include "core/io/cpu.h"
#include "core/io/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { FILES_RESERVED = 256 }; /* descriptors that are no connections */

struct node {
    struct config *boot_config, *config; /* the same until a reload */
    struct warden *warden;
    struct node_store store;
    struct node_backup *backup; /* NULL: nothing is on disk */
    struct broker *broker;
    struct metrics *const *metrics;
    struct admin_sources sources;
    struct node_http http;
    struct node_bridge bridge;
};

enum err node_log_setup(const struct config *config)
{
    static int fd_file = -1;
    int fd = STDERR_FILENO;
    if (config->log_file[0] != 0) {
        fd = open(config->log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
        if (fd < 0) {
            return ERR_IO;
        }
        if (fd_file < 0) {
            fd_file = fd;
        } else {
            /* SIGHUP after a rotation: the old file is let go under the same number, as a shard may
             * be about to write to it. */
            dup3(fd, fd_file, O_CLOEXEC);
            close(fd);
            fd = fd_file;
        }
    } else if (slice_is(slice_text(config->log_dest), "stdout")) {
        fd = STDOUT_FILENO;
    }
    uint32_t levels = config->log_type & ((1u << LOG_LEVEL_COUNT) - 1);
    if (slice_is(slice_text(config->log_dest), "none")) {
        levels = 0;
        fd = -1;
    }
    log_setup(fd, (enum log_format)config->log_format, levels);
    log_burst(config->log_burst);
    return OK;
}

static bool is_draining(void *context)
{
    return broker_is_draining(((struct node *)context)->broker);
}

static void banned_of_node(void *context, const struct ban *ban)
{
    if (banish(broker_shard(((struct node *)context)->broker, 0), ban) != OK) {
        log_event(LOG_ERROR, "memory is exhausted: who is banned and connected stays");
    }
}

static enum err explain_of_node(void *context, const struct explain_question *question,
                                struct explain **out)
{
    return explain_ask(broker_shard(((struct node *)context)->broker, 0), question, out);
}

static void security_tell(void *context, struct admin_security *out)
{
    warden_look(((const struct node *)context)->warden, out);
}

static void storage_tell(void *context, struct admin_storage *out)
{
    node_store_tell(&((const struct node *)context)->store, out);
}

static enum err backup_begin(void *context, const char *folder)
{
    return node_backup_begin(((struct node *)context)->backup, folder);
}

static void backup_look(void *context, struct admin_backup *out)
{
    node_backup_look(((struct node *)context)->backup, out);
}

static enum err on_started(void *context, struct io *io, struct wheel *wheel,
                           struct broker_failure *failure)
{
    struct node *node = context;
    node->sources = (struct admin_sources){.metrics = broker_metrics(node->broker),
                                           .metrics_count = broker_shard_count(node->broker),
                                           .start_wall_ms = io_wall_ms(io),
                                           .is_draining = is_draining,
                                           .explain_ask = explain_of_node,
                                           .explain_tell = explain_tell,
                                           .explain_end = explain_end,
                                           .bans = broker_bans(node->broker),
                                           .banned = banned_of_node,
                                           .security = security_tell,
                                           .storage = storage_tell,
                                           .backup_begin = node->backup == NULL ? NULL
                                                                                : backup_begin,
                                           .backup_look = backup_look,
                                           .context = node};
    TRY(node_bridge_open(node->boot_config, node->broker, io, wheel, &node->bridge));
    return node_http_open(node->boot_config, io, wheel, &node->sources, &node->http, failure);
}

static void on_renewed(void *context, const struct config *config)
{
    node_bridge_renew(&((struct node *)context)->bridge, config);
}

static void on_stopped(void *context)
{
    node_bridge_close(&((struct node *)context)->bridge);
    node_http_close(&((struct node *)context)->http);
}

static enum err journal_new(void *context, struct io *io, uint32_t shard, struct journal **out,
                            uint64_t *wall_ms, struct broker_failure *failure)
{
    return node_store_journal_new(&((struct node *)context)->store, io, shard, out, wall_ms,
                                  failure);
}

static enum err journal_load(void *context, struct journal *journal, struct shard *shard,
                             struct broker_failure *failure)
{
    return node_store_journal_load(&((struct node *)context)->store, journal, shard, failure);
}

static bool journal_load_more(void *context, struct journal *journal, struct shard *shard)
{
    return node_store_journal_load_more(&((struct node *)context)->store, journal, shard);
}

static uint32_t shard_count_of(const struct config *config)
{
    uint32_t cpus[CPU_COUNT_MAX];
    uint32_t count = config->threads > 0 ? config->threads : cpu_usable(cpus, CPU_COUNT_MAX);
    return count < SHARD_COUNT_MAX ? count : SHARD_COUNT_MAX;
}

static void node_free(struct node *node)
{
    broker_free(node->broker);
    node_backup_free(node->backup);
    node_store_close(&node->store);
    warden_free(node->warden);
    if (node->config != node->boot_config) {
        config_free(node->config);
    }
    config_free(node->boot_config);
    free(node);
}

enum err node_start(struct config *config, struct warden *warden, struct node **out,
                    struct broker_failure *failure)
{
    struct node *node = calloc(1, sizeof(*node));
    if (node == NULL) {
        snprintf(failure->text, sizeof(failure->text), "memory is exhausted");
        warden_free(warden);
        config_free(config);
        return ERR_NOMEM;
    }
    node->boot_config = node->config = config;
    node->warden = warden;
    uint64_t files = sys_raise_file_limit();
    enum err err = node_store_open(config, shard_count_of(config), rng_system_seed(), &node->store,
                                   failure);
    if (err != OK) {
        node_free(node);
        return err;
    }
    struct broker_ports ports = {
        .started = on_started, .stopped = on_stopped, .renewed = on_renewed, .context = node};
    if (node->store.store != NULL) {
        node->backup = node_backup_new(node->store.store);
        ports.journal_new = journal_new;
        ports.journal_load = journal_load;
        ports.journal_load_more = journal_load_more;
        ports.journal_free = node_store_journal_free;
    }
    struct broker_config broker = {.config = config,
                                   .security = warden_security(warden),
                                   .ports = &ports,
                                   .shard_count = shard_count_of(config),
                                   .pin = config->threads == 0,
                                   .worker_count = (shard_count_of(config) + 1) / 2,
                                   .seed = rng_system_seed(),
                                   .stream_count_max = files > 2 * FILES_RESERVED
                                                           ? (uint32_t)(files - FILES_RESERVED)
                                                           : FILES_RESERVED};
    err = broker_new(&broker, &node->broker);
    if (err != OK) {
        snprintf(failure->text, sizeof(failure->text), "%s", err_text(err));
    } else {
        err = broker_start(node->broker, failure);
    }
    if (err != OK) {
        node_free(node);
        return err;
    }
    *out = node;
    return OK;
}

static const char *protocol_name(const struct listener_config *listener)
{
    static const char *const names[2][2] = {{"mqtt", "mqtts"}, {"websocket", "wss"}};
    return names[listener->protocol == LISTENER_WEBSOCKETS][config_listener_is_tls(listener)];
}

static void started_log(const struct node *node)
{
    const struct config *config = node->boot_config;
    char text[ADDRESS_TEXT_MAX];
    log_event(LOG_NOTICE, "started", LOG_TEXT("version", TERN_VERSION),
              LOG_U64("shards", broker_shard_count(node->broker)));
    for (uint32_t i = 0; i < config->listener_count; i++) {
        struct address at;
        for (uint32_t n = 0; broker_listener_address(node->broker, i, n, &at); n++) {
            log_event(LOG_NOTICE, "listening",
                      LOG_TEXT("protocol", protocol_name(&config->listeners[i])),
                      LOG_TEXT("at", address_text(&at, text)));
        }
    }
    for (uint32_t i = 0; i < node->http.count; i++) {
        log_event(LOG_NOTICE, "listening", LOG_TEXT("protocol", "http"),
                  LOG_TEXT("at", address_text(&node->http.at[i], text)));
    }
}

static const char *clients_words(const struct listener_config *listener)
{
    if (listener->allow_anonymous) {
        return "anonymous ones are let in";
    }
    if (listener->password_file[0] != 0) {
        return "those with a user name and its password are let in";
    }
    if (listener->identity_as_username || listener->subject_as_username) {
        return "those with a certificate are let in";
    }
    return "none are let in: write `password_file`, or `allow_anonymous true`";
}

static const char *durability_word(const struct config *config)
{
    static const char *const words[] = {"fsync", "quorum", "relaxed"};
    return words[config->durability];
}

static void node_print(const struct node *node)
{
    const struct config *config = node->boot_config;
    char text[ADDRESS_TEXT_MAX];
    fprintf(stderr, "Tern %s, %u shard%s\n", TERN_VERSION, broker_shard_count(node->broker),
            broker_shard_count(node->broker) == 1 ? "" : "s");
    for (uint32_t i = 0; i < config->listener_count; i++) {
        struct address at;
        for (uint32_t n = 0; broker_listener_address(node->broker, i, n, &at); n++) {
            fprintf(stderr, "  %-10s %s\n", protocol_name(&config->listeners[i]),
                    address_text(&at, text));
        }
    }
    for (uint32_t i = 0; i < node->http.count; i++) {
        bool is_unix = node->http.at[i].kind == ADDRESS_UNIX;
        fprintf(stderr, "  %-10s %s%s%s\n", "http", is_unix ? "" : "http://",
                address_text(&node->http.at[i], text),
                is_unix ? " for ternctl" : "/metrics and /health");
    }
    if (config->persistence) {
        fprintf(stderr, "  %-10s %s, durability %s\n", "state", node->store.folder,
                durability_word(config));
    } else {
        fprintf(stderr, "  %-10s in memory: it does not outlive this process\n", "state");
    }
    fprintf(stderr, "  %-10s %s\n", "clients", clients_words(&config->listeners[0]));
    fprintf(stderr, "  %-10s SIGHUP reloads, SIGTERM stops\n", "signals");
}

void node_announce(const struct node *node)
{
    const struct config *config = node->boot_config;
    bool is_log_on_stderr = slice_is(slice_text(config->log_dest), "stderr");
    if (!is_log_on_stderr || config->log_format == CONFIG_LOG_JSON) {
        started_log(node);
    }
    if (!is_log_on_stderr || config->log_format != CONFIG_LOG_JSON) {
        node_print(node);
    }
}

/* A configuration, and what guards it, that can be used as a whole; findings go into the report. */
static enum err all_read(struct node *node, const struct config_sources *sources,
                         struct config **out, struct config_report *report)
{
    struct config *config;
    TRY(config_reload(node->config, sources, &config, report));
    enum err err = warden_read(node->warden, config, report);
    if (!warden_has_next(node->warden)) {
        config_free(config);
        return err;
    }
    *out = config;
    return OK;
}

enum err node_reload(struct node *node, const struct config_sources *sources)
{
    struct config_report report;
    struct config *config = NULL;
    config_report_init(&report);
    enum err err = all_read(node, sources, &config, &report);
    warden_findings_log(&report);
    config_report_deinit(&report);
    if (err == OK && node_log_setup(config) != OK) {
        log_event(LOG_ERROR, "cannot open the log file, the old configuration stays",
                  LOG_TEXT("file", config->log_file), LOG_TEXT("why", strerror(errno)));
        warden_drop(node->warden);
        config_free(config);
        return ERR_IO;
    }
    if (err != OK) {
        log_event(LOG_ERROR, "reload failed, the old configuration stays",
                  LOG_TEXT("reason", err_text(err)));
        return err;
    }
    warden_swap(node->warden, node->broker, config);
    if (node->config != node->boot_config) {
        config_free(node->config);
    }
    node->config = config;
    log_event(LOG_NOTICE, "configuration reloaded");
    return OK;
}

void node_settle_in(struct node *node)
{
    warden_settle_in(node->warden, node->config);
}

void node_watch(struct node *node)
{
    warden_watch(node->warden, node->broker, node->config);
}

uint64_t node_watch_ns(const struct node *node)
{
    return warden_is_watching(node->warden) ? WARDEN_WATCH_NS : UINT64_MAX;
}

void node_stop(struct node *node, bool drain)
{
    broker_stop(node->broker, drain);
}

bool node_has_stopped(const struct node *node)
{
    return broker_has_stopped(node->broker);
}

const char *node_folder(const struct node *node)
{
    return node->store.folder;
}

const struct config *node_config(const struct node *node)
{
    return node->config;
}

void node_join(struct node *node)
{
    broker_join(node->broker);
    node_free(node);
}
