"""What a broker promised, and whether it kept it, over any number of its lives.

A history is told as it happens: what clients sent, what the broker acknowledged, what it delivered.
Promises keeps it and says what was broken. It knows no sockets and no clocks; `now` counts what
was told. Whatever was told later happened later, as one thread tells everything.

What is promised (house.md, "leaves when"):

    lost             accepted (PUBACK, PUBREC) while a subscription was acknowledged, and never delivered;
                     at QoS 2 of a subscription that ended only what came before something that did come:
                     PUBREC says that the message will be routed, and not that it has been
    doubled          QoS 2 delivered twice; QoS 1 twice though neither side had to send again
    disordered       first deliveries of a publisher's topic in another order than they were published.
                     Not of QoS 1 that was sent again and might have come first before it was subscribed
                     to: then 2 (1 came before the subscription) 1 2 (both sent again) is in order
    session_lost     CONNACK without session present, of a session that has to be there
    session_revived  or with it, after a clean start was acknowledged
    uninvited        delivered without a subscription, or never published
    refused          an acknowledgement with a reason of 0x80 and above
    pid_changed      sent again with another packet id, or the id of another exchange that is under way
    not_dup          sent again without DUP
    acks_disordered  acknowledged in another order than published
    retained_lost    a retained message older than the last one that was acknowledged
    retained_wrong   one that was never published

Of a shared subscription ($share) the group is one receiver, whoever of it has the message:

    lost             no member ever got what was accepted while one was in the group to the end
    doubled          two members had a message at QoS 2; at QoS 1 what one gives back another may get again, and
                     so may the same one
    uninvited        sent after its UNSUBACK; one who joins later may get what another gives back. For the same
                     reason there is no order over a group
"""

from bisect import bisect_left
from collections import Counter, defaultdict

FOREVER = float("inf")


def group_of(text):
    """The group, and the filter, of a subscription as a client writes it; None: it is the client's own."""
    if not text.startswith("$share/"):
        return None, text
    return text, text.split("/", 2)[2]


def matches(topic_filter, topic):
    """Filters of these tests: whole names, and # at the end."""
    if topic_filter.endswith("/#"):
        return topic == topic_filter[:-2] or topic.startswith(topic_filter[:-1])
    return topic == topic_filter


class Message:
    def __init__(self, topic, number, qos, sent):
        self.topic, self.number, self.qos, self.sent = topic, number, qos, sent
        self.accepted = FOREVER
        self.sent_count = 1


class Interval:
    """One life of a subscription: sure from granted to leaving, possible from asked to left."""

    def __init__(self, text, asked):
        self.text, self.asked = text, asked
        self.group, self.filter = group_of(text)
        self.granted = self.leaving = self.left = FOREVER
        self.qos = None
        self.reached = {}  # topic -> highest number that had come when it was to end

    def leave(self, now, highest):
        if self.leaving == FOREVER:
            self.leaving, self.reached = now, dict(highest)

    def may_bring(self, message):
        """Not what was sent after it had ended, nor what PUBACK told before it was asked for had been routed, but to
        another member."""
        may_come_late = message.qos == 2 or self.group is not None
        return self.left > message.sent and (may_come_late or self.asked < message.accepted)

    def covers(self, message):
        """Granted before it was sent, and kept until it has been routed to this session."""
        if self.granted > message.sent:
            return False
        if message.qos == 2 and self.leaving < FOREVER:
            return message.number <= self.reached.get(message.topic, -1)
        return message.accepted < self.leaving


class Delivery:
    """The first delivery of a message, and its story for people: what came and went, in which life of the broker."""

    def __init__(self, connection, pid):
        self.connections, self.pid, self.story = [connection], pid, []


class Session:
    """What a client knows of its session at the broker."""

    def __init__(self, name):
        self.name = name
        self.kept = False  # it has to be there: True, must not: False, who knows: None
        self.asked_clean = self.is_asking = False
        self.intervals = []
        self.resets = []  # when a clean start was asked for
        self.got = {}  # (topic, number) -> Delivery
        self.highest = {}  # topic -> highest number that came
        self.exchanges = {}  # packet id -> (topic, number): received, and not finished by us

    def group_of(self, topic):
        """The group by which it gets what is published there; None: by itself. Nobody does both here."""
        return next((i.group for i in self.intervals if matches(i.filter, topic)), None)


class Promises:
    def __init__(self):
        self.now = self.life = 0
        self.broken = []  # (kind, text): the first of each kind
        self.counts, self.broken_counts = Counter(), Counter()
        self.messages = {}  # (topic, number) -> Message
        self.by_topic = defaultdict(list)  # in the order first sent
        self.unanswered = defaultdict(list)  # (publisher, qos) -> keys in the order sent on this connection
        self.sessions = {}
        self.had = defaultdict(dict)  # group -> (topic, number) -> name of the member that had it last
        self.retained = defaultdict(list)  # topic -> [number or None, accepted?] in the order sent

    def tick(self):
        self.now += 1
        return self.now

    def breaks(self, kind, text):
        self.broken_counts[kind] += 1
        if self.broken_counts[kind] <= 20:
            self.broken.append((kind, text))

    def session(self, name):
        return self.sessions.setdefault(name, Session(name))

    # -- publishers

    def connection_began(self, publisher):
        """Nothing is under way on the new one yet."""
        self.unanswered[publisher, 1].clear()
        self.unanswered[publisher, 2].clear()

    def sent(self, publisher, topic, number, qos, retain=False, is_empty=False):
        """A PUBLISH leaves, for the first time or again. Retained ones are asked for by look_retained only."""
        key = topic, number
        now = self.tick()
        if key in self.messages:
            self.messages[key].sent_count += 1
        else:
            self.messages[key] = Message(topic, number, qos, now)
            self.by_topic[topic].append(self.messages[key])
            if retain:
                self.retained[topic].append([None if is_empty else number, False, number])
        if qos:
            self.unanswered[publisher, qos].append(key)

    def accepted(self, publisher, topic, number, qos, reason=0):
        """PUBACK, or the first PUBREC."""
        key = topic, number
        waiting = self.unanswered[publisher, qos]
        self.counts["accepted"] += 1
        if reason >= 0x80:
            self.breaks("refused", f"{topic} {number}: reason {reason:#x}")
            return
        if key not in waiting:
            self.breaks("acks_disordered", f"{publisher}: acknowledged and not under way: {topic} {number}")
        else:
            if waiting[0] != key:
                self.breaks("acks_disordered", f"{publisher}: {key} before {waiting[0]}")
            waiting.remove(key)
        message = self.messages[key]
        message.accepted = min(message.accepted, self.tick())
        for state in self.retained.get(topic, ()):
            if state[2] == number:
                state[1] = True

    def will_set(self, topic, number, qos):
        """A CONNECT leaves with a will: it may be published from now on."""
        self.sent(None, topic, number, 0)
        self.messages[topic, number].qos = qos

    def will_due(self, topic, number):
        """Its client is gone and does not come back: the will has to be published, once."""
        message = self.messages[topic, number]
        message.accepted = min(message.accepted, self.tick())

    # -- sessions

    def asks_to_connect(self, name, clean):
        session = self.session(name)
        if session.is_asking and session.kept is False:
            session.kept = None  # the last CONNECT had no answer, and may have made one
        session.asked_clean, session.is_asking = clean, True
        if clean:
            now = self.tick()
            session.resets.append(now)
            for interval in session.intervals:
                interval.leave(now, session.highest)
            session.kept = None if session.kept else session.kept

    def welcomed(self, name, present, will_be_kept=True):
        """CONNACK. will_be_kept: the session outlives this connection."""
        session = self.session(name)
        now = self.tick()
        session.is_asking = False
        self.counts["welcomed"] += 1
        if session.asked_clean:
            if present:
                self.breaks("session_revived", f"{name}: session present after a clean start")
            for interval in session.intervals:
                interval.left = min(interval.left, now)
            session.exchanges.clear()
        elif session.kept is True and not present:
            self.breaks("session_lost", f"{name}: acknowledged before, and not there any more")
            # From here on it is a new one, or each of its messages were counted as lost, too.
            session.resets.append(now)
            for interval in session.intervals:
                interval.leave(now, session.highest)
                interval.left = min(interval.left, now)
            session.exchanges.clear()
        elif session.kept is False and present:
            self.breaks("session_revived", f"{name}: session present, and there was none")
        session.kept = will_be_kept

    # -- subscriptions

    def subscribing(self, name, topic_filter):
        self.session(name).intervals.append(Interval(topic_filter, self.tick()))

    def subscribed(self, name, topic_filter, qos):
        if qos >= 0x80:
            self.breaks("refused", f"{name}: SUBACK {qos:#x} for {topic_filter}")
            return
        now = self.tick()
        for interval in self.session(name).intervals:
            if interval.text == topic_filter and interval.left == FOREVER:
                interval.granted, interval.qos = min(interval.granted, now), qos

    def unsubscribing(self, name, topic_filter):
        session, now = self.session(name), self.tick()
        for interval in session.intervals:
            if interval.text == topic_filter:
                interval.leave(now, session.highest)

    def unsubscribed(self, name, topic_filter):
        now = self.tick()
        for interval in self.session(name).intervals:
            if interval.text == topic_filter and interval.leaving < FOREVER:
                interval.left = min(interval.left, now)

    # -- deliveries

    def delivered(self, name, connection, topic, number, qos, pid, dup):
        """A PUBLISH came. True: a new message; False: the same exchange again."""
        session = self.session(name)
        key = topic, number
        self.tick()
        self.counts["delivered"] += 1
        message = self.messages.get(key)
        if message is None:
            self.breaks("uninvited", f"{name} got {topic} {number}, which nobody published")
            return True
        if not any(matches(i.filter, topic) and i.may_bring(message) for i in reversed(session.intervals)):
            self.breaks("uninvited", f"{name} got {topic} {number} without a subscription")
        under_way = session.exchanges.get(pid) if qos else None
        if under_way is not None and under_way != key:
            self.breaks("pid_changed", f"{name}: id {pid} was of {under_way}, and now comes with {key}")
        before, group = session.got.get(key), session.group_of(topic)
        if before is None:
            session.got[key] = Delivery(connection, pid)
            if group is not None:
                self.had_by(group, session, key, qos)
            elif number < session.highest.get(topic, -1) and not self.may_be_late(session, message):
                self.breaks("disordered", f"{name}: {topic} {number} after {session.highest[topic]}")
            session.highest[topic] = max(number, session.highest.get(topic, -1))
        else:
            self.again(session, before, message, connection, qos, pid, dup, group)
        self.tell(session, key, f"PUBLISH id {pid}{' dup' if dup else ''} on connection {connection}")
        if qos:
            session.exchanges[pid] = key
        return before is None

    def had_by(self, group, session, key, qos):
        other = self.had[group].get(key)
        if other is not None and qos == 2:
            story = "; ".join(self.sessions[other].got[key].story)
            self.breaks("doubled", f"{session.name} got {key[0]} {key[1]} of {group}, which {other} had: {story}")
        self.had[group][key] = session.name

    @staticmethod
    def may_be_late(session, message):
        """It came before the subscription, or may have, and to this session only when it was sent again."""
        is_sure = any(matches(i.filter, message.topic) and i.granted <= message.sent and i.leaving == FOREVER
                      for i in session.intervals)
        return message.qos == 1 and message.sent_count > 1 and not is_sure

    def again(self, session, before, message, connection, qos, pid, dup, group):
        what = f"{session.name}: {message.topic} {message.number}"
        is_same_exchange = session.exchanges.get(pid) == (message.topic, message.number)
        is_sent_again = connection not in before.connections
        before.connections.append(connection)
        self.counts["again"] += 1
        if is_same_exchange and is_sent_again:
            if not dup:
                self.breaks("not_dup", what)
            return
        if qos == 2:
            kind = "pid_changed" if self.holds(session, message) else "doubled"
            self.breaks(kind, f"{what} again, id {pid}, first {before.pid}; before: {'; '.join(before.story)}")
        elif qos == 1 and message.sent_count == 1 and group is None:
            # Our PUBACK may have been lost with the broker: then it comes on a later connection, as it was.
            if not is_sent_again:
                self.breaks("doubled", f"{what} twice on one connection")
            elif pid != before.pid:
                self.breaks("pid_changed", f"{what} again, id {pid}, first {before.pid}")
            elif not dup:
                self.breaks("not_dup", what)

    @staticmethod
    def holds(session, message):
        return (message.topic, message.number) in session.exchanges.values()

    def finished(self, name, pid):
        """The client has ended its part of the exchange: PUBACK sent, or PUBREL received."""
        session = self.session(name)
        key = session.exchanges.pop(pid, None)
        if key is not None:
            self.tell(session, key, "finished")

    def noted(self, name, pid, what):
        """Something about an exchange that is only worth a line in its story."""
        session = self.session(name)
        if pid in session.exchanges:
            self.tell(session, session.exchanges[pid], what)

    def tell(self, session, key, what):
        session.got[key].story.append(f"life {self.life}: {what}")

    # -- retained

    def look_retained(self, found, topics):
        """found: topic -> number, of a new subscriber. The last acknowledged, or any later one."""
        for topic in topics:
            states = self.retained.get(topic, [])
            settled = max((at for at, state in enumerate(states) if state[1]), default=-1)
            allowed = [state[0] for state in states[max(settled, 0):]]
            if settled < 0:
                allowed.append(None)
            value = found.get(topic)
            self.counts["retained"] += 1
            if value in allowed:
                continue
            known = value is None or any(value == state[0] for state in states)
            kind = "retained_lost" if known else "retained_wrong"
            self.breaks(kind, f"{topic} is {value}, one of {allowed[:8]} expected")

    # -- the end

    def owed(self, session):
        """Messages that have to reach it, and did not."""
        reset = max(session.resets, default=0)
        for interval in session.intervals:
            if interval.granted == FOREVER or interval.group is not None:
                continue
            for topic, messages in self.by_topic.items():
                if not matches(interval.filter, topic):
                    continue
                first = bisect_left(messages, max(interval.granted, reset), key=lambda message: message.sent)
                last = bisect_left(messages, interval.leaving, key=lambda message: message.sent)
                for message in messages[first:last]:
                    is_due = message.accepted < FOREVER and interval.covers(message)
                    if is_due and message.qos and interval.qos:
                        if (message.topic, message.number) not in session.got:
                            yield message

    def owed_to_groups(self):
        """(group, message): no member has it, though one was there before it was sent, and stays."""
        first = {}
        for session in self.sessions.values():
            for interval in session.intervals:
                if interval.group is not None and interval.leaving == FOREVER:
                    first[interval.group] = min(interval.granted, first.get(interval.group, FOREVER))
        for group, granted in first.items():
            for topic, messages in self.by_topic.items():
                if not matches(group_of(group)[1], topic):
                    continue
                for message in messages[bisect_left(messages, granted, key=lambda message: message.sent):]:
                    if message.accepted < FOREVER and message.qos and (topic, message.number) not in self.had[group]:
                        yield group, message

    def missing_count(self):
        own = sum(1 for session in self.sessions.values() for _ in self.owed(session))
        return own + sum(1 for _ in self.owed_to_groups())

    def judge(self):
        """Everything that was to come has come, or will not: what is missing now is lost."""
        for session in self.sessions.values():
            for message in self.owed(session):
                self.breaks("lost", f"{session.name}: {message.topic} {message.number}, accepted, "
                            f"sent {message.sent_count} times")
        for group, message in self.owed_to_groups():
            self.breaks("lost", f"{group}: {message.topic} {message.number}, accepted, sent {message.sent_count} times")
        return self.broken

    def kinds(self):
        return self.broken_counts

    def assert_kept(self, label=""):
        lines = [f"{kind}: {text}" for kind, text in self.broken[:40]]
        assert not self.broken, f"promises were broken: {dict(self.broken_counts)} {label}\n  " + "\n  ".join(lines)
