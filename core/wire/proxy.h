/*
 * proxy: the PROXY protocol, versions 1 and 2: a balancer tells who is behind the connection.
 *
 * Floor:  wire; pure.
 * Memory: slices borrow from the bytes that were decoded.
 *
 * After haproxy's doc/proxy-protocol.txt. The header is the very first thing on a connection. Which
 * peers may send one is for the caller: anybody else could invent an address.
 */
#ifndef TERN_WIRE_PROXY_H
#define TERN_WIRE_PROXY_H

#include "core/base/err.h"
#include "core/base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PROXY_V1_BYTES_MAX = 107,  /* with CRLF, said by the protocol */
    PROXY_V2_BYTES_MAX = 4096, /* ours: addresses and TLVs; the protocol would let 65,551 pass */
    PROXY_PATH_MAX = 108,
};

enum proxy_family { PROXY_NONE, PROXY_IP4, PROXY_IP6, PROXY_UNIX };

struct proxy_address {
    enum proxy_family family;
    uint16_t port;     /* host order; 0 for Unix sockets */
    uint8_t ip[16];    /* network order; 4 bytes used for IPv4 */
    struct slice path; /* PROXY_UNIX: without the zeros at its end */
};

struct proxy {
    uint8_t version; /* 1 or 2 */
    /*
     * The connection is the balancer's own (LOCAL: a health check) or it could not say (UNKNOWN,
     * UNSPEC): use the addresses of the socket. source and target are PROXY_NONE then.
     */
    bool is_local;
    bool is_tls;              /* the client came to the balancer by TLS (PP2_CLIENT_SSL) */
    bool is_certified;        /* with a certificate that the balancer has verified */
    struct slice common_name; /* CN of that certificate; empty: not told */
    struct slice authority;   /* the host name the client asked for (SNI); empty: not told */
    struct proxy_address source, target;
};

/*
 * Decode the header at the start of in.
 *
 * ERR_MORE       it is not all there, and so far it is a PROXY header
 * ERR_MALFORMED  it is none, or a broken one, or its checksum is wrong
 * ERR_TOO_LARGE  version 2 with more than PROXY_V2_BYTES_MAX
 * ERR_UNSUPPORTED  a command or transport of version 2 that is not LOCAL, or PROXY of a stream
 *
 * *bytes_used: length of the header; what follows is the client's. Both written only on OK.
 */
enum err proxy_decode(struct slice in, struct proxy *out, size_t *bytes_used);

#endif
