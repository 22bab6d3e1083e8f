"""What lasts, lasts: sessions, subscriptions, queues, handshakes, retained messages, wills and their clocks.

Each test kills the broker by kill -9 at one known moment, or with `stop` lets it end in peace. With
TERN_BIN=/usr/sbin/mosquitto those with `stop` pass and the others find what it loses.
"""

import itertools
import os
import time

import durable
import mqtt
import powerloss
from suite import each, equal, eventually, short, tern_only

VERSIONS = (4, 5)
ENDS = ("crash", "stop")


def start(t, lines=(), **how):
    broker = durable.DurableBroker(os.path.join(t.folder(), "data"), lines, **how)
    t.brokers.append(broker)
    return broker


def again(broker, how="crash", env=None):
    broker.crash() if how == "crash" else broker.stop_keeping()
    mqtt.forget_clients()
    broker.restart(env)


def open_session(t, broker, name, version=5, expiry=3600, present=None, **how):
    """A client with a session that outlives it, and whether that was there."""
    client = mqtt.Client(broker.port, version, label=name)
    props = {"session_expiry": expiry} if version == 5 else None
    connack = client.connect(t.id(name), clean=False, props=props, **how)
    if present is not None:
        equal(connack.session_present, present, f"session present of {name}")
    return client


def receive_all(client, count):
    return [client.receive().payload.decode() for _ in range(count)]


# ---------------------------------------------------------------------------------- what is kept


@short
@each(*itertools.product(VERSIONS, (1, 2), ENDS))
def test_a_queue_of_who_is_away_outlives_the_broker(t, which):
    version, qos, how = which
    broker = start(t)
    away = open_session(t, broker, "away", version, present=False)
    away.subscribe(t.topic(), qos=qos)
    away.vanish()
    publisher = t.client(broker.port, "publisher", version)
    for number in range(300):
        publisher.publish(t.topic(), str(number), qos=qos)
    again(broker, how)
    away = open_session(t, broker, "away", version, present=True)
    equal(receive_all(away, 300), [str(number) for number in range(300)], "what came")
    away.expect_nothing()
    away.disconnect()
    again(broker, how)
    away = open_session(t, broker, "away", version, present=True)
    if how == "stop":
        away.expect_nothing()  # what was finished is not there again
    while qos == 2 and away.transport.wait(mqtt.QUIET_S):  # nobody waits for the last PUBCOMP to be kept
        away.expect(mqtt.PUBREL)


@each(*itertools.product(VERSIONS, ENDS))
def test_subscriptions_are_as_they_were_acknowledged(t, which):
    version, how = which
    broker = start(t)
    client = open_session(t, broker, "client", version)
    client.subscribe(t.topic("one"), t.topic("two/#"), t.topic("three"), qos=1)
    client.subscribe(t.topic("one"), qos=2)
    client.unsubscribe(t.topic("three"))
    again(broker, how)
    publisher = t.client(broker.port, "publisher", version)
    for name in ("one", "two/a", "three", "two/b"):
        publisher.publish(t.topic(name), name, qos=2)
    client = open_session(t, broker, "client", version, present=True)
    got = [(p.payload.decode(), p.qos) for p in (client.receive() for _ in range(3))]
    equal(got, [("one", 2), ("two/a", 1), ("two/b", 1)], "what came")
    client.expect_nothing()


@each(*ENDS)
def test_options_of_a_subscription_outlive_the_broker(t, how):
    broker = start(t)
    client = open_session(t, broker, "client")
    client.subscribe(t.topic("own"), qos=1, no_local=True, props={"subscription_id": 7})
    client.subscribe(t.topic("kept"), qos=1, retain_as_published=True, props={"subscription_id": 268435455})
    again(broker, how)
    client = open_session(t, broker, "client", present=True)
    client.publish(t.topic("own"), b"to nobody", qos=1)
    client.publish(t.topic("kept"), b"kept", qos=1, retain=True)
    packet = client.receive(t.topic("kept"), b"kept", retain=True)
    equal(packet.props, {"subscription_id": [268435455]}, "properties")
    client.expect_nothing()


@short
@each(*itertools.product(VERSIONS, ENDS))
def test_retained_messages_are_the_last_that_were_acknowledged(t, which):
    version, how = which
    broker = start(t)
    publisher = t.client(broker.port, "publisher", version)
    for number in range(100):
        publisher.publish(t.topic(f"r/{number}"), f"old {number}", qos=1, retain=True)
    for number in range(0, 100, 3):
        publisher.publish(t.topic(f"r/{number}"), f"new {number}", qos=2, retain=True)
    for number in range(0, 100, 10):
        publisher.publish(t.topic(f"r/{number}"), b"", qos=1, retain=True)
    wanted = {f"{'new' if number % 3 == 0 else 'old'} {number}" for number in range(100) if number % 10}
    for _ in range(2):
        again(broker, how)
        scan = t.client(broker.port, "scan", version)
        scan.subscribe(t.topic("r/#"), qos=1)
        got = {scan.receive(retain=True).payload.decode() for _ in wanted}
        equal(got, wanted, "retained messages")
        scan.expect_nothing()


def test_a_message_comes_back_with_all_its_properties(t):
    broker = start(t)
    props = {"payload_format": 1, "content_type": "text/plain", "response_topic": "answer", "correlation_data": b"\0c",
             "user_property": [("a", "1"), ("a", "2"), ("", "")]}
    away = open_session(t, broker, "away")
    away.subscribe(t.topic(), qos=1)
    away.vanish()
    publisher = t.client(broker.port, "publisher")
    publisher.publish(t.topic(), b"text", qos=1, retain=True, props=props)
    again(broker)
    away = open_session(t, broker, "away", present=True)
    equal(away.receive(t.topic(), b"text", retain=False).props, props, "properties of the queued one")
    scan = t.client(broker.port, "scan")
    scan.subscribe(t.topic(), qos=1)
    equal(scan.receive(t.topic(), b"text", retain=True).props, props, "properties of the retained one")


@each(*VERSIONS)
def test_a_clean_start_that_was_acknowledged_has_ended_the_old_session(t, version):
    broker = start(t)
    client = open_session(t, broker, "client", version)
    client.subscribe(t.topic(), qos=1)
    client.vanish()
    publisher = t.client(broker.port, "publisher", version)
    publisher.publish(t.topic(), b"old", qos=1)
    clean = mqtt.Client(broker.port, version)
    equal(clean.connect(t.id("client"), clean=True).session_present, False, "session present")
    again(broker)
    client = open_session(t, broker, "client", version, present=False)
    publisher = t.client(broker.port, "publisher", version)
    publisher.publish(t.topic(), b"new", qos=1)
    client.expect_nothing()


@each(*VERSIONS)
def test_a_session_that_ends_with_its_connection_is_not_there_after_a_crash(t, version):
    broker = start(t)
    client = mqtt.Client(broker.port, version)
    client.connect(t.id("client"), clean=True)
    client.subscribe(t.topic(), qos=1)
    again(broker)
    client = mqtt.Client(broker.port, version)
    how = {"props": {"session_expiry": 60}} if version == 5 else {}
    equal(client.connect(t.id("client"), clean=False, **how).session_present, False, "session present")


@tern_only
@each("fsync", "quorum", "relaxed")
def test_every_durability_outlives_an_end_in_peace(t, durability):
    broker = start(t, durability=durability)
    away = open_session(t, broker, "away")
    away.subscribe(t.topic(), qos=1)
    away.vanish()
    t.client(broker.port, "publisher").publish(t.topic(), b"kept", qos=1, retain=True)
    again(broker, "stop")
    away = open_session(t, broker, "away", present=True)
    away.receive(t.topic(), b"kept")


# ---------------------------------------------------------------------------------- handshakes


@short
@each(*itertools.product(VERSIONS, ("publish", "pubrec", "pubrec_again", "pubrel", "pubcomp")))
def test_a_publisher_whose_broker_dies_after_a_step_neither_loses_nor_doubles(t, which):
    version, step = which
    broker = start(t)
    away = open_session(t, broker, "away", version)
    away.subscribe(t.topic(), qos=2)
    away.vanish()
    publisher = open_session(t, broker, "publisher", version)
    publisher.send(mqtt.publish(t.topic(), b"once", 2, 7, version=version))
    if step != "publish":
        publisher.expect(mqtt.PUBREC, pid=7)
    if step in ("pubrel", "pubcomp"):
        publisher.send(mqtt.ack(mqtt.PUBREL, 7))
    if step == "pubcomp":
        publisher.expect(mqtt.PUBCOMP, pid=7)
    again(broker)
    publisher = open_session(t, broker, "publisher", version, present=True)
    wanted = ["once", "end"]
    if step in ("publish", "pubrec_again"):
        publisher.send(mqtt.publish(t.topic(), b"once", 2, 7, True, version=version))
        publisher.expect(mqtt.PUBREC, pid=7)
    if step == "pubcomp":  # that exchange is over: the same id is a new message
        publisher.send(mqtt.publish(t.topic(), b"new", 2, 7, version=version))
        publisher.expect(mqtt.PUBREC, pid=7)
        wanted = ["once", "new", "end"]
    publisher.send(mqtt.ack(mqtt.PUBREL, 7))
    comp = publisher.expect(mqtt.PUBCOMP, pid=7)
    assert comp.reason in (0x00, 0x92), f"PUBCOMP reason {comp.reason:#x}"
    publisher.publish(t.topic(), b"end", qos=2)
    away = open_session(t, broker, "away", version, present=True)
    equal(receive_all(away, len(wanted)), wanted, "what came")
    away.expect_nothing()


@short
@each(*itertools.product(VERSIONS, ("publish", "pubrec", "pubrel", "pubcomp")))
def test_a_subscriber_whose_broker_dies_after_a_step_gets_it_once_and_under_the_same_id(t, which):
    version, step = which
    broker = start(t)
    subscriber = open_session(t, broker, "subscriber", version)
    subscriber.subscribe(t.topic(), qos=2)
    publisher = t.client(broker.port, "publisher", version)
    publisher.publish(t.topic(), b"first", qos=2)  # so that the id is not the first of all
    subscriber.receive(t.topic(), b"first")
    publisher.publish(t.topic(), b"once", qos=2)
    first = subscriber.expect(mqtt.PUBLISH, payload=b"once", dup=False)
    if step != "publish":
        subscriber.send(mqtt.ack(mqtt.PUBREC, first.pid))
        subscriber.expect(mqtt.PUBREL, pid=first.pid)
    if step in ("pubrel", "pubcomp"):
        subscriber.send(mqtt.ack(mqtt.PUBCOMP, first.pid))
    if step == "pubcomp":
        subscriber.ping()
    again(broker)
    subscriber = open_session(t, broker, "subscriber", version, present=True)
    t.client(broker.port, "publisher", version).publish(t.topic(), b"end", qos=2)
    got = []
    while not got or got[-1] != b"end":
        packet = subscriber.recv()
        if packet.kind == mqtt.PUBLISH and packet.pid == first.pid:
            equal(step, "publish", "the step after which PUBLISH comes again")
            assert packet.dup, "a repeated PUBLISH carries DUP"
            equal(packet.payload, b"once")
            subscriber.send(mqtt.ack(mqtt.PUBREC, packet.pid))
        elif packet.kind == mqtt.PUBLISH:
            got.append(packet.payload)
            subscriber.send(mqtt.ack(mqtt.PUBREC, packet.pid))
        else:
            equal(packet.kind, mqtt.PUBREL, "kind of packet")
            subscriber.send(mqtt.ack(mqtt.PUBCOMP, packet.pid))
    equal(got, [b"end"], "new messages")


@each(*VERSIONS)
def test_what_was_under_way_is_sent_again_with_the_same_ids_in_the_same_order(t, version):
    broker = start(t)
    subscriber = open_session(t, broker, "subscriber", version)
    subscriber.subscribe(t.topic("1"), t.topic("2"), qos=2)
    publisher = t.client(broker.port, "publisher", version)
    for number in range(12):
        publisher.publish(t.topic("2" if number % 3 else "1"), str(number), qos=2 if number % 3 else 1)
    before = [subscriber.expect(mqtt.PUBLISH, dup=False) for _ in range(12)]
    for _ in range(3):
        again(broker)
        subscriber = open_session(t, broker, "subscriber", version, present=True)
        after = [subscriber.expect(mqtt.PUBLISH, dup=True) for _ in range(12)]
        told = [[(p.payload, p.qos, p.pid) for p in packets] for packets in (before, after)]
        equal(told[1], told[0], "payload, QoS and packet id")


# ---------------------------------------------------------------------------------- wills

WILL = dict(payload="the will", qos=1)


def will(t, delay=None, retain=False):
    props = {} if delay is None else {"will_delay": delay}
    return dict(WILL, topic=t.topic("will"), retain=retain, props=props)


def watcher(t, broker, present=None):
    client = open_session(t, broker, "watcher", present=present)
    if not present:
        client.subscribe(t.topic("will"), qos=2)
    return client


@tern_only
@each("vanished", "killed", "took the session over")
def test_a_will_whose_delay_was_running_is_published_once_after_the_restart(t, how):
    broker = start(t)
    watcher(t, broker).vanish()
    client = open_session(t, broker, "client", will=will(t, delay=2))
    if how == "vanished":
        client.vanish()
    elif how == "took the session over":
        open_session(t, broker, "client", present=True, will=will(t, delay=2)).vanish()
    again(broker)
    watching = watcher(t, broker, present=True)
    watching.receive(t.topic("will"), b"the will", timeout=20)
    watching.expect_nothing(1.0)
    again(broker)
    watching = watcher(t, broker, present=True)
    if not watching.transport.wait(3.0):
        return
    assert watching.expect(mqtt.PUBLISH).dup, "the will was published once more"


@tern_only
def test_a_will_is_not_published_when_its_client_comes_back_in_time_after_the_restart(t):
    broker = start(t)
    watcher(t, broker).vanish()
    open_session(t, broker, "client", will=will(t, delay=3)).vanish()
    again(broker)
    open_session(t, broker, "client", present=True)
    watching = watcher(t, broker, present=True)
    watching.expect_nothing(4.5)


@tern_only
@each(*ENDS)
def test_a_will_that_was_published_waits_for_who_is_away(t, how):
    broker = start(t)
    watcher(t, broker).vanish()
    client = open_session(t, broker, "client", will=will(t, retain=True))
    client.vanish()
    scan = t.client(broker.port, "scan")

    def is_retained():
        scan.subscribe(t.topic("will"), qos=0)
        try:
            return scan.recv(0.2)
        except mqtt.Silence:
            return None

    eventually(is_retained, what="the will")
    again(broker, how)
    watching = watcher(t, broker, present=True)
    watching.receive(t.topic("will"), b"the will")
    watching.expect_nothing(0.5)


@tern_only
def test_a_will_that_was_discarded_stays_discarded(t):
    broker = start(t)
    watcher(t, broker).vanish()
    open_session(t, broker, "client", will=will(t, delay=1)).disconnect()  # the broker's close is the answer
    again(broker)
    watcher(t, broker, present=True).expect_nothing(2.0)


@tern_only
def test_what_a_client_says_in_one_breath_is_heard_though_it_goes_before_its_session_is_there(t):
    broker = start(t)
    watching = watcher(t, broker)
    watching.subscribe(t.topic("said"), qos=0)
    for number in range(30):
        client = mqtt.Client(broker.port, 5)
        client.send(mqtt.connect(t.id(f"hasty{number}"), 5, False, will=will(t), props={"session_expiry": 3600}) +
                    mqtt.publish(t.topic("said"), str(number), version=5) + mqtt.disconnect())
        client.close()
    got = sorted(int(text) for text in receive_all(watching, 30))
    equal(got, list(range(30)), "what came")
    watching.expect_nothing(0.5)  # no will: they said goodbye


@tern_only
def test_a_will_of_a_session_without_an_afterlife_is_published_after_a_crash(t):
    broker = start(t)
    watcher(t, broker).vanish()
    client = mqtt.Client(broker.port, 5)
    client.connect(t.id("client"), clean=True, will=will(t))
    again(broker)
    watching = watcher(t, broker, present=True)
    watching.receive(t.topic("will"), b"the will")
    watching.expect_nothing(0.5)


# ---------------------------------------------------------------------------------- clocks


def clock(shift_s):
    """The environment of a broker whose wall clock is wrong by so much."""
    return dict(powerloss.preload({}, powerloss.library("clockshift.so")), CLOCK_SHIFT_S=str(shift_s))


@tern_only
@each("as it was", "a day back")
def test_sessions_go_on_expiring_over_a_restart(t, jump):
    shift = 0 if jump == "as it was" else -86400
    broker = start(t, env=clock(0))
    open_session(t, broker, "short", expiry=2).vanish()
    open_session(t, broker, "long", expiry=600).vanish()
    again(broker, env=clock(shift))
    time.sleep(3.5)
    open_session(t, broker, "short", present=False)
    open_session(t, broker, "long", present=True)


@tern_only
def test_a_session_has_expired_while_the_broker_was_away(t):
    broker = start(t, env=clock(0))
    open_session(t, broker, "short", expiry=600).vanish()
    open_session(t, broker, "online", expiry=600)
    open_session(t, broker, "long", expiry=7200).vanish()
    open_session(t, broker, "forever", expiry=0xFFFFFFFF).vanish()
    again(broker, env=clock(3600))
    open_session(t, broker, "long", present=True)
    open_session(t, broker, "forever", present=True)

    def is_gone():
        client = mqtt.Client(broker.port, 5)
        return not client.connect(t.id("short"), clean=False, props={"session_expiry": 600}).session_present

    assert is_gone(), "it should have expired an hour ago"


@tern_only
@each(0, 3600, -86400)
def test_messages_go_on_expiring_over_a_restart(t, shift):
    broker = start(t, env=clock(0))
    away = open_session(t, broker, "away", expiry=0xFFFFFFFF)
    away.subscribe(t.topic(), qos=1)
    away.vanish()
    publisher = t.client(broker.port, "publisher")
    publisher.publish(t.topic(), b"short", qos=1, props={"message_expiry": 3})
    publisher.publish(t.topic(), b"long", qos=1, props={"message_expiry": 7200}, retain=True)
    publisher.publish(t.topic(), b"forever", qos=1)
    again(broker, env=clock(shift))
    time.sleep(4)
    away = open_session(t, broker, "away", expiry=0xFFFFFFFF, present=True)
    left = away.receive(t.topic(), b"long").props["message_expiry"]
    most = 7200 - max(shift, 0)
    assert most - 600 <= left <= most, f"{left} s are left of it, about {most} expected"
    away.receive(t.topic(), b"forever")
    away.expect_nothing()


# ---------------------------------------------------------------------------------- what is not kept


@tern_only
def test_what_need_not_last_costs_not_one_write(t):
    disk = powerloss.Disk(os.path.join(t.folder(), "data"), t.folder())
    broker = start(t, disk=disk)
    open_session(t, broker, "durable").subscribe(t.topic("durable"), qos=1)
    before = None

    def is_at_rest():
        nonlocal before
        last, before = before, disk.told()["write_count"]
        time.sleep(0.2)
        return last == before

    eventually(is_at_rest, 30, "rest after the start")
    for number in range(20):
        listener = mqtt.Client(broker.port, 4 if number % 2 else 5)
        listener.connect(t.id(f"listener{number}"), clean=True)
        listener.subscribe(t.topic("passing"), qos=2)
        for qos in (0, 1, 2):
            listener.publish(t.topic("passing"), b"x", qos=qos)
            listener.receive(t.topic("passing"))
        listener.disconnect() if number % 3 else listener.vanish()
    publisher = t.client(broker.port, "publisher")
    publisher.publish(t.topic("durable"), b"at most once", qos=0)
    publisher.ping()
    equal(disk.told()["write_count"], before, "writes")
