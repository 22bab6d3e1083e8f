/*
 * tern: flags, start, signals, end. Exit codes are those of sysexits(3); README.md lists them.
 */
#include "cluster/node.h"
#include "cluster/warden.h"
#include "core/base/config.h"
#include "core/base/log.h"
#include "core/broker/limits.h"
#include "core/io/io.h"
#include "core/io/resolve.h"
#include "core/io/sys.h"
#include "core/io/tls.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

enum {
    EXIT_USAGE = 64,
    EXIT_BAD_DATA = 65,
    EXIT_UNAVAILABLE = 69,
    EXIT_CANNOT_CREATE = 73,
    EXIT_INPUT_OUTPUT = 74,
    EXIT_CONFIG = 78,
};

static struct config_sources sources_of(const struct config_command *command)
{
    return (struct config_sources){.path = command->path,
                                   .environment = environ,
                                   .overrides = command->overrides,
                                   .override_count = command->override_count,
                                   .resolve = resolve_name,
                                   .judge = limits_judge};
}

/* The configuration, and the files that guard its listeners; what was found is told on stderr. */
struct loaded {
    struct config *config;
    struct warden *warden;
    struct config_report report;
};

static void loaded_free(struct loaded *loaded)
{
    warden_free(loaded->warden);
    config_free(loaded->config);
    config_report_deinit(&loaded->report);
}

/* false: told why, and nothing is left. */
static bool load(const struct config_command *command, struct loaded *out)
{
    struct config_sources sources = sources_of(command);
    *out = (struct loaded){.config = NULL};
    enum err err = config_load(&sources, &out->config, &out->report);
    if (err == OK) {
        err = warden_new(out->config, &out->warden, &out->report);
    }
    config_report_print(&out->report, stderr);
    if (err != OK) {
        fprintf(stderr, "tern: configuration: %s\n", err_text(err));
        loaded_free(out);
    }
    return err == OK;
}

static int test_config(const struct config_command *command)
{
    struct loaded loaded;
    if (!load(command, &loaded)) {
        return EXIT_CONFIG;
    }
    printf("configuration OK\n");
    loaded_free(&loaded);
    return EXIT_SUCCESS;
}

/* What was found is on stderr already: who looks into the log only shall know it too. */
static void findings_log(const struct loaded *loaded)
{
    if (strcmp(loaded->config->log_dest, "stderr") != 0) {
        warden_findings_log(&loaded->report);
    }
}

/* What has to be done as the one who started us, after the ports are open. folder: of the state, or "". */
static int settle_in(const struct config *config, const char *folder)
{
    if (config->pid_file[0] != 0 && sys_write_pid_file(config->pid_file) != OK) {
        fprintf(stderr,
                "tern: cannot write pid_file %s: check that its folder exists and is "
                "writable\n",
                config->pid_file);
        return EXIT_CANNOT_CREATE;
    }
    if (config->user[0] != 0 && geteuid() == 0) {
        enum err err = folder[0] != 0 ? sys_give_folder(folder, config->user) : OK;
        err = err == OK ? sys_become_user(config->user) : err;
        if (err == ERR_NOT_FOUND) {
            fprintf(stderr, "tern: there is no user %s: create it, or remove the line `user %s`\n",
                    config->user, config->user);
            return EXIT_CONFIG;
        }
        if (err != OK) {
            fprintf(stderr, "tern: cannot become user %s: %s\n", config->user, err_text(err));
            return EXIT_CONFIG;
        }
    }
    return EXIT_SUCCESS;
}

/* Until somebody asks to stop; the second time at once. */
static void wait_for_signals(struct node *node, const struct config_command *command)
{
    struct config_sources sources = sources_of(command);
    bool is_stopping = false;
    for (;;) {
        switch (sys_signal_wait(is_stopping ? UINT64_C(50000000) : node_watch_ns(node))) {
        case SYS_SIGNAL_STOP:
            log_event(LOG_NOTICE, is_stopping ? "stopping at once" : "stopping");
            sys_notify("STOPPING=1");
            node_stop(node, !is_stopping);
            is_stopping = true;
            break;
        case SYS_SIGNAL_RELOAD:
            if (!is_stopping) {
                sys_notify("RELOADING=1");
                node_reload(node, &sources);
                sys_notify("READY=1");
            }
            break;
        case SYS_SIGNAL_NONE:
            if (!is_stopping) {
                node_watch(node);
            }
            break;
        default:
            break;
        }
        if (is_stopping && node_has_stopped(node)) {
            return;
        }
    }
}

/* What lies on disk is damaged or not ours, the disk fails, or something cannot be had. */
static int start_status(enum err err)
{
    bool is_bad_data = err == ERR_CORRUPT || err == ERR_UNSUPPORTED;
    bool is_disk = err == ERR_IO || err == ERR_NO_SPACE;
    return is_bad_data ? EXIT_BAD_DATA : is_disk ? EXIT_INPUT_OUTPUT : EXIT_CANNOT_CREATE;
}

static int run(const struct config_command *command)
{
    char text[512];
    struct loaded loaded;
    if (tls_library_check(text, sizeof(text)) != OK) {
        fprintf(stderr, "tern: %s\n", text);
        return EXIT_UNAVAILABLE;
    }
    if (!load(command, &loaded)) {
        return EXIT_CONFIG;
    }
    if (node_log_setup(loaded.config) != OK) {
        fprintf(stderr,
                "tern: cannot open the log file %s: %s: create its folder, make it writable, or "
                "write log_dest stderr\n",
                loaded.config->log_file, strerror(errno));
        loaded_free(&loaded);
        return EXIT_CANNOT_CREATE;
    }
    if (io_probe(text, sizeof(text)) != OK) {
        fprintf(stderr, "tern: %s\n", text);
        loaded_free(&loaded);
        return EXIT_UNAVAILABLE;
    }
    findings_log(&loaded);
    config_report_deinit(&loaded.report);
    log_event(LOG_INFO, "kernel", LOG_TEXT("found", text));
    sys_signals_open();
    struct node *node;
    struct broker_failure failure = {{0}};
    enum err err = node_start(loaded.config, loaded.warden, &node, &failure);
    if (err != OK) {
        fprintf(stderr, "tern: %s\n", failure.text);
        return start_status(err);
    }
    int status = settle_in(node_config(node), node_folder(node));
    if (status != EXIT_SUCCESS) {
        node_stop(node, false);
        node_join(node);
        return status;
    }
    node_settle_in(node);
    char pid_file[4096];
    snprintf(pid_file, sizeof(pid_file), "%s", node_config(node)->pid_file);
    node_announce(node);
    sys_notify("READY=1");
    wait_for_signals(node, command);
    node_join(node);
    log_event(LOG_NOTICE, "stopped");
    if (pid_file[0] != 0) {
        unlink(pid_file);
    }
    return EXIT_SUCCESS;
}

int main(int argument_count, char **arguments)
{
    static struct config_command command;
    struct config_report report;
    if (sys_open_standard_files() != OK) {
        return EXIT_UNAVAILABLE; /* and nowhere to say it */
    }
    config_report_init(&report);
    enum err err = config_command_parse(argument_count, arguments, &command, &report);
    config_report_print(&report, stderr);
    config_report_deinit(&report);
    if (err != OK) {
        return EXIT_USAGE;
    }
    switch (command.action) {
    case CONFIG_SHOW_HELP:
        config_print_help(stdout);
        return EXIT_SUCCESS;
    case CONFIG_SHOW_VERSION:
        printf("tern %s\n", TERN_VERSION);
        return EXIT_SUCCESS;
    case CONFIG_SHOW_EXAMPLE:
        config_print_example(stdout);
        return EXIT_SUCCESS;
    case CONFIG_TEST:
        return test_config(&command);
    case CONFIG_RUN:
        break;
    }
    return run(&command);
}
