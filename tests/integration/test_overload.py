"""Everything is bounded: who goes beyond a bound is told, others are unharmed, what is dropped is counted."""

import socket
import threading
import time

import mqtt
import suite
from suite import each, equal, eventually, short, tern_only

VERSIONS = (4, 5)
QUOTA_EXCEEDED, PACKET_TOO_LARGE, SERVER_BUSY = 0x97, 0x95, 0x89


class Neighbours:
    """Two clients that talk all the while: with Neighbours(...) a test proves that they did not notice."""

    PATIENCE_S = 20.0 if suite.SANITIZED else 3.0  # far above what a healthy broker needs
    TALKS = 6  # so many times they talk at least

    def __init__(self, t, port, may_be_refused=False):
        self.t, self.port, self.may_be_refused = t, port, may_be_refused
        self.ending, self.error = threading.Event(), None
        self.count, self.slowest_s = 0, 0.0

    def talk(self):
        mqtt.forget_clients()
        try:
            hearing = self.t.client(self.port, "neighbour1", 5)
            # Not below t.topic(), so that subscribers of the test's own do not hear them.
            topic = f"neighbours/{self.t.prefix}"
            hearing.subscribe(topic, qos=1)
            saying = self.t.client(self.port, "neighbour2", 5)
            while not self.ending.is_set():
                started = time.monotonic()
                text = b"%d" % self.count
                pid = saying.pid()
                saying.send(mqtt.publish(topic, text, 1, pid))
                reason = saying.expect(mqtt.PUBACK, pid=pid).reason
                if reason != 0:
                    assert self.may_be_refused and reason == QUOTA_EXCEEDED, f"PUBACK reason {reason:#x}"
                else:
                    message = hearing.expect(mqtt.PUBLISH, payload=text)
                    hearing.send(mqtt.ack(mqtt.PUBACK, message.pid))
                self.slowest_s = max(self.slowest_s, time.monotonic() - started)
                self.count += 1
                self.ending.wait(0.01)
        except Exception as error:  # told to the test's own thread
            self.error = f"{type(error).__name__}: {error}"
        mqtt.forget_clients()

    def __enter__(self):
        self.thread = threading.Thread(target=self.talk, daemon=True)
        self.thread.start()
        self.wait_for(1)
        return self

    def wait_for(self, count):
        eventually(lambda: self.count >= count or self.error, 30, "that the neighbours talk")

    def __exit__(self, kind, value, trace):
        try:
            if kind is None:
                self.wait_for(max(self.TALKS, self.count + 3))  # they go on for a while after it
        finally:
            self.ending.set()
        self.thread.join()
        if kind is None:
            assert self.error is None, f"the neighbours were harmed: {self.error}"
            assert self.slowest_s < self.PATIENCE_S, f"the neighbours waited {self.slowest_s:.1f} s"


def dropped(t, broker, reason):
    return t.metric(broker, "tern_dropped_total", reason=reason)


# ---- slow, silent and greedy clients ------------------------------------------------------------


@short
@each(0, 1)
def test_a_client_that_never_reads_loses_only_its_own(t, qos):
    broker = t.broker(["max_queued_messages 100"], tern_only=["max_output_bytes 1M"], metrics=True)
    deaf = t.client(broker.port, "deaf", 5)
    deaf.subscribe(t.topic("flood"), qos=qos)
    hearing = t.client(broker.port, "hearing", 5)
    hearing.subscribe(t.topic("flood"), qos=0)
    publisher = t.client(broker.port, "publisher", 5)
    payload = bytes(64 * 1024)
    with Neighbours(t, broker.port):
        for _ in range(400):  # 25 MiB: beyond the bound and what both kernels keep for the deaf one
            publisher.publish(t.topic("flood"), payload, qos=qos)
            hearing.expect(mqtt.PUBLISH, topic=t.topic("flood"))
    if broker.http_port:
        reason = "output_full" if qos == 0 else "queue_full_oldest"
        assert dropped(t, broker, reason) > 0, t.metrics(broker)
        assert t.metric(broker, "tern_output_bytes") < 4 << 20, "output is not bounded"
    # It is still a client: what fits reaches it once it reads.
    deaf.expect(mqtt.PUBLISH, topic=t.topic("flood"))


@short
def test_a_client_that_sends_one_byte_at_a_time_is_served_at_its_own_pace(t):
    broker = t.broker()
    with Neighbours(t, broker.port):
        slow = t.raw(broker.port, 5, "slow")
        conversation = mqtt.connect(t.id("slow"), version=5)
        conversation += mqtt.subscribe(1, [(t.topic(), 1)], version=5)
        conversation += mqtt.publish(t.topic(), b"slowly", 1, 2, version=5)
        for at in range(len(conversation)):
            slow.send(conversation[at : at + 1])
            time.sleep(0.005)
        slow.expect(mqtt.CONNACK, reason=0)
        slow.expect(mqtt.SUBACK, pid=1)
        kinds = {slow.recv().kind, slow.recv().kind}
        equal(kinds, {mqtt.PUBACK, mqtt.PUBLISH}, "what came")


@tern_only
@short
@each(*VERSIONS)
def test_a_client_that_connects_and_stays_silent_is_closed(t, version):
    broker = t.broker(tern_only=["connect_timeout 1"], metrics=True)
    with Neighbours(t, broker.port):
        silent = t.raw(broker.port, version, "silent")
        half = t.raw(broker.port, version, "half")
        half.send(mqtt.connect(t.id("half"), version=version)[:9])
        started = time.monotonic()
        equal(silent.expect_close(20), [], "what a silent client hears")
        half.expect_close(20)
        assert time.monotonic() - started < 15


@tern_only
def test_one_byte_at_a_time_does_not_stretch_the_time_to_connect(t):
    broker = t.broker(tern_only=["connect_timeout 1"])
    slow = t.raw(broker.port, 5, "slow")
    packet = mqtt.connect("x" * 200, version=5)
    started = time.monotonic()
    try:
        for at in range(len(packet)):
            slow.send(packet[at : at + 1])
            time.sleep(0.1)
        raise AssertionError("20 s for a CONNECT were granted")
    except OSError:
        assert time.monotonic() - started < 10


@tern_only
def test_connections_that_stay_silent_do_not_keep_others_out(t):
    """max_pending_connections is for those who have not finished their CONNECT; clients come in again
    as soon as the silent ones are thrown out."""
    broker = t.broker(tern_only=["connect_timeout 1", "max_pending_connections 20"])
    silent = [socket.create_connection(("127.0.0.1", broker.port)) for _ in range(100)]

    def is_served():
        try:
            t.client(broker.port, "guest", 5)
            return True
        except (AssertionError, OSError):
            return False

    eventually(is_served, 15, "that a guest is served")
    for sock in silent:
        sock.close()


@short
@each(*VERSIONS)
def test_subscribing_to_everything_a_thousand_times_is_one_subscription(t, version):
    broker = t.broker(metrics=True)
    publisher = t.client(broker.port, "publisher", 5)
    for number in range(50):
        publisher.publish(t.topic(f"kept/{number}"), b"x" * 100, qos=1, retain=True)
    greedy = t.client(broker.port, "greedy", version)
    with Neighbours(t, broker.port):
        for number in range(1000):  # reads nothing: 1000 SUBACKs and 50,000 retained messages wait
            greedy.send(mqtt.subscribe(1 + number, [("#", 0)], version=version))
        time.sleep(1)
    # The neighbours' messages match # too, so whatever comes is looked through for what matters.
    granted, last = 0, None
    until = time.monotonic() + 60
    while granted < 1000:
        assert time.monotonic() < until, f"{granted} of 1000 SUBSCRIBEs were answered"
        packet = greedy.recv()
        granted += packet.kind == mqtt.SUBACK
    publisher.publish(t.topic("once"), b"once")
    publisher.publish(t.topic("end"), b"end")
    ones = 0
    while last != b"end":
        packet = greedy.expect(mqtt.PUBLISH)
        last = packet.payload
        ones += packet.topic == t.topic("once")
    equal(ones, 1, "copies of one message")
    if broker.http_port:
        equal(t.metric(broker, "tern_subscriptions"), 1, "subscriptions")


# ---- bounds that are told to the client ---------------------------------------------------------


@short
@each(*VERSIONS)
def test_a_packet_that_is_too_large_is_refused_before_it_is_read(t, version):
    broker = t.broker(["max_packet_size 2000"])
    with Neighbours(t, broker.port):
        client = t.client(broker.port, "large", version)
        # Only the head of 200 MB: the answer must not wait for the rest.
        client.send(b"\x30" + mqtt.varint(200_000_000) + mqtt.text(t.topic()) + b"x" * 3000)
        if version == 5:
            equal(client.expect(mqtt.DISCONNECT).reason, PACKET_TOO_LARGE, "reason")
        equal(client.expect_close(), [], "after that")


@each(*VERSIONS)
def test_a_message_at_the_limit_of_size_passes(t, version):
    broker = t.broker(["max_packet_size 2000"])
    client = t.client(broker.port, "large", version)
    client.subscribe(t.topic(), qos=0)
    packet = mqtt.publish(t.topic(), b"x" * 1000, version=version)
    packet = mqtt.publish(t.topic(), b"x" * (1000 + 2000 - len(packet)), version=version)
    equal(len(packet), 2000, "bytes of the packet")
    client.send(packet)
    client.expect(mqtt.PUBLISH, topic=t.topic())


@tern_only
@each(*VERSIONS)
def test_a_payload_beyond_message_size_limit_is_refused_and_the_client_stays(t, version):
    broker = t.broker(["message_size_limit 1000"])
    client = t.client(broker.port, "large", version)
    client.subscribe(t.topic(), qos=0)
    client.send(mqtt.publish(t.topic(), b"x" * 1001, 1, 9, version=version))
    refused = client.expect(mqtt.PUBACK, pid=9)  # mosquitto.conf(5): the QoS flow is completed
    if version == 5:
        assert refused.reason >= 0x80, f"PUBACK {refused.reason:#x}"
    client.publish(t.topic(), b"x" * 1000)
    equal(len(client.expect(mqtt.PUBLISH).payload), 1000, "the message that fits")


@tern_only
@short
@each(*VERSIONS)
def test_beyond_max_connections_a_client_is_told(t, version):
    broker = t.broker(listeners={"mqtt": ["max_connections 3"]}, metrics=True)
    held = [t.client(broker.port, f"held{number}", version) for number in range(3)]
    refused = t.raw(broker.port, version, "refused")
    refused.send_or_closed(mqtt.connect(t.id("refused"), version=version))
    connack = refused.expect(mqtt.CONNACK)
    if version == 5:
        assert connack.reason in (SERVER_BUSY, QUOTA_EXCEEDED), f"CONNACK {connack.reason:#x}"
    else:
        equal(connack.reason, 3, "CONNACK return code")
    equal(refused.expect_close(), [], "after that")
    for client in held:
        client.send(b"\xc0\x00")
        client.expect(mqtt.PINGRESP)
    assert t.metric(broker, "tern_connect_refused_total") + t.metric(broker, "tern_connections_refused_total") >= 1
    held[0].send(mqtt.disconnect())
    held[0].expect_close()

    def has_room():
        try:
            t.client(broker.port, "next", version)
            return True
        except (AssertionError, OSError):
            return False

    eventually(has_room, what="that a place is free again")


@tern_only
@short
@each(*VERSIONS)
def test_beyond_max_subscriptions_the_filter_is_refused_and_the_others_stay(t, version):
    broker = t.broker(["max_subscriptions 10"], metrics=True)
    client = t.client(broker.port, "client", version)
    client.subscribe(*[t.topic(number) for number in range(10)], qos=1)
    refusal = QUOTA_EXCEEDED if version == 5 else 0x80
    client.subscribe(t.topic("more"), qos=1, reasons=[refusal])
    client.subscribe(t.topic(3), t.topic("more"), qos=1, reasons=[1, refusal])
    equal(t.metric(broker, "tern_subscriptions"), 10, "subscriptions")
    assert dropped(t, broker, "subscribe_refused") >= 2, t.metrics(broker)
    client.unsubscribe(t.topic(4))
    client.subscribe(t.topic("more"), qos=1)


@tern_only
@each(*VERSIONS)
def test_topics_deeper_than_max_topic_levels_are_refused(t, version):
    broker = t.broker(["max_topic_levels 5"])
    client = t.client(broker.port, "client", version)
    client.subscribe("a/b/c/d/#", qos=0)
    client.subscribe("a/b/c/d/e/#", qos=0, reasons=[QUOTA_EXCEEDED if version == 5 else 0x80])
    client.publish("a/b/c/d/e", b"deep", qos=0)
    client.expect(mqtt.PUBLISH, topic="a/b/c/d/e")
    client.send(mqtt.publish("a/b/c/d/e/f", b"too deep", 1, 5, version=version))
    if version == 5:
        packet = client.recv()
        assert packet.kind in (mqtt.PUBACK, mqtt.DISCONNECT), f"{packet}"
        assert packet.reason in (0x90, QUOTA_EXCEEDED), f"{packet}"


# ---- queues of clients that are away ------------------------------------------------------------


def away_subscriber(t, broker, topic, version):
    """A session that waits for QoS 1 messages while its client is away."""
    props = {"session_expiry": 600} if version == 5 else None
    client = t.client(broker.port, "away", version, clean=False, props=props)
    client.subscribe(topic, qos=1)
    client.send(mqtt.disconnect())
    client.expect_close()


def what_waited(t, broker, topic, version):
    """The client comes back: payloads as numbers, up to a mark that is published now."""
    props = {"session_expiry": 600} if version == 5 else None
    client = t.client(broker.port, "away", version, clean=False, props=props)
    got = []
    while True:
        try:
            message = client.expect(mqtt.PUBLISH, 1.0)
        except mqtt.Silence:
            return got
        client.send(mqtt.ack(mqtt.PUBACK, message.pid))
        got.append(int(message.payload))


@tern_only
@short
@each(4, 5)
def test_a_filter_may_have_a_policy_of_its_own(t, version):
    lines = ["max_queued_messages 10", "max_inflight_messages 5", "queue_policy drop_oldest",
             "queue_policy_for drop_newest +/+/news/#", "queue_policy_for reject #"]
    broker = t.broker(lines, metrics=True)
    topic = t.topic() + "/news/x"
    away_subscriber(t, broker, topic, version)
    publisher = t.client(broker.port, "publisher", version)
    for number in range(30):
        publisher.send(mqtt.publish(topic, b"%d" % number, 1, 1 + number, version=version))
        ack = publisher.expect(mqtt.PUBACK, 2.0, pid=1 + number)
        assert ack.reason in (0x00, 0x10), f"PUBACK {ack.reason:#x}"
    got = what_waited(t, broker, topic, version)
    equal(got, list(range(len(got))), "what was kept: the oldest, by the first filter that matches")
    assert dropped(t, broker, "queue_full") >= 15


@short
@each(*[(policy, version) for policy in ("drop_oldest", "drop_newest", "reject") for version in VERSIONS])
def test_a_full_queue_follows_its_policy_and_counts(t, which):
    policy, version = which
    lines = ["max_queued_messages 10", "max_inflight_messages 5", f"queue_policy {policy}"]
    broker = t.broker(lines, metrics=True)
    topic = t.topic()
    away_subscriber(t, broker, topic, version)
    publisher = t.client(broker.port, "publisher", version)
    accepted = []
    for number in range(30):
        pid = 1 + number
        publisher.send(mqtt.publish(topic, b"%d" % number, 1, pid, version=version))
        try:
            ack = publisher.expect(mqtt.PUBACK, 2.0, pid=pid)
        except mqtt.Silence:
            # 3.1.1 has no word for it: the acknowledgement is withheld, and that is the end of it.
            assert policy == "reject" and version == 4, "no PUBACK"
            break
        if ack.reason in (0x00, 0x10):
            accepted.append(number)
        else:
            assert policy == "reject" and ack.reason == QUOTA_EXCEEDED, f"PUBACK {ack.reason:#x}"
    got = what_waited(t, broker, topic, version)
    lost = {
        "drop_oldest": dropped(t, broker, "queue_full_oldest"),
        "drop_newest": dropped(t, broker, "queue_full"),
        "reject": dropped(t, broker, "publish_refused") + dropped(t, broker, "queue_full"),
    }[policy]
    assert 10 <= len(got) <= 15, f"a queue of 10 and a window of 5 kept {len(got)}"
    if policy == "drop_oldest":
        equal(got, list(range(30 - len(got), 30)), "what was kept")
    elif policy == "drop_newest":
        equal(got, list(range(len(got))), "what was kept")
    else:
        equal(got, accepted, "what was kept, and what was acknowledged")
    if policy != "reject":
        equal(lost + len(got), 30, "what was dropped and what was kept")
    assert lost > 0, t.metrics(broker)


@tern_only
def test_the_queue_of_a_client_that_is_away_is_bounded_in_bytes_too(t):
    broker = t.broker(["max_queued_bytes 100K", "max_queued_messages 0"], metrics=True)
    away_subscriber(t, broker, t.topic(), 5)
    publisher = t.client(broker.port, "publisher", 5)
    for _ in range(50):
        publisher.publish(t.topic(), b"7" * 10000, qos=1)
    kept = eventually(lambda: t.metric(broker, "tern_queued_bytes"), what="tern_queued_bytes above 0")
    assert 50_000 <= kept <= 110 * 1024, f"{kept} bytes are queued"
    assert dropped(t, broker, "queue_full_oldest") >= 35, t.metrics(broker)


@tern_only
def test_qos_0_is_not_queued_for_those_who_are_away_and_counted(t):
    broker = t.broker(metrics=True)
    away_subscriber(t, broker, t.topic(), 5)
    publisher = t.client(broker.port, "publisher", 5)
    for number in range(5):
        publisher.publish(t.topic(), b"%d" % number, qos=0)
    publisher.publish(t.topic(), b"99", qos=1)
    equal(what_waited(t, broker, t.topic(), 5), [99])
    equal(dropped(t, broker, "offline_qos0"), 5, "dropped")


# ---- the ceiling of memory ----------------------------------------------------------------------


@tern_only
@short
@each("retained", "queued")
def test_at_the_memory_limit_new_messages_are_refused_and_the_broker_lives(t, kind):
    # On disk a queue fills no memory.
    lines = ["persistence false", "memory_limit 64M", "max_queued_messages 0", "max_queued_bytes 0"]
    broker = t.broker(lines, metrics=True)
    if kind == "queued":
        away_subscriber(t, broker, t.topic("#"), 5)
    publisher = t.client(broker.port, "publisher", 5)
    payload = b"5" * 100_000
    reasons = []
    with Neighbours(t, broker.port, may_be_refused=True):  # as anybody is, when memory is exhausted
        for number in range(1500):  # 150 MB into 64 MiB
            publisher.send(mqtt.publish(t.topic(number), payload, 1, 1 + number, retain=kind == "retained"))
            reasons.append(publisher.expect(mqtt.PUBACK, pid=1 + number).reason)
            if len([reason for reason in reasons if reason >= 0x80]) >= 20:
                break
    refused = [reason for reason in reasons if reason >= 0x80]
    assert refused, "150 MB fitted into memory_limit 64M"
    equal(set(refused), {QUOTA_EXCEEDED}, "reasons")
    assert reasons.index(QUOTA_EXCEEDED) > 100, f"refused after {reasons.index(QUOTA_EXCEEDED)} messages already"
    assert t.metric(broker, "tern_memory_bytes") <= 80 << 20, t.metric(broker, "tern_memory_bytes")
    assert dropped(t, broker, "memory_limit") > 0 or dropped(t, broker, "publish_refused") > 0, t.metrics(broker)
    # What is freed can be used again.
    if kind == "retained":
        for number in range(100):
            publisher.publish(t.topic(number), b"", qos=1, retain=True)
        publisher.publish(t.topic("again"), payload, qos=1, retain=True)
