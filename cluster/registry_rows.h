/*
 * registry_rows: what REG knows, row by row.
 *
 * Floor:  cluster; plain data.
 * Memory: by value. Texts end with a NUL, and what is behind it is zero; so are unused rows.
 *
 * A row is the same in memory, in a snapshot and where replicas are compared (registry_msg.h,
 * proto/registry.proto), so its bounds are those of the bytes as well.
 */
#ifndef TERN_CLUSTER_REGISTRY_ROWS_H
#define TERN_CLUSTER_REGISTRY_ROWS_H

#include <stdbool.h>
#include <stdint.h>

enum {
    REGISTRY_PARTITIONS = 64, /* as partition_of() has them */
    REGISTRY_REPLICAS_MAX = 5,
    REGISTRY_MEMBERS_MAX = 32,
    REGISTRY_LINKS_MAX = 4,
    REGISTRY_CLIENTS_MAX = 8,
    REGISTRY_SETTINGS_MAX = 128,
    REGISTRY_TOKENS_MAX = 64,
    REGISTRY_SERVICES_MAX = 16384,
    /* Of texts, with their NUL. */
    REGISTRY_NAME_BYTES = 64,
    REGISTRY_SCHEME_BYTES = 16,
    REGISTRY_HOST_BYTES = 256, /* a DNS name (RFC 1035, 2.3.4: 253), or an address */
    REGISTRY_ID_BYTES = 128,
    REGISTRY_VALUE_BYTES = 256,

    REGISTRY_CLUSTER_ID_BYTES = 16,
    REGISTRY_HASH_BYTES = 32, /* SHA-256 of a token, of a certificate */
};

/* ---- members ------------------------------------------------------------------------------------ */

/* Where something is to be reached. */
struct registry_place {
    char scheme[REGISTRY_SCHEME_BYTES]; /* "mqtt", "mqtts", "ws", "wss"; of a link: empty */
    char host[REGISTRY_HOST_BYTES];
    uint16_t port;
};

/* What a node says of itself. */
struct registry_profile {
    char name[REGISTRY_NAME_BYTES];
    char zone[REGISTRY_NAME_BYTES];           /* what fails together; empty is a zone too */
    uint32_t weight;                          /* how much it is to carry beside others; 1 or more */
    uint32_t level_min, level_max;            /* feature levels that its program has */
    uint8_t fingerprint[REGISTRY_HASH_BYTES]; /* of its certificate; zero: none */
    struct registry_place links[REGISTRY_LINKS_MAX];     /* for other nodes */
    struct registry_place clients[REGISTRY_CLIENTS_MAX]; /* for clients */
    uint32_t link_count, client_count;
};

/* The codes are on disk: none may change. */
enum registry_member_state {
    MEMBER_JOINING = 0,  /* known, but not (yet, again) up to date and live */
    MEMBER_ACTIVE = 1,   /* live: it holds a lease */
    MEMBER_DRAINING = 2, /* live, and is to hold nothing any more */
    MEMBER_GONE = 3,     /* its lease has lapsed: this incarnation never comes back, the node may */
    MEMBER_LEFT = 4,     /* for good: its number is never given again */
    MEMBER_STATE_COUNT
};

struct registry_member {
    uint64_t number;      /* 1 or more, growing */
    uint64_t incarnation; /* one more with every start */
    uint64_t since_ms;    /* when it came into its state; wall clock of the leader */
    uint8_t state;        /* enum registry_member_state */
    bool is_draining;     /* it is told to; also while it is JOINING or GONE */
    bool was_live;        /* once or more: partitions may lie there */
    struct registry_profile profile;
};

/* ---- partitions --------------------------------------------------------------------------------- */

/* Which nodes are to hold a partition: where it goes to, which need not be where it is. */
struct registry_partition {
    uint64_t version; /* of the map, when this row was assigned */
    uint64_t replicas[REGISTRY_REPLICAS_MAX];
    uint32_t replica_count;
    uint64_t preferred; /* who should lead; one of them */
};

/* ---- what else ---------------------------------------------------------------------------------- */

struct registry_setting {
    char key[REGISTRY_NAME_BYTES];
    char value[REGISTRY_VALUE_BYTES];
};

/* What lets a node join. The token itself is nowhere. */
struct registry_token {
    uint8_t hash[REGISTRY_HASH_BYTES];
    uint64_t expires_ms; /* wall clock */
    uint32_t uses_left;
};

enum registry_health {
    SERVICE_UP = 0,
    SERVICE_DRAINING = 1,
    SERVICE_DOWN = 2,
    SERVICE_HEALTH_COUNT
};

/* One instance of what stands under an alias. */
struct registry_service {
    char alias[REGISTRY_NAME_BYTES]; /* a DNS label: [a-z0-9-] */
    char id[REGISTRY_ID_BYTES];
    struct registry_place place;
    char zone[REGISTRY_NAME_BYTES];
    uint32_t weight;   /* 1 or more */
    uint8_t health;    /* enum registry_health */
    uint64_t load;     /* what it says: connections */
    uint64_t ttl_ms;   /* of a lease */
    uint64_t until_ms; /* wall clock: when its lease ends */
    uint64_t epoch;    /* of its registration: a renewal of an older one comes too late */
};

#endif
