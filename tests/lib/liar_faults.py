"""What the liar can do wrong: a table of faults.

A fault is written NAME@WHICH[=VALUE]: WHICH acts of its kind, counted from 0 (5, 5-9, 5-, or * for
all), are replaced by what its function returns: a list of acts.
"""

import dataclasses
import math
import random
import time


def change(act, at):
    """One byte of the payload is another; at counts from its end when negative."""
    payload = bytearray(act.message.payload)
    payload[at] ^= 0x01
    return other_message(act, payload=bytes(payload))


def other_message(act, **changes):
    return act.but(message=dataclasses.replace(act.message, **changes))


def swap(fault, act):
    """Two deliveries in the wrong order: the first is held until the second is done."""
    if fault.held is None:
        fault.held = act
        return []
    held, fault.held = fault.held, None
    return [act, held]


def to_somebody_else(liar, act):
    others = [s for s in liar.sessions.values() if s is not act.session and s.subscriptions]
    return act.but(session=others[0])


def stall(act, seconds):
    """The whole server stands still, as one that waits for its disk."""
    time.sleep(seconds)
    return [act]


def hang_up(act):
    connection = act.session.connection if hasattr(act, "session") else act.connection
    connection.transport.abort()
    return []


def garbage(act, seed):
    """Bytes of chance; or, half of the times, those of a packet of which some were changed."""
    chance = random.Random(seed)
    packet = bytearray(act.packet(7) if seed % 2 else chance.randbytes(chance.randrange(2, 80)))
    for _ in range(seed % 2 * 3):
        packet[chance.randrange(min(len(packet), 12))] = chance.randrange(256)
    act.session.connection.send(bytes(packet))
    return []


def hang_up_later(liar, act, seconds):
    liar.loop.call_later(seconds, act.connection.transport.abort)
    return [act]


def lose_queued(act, count):
    for _ in range(min(int(count), len(act.session.waiting))):
        act.session.waiting.popleft()
    return [act]


def repeat_queued(act):
    act.session.waiting.extend(list(act.session.waiting)[-1:])
    return [act]


def swap_queued(act):
    waiting = act.session.waiting
    if len(waiting) > 1:
        waiting[0], waiting[1] = waiting[1], waiting[0]
    return [act]


def forget(liar, act):
    """The session is a new one, and CONNACK admits it."""
    if not act.is_present:
        return [act]
    old = act.session
    liar.drop(old)
    session, _ = liar.session(old.client_id, is_fresh=True)
    session.connection, session.is_persistent = act.connection, old.is_persistent
    act.connection.session = session
    return [act.but(session=session, is_present=False)]


def wait_with_it(liar, act, seconds):
    liar.later(seconds, act)
    return []


# name: (kind of act, what it does, function(liar, fault, act) -> acts)
# fmt: off
FAULTS = {
    "refuse":         ("Welcome", "CONNACK with reason VALUE",
                       lambda liar, fault, act: [act.but(reason=int(fault.value))]),
    "late_welcome":   ("Welcome", "CONNACK comes VALUE seconds late",
                       lambda liar, fault, act: wait_with_it(liar, act, fault.value)),
    "no_welcome":     ("Welcome", "CONNACK never comes",
                       lambda liar, fault, act: []),
    "drop_later":     ("Welcome", "the connection is reset VALUE seconds after its welcome",
                       lambda liar, fault, act: hang_up_later(liar, act, fault.value)),
    "forget_session": ("Welcome", "a persistent session is forgotten, and CONNACK says so",
                       lambda liar, fault, act: forget(liar, act)),
    "hide_session":   ("Welcome", "CONNACK denies a session that is there",
                       lambda liar, fault, act: [act.but(is_present=False)]),
    "lose_queued":    ("Welcome", "the first VALUE queued messages are lost when the client comes back",
                       lambda liar, fault, act: lose_queued(act, fault.value)),
    "repeat_queued":  ("Welcome", "the last queued message is there twice when the client comes back",
                       lambda liar, fault, act: repeat_queued(act)),
    "swap_queued":    ("Welcome", "the first two queued messages change places",
                       lambda liar, fault, act: swap_queued(act)),
    "no_grant":       ("Grant",   "SUBACK never comes",
                       lambda liar, fault, act: []),
    "refuse_grant":   ("Grant",   "SUBACK with a failure code",
                       lambda liar, fault, act: [act.but(reasons=[0x80] * len(act.reasons))]),
    "grant_less":     ("Grant",   "SUBACK grants QoS 0",
                       lambda liar, fault, act: [act.but(reasons=[0] * len(act.reasons))]),
    "swallow":        ("Accept",  "a message is acknowledged and goes to nobody",
                       lambda liar, fault, act: []),
    "accept_twice":   ("Accept",  "a message goes to everybody twice",
                       lambda liar, fault, act: [act, act]),
    "stall":          ("Accept",  "the server stands still for VALUE seconds",
                       lambda liar, fault, act: stall(act, fault.value)),
    "drop_publisher": ("Accept",  "the connection of a publisher is reset",
                       lambda liar, fault, act: hang_up(act)),
    "no_answer":      ("Answer",  "PUBACK, PUBREC or PUBCOMP never comes",
                       lambda liar, fault, act: []),
    "answer_twice":   ("Answer",  "PUBACK, PUBREC or PUBCOMP comes twice",
                       lambda liar, fault, act: [act, act]),
    "answer_other":   ("Answer",  "PUBACK, PUBREC or PUBCOMP has the packet id of nobody",
                       lambda liar, fault, act: [act.but(pid=act.pid % 65535 + 20000)]),
    "unfair":         ("Choose",  "a shared group's message goes to the member who has been there longest",
                       lambda liar, fault, act: [act.but(members=sorted(act.members, key=lambda s: s.client_id))]),
    "group_twice":    ("Choose",  "a shared group's message goes to two members",
                       lambda liar, fault, act: [act, act.but(members=act.members[::-1])]),
    "lose":           ("Deliver", "a delivery is lost",
                       lambda liar, fault, act: []),
    "repeat":         ("Deliver", "a delivery comes twice",
                       lambda liar, fault, act: [act, act]),
    "swap":           ("Deliver", "two neighbours change places",
                       lambda liar, fault, act: swap(fault, act)),
    "change":         ("Deliver", "byte VALUE of the payload is another",
                       lambda liar, fault, act: [change(act, int(fault.value))]),
    "cut":            ("Deliver", "the last VALUE bytes of the payload are missing",
                       lambda liar, fault, act: [other_message(act, payload=act.message.payload[:-int(fault.value)])]),
    "misdeliver":     ("Deliver", "a delivery goes to the wrong subscriber",
                       lambda liar, fault, act: [to_somebody_else(liar, act)]),
    "also_other":     ("Deliver", "a delivery goes to a wrong subscriber too",
                       lambda liar, fault, act: [act, to_somebody_else(liar, act)]),
    "rename":         ("Deliver", "the topic is another",
                       lambda liar, fault, act: [other_message(act, topic=act.message.topic + "x")]),
    "lower_qos":      ("Deliver", "a delivery has QoS 0",
                       lambda liar, fault, act: [act.but(qos=0)]),
    "mark_dup":       ("Deliver", "a delivery says that it is a repeated one",
                       lambda liar, fault, act: [act.but(is_dup=True)]),
    "mark_retained":  ("Deliver", "a delivery says that it was retained",
                       lambda liar, fault, act: [act.but(retain=True)]),
    "mark_fresh":     ("Deliver", "a retained message does not say that it was retained",
                       lambda liar, fault, act: [act.but(retain=False)]),
    "late":           ("Deliver", "a delivery comes VALUE seconds late, others pass it",
                       lambda liar, fault, act: wait_with_it(liar, act, fault.value)),
    "no_release":     ("Release", "PUBREL to a subscriber never comes",
                       lambda liar, fault, act: []),
    "garbage":        ("Deliver", "bytes that follow from VALUE instead of a packet",
                       lambda liar, fault, act: garbage(act, int(fault.value))),
    "drop_subscriber": ("Deliver", "the connection of a subscriber is reset",
                        lambda liar, fault, act: hang_up(act)),
}
# fmt: on

SPAN = {"swap": 2}  # acts that one fault takes, when it is not one


class Fault:
    def __init__(self, text):
        name, _, rest = text.partition("@")
        which, _, value = rest.partition("=")
        assert name in FAULTS, f"no such fault: {text}; there are {', '.join(FAULTS)}"
        assert which, f"which acts? {text}"
        self.kind, _, self.function = FAULTS[name]
        first, dash, last = which.partition("-")
        self.first = 0 if which == "*" else int(first)
        self.last = self.first + SPAN.get(name, 1) - 1
        if which == "*" or dash:
            self.last = int(last) if last else math.inf
        self.value = float(value) if value.replace(".", "", 1).lstrip("-").isdigit() else int(value or "0", 0)
        self.held, self.spoiled = None, 0

    def concerns(self, kind, number):
        return kind == self.kind and self.first <= number <= self.last

    def spoil(self, liar, act):
        self.spoiled += 1
        return self.function(liar, self, act)
