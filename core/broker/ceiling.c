#include "core/broker/ceiling.h"

#include "core/base/ledger.h"
#include "core/base/log.h"
#include "core/broker/shard.h"
#include "core/pubsub/retain.h"

bool ceiling_is_reached(const struct shard *shard)
{
    uint64_t limit = shard->broker_memory_limit;
    if (ledger_total() <= limit) {
        return false;
    }
    /* Of messages only those that are retained stay. */
    uint64_t stays = retain_memory_bytes(shard->retain);
    return shard->journal == NULL || ledger_bytes(LEDGER_MESSAGES) > stays + limit / 8;
}

bool ceiling_is_near(const struct shard *shard)
{
    return ledger_total() > shard->broker_memory_limit / 8 * 7;
}

bool ceiling_is_near_for_slow(const struct shard *shard)
{
    return ledger_total() > shard->broker_memory_limit / 4 * 3;
}

bool ceiling_is_near_for_away(const struct shard *shard)
{
    return ledger_total() > shard->broker_memory_limit / 4;
}

void ceiling_look(const struct shard *shard)
{
    if (ceiling_is_near(shard)) {
        log_event(LOG_WARNING,
                  "what is on disk fills the memory: nothing new that stays is accepted: set a "
                  "higher memory_limit",
                  LOG_U64("limit", shard->broker_memory_limit), LOG_U64("used", ledger_total()),
                  LOG_U64("retained_topics", ledger_bytes(LEDGER_RETAINED)),
                  LOG_U64("subscriptions", ledger_bytes(LEDGER_SUBSCRIPTIONS)),
                  LOG_U64("sessions", ledger_bytes(LEDGER_SESSIONS)));
    }
}
