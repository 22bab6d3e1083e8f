/*
 * What guards the listeners, put together from parts.
 *
 * A part is one thing that was read: a password file, an ACL file, or all the TLS files of a
 * listener. Its key is what the configuration says of it; listeners with the same key share the part,
 * and a part that is bad keeps what the part with the same key had before. So nothing ever guards a
 * listener that its configuration does not name.
 */
#include "core/broker/security.h"

#include "core/io/sys.h"
#include "core/io/watch.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PARTS_MAX = SECURITY_KIND_COUNT * LIMIT_CONFIG_LISTENERS, TROUBLE_BYTES = 640 };

struct text {
    struct text *next;
    char bytes[];
};

struct part {
    enum security_kind kind;
    const char *key;
    union { /* what is in use: NULL only when it could not be made at all */
        struct tls_context *tls;
        struct passwords *passwords;
        struct acl *acl;
        void *any;
    } is;
    bool has_users;      /* of an ACL: rules for somebody by name */
    const char *trouble; /* NULL: what is in use is what the files say */
};

struct security_memory {
    struct text *texts;
    uint32_t part_count;
    struct part parts[PARTS_MAX];
};

struct loading {
    const struct config *config;
    const struct security *before;
    struct tls_tickets *tickets;
    uint64_t wall_ms;
    struct security *security; /* being made */
    struct config_report *report;
    bool is_lost; /* something is bad, and there is nothing to go back to */
    bool is_bad, is_out_of_memory;
};

/* A copy that lives as long as the security. "" when memory is exhausted. */
static const char *text_keep(struct loading *loading, struct slice bytes)
{
    struct security_memory *memory = loading->security->memory;
    struct text *text = malloc(sizeof(*text) + bytes.count + 1);
    if (text == NULL) {
        loading->is_out_of_memory = true;
        return "";
    }
    if (bytes.count > 0) {
        memcpy(text->bytes, bytes.data, bytes.count);
    }
    text->bytes[bytes.count] = '\0';
    text->next = memory->texts;
    memory->texts = text;
    return text->bytes;
}

/* ---- parts --------------------------------------------------------------------------------- */

static struct part *part_find(const struct security *security, enum security_kind kind,
                              const char *key)
{
    for (uint32_t i = 0; security != NULL && i < security->memory->part_count; i++) {
        struct part *part = &security->memory->parts[i];
        if (part->kind == kind && strcmp(part->key, key) == 0) {
            return part;
        }
    }
    return NULL;
}

static void part_ref(struct part *part, const struct part *other)
{
    part->is = other->is;
    if (part->kind == SECURITY_TLS) {
        tls_context_ref(part->is.tls);
    } else if (part->kind == SECURITY_PASSWORDS) {
        passwords_ref(part->is.passwords);
    } else {
        acl_ref(part->is.acl);
    }
}

static void part_unref(struct part *part)
{
    if (part->kind == SECURITY_TLS) {
        tls_context_unref(part->is.tls);
    } else if (part->kind == SECURITY_PASSWORDS) {
        passwords_unref(part->is.passwords);
    } else {
        acl_unref(part->is.acl);
    }
}

/* It is bad: told at that place, and what was before goes on. */
__attribute__((format(printf, 5, 6))) static void part_fail(struct loading *loading,
                                                            struct part *part, const char *source,
                                                            uint32_t line, const char *format, ...)
{
    char text[TROUBLE_BYTES], place[32] = "";
    const struct part *earlier = part_find(loading->before, part->kind, part->key);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    config_report_add(loading->report, CONFIG_ERROR,
                      config_report_text(loading->report, slice_text(source)), line, "%s", text);
    if (line > 0) {
        char whole[TROUBLE_BYTES + sizeof(place)];
        snprintf(whole, sizeof(whole), "line %" PRIu32 ": %s", line, text);
        part->trouble = text_keep(loading, slice_text(whole));
    } else {
        part->trouble = text_keep(loading, slice_text(text));
    }
    loading->is_bad = true;
    if (earlier != NULL && earlier->is.any != NULL) {
        part_ref(part, earlier);
        part->has_users = earlier->has_users;
    } else {
        loading->is_lost = true;
    }
}

/* ---- files --------------------------------------------------------------------------------- */

static void watch_file(struct loading *loading, const char *path)
{
    if (path[0] != '\0' && watch_add(loading->security->watch, path) != OK) {
        loading->is_out_of_memory = true;
    }
}

/* Whoever may write to it decides who comes in; whoever may read it can try passwords at home. */
static void others_check(struct loading *loading, const char *path)
{
    uint32_t others = sys_others(path);
    bool can_read = (others & SYS_OTHERS_READ) != 0;
    bool can_write = (others & (SYS_OTHERS_WRITE | SYS_GROUP_WRITE)) != 0;
    if (can_read || can_write) {
        config_report_add(loading->report, CONFIG_WARNING,
                          config_report_text(loading->report, slice_text(path)), 0,
                          "others than its owner can %s it: chmod 600 %.400s",
                          !can_write  ? "read"
                          : !can_read ? "write"
                                      : "read and write",
                          path);
    }
}

/* The text of a file, to be given to file_forget(). NULL: the part has failed. */
static char *file_load(struct loading *loading, struct part *part, size_t bytes_max, size_t *count)
{
    char user[64], *text = NULL;
    const char *path = part->key;
    watch_file(loading, path);
    enum err err = sys_load_plain_file(path, bytes_max, &text, count);
    switch (err) {
    case OK:
        others_check(loading, path);
        return text;
    case ERR_PERMISSION:
        sys_user_name(user);
        part_fail(loading, part, path, 0, "user %s may not read it: chown or chmod it", user);
        return NULL;
    case ERR_NOT_FOUND:
        part_fail(loading, part, path, 0, "there is no such file: write it, or mend the path");
        return NULL;
    case ERR_INVALID:
        part_fail(loading, part, path, 0, "it is no regular file: write the path of one");
        return NULL;
    case ERR_TOO_LARGE:
        part_fail(loading, part, path, 0, "it has more than %zu MiB: is it the right one?",
                  bytes_max >> 20);
        return NULL;
    default:
        loading->is_out_of_memory |= err == ERR_NOMEM;
        part_fail(loading, part, path, 0, "it cannot be read: %s", err_text(err));
        return NULL;
    }
}

static void file_forget(char *text, size_t count)
{
    explicit_bzero(text, count);
    free(text);
}

/* ---- passwords and rules ------------------------------------------------------------------- */

static void passwords_read(struct loading *loading, struct part *part)
{
    struct password_trouble trouble = {.line = 0};
    size_t count;
    char *text = file_load(loading, part, PASSWORD_FILE_BYTES_MAX, &count);
    if (text == NULL) {
        return;
    }
    enum err err = passwords_parse(slice_of(text, count), &part->is.passwords, &trouble);
    file_forget(text, count);
    if (err != OK) {
        loading->is_out_of_memory |= err == ERR_NOMEM;
        part->is.passwords = NULL;
        part_fail(loading, part, part->key, trouble.line, "%s", trouble.text);
    }
}

/* A line `user NAME` somewhere. */
static bool has_user_line(struct slice text)
{
    static const struct slice word = SLICE("user");
    while (text.count > 0) {
        size_t end = slice_find(text, '\n'), start = 0;
        while (start < end && (text.data[start] == ' ' || text.data[start] == '\t')) {
            start++;
        }
        struct slice line = slice_of(text.data + start, end - start);
        if (slice_starts_with(line, word) && line.count > word.count &&
            (line.data[word.count] == ' ' || line.data[word.count] == '\t')) {
            return true;
        }
        text = slice_skip(text, end < text.count ? end + 1 : end);
    }
    return false;
}

static void acl_read(struct loading *loading, struct part *part)
{
    struct acl_trouble trouble = {.line = 0};
    size_t count;
    char *text = file_load(loading, part, ACL_FILE_BYTES_MAX, &count);
    if (text == NULL) {
        return;
    }
    enum err err = acl_parse(slice_of(text, count), &part->is.acl, &trouble);
    part->has_users = has_user_line(slice_of(text, count));
    file_forget(text, count);
    if (err != OK) {
        loading->is_out_of_memory |= err == ERR_NOMEM;
        part->is.acl = NULL;
        part_fail(loading, part, part->key, trouble.line, "%s", trouble.text);
    }
}

/* ---- TLS ----------------------------------------------------------------------------------- */

/* Everything that makes the context. */
static const char *tls_key(struct loading *loading, const struct listener_config *listener)
{
    char *bytes = NULL;
    size_t count = 0;
    FILE *out = open_memstream(&bytes, &count);
    if (out == NULL) {
        loading->is_out_of_memory = true;
        return "";
    }
    fprintf(out, "%s\n%s\n%s\n%s\n%s\n%s\n%s\n%d %d %d", listener->certfile, listener->keyfile,
            listener->cafile, listener->capath, listener->crlfile, listener->ciphers,
            listener->curves, (int)listener->require_certificate, (int)listener->tls_version,
            (int)listener->protocol);
    for (uint32_t i = 0; i < listener->certificates.count; i++) {
        fprintf(out, "\n%s", listener->certificates.items[i]);
    }
    const char *key = "";
    if (fclose(out) == 0) {
        key = text_keep(loading, slice_of(bytes, count));
    } else {
        loading->is_out_of_memory = true;
    }
    free(bytes);
    return key;
}

static uint32_t pairs_fill(struct loading *loading, const struct listener_config *listener,
                           struct tls_pair pairs[TLS_CERTIFICATES_MAX])
{
    uint32_t count = 0;
    pairs[count++] = (struct tls_pair){listener->certfile, listener->keyfile};
    for (uint32_t i = 0; i < listener->certificates.count && count < TLS_CERTIFICATES_MAX; i++) {
        struct slice certfile, keyfile;
        if (config_certificate(listener->certificates.items[i], &certfile, &keyfile) == OK) {
            pairs[count++] = (struct tls_pair){text_keep(loading, certfile),
                                               text_keep(loading, keyfile)};
        }
    }
    return count;
}

static void tls_read_files(struct loading *loading, const struct listener_config *listener,
                           struct part *part)
{
    static const char *const mqtt[] = {"mqtt"}, *const http[] = {"http/1.1"};
    struct tls_pair pairs[TLS_CERTIFICATES_MAX];
    struct tls_trouble trouble = {{0}};
    const char *keylog = loading->config->tls_keylog;
    uint32_t pair_count = pairs_fill(loading, listener, pairs);
    struct tls_settings settings = {
        .pairs = pairs,
        .pair_count = pair_count,
        .cafile = listener->cafile,
        .capath = listener->capath,
        .crlfile = listener->crlfile,
        .ask = (enum tls_ask)listener->require_certificate,
        .is_1_3_only = listener->tls_version == TLS_VERSION_1_3,
        .ciphers = listener->ciphers,
        .curves = listener->curves,
        .protocols = listener->protocol == LISTENER_WEBSOCKETS ? http : mqtt,
        .protocol_count = 1,
        .keylog = keylog[0] != '\0' ? keylog : NULL,
        .tickets = loading->tickets,
    };
    for (uint32_t i = 0; i < pair_count; i++) {
        watch_file(loading, pairs[i].certfile);
        watch_file(loading, pairs[i].keyfile);
        others_check(loading, pairs[i].keyfile);
    }
    watch_file(loading, listener->cafile);
    watch_file(loading, listener->capath);
    watch_file(loading, listener->crlfile);
    enum err err = tls_context_new(&settings, loading->wall_ms, &part->is.tls, &trouble);
    if (err != OK) {
        char source[128];
        snprintf(source, sizeof(source), "listener %.100s", listener->name);
        loading->is_out_of_memory |= err == ERR_NOMEM;
        part->is.tls = NULL;
        part_fail(loading, part, source, 0, "%s",
                  trouble.text[0] != '\0' ? trouble.text : err_text(err));
    }
}

_Static_assert((int)REQUIRE_FALSE == TLS_ASK_NO && (int)REQUIRE_TRUE == TLS_ASK_REQUIRED &&
                   (int)REQUIRE_OPTIONAL == TLS_ASK_OPTIONAL,
               "config.h: in the order of enum tls_ask");

/* ---- listeners ----------------------------------------------------------------------------- */

/* The part of that key: shared, or read now. listener: of TLS. */
static struct part *part_get(struct loading *loading, enum security_kind kind, const char *key,
                             const struct listener_config *listener)
{
    struct part *part = part_find(loading->security, kind, key);
    if (part != NULL) {
        return part;
    }
    struct security_memory *memory = loading->security->memory;
    ASSERT(memory->part_count < PARTS_MAX);
    part = &memory->parts[memory->part_count++];
    *part = (struct part){.kind = kind, .key = text_keep(loading, slice_text(key))};
    switch (kind) {
    case SECURITY_PASSWORDS:
        passwords_read(loading, part);
        break;
    case SECURITY_ACL:
        acl_read(loading, part);
        break;
    default:
        tls_read_files(loading, listener, part);
        break;
    }
    return part;
}

static void item_add(struct loading *loading, const struct part *part, const char *listener,
                     const char *file, int64_t expires_s)
{
    struct security *security = loading->security;
    struct security_item *items = realloc(security->items,
                                          (security->item_count + 1) * sizeof(items[0]));
    if (items == NULL) {
        loading->is_out_of_memory = true;
        return;
    }
    security->items = items;
    items[security->item_count++] = (struct security_item){
        .kind = part->kind,
        .listener = text_keep(loading, slice_text(listener)),
        .file = file,
        .expires_s = expires_s,
        .is_stale = part->trouble != NULL,
        .trouble = part->trouble != NULL ? part->trouble : "",
    };
}

static void tls_items_add(struct loading *loading, const struct part *part,
                          const struct listener_config *listener)
{
    if (part->is.tls == NULL) {
        return;
    }
    for (uint32_t i = 0; i < tls_context_certificate_count(part->is.tls); i++) {
        struct tls_certificate certificate = tls_context_certificate(part->is.tls, i);
        item_add(loading, part, listener->name, certificate.file, certificate.not_after_s);
    }
}

/* One item for all listeners, where all of them have the same file. */
static bool is_told(const struct loading *loading, const struct part *part)
{
    for (uint32_t i = 0; i < loading->security->item_count; i++) {
        const struct security_item *item = &loading->security->items[i];
        if (item->kind == part->kind && item->listener[0] == '\0' &&
            strcmp(item->file, part->key) == 0) {
            return true;
        }
    }
    return false;
}

static void file_item_add(struct loading *loading, const struct part *part,
                          const struct listener_config *listener)
{
    bool is_of_listener = loading->config->per_listener_settings;
    if (part->is.any != NULL && (is_of_listener || !is_told(loading, part))) {
        item_add(loading, part, is_of_listener ? listener->name : "", part->key, 0);
    }
}

/* Rules for somebody by name, where nobody can prove a name. */
static void names_check(struct loading *loading, const struct part *part,
                        const struct listener_config *listener)
{
    bool has_identities = config_listener_is_tls(listener) &&
                          listener->require_certificate != REQUIRE_FALSE &&
                          (listener->identity_as_username || listener->subject_as_username);
    if (part->has_users && listener->password_file[0] == '\0' && !has_identities) {
        config_report_add(loading->report, CONFIG_NOTE,
                          config_report_text(loading->report, slice_text(part->key)), 0,
                          "it has rules of users, but on listener %.100s nobody can prove to be "
                          "one: write password_file, or use_identity_as_username",
                          listener->name);
    }
}

static void listener_load(struct loading *loading, uint32_t index)
{
    const struct listener_config *listener = &loading->config->listeners[index];
    struct listener_security *out = &loading->security->listeners[index];
    if (listener->password_file[0] != '\0') {
        struct part *part = part_get(loading, SECURITY_PASSWORDS, listener->password_file, NULL);
        out->passwords = part->is.passwords;
        file_item_add(loading, part, listener);
    }
    if (listener->acl_file[0] != '\0') {
        struct part *part = part_get(loading, SECURITY_ACL, listener->acl_file, NULL);
        out->acl = part->is.acl;
        file_item_add(loading, part, listener);
        names_check(loading, part, listener);
    }
    if (config_listener_is_tls(listener)) {
        struct part *part = part_get(loading, SECURITY_TLS, tls_key(loading, listener), listener);
        out->tls = part->is.tls;
        tls_items_add(loading, part, listener);
    }
}

enum err security_load(const struct config *config, const struct security *before,
                       struct tls_tickets *tickets, uint64_t wall_ms, struct security **out,
                       struct config_report *report)
{
    struct security *security = calloc(1, sizeof(*security));
    struct loading loading = {.config = config,
                              .before = before,
                              .tickets = tickets,
                              .wall_ms = wall_ms,
                              .security = security,
                              .report = report};
    *out = NULL;
    ASSERT(config->listener_count <= LIMIT_CONFIG_LISTENERS);
    if (security == NULL) {
        return ERR_NOMEM;
    }
    security->memory = calloc(1, sizeof(*security->memory));
    security->watch = watch_new();
    if (security->memory == NULL || security->watch == NULL) {
        security_free(security);
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < config->listener_count; i++) {
        listener_load(&loading, i);
    }
    if (loading.is_out_of_memory || loading.is_lost) {
        security_free(security);
        return loading.is_out_of_memory ? ERR_NOMEM : ERR_INVALID;
    }
    security_expiry_check(security, wall_ms, report);
    *out = security;
    return loading.is_bad ? ERR_INVALID : OK;
}

void security_free(struct security *security)
{
    if (security == NULL) {
        return;
    }
    struct security_memory *memory = security->memory;
    for (uint32_t i = 0; memory != NULL && i < memory->part_count; i++) {
        part_unref(&memory->parts[i]);
    }
    while (memory != NULL && memory->texts != NULL) {
        struct text *text = memory->texts;
        memory->texts = text->next;
        free(text);
    }
    watch_free(security->watch);
    free(security->items);
    free(memory);
    free(security);
}
