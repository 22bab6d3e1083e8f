"""Exactly once, while clients vanish and return at every step of the QoS 2 handshake."""

import itertools
import os
import random
import threading
import time

import mqtt
from suite import each, equal, short

VERSIONS = (4, 5)
CUTS = ("reset", "close")
SEED = int(os.environ.get("TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)


def persistent(t, port, name, version):
    """(client, whether its session was there already)."""
    client = mqtt.Client(port, version, label=name)
    props = {"session_expiry": 600} if version == 5 else None
    connack = client.connect(t.id(name), clean=False, props=props)
    return client, connack.session_present


def cut(client, how):
    client.abort() if how == "reset" else client.close()


def finish(client, pid):
    """PUBREL and its PUBCOMP; a broker of version 5 may say that it does not know the id any more."""
    client.send(mqtt.ack(mqtt.PUBREL, pid))
    comp = client.expect(mqtt.PUBCOMP, pid=pid)
    assert comp.reason in (0x00, 0x92), f"PUBCOMP reason {comp.reason:#x}"


@short
@each(*itertools.product(VERSIONS, CUTS, ("publish", "pubrec", "pubrec_again", "pubrel", "pubcomp")))
def test_a_publisher_that_vanishes_after_a_step_neither_loses_nor_doubles(t, which):
    version, how, step = which
    broker = t.common()
    topic = t.topic()
    witness = t.client(broker.port, "witness", version)
    witness.subscribe(topic, qos=0)
    publisher, _ = persistent(t, broker.port, "publisher", version)
    pid = 7

    publisher.send(mqtt.publish(topic, b"once", 2, pid, version=version))
    if step != "publish":
        publisher.expect(mqtt.PUBREC, pid=pid)
    if step in ("pubrel", "pubcomp"):
        publisher.send(mqtt.ack(mqtt.PUBREL, pid))
    if step == "pubcomp":
        publisher.expect(mqtt.PUBCOMP, pid=pid)
    cut(publisher, how)

    publisher, present = persistent(t, broker.port, "publisher", version)
    assert present, "the session is gone"
    if step in ("publish", "pubrec_again"):
        publisher.send(mqtt.publish(topic, b"once", 2, pid, dup=True, version=version))
        publisher.expect(mqtt.PUBREC, pid=pid)
    if step == "pubcomp":
        # The exchange is over: the same id is a new message.
        publisher.send(mqtt.publish(topic, b"new", 2, pid, version=version))
        publisher.expect(mqtt.PUBREC, pid=pid)
    finish(publisher, pid)
    wanted = [b"once", b"new"] if step == "pubcomp" else [b"once"]
    got = []
    publisher.publish(topic, b"end", qos=2)
    while not got or got[-1] != b"end":
        got.append(witness.expect(mqtt.PUBLISH).payload)
    equal(got[:-1], wanted)


@short
@each(*itertools.product(VERSIONS, CUTS, ("publish", "pubrec", "pubrel", "pubcomp")))
def test_a_subscriber_that_vanishes_after_a_step_gets_it_once(t, which):
    version, how, step = which
    broker = t.common()
    topic = t.topic()
    publisher = t.client(broker.port, "publisher", version)
    subscriber, _ = persistent(t, broker.port, "subscriber", version)
    subscriber.subscribe(topic, qos=2)
    publisher.publish(topic, b"once", qos=2)

    first = subscriber.expect(mqtt.PUBLISH, payload=b"once", dup=False)
    if step != "publish":
        subscriber.send(mqtt.ack(mqtt.PUBREC, first.pid))
    if step in ("pubrel", "pubcomp"):
        subscriber.expect(mqtt.PUBREL, pid=first.pid)
    if step == "pubcomp":
        subscriber.send(mqtt.ack(mqtt.PUBCOMP, first.pid))
    cut(subscriber, how)

    subscriber, present = persistent(t, broker.port, "subscriber", version)
    assert present, "the session is gone"
    publisher.publish(topic, b"end", qos=2)
    got, released = [b"once"], set()
    while got[-1] != b"end":
        packet = subscriber.recv()
        if packet.kind == mqtt.PUBLISH and packet.pid == first.pid and first.pid not in released:
            # The same exchange again, so it may only be what was not acknowledged yet.
            assert step in ("publish", "pubrec"), f"PUBLISH again after {step}"
            assert packet.dup, "a repeated PUBLISH carries DUP"
            equal(packet.payload, b"once")
            subscriber.send(mqtt.ack(mqtt.PUBREC, packet.pid))
        elif packet.kind == mqtt.PUBLISH:
            got.append(packet.payload)
            subscriber.send(mqtt.ack(mqtt.PUBREC, packet.pid))
        else:
            equal(packet.kind, mqtt.PUBREL, "kind of packet")
            released.add(packet.pid)
            subscriber.send(mqtt.ack(mqtt.PUBCOMP, packet.pid))
    equal(got, [b"once", b"end"])


class Restless:
    """A client with a perfect memory that loses its connection at random moments."""

    def __init__(self, t, port, name, version, seed):
        self.t, self.port, self.name, self.version = t, port, name, version
        self.random = random.Random(seed)
        self.client, self.lives = None, 0

    def perhaps_vanish(self):
        """Before and after each packet: 3 of 100 times the connection is gone."""
        if self.random.random() < 0.03:
            cut(self.client, self.random.choice(CUTS))
            raise ConnectionError("vanished")

    def live(self, conversation):
        """Hold the conversation, in as many lives as it takes."""
        while True:
            mqtt.forget_clients()
            self.client, present = persistent(self.t, self.port, self.name, self.version)
            self.lives += 1
            assert present == (self.lives > 1), f"life {self.lives}: session present is {present}"
            try:
                conversation()
                return
            except (ConnectionError, mqtt.Closed, OSError):
                assert self.lives < 2000, "too many lives"

    def send(self, data):
        self.perhaps_vanish()
        self.client.send(data)
        self.perhaps_vanish()

    def recv(self):
        packet = self.client.recv()
        self.perhaps_vanish()
        return packet


class RestlessPublisher(Restless):
    """Publishes 0, 1, 2, ... with QoS 2, several in flight at once."""

    WINDOW = 6

    def __init__(self, t, port, version, seed, topic, count):
        super().__init__(t, port, "publisher", version, seed)
        self.topic, self.count = topic, count
        self.next, self.pending = 0, {}  # pending: packet id -> [number, is_released], in order

    def conversation(self):
        for pid, (number, is_released) in list(self.pending.items()):
            if is_released:
                self.send(mqtt.ack(mqtt.PUBREL, pid))
            else:
                self.send(mqtt.publish(self.topic, b"%d" % number, 2, pid, dup=True, version=self.version))
        while self.next < self.count or self.pending:
            while self.next < self.count and len(self.pending) < self.WINDOW:
                pid = 1 + self.next % 1000
                self.pending[pid] = [self.next, False]
                self.next += 1
                self.send(mqtt.publish(self.topic, b"%d" % (self.next - 1), 2, pid, version=self.version))
            packet = self.recv_noting()
            if packet.kind == mqtt.PUBREC:
                self.send(mqtt.ack(mqtt.PUBREL, packet.pid))

    def recv_noting(self):
        """What arrived is remembered before the connection may vanish: memory is the client's disk."""
        packet = self.client.recv()
        if packet.kind == mqtt.PUBREC:
            assert packet.reason < 0x80, f"PUBREC {packet.reason:#x}"
            if packet.pid in self.pending:
                self.pending[packet.pid][1] = True
        else:
            equal(packet.kind, mqtt.PUBCOMP, "kind of packet")
            self.pending.pop(packet.pid, None)
        self.perhaps_vanish()
        return packet


class RestlessSubscriber(Restless):
    """Receives with QoS 2; a message counts when its PUBLISH is new."""

    def __init__(self, t, port, version, seed, topic, count):
        super().__init__(t, port, "subscriber", version, seed)
        self.topic, self.count = topic, count
        self.got, self.unreleased = [], set()
        self.is_subscribed = threading.Event()

    def conversation(self):
        if not self.is_subscribed.is_set():
            self.client.subscribe(self.topic, qos=2)
            self.is_subscribed.set()
        while len(self.got) < self.count or self.unreleased:
            packet = self.client.recv()
            if packet.kind == mqtt.PUBLISH:
                if packet.pid not in self.unreleased:
                    self.unreleased.add(packet.pid)
                    self.got.append(int(packet.payload))
                else:
                    assert packet.dup, "a repeated PUBLISH carries DUP"
                self.perhaps_vanish()
                self.send(mqtt.ack(mqtt.PUBREC, packet.pid))
            else:
                equal(packet.kind, mqtt.PUBREL, "kind of packet")
                self.unreleased.discard(packet.pid)
                self.perhaps_vanish()
                self.send(mqtt.ack(mqtt.PUBCOMP, packet.pid))


@each(*VERSIONS)
def test_restless_clients_get_every_message_once_and_in_order(t, version):
    print(f"     TEST_SEED={SEED} repeats this run of restless clients (version {version})", flush=True)
    port, count = t.common().port, 400
    subscriber = RestlessSubscriber(t, port, version, SEED, t.topic(), count)
    publisher = RestlessPublisher(t, port, version, SEED + 1, t.topic(), count)
    errors = []

    def run(who):
        try:
            who.live(who.conversation)
        except Exception as error:  # told to the test's own thread
            errors.append(f"{who.name}: {type(error).__name__}: {error}")

    threads = [threading.Thread(target=run, args=(who,)) for who in (subscriber, publisher)]
    threads[0].start()
    assert subscriber.is_subscribed.wait(20), f"never subscribed {errors}"
    threads[1].start()
    until = time.monotonic() + 120
    for thread in threads:
        thread.join(max(1, until - time.monotonic()))
    assert not errors, f"seed {SEED}: {errors}"
    assert not any(thread.is_alive() for thread in threads), f"seed {SEED}: not finished"
    equal(subscriber.got, list(range(count)), f"messages (seed {SEED})")
    assert publisher.lives > 5 and subscriber.lives > 5, "hardly anybody vanished: this proves nothing"
