#include "storage/kv_rocks_options.h"

enum {
    BUFFER_BYTES_DEFAULT = 32 << 20,
    BUFFERS = 3,    /* of which one is written and the others are being flushed */
    LEVEL_NONE = 6, /* above all that there are: no line has it */
};

static void set_table(rocksdb_options_t *options, rocksdb_cache_t *cache)
{
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(table, cache);
    rocksdb_block_based_options_set_block_size(table, 8 << 10);
    /* A message of 64 MiB gets a block of its own: whoever looks for its small neighbours, as a start
     * does for each partition, would read it again and again, as it is too large for the cache. */
    rocksdb_block_based_options_set_block_size_deviation(table, 99);
    rocksdb_block_based_options_set_format_version(table, 5);
    /* Indexes and filters count as cache, in small pieces, so that they go when they are not used:
     * ten million keys must not cost memory by themselves. */
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(table, 1);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(table, 1);
    rocksdb_block_based_options_set_pin_top_level_index_and_filter(table, 1);
    rocksdb_block_based_options_set_index_type(
        table, rocksdb_block_based_table_index_type_two_level_index_search);
    rocksdb_block_based_options_set_partition_filters(table, 1);
    rocksdb_block_based_options_set_filter_policy(table,
                                                  rocksdb_filterpolicy_create_bloom_full(10));
    rocksdb_options_set_block_based_table_factory(options, table);
    rocksdb_block_based_options_destroy(table);
}

static void set_options(rocksdb_options_t *options, const struct kv_config *config,
                        rocksdb_cache_t *cache)
{
    uint64_t buffer = config->buffer_bytes == 0 ? BUFFER_BYTES_DEFAULT : config->buffer_bytes;
    rocksdb_options_set_write_buffer_size(options, buffer / BUFFERS);
    rocksdb_options_set_max_write_buffer_number(options, BUFFERS);
    rocksdb_options_set_arena_block_size(options, buffer / BUFFERS / 64);
    /* Written by one thread, as a rule. */
    rocksdb_options_set_allow_concurrent_memtable_write(options, 0);
    rocksdb_options_set_enable_write_thread_adaptive_yield(options, 0);

    rocksdb_options_set_manual_wal_flush(options, 1);
    rocksdb_options_set_wal_recovery_mode(options, rocksdb_point_in_time_recovery);

    /* A flush must not wait behind a merge; two of these, as two maps share the threads. */
    rocksdb_options_set_max_background_jobs(options, 3);
    rocksdb_options_set_disable_auto_compactions(options, config->is_read_first);
    rocksdb_options_set_bytes_per_sync(options, 1 << 20);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(options, 1);
    /* The log has compressed its entries itself. */
    rocksdb_options_set_compression(options, config->way == KV_LOGGED ? rocksdb_no_compression
                                                                      : rocksdb_lz4_compression);
    set_table(options, cache);
    /* Filters know first bytes, too: an iterator that stays within one (kv_rocks.c, K5) does not read
     * the files that have nothing of it. An index alone cannot tell, and would have it read a block. */
    rocksdb_options_set_prefix_extractor(options, rocksdb_slicetransform_create_fixed_prefix(1));

    rocksdb_options_set_max_open_files(options, 512);
    rocksdb_options_set_max_file_opening_threads(options, 2);
    rocksdb_options_set_skip_stats_update_on_db_open(options, 1);
    rocksdb_options_set_manifest_preallocation_size(options, 64 << 10);
    rocksdb_options_set_max_manifest_file_size(options, 4 << 20);
    /* Not a line into its own log: the second one that finds no space ends the process, by an
     * assertion that Debian's build has left in. */
    rocksdb_options_set_info_log_level(options, LEVEL_NONE);
    rocksdb_options_set_keep_log_file_num(options, 1);
    rocksdb_options_set_stats_dump_period_sec(options, 0);
    rocksdb_options_set_stats_persist_period_sec(options, 0);
    rocksdb_options_enable_statistics(options);
}

rocksdb_options_t *kv_rocks_options(const struct kv_config *config, rocksdb_cache_t *cache,
                                    bool is_new, char **text_out)
{
    rocksdb_options_t *named = rocksdb_options_create(), *options = rocksdb_options_create();
    set_options(named, config, cache);
    rocksdb_options_set_create_if_missing(named, is_new);
    /* What the C interface has no name for. */
    rocksdb_get_options_from_string(named, "avoid_flush_during_shutdown=true", options, text_out);
    rocksdb_options_destroy(named);
    return options;
}

/* Two maps, and each may flush and merge. Threads are shared by the process and never end. */
void kv_rocks_threads(void)
{
    rocksdb_env_t *env = rocksdb_create_default_env();
    rocksdb_env_set_high_priority_background_threads(env, 2);
    rocksdb_env_set_low_priority_background_threads(env, 2);
    rocksdb_env_destroy(env);
}
