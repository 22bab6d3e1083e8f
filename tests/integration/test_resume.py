"""What a client is still owed when it comes back, told by what happens on the wire."""

import mqtt
from suite import each, equal

EXPIRY = {"session_expiry": 600}


def leave_three_unfinished(t, broker, qos=1):
    """A session of "slow" that was sent three messages and answered none; their packet ids."""
    slow = t.client(broker.port, "slow", 5, clean=False, props=EXPIRY)
    slow.subscribe(t.topic(), qos=qos)
    publisher = t.client(broker.port, "publisher", 5)
    for text in ("one", "two", "three"):
        publisher.publish(t.topic(), text, qos=qos)
    pids = [slow.expect_publish(payload=text).pid for text in ("one", "two", "three")]
    slow.vanish()
    return publisher, pids


def test_a_smaller_receive_maximum_is_kept_when_messages_are_sent_again(t):
    broker = t.broker()
    publisher, pids = leave_three_unfinished(t, broker)
    slow = t.client(broker.port, "slow", 5, clean=False, props={**EXPIRY, "receive_max": 1})
    for pid, text in zip(pids, ("one", "two", "three")):
        slow.expect_publish(payload=text, pid=pid, dup=True)
        slow.expect_nothing()  # [MQTT-3.3.4-9]
        slow.send(mqtt.ack(mqtt.PUBACK, pid))
    publisher.publish(t.topic(), "four", qos=1)
    slow.receive(payload="four", dup=False)


@each(1, 2)
def test_an_answer_to_what_was_not_sent_again_yet_does_not_stop_what_follows(t, qos):
    """Its first sending reached the client, so the answer is an honest one."""
    broker = t.broker()
    publisher, pids = leave_three_unfinished(t, broker, qos)
    slow = t.client(broker.port, "slow", 5, clean=False, props={**EXPIRY, "receive_max": 1})
    slow.expect_publish(payload="one", pid=pids[0], dup=True)
    for pid in reversed(pids):
        if qos == 1:
            slow.send(mqtt.ack(mqtt.PUBACK, pid))
        else:
            slow.send(mqtt.ack(mqtt.PUBREC, pid))
            slow.expect(mqtt.PUBREL, pid=pid, reason=0)
            slow.send(mqtt.ack(mqtt.PUBCOMP, pid))
    publisher.publish(t.topic(), "four", qos=qos)
    message = slow.receive(dup=False)
    equal(message.payload, b"four", "what comes next")
    slow.expect_nothing()
