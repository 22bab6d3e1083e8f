"""What a conformance test gets: a broker of its group, names of its own, and a few judgements.

A test is a function test_*(t) with a docstring that opens with the marks of the statements it proves:
[MQTT-3.1.0-2] of version 5, [v3:MQTT-3.1.0-2] of 3.1.1. run.py calls it, spec_marks.py reads it.
"""

import itertools
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import mqtt  # noqa: E402

# name: keyword arguments of Broker. Tests of one group share one broker and run side by side.
GROUPS = {
    "default": dict(
        listeners={"mqtt": [], "ws": ["protocol websockets"]}),
    # a server that says in CONNACK what it lacks
    "poor": dict(
        lines=["max_packet_size 2000", "retain_available false", "persistent_client_expiration 1h"],
        tern_only=["max_keepalive 2"],  # mosquitto takes 10 or more
        listeners={"mqtt": ["max_qos 0", "max_topic_alias 0"]}),
    # a server with limits that a test can reach
    "tight": dict(
        lines=["max_inflight_messages 3", "max_queued_messages 5", "max_packet_size 4000",
               "message_size_limit 1000"],
        tern_only=["max_receive 3", "max_subscriptions 10"],  # mosquitto: receive as in flight
        listeners={"mqtt": ["max_topic_alias 3"]}),
    # a second door that lets nobody in without credentials, and client ids that must begin with "t"
    "doors": dict(
        lines=["per_listener_settings true", "clientid_prefixes t"],
        listeners={"mqtt": ["allow_anonymous true"], "closed": ["allow_anonymous false"]}),
    # as many in flight as there are packet identifiers
    "wide": dict(
        lines=["max_inflight_messages 0", "max_queued_messages 0"],
        tern_only=["max_receive 65535"]),
    # a full queue refuses the publisher
    "strict": dict(lines=["max_queued_messages 2", "max_inflight_messages 2"],
                   tern_only=["queue_policy reject"]),
    # what only Tern knows: doors for some versions, or with topics of their own
    "rooms": dict(
        listeners={"mqtt": [], "old": ["accept_protocol_versions 3,4"], "new": ["accept_protocol_versions 5"],
                   "ground": ["mount_point ground/"]}),
    # behind a load balancer
    "proxy": dict(
        listeners={"one": ["enable_proxy_protocol 1"], "two": ["enable_proxy_protocol 2"],
                   "auto": ["enable_proxy_protocol auto"],
                   "ws": ["protocol websockets", "enable_proxy_protocol 2"]}),
    "auth": dict(tern_only=["auth_test_method true"]),
}

_serial = itertools.count(1)


class T:
    """The test's own corner of a shared broker."""

    def __init__(self, broker, version):
        self.broker = broker
        self.version = version
        self.prefix = f"t{next(_serial)}"

    def topic(self, name="x"):
        return f"{self.prefix}/{name}"

    def id(self, label):
        """A client id of at most 23 letters and digits, so that 3.1 takes it too."""
        return f"{self.prefix}{label}"[:23]

    def raw(self, version=None, label="raw", door="mqtt"):
        """A connection on which nothing has been sent."""
        return mqtt.Client(self.broker.ports[door], version or self.version, label=label)

    def open(self, label="a", version=None, **how):
        """A connected client; how: see mqtt.connect. Its id is t.id(label)."""
        client = self.raw(version, label)
        client.connect(how.pop("client_id", self.id(label)), **how)
        return client

    def durable(self, label="a", version=None, clean=False, expiry=600, **how):
        """A connected client whose session outlives the connection."""
        version = version or self.version
        if version == 5:
            how["props"] = dict(how.get("props") or {}, session_expiry=expiry)
        return self.open(label, version, clean=clean, **how)

    def websocket(self, label="ws", **how):
        return mqtt.Client(self.broker.ports["ws"], self.version, label=label,
                           transport=mqtt.WebSocket(("127.0.0.1", self.broker.ports["ws"]), **how))

    def refused(self, packet, *reasons, **how):
        """The packet, sent by a client that is connected, ends its connection: v5 hears a DISCONNECT
        with one of the reasons, 3.x only sees the close. And others still are served."""
        client = self.open("refused" + str(next(_serial)), **how)
        client.send(packet)
        answer = client.expect_refusal(*reasons)
        assert answer is None or answer.kind == mqtt.DISCONNECT
        return answer

    def connect_refused(self, packet, *reasons, version=None, silent=False, door="mqtt"):
        """The CONNECT is refused: the connection is closed, and what v5 hears before is a CONNACK with
        one of the reasons. silent: it may hear nothing, as the statement leaves that open."""
        client = self.raw(version, door=door)
        client.send(packet)
        seen = client.expect_close()
        if (version or self.version) < 5 and not reasons:
            assert seen == [], f"closed without CONNACK expected, got {seen}"
            return None
        if silent and not seen:
            return None
        assert len(seen) == 1 and seen[0].kind == mqtt.CONNACK, f"CONNACK expected, got {seen}"
        assert seen[0].reason in reasons, f"CONNACK {seen[0].reason:#x}, expected {[hex(r) for r in reasons]}"
        assert not seen[0].session_present
        return seen[0]


def group(name):
    assert name in GROUPS

    def mark(function):
        function.group = name
        return function
    return mark


def versions(*numbers):
    """Run once for each version; without it a test runs for 5, and for 4 in files test_v311_*."""
    def mark(function):
        function.versions = numbers
        return function
    return mark


BAD_UTF8 = {
    "a lone continuation byte": b"a\x80b",
    "a surrogate": b"a\xed\xa0\x80b",
    "an over-long encoding": b"a\xc0\xafb",
    "a cut sequence": b"a\xe2\x82",
    "above U+10FFFF": b"a\xf4\x90\x80\x80b",
    "a byte that is never used": b"a\xffb",
}
