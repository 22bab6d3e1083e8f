"""mosquitto_pub and mosquitto_sub, each version of the protocol."""

import os
import subprocess

from suite import alone, each, equal, short

VERSIONS = ("mqttv31", "mqttv311", "mqttv5")
QUALITIES = (0, 1, 2)


def subscriber(t, *arguments, port=None, version="mqttv311", host="127.0.0.1", count=None):
    """A running mosquitto_sub that has its SUBACK; prints "<qos> <retained> <topic> <payload>"."""
    command = ["stdbuf", "-oL", "mosquitto_sub", "-d", "-V", version, "-F", "GOT %q %r %t %p"]
    if host:
        command += ["-h", host, "-p", port or t.common().port]
    command += ["-C", count] if count else []
    program = t.program(*command, *arguments)
    program.wait_line("^Subscribed")
    return program


def publish(t, *arguments, port=None, version="mqttv311", host="127.0.0.1"):
    """A whole run of mosquitto_pub, which must succeed."""
    where = ["-h", host, "-p", port or t.common().port] if host else []
    t.program("mosquitto_pub", "-V", version, *where, *arguments).wait_end()


def messages(program):
    """The messages a subscriber printed, once it has ended."""
    return [line[len("GOT ") :] for line in program.wait_end() if line.startswith("GOT ")]


@short
@each(*[(version, qos) for version in VERSIONS for qos in QUALITIES])
def test_a_message_arrives_with_its_quality(t, which):
    version, qos = which
    topic = t.topic("light")
    sub = subscriber(t, "-t", t.topic("+"), "-q", qos, version=version, count=2)
    publish(t, "-t", topic, "-m", "on", "-q", qos, version=version)
    publish(t, "-t", topic, "-m", "off", "-q", qos, version=version)
    equal(messages(sub), [f"{qos} 0 {topic} on", f"{qos} 0 {topic} off"])


@each(*[(a, b) for a in VERSIONS for b in VERSIONS if a != b])
def test_versions_talk_to_each_other(t, which):
    of_publisher, of_subscriber = which
    sub = subscriber(t, "-t", t.topic("#"), "-q", "2", version=of_subscriber, count=1)
    publish(t, "-t", t.topic("a/b"), "-m", "hello", "-q", "2", version=of_publisher)
    equal(messages(sub), [f"2 0 {t.topic('a/b')} hello"])


@each(*[(p, s) for p in QUALITIES for s in QUALITIES])
def test_the_lower_quality_counts(t, which):
    published, subscribed = which
    sub = subscriber(t, "-t", t.topic(), "-q", subscribed, count=1)
    publish(t, "-t", t.topic(), "-m", "x", "-q", published)
    equal(messages(sub), [f"{min(published, subscribed)} 0 {t.topic()} x"])


@short
@each(*VERSIONS)
def test_a_retained_message_waits_for_subscribers_and_is_deleted(t, version):
    topic = t.topic("state")
    publish(t, "-t", topic, "-m", "warm", "-r", "-q", "1", version=version)
    sub = subscriber(t, "-t", topic, "-q", "1", version=version, count=1)
    equal(messages(sub), [f"1 1 {topic} warm"])
    publish(t, "-t", topic, "-n", "-r", version=version)
    sub = subscriber(t, "-t", t.topic("#"), version=version, count=1)
    publish(t, "-t", topic, "-m", "after", version=version)
    equal(messages(sub), [f"0 0 {topic} after"])


@short
@each(*VERSIONS)
def test_the_will_of_a_killed_client_is_published(t, version):
    watcher = subscriber(t, "-t", t.topic("will"), "-q", "1", version=version, count=1)
    arguments = ["--will-topic", t.topic("will"), "--will-payload", "gone", "--will-qos", "1"]
    doomed = subscriber(t, "-t", t.topic("x"), *arguments, version=version)
    doomed.stop(hard=True)
    equal(messages(watcher), [f"1 0 {t.topic('will')} gone"])


@each(*VERSIONS)
def test_the_will_of_a_client_that_says_goodbye_is_not(t, version):
    watcher = subscriber(t, "-t", t.topic("#"), version=version, count=1)
    arguments = ["--will-topic", t.topic("will"), "--will-payload", "gone"]
    polite = subscriber(t, "-t", t.topic("x"), *arguments, version=version, count=1)
    publish(t, "-t", t.topic("x"), "-m", "bye", version=version)
    polite.wait_end()
    equal(messages(watcher), [f"0 0 {t.topic('x')} bye"])


@short
@each(*VERSIONS)
def test_a_session_is_resumed_with_what_came_meanwhile(t, version):
    session = ["-i", t.id(), "-c", "-t", t.topic("#"), "-q", "2"]
    if version == "mqttv5":
        session += ["-x", "600"]
    first = subscriber(t, *session, version=version, count=1)
    publish(t, "-t", t.topic("0"), "-m", "zero", "-q", "1", version=version)
    equal(messages(first), [f"1 0 {t.topic('0')} zero"])
    expected = {1: [], 2: []}
    for number in range(1, 21):
        qos = 1 + number % 2
        publish(t, "-t", t.topic(number), "-m", f"m{number}", "-q", qos, version=version)
        expected[qos].append(f"{qos} 0 {t.topic(number)} m{number}")
    got = messages(subscriber(t, *session, version=version, count=20))
    # mosquitto_sub shows a QoS 2 message when its exchange is over, so each quality has its order.
    for qos in (1, 2):
        equal([line for line in got if line.startswith(f"{qos} ")], expected[qos])


@each("mqttv311", "mqttv5")
def test_members_of_a_shared_subscription_get_each_message_once(t, version):
    members = [
        subscriber(t, "-t", f"$share/{t.id('g')}/{t.topic('work')}", "-q", "1", version=version) for _ in range(3)
    ]
    done = subscriber(t, "-t", t.topic("work"), "-q", "1", version=version, count=30)
    for number in range(30):
        publish(t, "-t", t.topic("work"), "-m", number, "-q", "1", version=version)
    equal(len(messages(done)), 30, "messages of the ordinary subscriber")
    got = []
    for member in members:
        for line in list(member.lines):
            if line.startswith("GOT "):
                got.append(int(line.rsplit(" ", 1)[1]))
    if len(got) < 30:  # the members' programs print when they are scheduled
        for number in set(range(30)) - set(got):
            assert any(wait(member, number) for member in members), f"nobody got {number}"
            got.append(number)
    equal(sorted(got), list(range(30)))
    for member in members:
        assert any(line.startswith("GOT ") for line in member.lines), "a member got nothing"


def wait(member, number):
    try:
        member.wait_line(rf"^GOT .* {number}$", 1)
        return True
    except AssertionError:
        return False


def test_properties_of_version_5_travel_along(t):
    form = "GOT %t|%p|%C|%D|%R|%P|%E"
    where = ["-h", "127.0.0.1", "-p", t.common().port, "-V", "mqttv5"]
    sub = t.program(
        "stdbuf", "-oL", "mosquitto_sub", "-d", *where, "-t", t.topic(), "-C", "1", "-F", form, "-q", "1"
    )
    sub.wait_line("^Subscribed")
    properties = []
    for name, *values in [
        ("content-type", "text/plain"),
        ("correlation-data", "c-1"),
        ("response-topic", t.topic("answer")),
        ("user-property", "colour", "green"),
        ("user-property", "shade", "dark"),
        ("message-expiry-interval", "600"),
        ("payload-format-indicator", "1"),
    ]:
        properties += ["-D", "publish", name, *values]
    publish(t, "-t", t.topic(), "-m", "grün", "-q", "1", *properties, version="mqttv5")
    line = sub.wait_line("^GOT ")
    sub.wait_end()
    fields = line[len("GOT ") :].split("|")
    equal(fields[:5], [t.topic(), "grün", "text/plain", "c-1", t.topic("answer")])
    assert "colour:green" in fields[5] and "shade:dark" in fields[5], fields[5]
    assert fields[5].index("colour") < fields[5].index("shade"), "the order of user properties"
    assert 0 < int(fields[6]) <= 600, f"message expiry {fields[6]}"


def test_no_local_and_retain_as_published_are_honoured(t):
    publish(t, "-t", t.topic(), "-m", "old", "-r", version="mqttv5")
    sub = subscriber(t, "-t", t.topic(), "--retain-as-published", version="mqttv5", count=2)
    publish(t, "-t", t.topic(), "-m", "new", "-r", version="mqttv5")
    equal(messages(sub), [f"0 1 {t.topic()} old", f"0 1 {t.topic()} new"])


@each(*VERSIONS)
def test_ipv6_is_served(t, version):
    port = t.common().ports["six"]
    sub = subscriber(t, "-t", t.topic(), host="::1", port=port, version=version, count=1)
    publish(t, "-t", t.topic(), "-m", "six", host="::1", port=port, version=version)
    equal(messages(sub), [f"0 0 {t.topic()} six"])


def test_a_unix_socket_is_served_and_removed_at_the_end(t):
    path = os.path.join(t.folder(), "tern.sock")
    broker = t.broker(lines=[f"listener 0 {path}"])
    sub = subscriber(t, "--unix", path, "-t", t.topic(), host=None, count=1)
    publish(t, "--unix", path, "-t", t.topic(), "-m", "near", host=None)
    equal(messages(sub), [f"0 0 {t.topic()} near"])
    broker.stop()
    assert not os.path.exists(path), "the socket's file is left behind"


def test_many_lines_through_one_connection_keep_their_order(t):
    count = 900  # fewer than the queue of a slow subscriber holds
    sub = subscriber(t, "-t", t.topic(), "-q", "1", count=count)
    publisher = f"mosquitto_pub -h 127.0.0.1 -p {t.common().port} -t {t.topic()} -q 1 -l"
    t.program("bash", "-c", f"seq {count} | {publisher}").wait_end(60)
    equal([line.rsplit(" ", 1)[1] for line in messages(sub)], [str(1 + i) for i in range(count)])


@alone
@each(*QUALITIES)
def test_a_file_of_64_mib_arrives_whole(t, qos):
    """QoS 0 as a retained message, QoS 1 and 2 through the queue of a client that is away."""
    path, copy = os.path.join(t.folder(), "file"), os.path.join(t.folder(), "copy")
    part = os.urandom(1 << 20)
    with open(path, "wb") as file:
        for number in range(64):
            file.write(bytes([number]) + part[1:])
    where = f"-h 127.0.0.1 -p {t.common().port} -t {t.topic()} -q {qos}"
    session = f"-i {t.id('away')} -c" if qos else ""
    if qos:
        t.program("bash", "-c", f"mosquitto_sub {where} {session} -E").wait_end()
    publish(t, "-t", t.topic(), "-f", path, "-q", qos, *([] if qos else ["-r"]))
    t.program("bash", "-c", f"mosquitto_sub {where} {session} -N -C 1 > {copy}").wait_end(60)
    equal(subprocess.run(["cmp", path, copy]).returncode, 0, "status of cmp")
    publish(t, "-t", t.topic(), "-n", "-r")
