#include "storage/kv_rocks_batch.h"

#include <stdlib.h>
#include <string.h>

struct kv_batch *kv_batch_new(void)
{
    struct kv_batch *batch = malloc(sizeof *batch);
    if (batch != NULL) {
        batch->batch = rocksdb_writebatch_create();
    }
    return batch;
}

struct kv_batch *kv_batch_copy(const struct kv_batch *batch)
{
    struct kv_batch *copy = malloc(sizeof *copy);
    if (copy != NULL) {
        size_t count = 0;
        const char *data = rocksdb_writebatch_data(batch->batch, &count);
        copy->batch = rocksdb_writebatch_create_from(data, count);
    }
    return copy;
}

void kv_batch_free(struct kv_batch *batch)
{
    if (batch != NULL) {
        rocksdb_writebatch_destroy(batch->batch);
        free(batch);
    }
}

void kv_batch_put(struct kv_batch *batch, struct slice key, struct slice value)
{
    rocksdb_writebatch_put(batch->batch, (const char *)key.data, key.count,
                           (const char *)value.data, value.count);
}

void kv_batch_delete(struct kv_batch *batch, struct slice key)
{
    rocksdb_writebatch_delete(batch->batch, (const char *)key.data, key.count);
}

void kv_batch_delete_range(struct kv_batch *batch, struct slice from, struct slice to)
{
    size_t common = from.count < to.count ? from.count : to.count;
    int order = common == 0 ? 0 : memcmp(from.data, to.data, common);
    if (order > 0 || (order == 0 && from.count >= to.count)) {
        return; /* nothing lies there, and RocksDB would refuse the whole batch */
    }
    rocksdb_writebatch_delete_range(batch->batch, (const char *)from.data, from.count,
                                    (const char *)to.data, to.count);
}

void kv_batch_clear(struct kv_batch *batch)
{
    rocksdb_writebatch_clear(batch->batch);
}

uint64_t kv_batch_bytes(const struct kv_batch *batch)
{
    size_t count = 0;
    rocksdb_writebatch_data(batch->batch, &count);
    return rocksdb_writebatch_count(batch->batch) == 0 ? 0 : count;
}
