/*
 * visitor: who may use the API while there are no keys.
 *
 * Floor:  admin; pure.
 *
 * Only this machine: a Unix socket with mode 0600, or a TCP listener of loopback. A web page that
 * somebody on this machine looks at can make his browser ask such a listener, too; so what a
 * browser sends is refused, and what a proxy lets in from elsewhere:
 *   - Origin, and Sec-Fetch-Site of another page: a page asks (cross-site request forgery);
 *   - a Host that is neither localhost nor an IP address of loopback: the page's own name was made to
 *     point here (DNS rebinding);
 *   - what a proxy passed on (Forwarded, X-Forwarded-For, Via): whoever is behind it is not here;
 *   - and what changes something has to say Content-Type: application/json, which no form can.
 */
#ifndef TERN_ADMIN_VISITOR_H
#define TERN_ADMIN_VISITOR_H

#include "core/wire/http.h"

/* 0: it may. Else the status, and why: a sentence. is_private: over such a listener. */
uint16_t visitor_check(const struct http_head *head, bool is_private, const char **why);

/* "localhost", "127.0.0.1:8888", "[::1]:8888". */
bool visitor_host_is_local(struct slice host);

#endif
