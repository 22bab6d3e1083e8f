"""Rules as mosquitto takes them: random ACL files and questions, put to a real mosquitto and to ours.

One mosquitto has a listener for each file, and one without rules for an observer who sees and sends
everything. What a client may publish is what the PUBACK says and what the observer gets; what it may read
is what it gets of the observer's messages. Ours answers through `ternctl acl test FILE --stdin`.

Where we differ on purpose, ON_PURPOSE says how. Everything else has to be the same.
"""

import os
import random
import subprocess
import time

import broker as broker_module
import mqtt
from suite import each, equal, once, short, tern_only
from ternctl import DATA, OK, ternctl

MOSQUITTO = "/usr/sbin/mosquitto"

# Names of clients and users; words of topics. A few are made to get into each other's way.
IDS = ["a", "b", "me", "a/b", "+", "x#", "$x", "with blank", "%u", "ü", "c.d", "/"]
USERS = [None, "alice", "bob", "a", "a/b", "b+", "$x", "with blank", "nobody", "%c", ""]
WORDS = ["a", "b", "me", "alice", "bob", "", "$x", "with blank", "ü", "c.d", "%u", "%c"]
PATTERN_WORDS = WORDS + ["%c", "%u", "p%c", "%u.%c", "%%c", "%"]
ACCESSES = ["read ", "write ", "readwrite ", "", "deny "]

# name: (is it this one?) of a client id, a user name and the texts of the patterns. Only towards "denied".
ON_PURPOSE = {
    "a name with a / is not put into patterns that allow: it would reach over levels": (
        lambda client, user, patterns: any("%c" in p and "/" in client for p in patterns)
        or any("%u" in p and "/" in (user or "") for p in patterns)
    ),
    "a pattern that begins with a name allows no $ topics": (
        lambda client, user, patterns: any(p.startswith("%c") and client.startswith("$") for p in patterns)
        or any(p.startswith("%u") and (user or "").startswith("$") for p in patterns)
    ),
}

# line: what mosquitto does with a file of it, what we do. The same but for the last ones.
LINES = {
    "topic a": (True, True),
    "topic read a b  c": (True, True),
    "topic read": (True, True),
    "topic deny   ": (True, True),
    "   topic a": (True, True),
    "topic write a\t \r": (True, True),
    "topic read \ta": (True, True),
    "topic readwrite $share/g/a": (True, True),
    "pattern a": (True, True),
    "pattern write %c%u/%": (True, True),
    "user  a b ": (True, True),
    "# a comment": (True, True),
    "#": (True, True),
    "   ": (True, True),
    "\t": (True, True),
    "topic": (False, False),
    "topic  ": (False, False),
    "pattern": (False, False),
    "topic a b": (False, False),
    "topic Read a": (False, False),
    "topic none a": (False, False),
    "topic a/#/b": (False, False),
    "topic read a+": (False, False),
    "topic read a/b#": (False, False),
    "pattern read %c+": (False, False),
    "user": (False, False),
    " # a comment": (False, False),
    "topic\ta": (False, False),
    "\ttopic a": (False, False),
    "topik a": (False, False),
    "User a": (False, False),
    "topic subscribe a": (False, True),  # a kind of ours
    "topic read \xff": (True, False),  # topics are UTF-8: a rule that is not speaks of none
    "topic " + "a/" * 300: (False, True),  # mosquitto knows 200 levels
}


class Mosquitto:
    """One mosquitto with a listener for each ACL file; ports[i] is that of file i, port has no rules."""

    def __init__(self, folder, files):
        self.folder, self.process = folder, None
        paths = []
        for number, text in enumerate(files):
            paths.append(os.path.join(folder, f"acl-{number}"))
            with open(paths[-1], "w", encoding="utf-8") as f:
                f.write(text)
        for _ in range(5):
            self.port, *self.ports = [broker_module.free_port() for _ in range(len(files) + 1)]
            lines = ["per_listener_settings true", "user root", "set_tcp_nodelay true"]
            lines += [f"listener {self.port} 127.0.0.1", "allow_anonymous true"]
            for port, path in zip(self.ports, paths):
                lines += [f"listener {port} 127.0.0.1", "allow_anonymous true", f"acl_file {path}"]
            if self.start(lines):
                return
        raise AssertionError(f"mosquitto did not start:\n{self.log()}")

    def start(self, lines):
        config = os.path.join(self.folder, "mosquitto.conf")
        with open(config, "w", encoding="utf-8") as f:
            f.write("\n".join(lines) + "\n")
        with open(os.path.join(self.folder, "mosquitto.log"), "wb") as log:
            self.process = subprocess.Popen(
                [MOSQUITTO, "-c", config], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until = time.monotonic() + mqtt.WAIT_S
        while self.process.poll() is None and time.monotonic() < until:
            if " running\n" in self.log():
                return True
            time.sleep(0.01)
        self.stop()
        return False

    def log(self):
        with open(os.path.join(self.folder, "mosquitto.log"), encoding="utf-8", errors="replace") as f:
            return f.read()

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


# ---------------------------------------------------------------------------------- what is made up

def random_filter(chance, words):
    levels = [chance.choice(words + ["+", "+", "+"]) for _ in range(chance.randint(1, 4))]
    if chance.random() < 0.35:
        levels.append("#")
    text = "/".join(levels)
    return text if text.strip(" ") == text and text else "a"  # blanks at the ends are not the filter's


def random_rule(chance, kind):
    """(line, filter)"""
    filter = random_filter(chance, PATTERN_WORDS if kind == "pattern" else WORDS)
    # Denials are few: else nothing is left to be allowed. A filter with blanks needs an access.
    access = chance.choice(ACCESSES if chance.random() < 0.4 else ACCESSES[:4])
    access = access or ("readwrite " if " " in filter else "")
    return f"{kind} {access}{filter}", filter


def random_file(chance):
    """(text, filters of its patterns)"""
    lines = [random_rule(chance, "topic")[0] for _ in range(chance.randint(0, 3))]
    patterns = []
    for user in chance.choices([u for u in USERS if u], k=chance.randint(0, 4)):
        lines.append(f"user {user}")
        for _ in range(chance.randint(0, 15)):
            kind = "pattern" if chance.random() < 0.2 else "topic"
            line, filter = random_rule(chance, kind)
            lines.append(line)
            if kind == "pattern":
                patterns.append(filter)
        if chance.random() < 0.2:
            lines.append("# of somebody")
    return "\n".join(lines) + "\n", patterns


def random_topics(chance, text, client, user, count):
    """Half of them made from the file's filters: most others no rule speaks of."""
    filters = [line.split(" ")[-1] for line in text.splitlines() if line.startswith(("topic", "pattern"))]
    topics = set()
    while len(topics) < count:
        if filters and chance.random() < 0.6:
            topic = chance.choice(filters).replace("%c", client).replace("%u", user or "")
            topic = topic.replace("+", chance.choice(WORDS)).replace("#", chance.choice(WORDS + ["a/b"]))
            if chance.random() < 0.2:
                topic = topic.rpartition("/")[0]
        else:
            topic = "/".join(chance.choice(WORDS) for _ in range(chance.randint(1, 4)))
        is_seen = not topic.startswith("$") or topic.split("/")[0] == "$x"  # by who subscribes to # and $x/#
        if topic and is_seen and "+" not in topic and "#" not in topic:
            topics.add(topic)
    return sorted(topics)


# ---------------------------------------------------------------------------------- what they answer

def read_until_pingresp(client):
    client.send(mqtt.pingreq())
    payloads = set()
    while True:
        p = client.recv()
        if p.kind == mqtt.PINGRESP:
            return payloads
        equal(p.kind, mqtt.PUBLISH)
        payloads.add(p.payload)


def mosquitto_answers(port, observer, client_id, user, topics):
    """[(may publish, may read)] of the topics."""
    client = mqtt.Client(port, 5)
    client.connect(client_id, username=user)
    client.subscribe("#", "$x/#")
    writes = []
    for number, topic in enumerate(topics):
        client.send(mqtt.publish(topic, f"own {number}", 1, number + 1))
    for number, _ in enumerate(topics):
        reason = client.answer(mqtt.PUBACK, pid=number + 1).reason
        assert reason in (0x00, 0x10, 0x87), f"PUBACK {reason:#x}"
        writes.append(reason != 0x87)
    seen = read_until_pingresp(observer)
    equal([f"own {number}".encode() in seen for number, _ in enumerate(topics)], writes, "what the observer saw")
    read_until_pingresp(client)  # its own messages
    for number, topic in enumerate(topics):
        observer.send(mqtt.publish(topic, f"other {number}", 1, number + 1))
    for number, _ in enumerate(topics):
        observer.answer(mqtt.PUBACK, pid=number + 1)
    observer.stash.clear()
    got = read_until_pingresp(client)
    client.disconnect()
    read_until_pingresp(observer)
    return list(zip(writes, (f"other {number}".encode() in got for number, _ in enumerate(topics))))


def our_answers(path, questions):
    """True and False for questions (client, user, action, topic)."""
    lines = "".join("\t".join((c, "-" if u is None else u, a, t)) + "\n" for c, u, a, t in questions)
    code, out, err = ternctl("acl", "test", path, "--stdin", stdin=lines)
    equal((code, err), (OK, ""))
    answers = [line.startswith("allowed") for line in out.splitlines()]
    equal(len(answers), len(questions), "answers")
    return answers


def purpose_of(client_id, user, patterns):
    return next((name for name, is_it in ON_PURPOSE.items() if is_it(client_id, user, patterns)), None)


def matches(filter, topic):
    if topic.startswith("$") != filter.startswith("$"):
        return False
    filter, topic = filter.split("/"), topic.split("/")
    for number, level in enumerate(filter):
        if level == "#":
            return True
        if number >= len(topic) or level not in ("+", topic[number]):
            return False
    return len(filter) == len(topic)


@short
@once
@tern_only
@each(*range(1, 7))
def test_random_files_and_questions_have_mosquittos_answers(t, seed):
    chance = random.Random(seed)
    files = [random_file(chance) for _ in range(8)]
    allowed = denied = refused = 0
    with Mosquitto(t.folder(), [text for text, _ in files]) as mosquitto:
        observer = mqtt.Client(mosquitto.port, 5)
        observer.connect("observer")
        observer.subscribe("#", "$x/#")
        for number, (text, patterns) in enumerate(files):
            for _ in range(4):
                client_id = chance.choice(IDS)
                known = [line[5:] for line in text.splitlines() if line.startswith("user ")]
                user = chance.choice(known or USERS) if chance.random() < 0.7 else chance.choice(USERS)
                topics = random_topics(chance, text, client_id, user, 12)
                filters = [random_filter(chance, WORDS) for _ in range(12)]
                theirs = mosquitto_answers(mosquitto.ports[number], observer, client_id, user, topics)
                questions = [(client_id, user, action, topic) for topic in topics for action in ("publish", "read")]
                questions += [(client_id, user, "subscribe", filter) for filter in filters]
                ours = our_answers(os.path.join(t.folder(), f"acl-{number}"), questions)
                purpose = purpose_of(client_id, user, patterns)
                for question, ask, ask_ours in zip(questions, (a for pair in theirs for a in pair), ours):
                    is_purpose = purpose is not None and ask and not ask_ours
                    assert ask == ask_ours or is_purpose, f"{question}: mosquitto {ask}, ours {ask_ours}:\n{text}"
                    allowed, denied = allowed + ask, denied + (not ask)
                for filter, may_subscribe in zip(filters, ours[2 * len(topics) :]):
                    got = [topic for topic, (_, read) in zip(topics, theirs) if read and matches(filter, topic)]
                    refused += not may_subscribe
                    lost = got and not may_subscribe and purpose is None
                    assert not lost, f"{client_id!r}, {user!r} gets {got} by {filter!r} from mosquitto:\n{text}"
    assert allowed > 60 and denied > 60 and refused > 10, f"{allowed} allowed, {denied} denied, {refused} refused"


@tern_only
@each("a/b", "$x")
def test_where_we_differ_on_purpose_mosquitto_lets_names_widen_patterns(t, name):
    """If mosquitto changes, this says that a difference is gone."""
    text = "pattern readwrite %c/#\npattern deny %c/key\npattern readwrite dev/%u/x\n"
    topics = [f"{name}/1", f"{name}/key", f"dev/{name}/x"]
    with Mosquitto(t.folder(), [text]) as mosquitto:
        observer = mqtt.Client(mosquitto.port, 5)
        observer.connect("observer")
        observer.subscribe("#", "$x/#")
        theirs = mosquitto_answers(mosquitto.ports[0], observer, name, name, topics)
        questions = [(name, name, "publish", topic) for topic in topics]
        ours = our_answers(os.path.join(t.folder(), "acl-0"), questions)
    equal(theirs, [(True, True), (False, False), (True, True)], "mosquitto")
    equal(ours, [False, False, name == "$x"], "ours")
    assert purpose_of(name, name, ["%c/#", "dev/%u/x"]), "not in ON_PURPOSE"


@once
@tern_only
@each(*range(len(LINES)))
def test_odd_lines_are_taken_as_mosquitto_takes_them(t, number):
    line, (is_theirs, is_ours) = list(LINES.items())[number]
    path, config = os.path.join(t.folder(), "acl"), os.path.join(t.folder(), "mosquitto.conf")
    with open(path, "wb") as f:
        f.write(line.encode("latin-1") + b"\n")
    port = broker_module.free_port()
    with open(config, "w", encoding="utf-8") as f:
        f.write(f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\nacl_file {path}\n")
    code, out, err = ternctl("acl", "test", path, "--stdin")
    equal(code, OK if is_ours else DATA, f"{line!r}: {out}{err}")
    process = subprocess.Popen(
        [MOSQUITTO, "-c", config], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        said = b""
        while b" running\n" not in said:
            part = process.stdout.readline()
            if not part:
                break
            said += part
        equal(b" running\n" in said, is_theirs, f"{line!r}: mosquitto runs:\n{said.decode(errors='replace')}\nit")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
