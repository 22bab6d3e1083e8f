"""kill -9 at any moment: what was acknowledged is there, and QoS 2 comes once.

20 kills; with --long 200. TEST_SEED repeats the choices of the clients, not the moments of the machine.
"""

import os
import random

import durable
import powerloss
from suite import alone, long_only, tern_only

SEED = int(os.environ.get("TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
KILLS = int(os.environ.get("TERN_TEST_KILLS", "20"))


def kill_loop(t, kills, seed, disk=None, durability=None):
    """The swarm works, the broker dies, the power too when there is a disk; at the end all is judged."""
    chance = random.Random(seed)
    folder = disk.folder if disk else os.path.join(t.folder(), "data")
    broker = durable.DurableBroker(folder, durability=durability, disk=disk)
    t.brokers.append(broker)
    swarm = durable.Swarm(broker, seed)
    told = []
    for left in reversed(range(kills)):
        # Now and then during the first steps after a start, when a broker reads what it had.
        swarm.run(chance.choice((0.05, 0.3, 0.8)) * chance.uniform(0.2, 1.5))
        if left == 0:
            swarm.mourners[0].stay_away()  # its will is due before the end, or after it
        broker.crash()
        swarm.drain()
        if left == 0:
            swarm.mourners[1].stay_away()
        if disk:
            told.append(disk.lose_power(chance))
        broker.restart()
        if chance.random() < 0.3:
            swarm.look_retained()
    swarm.run(0.3)
    swarm.settle()
    counts = swarm.promises.counts
    print(f"      seed {seed}: {kills} kills, {counts['accepted']} accepted, {counts['delivered']} delivered, "
          f"{counts['again']} again, {counts['welcomed']} connects; {'; '.join(told[-3:])}")
    return swarm.promises


@alone
@tern_only
def test_kill_9_at_any_moment_loses_nothing_that_was_acknowledged(t):
    kill_loop(t, KILLS, SEED).assert_kept(f"(TEST_SEED={SEED})")


@alone
@tern_only
@long_only
def test_two_hundred_kills_lose_nothing_that_was_acknowledged(t):
    kill_loop(t, 200, SEED + 1).assert_kept(f"(TEST_SEED={SEED})")


@alone
@tern_only
def test_the_loss_of_power_loses_nothing_that_was_acknowledged(t):
    disk = powerloss.Disk(os.path.join(t.folder(), "data"), t.folder())
    kill_loop(t, KILLS, SEED + 2, disk).assert_kept(f"(TEST_SEED={SEED})")


@alone
@tern_only
@long_only
def test_two_hundred_losses_of_power_lose_nothing_that_was_acknowledged(t):
    disk = powerloss.Disk(os.path.join(t.folder(), "data"), t.folder())
    kill_loop(t, 200, SEED + 3, disk).assert_kept(f"(TEST_SEED={SEED})")


@alone
@tern_only
def test_durability_quorum_outlives_kill_9_on_a_lone_node(t):
    kill_loop(t, 6, SEED + 4, durability="quorum").assert_kept(f"(TEST_SEED={SEED})")


@alone
@tern_only
def test_durability_quorum_is_seen_to_lose_by_a_loss_of_power(t):
    """What the setting says is lost; and that these tests would see it with fsync."""
    disk = powerloss.Disk(os.path.join(t.folder(), "data"), t.folder())
    found = kill_loop(t, 4, SEED + 5, disk, durability="quorum").kinds()
    assert found["session_lost"] + found["lost"] + found["retained_lost"] > 0, found
