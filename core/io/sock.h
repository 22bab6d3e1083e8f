/*
 * sock: addresses and how to write them.
 *
 * Floor:  io.
 * Thread: any; no state.
 */
#ifndef TERN_IO_SOCK_H
#define TERN_IO_SOCK_H

#include "core/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum address_kind { ADDRESS_NONE, ADDRESS_IP4, ADDRESS_IP6, ADDRESS_UNIX };

enum {
    ADDRESS_TEXT_MAX = 128, /* "[ipv6%scope]:port" or "unix:path", with the final NUL */
    ADDRESS_PATH_MAX = 108, /* sun_path */
};

struct address {
    enum address_kind kind;
    uint16_t port;     /* host order; 0 for Unix sockets */
    uint32_t scope_id; /* IPv6 link-local */
    uint8_t ip[16];    /* network order; 4 bytes used for IPv4 */
    char path[ADDRESS_PATH_MAX];
    char device[16]; /* bind_interface; empty: none */
    uint16_t mode;   /* of a Unix socket's file when listening; 0: what umask leaves */
};

/*
 * Several ios of a process may listen at one address, and the kernel spreads connections over them
 * (SO_REUSEPORT). Who comes first has the address to itself, so that it is refused where another
 * process listens already, also one of ours; only then it lets others join.
 */
enum io_share {
    IO_SHARE_NONE,
    IO_SHARE_FIRST,
    IO_SHARE_JOIN,
};

/*
 * Read "127.0.0.1", "::1", "[::1]", "*", "0.0.0.0", or an absolute path of a Unix socket, with a
 * port apart. "*" is every IPv4 address, "::" every IPv6 one. Names are not looked up here.
 * ERR_INVALID.
 */
enum err address_parse(const char *text, uint16_t port, struct address *out);

/* "127.0.0.1:1883", "[::1]:1883", "unix:/run/tern.sock"; always ends in NUL. Returns out. */
const char *address_text(const struct address *address, char out[ADDRESS_TEXT_MAX]);

/* The address without the port, as mosquitto's logs and ACLs want it. Returns out. */
const char *address_host_text(const struct address *address, char out[ADDRESS_TEXT_MAX]);

/* Only this machine can reach it: 127.0.0.0/8, ::1, or a Unix socket. */
bool address_is_loopback(const struct address *address);

#endif
