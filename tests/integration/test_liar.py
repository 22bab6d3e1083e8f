"""The liar (tests/lib/liar.py) is a correct server as long as it is told nothing else, and spoils
what it is told to and nothing more."""

import liar_faults
import mqtt
import paho.mqtt.client as paho
from liar import Liar, matches
from suite import each, equal, eventually

VERSIONS = (3, 4, 5)


@each(
    ("a/b", "a/b", True), ("a/b", "a/c", False), ("a/b", "a", False), ("a", "a/b", False), ("a/+", "a/b", True),
    ("a/+", "a", False), ("a/+", "a/", True), ("a/+", "a/b/c", False), ("a/#", "a", True), ("a/#", "a/b/c", True),
    ("#", "a", True), ("#", "$SYS/a", False), ("+/a", "$SYS/a", False), ("$SYS/#", "$SYS/a", True), ("+", "/a", False),
    ("/+", "/a", True), ("+/+", "/a", True),
)
def test_a_filter_matches_as_the_specification_says(t, case):
    name, topic, wanted = case
    equal(matches(name, topic), wanted)


@each(*VERSIONS)
def test_each_quality_of_service_arrives_once_and_in_order(t, version):
    with Liar() as liar:
        subscriber, publisher = t.client(liar.port, "s", version), t.client(liar.port, "p", version)
        subscriber.subscribe("a/+", qos=2)
        for number in range(30):
            publisher.publish(f"a/{number}", str(number), qos=number % 3)
        for number in range(30):
            subscriber.receive(f"a/{number}", str(number), qos=number % 3, dup=False, retain=False)
        subscriber.expect_nothing()
        equal((liar.received, liar.counts["Deliver"], liar.spoiled), (30, 30, 0))


def test_a_client_over_websocket_is_served_as_well(t):
    with Liar() as liar:
        client = mqtt.websocket_client(liar.port)
        client.connect("w")
        client.subscribe("a", qos=2)
        for size in (0, 100, 200, 70000):
            client.send(mqtt.publish("a", b"x" * size, 1, 7))
            client.receive("a", b"x" * size, qos=1)
            client.expect(mqtt.PUBACK, pid=7)


def test_no_more_is_under_way_than_the_client_takes(t):
    with Liar() as liar:
        subscriber, publisher = t.client(liar.port, "s", props={"receive_max": 2}), t.client(liar.port, "p")
        subscriber.subscribe("a", qos=1)
        for number in range(5):
            publisher.publish("a", str(number), qos=1)
        first = [subscriber.expect_publish("a", str(number)) for number in range(2)]
        subscriber.expect_nothing()
        subscriber.send(mqtt.ack(mqtt.PUBACK, first[0].pid))
        subscriber.expect_publish("a", "2")
        subscriber.expect_nothing()


def test_a_persistent_session_keeps_what_came_and_what_was_under_way(t):
    with Liar() as liar:
        publisher = t.client(liar.port, "p")
        away = t.client(liar.port, "s", clean=False, props={"session_expiry": 100})
        away.subscribe("a", qos=2)
        publisher.publish("a", "0", qos=1)
        publisher.publish("a", "1", qos=2)
        under_way = [away.expect_publish("a", str(number)) for number in range(2)]
        away.send(mqtt.ack(mqtt.PUBREC, under_way[1].pid))
        away.expect(mqtt.PUBREL)
        away.abort()
        eventually(lambda: liar.sessions[t.id("s")].connection is None)
        publisher.publish("a", "2", qos=1)
        back = mqtt.Client(liar.port, 5)
        equal(back.connect(t.id("s"), clean=False).session_present, True)
        back.expect_publish("a", "0", dup=True, pid=under_way[0].pid)
        back.expect(mqtt.PUBREL, pid=under_way[1].pid)
        back.expect_publish("a", "2", dup=False)
        fresh = t.raw(liar.port)
        equal(fresh.connect(t.id("s")).session_present, False)
        back.expect_close()
        fresh.expect_nothing()


def test_retained_messages_and_wills_are_kept(t):
    with Liar() as liar:
        publisher = t.client(liar.port, "p", will={"topic": "w", "payload": "gone", "qos": 1})
        publisher.publish("a", "kept", qos=1, retain=True)
        publisher.publish("b", "dropped", qos=1, retain=True)
        publisher.publish("b", "", qos=1, retain=True)
        subscriber = t.client(liar.port, "s")
        subscriber.subscribe("#", qos=1)
        subscriber.receive("a", "kept", retain=True)
        publisher.abort()
        subscriber.receive("w", "gone", retain=False)
        subscriber.expect_nothing()


def test_a_shared_group_takes_turns_and_each_message_goes_to_one(t):
    with Liar() as liar:
        members = [t.client(liar.port, f"m{index}") for index in range(3)]
        for member in members:
            member.subscribe("$share/g/a/#", qos=1)
        publisher = t.client(liar.port, "p")
        for number in range(6):
            publisher.publish("a/b", str(number), qos=1)
        got = sorted(member.receive().payload for member in members for _ in range(2))
        equal(got, [b"%d" % number for number in range(6)])
        for member in members:
            member.expect_nothing(0.05)


def test_paho_is_content_with_it(t):
    with Liar() as liar:
        got = []
        client = paho.Client("paho", protocol=paho.MQTTv5)
        client.on_message = lambda _client, _data, message: got.append((message.topic, message.payload, message.qos))
        client.connect("127.0.0.1", liar.port)
        client.loop_start()
        client.subscribe("a/#", 2)
        wanted = [(f"a/{number}", b"%d" % number, number % 3) for number in range(60)]
        for topic, payload, qos in wanted:
            client.publish(topic, payload, qos)
        eventually(lambda: len(got) == 60, what="all 60 messages")
        client.disconnect()
        client.loop_stop()
        for qos in range(3):  # paho tells of a QoS 2 message when its exchange is over
            equal([one for one in got if one[2] == qos], [one for one in wanted if one[2] == qos])


def test_the_tools_of_mosquitto_are_content_with_it(t):
    with Liar() as liar:
        subscriber = t.program("mosquitto_sub", "-p", liar.port, "-t", "a", "-q", "2", "-C", "3", "-V", "mqttv311")
        eventually(lambda: liar.counts["Grant"] == 1)
        for qos in (0, 1, 2):
            t.program("mosquitto_pub", "-p", liar.port, "-t", "a", "-m", f"qos {qos}", "-q", qos).wait_end()
        equal(subscriber.wait_end(), ["qos 0", "qos 1", "qos 2"])


def test_a_fault_spoils_what_it_names_and_nothing_else(t):
    with Liar("lose@1", "repeat@3", "swap@5", "change@8=0") as liar:
        subscriber, publisher = t.client(liar.port, "s"), t.client(liar.port, "p")
        subscriber.subscribe("a", qos=1)
        for number in range(10):
            publisher.publish("a", str(number), qos=1)
        got = "".join(subscriber.receive("a").payload.decode() for _ in range(10))
        equal(got, "0233465799")  # 8 with its lowest bit changed is 9
        subscriber.expect_nothing()
        equal(liar.spoiled, 5)


@each("no such@1", "lose", "lose@", "lose@x")
def test_a_fault_that_does_not_exist_is_refused(t, text):
    try:
        liar_faults.Fault(text)
    except (AssertionError, ValueError):
        return
    raise AssertionError(f"{text} was taken for a fault")
