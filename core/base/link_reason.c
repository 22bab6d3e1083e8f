#include "core/base/link_reason.h"

#define REASON_TEXT(name, metric, text)   [LINK_REASON_##name] = text,
#define REASON_METRIC(name, metric, text) [LINK_REASON_##name] = metric,
static const char *const reason_texts[LINK_REASON_COUNT] = {LINK_REASONS(REASON_TEXT)};
static const char *const reason_names[LINK_REASON_COUNT] = {LINK_REASONS(REASON_METRIC)};

const char *link_reason_text(enum link_reason reason)
{
    return reason < LINK_REASON_COUNT ? reason_texts[reason] : "a reason that this version lacks";
}

const char *link_reason_name(enum link_reason reason)
{
    return reason < LINK_REASON_COUNT ? reason_names[reason] : "other";
}
