"""Bounds that need many messages to be seen: retained messages, bytes of queues, memory of slow readers."""

import time

import mqtt
import suite
from suite import each, equal, eventually, tern_only

EXPIRY = {"session_expiry": 600}
SERVER_BUSY, QUOTA_EXCEEDED = 0x89, 0x97


@tern_only
@each(0, 1)
def test_large_retained_messages_all_reach_a_new_subscriber(t, qos):
    """Their bytes are a multiple of what may wait for one reader: it is asked to read, not deprived."""
    broker = t.broker(tern_only=["max_output_bytes 1M"], metrics=True)
    publisher = t.client(broker.port, "publisher", 5)
    for number in range(40):
        publisher.publish(t.topic(number), b"%2d" % number * 50_000, qos=1, retain=True)
    reader = t.client(broker.port, "reader", 5)
    reader.subscribe(t.topic("#"), qos=qos)
    came = sorted(int(reader.receive(retain=True).payload[:2]) for _ in range(40))
    equal(came, list(range(40)), "what came")
    equal(t.metric(broker, "tern_dropped_total", reason="output_full"), 0, "dropped")


@tern_only
def test_retained_messages_do_not_push_each_other_out_of_a_queue_bounded_in_bytes(t):
    broker = t.broker(["max_queued_bytes 20K", "max_inflight_messages 1"], metrics=True)
    publisher = t.client(broker.port, "publisher", 5)
    for number in range(30):
        publisher.publish(t.topic(number), b"%2d" % number * 1000, qos=1, retain=True)
    reader = t.client(broker.port, "reader", 5)
    reader.subscribe(t.topic("#"), qos=1)
    came = sorted(int(reader.receive(retain=True).payload[:2]) for _ in range(30))
    equal(came, list(range(30)), "what came")


@tern_only
def test_large_messages_make_room_for_themselves_in_a_queue_of_small_ones(t):
    """Each newcomer weighs as much as fifty of those that wait: the bound of bytes holds all the same."""
    broker = t.broker(["max_queued_bytes 100K", "max_queued_messages 0"], metrics=True)
    away = t.client(broker.port, "away", 5, clean=False, props=EXPIRY)
    away.subscribe(t.topic(), qos=1)
    away.disconnect()
    publisher = t.client(broker.port, "publisher", 5)
    for _ in range(90):
        publisher.publish(t.topic(), b"s" * 800, qos=1)
    for _ in range(20):
        publisher.publish(t.topic(), b"l" * 40_000, qos=1)
    kept = eventually(lambda: t.metric(broker, "tern_queued_bytes"))
    assert kept <= 110 * 1024, f"{kept:.0f} bytes are queued"
    away = t.client(broker.port, "away", 5, clean=False, props=EXPIRY)
    equal(away.receive().payload[:1], b"l", "what is left")


def resident_bytes(broker):
    with open(f"/proc/{broker.process.pid}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * 4096


@tern_only
def test_readers_that_never_read_cannot_fill_the_memory_together(t):
    """Each stays within max_output_bytes; all of them together stay within memory_limit, and publishers
    are not refused for it."""
    broker = t.broker(["memory_limit 64M"], tern_only=["max_output_bytes 16M"], metrics=True)
    for number in range(16):  # up to 256 MiB
        deaf = t.client(broker.port, f"deaf{number}", 5)
        deaf.subscribe(t.topic("flood"), qos=0)
    before = resident_bytes(broker)
    publisher = t.client(broker.port, "publisher", 5)
    batch = mqtt.publish(t.topic("flood"), b"x" * 1000) * 1000
    for _ in range(20):  # 20 MB for each of them
        publisher.send(batch)
        publisher.ping()
    publisher.publish(t.topic("other"), b"still accepted", qos=1)
    grown = resident_bytes(broker) - before
    assert suite.SANITIZED or grown < 110 << 20, f"{grown >> 20} MiB for readers that do not read"
    assert t.metric(broker, "tern_memory_bytes") <= 64 << 20, t.metrics(broker)
    assert t.metric(broker, "tern_dropped_total", reason="output_full") > 0, t.metrics(broker)


@tern_only
@each((4, 8_000_000), (5, 8_000_000), (5, 1_000_000))
def test_a_subscribe_of_millions_of_filters_does_not_hold_up_others(t, which):
    """One shard, so that the neighbour has to wait for whatever the greedy one is granted in a turn."""
    version, count = which
    broker = t.broker(env={"TERN_THREADS": "1"})
    neighbour = t.client(broker.port, "neighbour", 5)
    greedy = t.client(broker.port, "greedy", version)
    body = mqtt.u16(1) + (b"\x00" if version == 5 else b"") + b"\x00\x01a\x00" * count
    greedy.send_or_closed(b"\x82" + mqtt.varint(len(body)) + body)
    slowest = 0.0
    for _ in range(50):
        started = time.monotonic()
        neighbour.ping()
        slowest = max(slowest, time.monotonic() - started)
        time.sleep(0.02)
    assert slowest < (20.0 if suite.SANITIZED else 1.0), f"a neighbour waited {slowest:.1f} s"
    greedy.expect_refusal(0x95)


@tern_only
def test_subscriptions_weigh_as_messages_do(t):
    broker = t.broker(["memory_limit 16M"], metrics=True)
    hoarder = t.client(broker.port, "hoarder", 5)
    for batch in range(100):
        names = [f"{batch}/{number}/{'x' * 200}" for number in range(1000)]
        pid = 1 + batch
        hoarder.send(mqtt.subscribe(pid, [(name, 0) for name in names]))
        if QUOTA_EXCEEDED in hoarder.expect(mqtt.SUBACK, pid=pid).reasons:
            break
    else:
        raise AssertionError("100,000 filters of 200 bytes fitted into memory_limit 16M")
    assert batch > 5, f"refused after {batch} thousand filters already"
    assert t.metric(broker, "tern_memory_bytes") <= 18 << 20
    hoarder.disconnect()
    eventually(lambda: t.metric(broker, "tern_memory_bytes") < 4 << 20, what="memory is given back")


def test_each_of_many_subscribes_brings_all_that_is_retained(t):
    """Also while the walk of the one before is not finished, as the client does not read."""
    broker = t.broker()
    publisher = t.client(broker.port, "publisher", 5)
    for number in range(20):
        publisher.publish(t.topic(number), b"%d" % number, qos=1, retain=True)
    greedy = t.client(broker.port, "greedy", 5)
    for number in range(50):
        greedy.send(mqtt.subscribe(1 + number, [(t.topic("#"), 1)]))
    granted, came = 0, []
    while granted < 50 or len(came) < 50 * 20:
        packet = greedy.recv()
        if packet.kind == mqtt.SUBACK:
            granted += 1
            continue
        greedy.send(mqtt.ack(mqtt.PUBACK, packet.pid))
        came.append(int(packet.payload))
    equal([came.count(number) for number in range(20)], [50] * 20, "copies of each")
    greedy.expect_nothing()


@tern_only
@each(4, 5)
def test_who_has_a_session_may_come_and_empty_a_full_memory(t, version):
    # On disk the queue would fill no memory.
    lines = ["persistence false", "memory_limit 16M", "max_queued_messages 0", "max_inflight_messages 100"]
    broker = t.broker(lines, env={"TERN_THREADS": "1"})
    props = EXPIRY if version == 5 else None
    away = t.client(broker.port, "away", version, clean=False, props=props)
    away.subscribe(t.topic(), qos=1)
    away.disconnect()
    publisher = t.client(broker.port, "publisher", 5)
    count = 0
    for size in (100_000, 1000, 1):
        while True:
            pid = publisher.pid()
            publisher.send(mqtt.publish(t.topic(), bytes(size), 1, pid))
            if publisher.expect(mqtt.PUBACK, pid=pid).reason == QUOTA_EXCEEDED:
                break
            count += 1
            assert count < 1000, "all of it fitted into memory_limit 16M"
    reasons = [t.raw(broker.port, 5).connect(f"new{number}", reason=None).reason for number in range(20)]
    equal(reasons[-1], SERVER_BUSY, "what newcomers hear")
    away = t.client(broker.port, "away", version, clean=False, props=props)
    for _ in range(count):
        away.receive(t.topic())
    publisher.publish(t.topic(), b"accepted again", qos=1)
    away.receive(t.topic(), b"accepted again")
    t.client(broker.port, "new", 5)
