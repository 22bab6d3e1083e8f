"""Of a long queue only the beginning is in memory: the rest is on disk, and comes back page by page."""

import mqtt
from suite import each, equal, eventually, tern_only

EXPIRY = {"session_expiry": 3600}
COUNT = 3000  # far beyond what is kept in memory for who is away
LINES = ["max_queued_messages 0", "max_inflight_messages 100", "durability relaxed", "sys_interval 0"]


def durable(t, lines=LINES, **more):
    return t.broker(["persistence true", "persistence_location data", *lines], **more)


def away(t, broker, version, qos=1):
    client = t.client(broker.port, "away", version, clean=False, props=EXPIRY if version == 5 else None)
    client.subscribe(t.topic(), qos=qos)
    client.disconnect()


def fill(t, broker, first, count, qos=1, size=200):
    publisher = t.client(broker.port, "publisher", 5)
    for start in range(first, first + count, 100):
        pids = []
        for number in range(start, min(start + 100, first + count)):
            pids.append(publisher.pid())
            publisher.send(mqtt.publish(t.topic(), b"%d " % number + b"x" * size, qos, pids[-1]))
        for pid in pids:
            if qos == 1:
                publisher.expect(mqtt.PUBACK, pid=pid)
            else:
                publisher.expect(mqtt.PUBREC, pid=pid)
        for pid in pids if qos == 2 else ():
            publisher.send(mqtt.ack(mqtt.PUBREL, pid))
        for pid in pids if qos == 2 else ():
            publisher.expect(mqtt.PUBCOMP, pid=pid)
    publisher.disconnect()


def back(t, broker, version, numbers, qos=1):
    """Everything comes, once and in order; of QoS 2 one after the other."""
    props = dict(EXPIRY, receive_max=1) if qos == 2 else EXPIRY
    client = t.client(broker.port, "away", version, clean=False, props=props if version == 5 else None)
    for number in numbers:
        packet = client.expect_publish(qos=qos)
        equal(packet.payload.split()[0], b"%d" % number, "which message")
        if qos == 1:
            client.send(mqtt.ack(mqtt.PUBACK, packet.pid))
        else:
            client.send(mqtt.ack(mqtt.PUBREC, packet.pid))
            client.expect(mqtt.PUBREL, pid=packet.pid)
            client.send(mqtt.ack(mqtt.PUBCOMP, packet.pid))
    client.expect_nothing()
    return client


@tern_only
@each(4, 5)
def test_a_long_queue_comes_whole_and_in_order(t, version):
    broker = durable(t, metrics=True)
    away(t, broker, version)
    fill(t, broker, 0, COUNT)
    equal(t.metric(broker, "tern_queued_messages"), COUNT, "queued")
    assert t.metric(broker, "tern_memory_bytes") < COUNT * 200, "what waits is not in memory"
    back(t, broker, version, range(COUNT))
    equal(t.metric(broker, "tern_queued_messages"), 0, "queued in the end")


@tern_only
def test_a_session_that_is_to_end_with_this_connection_gets_its_long_queue_in_order(t):
    broker = durable(t)
    away(t, broker, 5)
    fill(t, broker, 0, 1000)
    client = t.client(broker.port, "away", 5, clean=False, props={"session_expiry": 0, "receive_max": 10})
    fill(t, broker, 1000, 200)
    for number in range(1200):
        packet = client.expect_publish(qos=1)
        equal(packet.payload.split()[0], b"%d" % number, "which message")
        client.send(mqtt.ack(mqtt.PUBACK, packet.pid))
    client.expect_nothing()


@tern_only
def test_what_comes_while_the_rest_is_read_back_stands_behind_it(t):
    broker = durable(t)
    away(t, broker, 5)
    fill(t, broker, 0, 1000)
    client = t.client(broker.port, "away", 5, clean=False, props=EXPIRY)
    first = [client.expect_publish(qos=1) for _ in range(50)]
    fill(t, broker, 1000, 200)
    for number in range(1200):
        packet = first.pop(0) if first else client.expect_publish(qos=1)
        equal(packet.payload.split()[0], b"%d" % number, "which message")
        client.send(mqtt.ack(mqtt.PUBACK, packet.pid))
    client.expect_nothing()


@tern_only
def test_a_long_queue_of_qos_2_comes_once(t):
    broker = durable(t)
    away(t, broker, 5, qos=2)
    fill(t, broker, 0, 600, qos=2)
    back(t, broker, 5, range(600), qos=2)


@tern_only
def test_a_bound_of_the_queue_counts_what_is_on_disk(t):
    broker = durable(t, ["max_queued_messages 500", "max_inflight_messages 100", "durability relaxed"], metrics=True)
    away(t, broker, 5)
    fill(t, broker, 0, 1500)
    # The oldest are read back before they give way, and whoever publishes does not wait for that.
    eventually(lambda: t.metric(broker, "tern_queued_messages") <= 500 + 256, what="a page at most beyond the bound")
    client = t.client(broker.port, "away", 5, clean=False, props=EXPIRY)
    packet = client.expect_publish(qos=1)
    first = int(packet.payload.split()[0])
    assert first >= 1500 - 500 - 256, "the oldest have given way"
    for number in range(first, 1500):
        packet = packet if number == first else client.expect_publish(qos=1)
        equal(packet.payload.split()[0], b"%d" % number, "which message")
        client.send(mqtt.ack(mqtt.PUBACK, packet.pid))
    client.expect_nothing()


@tern_only
def test_a_session_that_ends_takes_its_long_queue_along(t):
    broker = durable(t, metrics=True)
    away(t, broker, 5)
    fill(t, broker, 0, 1000)
    t.client(broker.port, "away", 5).disconnect()
    equal(t.metric(broker, "tern_queued_messages"), 0, "queued")
    equal(t.metric(broker, "tern_queued_bytes"), 0, "their bytes")
