"""Many clients under few names do everything at once, by chance: they take each other over, leave share groups
in the middle of messages, vanish, come back with smaller windows, and wills, sessions and delays run out meanwhile.

Nothing in particular is expected, but that the broker lives, answers an onlooker, and ends clean. TEST_SEED
repeats the choices (not the order in which the kernel runs the threads).
"""

import os
import random
import threading
import time

import mqtt
from suite import each, tern_only

SEED = int(os.environ.get("TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
SECONDS = float(os.environ.get("TEST_STORM_S", "5"))
NAMES, TOPICS, GROUPS = 7, 5, 3


class Storm:
    def __init__(self, broker, number):
        self.broker, self.chance = broker, random.Random(SEED * 100 + number)
        self.ending, self.meetings = threading.Event(), 0
        self.thread = threading.Thread(target=self.live)

    def live(self):
        while not self.ending.is_set():
            try:
                self.meet()
            except (OSError, AssertionError, ValueError):
                pass  # taken over, refused, cut: all of it is fine
            mqtt.forget_clients()
            self.meetings += 1

    def topic(self):
        return f"storm/{self.chance.randrange(TOPICS)}"

    def filter(self):
        name = self.chance.choice([self.topic(), "storm/#", "storm/+", "#"])
        return f"$share/g{self.chance.randrange(GROUPS)}/{name}" if self.chance.random() < 0.5 else name

    def connect(self, version):
        will = None
        if self.chance.random() < 0.5:
            will = {"topic": self.topic(), "payload": "gone", "qos": self.chance.randrange(3), "retain": self.chance.random() < 0.3}
            if version == 5:
                will["props"] = {"will_delay": self.chance.randrange(2)}
        props = None
        if version == 5:
            props = {"session_expiry": self.chance.choice([0, 1, 1, 600]), "receive_max": self.chance.choice([1, 2, 100])}
            if self.chance.random() < 0.3:
                props["packet_max"] = 300
        name = f"s{self.chance.randrange(NAMES)}"
        return mqtt.connect(name, version=version, clean=self.chance.random() < 0.3, will=will, props=props)

    def action(self, version):
        dice = self.chance.random()
        pid = self.chance.randrange(1, 9)
        if dice < 0.45:
            payload = bytes(self.chance.choice([1, 10, 3000]))
            retain = self.chance.random() < 0.1
            return mqtt.publish(self.topic(), payload, self.chance.randrange(3), pid, retain=retain, version=version)
        if dice < 0.55:
            return mqtt.subscribe(pid, [(self.filter(), self.chance.randrange(3)) for _ in range(2)], version=version)
        if dice < 0.62:
            return mqtt.unsubscribe(pid, [self.filter() for _ in range(2)], version=version)
        return mqtt.ack(self.chance.choice([mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBREL, mqtt.PUBCOMP]), pid)

    def answer(self, client, packet):
        if packet.kind == mqtt.PUBLISH and packet.qos and self.chance.random() < 0.8:
            client.send(mqtt.ack(mqtt.PUBACK if packet.qos == 1 else mqtt.PUBREC, packet.pid))
        elif packet.kind == mqtt.PUBREC:
            client.send(mqtt.ack(mqtt.PUBREL, packet.pid))
        elif packet.kind == mqtt.PUBREL:
            client.send(mqtt.ack(mqtt.PUBCOMP, packet.pid))

    def meet(self):
        version = self.chance.choice([4, 5])
        if self.chance.random() < 0.3:
            client = mqtt.websocket_client(self.broker.ports["ws"], version)
        else:
            client = mqtt.Client(self.broker.port, version)
        client.send(self.connect(version) + b"".join(self.action(version) for _ in range(self.chance.randrange(8))))
        for _ in range(self.chance.randrange(40)):
            if self.chance.random() < 0.5:
                client.send(self.action(version))
            try:
                self.answer(client, client.recv(0.01))
            except mqtt.Silence:
                pass
        end = self.chance.random()
        if end < 0.3:
            client.send(mqtt.disconnect())
        elif end < 0.6:
            client.abort()


@tern_only
@each("drop_oldest", "drop_newest", "reject")
def test_a_storm_passes(t, policy):
    lines = ["max_queued_messages 5", "max_queued_bytes 20K", f"queue_policy {policy}", "queue_qos0_messages true"]
    broker = t.broker(lines, listeners={"mqtt": [], "ws": ["protocol websockets"]}, tern_only=["threads 4"])
    onlooker = t.client(broker.port, "onlooker", 5)
    storms = [Storm(broker, number) for number in range(8)]
    for storm in storms:
        storm.thread.start()
    try:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            onlooker.ping()
            broker.reload()  # the configuration that connections look at is exchanged under them
            time.sleep(0.05)
        assert broker.is_alive(), f"seed {SEED}: the broker died\n{broker.log()[-4000:]}"
        onlooker.disconnect()
    finally:
        for storm in storms:
            storm.ending.set()
        for storm in storms:
            storm.thread.join()
    assert sum(storm.meetings for storm in storms) > 10, "the storm was a breeze"
