"""Enhanced authentication with SCRAM-SHA-256 (MQTT 5, 4.12): a client in Python, and MQTT.js."""

import os

import certs
import mqtt
import scram
import secure
import test_mqttjs
import tls
from suite import each, equal, short, tern_only

SECRET = "correct horse, battery = staple"
RULES = """
user alice
topic readwrite of/alice/#
user Zoë
topic readwrite of/zoe/#
pattern readwrite %c/#
"""
REAUTHENTICATE, CONTINUE = 0x19, 0x18


def broker_of(t):
    path, rules = os.path.join(t.folder(), "passwords"), os.path.join(t.folder(), "acl")
    users = {"alice": SECRET, "bob": "bob's own", "Zoë": "Straße", "a=b,c": SECRET}
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(scram.password_line(name, secret) + "\n" for name, secret in users.items())
    with open(rules, "w", encoding="utf-8") as file:
        file.write(RULES)
    for private in (path, rules):
        os.chmod(private, 0o600)
    listeners = {
        "plain": [],
        "mqtts": certs.listener("ecdsa"),
        "wss": certs.listener("rsa", "protocol websockets"),
    }
    lines = [f"password_file {path}", f"acl_file {rules}", "allow_anonymous false"]
    return t.broker(lines, listeners=listeners)


def raw(broker, scheme):
    port = broker.ports[scheme]
    make = {"plain": mqtt.Tcp, "mqtts": tls.Tls, "wss": tls.WebSocket}[scheme]
    return mqtt.Client(port, 5, transport=make(("127.0.0.1", port)), label=scheme)


def proven(t, broker, scheme="mqtts", name="alice", secret=SECRET, **how):
    """A client that has proven who it is, and whose server has, too."""
    client, talk = raw(broker, scheme), scram.ScramClient(name, secret)
    props = {"auth_method": scram.METHOD, "auth_data": talk.first()}
    client.send(mqtt.connect(t.id(), props=props, **how))
    challenge = client.expect(mqtt.AUTH, reason=CONTINUE)
    equal(challenge.props["auth_method"], scram.METHOD)
    client.send(mqtt.auth(CONTINUE, scram.METHOD, talk.final(challenge.props["auth_data"])))
    connack = client.expect(mqtt.CONNACK, reason=0)
    equal(connack.props["auth_method"], scram.METHOD)
    talk.verify(connack.props["auth_data"])
    return client


def reaches(client, topic):
    client.send(mqtt.subscribe(client.pid(), [(topic, 1)]))
    client.answer(mqtt.SUBACK)
    client.send(mqtt.publish(topic, b"mine?", 1, client.pid()))
    client.answer(mqtt.PUBACK)
    client.send(mqtt.pingreq())
    client.answer(mqtt.PINGRESP)
    came = [packet.topic for packet in client.stash]
    client.stash.clear()
    return topic in came


@tern_only
@short
@each("plain", "mqtts", "wss")
def test_both_sides_prove_that_they_know_the_secret(t, scheme):
    broker = broker_of(t)
    client = proven(t, broker, scheme)
    assert reaches(client, "of/alice/x"), "the user of the rules is who it proved to be"
    assert not reaches(client, "of/zoe/x")
    client.disconnect()
    assert SECRET not in broker.log(), "the password stands in the log"


@tern_only
@each("Zoë", "a=b,c")
def test_names_with_letters_of_all_kinds_are_proven(t, name):
    broker = broker_of(t)
    client = proven(t, broker, name=name, secret="Straße" if name == "Zoë" else SECRET)
    equal(reaches(client, "of/zoe/x"), name == "Zoë")
    client.disconnect()


@tern_only
def test_an_old_exchange_is_of_no_use(t):
    """What was heard once cannot be said again: the server's nonce is another one."""
    broker = broker_of(t)
    client, talk = raw(broker, "plain"), scram.ScramClient("alice", SECRET, nonce="always-the-same-nonce")
    props = {"auth_method": scram.METHOD, "auth_data": talk.first()}
    client.send(mqtt.connect(t.id(), props=props))
    overheard = talk.final(client.expect(mqtt.AUTH).props["auth_data"])
    client.send(mqtt.auth(CONTINUE, scram.METHOD, overheard))
    client.expect(mqtt.CONNACK, reason=0)
    thief = raw(broker, "plain")
    thief.send(mqtt.connect(t.id("thief"), props=props))
    thief.expect(mqtt.AUTH)
    thief.send(mqtt.auth(CONTINUE, scram.METHOD, overheard))
    thief.expect_refusal(0x86, 0x87)


def again(client, talk):
    """AUTH 0x19 and the server's challenge."""
    client.send(mqtt.auth(REAUTHENTICATE, scram.METHOD, talk.first()))
    return client.expect(mqtt.AUTH, reason=CONTINUE).props["auth_data"]


@tern_only
@short
@each("mqtts", "wss")
def test_a_client_proves_itself_again_in_its_session(t, scheme):
    broker = broker_of(t)
    client = proven(t, broker, scheme)
    client.subscribe("of/alice/news", qos=1)
    for _ in range(3):
        talk = scram.ScramClient("alice", SECRET)
        challenge = again(client, talk)
        client.send(mqtt.auth(CONTINUE, scram.METHOD, talk.final(challenge)))
        done = client.expect(mqtt.AUTH, reason=0)
        equal(done.props["auth_method"], scram.METHOD)
        talk.verify(done.props["auth_data"])
        client.publish("of/alice/news", "still here", qos=1)
        client.receive("of/alice/news", "still here")
    client.disconnect()


@tern_only
def test_messages_flow_while_it_proves_itself_again(t):
    broker = broker_of(t)
    client = proven(t, broker)
    client.subscribe("of/alice/news", qos=1)
    talk = scram.ScramClient("alice", SECRET)
    challenge = again(client, talk)
    client.publish("of/alice/news", "in between", qos=1)
    client.receive("of/alice/news", "in between")
    client.send(mqtt.auth(CONTINUE, scram.METHOD, talk.final(challenge)))
    talk.verify(client.expect(mqtt.AUTH, reason=0).props["auth_data"])
    client.ping()
    client.disconnect()


@tern_only
@each("a wrong password", "another user", "another method", "garbage")
def test_who_fails_to_prove_itself_again_is_sent_away(t, how):
    """[MQTT-4.12.1-2] and what the standard leaves open: nobody becomes somebody else in his session."""
    broker = broker_of(t)
    client = proven(t, broker)
    if how == "another method":
        client.send(mqtt.auth(REAUTHENTICATE, "SCRAM-SHA-1", b"n,,n=alice,r=abcdefgh"))
        client.expect_refusal(0x82, 0x8C)
        return
    if how == "garbage":
        client.send(mqtt.auth(REAUTHENTICATE, scram.METHOD, b"\xff" * 100))
        client.expect_refusal(0x86, 0x87)
        return
    talk = scram.ScramClient("bob", "bob's own") if how == "another user" else scram.ScramClient("alice", "guess")
    client.send(mqtt.auth(REAUTHENTICATE, scram.METHOD, talk.first()))
    packet = client.recv()
    if packet.kind == mqtt.AUTH:
        client.send(mqtt.auth(CONTINUE, scram.METHOD, talk.final(packet.props["auth_data"])))
        packet = client.recv()
    equal(packet.kind, mqtt.DISCONNECT, "the answer")
    assert packet.reason in (0x86, 0x87), f"reason {packet.reason:#x}"
    equal(client.expect_close(), [], "what came after it")


@tern_only
@short
@each(*secure.SCHEMES)
def test_mqttjs_proves_itself_with_scram(t, scheme):
    broker = broker_of(t)
    url = f"{scheme}://localhost:{broker.ports[scheme]}" + ("/mqtt" if scheme == "wss" else "")
    env = {**test_mqttjs.MODULES, "CA": certs.ca(), "USER": "alice", "PASSWORD": SECRET}
    script = os.path.join(test_mqttjs.HERE, "mqttjs.js")
    t.program("node", script, url, 5, "of/alice", "scram_proves_both_sides", env=env).wait_end(60)
