"""A publisher is slowed to the pace of receivers that keep up: nothing is dropped that could have waited."""

import socket
import threading

import mqtt
import suite
from suite import each, equal, short

COUNT, PIECE = 12000, 3000  # far more than a window of 20 and a queue of 1000
PATIENCE_S = 240 if suite.SANITIZED else 60


def burst(topic, first, count):
    """Many PUBLISH packets in one piece: a client that waits for no acknowledgement."""
    numbers = range(first, first + count)
    return b"".join(mqtt.publish(topic, b"%d" % number, 1, 1 + number, version=4) for number in numbers)


class Reader:
    """Reads and acknowledges as fast as it can, in a thread of its own."""

    def __init__(self, client, count, kind=mqtt.PUBLISH):
        self.client, self.count, self.kind = client, count, kind  # until it has seen so many of them
        self.numbers, self.error = [], None
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        try:
            while len(self.numbers) < self.count:
                packet = self.client.recv(timeout=PATIENCE_S)
                if packet.kind == mqtt.PUBLISH:
                    self.client.send(mqtt.ack(mqtt.PUBACK, packet.pid))
                if packet.kind == self.kind:
                    self.numbers.append(int(packet.payload) if self.kind == mqtt.PUBLISH else packet.pid)
        except Exception as error:  # told to the test's own thread
            self.error = error

    def wait(self):
        self.thread.join(2 * PATIENCE_S)
        assert self.error is None, f"after {len(self.numbers)} messages: {self.error}"


def listening(t, threads):
    """(broker, reader's connection): MQTT at ports["mqtt"], WebSocket at ports["ws"]."""
    listeners = {"mqtt": [], "ws": ["protocol websockets"]}
    # A machine that is busy with other tests may let a reader sleep for long: it is no slow one.
    tern_only = [f"threads {threads}", "publish_hold_ms 30000"]
    broker = t.broker(listeners=listeners, tern_only=tern_only, metrics=True)
    hearing = t.client(broker.ports["mqtt"], "hearing", 4)
    hearing.subscribe(t.topic(), qos=1)
    return broker, hearing


def nothing_was_dropped(t, broker):
    if broker.http_port:
        equal(t.metric(broker, "tern_dropped_total", reason="queue_full_oldest"), 0)
        assert t.metric(broker, "tern_publishers_held_total") > 0, "the burst was too small to prove anything"


@short
@each(("mqtt", 1), ("mqtt", 4), ("ws", 1), ("ws", 4))
def test_a_burst_waits_for_a_receiver_that_keeps_up(t, case):
    transport, threads = case
    broker, hearing = listening(t, threads)
    reader = Reader(hearing, COUNT)
    saying = mqtt.Client(broker.ports["mqtt"], 4) if transport == "mqtt" else mqtt.websocket_client(broker.ports["ws"], 4)
    saying.connect(t.id("saying"))
    for first in range(0, COUNT, PIECE):
        saying.send(burst(t.topic(), first, PIECE))
        for _ in range(PIECE):
            saying.expect(mqtt.PUBACK, timeout=PATIENCE_S)
    reader.wait()
    equal(reader.numbers, list(range(COUNT)))
    nothing_was_dropped(t, broker)


@short
@each(1, 4)
def test_what_a_client_sent_before_it_left_is_not_forgotten_while_it_waits(t, threads):
    broker, hearing = listening(t, threads)
    reader = Reader(hearing, COUNT)
    saying = t.client(broker.ports["mqtt"], "saying", 4)
    saying.send(burst(t.topic(), 0, COUNT) + mqtt.disconnect())
    saying.transport.sock.shutdown(socket.SHUT_WR)  # closing at once would be a reset: PUBACKs are on their way
    reader.wait()
    equal(reader.numbers, list(range(COUNT)))
    nothing_was_dropped(t, broker)


@short
@each(1, 4)
def test_two_who_publish_to_each_other_do_not_wait_for_ever(t, threads):
    broker = t.broker(listeners={"mqtt": []}, tern_only=[f"threads {threads}"])
    one = t.client(broker.ports["mqtt"], "one", 4)
    one.subscribe(t.topic(), qos=1)
    other = t.client(broker.ports["mqtt"], "other", 4)
    other.subscribe(t.topic("back"), qos=1)
    readers = [Reader(one, COUNT, mqtt.PUBACK), Reader(other, COUNT, mqtt.PUBACK)]
    for first in range(0, COUNT, PIECE):
        one.send(burst(t.topic("back"), first, PIECE))
        other.send(burst(t.topic(), first, PIECE))
    for reader in readers:
        reader.wait()


@short
@each(1, 4)
def test_a_goodbye_counts_although_it_was_read_late(t, threads):
    """The old connection is held when the client comes back: its DISCONNECT is heard, so no will is due."""
    broker, hearing = listening(t, threads)
    heir = t.client(broker.ports["mqtt"], "heir", 4)
    heir.subscribe(t.topic("will"), qos=1)
    reader = Reader(hearing, 1000)
    saying = t.client(broker.ports["mqtt"], "saying", 4, will={"topic": t.topic("will"), "payload": b"gone"})
    saying.send(burst(t.topic(), 0, PIECE) + mqtt.disconnect())  # few enough to arrive in one piece
    again = t.client(broker.ports["mqtt"], "saying", 4)
    reader.wait()
    again.publish(t.topic("will"), b"not gone", qos=1)
    equal(heir.expect(mqtt.PUBLISH, timeout=PATIENCE_S).payload, b"not gone")
