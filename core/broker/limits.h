/*
 * limits: quotas, throttled logins and bans, seen from the broker.
 *
 * Floor:  broker.
 */
#ifndef TERN_BROKER_LIMITS_H
#define TERN_BROKER_LIMITS_H

#include "core/base/config.h"

/* For config_sources: judges a value of `limit` or `ban`. */
enum err limits_judge(const char *key, const char *value, char why[CONFIG_JUDGE_BYTES]);

#endif
