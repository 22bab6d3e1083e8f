/*
 * sock_native: our addresses as the system's, and sockets made from them.
 *
 * Floor:  io; for the files of this room that make system calls.
 * Thread: any; no state.
 */
#ifndef TERN_IO_SOCK_NATIVE_H
#define TERN_IO_SOCK_NATIVE_H

#include "core/io/sock.h"

#include <sys/socket.h>

/* ERR_INVALID: not an address of a kind that can be bound or connected to, or the path is long. */
enum err address_to_native(const struct address *address, struct sockaddr_storage *out,
                           socklen_t *bytes_out);

/* A family we do not know becomes ADDRESS_NONE. */
void address_from_native(const struct sockaddr_storage *native, socklen_t bytes,
                         struct address *out);

/* The address that fd is bound to, or that its peer has; ADDRESS_NONE when the system cannot say. */
void sock_local_address(int fd, struct address *out);
void sock_peer_address(int fd, struct address *out);

/*
 * A listening socket. Who connects and says nothing is accepted a second later than the others
 * (TCP_DEFER_ACCEPT in tcp(7)): the usual first read needs no wait. ERR_EXISTS: in use (for a Unix socket: somebody answers there; a stale file
 * is replaced); ERR_PERMISSION; ERR_INVALID: no such local address; ERR_UNSUPPORTED: no IPv6.
 */
enum err sock_listen(const struct address *at, enum io_share share, int *fd_out);

/* A socket to connect to `to` with, bound to from when that is not NULL. */
enum err sock_for_connect(const struct address *to, const struct address *from, int *fd_out);

#endif
