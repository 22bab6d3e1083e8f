"""RocksDB as we use it, under a disk that forgets: what kv_sync() or kv_flush() answered OK for is there."""

import os
import random
import subprocess
import time

import powerloss
from suite import alone, each, long_only

SEED = int(os.environ.get("TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)


def lives(t, way, count, seed):
    """Written, killed, powerless, looked at, and again."""
    chance = random.Random(seed)
    program = powerloss.library("kv_witness")
    disk = powerloss.Disk(os.path.join(t.folder(), "data"), t.folder())
    env = disk.env(dict(os.environ))
    map_folder = os.path.join(disk.folder, "map")
    durable, told = 0, []
    for life in range(count):
        said = os.path.join(t.folder(), "said")
        with open(said, "wb") as out:
            process = subprocess.Popen([program, "write", map_folder, way], stdout=out, stderr=out, env=env)
            time.sleep(chance.choice((0.1, 0.3, 1.0)) * chance.uniform(0.3, 1.2))
            process.kill()
            process.wait()
        with open(said, encoding="utf-8") as lines:
            whole = lines.read().rpartition("\n")[0].split()
        assert all(line.isdigit() for line in whole), f"seed {seed}, life {life}: {' '.join(whole)[-2000:]}"
        durable = max([durable, *(int(line) + 1 for line in whole)])
        told.append(disk.lose_power(chance))
        result = subprocess.run([program, "check", map_folder, way], capture_output=True, text=True, timeout=60,
                                env=dict(os.environ, **disk.env()))
        assert result.returncode == 0, f"seed {seed}, life {life}, {told[-1]}: {result.stdout}{result.stderr}"
        found = int(result.stdout)
        assert found >= durable, f"seed {seed}, life {life}, {told[-1]}: {found} found, {durable} were durable"
        durable = found if way == "logged" else durable
    return durable


@alone
@each("logged", "unlogged")
def test_what_was_synced_is_there_after_the_power_was_lost(t, way):
    lives(t, way, 8, SEED)


@alone
@long_only
@each("logged", "unlogged")
def test_what_was_synced_is_there_after_the_power_was_lost_a_hundred_times(t, way):
    lives(t, way, 100, SEED + 1)


FAULTS = {
    "no space": (lambda disk: disk.set_space(0), "ERR_NO_SPACE"),
    "some space": (lambda disk: disk.set_space(5000), "ERR_NO_SPACE"),
    "a write fails": (lambda disk: disk.fail_writes(1), "ERR_IO"),
    "a sync fails": (lambda disk: disk.fail_syncs(1), "ERR_IO"),
}


@each(*((way, fault) for way in ("logged", "unlogged") for fault in FAULTS))
def test_a_disk_that_fails_is_told_and_ends_no_process(t, which):
    """RocksDB's assertions are in Debian's build: one of them ended the process at the first full disk."""
    way, fault = which
    program = powerloss.library("kv_witness")
    disk = powerloss.Disk(os.path.join(t.folder(), "data"), t.folder())
    env = disk.env(dict(os.environ))
    map_folder = os.path.join(disk.folder, "map")
    writer = t.program(program, "write", map_folder, way, env=env)
    writer.wait_line(r"^\d+$")
    fail, wanted = FAULTS[fault]
    fail(disk)
    lines = writer.wait_end(status=1)
    assert lines[-1].startswith(f"write: {wanted}"), lines[-3:]
    disk.set_space(None)
    durable = max(int(line) + 1 for line in lines if line.isdigit())
    disk.lose_power(random.Random(SEED))
    result = subprocess.run([program, "check", map_folder, way], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout
    assert int(result.stdout) >= durable, f"{result.stdout} found, {durable} were durable"
