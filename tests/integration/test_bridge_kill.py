"""A bridge whose own broker is killed, again and again, with messages under way in both directions.

6 kills; with --long 60. mosquitto at the other side lives on: what it has taken is there.
"""

import os
import random
import threading
import time

import bridges
import durable
import mqtt
from suite import alone, equal, long_only, tern_only


class Stubborn:
    """A publisher at QoS 2 that goes on where it was when its broker is there again."""

    def __init__(self, t, broker):
        self.t, self.broker, self.client, self.pid = t, broker, None, 0

    def connect(self):
        while self.client is None:
            client = None
            try:
                client = mqtt.Client(self.broker.port, 4)
                client.connect("stubborn", clean=False)
                self.client = client
            except (AssertionError, OSError):
                time.sleep(0.05)

    def lose(self):
        self.client.close()
        self.client = None

    def publish(self, topic, payload):
        self.pid = self.pid % 65535 + 1
        self.exchange(mqtt.PUBREC, lambda dup: mqtt.publish(topic, payload, 2, self.pid, dup, version=4))
        self.exchange(mqtt.PUBCOMP, lambda dup: mqtt.ack(mqtt.PUBREL, self.pid))

    def exchange(self, answer, packet):
        dup = False
        while True:
            try:
                self.connect()
                self.client.send(packet(dup))
                self.client.answer(answer, pid=self.pid)
                return
            except (mqtt.Closed, mqtt.Silence, OSError):
                self.lose()
                dup = True


class Flow:
    """Messages of one direction, published from a thread of its own until it is stopped."""

    def __init__(self, name, topic, publish):
        self.name, self.topic, self.publish = name, topic, publish
        self.count, self.is_stopped, self.error = 0, False, None
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        try:
            while not self.is_stopped:
                self.publish(self.topic, f"{self.name}{self.count}")
                self.count += 1
                time.sleep(0.02)
        except BaseException as error:  # told by the thread of the test
            self.error = error

    def stop(self):
        self.is_stopped = True
        self.thread.join()
        if self.error:
            raise self.error

    def judge(self, receiver):
        wanted = [f"{self.name}{i}".encode() for i in range(self.count)]
        got = [text for text in bridges.drain(receiver, set(wanted), 300) if text.startswith(self.name.encode())]
        equal(len(got), len(wanted), "messages")
        equal(got, wanted, "what came, in its order")


def kill_loop(t, kills):
    chance = random.Random(int(os.environ.get("TEST_SEED", "0")) or None)
    far = bridges.Mosquitto(t)
    block = bridges.block(far.port, "out/# out 2", "in/# in 2", more=["restart_timeout 1", "notifications false"])
    near = durable.DurableBroker(os.path.join(t.folder(), "data"), lines=block)
    t.brokers.append(near)
    away = t.client(near.port, "away", 4, clean=False)
    away.subscribe("in/#", qos=2)
    away.disconnect()
    there = t.client(far.port, "there", 4, keepalive=0)
    there.subscribe("out/#", qos=2)
    bridges.joined(t, None, near, far, "out/probe")
    there.receive("out/probe")
    other = t.client(far.port, "other", 4, keepalive=0)
    out = Flow("out", "out/x", Stubborn(t, near).publish)
    into = Flow("in", "in/x", lambda topic, payload: other.publish(topic, payload, qos=2))
    for _ in range(kills):
        time.sleep(chance.uniform(0.05, 1.6))  # the bridge comes again after at most a second
        near.crash()
        near.restart()
    time.sleep(0.5)
    out.stop()
    into.stop()
    print(f"      {kills} kills, {out.count} messages out, {into.count} in")
    out.judge(there)
    into.judge(t.client(near.port, "away", 4, clean=False))


@alone
@tern_only
def test_a_broker_that_is_killed_with_messages_under_way_loses_and_doubles_nothing(t):
    kill_loop(t, 6)


@alone
@tern_only
@long_only
def test_sixty_kills_lose_and_double_nothing(t):
    kill_loop(t, 60)
