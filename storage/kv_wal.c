/*
 * A log is blocks of 32 KiB. A record lies in one block, or in fragments, one to a block:
 *
 *     crc4 length2 type1 bytes       type: 1 whole; 2 first, 3 middle, 4 last fragment
 *
 * The sum is CRC-32C of type and bytes, rotated and offset ("masked"). A block that has less than
 * 7 bytes left ends in zeroes. A record is a batch: sequence8 count4 and what it holds; data of the
 * log alone are 0x03, their length as a varint, and the data. All numbers are little-endian.
 * (RocksDB, db/log_format.h and db/write_batch.cc of 7.8.)
 *
 * How a bad place is judged
 *   W1  reached is the last sequence that is there without a gap; RocksDB replays up to it.
 *   W2  what follows a bad place is replayed only from the beginning of a later file, and only when
 *       that begins with reached + 1. (A log that was done with and comes back, torn, after a loss
 *       of power: the next one stands right behind it.)
 *   W3  a mark behind a bad place, before W2 resumes, that reaches beyond it: damage.
 *   W4  when not one record stands before the bad place, reached is not known: then it is damage
 *       when a mark covers a record found behind it, as a sync covers a file from its beginning.
 */
#include "storage/kv_wal.h"

#include "core/base/map.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK_BYTES = 32768, HEADER_BYTES = 7, BATCH_BYTES = 12, LOG_DATA = 3 };
enum fragment { WHOLE = 1, FIRST, MIDDLE, LAST };
/* Enough of a record to read its sequence, its count and a mark that it begins with. */
enum { HEAD_BYTES = BATCH_BYTES + 2 + WAL_MARK_BYTES };

static const uint8_t mark_word[8] = {'t', 'e', 'r', 'n', 's', 'y', 'n', 'c'};

struct check {
    uint64_t identity;
    uint32_t crc[8][256];
    bool has_reached, is_bad;
    uint64_t reached;     /* W1 */
    uint64_t first_after; /* of the first record found behind the bad place; 0: none */
    uint64_t marked;      /* the furthest mark behind the bad place; 0: none */
    uint64_t bad_file;    /* its number, and where the record begins in it */
    uint64_t bad_offset;
    uint8_t block[BLOCK_BYTES];
    uint8_t head[HEAD_BYTES]; /* of the record being read */
    size_t head_count;
};

static uint64_t read_number(const uint8_t *bytes, size_t count)
{
    uint64_t value = 0;
    while (count > 0) {
        value = value << 8 | bytes[--count];
    }
    return value;
}

static void write_number(uint8_t *out, uint64_t value)
{
    for (size_t i = 0; i < 8; i++) {
        out[i] = (uint8_t)(value >> 8 * i);
    }
}

/* CRC-32C, eight bytes a step (Kounavis and Berry, "A systematic approach", 2005). */
static void crc_tables(uint32_t tables[8][256])
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (0x82f63b78u & (0u - (crc & 1)));
        }
        tables[0][i] = crc;
    }
    for (uint32_t i = 0; i < 256; i++) {
        for (int table = 1; table < 8; table++) {
            uint32_t last = tables[table - 1][i];
            tables[table][i] = last >> 8 ^ tables[0][last & 0xff];
        }
    }
}

static uint32_t crc_of(const uint32_t tables[8][256], const uint8_t *bytes, size_t count)
{
    uint32_t crc = UINT32_MAX;
    for (; count >= 8; bytes += 8, count -= 8) {
        uint64_t eight = read_number(bytes, 8) ^ crc;
        crc = 0;
        for (int i = 0; i < 8; i++) {
            crc ^= tables[7 - i][eight >> 8 * i & 0xff];
        }
    }
    for (; count > 0; bytes++, count--) {
        crc = crc >> 8 ^ tables[0][(crc ^ *bytes) & 0xff];
    }
    return ~crc;
}

static bool is_fragment(const struct check *check, size_t at, size_t block_count)
{
    const uint8_t *header = check->block + at;
    if (block_count - at < HEADER_BYTES || header[6] < WHOLE || header[6] > LAST) {
        return false;
    }
    size_t length = read_number(header + 4, 2);
    if (length > block_count - at - HEADER_BYTES) {
        return false;
    }
    uint32_t crc = crc_of(check->crc, header + 6, 1 + length);
    uint32_t masked = (crc >> 15 | crc << 17) + 0xa282ead8u;
    return masked == read_number(header, 4);
}

void wal_mark(uint8_t out[WAL_MARK_BYTES], uint64_t identity, uint64_t sequence)
{
    memcpy(out, mark_word, 8);
    write_number(out + 8, identity);
    write_number(out + 16, sequence);
}

/* The sequence of a mark that the record begins with, or 0. */
static uint64_t mark_of(const struct check *check)
{
    const uint8_t *data = check->head + BATCH_BYTES;
    if (check->head_count < HEAD_BYTES || data[0] != LOG_DATA || data[1] != WAL_MARK_BYTES) {
        return 0;
    }
    data += 2;
    bool is_ours = memcmp(data, mark_word, 8) == 0 && read_number(data + 8, 8) == check->identity;
    return is_ours ? read_number(data + 16, 8) : 0;
}

static void on_bad(struct check *check, uint64_t file, uint64_t offset)
{
    if (!check->is_bad) {
        check->is_bad = true;
        check->bad_file = file;
        check->bad_offset = offset;
        check->first_after = check->marked = 0;
    }
}

/* A record is complete: its head is in check. */
static void on_record(struct check *check, bool begins_file)
{
    uint64_t sequence = read_number(check->head, 8), count = read_number(check->head + 8, 4);
    if (check->is_bad && begins_file && check->has_reached && sequence == check->reached + 1) {
        check->is_bad = false; /* W2 */
    }
    if (!check->is_bad) {
        uint64_t last = sequence + count - 1; /* of a mark alone: the one before it */
        check->reached = last > check->reached ? last : check->reached; /* W1 */
        check->has_reached = true;
        return;
    }
    uint64_t mark = mark_of(check);
    check->marked = mark > check->marked ? mark : check->marked;
    check->first_after = check->first_after == 0 ? sequence : check->first_after;
}

static bool is_damage(const struct check *check)
{
    if (!check->is_bad || check->marked == 0) {
        return false;
    }
    return check->has_reached ? check->marked > check->reached       /* W3 */
                              : check->marked >= check->first_after; /* W4 */
}

/* What is being read of one file. */
struct file {
    uint64_t number, record_offset;
    bool is_inside;   /* of a record: its first fragments were there */
    bool has_records; /* or a bad place: nothing that comes begins the file */
};

/* One fragment that is as it should be; whether it is in its place. */
static void on_fragment(struct check *check, struct file *file, uint64_t offset,
                        const uint8_t *header)
{
    size_t length = read_number(header + 4, 2);
    enum fragment kind = header[6];
    bool begins = kind == WHOLE || kind == FIRST;
    if (begins ==
        file->is_inside) { /* a record ends before its end, or goes on without beginning */
        on_bad(check, file->number, begins ? file->record_offset : offset);
        file->has_records = true;
        file->is_inside = false;
        if (!begins) {
            return;
        }
    }
    if (begins) {
        file->record_offset = offset;
        check->head_count = 0;
    }
    size_t room = HEAD_BYTES - check->head_count, take = length < room ? length : room;
    memcpy(check->head + check->head_count, header + HEADER_BYTES, take);
    check->head_count += take;
    file->is_inside = kind == FIRST || kind == MIDDLE;
    if (file->is_inside) {
        return;
    }
    if (check->head_count < BATCH_BYTES) {
        on_bad(check, file->number, file->record_offset);
    } else {
        on_record(check, !file->has_records);
    }
    file->has_records = true;
}

static bool is_zero(const uint8_t *bytes, size_t count)
{
    while (count > 0 && bytes[count - 1] == 0) {
        count--;
    }
    return count == 0;
}

static void check_block(struct check *check, struct file *file, uint64_t offset, size_t count)
{
    for (size_t at = 0; at < count;) {
        if (count == BLOCK_BYTES && count - at < HEADER_BYTES &&
            is_zero(check->block + at, count - at)) {
            return; /* the rest of a block that is too short for a header */
        }
        if (is_fragment(check, at, count)) {
            on_fragment(check, file, offset + at, check->block + at);
            at += HEADER_BYTES + read_number(check->block + at + 4, 2);
            continue;
        }
        on_bad(check, file->number, file->is_inside ? file->record_offset : offset + at);
        file->is_inside = false;
        file->has_records = true;
        at++; /* its length may be what is wrong: the next one is looked for at every byte */
    }
}

static enum err read_block(int fd, uint64_t offset, uint8_t *out, size_t *count_out)
{
    size_t count = 0;
    while (count < BLOCK_BYTES) {
        ssize_t got = pread(fd, out + count, BLOCK_BYTES - count, (off_t)(offset + count));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return err_from_errno(errno);
        }
        if (got == 0) {
            break;
        }
        count += (size_t)got;
    }
    *count_out = count;
    return OK;
}

static void path_of(char path[PATH_MAX], const char *folder, uint64_t number)
{
    snprintf(path, PATH_MAX, "%s/%06llu.log", folder, (unsigned long long)number);
}

static enum err check_file(struct check *check, const char *folder, uint64_t number)
{
    char path[PATH_MAX];
    path_of(path, folder, number);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    struct file file = {.number = number};
    uint64_t offset = 0;
    enum err err;
    size_t count = 0;
    while ((err = read_block(fd, offset, check->block, &count)) == OK && count > 0) {
        check_block(check, &file, offset, count);
        offset += count;
        if (count < BLOCK_BYTES) {
            break;
        }
    }
    if (file.is_inside) { /* the file ends inside a record */
        on_bad(check, number, file.record_offset);
    }
    close(fd);
    return err;
}

/* ---- the folder ----------------------------------------------------------------------------- */

uint64_t wal_identity(const char *folder)
{
    char path[PATH_MAX], text[128];
    snprintf(path, sizeof path, "%s/IDENTITY", folder);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    ssize_t count = read(fd, text, sizeof text);
    close(fd);
    while (count > 0 && (text[count - 1] == '\n' || text[count - 1] == '\0')) {
        count--;
    }
    return count <= 0 ? 0 : hash_bytes(slice_of(text, (size_t)count));
}

static int by_number(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

/* The number of "000123.log"; false: another file. */
static bool number_of(const char *name, uint64_t *out)
{
    char *end;
    if (name[0] < '0' || name[0] > '9') {
        return false;
    }
    *out = strtoull(name, &end, 10);
    return strcmp(end, ".log") == 0;
}

/* Numbers of all logs, oldest first; the caller frees. */
static enum err list_logs(const char *folder, uint64_t **out, size_t *count_out)
{
    DIR *dir = opendir(folder);
    if (dir == NULL) {
        return err_from_errno(errno);
    }
    uint64_t *numbers = NULL, number;
    size_t count = 0;
    enum err err = OK;
    for (struct dirent *entry; err == OK && (entry = readdir(dir)) != NULL;) {
        if (!number_of(entry->d_name, &number)) {
            continue;
        }
        uint64_t *more = realloc(numbers, (count + 1) * sizeof *numbers);
        if (more == NULL) {
            err = ERR_NOMEM;
            break;
        }
        numbers = more;
        numbers[count++] = number;
    }
    closedir(dir);
    if (err != OK) {
        free(numbers);
        return err;
    }
    if (count > 0) {
        qsort(numbers, count, sizeof *numbers, by_number);
    }
    *out = numbers;
    *count_out = count;
    return OK;
}

/* Cut the log at the bad place; the logs behind it are of no use without it. */
static enum err cut(const struct check *check, const char *folder, const uint64_t *numbers,
                    size_t count)
{
    char path[PATH_MAX];
    for (size_t i = count; i > 0 && numbers[i - 1] > check->bad_file;
         i--) { /* the youngest first */
        path_of(path, folder, numbers[i - 1]);
        if (unlink(path) != 0) {
            return err_from_errno(errno);
        }
    }
    path_of(path, folder, check->bad_file);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    bool is_cut = ftruncate(fd, (off_t)check->bad_offset) == 0 && fdatasync(fd) == 0;
    enum err err = is_cut ? OK : err_from_errno(errno);
    close(fd);
    return err;
}

enum err wal_check(const char *folder, char why[WAL_WHY_BYTES_MAX])
{
    uint64_t *numbers = NULL;
    size_t count = 0;
    enum err err = list_logs(folder, &numbers, &count);
    struct check *check = err == OK ? calloc(1, sizeof *check) : NULL;
    if (err == OK && check == NULL) {
        err = ERR_NOMEM;
    }
    snprintf(why, WAL_WHY_BYTES_MAX, "reading the log: %s", err_text(err));
    if (err == OK) {
        crc_tables(check->crc);
        check->identity = wal_identity(folder);
    }
    for (size_t i = 0; err == OK && i < count; i++) {
        err = check_file(check, folder, numbers[i]);
        snprintf(why, WAL_WHY_BYTES_MAX, "%06llu.log: %s", (unsigned long long)numbers[i],
                 err_text(err));
    }
    if (err == OK && is_damage(check)) {
        snprintf(why, WAL_WHY_BYTES_MAX,
                 "%06llu.log is damaged at byte %llu, and what stood there had been synced",
                 (unsigned long long)check->bad_file, (unsigned long long)check->bad_offset);
        err = ERR_CORRUPT;
    } else if (err == OK && check->is_bad) {
        err = cut(check, folder, numbers, count);
        snprintf(why, WAL_WHY_BYTES_MAX, "%06llu.log: cannot cut its torn end: %s",
                 (unsigned long long)check->bad_file, err_text(err));
    }
    free(check);
    free(numbers);
    return err;
}
