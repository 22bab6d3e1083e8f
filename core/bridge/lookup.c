#include "core/bridge/lookup.h"

#include "core/io/resolve.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct lookup {
    _Atomic uint32_t reference_count;
    _Atomic bool is_done; /* release by the thread, acquire by the bridge */
    struct lookup_result result;
    struct tls_trouble trouble;
    char *host, *cafile, *capath, *certfile, *keyfile, *alpn;
    uint16_t port;
    bool is_tls, is_any_name, is_1_3_only;
};

static void unref(struct lookup *lookup)
{
    if (atomic_fetch_sub_explicit(&lookup->reference_count, 1, memory_order_acq_rel) > 1) {
        return;
    }
    tls_context_unref(lookup->result.tls);
    free(lookup->host);
    free(lookup->cafile);
    free(lookup->capath);
    free(lookup->certfile);
    free(lookup->keyfile);
    free(lookup->alpn);
    free(lookup);
}

static enum err find(struct lookup *lookup)
{
    char texts[LIMIT_LISTENER_ADDRESSES][CONFIG_ADDRESS_BYTES];
    struct lookup_result *result = &lookup->result;
    uint32_t count = 0;
    if (address_parse(lookup->host, lookup->port, &result->found[0]) == OK) {
        result->count = 1;
        return OK;
    }
    TRY(resolve_name(lookup->host, texts, &count));
    for (uint32_t i = 0; i < count; i++) {
        if (address_parse(texts[i], lookup->port, &result->found[result->count]) == OK) {
            result->count++;
        }
    }
    return result->count > 0 ? OK : ERR_NOT_FOUND;
}

static enum err read_tls(struct lookup *lookup)
{
    const char *protocol = lookup->alpn;
    struct tls_client_settings settings = {
        .cafile = lookup->cafile,
        .capath = lookup->capath,
        .certfile = lookup->certfile,
        .keyfile = lookup->keyfile,
        .is_any_name = lookup->is_any_name,
        .version = lookup->is_1_3_only ? "1.3" : NULL,
        .protocols = &protocol,
        .protocol_count = protocol[0] != '\0',
    };
    enum err err = tls_client_context_new(&settings, &lookup->result.tls, &lookup->trouble);
    lookup->result.trouble = lookup->trouble.text;
    return err;
}

static void *thread_main(void *context)
{
    struct lookup *lookup = context;
    struct lookup_result *result = &lookup->result;
    result->trouble = "the name server knows no address of that name";
    result->err = find(lookup);
    if (result->err == OK && lookup->is_tls) {
        result->err = read_tls(lookup);
    }
    atomic_store_explicit(&lookup->is_done, true, memory_order_release);
    unref(lookup);
    return NULL;
}

struct lookup *lookup_new(const struct bridge_config *config, const struct bridge_address *address)
{
    struct lookup *lookup = calloc(1, sizeof(*lookup));
    if (lookup == NULL) {
        return NULL;
    }
    lookup->reference_count = 2;
    lookup->host = strdup(address->host);
    lookup->cafile = strdup(config->cafile);
    lookup->capath = strdup(config->capath);
    lookup->certfile = strdup(config->certfile);
    lookup->keyfile = strdup(config->keyfile);
    lookup->alpn = strdup(config->alpn);
    lookup->port = address->port;
    lookup->is_tls = config_bridge_is_tls(config);
    lookup->is_any_name = config->insecure;
    lookup->is_1_3_only = config->tls_version == TLS_VERSION_1_3;
    pthread_t thread;
    bool is_whole = lookup->host != NULL && lookup->cafile != NULL && lookup->capath != NULL &&
                    lookup->certfile != NULL && lookup->keyfile != NULL && lookup->alpn != NULL;
    if (!is_whole || pthread_create(&thread, NULL, thread_main, lookup) != 0) {
        lookup->reference_count = 1;
        unref(lookup);
        return NULL;
    }
    pthread_detach(thread);
    return lookup;
}

bool lookup_done(struct lookup *lookup, struct lookup_result *out)
{
    if (!atomic_load_explicit(&lookup->is_done, memory_order_acquire)) {
        return false;
    }
    *out = lookup->result;
    return true;
}

void lookup_free(struct lookup *lookup)
{
    if (lookup != NULL) {
        unref(lookup);
    }
}
