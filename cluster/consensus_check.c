#include "cluster/consensus_check.h"

/* So that nothing overflows when counts are added to it. */
static const uint64_t NUMBER_MAX = UINT64_MAX >> 2;

static bool is_number(uint64_t number)
{
    return number <= NUMBER_MAX;
}

/* The place of an entry: there is no index without a term, and none of a later term than the message. */
static bool is_place(uint64_t index, uint64_t entry_term, uint64_t term)
{
    return is_number(index) && entry_term <= term && (index == 0) == (entry_term == 0);
}

static bool entry_is_sound(const struct consensus_entry *entry)
{
    struct consensus_members members = {0};

    switch (entry->type) {
    case CONSENSUS_COMMAND:
    case CONSENSUS_BARRIER:
        return true;
    case CONSENSUS_CHANGE:
        return members_read(entry->bytes, &members) == OK;
    default:
        return false;
    }
}

static bool append_is_sound(const struct consensus_message *message)
{
    uint64_t term_last = message->append.prev_term;

    if (!is_place(message->append.prev_index, message->append.prev_term, message->term) ||
        !is_number(message->append.commit_index) || message->append.count > CONSENSUS_ENTRIES_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < message->append.count; i++) {
        const struct consensus_entry *entry = &message->append.entries[i];
        if (entry->term == 0 || entry->term < term_last || entry->term > message->term ||
            !entry_is_sound(entry)) {
            return false;
        }
        term_last = entry->term;
    }
    return true;
}

static bool install_is_sound(const struct consensus_message *message)
{
    const struct consensus_snapshot *install = &message->install;

    return install->index > 0 && is_place(install->index, install->term, message->term) &&
           install->members.index > 0 && install->members.index <= install->index &&
           members_check(&install->members) == OK && members_voter_count(&install->members) > 0;
}

static bool is_sound(const struct consensus_message *message)
{
    switch (message->kind) {
    case CONSENSUS_APPEND:
        return append_is_sound(message);
    case CONSENSUS_APPEND_RESULT:
        return is_number(message->append_result.rejected) &&
               is_number(message->append_result.last_index);
    case CONSENSUS_VOTE:
        return is_place(message->vote.last_index, message->vote.last_term, message->term);
    case CONSENSUS_VOTE_RESULT:
        return true;
    case CONSENSUS_INSTALL:
        return install_is_sound(message);
    case CONSENSUS_TIMEOUT_NOW:
        return is_place(message->timeout_now.last_index, message->timeout_now.last_term,
                        message->term);
    case CONSENSUS_MESSAGE_END:
        break;
    }
    return false;
}

enum err consensus_check(const struct consensus_message *message, uint64_t self)
{
    if (message->peer == 0 || message->peer == self || message->term == 0 ||
        !is_number(message->term) || !is_sound(message)) {
        return ERR_PROTOCOL;
    }
    return OK;
}
