"""ternctl import --mosquitto: what Debian's mosquitto kept goes on with Tern, message for message."""

import json
import os
import shutil
import signal
import struct
import time

import broker as broker_module
import mqtt
from suite import Skip, equal, eventually, short, tern_only
from ternctl import CANNOT_CREATE, DATA, OK, USAGE, ternctl

HOUR, EVER = {"session_expiry": 3600}, {"session_expiry": 0xFFFFFFFF}


class Mosquitto:
    """One that keeps its state in a folder; stop() lets it write the file."""

    def __init__(self, t):
        if shutil.which("mosquitto") is None:
            raise Skip("mosquitto is not installed")
        self.folder = t.folder()
        self.file = os.path.join(self.folder, "mosquitto.db")
        config = os.path.join(self.folder, "mosquitto.conf")
        self.port = broker_module.free_port()
        with open(config, "w", encoding="utf-8") as file:
            file.write(
                f"listener {self.port} 127.0.0.1\nallow_anonymous true\nuser root\npersistence true\n"
                f"persistence_location {self.folder}/\nqueue_qos0_messages true\nautosave_interval 0\n"
            )
        self.program = t.program("mosquitto", "-c", config)
        self.program.wait_line("running")

    def save(self):
        """As it stands, with its clients connected: the file is whole when its size stands still."""
        self.program.process.send_signal(signal.SIGUSR1)
        self.program.wait_line("Saving in-memory database")
        eventually(lambda: os.path.exists(self.file), what="mosquitto.db")
        time.sleep(0.2)
        self.program.stop(hard=True)

    def stop(self):
        self.program.stop()


def client(t, port, name, version=5, **how):
    made = mqtt.Client(port, version, label=name)
    made.connect(t.id(name), clean=False, **how)
    return made


def imported(t, file):
    folder = os.path.join(t.folder(), "store")
    code, out, err = ternctl("import", folder, "--mosquitto", file)
    equal((code, err), (OK, ""), f"ternctl import ({out})")
    code, told, err = ternctl("check", folder)
    equal((code, err), (OK, ""), f"ternctl check ({told})")
    return folder, out


def tern(t, folder):
    return t.broker(["persistence true", f"persistence_location {folder}"])


def resume(t, broker, name, version=5, present=True, **how):
    made = mqtt.Client(broker.port, version, label=name)
    answer = made.connect(t.id(name), clean=False, **how)
    equal(bool(answer.session_present), present, f"session present of {name}")
    return made


@tern_only
@short
def test_who_was_away_finds_subscriptions_and_messages_in_order(t):
    old = Mosquitto(t)
    for name, version in (("old", 4), ("new", 5)):
        away = client(t, old.port, name, version, **({"props": HOUR} if version == 5 else {}))
        away.subscribe("q/#", qos=2, props={"subscription_id": 7} if version == 5 else None)
        away.vanish()
    sender = client(t, old.port, "sender")
    props = {"user_property": [("k", "v"), ("k", "w")], "content_type": "text/plain", "response_topic": "re/ply"}
    sender.publish("q/1", b"one", qos=1, props={**props, "correlation_data": b"\x00\x01", "payload_format": 1})
    sender.publish("q/2", b"\xff\x00two", qos=2)
    sender.publish("q/expiring", b"later", qos=1, props={"message_expiry": 1000})
    sender.publish("q/0", b"zero", qos=0)
    sender.ping()
    old.stop()
    folder, out = imported(t, old.file)
    assert out.startswith("imported 2 sessions, 2 subscriptions, 6 messages owed, 0 packet ids, 0 retained"), out
    assert "left out 2 messages of QoS 0" in out, out
    broker = tern(t, folder)
    for name, version in (("old", 4), ("new", 5)):
        away = resume(t, broker, name, version, **({"props": HOUR} if version == 5 else {}))
        one = away.receive("q/1", b"one", qos=1)
        away.receive("q/2", b"\xff\x00two", qos=2)
        later = away.receive("q/expiring", b"later", qos=1)
        assert not one.dup and not one.retain
        if version == 5:
            equal({key: one.props[key] for key in props}, props, "properties")
            equal(one.props["correlation_data"], b"\x00\x01", "correlation data")
            equal(one.props["subscription_id"], [7], "subscription identifiers")
            assert 900 < later.props["message_expiry"] <= 1000, later
        live = t.client(broker.port, "live" + name)
        live.publish("q/live", b"x", qos=1)
        away.receive("q/live", b"x", qos=1)


@tern_only
def test_what_was_in_flight_keeps_its_packet_identifier(t):
    old = Mosquitto(t)
    flying = client(t, old.port, "flying", props=EVER)
    flying.subscribe("q/#", qos=2)
    sender = client(t, old.port, "sender")
    for i, qos in enumerate((1, 2, 2, 1, 2)):
        sender.publish(f"q/{i}", b"%d" % i, qos=qos)
    sent = [flying.expect_publish(f"q/{i}") for i in range(5)]
    flying.send(mqtt.ack(mqtt.PUBACK, sent[0].pid))
    flying.send(mqtt.ack(mqtt.PUBREC, sent[1].pid))
    flying.answer(mqtt.PUBREL, pid=sent[1].pid)
    flying.ping()
    old.save()
    folder, _ = imported(t, old.file)
    flying = resume(t, tern(t, folder), "flying", props=EVER)
    again = [flying.recv() for _ in range(4)]
    released = [p for p in again if p.kind == mqtt.PUBREL]
    equal([p.pid for p in released], [sent[1].pid], "packet identifiers of PUBREL")
    resent = [p for p in again if p.kind == mqtt.PUBLISH]
    equal([p.topic for p in resent], ["q/2", "q/3", "q/4"], "topics")
    assert all(p.dup for p in resent), resent
    equal([p.pid for p in resent], [p.pid for p in sent[2:]], "packet identifiers")


@tern_only
def test_a_message_that_came_at_qos_2_is_given_to_others_once(t):
    old = Mosquitto(t)
    away = client(t, old.port, "away", props=HOUR)
    away.subscribe("q/#", qos=2)
    away.vanish()
    sender = client(t, old.port, "sender", props=HOUR)
    sender.send(mqtt.publish("q/1", b"once", 2, 77))
    sender.answer(mqtt.PUBREC, pid=77)
    old.save()
    folder, out = imported(t, old.file)
    assert "1 packet ids" in out and "1 on their way" in out, out
    broker = tern(t, folder)
    sender = resume(t, broker, "sender", props=HOUR)
    sender.send(mqtt.publish("q/1", b"once", 2, 77, dup=True))
    equal(sender.answer(mqtt.PUBREC, pid=77).reason, 0, "PUBREC")
    sender.send(mqtt.ack(mqtt.PUBREL, 77))
    equal(sender.answer(mqtt.PUBCOMP, pid=77).reason, 0, "PUBCOMP")
    away = resume(t, broker, "away", props=HOUR)
    away.receive("q/1", b"once", qos=2)
    away.expect_nothing()


@tern_only
def test_retained_messages_and_settings_of_subscriptions_stay(t):
    old = Mosquitto(t)
    keen = client(t, old.port, "keen", props=HOUR)
    keen.subscribe("own/#", qos=1, no_local=True)
    keen.subscribe("flag/#", qos=1, retain_as_published=True)
    keen.vanish()
    sender = client(t, old.port, "sender")
    sender.publish("r/text", "21 °C".encode(), qos=1, retain=True, props={"content_type": "text/plain"})
    sender.publish("r/bytes", b"\xff\x00", retain=True)
    sender.publish("r/expired", b"x", retain=True, props={"message_expiry": 1})
    sender.publish("r/gone", b"x", retain=True)
    sender.publish("r/gone", b"", retain=True)
    sender.ping()
    old.stop()
    time.sleep(1.1)
    folder, _ = imported(t, old.file)
    broker = tern(t, folder)
    reader = t.client(broker.port, "reader")
    reader.subscribe("r/#", qos=1)
    got = sorted((p.topic, p.payload, p.qos) for p in (reader.receive(), reader.receive()))
    equal(got, [("r/bytes", b"\xff\x00", 0), ("r/text", "21 °C".encode(), 1)], "retained messages")
    reader.expect_nothing()
    keen = resume(t, broker, "keen", props=HOUR)
    keen.publish("own/x", b"mine", qos=1)
    reader.publish("flag/x", b"y", qos=1, retain=True)
    assert keen.receive("flag/x", b"y", qos=1).retain, "retain as published"


@tern_only
def test_sessions_go_on_running_out(t):
    old = Mosquitto(t)
    for name, seconds in (("short", 2), ("long", 3600), ("none", 0)):
        client(t, old.port, name, props={"session_expiry": seconds}).vanish()
    time.sleep(0.3)
    old.stop()
    time.sleep(2.5)
    folder, out = imported(t, old.file)
    assert out.startswith("imported 1 sessions"), out
    session = [json.loads(line) for line in ternctl("export", folder)[1].splitlines()][1]
    assert 3000 < session["expiry_s"] < 3600, session
    resume(t, tern(t, folder), "long", props=HOUR).disconnect()


@tern_only
def test_a_user_that_the_file_repeats_by_mistake_is_not_believed(t):
    """mosquitto 2.0.11 writes the last user's name for the clients behind it that have none."""
    old = Mosquitto(t)
    for name, user in (("a", "alice"), ("b", None), ("c", None), ("d", None)):
        client(t, old.port, name, props=EVER, username=user).vanish()
    old.stop()
    folder, out = imported(t, old.file)
    sessions = [json.loads(line) for line in ternctl("export", folder)[1].splitlines()]
    users = {s["client"]: s.get("user") for s in sessions if s["type"] == "session"}
    equal({user for name, user in users.items() if name != t.id("a")}, {None}, "users of those without one")
    equal(users[t.id("a")], "alice", f"user of the one that has one ({out})")


@tern_only
def test_other_files_are_refused_and_say_why(t):
    folder, file = os.path.join(t.folder(), "store"), os.path.join(t.folder(), "file")
    for text, word in ((b"", "empty"), (b"x" * 100, "persistence file")):
        with open(file, "wb") as out:
            out.write(text)
        code, _, err = ternctl("import", folder, "--mosquitto", file)
        assert code == DATA and word in err, (code, err)
    newer = b"\x00\xb5\x00mosquitto db" + bytes(4) + struct.pack(">I", 7)
    with open(file, "wb") as out:
        out.write(newer)
    code, _, err = ternctl("import", folder, "--mosquitto", file)
    assert code == DATA and "format 7" in err, (code, err)
    code, _, err = ternctl("import", folder, "--mosquitto", os.path.join(t.folder(), "missing"))
    assert code == DATA and "missing" in err, (code, err)
    code, _, err = ternctl("import", os.path.join(t.folder(), "no", "parent"), "--mosquitto", file)
    assert code == CANNOT_CREATE, (code, err)
    equal(ternctl("import", "--mosquitto", file)[0], USAGE, "exit code without a folder")
