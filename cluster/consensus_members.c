#include "cluster/consensus_members.h"

#include "core/base/assert.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/*
 * Layout (libraft 0.22.1, configurationEncodeToBuf):
 *
 *     1 format  8 count  { 8 id  text of the address, closed by 0  1 role }...  0 up to eight bytes
 *
 * Numbers are little-endian. The engine wants an address of each server and that they differ: ours is
 * the id in decimal, and means nothing.
 */
enum { FORMAT = 1, NUMBER_BYTES = 8, ADDRESS_MAX = 21, FILL = 8 };

const struct consensus_member *members_find(const struct consensus_members *members, uint64_t id)
{
    for (uint32_t i = 0; i < members->count; i++) {
        if (members->rows[i].id == id) {
            return &members->rows[i];
        }
    }
    return NULL;
}

uint32_t members_voter_count(const struct consensus_members *members)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < members->count; i++) {
        count += members->rows[i].role == CONSENSUS_VOTER;
    }
    return count;
}

enum err members_check(const struct consensus_members *members)
{
    if (members->count == 0 || members->count > CONSENSUS_MEMBERS_MAX) {
        return ERR_INVALID;
    }
    for (uint32_t i = 0; i < members->count; i++) {
        const struct consensus_member *member = &members->rows[i];
        if (member->id == 0 || (unsigned)member->role >= CONSENSUS_GONE ||
            members_find(members, member->id) != member) {
            return ERR_INVALID;
        }
    }
    return OK;
}

static size_t number_write(uint8_t *bytes, uint64_t number)
{
    for (uint32_t i = 0; i < NUMBER_BYTES; i++) {
        bytes[i] = (uint8_t)(number >> (8 * i));
    }
    return NUMBER_BYTES;
}

size_t members_write(const struct consensus_members *members,
                     uint8_t bytes[CONSENSUS_MEMBERS_BYTES_MAX])
{
    size_t count = 0;

    ASSERT(members_check(members) == OK);
    memset(bytes, 0, CONSENSUS_MEMBERS_BYTES_MAX);
    bytes[count++] = FORMAT;
    count += number_write(&bytes[count], members->count);
    for (uint32_t i = 0; i < members->count; i++) {
        const struct consensus_member *member = &members->rows[i];
        count += number_write(&bytes[count], member->id);
        count += (size_t)snprintf((char *)&bytes[count], ADDRESS_MAX, "%" PRIu64, member->id) + 1;
        bytes[count++] = (uint8_t)member->role;
    }
    count = (count + FILL - 1) / FILL * FILL;
    ASSERT(count <= CONSENSUS_MEMBERS_BYTES_MAX);
    return count;
}

static bool number_read(struct slice *rest, uint64_t *out)
{
    if (rest->count < NUMBER_BYTES) {
        return false;
    }
    *out = 0;
    for (uint32_t i = 0; i < NUMBER_BYTES; i++) {
        *out |= (uint64_t)rest->data[i] << (8 * i);
    }
    *rest = slice_skip(*rest, NUMBER_BYTES);
    return true;
}

static bool member_read(struct slice *rest, struct consensus_member *out)
{
    char address[ADDRESS_MAX];

    if (!number_read(rest, &out->id)) {
        return false;
    }
    size_t length = (size_t)snprintf(address, sizeof address, "%" PRIu64, out->id);
    if (rest->count < length + 2 || memcmp(rest->data, address, length + 1) != 0) {
        return false;
    }
    out->role = (enum consensus_role)rest->data[length + 1];
    *rest = slice_skip(*rest, length + 2);
    return true;
}

enum err members_read(struct slice bytes, struct consensus_members *out)
{
    struct consensus_members members = {.index = out->index};
    struct slice rest = bytes;
    uint64_t count;

    if (rest.count < 1 || rest.data[0] != FORMAT) {
        return ERR_CORRUPT;
    }
    rest = slice_skip(rest, 1);
    if (!number_read(&rest, &count) || count > CONSENSUS_MEMBERS_MAX) {
        return ERR_CORRUPT;
    }
    for (members.count = 0; members.count < count; members.count++) {
        if (!member_read(&rest, &members.rows[members.count])) {
            return ERR_CORRUPT;
        }
    }
    if (rest.count >= FILL || members_check(&members) != OK) {
        return ERR_CORRUPT;
    }
    *out = members;
    return OK;
}

enum err members_change(const struct consensus_members *members, uint64_t id,
                        enum consensus_role role, struct consensus_members *out)
{
    const struct consensus_member *member = members_find(members, id);
    struct consensus_members changed = *members;

    if (id == 0) {
        return ERR_INVALID;
    }
    if (member == NULL) {
        if (role == CONSENSUS_GONE) {
            return ERR_NOT_FOUND;
        }
        if (role == CONSENSUS_VOTER) {
            return ERR_INVALID; /* it has to catch up first */
        }
        if (members->count == CONSENSUS_MEMBERS_MAX) {
            return ERR_LIMIT;
        }
        changed.rows[changed.count++] = (struct consensus_member){id, role};
    } else if (role == CONSENSUS_GONE) {
        size_t at = (size_t)(member - members->rows);
        changed.count--;
        memmove(&changed.rows[at], &changed.rows[at + 1],
                (changed.count - at) * sizeof changed.rows[0]);
    } else if (member->role == role) {
        return ERR_EXISTS;
    } else {
        changed.rows[member - members->rows].role = role;
    }
    if (members_voter_count(&changed) == 0) {
        return ERR_INVALID;
    }
    *out = changed;
    return OK;
}
