"""When a bridge connects, what it says, and what it makes of another side that the test plays itself."""

import os
import signal
import subprocess
import time

import bridges
import mqtt
from bridges import Mosquitto, Relay, Remote, block, drain, joined, state, two
from suite import each, equal, eventually, short, tern_only

STATE = "$SYS/broker/connection/{}/state"


# ---------------------------------------------------------------------------------- news of its state


@tern_only
@short
@each(*bridges.ROLES)
def test_both_brokers_tell_whether_the_bridge_is_up(t, role):
    pair = two(t, role, "# both 1", more=["remote_clientid them"], relay=True)
    topic = STATE.format("them")
    state(t, pair.near.port, b"1", topic)
    state(t, pair.far.port, b"1", topic)
    pair.wire.cut()
    state(t, pair.near.port, b"0", topic)
    state(t, pair.far.port, b"0", topic)
    pair.wire.mend()
    state(t, pair.near.port, b"1", topic)
    state(t, pair.far.port, b"1", topic)


@tern_only
@each("local", "topic", "none")
def test_news_are_told_where_they_are_wanted(t, what):
    more = {"local": "notifications_local_only true", "topic": "notification_topic up", "none": "notifications false"}
    pair = two(t, "tern", "a both 1", more=[more[what], "remote_clientid them"])
    joined(t, pair, pair.near, pair.far, "a")
    heard = {}
    for name in ("near", "far"):
        client = t.client(getattr(pair, name).port, name, 4)
        client.subscribe("$SYS/broker/connection/#", "up")
        try:
            heard[name] = client.receive(timeout=1).topic
        except mqtt.Silence:
            heard[name] = None
    there = STATE.format("them")
    equal(heard, {
        "local": {"near": there, "far": None},
        "topic": {"near": "up", "far": "up"},
        "none": {"near": None, "far": None},
    }[what], "where it was told")


@tern_only
def test_a_broker_that_stops_says_so_at_the_other_side(t):
    pair = two(t, "tern", "# both 1", more=["remote_clientid them"])
    watcher = t.client(pair.far.port, "watcher", 4)
    watcher.subscribe(STATE.format("them"))
    while watcher.receive().payload != b"1":
        pass
    pair.near.process.send_signal(signal.SIGTERM)
    equal(watcher.receive().payload, b"0", "state")
    equal(pair.near.process.wait(10), 0, "exit code")


# ---------------------------------------------------------------------------------- when it connects


@tern_only
def test_once_is_once(t):
    pair = two(t, "tern", "# both 1", more=["start_type once"], relay=True)
    state(t, pair.near.port, b"1")
    pair.wire.cut()
    eventually(lambda: "it was to connect once, and ends" in pair.near.log(), what="the end")
    pair.wire.mend()
    time.sleep(2.5)  # restart_timeout is two seconds at most
    equal(pair.near.log().count("bridge: connected"), 1, "connections")


@tern_only
@each("false", "true")
def test_a_lazy_bridge_connects_when_enough_waits_and_sleeps_when_nothing_comes(t, clean):
    far = Mosquitto(t)
    more = ["start_type lazy", "threshold 5", "idle_timeout 1", f"cleansession {clean}"]
    near = t.broker(block(far.port, "x/# out 1", more=more))
    receiver = t.client(far.port, "receiver", 4)
    receiver.subscribe("x/#", qos=1)
    sender = t.client(near.port, "sender", 4)
    eventually(lambda: near.log().count("client connected") >= 3, what="the local leg")
    time.sleep(0.2)
    for run in (1, 2):
        for i in range(4):
            sender.publish("x/y", f"{run}-{i}", qos=i % 2)
        receiver.expect_nothing(1)
        equal(near.log().count("bridge: connected"), run - 1, "connections")
        sender.publish("x/y", f"{run}-4", qos=1)
        got = {receiver.receive(timeout=10).payload for _ in range(5)}
        equal(got, {f"{run}-{i}".encode() for i in range(5)}, "what came")
        eventually(lambda: near.log().count("idle, disconnected") == run, what="its sleep")
        time.sleep(0.3)


@tern_only
def test_a_bridge_waits_for_a_broker_that_comes_later(t):
    far = Mosquitto(t)
    far.kill()
    near = t.broker(block(far.port, "x out 1"))
    sender = t.client(near.port, "sender", 4)
    eventually(lambda: "bridge: cannot connect" in near.log(), what="the first failure")
    sender.publish("x", "from the time before", qos=1)
    far.start()
    receiver = t.client(far.port, "receiver", 4)
    receiver.subscribe("x", qos=1)
    receiver.receive("x", "from the time before", timeout=30)
    equal(near.log().count("level=warning"), 1, "warnings: attempts that fail alike are no news")


@tern_only
@short
def test_a_reload_changes_what_differs_and_leaves_the_rest(t):
    first, second = Mosquitto(t), Mosquitto(t)
    changing = block(second.port, "b both 1", name="changes")
    broker = t.broker(block(first.port, "a both 1", name="stays") + changing)
    for far in (first, second):
        state(t, far.port, b"1")
    with open(broker.config, encoding="utf-8") as file:
        text = file.read()
    with open(broker.config, "w", encoding="utf-8") as file:
        file.write(text.replace("topic b both 1", "topic c both 1"))
    broker.reload()
    eventually(lambda: "configuration reloaded" in broker.log(), what="the reload")
    joined(t, None, broker, second, "c")
    joined(t, None, broker, first, "a")
    log = broker.log()
    equal(log.count('msg="bridge: connected" bridge=stays'), 1, "connections of the one that stays")
    equal(log.count('msg="bridge: connected" bridge=changes'), 2, "connections of the one that changed")
    late = t.client(second.port, "late", 4)
    late.subscribe("b")
    t.client(broker.port, "sender", 4).publish("b", "no more", qos=1)
    late.expect_nothing(0.5)
    with open(broker.config, "w", encoding="utf-8") as file:
        file.write(text.replace("\n".join(changing) + "\n", ""))
    broker.reload()
    eventually(lambda: 'msg="bridge: removed" bridge=changes' in broker.log(), what="its end")
    state(t, second.port, b"0")


@tern_only
@short
def test_bridges_that_come_with_a_reload_to_a_broker_without_any_wait_for_a_restart(t):
    far = Mosquitto(t)
    broker = t.broker()
    with open(broker.config, "a", encoding="utf-8") as file:
        file.write("\n".join(block(far.port, "a both 1")) + "\n")
    broker.reload()
    told = "connection one cannot change while the broker runs: restart"
    eventually(lambda: told in broker.log(), what="the warning")


@tern_only
@short
def test_a_wrong_password_is_told_and_never_shown(t):
    passwords = os.path.join(t.folder(), "passwords")
    os.chmod(t.folder(), 0o755)
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "u", "right"], check=True, capture_output=True)
    far = Mosquitto(t, [f"password_file {passwords}"])
    more = ["remote_username u", "remote_password hunter2"]
    near = t.broker(block(far.port, "# both 1", more=more) + block(far.port, "# both 1", name="two",
                    more=["remote_username u", "remote_password right"]), metrics=True)
    eventually(lambda: "bridge: connection refused" in near.log(), what="the refusal")
    eventually(lambda: 'msg="bridge: connected" bridge=two' in near.log(), what="the other one")
    assert "hunter2" not in near.log()
    equal(t.metric(near, "tern_bridges_connected"), 1, "bridges connected")


@tern_only
def test_clients_of_the_broker_need_no_more_rights_than_before(t):
    """The door of bridges is open to them alone: everybody else needs a password as before."""
    passwords, acl = os.path.join(t.folder(), "passwords"), os.path.join(t.folder(), "acl")
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "u", "p"], check=True, capture_output=True)
    with open(acl, "w", encoding="utf-8") as file:
        file.write("user u\ntopic read x\n")
    far = Mosquitto(t)
    lines = ["allow_anonymous false", f"password_file {passwords}", f"acl_file {acl}", "clientid_prefixes e"]
    near = t.broker([*lines, *block(far.port, "# both 1")])
    t.raw(near.port, 4, "nobody").connect("e", reason=5)
    receiver = t.client(near.port, "receiver", 4, username="u", password="p")
    receiver.subscribe("x", qos=1)
    state(t, far.port, b"1")
    t.client(far.port, "sender", 4).publish("x", "over the bridge", qos=1)
    receiver.receive("x", "over the bridge")


@tern_only
@short
def test_nobody_takes_the_session_of_a_bridge(t):
    remote, near = bridged(t, "x out 1", more=["local_clientid mine"])
    peer = remote.welcome(subscribe=False)
    for version, reason in ((4, 2), (5, 0x85)):
        t.raw(near.port, version).connect("mine", reason=reason)
    t.client(near.port, "sender", 5).publish("x", "one", qos=1)
    peer.expect(mqtt.PUBLISH, payload=b"one")


# ---------------------------------------------------------------------------------- the mark of a bridge


@tern_only
@short
@each(3, 4)
def test_a_client_that_says_it_is_a_bridge_hears_nothing_of_its_own(t, version):
    broker = t.broker()
    hello = bytearray(mqtt.connect(t.id("bridge"), version=version))
    hello[hello.index(b"MQIsdp" if version == 3 else b"MQTT") + (6 if version == 3 else 4)] |= 0x80
    bridge = t.raw(broker.port, version, "bridge")
    bridge.send(bytes(hello))
    bridge.expect(mqtt.CONNACK, reason=0)
    bridge.subscribe("#", qos=1)
    bridge.publish("x", "own", qos=1)
    bridge.expect_nothing()
    t.client(broker.port, "other", 5).publish("x", "of another", qos=1, retain=True)
    bridge.receive("x", "of another", retain=True)  # as published


@tern_only
@short
def test_clients_may_tell_the_state_of_their_bridges_and_nothing_else_of_sys(t):
    broker = t.broker(["sys_interval 0"])
    watcher = t.client(broker.port, "watcher", 5)
    watcher.subscribe("$SYS/#")
    will = {"topic": "$SYS/broker/connection/b/state", "payload": b"0", "qos": 1, "retain": True}
    teller = t.client(broker.port, "teller", 4, will=will)
    teller.publish("$SYS/broker/uptime", "no", qos=1)
    teller.publish("$SYS/broker/connection/b/c/state", "no", qos=1)
    teller.publish("$SYS/broker/connection/b/state", "1", qos=1, retain=True)
    watcher.receive("$SYS/broker/connection/b/state", "1")
    teller.vanish()
    watcher.receive("$SYS/broker/connection/b/state", "0")


# ---------------------------------------------------------------------------------- the other side is played


def bridged(t, *topics, version="mqttv50", more=(), lines=()):
    remote = Remote(t)
    common = [f"bridge_protocol_version {version}", "notifications false", "bridge_attempt_unsubscribe false"]
    rows = block(remote.port, *topics, more=[*common, *more])
    return remote, t.broker([*lines, *rows])


@tern_only
@short
def test_no_more_is_sent_than_the_other_side_takes(t):
    remote, near = bridged(t, "x out 2")
    peer = remote.welcome(props={"receive_max": 2}, subscribe=False)
    sender = t.client(near.port, "sender", 5)
    for i in range(5):
        sender.publish("x", str(i), qos=1 + i % 2)
    waiting = [peer.expect(mqtt.PUBLISH), peer.expect(mqtt.PUBLISH)]
    for i in range(5):
        peer.expect_nothing()
        done = waiting.pop(0)
        equal(done.payload, str(i).encode(), "order")
        if done.qos == 1:
            peer.ack(mqtt.PUBACK, done.pid)
        else:
            peer.ack(mqtt.PUBREC, done.pid)
            peer.expect(mqtt.PUBREL, pid=done.pid)
            peer.ack(mqtt.PUBCOMP, done.pid)
        if i < 3:
            waiting.append(peer.expect(mqtt.PUBLISH))


@tern_only
@short
@each(1, 2)
def test_another_side_may_send_more_than_clients_of_this_broker_may(t, qos):
    """MQTT 3 has no word for how much: a bridge that waited would hold up the PUBREL that makes room."""
    remote, near = bridged(t, "x in 2", version="mqttv311", lines=["max_receive 3", "publish_hold_ms 0"])
    receiver = t.client(near.port, "receiver", 5)
    receiver.subscribe("x", qos=1)
    peer = remote.welcome()
    for i in range(1, 501):
        peer.publish("x", str(i), qos, i)
    for i in range(1, 501):
        receiver.receive("x", str(i))
        peer.expect(mqtt.PUBACK if qos == 1 else mqtt.PUBREC, pid=i)
    for i in range(1, 501) if qos == 2 else ():
        peer.send(mqtt.ack(mqtt.PUBREL, i))
        peer.expect(mqtt.PUBCOMP, pid=i)
    assert "receive maximum" not in near.log().lower(), near.log()


@tern_only
@short
def test_a_message_is_finished_here_when_it_is_finished_there(t):
    remote, near = bridged(t, "x out 2")
    peer = remote.welcome(subscribe=False)
    sender = t.client(near.port, "sender", 5)
    sender.publish("x", "one", qos=1)
    sender.publish("x", "two", qos=2)
    one = peer.expect(mqtt.PUBLISH, payload=b"one", dup=False)
    two_ = peer.expect(mqtt.PUBLISH, payload=b"two", dup=False)
    peer.ack(mqtt.PUBREC, two_.pid)
    peer.expect(mqtt.PUBREL, pid=two_.pid)
    peer.close()  # neither is finished
    peer = remote.welcome(session_present=True, subscribe=False)
    peer.expect(mqtt.PUBLISH, payload=b"one", dup=True, pid=one.pid)
    peer.expect(mqtt.PUBREL, pid=two_.pid)
    peer.ack(mqtt.PUBACK, one.pid)
    peer.ack(mqtt.PUBCOMP, two_.pid)
    peer.expect_nothing()
    peer.close()
    remote.welcome(session_present=True, subscribe=False).expect_nothing()  # now they are


@tern_only
@short
def test_an_id_that_an_older_session_left_half_way_is_released_before_it_is_used(t):
    """This broker forgot its session, the other one did not: id 1 there may wait for its PUBREL."""
    remote, near = bridged(t, "x out 2")
    peer = remote.welcome(session_present=True, subscribe=False)
    sender = t.client(near.port, "sender", 5)
    for text in ("one", "two"):
        sender.publish("x", text, qos=2)
    released = peer.expect(mqtt.PUBREL)
    message = peer.expect(mqtt.PUBLISH, payload=b"one", pid=released.pid)
    peer.ack(mqtt.PUBCOMP, released.pid, 0x92)
    peer.expect(mqtt.PUBREL)
    peer.expect(mqtt.PUBLISH, payload=b"two")
    peer.ack(mqtt.PUBREC, message.pid)
    peer.expect(mqtt.PUBREL, pid=message.pid)
    peer.ack(mqtt.PUBCOMP, message.pid)
    peer.expect_nothing()


@tern_only
@short
@each("mqttv311", "mqttv50")
def test_what_no_line_asks_for_is_taken_and_dropped(t, version):
    """A session there that is older than the configuration here."""
    remote, near = bridged(t, "x in 2", version=version)
    receiver = t.client(near.port, "receiver", 5)
    receiver.subscribe("#", qos=2)
    peer = remote.welcome()
    peer.publish("y", "one", 1, 1)
    peer.expect(mqtt.PUBACK, pid=1)
    peer.publish("y", "two", 2, 2)
    answer = peer.expect(mqtt.PUBREC, pid=2)
    if version == "mqttv311":  # it has no word for no
        peer.send(mqtt.ack(mqtt.PUBREL, 2))
        peer.expect(mqtt.PUBCOMP, pid=2)
    else:
        assert answer.reason >= 0x80, answer
    peer.publish("x", "three", 2, 3)
    peer.expect(mqtt.PUBREC, pid=3)
    receiver.receive("x", "three")
    assert "no `topic` line of this bridge has it" in near.log(), near.log()


@tern_only
@short
def test_a_message_that_the_other_side_has_no_room_for_now_is_sent_again(t):
    remote, near = bridged(t, "x out 1")
    peer = remote.welcome(subscribe=False)
    t.client(near.port, "sender", 5).publish("x", "one", qos=1)
    peer.ack(mqtt.PUBACK, peer.expect(mqtt.PUBLISH).pid, 0x97)
    peer = remote.welcome(session_present=True, subscribe=False)
    again = peer.expect(mqtt.PUBLISH, payload=b"one", dup=True)
    peer.ack(mqtt.PUBACK, again.pid, 0x87)  # and that is final
    eventually(lambda: "bridge: message refused" in near.log(), what="the refusal")
    time.sleep(0.2)  # this broker has to hear it, too
    peer.close()
    remote.welcome(session_present=True, subscribe=False).expect_nothing()


@tern_only
@short
def test_too_large_a_message_does_not_stand_in_the_way(t):
    remote, near = bridged(t, "x out 1", more=["bridge_max_packet_size 200"])
    peer = remote.welcome(subscribe=False)
    sender = t.client(near.port, "sender", 5)
    for size in (10, 300, 20):
        sender.publish("x", b"x" * size, qos=1)
    for size in (10, 20):
        message = peer.expect(mqtt.PUBLISH, payload=b"x" * size)
        peer.ack(mqtt.PUBACK, message.pid)


@tern_only
@short
def test_the_mark_of_a_bridge_is_left_out_where_it_is_not_taken(t):
    remote, _ = bridged(t, "x out 1", version="mqttv311")
    peer = remote.accept()
    equal(peer.hello.level, 0x84, "level")
    peer.send(bytes.fromhex("20020001"))  # unacceptable protocol version
    peer = remote.accept()
    equal(peer.hello.level, 0x04, "level")


@tern_only
@short
@each("garbage", "second CONNACK", "SUBACK out of nowhere", "CONNECT", "PUBREL unknown", "alias unknown")
def test_another_side_that_is_out_of_its_mind_harms_nobody(t, what):
    remote, near = bridged(t, "x both 1")
    peer = remote.welcome()
    peer.send({
        "garbage": b"\xff" * 1000,
        "second CONNACK": bytes.fromhex("2003000000"),
        "SUBACK out of nowhere": bytes.fromhex("900400050000"),
        "CONNECT": mqtt.connect("x"),
        "PUBREL unknown": mqtt.ack(mqtt.PUBREL, 77),
        "alias unknown": mqtt.publish("", "x", props={"topic_alias": 9}, version=5),
    }[what])
    if what == "PUBREL unknown":
        peer.expect(mqtt.PUBCOMP, pid=77)
        return
    remote.welcome(session_present=True)
    t.client(near.port, "other", 5).ping()


@tern_only
def test_a_side_that_goes_silent_is_left(t):
    remote, near = bridged(t, "x out 1", more=["keepalive_interval 5"])
    peer = remote.welcome(subscribe=False)
    remote.listener.settimeout(40)
    remote.welcome(session_present=True, subscribe=False)  # peer has not answered its PINGREQ
    assert "keep alive timeout" in near.log(), near.log()
    peer.close()


# ---------------------------------------------------------------------------------- our own end


@tern_only
def test_a_broker_that_is_killed_sends_what_it_had_taken(t):
    far = Mosquitto(t)
    wire = Relay(t, far.port)
    near = t.broker([*block(wire.port, "x out 2"), "persistence true"])
    state(t, far.port, b"1")
    receiver = t.client(far.port, "receiver", 4)
    receiver.subscribe("x", qos=2)
    wire.cut()
    sender = t.client(near.port, "sender", 4)
    for i in range(50):
        sender.publish("x", f"kept{i}", qos=1 + i % 2)
    near.process.kill()
    near.process.wait()
    wire.mend()
    near.start()
    got = drain(receiver, {f"kept{i}".encode() for i in range(50)}, 60)
    equal(len(got), 50, "messages")
