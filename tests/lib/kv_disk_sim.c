#include "core/base/rng.h"
#include "tests/lib/kv_disk.h"
#include "tests/sim/sim_kv.h"

static struct sim_disk *disk;
static struct rng rng;

const char *kv_disk_begin(void)
{
    rng_init(&rng, 1);
    disk = sim_kv_disk_new("/disk", &rng);
    return "/disk";
}

void kv_disk_end(void)
{
    sim_kv_disk_free(disk);
}

void kv_disk_crash(struct kv *kv, const char *folder)
{
    (void)folder;
    sim_kv_crash(disk, SIM_KV_PROCESS_ENDS);
    kv_close(kv);
}
