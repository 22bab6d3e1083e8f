"""Seeded stories: clients that break off anywhere and come back, and clients that talk nonsense.

TERN_TEST_SEEDS=N runs N seeds instead of 2; a failure names its seed.
"""

import os
import random

from harness import mqtt, versions
from mqtt import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, Closed, Silence, ack

SEEDS = range(int(os.environ.get("TERN_TEST_SEEDS", "2")))


class Publisher:
    """Sends numbered messages; what is not acknowledged is resent as the specification says."""

    def __init__(self, t, name, rng):
        self.t, self.name, self.rng, self.client = t, name, rng, None
        self.open = {}      # pid -> [qos, payload, released]
        self.number = 0
        self.pid = 0

    def connect(self):
        self.client = self.t.durable(self.name)
        for pid, (qos, payload, released) in list(self.open.items()):  # in their order
            if released:
                self.client.send(ack(PUBREL, pid))
            else:
                self.client.send(mqtt.publish(self.t.topic(), payload, qos, pid, True, version=self.t.version))

    def publish(self):
        qos = self.rng.choice((1, 2))
        self.pid = self.pid % 65535 + 1
        payload = f"{self.name}.{qos}.{self.number}".encode()
        self.number += 1
        self.open[self.pid] = [qos, payload, False]
        self.client.send(mqtt.publish(self.t.topic(), payload, qos, self.pid, version=self.t.version))

    def hear(self, timeout):
        p = self.client.recv(timeout)
        if p.kind in (PUBACK, PUBCOMP):
            self.open.pop(p.pid, None)
        elif p.kind == PUBREC:
            assert p.reason < 0x80
            self.open[p.pid][2] = True
            self.client.send(ack(PUBREL, p.pid))


class Subscriber:
    """Notes what it takes. QoS 2 counts once per identifier until PUBREL, as the specification says."""

    def __init__(self, t, name):
        self.t, self.name, self.client = t, name, None
        self.taken, self.held = [], set()

    def connect(self):
        self.client = self.t.durable(self.name)

    def hear(self, timeout, acknowledge=True):
        p = self.client.recv(timeout)
        if p.kind == PUBLISH:
            if not acknowledge:
                return
            if p.qos == 1:
                self.taken.append(p.payload)
                self.client.send(ack(PUBACK, p.pid))
            else:
                if p.pid not in self.held:
                    self.held.add(p.pid)
                    self.taken.append(p.payload)
                self.client.send(ack(PUBREC, p.pid))
        elif p.kind == PUBREL:
            self.held.discard(p.pid)
            self.client.send(ack(PUBCOMP, p.pid))


def story(t, seed):
    rng = random.Random(seed)
    publishers = [Publisher(t, f"{seed}p{n}", rng) for n in range(3)]
    subscribers = [Subscriber(t, f"{seed}s{n}") for n in range(3)]
    for s in subscribers:
        s.connect()
        s.client.subscribe(t.topic(), qos=2)
    for p in publishers:
        p.connect()
    for _ in range(250):
        who = rng.choice(publishers + subscribers)
        what = rng.random()
        if what < 0.06:
            rng.choice((who.client.abort, who.client.close, who.client.half_close, lambda: None))()
            who.connect()  # or a take-over
        elif isinstance(who, Publisher) and what < 0.6:
            who.publish()
        else:
            try:
                # a message that is read and not acknowledged comes again on the next connection only
                if isinstance(who, Subscriber) and rng.random() < 0.03:
                    who.hear(0, acknowledge=False)
                    who.client.abort()
                    who.connect()
                else:
                    who.hear(0)
            except Silence:
                pass
    while any(p.open for p in publishers):
        for p in publishers:
            while p.open:
                p.hear(mqtt.WAIT_S)
    for s in subscribers:
        s.connect()
        try:
            while True:
                s.hear(0.5)
        except Silence:
            pass
    for s in subscribers:
        for p in publishers:
            for qos in (1, 2):
                head = f"{p.name}.{qos}.".encode()
                got = [int(x.split(b".")[2]) for x in s.taken if x.startswith(head)]
                firsts = list(dict.fromkeys(got))
                where = f"seed {seed}, {p.name} to {s.name}, QoS {qos}: {got}"
                assert firsts == sorted(firsts), f"out of order, {where}"
                assert qos == 1 or len(firsts) == len(got), f"twice, {where}"
        whole = {x for x in s.taken}
        want = {f"{p.name}.{q}.{n}".encode() for p in publishers for n in range(p.number) for q in (1, 2)}
        missing = {x.split(b".")[0] + x.split(b".")[2] for x in want} - \
                  {x.split(b".")[0] + x.split(b".")[2] for x in whole}
        assert not missing, f"seed {seed}, {s.name} has not got {sorted(missing)}"


@versions(5, 4)
def test_nothing_is_lost_doubled_or_disordered_by_broken_connections(t):
    """[MQTT-4.3.3-10] [MQTT-4.4.0-1] [MQTT-4.6.0-5] [v3:MQTT-4.4.0-1] [v3:MQTT-4.6.0-6] QoS 1 at least
    once, QoS 2 exactly once, each in the order of its publisher."""
    for seed in SEEDS:
        story(t, seed)
        mqtt.forget_clients()


def random_packet(t, rng, v):
    topics = [t.topic(), t.topic("a/b"), t.topic("#"), t.topic("+/b"), "$share/g/" + t.topic("#"), "", "$SYS/x"]
    topic, pid = rng.choice(topics), rng.choice((0, 1, 1, 2, 3, 65535))
    props = {}
    if v == 5:
        for name, values in (("message_expiry", (0, 1, 100)), ("topic_alias", (0, 1, 2, 10, 11, 65535)),
                             ("subscription_id", (0, 1, 268435455)), ("user_property", (("a", "b"), ("", ""))),
                             ("response_topic", ("x", "#")), ("payload_format", (0, 1, 2)),
                             ("session_expiry", (0, 1, 0xFFFFFFFF)), ("reason_string", ("because",)),
                             ("auth_method", ("TERN-TEST", "X")), ("receive_max", (0, 1))):
            if rng.random() < 0.06:
                props[name] = rng.choice(values)
    kind = rng.randrange(12)
    if kind < 4:
        qos = rng.choice((0, 1, 2))
        return mqtt.publish(topic, rng.randbytes(rng.choice((0, 3, 300))), qos, pid, rng.random() < 0.2,
                            rng.random() < 0.3, props, v)
    if kind < 6:
        pairs = [(rng.choice(topics), rng.choice((0, 1, 2, 3, 4, 8, 16, 32, 0x2E, 0xC0)))
                 for _ in range(rng.choice((0, 1, 1, 2, 5)))]
        return mqtt.subscribe(pid, pairs, props, v)
    if kind == 6:
        return mqtt.unsubscribe(pid, [rng.choice(topics) for _ in range(rng.choice((0, 1, 2)))], props, v)
    if kind < 9:
        return ack(rng.choice((PUBACK, PUBREC, PUBREL, PUBCOMP)), pid,
                   *([rng.choice((0, 0x10, 0x80, 0x92, 1))] if v == 5 and rng.random() < 0.3 else []))
    if kind == 9:
        return rng.choice((mqtt.pingreq(), mqtt.connect("x", version=v), mqtt.auth(rng.choice((0, 0x18, 0x19)), "X")))
    if kind == 10:
        return mqtt.disconnect(*([rng.choice((0, 4, 0x80))] if v == 5 else []))
    return rng.randbytes(rng.randint(1, 30))


@versions(5, 4)
def test_nonsense_ends_connections_and_nothing_else(t):
    """[MQTT-4.13.1-1] [v3:MQTT-4.8.0-1] Packets that are right one by one, in an order that is not, some
    with a byte changed. Whatever comes back is well formed, and everybody else is served."""
    witness = t.open("witness")
    witness.subscribe(t.topic("witness"), qos=1)
    for seed in range(len(SEEDS) * 20):
        rng = random.Random(seed)
        c = t.durable(f"n{seed % 5}", clean=rng.random() < 0.3, **(
            {"will": {"topic": t.topic("a/b"), "payload": b"w", "qos": rng.randrange(3)}} if seed % 3 else {}))
        for _ in range(rng.randint(1, 40)):
            data = bytearray(random_packet(t, rng, t.version))
            if rng.random() < 0.1:
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            c.send_or_closed(bytes(data))
            try:
                while c.transport.wait(0):
                    c.recv(0)
            except (Closed, Silence):
                if c.eof:
                    break
        try:
            while c.transport.wait(0.002):
                c.recv(0.002)
        except (Closed, Silence):
            pass
        c.close()
        if seed % 10 == 0:
            witness.publish(t.topic("witness"), str(seed), qos=1)
            witness.receive(t.topic("witness"), str(seed))
