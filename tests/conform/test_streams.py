"""Bytes on their way: packets of every size, in pieces of every size, many at once."""

import random

from harness import mqtt, versions
from mqtt import PUBACK, SUBACK


def payload_of(number, size):
    head = f"{number}:".encode()
    return (head + bytes([number % 251]) * size)[:max(size, len(head))]


def sizes(rng, count):
    """Around every border that buffers like to have, and between."""
    borders = [0, 1, 100, 126, 127, 128, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 1 << 18]
    return [max(0, rng.choice(borders) + rng.randint(-20, 20)) if rng.random() < 0.7 else rng.randint(0, 70000)
            for _ in range(count)]


def feed(client, data, rng):
    """Send in random pieces."""
    at = 0
    while at < len(data):
        size = rng.choice((1, 3, 50, 1000, 5000, 20000, 100000))
        client.transport.send(data[at:at + size])
        at += size


def echo(t, publisher, subscriber, seed, qos):
    rng = random.Random(seed)
    topic, wanted = t.topic(), []
    subscriber.subscribe(topic, qos=qos)
    for turn in range(6):
        batch = [payload_of(turn * 10 + n, size) for n, size in enumerate(sizes(rng, 10))]
        data = b"".join(mqtt.publish(topic, payload, qos, n + 1, version=publisher.version)
                        for n, payload in enumerate(batch))
        feed(publisher, data, rng)
        for n in range(10 if qos == 1 else 0):
            publisher.expect(PUBACK, pid=n + 1)
        for payload in batch:
            got = subscriber.receive(topic, qos=qos)
            assert got.payload == payload, f"seed {seed}: {got.payload[:12]!r}, {len(got.payload)} bytes"
        wanted += batch
    subscriber.ping()


@versions(5, 4)
def test_random_sizes_in_random_pieces_over_tcp(t):
    for seed in range(3):
        for qos in (0, 1):
            echo(t, t.open(f"p{seed}{qos}"), t.open(f"s{seed}{qos}"), seed, qos)


@versions(5, 4)
def test_random_sizes_in_random_pieces_over_websocket(t):
    """Each piece is a frame of its own."""
    for seed in range(3):
        publisher, subscriber = t.websocket("pub"), t.websocket("sub")
        publisher.connect(t.id(f"p{seed}"))
        subscriber.connect(t.id(f"s{seed}"))
        echo(t, publisher, subscriber, 100 + seed, seed % 2)


@versions(5, 4)
def test_fan_out_of_large_and_small_to_all_kinds_of_clients(t):
    """TCP and WebSocket, all versions, all QoS: the same bytes for everybody, in the same order."""
    topic, rng = t.topic(), random.Random(7)
    subs = []
    for version in (3, 4, 5):
        for qos in (0, 1, 2):
            c = t.open(f"s{version}{qos}", version=version)
            c.subscribe(topic, qos=qos)
            subs.append(c)
    ws = t.websocket("ws")
    ws.connect(t.id("ws"))
    ws.subscribe(topic, qos=1)
    subs.append(ws)
    pub = t.open("pub")
    batch = [payload_of(n, size) for n, size in enumerate(sizes(rng, 15))]
    for n, payload in enumerate(batch):
        pub.publish(topic, payload, qos=n % 3)
    for c in subs:
        # QoS 1 and 2 of one publisher keep their order; nobody promises it between QoS
        got = [c.receive(topic).payload for _ in batch]
        assert sorted(got) == sorted(batch), c.label


@versions(5, 4)
def test_thousands_of_small_packets_in_one_segment(t):
    topic, v, count = t.topic(), t.version, 3000
    c, sub = t.open(), t.open("sub")
    sub.subscribe(topic)
    one = mqtt.publish(topic, b"x", version=v)
    c.transport.send(one * count + mqtt.pingreq())
    c.expect(mqtt.PINGRESP)
    data = bytearray()
    while len(data) < len(one) * count:
        assert sub.transport.wait(mqtt.WAIT_S), f"{len(data) // len(one)} of {count} came"
        data += sub.transport.recv()
    assert bytes(data) == one * count


@versions(5, 4)
def test_what_was_sent_before_a_half_close_is_processed(t):
    """mosquitto_pub and scripts close as soon as they have written."""
    topic = t.topic()
    watch = t.open("watch")
    watch.subscribe(topic, qos=1)
    c = t.raw()
    c.send(mqtt.connect(t.id("a"), version=t.version) + mqtt.publish(topic, b"1", version=t.version)
           + mqtt.publish(topic, b"2", 1, 1, version=t.version) + mqtt.disconnect())
    c.half_close()
    assert [p.kind for p in c.expect_close()][:1] == [mqtt.CONNACK]
    watch.receive(topic, b"1")
    watch.receive(topic, b"2")


@versions(5, 4)
def test_a_reader_that_pauses_gets_everything_of_qos_1(t):
    """Its window and the queue behind it hold what the socket does not take."""
    topic = t.topic()
    sub, pub = t.open("sub"), t.open("pub")
    sub.subscribe(topic, qos=1)
    size = 60000
    for number in range(150):
        pub.publish(topic, payload_of(number, size), qos=1)
    for number in range(150):
        assert sub.receive(topic, qos=1).payload == payload_of(number, size)


@versions(5, 4)
def test_many_filters_in_one_packet(t):
    """SUBSCRIBE and UNSUBSCRIBE of more than a buffer's size."""
    c, pub = t.open(), t.open("pub")
    names = [t.topic(f"{n}/" + "x" * 100) for n in range(1500)]
    c.send(mqtt.subscribe(1, [(name, n % 3) for n, name in enumerate(names)], version=t.version))
    assert c.expect(SUBACK, pid=1).reasons == [n % 3 for n in range(1500)]
    for n in (0, 700, 1499):
        pub.publish(names[n], b"x", qos=2)
        c.receive(names[n], qos=n % 3)
    c.unsubscribe(*names)
    pub.publish(names[700], b"x")
    c.expect_nothing(0.1)


def test_packets_full_of_user_properties(t):
    topic = t.topic()
    c, pub = t.open(), t.open("pub")
    c.subscribe(topic, qos=1)
    pairs = [(f"name{n}", "v" * (n % 50)) for n in range(3000)]
    pub.publish(topic, b"x", qos=1, props={"user_property": pairs})
    assert c.receive(topic).props["user_property"] == pairs
    d = t.open("d", props={"user_property": pairs})
    d.subscribe(topic, props={"user_property": pairs})
    d.disconnect(0, {"user_property": pairs})
