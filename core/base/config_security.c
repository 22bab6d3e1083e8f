/*
 * Rules between the options that guard a listener: TLS, client certificates, passwords, access rules.
 *
 * What is wrong here would leave a door open that its owner believes shut, so it is an error where
 * other options get a warning: no listener serves in clear because a line of its TLS is missing.
 */
#include "core/base/config_parts.h"

#define say_at config_say_at

static const struct config_option *option_of(const char *key)
{
    const struct config_option *option = config_option_find(slice_text(key));
    ASSERT(option != NULL);
    return option;
}

/* Where it got its value: the listener's own line, or the one for all of them. */
static const struct config_origin *origin_of(const struct config_loader *loader,
                                             const struct config_section *section, const char *key)
{
    uint32_t index = config_option_index(option_of(key));
    return section->origins[index].rank != RANK_DEFAULT || loader->origins[index].source == NULL
               ? &section->origins[index]
               : &loader->origins[index];
}

/* It is switched on: a text that is not empty, a list with items, a choice that is not the first. */
static bool is_given(const struct listener_config *listener, const char *key)
{
    const struct config_option *option = option_of(key);
    const void *field = (const char *)listener + option->listener_at;
    ASSERT(option->listener_at != CONFIG_NOWHERE);
    switch (option->type) {
    case TYPE_TEXT:
        return (*(const char *const *)field)[0] != '\0';
    case TYPE_LIST:
        return ((const struct config_list *)field)->count > 0;
    case TYPE_BOOL:
        return *(const bool *)field;
    default:
        ASSERT(option->type == TYPE_CHOICE);
        return *(const uint32_t *)field != 0;
    }
}

/* ---- what needs what ----------------------------------------------------------------------- */

#define CLEAR "this listener has no TLS, everything would be in clear: write certfile and keyfile"
#define IDLE \
    "has no effect, as clients are not asked for certificates: write require_certificate true"

/* The option wants one of those that follow. Of each option the first row that is not met is told. */
/* clang-format off */
static const struct need {
    const char *key, *wants, *or_wants;
    enum config_severity severity;
    const char *text;
} needs[] = {
    {"certfile",                 "keyfile",             NULL,     CONFIG_ERROR,   "its private key is missing: write keyfile too"},
    {"keyfile",                  "certfile",            NULL,     CONFIG_ERROR,   "its certificate is missing: write certfile too"},
    {"certificate",              "certfile",            NULL,     CONFIG_ERROR,   "this is a further one: write the first as certfile and keyfile"},
    {"cafile",                   "certfile",            NULL,     CONFIG_ERROR,   CLEAR},
    {"cafile",                   "require_certificate", NULL,     CONFIG_NOTE,    IDLE},
    {"capath",                   "certfile",            NULL,     CONFIG_ERROR,   CLEAR},
    {"capath",                   "require_certificate", NULL,     CONFIG_NOTE,    IDLE},
    {"crlfile",                  "certfile",            NULL,     CONFIG_ERROR,   CLEAR},
    {"crlfile",                  "cafile",              "capath", CONFIG_ERROR,   "whose revocation list is it? Write cafile: the authority that signed it"},
    {"crlfile",                  "require_certificate", NULL,     CONFIG_WARNING, IDLE},
    {"require_certificate",      "certfile",            NULL,     CONFIG_ERROR,   CLEAR},
    {"require_certificate",      "cafile",              "capath", CONFIG_ERROR,   "nobody is trusted to sign them: write cafile or capath"},
    {"use_identity_as_username", "certfile",            NULL,     CONFIG_ERROR,   CLEAR},
    {"use_identity_as_username", "require_certificate", NULL,     CONFIG_ERROR,   IDLE},
    {"use_subject_as_username",  "certfile",            NULL,     CONFIG_ERROR,   CLEAR},
    {"use_subject_as_username",  "require_certificate", NULL,     CONFIG_ERROR,   IDLE},
    /* These may have been given for all listeners at once, some of which have no TLS. */
    {"tls_version",              "certfile",            NULL,     CONFIG_WARNING, CLEAR},
    {"ciphers",                  "certfile",            NULL,     CONFIG_WARNING, CLEAR},
    {"tls_curves",               "certfile",            NULL,     CONFIG_WARNING, CLEAR},
};
/* clang-format on */

static void needs_check(struct config_loader *loader, const struct config_section *section,
                        const struct listener_config *listener)
{
    const char *told = "";
    for (uint32_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++) {
        const struct need *need = &needs[i];
        bool is_met = !is_given(listener, need->key) || is_given(listener, need->wants) ||
                      (need->or_wants != NULL && is_given(listener, need->or_wants));
        if (is_met || strcmp(told, need->key) == 0) {
            continue;
        }
        say_at(loader, origin_of(loader, section, need->key), need->severity, "%s: %s", need->key,
               need->text);
        told = need->key;
    }
    if (listener->identity_as_username && listener->subject_as_username) {
        say_at(loader, origin_of(loader, section, "use_subject_as_username"), CONFIG_ERROR,
               "use_subject_as_username: the user is the common name already, by "
               "use_identity_as_username: remove one of them");
    }
}

/* A path that is there but empty: "no file" was hardly meant. Heavier sources switch one off so. */
static void paths_check(struct config_loader *loader, const struct config_section *section,
                        const struct listener_config *listener)
{
    static const char *const paths[] = {"password_file", "acl_file", "certfile", "keyfile",
                                        "cafile",        "capath",   "crlfile"};
    for (uint32_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        const struct config_origin *origin = origin_of(loader, section, paths[i]);
        if (origin->rank == RANK_FILE && !is_given(listener, paths[i])) {
            say_at(loader, origin, CONFIG_WARNING,
                   "%s: no path, so there is none: write one, or remove the line", paths[i]);
        }
    }
}

/* ---- certificate CERTFILE KEYFILE ---------------------------------------------------------- */

enum err config_certificate(const char *item, struct slice *certfile, struct slice *keyfile)
{
    struct slice rest = slice_text(item), cert, key;
    if (!config_word_next(&rest, false, &cert) || !config_word_next(&rest, false, &key) ||
        config_trim(rest).count > 0) {
        return ERR_INVALID;
    }
    *certfile = cert;
    *keyfile = key;
    return OK;
}

static bool is_earlier(const struct listener_config *listener, uint32_t index,
                       struct slice certfile)
{
    bool is_same = slice_is(certfile, listener->certfile);
    for (uint32_t i = 0; i < index && !is_same; i++) {
        struct slice other, key;
        is_same = config_certificate(listener->certificates.items[i], &other, &key) == OK &&
                  slice_equal(other, certfile);
    }
    return is_same;
}

static void certificates_check(struct config_loader *loader, const struct config_section *section,
                               const struct listener_config *listener)
{
    const struct config_origin *origin = origin_of(loader, section, "certificate");
    for (uint32_t i = 0; i < listener->certificates.count; i++) {
        const char *item = listener->certificates.items[i];
        struct slice certfile, keyfile;
        char quoted[CONFIG_QUOTE_BYTES];
        if (config_certificate(item, &certfile, &keyfile) != OK) {
            say_at(loader, origin, CONFIG_ERROR,
                   "certificate: \"%s\" is not two paths: write certificate CERTFILE KEYFILE, "
                   "paths without blanks",
                   config_quote(slice_text(item), quoted));
        } else if (is_earlier(listener, i, certfile)) {
            say_at(loader, origin, CONFIG_WARNING,
                   "certificate: %s is there already: remove this one",
                   config_quote(certfile, quoted));
        }
    }
}

/* ---- who may come in ----------------------------------------------------------------------- */

/* Passwords that whoever is on the way could read. */
static void clear_check(struct config_loader *loader, const struct config_section *section,
                        const struct listener_config *listener)
{
    if (config_listener_is_tls(listener) || listener->is_loopback ||
        listener->password_file[0] == '\0') {
        return;
    }
    if (listener->cleartext_passwords) {
        say_at(loader, origin_of(loader, section, "allow_cleartext_passwords"), CONFIG_WARNING,
               "allow_cleartext_passwords: whoever is on the way to listener %s can read its "
               "passwords: write certfile and keyfile instead",
               listener->name);
    } else {
        say_at(loader, &section->origin, CONFIG_WARNING,
               "listener %s: passwords would come in clear from other machines, so they are "
               "refused: write certfile and keyfile, or allow_cleartext_passwords true",
               listener->name);
    }
}

/*
 * Without a word of the operator, only this machine comes in without a user name, and where there is
 * a password file nobody does, as in mosquitto. Behind a proxy everybody looks local, so a listener
 * with PROXY headers is not.
 */
static void anonymous_settle(struct config_loader *loader, const struct config_section *section,
                             struct listener_config *listener)
{
    uint32_t index = config_option_index(option_of("allow_anonymous"));
    bool is_near = listener->is_loopback && listener->proxy_protocol == PROXY_OFF;
    bool has_passwords = listener->password_file[0] != '\0';
    bool has_identities = config_listener_is_tls(listener) &&
                          listener->require_certificate != REQUIRE_FALSE &&
                          (listener->identity_as_username || listener->subject_as_username);

    if (section->origins[index].rank != RANK_DEFAULT ||
        loader->origins[index].rank != RANK_DEFAULT) {
        return; /* told by a line */
    }
    listener->allow_anonymous = is_near && !has_passwords;
    if (!is_near && !has_passwords && !has_identities) {
        say_at(loader, &section->origin, CONFIG_NOTE,
               "listener %s: other machines can reach it, so clients without a user name are "
               "refused, and nothing tells which names are good: write password_file, or "
               "allow_anonymous true to let everybody in%s",
               listener->name,
               listener->is_loopback ? "" : ", or give the listener the address 127.0.0.1");
    }
}

void config_security_settle(struct config_loader *loader, const struct config_section *section,
                            struct listener_config *listener)
{
    anonymous_settle(loader, section, listener);
    paths_check(loader, section, listener);
    needs_check(loader, section, listener);
    certificates_check(loader, section, listener);
    clear_check(loader, section, listener);
}

bool config_is_guard(const struct config_option *option)
{
    bool is_guard = strcmp(option->key, "password_file") == 0 ||
                    strcmp(option->key, "acl_file") == 0;
    for (uint32_t i = 0; i < sizeof(needs) / sizeof(needs[0]) && !is_guard; i++) {
        is_guard = strcmp(option->key, needs[i].key) == 0;
    }
    return is_guard;
}

void config_keylog_check(struct config_loader *loader)
{
    const char *path = loader->config->tls_keylog;
    if (path[0] != '\0') {
        uint32_t index = config_option_index(option_of("tls_keylog"));
        say_at(loader, &loader->origins[index], CONFIG_WARNING,
               "tls_keylog: whoever reads %s reads all that TLS protects: remove the line as soon "
               "as the capture is understood, and never write it in production",
               path);
    }
}
