"""The checker of the kill tests finds what it is there to find, and nothing else.

Each history is a line of steps; the same history, told right, breaks nothing. Then a real broker that
is known to lose what it acknowledged: mosquitto, whose persistence is written every half hour.
"""

import os

import checker
import durable
from suite import Skip, alone, each, equal

MOSQUITTO = "/usr/sbin/mosquitto"


def begin():
    """A subscriber s with two topics, a publisher p; both have a session that stays."""
    p = checker.Promises()
    for name in ("s", "p"):
        p.asks_to_connect(name, False)
        p.welcomed(name, False)
    p.subscribing("s", "t/#")
    p.subscribed("s", "t/#", 2)
    p.connection_began("p")
    return p


def send(p, number, qos=2, topic="t/a", ack=True, **how):
    p.sent("p", topic, number, qos, **how)
    if ack:
        p.accepted("p", topic, number, qos)


def get(p, number, qos=2, pid=None, dup=False, connection=1, topic="t/a", finish=True):
    p.delivered("s", connection, topic, number, qos, pid or number, dup)
    if finish:
        p.finished("s", pid or number)


def back(p, present=True, name="s", clean=False):
    p.asks_to_connect(name, clean)
    p.welcomed(name, present)


def leave(p):
    p.unsubscribing("s", "t/#")
    p.unsubscribed("s", "t/#")


def all_is_well(p):
    for number in range(1, 5):
        send(p, number)
        get(p, number)


def sent_again_by_both(p):
    send(p, 1, qos=1, ack=False)
    back(p, name="p")
    p.connection_began("p")
    send(p, 1, qos=1)
    get(p, 1, qos=1)
    get(p, 1, qos=1, pid=2)  # the broker had stored both, as QoS 1 allows
    send(p, 2)
    get(p, 2, finish=False, pid=9)
    back(p)
    get(p, 2, pid=9, dup=True, connection=2)


def unsubscribed_before(p):
    p.unsubscribing("s", "t/#")
    send(p, 1)
    p.unsubscribed("s", "t/#")
    send(p, 2)


def forgotten_by_will(p):
    send(p, 1)
    back(p, present=False, clean=True)


def a_connect_without_an_answer(p):
    p.asks_to_connect("new", False)
    back(p, present=True, name="new")
    p.asks_to_connect("newer", False)
    back(p, present=False, name="newer")


def never_acknowledged(p):
    send(p, 1, ack=False)


def a_will_that_may_come(p):
    p.will_set("t/a", 1, 2)
    p.will_set("t/a", 2, 2)
    get(p, 2)


def a_will_that_had_to_come(p):
    p.will_set("t/a", 1, 2)
    p.will_due("t/a", 1)


def a_will_that_came_twice(p):
    p.will_set("t/a", 1, 2)
    p.will_due("t/a", 1)
    get(p, 1)
    get(p, 1, pid=2)


def lost(p):
    all_is_well(p)
    send(p, 5)


def lost_at_qos_1(p):
    send(p, 1, qos=1)


def lost_though_left_later(p):
    send(p, 1, qos=1)
    leave(p)


def left_before_it_was_routed(p):
    send(p, 1)
    leave(p)


def lost_before_one_that_came(p):
    send(p, 1)
    send(p, 2)
    get(p, 2)
    leave(p)


def doubled(p):
    send(p, 1)
    get(p, 1)
    back(p)
    get(p, 1, dup=True, connection=2)


def doubled_at_qos_1(p):
    send(p, 1, qos=1)
    get(p, 1, qos=1)
    get(p, 1, qos=1, pid=2)


def disordered(p):
    send(p, 1)
    send(p, 2)
    get(p, 2)
    get(p, 1)


def sent_before_it_was_subscribed_to_and_again_after(p):
    leave(p)
    send(p, 1, qos=1, ack=False)
    p.subscribing("s", "t/#")
    send(p, 2, qos=1, ack=False)
    get(p, 2, qos=1)
    back(p, name="p")
    p.connection_began("p")
    send(p, 1, qos=1)
    send(p, 2, qos=1)
    get(p, 1, qos=1, pid=3)
    get(p, 2, qos=1, pid=4)


def disordered_though_subscribed_to_all_along(p):
    send(p, 1, qos=1, ack=False)
    send(p, 2, qos=1, ack=False)
    get(p, 2, qos=1)
    back(p, name="p")
    p.connection_began("p")
    send(p, 1, qos=1)
    get(p, 1, qos=1, pid=3)


def disordered_at_qos_2_whenever_subscribed_to(p):
    leave(p)
    send(p, 1, ack=False)
    p.subscribing("s", "t/#")
    send(p, 2, ack=False)
    get(p, 2)
    back(p, name="p")
    p.connection_began("p")
    send(p, 1)
    get(p, 1, pid=3)


def session_lost(p):
    back(p, present=False)


def session_of_a_publisher_lost(p):
    back(p, present=False, name="p")


def session_revived(p):
    back(p, present=True, clean=True)


def session_from_nowhere(p):
    back(p, present=True, name="stranger")


def uninvited(p):
    send(p, 1, topic="u/a")
    get(p, 1, topic="u/a")


def uninvited_after_leaving(p):
    leave(p)
    send(p, 1)
    get(p, 1)


def uninvited_before_it_was_subscribed_to(p):
    leave(p)
    send(p, 1, qos=1)
    p.subscribing("s", "t/#")
    get(p, 1, qos=1)


def never_published(p):
    get(p, 77)


def refused(p):
    p.sent("p", "t/a", 1, 1)
    p.accepted("p", "t/a", 1, 1, 0x97)


def refused_to_subscribe(p):
    p.subscribing("s", "v/#")
    p.subscribed("s", "v/#", 0x80)


def pid_changed(p):
    send(p, 1)
    get(p, 1, pid=4, finish=False)
    back(p)
    get(p, 1, pid=5, dup=True, connection=2)


def pid_changed_at_qos_1(p):
    send(p, 1, qos=1)
    get(p, 1, qos=1, pid=4)
    back(p)
    get(p, 1, qos=1, pid=5, dup=True, connection=2)


def pid_of_another(p):
    send(p, 1)
    send(p, 2)
    get(p, 1, pid=4, finish=False)
    get(p, 2, pid=4)


def not_dup(p):
    send(p, 1)
    get(p, 1, pid=4, finish=False)
    back(p)
    get(p, 1, pid=4, connection=2)


def acks_disordered(p):
    send(p, 1, qos=1, ack=False)
    send(p, 2, qos=1, ack=False)
    p.accepted("p", "t/a", 2, 1)
    p.accepted("p", "t/a", 1, 1)
    get(p, 1, qos=1)
    get(p, 2, qos=1)


def retained_lost(p):
    send(p, 1, topic="r/a", retain=True)
    send(p, 2, topic="r/a", retain=True)
    p.look_retained({"r/a": 1}, ["r/a"])


def retained_gone(p):
    send(p, 1, topic="r/a", retain=True)
    p.look_retained({}, ["r/a"])


def retained_back(p):
    send(p, 1, topic="r/a", retain=True)
    send(p, 2, topic="r/a", retain=True, is_empty=True)
    p.look_retained({"r/a": 1}, ["r/a"])


def retained_wrong(p):
    p.look_retained({"r/a": 5}, ["r/a"])


def retained_as_promised(p):
    send(p, 1, topic="r/a", retain=True)
    send(p, 2, topic="r/a", retain=True, ack=False)
    send(p, 3, topic="r/a", retain=True, ack=False, is_empty=True)
    for found in ({"r/a": 1}, {"r/a": 2}, {}):
        p.look_retained(found, ["r/a"])


# -- a group, with the members a and b at first

TEAM = "$share/team/g/#"


def join(p, name, qos=2):
    p.asks_to_connect(name, False)
    p.welcomed(name, False)
    p.subscribing(name, TEAM)
    p.subscribed(name, TEAM, qos)


def part(p, name):
    p.unsubscribing(name, TEAM)
    p.unsubscribed(name, TEAM)


def a_team(p, qos=2):
    join(p, "a", qos)
    join(p, "b", qos)


def member_gets(p, name, number, qos=2, pid=None):
    p.delivered(name, 1, "g/x", number, qos, pid or number, False)
    p.finished(name, pid or number)


def each_came_to_one_member(p):
    a_team(p)
    for number in range(1, 5):
        send(p, number, topic="g/x")
        member_gets(p, "ab"[number % 2], number)


def one_who_joins_later_gets_what_another_gave_back(p):
    a_team(p, 1)
    send(p, 1, qos=1, topic="g/x")
    send(p, 2, qos=1, topic="g/x")
    member_gets(p, "a", 2, 1)
    join(p, "c", 1)
    part(p, "b")
    member_gets(p, "c", 1, 1)


def given_back_at_qos_1_it_comes_twice(p):
    a_team(p, 1)
    send(p, 1, qos=1, topic="g/x")
    member_gets(p, "a", 1, 1)
    member_gets(p, "b", 1, 1)
    member_gets(p, "b", 1, 1, pid=9)


def a_group_that_nobody_stays_in_may_lose(p):
    a_team(p)
    send(p, 1, topic="g/x")
    part(p, "a")
    part(p, "b")


def two_members_had_it(p):
    a_team(p)
    send(p, 1, topic="g/x")
    member_gets(p, "a", 1)
    member_gets(p, "b", 1)


def one_member_had_it_twice(p):
    a_team(p)
    send(p, 1, topic="g/x")
    member_gets(p, "a", 1)
    member_gets(p, "a", 1, pid=2)


def no_member_had_it(p):
    a_team(p)
    send(p, 1, topic="g/x")
    send(p, 2, topic="g/x")
    member_gets(p, "a", 2)
    part(p, "a")


def no_member_had_it_at_qos_1(p):
    a_team(p, 1)
    send(p, 1, qos=1, topic="g/x")


def one_who_left_before_it_was_sent_had_it(p):
    a_team(p)
    part(p, "b")
    send(p, 1, topic="g/x")
    member_gets(p, "b", 1)


def a_message_of_no_group_went_to_a_member(p):
    a_team(p)
    send(p, 1)
    get(p, 1)
    p.delivered("a", 1, "t/a", 1, 2, 1, False)


HISTORIES = (
    (all_is_well, None),
    (sent_again_by_both, None),
    (unsubscribed_before, None),
    (forgotten_by_will, None),
    (a_connect_without_an_answer, None),
    (never_acknowledged, None),
    (retained_as_promised, None),
    (a_will_that_may_come, None),
    (left_before_it_was_routed, None),
    (sent_before_it_was_subscribed_to_and_again_after, None),
    (a_will_that_had_to_come, "lost"),
    (a_will_that_came_twice, "doubled"),
    (lost, "lost"),
    (lost_at_qos_1, "lost"),
    (lost_though_left_later, "lost"),
    (lost_before_one_that_came, "lost"),
    (doubled, "doubled"),
    (doubled_at_qos_1, "doubled"),
    (disordered, "disordered"),
    (disordered_though_subscribed_to_all_along, "disordered"),
    (disordered_at_qos_2_whenever_subscribed_to, "disordered"),
    (session_lost, "session_lost"),
    (session_of_a_publisher_lost, "session_lost"),
    (session_revived, "session_revived"),
    (session_from_nowhere, "session_revived"),
    (uninvited, "uninvited"),
    (uninvited_after_leaving, "uninvited"),
    (uninvited_before_it_was_subscribed_to, "uninvited"),
    (never_published, "uninvited"),
    (refused, "refused"),
    (refused_to_subscribe, "refused"),
    (pid_changed, "pid_changed"),
    (pid_changed_at_qos_1, "pid_changed"),
    (pid_of_another, "pid_changed"),
    (not_dup, "not_dup"),
    (acks_disordered, "acks_disordered"),
    (retained_lost, "retained_lost"),
    (retained_gone, "retained_lost"),
    (retained_back, "retained_lost"),
    (retained_wrong, "retained_wrong"),
    (each_came_to_one_member, None),
    (one_who_joins_later_gets_what_another_gave_back, None),
    (given_back_at_qos_1_it_comes_twice, None),
    (a_group_that_nobody_stays_in_may_lose, None),
    (two_members_had_it, "doubled"),
    (one_member_had_it_twice, "doubled"),
    (no_member_had_it, "lost"),
    (no_member_had_it_at_qos_1, "lost"),
    (one_who_left_before_it_was_sent_had_it, "uninvited"),
    (a_message_of_no_group_went_to_a_member, "uninvited"),
)


@each(*(history.__name__ for history, _ in HISTORIES))
def test_a_history_is_judged_as(t, name):
    history, wanted = next(pair for pair in HISTORIES if pair[0].__name__ == name)
    promises = begin()
    history(promises)
    promises.judge()
    equal(set(promises.kinds()), {wanted} if wanted else set(), "what was broken")


@alone
def test_mosquitto_loses_what_it_acknowledged_and_is_found_out(t):
    if not os.path.exists(MOSQUITTO):
        raise Skip("mosquitto is not installed")
    before = os.environ.get("TERN_BIN")
    os.environ["TERN_BIN"] = MOSQUITTO
    try:
        broker = durable.DurableBroker(os.path.join(t.folder(), "data"))
        t.brokers.append(broker)
        swarm = durable.Swarm(broker, 1)
        swarm.run(0.7)
        broker.crash()
        swarm.drain()
        broker.restart()
        swarm.look_retained()
        swarm.run(0.3)
        swarm.settle(5)
        broker.crash()
    finally:
        if before is None:
            del os.environ["TERN_BIN"]
        else:
            os.environ["TERN_BIN"] = before
    found = swarm.promises.kinds()
    assert found["session_lost"] >= 5, found
    assert found["retained_lost"] >= 1, found
