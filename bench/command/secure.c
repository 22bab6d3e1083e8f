#include "bench/command/secure.h"

#include "core/io/tls_client.h"

#include <string.h>

enum { PORT_TLS = 8883, PORT_WSS = 8084 };

/* What means nothing without --ssl, or would be silently ignored. */
static const struct {
    const char *name;
    enum option_index index;
} dependents[] = {
    {"--cacertfile", OPTION_INDEX_cacertfile},
    {"--certfile", OPTION_INDEX_certfile},
    {"--keyfile", OPTION_INDEX_keyfile},
    {"--tls-version", OPTION_INDEX_tls_version},
    {"--tls-ciphers", OPTION_INDEX_tls_ciphers},
    {"--tls-curves", OPTION_INDEX_tls_curves},
    {"--tls-resume", OPTION_INDEX_tls_resume},
    {"--tls-server-name", OPTION_INDEX_tls_server_name},
    {"--tls-insecure", OPTION_INDEX_tls_insecure},
};

static const struct {
    const char *said, *meant;
} versions[] = {{"1.2", "1.2"},     {"1.3", "1.3"},     {"tlsv1.2", "1.2"},
                {"tlsv1.3", "1.3"}, {"TLSv1.2", "1.2"}, {"TLSv1.3", "1.3"}};

static enum err refuse(char problem[JOB_PROBLEM_BYTES], const char *option, const char *why)
{
    snprintf(problem, JOB_PROBLEM_BYTES, "%s: %.600s", option, why);
    return ERR_INVALID;
}

uint16_t secure_port(const struct options *options)
{
    if (options->is_given[OPTION_INDEX_port] || !options->ssl) {
        return (uint16_t)options->port;
    }
    return options->ws ? PORT_WSS : PORT_TLS;
}

static enum err find_version(const struct options *options, const char **out, char *problem)
{
    if (options->tls_version == NULL) {
        return OK;
    }
    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
        if (strcmp(versions[i].said, options->tls_version) == 0) {
            *out = versions[i].meant;
            return OK;
        }
    }
    return refuse(problem, "--tls-version", "there are 1.2 and 1.3; leave it out for both");
}

/* emqtt-bench's lines name files although --ssl is false: those are left alone. */
static enum err check_plain(const struct options *options, char *problem)
{
    for (size_t i = 0; i < sizeof(dependents) / sizeof(dependents[0]); i++) {
        if (options->is_given[dependents[i].index] && !options->is_given[OPTION_INDEX_ssl]) {
            return refuse(problem, dependents[i].name, "it is of TLS, and without it; add --ssl");
        }
    }
    return OK;
}

static enum err check_secure(const struct options *options, char *problem)
{
    bool is_trusting = options->tls_insecure, is_path = options->host[0] == '/';
    if (!is_trusting && options->cacertfile == NULL) {
        return refuse(problem, "--ssl",
                      "whose certificates are to be trusted? Name the CA that signed the broker's "
                      "with --cacertfile FILE, or take any with --tls-insecure (for tests)");
    }
    if (!is_trusting && is_path && options->tls_server_name == NULL) {
        return refuse(problem, "--tls-server-name",
                      "a Unix socket has no name that a certificate could prove; say which one it "
                      "has, or --tls-insecure");
    }
    if ((options->certfile == NULL) != (options->keyfile == NULL)) {
        return options->keyfile == NULL
                   ? refuse(problem, "--certfile", "its key is missing: add --keyfile FILE")
                   : refuse(problem, "--keyfile",
                            "its certificate is missing: add --certfile FILE");
    }
    return OK;
}

enum err secure_load(const struct options *options, struct load_config *load,
                     char problem[JOB_PROBLEM_BYTES])
{
    struct tls_client_settings settings = {
        .cafile = options->tls_insecure ? NULL : options->cacertfile,
        .is_insecure = options->tls_insecure,
        .certfile = options->certfile,
        .keyfile = options->keyfile,
        .ciphers = options->tls_ciphers,
        .curves = options->tls_curves,
    };
    struct tls_trouble trouble = {0};

    if (!options->ssl) {
        return check_plain(options, problem);
    }
    TRY(check_secure(options, problem));
    TRY(find_version(options, &settings.version, problem));
    enum err err = tls_client_context_new(&settings, &load->tls, &trouble);
    if (err != OK) {
        return refuse(problem, "--ssl", trouble.text[0] != '\0' ? trouble.text : err_text(err));
    }
    load->tls_server_name = options->tls_server_name;
    if (load->tls_server_name == NULL && options->host[0] != '/') {
        load->tls_server_name = options->host;
    }
    return OK;
}

void secure_release(struct load_config *load)
{
    tls_context_unref(load->tls);
    load->tls = NULL;
}
