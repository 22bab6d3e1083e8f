"""Retained messages may be larger than memory: what `retained_memory` has no room for is on disk alone."""

import hashlib
import os
import random
import re

import durable
import mqtt
import suite
from suite import each, equal, tern_only

BOUND = 2 << 20
SIZE = 16 << 10
COUNT = 256 if suite.SANITIZED else 4096  # 64 MiB
LINES = ("sys_interval 0", "storage_memory 8M", "http_listener 127.0.0.1:0")


def start(t, bound=BOUND, lines=LINES, durability="relaxed"):
    broker = durable.DurableBroker(
        os.path.join(t.folder(), f"data-{bound}"), [f"retained_memory {bound}", *lines], durability=durability
    )
    t.brokers.append(broker)
    return with_metrics(broker)


def with_metrics(broker, start=1):
    """start: how often it has been started; each time it says its port."""

    def ports():
        told = re.findall(r"http://127\.0\.0\.1:(\d+)/metrics", broker.log())
        return told if len(told) >= start else None

    broker.http_port = int(suite.eventually(ports, what="the port of metrics")[-1])
    return broker


def again(broker, ends=durable.DurableBroker.crash):
    ends(broker)
    mqtt.forget_clients()
    broker.restart()
    return with_metrics(broker, 2)


def payload_of(number, version=0, size=SIZE):
    """Its own, and nothing that compresses."""
    return random.Random(number * 1000 + version).randbytes(size)


def topic_of(t, number):
    return t.topic(f"{number % 50}/{number}")


def store(t, broker, numbers, version=0, size=SIZE):
    publisher = t.client(broker.port, "publisher", 5)
    for batch in batches(list(numbers), 50):
        for number in batch:
            payload = b"" if version is None else payload_of(number, version, size)
            publisher.send(mqtt.publish(topic_of(t, number), payload, 1, publisher.pid(), retain=True))
        for _ in batch:
            publisher.expect(mqtt.PUBACK)
    publisher.disconnect()


def batches(numbers, size):
    return [numbers[i : i + size] for i in range(0, len(numbers), size)]


def found(t, broker, filter_, count, qos=1, name="reader", version=5):
    """What a new subscriber of a filter is told: {topic: digest of the payload}, each topic once."""
    reader = t.client(broker.port, name, version)
    reader.subscribe(filter_, qos=qos)
    out = {}
    for _ in range(count):
        packet = reader.receive()
        assert packet.retain, packet
        assert packet.topic not in out, f"{packet.topic} came twice"
        equal(packet.qos, min(qos, 1), "QoS")
        out[packet.topic] = hashlib.md5(packet.payload).digest()
    reader.expect_nothing()
    reader.disconnect()
    return out


def wanted(t, numbers, version=0, size=SIZE):
    return {topic_of(t, n): hashlib.md5(payload_of(n, version, size)).digest() for n in numbers}


def resident_bytes(broker):
    with open(f"/proc/{broker.process.pid}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * 4096


def fill_and_weigh(t, bound):
    broker = start(t, bound)
    before = resident_bytes(broker)
    store(t, broker, range(COUNT))
    equal(t.metric(broker, "tern_retained_messages"), COUNT, "retained")
    return broker, resident_bytes(broker) - before


@tern_only
def test_far_more_than_memory_is_retained_and_found_again(t):
    """By `#`, by `+`, by name; before and after kill -9."""
    broker, grown = fill_and_weigh(t, BOUND)
    _, unbound = fill_and_weigh(t, 1 << 30)
    if not suite.SANITIZED:  # which keep what was freed
        assert unbound - grown > (COUNT * SIZE - BOUND) // 2, f"grown by {grown >> 20}, else by {unbound >> 20} MiB"
    for end in ("as it ran", "after kill -9"):
        broker = again(broker) if end != "as it ran" else broker
        equal(t.metric(broker, "tern_retained_messages"), COUNT, f"retained, {end}")
        # What was under way when the bound was reached may be in memory, and nothing more.
        assert t.metric(broker, "tern_retained_memory_bytes") <= BOUND + 100 * SIZE, end
        equal(found(t, broker, t.topic("#"), COUNT), wanted(t, range(COUNT)), f"by #, {end}")
        shelf = range(7, COUNT, 50)
        equal(found(t, broker, t.topic("7/+"), len(shelf), qos=0), wanted(t, shelf), f"by +, {end}")
        for number in (0, COUNT // 2, COUNT - 1):
            equal(found(t, broker, topic_of(t, number), 1, qos=2, version=4), wanted(t, [number]), f"by name, {end}")
        assert t.metric(broker, "tern_retained_memory_bytes") <= BOUND + 100 * SIZE, "who reads changes nothing"
        assert t.metric(broker, "tern_retained_read_total") > COUNT / 2, "read back"


@tern_only
@each("fsync", "relaxed")
def test_what_is_set_anew_or_cleared_is_so_on_disk_too(t, durability):
    broker = start(t, 1, durability=durability)
    store(t, broker, range(60), size=100)
    store(t, broker, range(0, 60, 2), version=1, size=100)
    store(t, broker, range(0, 60, 3), version=None)
    left = {n: n % 2 == 0 for n in range(60) if n % 3 != 0}
    want = {topic_of(t, n): hashlib.md5(payload_of(n, is_new, 100)).digest() for n, is_new in left.items()}
    equal(found(t, broker, t.topic("#"), len(left)), want, "as it ran")
    equal(t.metric(broker, "tern_retained_memory_bytes"), 0, "all of it is on disk alone")
    # A crash loses the last moments of `relaxed`.
    again(broker, durable.DurableBroker.stop_keeping if durability == "relaxed" else durable.DurableBroker.crash)
    equal(t.metric(broker, "tern_retained_messages"), len(left), "retained")
    equal(found(t, broker, t.topic("#"), len(left)), want, "after the end")


@tern_only
def test_retain_handling_goes_by_what_is_on_disk(t):
    broker = start(t, 1)
    store(t, broker, [1], size=10)
    reader = t.client(broker.port, "reader", 5)
    for handling, count in ((2, 0), (1, 0), (0, 1), (0, 1), (1, 0)):  # known from the first time on
        reader.subscribe(t.topic("#"), retain_handling=handling)
        for _ in range(count):
            equal(reader.receive(topic=topic_of(t, 1)).payload, payload_of(1, 0, 10), "payload")
        reader.expect_nothing()
    reader.unsubscribe(t.topic("#"))
    reader.subscribe(t.topic("#"), retain_handling=1)  # new
    equal(reader.receive(topic=topic_of(t, 1)).payload, payload_of(1, 0, 10), "payload")


@tern_only
def test_who_reads_slowly_gets_everything_once_while_others_set_it_anew(t):
    """An old message never comes after a newer one of its topic."""
    broker = start(t, 1)
    count = 400
    store(t, broker, range(count), size=4000)
    reader = t.client(broker.port, "reader", 5, props={"receive_max": 5})
    reader.subscribe(t.topic("#"), qos=1)
    newest, retained = {}, set()
    for version in (1, 2):
        for _ in range(100):
            take(t, reader, newest, retained)
        store(t, broker, range(0, count, 4), version=version, size=4000)
    while len(retained) < count or any(newest.get(topic_of(t, n)) != 2 for n in range(0, count, 4)):
        take(t, reader, newest, retained)
    reader.expect_nothing()
    equal(len(retained), count, "retained messages")


def take(t, reader, newest, retained):
    packet = reader.receive()
    number = int(packet.topic.rsplit("/", 1)[1])
    version = next(v for v in range(3) if payload_of(number, v, 4000) == packet.payload)
    assert version >= newest.get(packet.topic, 0), f"{packet.topic}: {version} after {newest[packet.topic]}"
    newest[packet.topic] = version
    if packet.retain:
        assert packet.topic not in retained, f"{packet.topic} came twice"
        retained.add(packet.topic)


@tern_only
def test_what_narrower_limits_leave_out_is_told_and_comes_back_with_them(t):
    folder = os.path.join(t.folder(), "data")
    limits = {10: [], 4: ["max_retained_messages 4"], 11: []}
    for count, lines in limits.items():
        broker = durable.DurableBroker(folder, ["retained_memory 300", *LINES, *lines])
        t.brokers.append(with_metrics(broker))
        if count == 10:
            store(t, broker, range(10), size=100)
        count = min(count, 10)
        equal(t.metric(broker, "tern_retained_messages"), count, "retained")
        equal(t.metric(broker, "tern_dropped_total", reason="retained_limit"), 10 - count, "left out")
        assert ("are left out" in broker.log()) == (count < 10), broker.log()
        equal(len(found(t, broker, t.topic("#"), count)), count, "found")
        broker.stop_keeping()
        mqtt.forget_clients()
