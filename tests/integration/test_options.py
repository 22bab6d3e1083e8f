"""Options that an operator sets and then looks for: in the log, in $SYS, at the door."""

import mqtt
from suite import each, equal, eventually, short, tern_only

CLIENT_ID_INVALID = 0x85


@tern_only
@short
@each("subscribe", "unsubscribe")
def test_subscriptions_are_logged_where_that_is_asked_for(t, which):
    broker = t.broker([f"log_type {which}"])
    client = t.client(broker.port, "client", 5)
    client.subscribe("room/light", qos=1)
    client.unsubscribe("room/light")
    line = eventually(lambda: [row for row in broker.log().splitlines() if "room/light" in row], what="the line")
    equal(len(line), 1, "lines about the filter")
    assert f"msg={which}d" in line[0] and t.id("client") in line[0], line


@tern_only
@short
@each("log_type none", "log_dest none")
def test_what_logs_nothing_logs_nothing(t, line):
    lines = [line] if line == "log_type none" else ["log_type all", line]
    broker = t.broker(lines)
    client = t.client(broker.port, "client", 5)
    client.subscribe("room/light")
    client.disconnect()
    broker.process.terminate()
    equal(broker.process.wait(mqtt.WAIT_S), 0, "exit code")
    assert "time=" not in broker.log(), broker.log()


@tern_only  # mosquitto says "not authorized"
@short
def test_an_invented_client_id_must_have_the_prefix_too(t):
    broker = t.broker(["clientid_prefixes ab"])
    for client_id, reason in (("abc", 0), ("xab", CLIENT_ID_INVALID), ("", CLIENT_ID_INVALID)):
        t.raw(broker.port, 5, client_id or "invented").connect(client_id, reason=reason)
    fitting = t.broker(["clientid_prefixes ab", "auto_id_prefix ab-"])
    assigned = t.raw(fitting.port, 5, "invented").connect("").props["assigned_client_id"]
    assert assigned.startswith("ab-"), assigned


@short
def test_stored_messages_are_those_retained_and_those_that_wait(t):
    broker = t.broker(["sys_interval 1"])
    away = t.client(broker.port, "away", 4, clean=False)
    away.subscribe(t.topic(), qos=1)
    away.disconnect()
    publisher = t.client(broker.port, "publisher", 5)
    for _ in range(3):
        publisher.publish(t.topic(), b"x", qos=1)
    watcher = t.client(broker.port, "watcher", 5)
    watcher.subscribe("$SYS/broker/messages/stored", "$SYS/broker/retained messages/count")
    values = {}

    def adds_up():
        packet = watcher.recv()
        values[packet.topic.split("/")[-2]] = int(packet.payload)
        return len(values) == 2 and values["messages"] >= values["retained messages"] + 1 and values["messages"] > 3

    eventually(adds_up, what="more messages stored than retained")
