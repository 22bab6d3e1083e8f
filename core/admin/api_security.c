/*
 * What guards the listeners, in /metrics and /health: when certificates end, and which files are bad
 * while what was read of them before goes on. Names and paths of files, never what is in them.
 */
#include "core/admin/routes.h"
#include "core/base/buf.h"
#include "core/base/json.h"
#include "core/broker/security.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

struct admin_security security_now(const struct admin_sources *sources)
{
    struct admin_security now = {.security = NULL};
    if (sources->security != NULL) {
        sources->security(sources->context, &now);
    }
    return now;
}

static uint32_t item_count(const struct admin_security *now)
{
    return now->security == NULL ? 0 : now->security->item_count;
}

static bool has_ended(const struct security_item *item, uint64_t wall_ms)
{
    return item->kind == SECURITY_TLS && item->expires_s <= (int64_t)(wall_ms / 1000);
}

bool security_is_well(const struct admin_security *now, uint64_t wall_ms)
{
    for (uint32_t i = 0; i < item_count(now); i++) {
        const struct security_item *item = &now->security->items[i];
        if (item->is_stale || has_ended(item, wall_ms)) {
            return false;
        }
    }
    return true;
}

/* ---- /metrics ------------------------------------------------------------------------------ */

/* Of a label's value, backslash, quote and line feed are escaped (text format 0.0.4). */
static void label_add(struct body *body, const char *name, const char *value)
{
    body_add(body, "%s=\"", name);
    while (*value != '\0') {
        size_t plain = strcspn(value, "\\\"\n");
        body_add_slice(body, slice_of(value, plain));
        value += plain;
        if (*value != '\0') {
            body_add(body, "\\%c", *value == '\n' ? 'n' : *value);
            value++;
        }
    }
    body_add(body, "\"");
}

/* A series may be told once only; a listener's name is not always its own. */
static bool is_told(const struct security *security, uint32_t index)
{
    const struct security_item *item = &security->items[index];
    for (uint32_t i = 0; i < index; i++) {
        const struct security_item *earlier = &security->items[i];
        if (earlier->kind == SECURITY_TLS && strcmp(earlier->listener, item->listener) == 0 &&
            strcmp(earlier->file, item->file) == 0) {
            return true;
        }
    }
    return false;
}

static void certificates_add(struct body *body, const struct admin_security *now)
{
    static const char name[] = "tern_tls_certificate_expiry_timestamp_seconds";
    body_add(body, "# HELP %s when a certificate in use ends, in seconds since 1970\n", name);
    body_add(body, "# TYPE %s gauge\n", name);
    for (uint32_t i = 0; i < item_count(now); i++) {
        const struct security_item *item = &now->security->items[i];
        if (item->kind != SECURITY_TLS || is_told(now->security, i)) {
            continue;
        }
        body_add(body, "%s{", name);
        label_add(body, "listener", item->listener);
        body_add(body, ",");
        label_add(body, "file", item->file);
        body_add(body, "} %" PRId64 "\n", item->expires_s);
    }
}

static void stale_add(struct body *body, const struct admin_security *now)
{
    uint32_t counts[SECURITY_KIND_COUNT] = {0};
    for (uint32_t i = 0; i < item_count(now); i++) {
        counts[now->security->items[i].kind] += now->security->items[i].is_stale;
    }
    body_add(body, "# HELP tern_security_stale files that are bad, so that what was read of them "
                   "before goes on\n# TYPE tern_security_stale gauge\n");
    for (uint32_t kind = 0; kind < SECURITY_KIND_COUNT; kind++) {
        body_add(body, "tern_security_stale{kind=\"%s\"} %" PRIu32 "\n",
                 security_kind_name((enum security_kind)kind), counts[kind]);
    }
}

void security_metrics_add(struct body *body, const struct admin_security *now)
{
    certificates_add(body, now);
    stale_add(body, now);
    body_add(body,
             "# HELP tern_security_reloads_total times that certificates, passwords and rules were "
             "read again\n# TYPE tern_security_reloads_total counter\n"
             "tern_security_reloads_total %" PRIu64 "\n",
             now->reload_count);
    body_add(body,
             "# HELP tern_security_reload_failures_total times that something was bad then\n"
             "# TYPE tern_security_reload_failures_total counter\n"
             "tern_security_reload_failures_total %" PRIu64 "\n",
             now->fail_count);
}

/* ---- /health ------------------------------------------------------------------------------- */

static void text_add(struct body *body, const char *key, const char *value)
{
    struct buf escaped = {0};
    body_add(body, "\"%s\":", key);
    if (json_escape(&escaped, slice_text(value)) != OK) {
        body->err = ERR_NOMEM;
    } else {
        body_add_slice(body, buf_bytes(&escaped));
    }
    buf_deinit(&escaped);
}

static void expires_add(struct body *body, const struct security_item *item)
{
    char text[32] = "";
    time_t end = (time_t)item->expires_s;
    struct tm parts;
    if (item->kind != SECURITY_TLS || gmtime_r(&end, &parts) == NULL) {
        body_add(body, "\"expires\":null");
        return;
    }
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
    body_add(body, "\"expires\":\"%s\"", text);
}

void security_health_add(struct body *body, const struct admin_security *now, uint64_t wall_ms)
{
    for (uint32_t i = 0; i < item_count(now); i++) {
        const struct security_item *item = &now->security->items[i];
        body_add(body, "%s{\"kind\":\"%s\",", i == 0 ? "" : ",", security_kind_name(item->kind));
        text_add(body, "listener", item->listener);
        body_add(body, ",");
        text_add(body, "file", item->file);
        body_add(body, ",\"status\":\"%s\",",
                 item->is_stale             ? "stale"
                 : has_ended(item, wall_ms) ? "expired"
                                            : "ok");
        text_add(body, "reason", item->trouble);
        body_add(body, ",");
        expires_add(body, item);
        body_add(body, "}");
    }
}
