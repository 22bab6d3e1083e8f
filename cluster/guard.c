#include "cluster/guard.h"

#include "core/base/assert.h"
#include "core/base/log.h"
#include "core/broker/security.h"
#include "core/io/sys.h"
#include "core/io/watch.h"

#include <stdlib.h>
#include <time.h>

enum { DAY_S = 24 * 3600 };

struct guard {
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

void guard_findings_log(const struct config_report *report)
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

enum err guard_new(const struct config *config, struct guard **out, struct config_report *report)
{
    struct guard *guard = calloc(1, sizeof(*guard));
    if (guard == NULL) {
        return ERR_NOMEM;
    }
    guard->tickets = tls_tickets_new();
    guard->expiry_told_s = now_s();
    enum err err = ERR_NOMEM;
    if (guard->tickets != NULL) {
        err = security_load(config, NULL, guard->tickets, now_s() * 1000, &guard->security, report);
    }
    if (err != OK) {
        guard_free(guard);
        return err;
    }
    atomic_store_explicit(&guard->shown, guard->security, memory_order_release);
    cores_settle(guard->security, config);
    *out = guard;
    return OK;
}

void guard_free(struct guard *guard)
{
    if (guard == NULL) {
        return;
    }
    security_free(guard->next);
    security_free(guard->security);
    tls_tickets_free(guard->tickets);
    free(guard);
}

const struct security *guard_security(const struct guard *guard)
{
    return guard->security;
}

void guard_settle_in(struct guard *guard, const struct config *config)
{
    struct config_report report;
    cores_settle(guard->security, config);
    config_report_init(&report);
    security_readable_check(guard->security, &report);
    guard_findings_log(&report);
    config_report_deinit(&report);
    items_log(guard->security);
}

/* ---- again --------------------------------------------------------------------------------- */

enum err guard_read(struct guard *guard, const struct config *config, struct config_report *report)
{
    ASSERT(guard->next == NULL);
    enum err err = security_load(config, guard->security, guard->tickets, now_s() * 1000,
                                 &guard->next, report);
    atomic_fetch_add_explicit(&guard->reload_count, 1, memory_order_relaxed);
    if (err != OK) {
        atomic_fetch_add_explicit(&guard->fail_count, 1, memory_order_relaxed);
    }
    return err;
}

bool guard_has_next(const struct guard *guard)
{
    return guard->next != NULL;
}

void guard_drop(struct guard *guard)
{
    security_free(guard->next);
    guard->next = NULL;
}

void guard_swap(struct guard *guard, struct broker *broker, const struct config *config)
{
    struct security *old = guard->security;
    ASSERT(guard->next != NULL);
    guard->security = guard->next;
    guard->next = NULL;
    guard->expiry_told_s = now_s(); /* security_load() has looked */
    cores_settle(guard->security, config);
    atomic_store_explicit(&guard->shown, guard->security, memory_order_release);
    broker_reconfigure(broker, config, guard->security);
    security_free(old);
    items_log(guard->security);
}

bool guard_is_watching(const struct guard *guard)
{
    return watch_count(guard->security->watch) > 0;
}

static void expiry_tell(struct guard *guard)
{
    struct config_report report;
    if (now_s() < guard->expiry_told_s + DAY_S) {
        return;
    }
    guard->expiry_told_s = now_s();
    config_report_init(&report);
    security_expiry_check(guard->security, now_s() * 1000, &report);
    guard_findings_log(&report);
    config_report_deinit(&report);
}

void guard_watch(struct guard *guard, struct broker *broker, const struct config *config)
{
    struct config_report report;
    expiry_tell(guard);
    if (!security_files_changed(guard->security)) {
        return;
    }
    config_report_init(&report);
    enum err err = guard_read(guard, config, &report);
    guard_findings_log(&report);
    config_report_deinit(&report);
    if (guard_has_next(guard)) {
        guard_swap(guard, broker, config);
    }
    if (err == OK) {
        log_event(LOG_NOTICE, "files have changed: certificates, passwords and rules are new");
    } else {
        log_event(LOG_ERROR, "files have changed and are bad: what was read before goes on");
    }
}

void guard_look(const struct guard *guard, struct admin_security *out)
{
    *out = (struct admin_security){
        .security = atomic_load_explicit(&guard->shown, memory_order_acquire),
        .reload_count = atomic_load_explicit(&guard->reload_count, memory_order_relaxed),
        .fail_count = atomic_load_explicit(&guard->fail_count, memory_order_relaxed),
    };
}
