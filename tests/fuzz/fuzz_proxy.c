/*
 * fuzz_proxy: no bytes break the PROXY decoder; a header that is good needs every one of its bytes
 * and none behind it.
 */
#include "core/wire/proxy.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum err decode(const uint8_t *data, size_t size, struct proxy *out, size_t *used)
{
    uint8_t *exact = malloc(size + 1);
    ASSERT(exact != NULL);
    if (size > 0) {
        memcpy(exact + 1, data, size); /* ends where the memory ends */
    }
    enum err err = proxy_decode(slice_of(exact + 1, size), out, used);
    if (err == OK) { /* touch what was handed out */
        ASSERT(slice_find(out->common_name, 0) <= out->common_name.count);
        ASSERT(slice_find(out->authority, 0) <= out->authority.count);
        ASSERT(slice_find(out->source.path, 0) == out->source.path.count);
        ASSERT(slice_find(out->target.path, 0) == out->target.path.count);
        ASSERT(!out->is_local || out->source.family == PROXY_NONE);
        ASSERT(out->is_local || out->source.family != PROXY_NONE);
        ASSERT(out->source.family == out->target.family);
    }
    free(exact);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy proxy = {0}, again = {0};
    size_t used = 0, used_again = 0;

    if (size > 2 * PROXY_V2_BYTES_MAX) {
        return 0;
    }
    if (decode(data, size, &proxy, &used) != OK) {
        return 0;
    }
    ASSERT(used <= size);
    for (size_t cut = 0; cut < used; cut++) {
        ASSERT(decode(data, cut, &again, &used_again) == ERR_MORE);
    }
    ASSERT(decode(data, used, &again, &used_again) == OK);
    ASSERT(used_again == used);
    ASSERT(again.is_local == proxy.is_local && again.source.port == proxy.source.port);
    return 0;
}
