#include "cluster/link_tls.h"

#include "cluster/ca.h"

#include <stdio.h>
#include <string.h>

static const char *const protocols[] = {"tern-link/1"}; /* ALPN: nobody lands here by mistake */

static enum err server_new(const struct link_tls_settings *settings, uint64_t wall_ms,
                           struct link_tls *out, struct tls_trouble *trouble)
{
    struct tls_pair pair = {settings->certfile, settings->keyfile};
    struct tls_settings server = {
        .pairs = &pair,
        .pair_count = 1,
        .cafile = settings->cafile,
        .crlfile = settings->crlfile,
        .ask = TLS_ASK_REQUIRED,
        .is_1_3_only = true,
        .protocols = protocols,
        .protocol_count = 1,
    };
    return tls_context_new(&server, wall_ms, &out->server, trouble);
}

static enum err client_new(const struct link_tls_settings *settings, struct link_tls *out,
                           struct tls_trouble *trouble)
{
    struct tls_client_settings client = {
        .cafile = settings->cafile,
        .crlfile = settings->crlfile,
        .is_any_name = true, /* link_name.c looks at the name */
        .certfile = settings->certfile,
        .keyfile = settings->keyfile,
        .version = "1.3",
        .protocols = protocols,
        .protocol_count = 1,
    };
    return tls_client_context_new(&client, &out->client, trouble);
}

/* Who am I? */
static enum err own_name(const struct link_tls_settings *settings, struct link_tls *out,
                         struct tls_trouble *trouble)
{
    struct slice cluster_name, node_name;
    char uri[LINK_URI_MAX + 1];

    if (!tls_context_uri(out->server, LINK_URI_SCHEME, uri, sizeof(uri)) ||
        link_uri_read(uri, &cluster_name, &node_name) != OK) {
        snprintf(trouble->text, sizeof(trouble->text),
                 "%s: it has no name " LINK_URI_SCHEME "CLUSTER/NODE, or several: make it with "
                 "ternctl cluster certificate",
                 settings->certfile);
        return ERR_INVALID;
    }
    memcpy(out->cluster_name, cluster_name.data, cluster_name.count);
    memcpy(out->node_name, node_name.data, node_name.count);
    return OK;
}

static enum err read_id(const struct link_tls_settings *settings, struct link_tls *out,
                        struct tls_trouble *trouble)
{
    char text[64 * 1024];
    struct tls_trouble why;
    FILE *file = fopen(settings->cafile, "re");
    size_t count = file == NULL ? 0 : fread(text, 1, sizeof(text), file);

    if (file != NULL) {
        fclose(file);
    }
    if (ca_id(slice_of(text, count), out->cluster_id, &why) != OK) {
        snprintf(trouble->text, sizeof(trouble->text), "%s: %.256s", settings->cafile, why.text);
        return ERR_INVALID;
    }
    return OK;
}

enum err link_tls_new(const struct link_tls_settings *settings, uint64_t wall_ms,
                      struct link_tls *out, struct tls_trouble *trouble)
{
    struct link_tls made = {0};
    enum err err = server_new(settings, wall_ms, &made, trouble);

    err = err == OK ? client_new(settings, &made, trouble) : err;
    err = err == OK ? own_name(settings, &made, trouble) : err;
    err = err == OK ? read_id(settings, &made, trouble) : err;
    if (err != OK) {
        link_tls_free(&made);
        return err;
    }
    *out = made;
    return OK;
}

void link_tls_free(struct link_tls *tls)
{
    tls_context_unref(tls->client);
    tls_context_unref(tls->server);
    *tls = (struct link_tls){0};
}
