#include "cluster/warden.h"

#include "core/base/assert.h"
#include "core/base/log.h"
#include "core/broker/security.h"
#include "core/io/sys.h"
#include "core/io/watch.h"

#include <stdlib.h>
#include <time.h>

enum { DAY_S = 24 * 3600 };

struct warden {
    struct security *security; /* in use */
    struct security *next;     /* read, and not in use yet; or NULL */
    struct tls_tickets *tickets;
    uint64_t expiry_told_s; /* when the certificates that end were told last */

    /* For the admin: release by the main thread before the shards are told, acquire by shard 0. What
     * it pointed to is freed when all shards have begun another turn. */
    _Atomic(const struct security *) shown;
    _Atomic uint64_t reload_count, fail_count; /* relaxed: figures */
};

static uint64_t now_s(void)
{
    return (uint64_t)time(NULL);
}

/* ---- what is told -------------------------------------------------------------------------- */

void warden_findings_log(const struct config_report *report)
{
    static const enum log_level levels[] = {
        [CONFIG_ERROR] = LOG_ERROR, [CONFIG_WARNING] = LOG_WARNING, [CONFIG_NOTE] = LOG_NOTICE};
    for (uint32_t i = 0; i < report->finding_count; i++) {
        const struct config_finding *finding = &report->findings[i];
        log_event(levels[finding->severity], "configuration", LOG_TEXT("file", finding->source),
                  LOG_U64("line", finding->line), LOG_TEXT("finding", finding->text));
    }
}

static void items_log(const struct security *security)
{
    for (uint32_t i = 0; i < security->item_count; i++) {
        const struct security_item *item = &security->items[i];
        char expires[32] = "";
        time_t end = (time_t)item->expires_s;
        struct tm parts;
        if (item->is_stale) {
            continue; /* told as a finding */
        }
        if (item->kind == SECURITY_TLS && gmtime_r(&end, &parts) != NULL) {
            strftime(expires, sizeof(expires), "%Y-%m-%dT%H:%M:%SZ", &parts);
        }
        log_event(LOG_INFO, "in use", LOG_TEXT("kind", security_kind_name(item->kind)),
                  LOG_TEXT("listener", item->listener), LOG_TEXT("file", item->file),
                  LOG_TEXT("expires", expires));
    }
}

/* Without secrets the process is left as whoever started it wants it. */
static void cores_settle(const struct security *security, const struct config *config)
{
    if (config->core_dumps) {
        sys_set_dumpable(true);
    } else if (security_has_secrets(security)) {
        sys_set_dumpable(false);
    }
}

/* ---- life ---------------------------------------------------------------------------------- */

enum err warden_new(const struct config *config, struct warden **out, struct config_report *report)
{
    struct warden *warden = calloc(1, sizeof(*warden));
    if (warden == NULL) {
        return ERR_NOMEM;
    }
    warden->tickets = tls_tickets_new();
    warden->expiry_told_s = now_s();
    enum err err = ERR_NOMEM;
    if (warden->tickets != NULL) {
        err = security_load(config, NULL, warden->tickets, now_s() * 1000, &warden->security,
                            report);
    }
    if (err != OK) {
        warden_free(warden);
        return err;
    }
    atomic_store_explicit(&warden->shown, warden->security, memory_order_release);
    cores_settle(warden->security, config);
    *out = warden;
    return OK;
}

void warden_free(struct warden *warden)
{
    if (warden == NULL) {
        return;
    }
    security_free(warden->next);
    security_free(warden->security);
    tls_tickets_free(warden->tickets);
    free(warden);
}

const struct security *warden_security(const struct warden *warden)
{
    return warden->security;
}

void warden_settle_in(struct warden *warden, const struct config *config)
{
    struct config_report report;
    cores_settle(warden->security, config);
    config_report_init(&report);
    security_readable_check(warden->security, &report);
    warden_findings_log(&report);
    config_report_deinit(&report);
    items_log(warden->security);
}

/* ---- again --------------------------------------------------------------------------------- */

/* Whoever sees the figure grow finds what was read in use. */
static void reload_count_up(struct warden *warden)
{
    atomic_fetch_add_explicit(&warden->reload_count, 1, memory_order_relaxed);
}

enum err warden_read(struct warden *warden, const struct config *config,
                     struct config_report *report)
{
    ASSERT(warden->next == NULL);
    enum err err = security_load(config, warden->security, warden->tickets, now_s() * 1000,
                                 &warden->next, report);
    if (err != OK) {
        atomic_fetch_add_explicit(&warden->fail_count, 1, memory_order_relaxed);
    }
    if (warden->next == NULL) {
        reload_count_up(warden);
    }
    return err;
}

bool warden_has_next(const struct warden *warden)
{
    return warden->next != NULL;
}

void warden_drop(struct warden *warden)
{
    security_free(warden->next);
    warden->next = NULL;
    reload_count_up(warden);
}

void warden_swap(struct warden *warden, struct broker *broker, const struct config *config)
{
    struct security *old = warden->security;
    ASSERT(warden->next != NULL);
    warden->security = warden->next;
    warden->next = NULL;
    warden->expiry_told_s = now_s(); /* security_load() has looked */
    cores_settle(warden->security, config);
    atomic_store_explicit(&warden->shown, warden->security, memory_order_release);
    broker_reconfigure(broker, config, warden->security);
    reload_count_up(warden);
    security_free(old);
    items_log(warden->security);
}

bool warden_is_watching(const struct warden *warden)
{
    return watch_count(warden->security->watch) > 0;
}

static void expiry_tell(struct warden *warden)
{
    struct config_report report;
    if (now_s() < warden->expiry_told_s + DAY_S) {
        return;
    }
    warden->expiry_told_s = now_s();
    config_report_init(&report);
    security_expiry_check(warden->security, now_s() * 1000, &report);
    warden_findings_log(&report);
    config_report_deinit(&report);
}

void warden_watch(struct warden *warden, struct broker *broker, const struct config *config)
{
    struct config_report report;
    expiry_tell(warden);
    if (!security_files_changed(warden->security)) {
        return;
    }
    config_report_init(&report);
    enum err err = warden_read(warden, config, &report);
    warden_findings_log(&report);
    config_report_deinit(&report);
    if (warden_has_next(warden)) {
        warden_swap(warden, broker, config);
    }
    if (err == OK) {
        log_event(LOG_NOTICE, "files have changed: certificates, passwords and rules are new");
    } else {
        log_event(LOG_ERROR, "files have changed and are bad: what was read before goes on");
    }
}

void warden_look(const struct warden *warden, struct admin_security *out)
{
    *out = (struct admin_security){
        .security = atomic_load_explicit(&warden->shown, memory_order_acquire),
        .reload_count = atomic_load_explicit(&warden->reload_count, memory_order_relaxed),
        .fail_count = atomic_load_explicit(&warden->fail_count, memory_order_relaxed),
    };
}
