"""Seeded stories: clients that break off anywhere and come back, and clients that talk nonsense.

TERN_TEST_SEEDS=N runs N seeds instead of 2; a failure names its seed.
"""

import os
import random
import time

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


def stream_story(t, seed):
    """CONNECT and all that follows in one stream, cut anywhere, while the connection finds its shard."""
    rng, v = random.Random(seed), t.version
    topic = t.topic(f"s{seed}")
    payloads = [rng.randbytes(rng.choice((0, 5, 200, 4000, 17000, 66000, 150000))) for _ in range(8)]
    stream = mqtt.connect(t.id(f"c{seed}"), version=v) + mqtt.subscribe(1, [(topic, 1)], version=v)
    stream += b"".join(mqtt.publish(topic, payload, n % 2, n + 1, version=v) for n, payload in enumerate(payloads))
    stream += mqtt.pingreq()
    c = t.raw(label=f"c{seed}")
    cuts = sorted(rng.sample(range(1, len(stream)), rng.choice((0, 1, 3, 20))))
    for begin, end in zip([0] + cuts, cuts + [len(stream)]):
        c.transport.send(stream[begin:end])
    assert c.expect(mqtt.CONNACK).reason == 0
    got, acked = {0: [], 1: []}, []
    while len(got[0]) + len(got[1]) < len(payloads) or len(acked) < len(payloads) // 2:
        p = c.recv()
        if p.kind == PUBLISH:
            got[p.qos].append(p.payload)
            if p.qos:
                c.send(ack(PUBACK, p.pid))
        elif p.kind == PUBACK:
            acked.append(p.pid)
    for qos in (0, 1):
        assert got[qos] == payloads[qos::2], f"seed {seed}, QoS {qos}"
    assert acked == [2, 4, 6, 8], acked


@versions(5, 4)
def test_streams_that_are_cut_anywhere_while_a_connection_moves(t):
    """[MQTT-4.2.0-1] [v3:MQTT-7.1.1-1]"""
    for seed in range(len(SEEDS) * 10):
        stream_story(t, seed)
        mqtt.forget_clients()


def shared_story(t, seed):
    """Members that come and go, and always come back: every message reaches one of them."""
    rng = random.Random(seed)
    topic = t.topic(f"shared{seed}")
    members = [Subscriber(t, f"{seed}m{n}") for n in range(3)]
    for m in members:
        m.connect()
        m.client.subscribe(f"$share/g/{topic}", qos=2)
    pub = t.open(f"{seed}pub")
    count = 0
    for _ in range(200):
        m, what = rng.choice(members), rng.random()
        if what < 0.3:
            pub.publish(topic, f"{count}.{1 + count % 2}", qos=1 + count % 2)
            count += 1
        elif what < 0.36:
            rng.choice((m.client.abort, m.client.close, lambda: None))()
            m.connect()
        else:
            try:
                m.hear(0)
            except Silence:
                pass
    for m in members:
        m.connect()
    quiet = 0
    while quiet < 3:
        for m in members:
            try:
                while True:
                    m.hear(0.1)
                    quiet = 0
            except Silence:
                pass
        quiet += 1
    taken = [payload for m in members for payload in m.taken]
    missing = {f"{n}.{1 + n % 2}".encode() for n in range(count)} - set(taken)
    assert not missing, f"seed {seed}: nobody has got {sorted(missing)}"
    once = [payload for payload in taken if payload.endswith(b".2")]
    assert len(once) == len(set(once)), f"seed {seed}: QoS 2 twice: {sorted(x for x in once if once.count(x) > 1)}"


def test_shared_subscriptions_lose_nothing_while_members_come_and_go(t):
    """[MQTT-4.8.2-4] QoS 1 reaches at least one member, QoS 2 exactly one."""
    for seed in SEEDS:
        shared_story(t, seed)
        mqtt.forget_clients()


def retained_story(t, seed):
    rng = random.Random(seed)
    base, model = t.topic(f"retained{seed}/"), {}
    pubs = [t.open(f"{seed}p{n}") for n in range(2)]
    for number in range(120):
        name = base + "/".join(rng.choice("abc") for _ in range(rng.randint(1, 3)))
        payload = b"" if rng.random() < 0.35 else str(number).encode()
        rng.choice(pubs).publish(name, payload, qos=rng.randint(1, 2), retain=True)
        model[name] = payload
        if number % 20 == 19:
            reader = t.open(f"{seed}r{number}")
            reader.subscribe(base + "#", qos=1)
            want = {name: payload for name, payload in model.items() if payload}
            got = {}
            while len(got) < len(want):
                p = reader.receive(retain=True)
                assert p.topic not in got, "a retained message twice"
                got[p.topic] = p.payload
            assert got == want, f"seed {seed}"
            reader.ping()
            reader.disconnect()


@versions(5, 4)
def test_retained_messages_are_always_the_last_ones(t):
    """[MQTT-3.3.1-5] [MQTT-3.3.1-6] [v3:MQTT-3.3.1-5] [v3:MQTT-3.3.1-10]"""
    for seed in SEEDS:
        retained_story(t, seed)
        mqtt.forget_clients()


def will_story(t, seed):
    """Connections that end well and badly; each bad end publishes its own will once."""
    rng = random.Random(seed)
    topic = t.topic(f"will{seed}")
    watch = t.open(f"{seed}watch")
    watch.subscribe(topic, qos=2)
    current, owed = {}, set()
    for number in range(60):
        name = f"{seed}c{rng.randrange(4)}"
        old = current.get(name)
        if old is not None:
            client, will = old
            end = rng.choice(("disconnect", "abort", "close", "half_close", "take over", "nonsense"))
            if end == "disconnect":
                client.disconnect()
            elif end == "nonsense":
                client.send(b"\xff\xff\xff\xff\xff")
                owed.add(will)
            elif end == "take over":
                owed.add(will)
            else:
                getattr(client, end)()
                owed.add(will)
        will = f"{name}.{number}".encode()
        current[name] = t.open(name, will={"topic": topic, "payload": will, "qos": rng.randrange(3)}), will
    got = []
    while len(got) < len(owed):
        got.append(watch.receive(topic).payload)
    assert set(got) == owed and len(got) == len(owed), f"seed {seed}"
    watch.expect_nothing()


@versions(5, 4)
def test_every_bad_end_publishes_its_will_once(t):
    """[MQTT-3.1.2-8] [MQTT-3.1.2-10] [v3:MQTT-3.1.2-8] [v3:MQTT-3.1.2-10]"""
    for seed in SEEDS:
        will_story(t, seed)
        mqtt.forget_clients()


def test_wills_with_every_delay_expiry_and_end(t):
    """[MQTT-3.1.2-8] [MQTT-3.1.2-10] [MQTT-3.1.3-9] [MQTT-3.14.4-3] All combinations at once."""
    topic = t.topic()
    watch = t.open("watch")
    watch.subscribe(topic, qos=1)
    due, never = {}, set()
    for delay in (0, 1, 2):
        for expiry in (0, 1, 2, 600):
            for end in ("lost", "back", "back clean", "disconnect", "with will"):
                name = f"{delay}.{expiry}.{end}"
                c = t.open(name.replace(" ", ""), props={"session_expiry": expiry}, will={
                    "topic": topic, "payload": name, "qos": 1, "props": {"will_delay": delay}})
                wait = min(delay, expiry)
                if end == "disconnect":
                    c.disconnect()
                    never.add(name)
                    continue
                if end == "with will":
                    c.disconnect(0x04)
                else:
                    c.vanish()
                if end.startswith("back"):
                    t.open(name.replace(" ", ""), clean=end == "back clean", props={"session_expiry": 600})
                if end == "back" and wait > 0:
                    never.add(name)
                else:
                    due[name] = 0 if end == "back clean" else wait
    started, got = time.monotonic(), {}
    while len(got) < len(due):
        try:
            name = watch.receive(topic).payload.decode()
        except Silence:
            raise AssertionError(f"not published: {sorted(set(due) - set(got))}") from None
        assert name not in got, f"{name} twice"
        assert name not in never, f"{name} published"
        got[name] = time.monotonic() - started
    watch.expect_nothing(0.5)
    late = {name: round(when, 1) for name, when in got.items() if when > due[name] + 2.5}
    assert not late, f"late: {late}"
