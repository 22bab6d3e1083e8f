/*
 * link_reason: why two nodes have no link with each other: told to the other side, in the log, in metrics.
 *
 * Floor:  base; it stands here, as the metrics are split by it. Links are cluster/link.h.
 * Memory: none; names and texts are constants.
 *
 * Numbers are sent to other versions: a row is added at the end, none is removed.
 */
#ifndef TERN_BASE_LINK_REASON_H
#define TERN_BASE_LINK_REASON_H

/* clang-format off */
#define LINK_REASONS(X)                                                                                  \
    /* name         metric         text */                                                               \
    X(NONE,        "none",        "no reason given")                                                     \
    X(TLS,         "tls",         "TLS failed")                                                          \
    X(VERSION,     "version",     "it speaks another version of the protocol: upgrade the older node")   \
    X(CLUSTER,     "cluster",     "it is of another cluster: give it the certificate of this one")       \
    X(NAME,        "name",        "its certificate is made for another node: make it one of its own")    \
    X(UNKNOWN,     "unknown",     "this node does not know it as a member of the cluster: let it join")  \
    X(MEANT,       "meant",       "it meant to reach another node: correct the address it has of that")  \
    X(GENERATION,  "generation",  "it is older than the connection that is there")                       \
    X(LEVEL,       "level",       "there is no feature level that both support: upgrade the older node") \
    X(PROTOCOL,    "protocol",    "what it sent is no packet of a link, or not at that point")           \
    X(SILENT,      "silent",      "nothing was heard of it for too long")                                \
    X(LIMIT,       "limit",       "more waits to be sent to it than is kept")                            \
    X(LOST,        "lost",        "the connection broke, or could not be made")                          \
    X(REPLACED,    "replaced",    "it has connected anew")
/* clang-format on */
#define LINK_REASON_ENUM(name, metric, text) LINK_REASON_##name,
enum link_reason { LINK_REASONS(LINK_REASON_ENUM) LINK_REASON_COUNT };
#undef LINK_REASON_ENUM

/* Never NULL; also of a number that a later version knows. */
const char *link_reason_text(enum link_reason reason);
const char *link_reason_name(enum link_reason reason);

#endif
