"""python3-paho-mqtt: callbacks, reconnection, TCP and WebSocket, each version of the protocol."""

import queue
import threading

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions
from suite import alone, each, equal, eventually, short

VERSIONS = {"3.1": paho.MQTTv31, "3.1.1": paho.MQTTv311, "5": paho.MQTTv5}
TRANSPORTS = ("tcp", "websockets")
WAIT_S = 15


class Paho:
    """One paho client with its network thread; what its callbacks hear goes into queues."""

    def __init__(self, t, name, version="3.1.1", transport="tcp", clean=True, will=None, expiry=0):
        self.five = version == "5"
        arguments = {} if self.five else {"clean_session": clean}
        self.client = paho.Client(t.id(name), protocol=VERSIONS[version], transport=transport, **arguments)
        if transport == "websockets":
            self.client.ws_set_options(path="/mqtt")
        if will:
            self.client.will_set(*will)
        self.messages, self.connected = queue.Queue(), queue.Queue()
        self.acked, self.acks = threading.Condition(), set()
        self.client.on_message = lambda client, user, message: self.messages.put(message)
        self.client.on_connect = self.on_connect
        self.client.on_subscribe = self.on_ack
        self.client.on_unsubscribe = self.on_ack
        host, port = self.reach(t, transport)
        how = {}
        if self.five:
            how["clean_start"] = clean
            how["properties"] = Properties(PacketTypes.CONNECT)
            how["properties"].SessionExpiryInterval = expiry
        self.client.connect(host, port, keepalive=30, **how)
        self.client.loop_start()
        reason, self.session_present = self.connected.get(timeout=WAIT_S)
        assert reason == 0, f"connect: {reason}"

    def reach(self, t, transport):
        """Host and port of the broker."""
        return "127.0.0.1", t.common().ports["ws" if transport == "websockets" else "mqtt"]

    def on_connect(self, client, user, flags, reason, properties=None):
        self.connected.put((reason, bool(flags["session present"])))

    def on_ack(self, client, user, mid, *rest):
        with self.acked:
            self.acks.add(mid)
            self.acked.notify_all()

    def subscribe(self, topic, qos=0, options=None):
        _, mid = self.client.subscribe(topic, options=options) if options else self.client.subscribe(topic, qos)
        with self.acked:
            assert self.acked.wait_for(lambda: mid in self.acks, WAIT_S), "no SUBACK"

    def publish(self, topic, payload=None, qos=0, retain=False, properties=None, seconds=WAIT_S):
        info = self.client.publish(topic, payload, qos, retain, properties)
        info.wait_for_publish(seconds)
        assert info.is_published(), f"PUBLISH with QoS {qos} was not acknowledged"

    def get(self, seconds=WAIT_S):
        try:
            return self.messages.get(timeout=seconds)
        except queue.Empty:
            raise AssertionError(f"no message within {seconds} s") from None

    def nothing_more(self):
        assert self.messages.empty(), f"one message too many: {self.messages.get().payload}"

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()

    def break_off(self):
        """Lose the connection without a goodbye, for good."""
        self.client.loop_stop()
        self.client._sock_close()


@short
@each(*[(version, transport) for version in VERSIONS for transport in TRANSPORTS])
def test_all_qualities_arrive_once_and_in_order(t, which):
    version, transport = which
    sub = Paho(t, "sub", version, transport)
    pub = Paho(t, "pub", version, transport)
    for qos in (0, 1, 2):
        sub.subscribe(t.topic(qos), qos)
        for number in range(30):
            pub.publish(t.topic(qos), f"{number}", qos)
        for number in range(30):
            message = sub.get()
            equal((message.topic, message.payload, message.qos), (t.topic(qos), b"%d" % number, qos))
    sub.nothing_more()
    pub.close()
    sub.close()


@each(*[(version, transport) for version in VERSIONS for transport in TRANSPORTS])
def test_retained_messages_are_kept_replaced_and_deleted(t, which):
    version, transport = which
    pub = Paho(t, "pub", version, transport)
    for payload in ("one", "two"):
        pub.publish(t.topic("state"), payload, 1, retain=True)
    sub = Paho(t, "sub", version, transport)
    sub.subscribe(t.topic("#"), 1)
    message = sub.get()
    equal((message.payload, message.retain), (b"two", True))
    pub.publish(t.topic("state"), None, 1, retain=True)
    equal((sub.get().payload), b"", "the deletion seen by subscribers")
    late = Paho(t, "late", version, transport)
    late.subscribe(t.topic("#"), 1)
    pub.publish(t.topic("last"), "mark", 1)
    equal(late.get().payload, b"mark")
    for client in (pub, sub, late):
        client.close()


@each(*[(version, transport) for version in VERSIONS for transport in TRANSPORTS])
def test_a_lost_connection_publishes_the_will(t, which):
    version, transport = which
    watcher = Paho(t, "watcher", version, transport)
    watcher.subscribe(t.topic("will"), 2)
    doomed = Paho(t, "doomed", version, transport, will=(t.topic("will"), "gone", 2, False))
    doomed.break_off()
    message = watcher.get()
    equal((message.payload, message.qos), (b"gone", 2))
    watcher.close()


@each(*[(version, transport) for version in VERSIONS for transport in TRANSPORTS])
def test_a_session_is_resumed(t, which):
    version, transport = which
    sub = Paho(t, "sub", version, transport, clean=False, expiry=600)
    assert not sub.session_present
    sub.subscribe(t.topic("#"), 2)
    sub.close()
    pub = Paho(t, "pub", version, transport)
    for number in range(50):
        pub.publish(t.topic("x"), f"{number}", 1 + number % 2)
    again = Paho(t, "sub", version, transport, clean=False, expiry=600)
    # 3.1 has no Session Present flag in its CONNACK.
    assert version == "3.1" or again.session_present
    got = [again.get() for _ in range(50)]
    for qos in (1, 2):
        wanted = [number for number in range(50) if 1 + number % 2 == qos]
        equal([int(m.payload) for m in got if m.qos == qos], wanted)
    again.nothing_more()
    pub.close()
    again.close()


@short
def test_properties_and_options_of_version_5(t):
    sub = Paho(t, "sub", "5")
    sub.subscribe(t.topic("own"), options=SubscribeOptions(qos=1, noLocal=True))
    sub.publish(t.topic("own"), "to myself", 1)
    sub.subscribe(t.topic("in"), options=SubscribeOptions(qos=1))
    properties = Properties(PacketTypes.PUBLISH)
    properties.ContentType = "text/plain"
    properties.CorrelationData = b"\0\1\2"
    properties.ResponseTopic = t.topic("answer")
    properties.UserProperty = [("a", "1"), ("b", "2"), ("a", "3")]
    properties.MessageExpiryInterval = 60
    pub = Paho(t, "pub", "5", "websockets")
    pub.publish(t.topic("in"), "with properties", 1, properties=properties)
    message = sub.get()
    equal(message.payload, b"with properties")
    equal(message.properties.ContentType, "text/plain")
    equal(message.properties.CorrelationData, b"\0\1\2")
    equal(message.properties.ResponseTopic, t.topic("answer"))
    equal(message.properties.UserProperty, [("a", "1"), ("b", "2"), ("a", "3")])
    assert 0 < message.properties.MessageExpiryInterval <= 60
    sub.nothing_more()
    pub.close()
    sub.close()


@each("3.1.1", "5")
def test_members_of_a_shared_subscription_share(t, version):
    members = [Paho(t, f"m{number}", version, TRANSPORTS[number % 2]) for number in range(3)]
    for member in members:
        member.subscribe(f"$share/{t.id('g')}/{t.topic('work')}", 1)
    pub = Paho(t, "pub", version)
    for number in range(60):
        pub.publish(t.topic("work"), f"{number}", 1)
    eventually(lambda: sum(member.messages.qsize() for member in members) >= 60, WAIT_S, "60 messages")
    got = [[int(member.get().payload) for _ in range(member.messages.qsize())] for member in members]
    equal(sorted(sum(got, [])), list(range(60)))
    assert all(got), f"a member got nothing: {[len(each_got) for each_got in got]}"
    for client in [pub, *members]:
        client.close()


@short
@each(*TRANSPORTS)
def test_payloads_of_every_size_around_a_frame_arrive_whole(t, transport):
    sub = Paho(t, "sub", "5", transport)
    sub.subscribe(t.topic("x"), 1)
    pub = Paho(t, "pub", "5", transport)
    sizes = [0, 1, 100, 125, 126, 127, 128, 2047, 2048, 16383, 16384, 65535, 65536, 100000, 1000003]
    for size in sizes:
        payload = bytes(range(256)) * (size // 256 + 1)
        pub.publish(t.topic("x"), payload[:size], 1)
        message = sub.get()
        assert message.payload == payload[:size], f"{size} bytes arrived as {len(message.payload)}, or changed"
    pub.close()
    sub.close()


@each(*TRANSPORTS)
def test_paho_comes_back_by_itself_after_the_broker_hangs_up(t, transport):
    sub = Paho(t, "sub", "3.1.1", transport, clean=False)
    sub.client.reconnect_delay_set(0, 1)
    sub.subscribe(t.topic("x"), 1)
    other = Paho(t, "sub2", "3.1.1")
    # A second connection with the same client id makes the broker hang up on the first.
    thief = t.client(t.common().port, "sub", version=4, clean=False)
    thief.send(b"\xe0\x00")
    _, present = sub.connected.get(timeout=WAIT_S)
    assert present
    other.publish(t.topic("x"), "still here", 1)
    equal(sub.get().payload, b"still here")
    other.close()
    sub.close()


@alone
@each(0, 1, 2)
def test_64_mib_arrive_whole(t, qos):
    """TCP only: over WebSocket paho masks byte by byte in Python, which takes minutes."""
    sub = Paho(t, "sub", "3.1.1")
    sub.subscribe(t.topic("x"), qos)
    pub = Paho(t, "pub", "5")
    payload = bytes(range(256)) * (1 << 18)
    pub.publish(t.topic("x"), payload, qos, seconds=60)
    assert sub.get(60).payload == payload
    pub.close()
    sub.close()
