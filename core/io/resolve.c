#include "core/io/resolve.h"

#include <netdb.h>
#include <sys/socket.h>

static bool is_new(const char *address, char addresses[][CONFIG_ADDRESS_BYTES], uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(addresses[i], address) == 0) {
            return false;
        }
    }
    return true;
}

enum err resolve_name(const char *name,
                      char addresses[LIMIT_LISTENER_ADDRESSES][CONFIG_ADDRESS_BYTES],
                      uint32_t *address_count)
{
    const struct addrinfo wanted = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found;
    uint32_t count = 0;

    if (getaddrinfo(name, NULL, &wanted, &found) != 0) {
        return ERR_NOT_FOUND;
    }
    for (struct addrinfo *at = found; at != NULL && count < LIMIT_LISTENER_ADDRESSES;
         at = at->ai_next) {
        if (getnameinfo(at->ai_addr, at->ai_addrlen, addresses[count], CONFIG_ADDRESS_BYTES, NULL,
                        0, NI_NUMERICHOST) == 0 &&
            is_new(addresses[count], addresses, count)) {
            count++;
        }
    }
    freeaddrinfo(found);
    if (count == 0) {
        return ERR_NOT_FOUND;
    }
    *address_count = count;
    return OK;
}
