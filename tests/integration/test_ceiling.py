"""memory_limit counts whatever clients make the broker keep: near it nothing begins that stays, and the rest goes on."""

import os
import random

import durable
import mqtt
import suite
from suite import each, equal, eventually, tern_only

MIB = 1 << 20
LIMIT = (16 if suite.SANITIZED else 64) * MIB
EXPIRY = {"session_expiry": 3600}
QUOTA_EXCEEDED, SERVER_BUSY, SERVER_UNAVAILABLE, NO_SUBSCRIBERS = 0x97, 0x89, 3, 0x10
BATCH = 500
USES = ("messages", "retained_topics", "subscriptions", "sessions", "connections")


def start(t, persistence, limit=LIMIT):
    lines = [f"memory_limit {limit}", "sys_interval 0", "max_queued_messages 0", "max_inflight_messages 100"]
    if persistence:
        lines += ["persistence true", "persistence_location data", "durability relaxed", "storage_memory 8M"]
    else:
        lines.append("persistence false")
    return t.broker(lines, metrics=True)


def resident_bytes(broker):
    with open(f"/proc/{broker.process.pid}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * 4096


def used(t, broker, use):
    return t.metric(broker, "tern_memory_use_bytes", use=use)


def topic_of(t, number):
    """Of all sizes, and nothing that two share but their beginning."""
    return t.topic(f"{number % 97}/{'x' * random.Random(number).randrange(700)}{number}/state")


def retain(t, client, numbers, payload=b"retained"):
    """Which of these topics the broker has accepted, one after the other, until it refused some."""
    numbers, accepted = list(numbers), []
    for at in range(0, len(numbers), BATCH):
        pids = {}
        for number in numbers[at : at + BATCH]:
            pids[number] = client.pid()
            client.send(mqtt.publish(topic_of(t, number), payload, 1, pids[number], retain=True))
        reasons = {number: client.expect(mqtt.PUBACK, pid=pid).reason for number, pid in pids.items()}
        assert set(reasons.values()) <= {QUOTA_EXCEEDED, 0, NO_SUBSCRIBERS}, reasons
        accepted += [number for number, reason in reasons.items() if reason != QUOTA_EXCEEDED]
        if QUOTA_EXCEEDED in reasons.values():
            break
    return accepted


def subscribe_until(t, client, use_bytes, broker):
    """New filters until they take so much."""
    number = 0
    while used(t, broker, "subscriptions") < use_bytes:
        filters = [(t.topic(f"{'y' * 100}{number + i}/+"), 1) for i in range(200)]
        pid = client.pid()
        client.send(mqtt.subscribe(pid, filters))
        equal(set(client.expect(mqtt.SUBACK, pid=pid).reasons), {1}, "granted")
        number += 200


def sessions_until(t, broker, use_bytes):
    number = 0
    while used(t, broker, "sessions") < use_bytes:
        for _ in range(50):
            client = t.raw(broker.port, 5)
            client.connect(f"{t.id()}-{number:06}-{'z' * 2000}", clean=False, props=EXPIRY)
            client.disconnect()
            number += 1


def connects_until_refused(t, broker, version):
    """The last ones to come still find what messages on their way have left, and what shards count together."""
    for number in range(1000):
        client = t.raw(broker.port, version)
        reason = client.connect(f"{t.id()}-{version}-{number:06}-{'z' * 4000}", reason=None).reason
        if reason != 0:
            return reason
    raise AssertionError("4 MB more of sessions found room")


def assert_full(t, broker, keeper, reader):
    """What is new is refused, what is there is served."""
    equal(connects_until_refused(t, broker, 5), SERVER_BUSY, "a new session")
    equal(connects_until_refused(t, broker, 4), SERVER_UNAVAILABLE, "one of 3.1.1")
    for number in range(1000):
        pid = reader.pid()
        reader.send(mqtt.subscribe(pid, [(t.topic(f"{number}{'f' * 2000}"), 0), (t.topic("live"), 1)]))
        reasons = reader.expect(mqtt.SUBACK, pid=pid).reasons
        if reasons != [0, 1]:
            break
    equal(reasons, [QUOTA_EXCEEDED, 1], "a new filter, and a known one")
    for number in range(200):  # messages pass, also when they are as large as what is kept
        keeper.publish(t.topic("live"), b"%d " % number + b"m" * 10_000, qos=1)
        equal(int(reader.receive(topic=t.topic("live")).payload.split()[0]), number, "which message")


@tern_only
@each(True, False)
def test_what_is_kept_stays_below_the_ceiling_and_room_that_was_made_can_be_used_again(t, persistence):
    broker = start(t, persistence)
    keeper = t.client(broker.port, "keeper", 5)
    reader = t.client(broker.port, "reader", 5)
    reader.subscribe(t.topic("live"), qos=1)
    before = resident_bytes(broker)
    sessions_until(t, broker, LIMIT // 16)
    subscribe_until(t, reader, LIMIT // 8, broker)
    kept = retain(t, keeper, range(1 << 20))
    first = len(kept)
    assert first > 1000, f"refused after {first} topics"
    for _ in range(2):
        assert_full(t, broker, keeper, reader)
        limit = t.metric(broker, "tern_memory_limit_bytes")
        now = t.metrics(broker)
        parts = sum(now[f'tern_memory_use_bytes{{use="{use}"}}'] for use in USES)
        assert abs(now["tern_memory_bytes"] - parts) < 1 * MIB, now  # what is on its way changes meanwhile
        assert limit * 6 // 8 < now["tern_memory_bytes"] <= limit, now
        # Beside the limit: what the store may take, and blocks that messages have left and will use again.
        grown = resident_bytes(broker) - before
        assert suite.SANITIZED or grown < LIMIT + 48 * MIB, f"grown by {grown >> 20} MiB, the limit is {LIMIT >> 20}"
        equal(retain(t, keeper, kept, b"set anew"), kept, "what is retained may be set")
        equal(retain(t, keeper, kept, b""), kept, "cleared")
        assert used(t, broker, "retained_topics") < 200_000, t.metrics(broker)
        t.client(broker.port, "new", 5).disconnect()
        reader.subscribe(t.topic("new/#"))
        reader.unsubscribe(t.topic("new/#"))
        kept = retain(t, keeper, range(first * 2))
        # The messages of a batch take room too while they are on their way to the disk: more or fewer, as it is fast.
        slack = first * 0.1 + BATCH
        assert abs(len(kept) - first) < slack, f"{len(kept)} topics found room, {first} the first time"


@tern_only
def test_a_start_with_more_on_disk_than_fits_says_so_and_serves_it(t):
    folder = os.path.join(t.folder(), "data")
    broker = durable.DurableBroker(folder, ["memory_limit 0", "storage_memory 8M"], durability="relaxed")
    t.brokers.append(broker)
    keeper = t.client(broker.port, "keeper", 5, clean=False, props=EXPIRY)
    keeper.subscribe(t.topic("live"), qos=1)
    count = 60_000
    equal(len(retain(t, keeper, range(count))), count, "retained")
    broker.stop_keeping()
    mqtt.forget_clients()
    broker = durable.DurableBroker(folder, ["memory_limit 16M", "storage_memory 8M"], durability="relaxed")
    t.brokers.append(broker)
    eventually(lambda: "fills the memory" in broker.log(), what="the warning")
    keeper = t.client(broker.port, "keeper", 5, clean=False, props=EXPIRY)
    equal(retain(t, keeper, [count]), [], "a new topic")
    known = list(range(count - 100, count))
    equal(retain(t, keeper, known, b"set anew"), known, "those that are there")
    keeper.publish(t.topic("live"), b"passes", qos=1)
    keeper.receive(t.topic("live"), b"passes")
    equal(len(retain(t, keeper, range(count), b"")), count, "cleared")
    equal(retain(t, keeper, [count]), [count], "a new topic when there is room")
