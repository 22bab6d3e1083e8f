#include "core/io/tls.h"

#include <openssl/crypto.h>

#include <link.h>
#include <stdio.h>
#include <string.h>

#ifndef OPENSSL_IS_BORINGSSL
#error "core/io/tls*.c is written for BoringSSL: OpenSSL's headers stood in the way"
#endif

/*
 * Two TLS libraries have the same names for different things: where a second one is mapped, symbols
 * of one are bound to the other, and it seems to work.
 */
static const char *const strangers[] = {
    "libssl.so.1.1", "libssl.so.3",   "libcrypto.so.1.1", "libcrypto.so.3", "libgnutls.so",
    "libmbedtls.so", "libwolfssl.so", "libnss3.so",       "libcurl.so",     "libcurl-gnutls",
};

static int look(struct dl_phdr_info *library, size_t bytes, void *owner)
{
    const char **found = owner;

    (void)bytes;
    for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++) {
        if (library->dlpi_name != NULL && strstr(library->dlpi_name, strangers[i]) != NULL) {
            *found = strangers[i];
            return 1;
        }
    }
    return 0;
}

enum err tls_library_check(char *why, size_t why_bytes)
{
    const char *found = NULL;

    if (strcmp(OpenSSL_version(OPENSSL_VERSION), "BoringSSL") != 0) {
        snprintf(why, why_bytes,
                 "the TLS library is %s, not BoringSSL: check LD_LIBRARY_PATH and LD_PRELOAD",
                 OpenSSL_version(OPENSSL_VERSION));
        return ERR_UNSUPPORTED;
    }
    dl_iterate_phdr(look, &found);
    if (found != NULL) {
        snprintf(why, why_bytes,
                 "a second TLS library is loaded, %s: check LD_PRELOAD and what modules bring in",
                 found);
        return ERR_UNSUPPORTED;
    }
    return OK;
}
