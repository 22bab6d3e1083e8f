#include "core/broker/limits.h"

#include "core/access/bans.h"
#include "core/access/quota.h"

enum err limits_judge(const char *key, const char *value, char why[CONFIG_JUDGE_BYTES])
{
    struct quota_rule rule;
    struct ban ban;
    return strcmp(key, "limit") == 0 ? quota_rule_parse(slice_text(value), &rule, why)
                                     : ban_parse(slice_text(value), &ban, why);
}
