#include "bench/load/source.h"

enum {
    ENOUGH_FOR_ONE = 20000, /* clients of one address */
    SOURCE_COUNT = 64,      /* 127.0.1.1 and on */
};

bool source_of(const struct load_config *config, uint32_t index, uint32_t count,
               struct address *out)
{
    if (count <= ENOUGH_FOR_ONE || config->to.kind != ADDRESS_IP4 ||
        !address_is_loopback(&config->to) || config->from.kind != ADDRESS_NONE) {
        return false;
    }
    *out = (struct address){.kind = ADDRESS_IP4};
    out->ip[0] = 127;
    out->ip[2] = 1;
    out->ip[3] = (uint8_t)(1 + index % SOURCE_COUNT);
    return true;
}
