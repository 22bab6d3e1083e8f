/*
 * Looking at what guards the listeners: has it changed, will it end, could it be read again?
 */
#include "core/broker/security.h"
#include "core/io/sys.h"
#include "core/io/watch.h"

#include <string.h>
#include <time.h>

const char *security_kind_name(enum security_kind kind)
{
    static const char *const names[] = {
        [SECURITY_TLS] = "tls", [SECURITY_PASSWORDS] = "passwords", [SECURITY_ACL] = "acl"};
    return names[kind];
}

bool security_files_changed(struct security *security)
{
    return watch_has_changed(security->watch);
}

/* The same file may serve several listeners. */
static bool is_first_of_file(const struct security *security, uint32_t index)
{
    for (uint32_t i = 0; i < index; i++) {
        if (security->items[i].kind == SECURITY_TLS &&
            strcmp(security->items[i].file, security->items[index].file) == 0) {
            return false;
        }
    }
    return true;
}

void security_expiry_check(const struct security *security, uint64_t wall_ms,
                           struct config_report *report)
{
    int64_t now_s = (int64_t)(wall_ms / 1000), day_s = 86400;
    for (uint32_t i = 0; i < security->item_count; i++) {
        const struct security_item *item = &security->items[i];
        int64_t left_s = item->expires_s - now_s;
        if (item->kind != SECURITY_TLS || left_s >= SECURITY_EXPIRY_DAYS * day_s ||
            !is_first_of_file(security, i)) {
            continue;
        }
        char when[32];
        time_t end = (time_t)item->expires_s;
        struct tm parts;
        strftime(when, sizeof(when), "%Y-%m-%d %H:%M", gmtime_r(&end, &parts));
        config_report_add(report, CONFIG_WARNING,
                          config_report_text(report, slice_text(item->file)), 0,
                          "the certificate %s on %s UTC%s: renew it, and replace the file",
                          left_s < 0 ? "ended" : "ends", when,
                          left_s < 0 ? ", and clients refuse it" : "");
    }
}

void security_readable_check(const struct security *security, struct config_report *report)
{
    char user[64];
    sys_user_name(user);
    for (uint32_t i = 0; i < watch_count(security->watch); i++) {
        const char *path = watch_path(security->watch, i);
        if (!sys_may_read(path)) {
            config_report_add(report, CONFIG_WARNING, config_report_text(report, slice_text(path)),
                              0,
                              "user %s may not read it, so it cannot be reloaded: what was read "
                              "at the start goes on until a restart: chown or chmod it",
                              user);
        }
    }
}

bool security_has_secrets(const struct security *security)
{
    for (uint32_t i = 0; i < security->item_count; i++) {
        if (security->items[i].kind != SECURITY_ACL) {
            return true;
        }
    }
    return false;
}
