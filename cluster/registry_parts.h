/*
 * registry_parts: what the files of REG's state machine share.
 *
 * Floor:  cluster; for registry_*.c alone.
 */
#ifndef TERN_CLUSTER_REGISTRY_PARTS_H
#define TERN_CLUSTER_REGISTRY_PARTS_H

#include "cluster/registry_msg.h"
#include "cluster/registry_state.h"

/* Every change is told here, so that replicas that differ are found out: a row as it is now, or gone. */
void registry_changed(struct registry_state *state, enum registry_row kind, const void *row);
void registry_removed(struct registry_state *state, enum registry_row kind, const void *row);

/* The command is refused, and nothing changes. Returns OK: refusing is applying, too. */
enum err registry_refuse(struct registry_result *out, enum err err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* [A-Za-z0-9._-], one character or more. */
bool registry_is_name(const char *text);
/* A DNS label in lower case: [a-z0-9-]. */
bool registry_is_alias(const char *text);
/* Of an instance: as a name, and ':', '@' and '/'. */
bool registry_is_id(const char *text);
/* As a name, with ':' of IPv6 addresses; and a port that is not 0. */
bool registry_is_place(const struct registry_place *place);

enum { REGISTRY_WEIGHT_MAX = 1000 };

/* Is that feature level one of its? */
bool registry_has_level(const struct registry_profile *profile, uint32_t level);

/* The token at that place of the table is gone. */
void registry_token_drop(struct registry_state *state, uint32_t at);

/* A function for each command: ERR_NOMEM, or OK: applied, or refused. */
#define REGISTRY_APPLY                                                    \
    struct registry_state *state, const struct registry_command *command, \
        struct registry_result *out
/* registry_members.c */
enum err registry_on_found(REGISTRY_APPLY);
enum err registry_on_join(REGISTRY_APPLY);
enum err registry_on_start(REGISTRY_APPLY);
enum err registry_on_live(REGISTRY_APPLY);
enum err registry_on_gone(REGISTRY_APPLY);
enum err registry_on_drain(REGISTRY_APPLY);
enum err registry_on_undrain(REGISTRY_APPLY);
enum err registry_on_leave(REGISTRY_APPLY);
enum err registry_on_remove(REGISTRY_APPLY);
/* registry_apply.c */
enum err registry_on_assign(REGISTRY_APPLY);
enum err registry_on_level(REGISTRY_APPLY);
enum err registry_on_token_add(REGISTRY_APPLY);
enum err registry_on_token_remove(REGISTRY_APPLY);
enum err registry_on_set(REGISTRY_APPLY);
enum err registry_on_unset(REGISTRY_APPLY);
/* registry_services.c */
enum err registry_on_service_put(REGISTRY_APPLY);
enum err registry_on_service_renew(REGISTRY_APPLY);
enum err registry_on_service_leave(REGISTRY_APPLY);
enum err registry_on_service_expire(REGISTRY_APPLY);

#endif
