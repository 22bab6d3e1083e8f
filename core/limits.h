/*
 * limits: every bound that is not an option, and the arithmetic that ties them.
 *
 * Floor:  base; constants only.
 *
 * What an operator may choose stands in core/config.def with its range. What nobody needs to choose,
 * or what the protocol fixes, stands here, so that "is this bounded?" has one page as its answer.
 */
#ifndef TERN_LIMITS_H
#define TERN_LIMITS_H

/* The protocol's own numbers. */
enum {
    LIMIT_REMAINING_LENGTH_MAX = 268435455,                  /* four bytes of seven bits */
    LIMIT_PACKET_BYTES_MAX = LIMIT_REMAINING_LENGTH_MAX + 5, /* with the fixed header */
    LIMIT_PACKET_BYTES_MIN = 20,                             /* mosquitto refuses less, so do we */
    LIMIT_TEXT_BYTES_MAX = 65535,                            /* topic, client id, user name */
    LIMIT_PACKET_ID_COUNT = 65535,
    LIMIT_TOPIC_ALIAS_MAX = 65535,
};

/* What one packet may ask for: a shard works on it in one turn, and others wait meanwhile. */
enum {
    LIMIT_CONTROL_PACKET_BYTES = 8 * 1024 * 1024, /* of any packet but PUBLISH */
    LIMIT_FILTERS_PER_PACKET = 100000,            /* of SUBSCRIBE and UNSUBSCRIBE */
};
_Static_assert(LIMIT_REMAINING_LENGTH_MAX == (1 << 28) - 1, "28 bits of remaining length");

/* The machine. */
enum {
    LIMIT_THREADS_MAX = 64, /* shards; a leaf of the trie has a bit for each */
    LIMIT_CACHE_LINE_BYTES = 64,
    /* What one thread writes stays so far from what others use: x86 fetches lines in pairs. */
    LIMIT_APART_BYTES = 2 * LIMIT_CACHE_LINE_BYTES,
};

/* Slow work, over all shards: what comes on top is refused (a hash) or waits outside (a signature). */
enum {
    LIMIT_HASHES_WAITING = 4096,
    LIMIT_SIGNATURES_WAITING = 65536,
};

/* The configuration. */
enum {
    LIMIT_CONFIG_FILE_BYTES = 1024 * 1024,
    LIMIT_CONFIG_LINE_BYTES = 4096,
    LIMIT_CONFIG_LINES = 20000,        /* over all files of one load */
    LIMIT_CONFIG_INCLUDED_FILES = 256, /* over all include_dir */
    LIMIT_CONFIG_LISTENERS = 64,
    LIMIT_CONFIG_BRIDGES = 64,
    LIMIT_BRIDGE_ADDRESSES = 16,
    LIMIT_BRIDGE_TOPICS = 1000,
    LIMIT_CONFIG_LIST_ITEMS = 256, /* values of one option that may be repeated */
    LIMIT_CONFIG_OVERRIDES = 256,  /* options on the command line */
    LIMIT_CONFIG_REPORT_ITEMS = 1000,
    LIMIT_LISTENER_ADDRESSES = 8, /* what one host name may stand for */
    LIMIT_UNIX_PATH_BYTES = 107,  /* sun_path without its final NUL */
    LIMIT_DEVICE_NAME_BYTES = 15, /* IFNAMSIZ without its final NUL */
};
/* One line can be a whole option, and a file of the longest lines still has hundreds of them. */
_Static_assert(LIMIT_CONFIG_FILE_BYTES / LIMIT_CONFIG_LINE_BYTES >= 256, "lines fit into files");

#endif
