"""A disk that fails, fills up, or was damaged: what was acknowledged is kept, or the broker says why not.

Faults come from the preloaded disk (lib/powerloss.c), a small tmpfs, and bytes that the test turns over.
"""

import os
import random
import re
import shutil
import time
import urllib.error
import urllib.request

import durable
import mqtt
import powerloss
import small_disk
from suite import each, equal, eventually, port_told, tern_only

BAD_DATA, NO_CREATE, IO_ERROR = 65, 73, 74


def start(t, **how):
    """A broker whose disk can fail, with HTTP: (broker, disk)."""
    disk = powerloss.Disk(os.path.join(t.folder(), "data"), t.folder())
    broker = durable.DurableBroker(disk.folder, ["http_listener 127.0.0.1:0"], disk=disk, **how)
    t.brokers.append(broker)
    return broker, disk


def away(t, broker, version=5, present=None, name="away"):
    client = mqtt.Client(broker.port, version, label=name)
    props = {"session_expiry": 3600} if version == 5 else None
    connack = client.connect(t.id(name), clean=False, props=props)
    if present is not None:
        equal(connack.session_present, present, "session present")
    return client


def queue_for_one(t, broker, qos=1):
    """A session that is away and hears t.topic()."""
    client = away(t, broker)
    client.subscribe(t.topic(), qos=qos)
    client.vanish()


def drain(client, count=None, quiet_s=1.0):
    """Payloads that come, without ballast, up to count or until it is quiet."""
    got = []
    while count is None or len(got) < count:
        try:
            got.append(client.receive(timeout=quiet_s).payload.decode().partition("|")[0])
        except mqtt.Silence:
            return got
    return got


def health(broker):
    """(status, text) of /health."""
    port = port_told(broker.log, r"http://127\.0\.0\.1:(\d+)/metrics")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=mqtt.WAIT_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class Sender:
    """Publishes numbers at QoS 1 to t.topic() and remembers which were accepted. ballast: bytes behind each, of a
    kind that cannot be made smaller."""

    def __init__(self, t, broker, version=5, ballast=0):
        self.t, self.version, self.ballast = t, version, ballast
        self.client = t.client(broker.port, f"sender{version}", version)
        self.number, self.accepted = 0, []
        self.unanswered = {}  # packet id: number

    def send(self, timeout=None):
        """The reason of its PUBACK, or None: there is none."""
        self.number += 1
        pid = self.client.pid()
        self.unanswered[pid] = str(self.number)
        payload = f"{self.number}|{os.urandom(self.ballast // 2).hex()}"
        self.client.send(mqtt.publish(self.t.topic(), payload, 1, pid, version=self.version))
        while True:
            try:
                packet = self.client.recv(timeout)
            except (mqtt.Silence, mqtt.Closed):
                return None
            if packet.kind != mqtt.PUBACK:
                return None  # v5: DISCONNECT with a reason
            number = self.unanswered.pop(packet.pid)
            if packet.reason < 0x80:
                self.accepted.append(number)
            if packet.pid == pid:  # else it comes late, for one before
                return packet.reason


def ends(client):
    """Does the broker close that connection, and say nothing before?"""
    try:
        client.recv(30)
    except mqtt.Closed:
        return True
    except mqtt.Silence:
        pass
    return False


def assert_all_there(t, broker, accepted):
    got = drain(away(t, broker, present=True))
    missing = [number for number in accepted if number not in got]
    assert not missing, f"{len(missing)} of {len(accepted)} accepted messages are lost: {missing[:20]}"


# ---------------------------------------------------------------------------------- the disk fails


@tern_only
@each(4, 5)
def test_after_a_sync_that_failed_nothing_is_acknowledged_any_more(t, version):
    broker, disk = start(t)
    queue_for_one(t, broker)
    sender = Sender(t, broker, version)
    for _ in range(50):
        equal(sender.send(), 0, "reason before")
    disk.fail_syncs(1)
    reason = sender.send(timeout=2.0)
    assert reason is None or reason >= 0x80, f"acknowledged though the sync failed: {reason}"
    equal(disk.told()["sync_fail_count"], 0, "syncs that are still to fail")
    for _ in range(3):  # the disk is well again; this broker must not believe it
        late = Sender(t, broker, version)
        late.number = 1000 + sender.number
        reason = late.send(timeout=1.0)
        assert reason is None or reason >= 0x80, f"acknowledged after the disk had failed: {reason}"
    status, text = health(broker)
    assert status != 200 or '"ok"' not in text, f"/health says {status}: {text}"
    assert re.search("disk|storage|durable|sync", text), f"/health does not say why: {text}"
    passing = t.client(broker.port, "passing", version)
    passing.subscribe(t.topic("passing"))
    passing.publish(t.topic("passing"), b"goes on")
    passing.receive(t.topic("passing"), b"goes on")
    broker.crash()
    disk.lose_power(random.Random(1), "nothing")
    broker.restart()
    assert_all_there(t, broker, sender.accepted)
    equal(Sender(t, broker, version).send(), 0, "reason after the restart")


@tern_only
@each("at once, fsync", "while many wait, fsync", "while many wait, quorum", "while many wait, relaxed")
def test_a_full_disk_refuses_what_must_last_and_serves_the_rest_until_there_is_space(t, how):
    how, durability = how.split(", ")
    broker, disk = start(t, durability=durability)
    queue_for_one(t, broker)
    five, four = Sender(t, broker, 5), Sender(t, broker, 4)
    four.number = 100000
    for _ in range(20):
        equal(five.send(), 0, "reason before")
        equal(four.send(), 0, "reason before")
    disk.set_space(0 if how == "at once" else 8 * 1024)
    # What was on its way when the space ended may wait for its answer until there is some, and what its
    # publisher sends later waits behind it [MQTT-4.6.0-2]. Who comes now is refused.
    for _ in range(200):
        if five.send(timeout=1.0) != 0:
            break
    late = Sender(t, broker, 5)
    late.number = 200000
    eventually(lambda: late.send() == 0x97, 20, "PUBACK 0x97")
    for _ in range(3):
        equal(late.send(), 0x97, "reason while there is no space")
    equal(four.send(timeout=1.0), None, "PUBACK of a 3.1.1 client")
    passing = t.client(broker.port, "passing")
    passing.subscribe(t.topic("passing"), qos=1)
    for qos in (0, 1):
        passing.publish(t.topic("passing"), b"goes on", qos=qos)
        passing.receive(t.topic("passing"), b"goes on")
    status, text = health(broker)
    assert re.search("space|full", text), f"/health does not say why: {status} {text}"
    disk.set_space(None)
    eventually(lambda: late.send() == 0, 30, "PUBACK 0 after there was space")
    for _ in range(20):
        equal(late.send(), 0, "reason after")
    ended = ends(four.client)  # it is owed an acknowledgement: to come again is what makes it send again
    assert ended, "a 3.1.1 client whose acknowledgement was withheld waits for ever"
    again = Sender(t, broker, 4)
    again.number = 300000
    equal(again.send(), 0, "reason after it came again")
    if durability == "fsync":
        broker.crash()
        disk.lose_power(random.Random(2), "nothing")
    else:
        broker.stop_keeping()
    broker.restart()
    accepted = five.accepted + four.accepted + late.accepted + again.accepted
    assert_all_there(t, broker, accepted)


@tern_only
@each("fsync", "quorum", "relaxed")
def test_a_small_file_system_fills_up_and_nothing_accepted_is_lost(t, durability):
    """The same with the kernel's own ENOSPC."""
    small_disk.on(t, 96, lambda folder: fill_and_free(t, folder, durability))


def fill_and_free(t, folder, durability):
    lines = ["max_queued_bytes 0"]
    with durable.DurableBroker(os.path.join(folder, "data"), lines, durability=durability) as broker:
        queue_for_one(t, broker)
        ballast = os.path.join(folder, "ballast")
        early = Sender(t, broker)
        for _ in range(200):
            equal(early.send(), 0, "reason before")
        small_disk.fill(ballast)
        for _ in range(1000):  # the last one's answer may come when there is space
            if early.send(timeout=2.0) != 0:
                break
        late = Sender(t, broker)
        late.number = 100000
        eventually(lambda: late.send() == 0x97, 20, "PUBACK 0x97")
        os.truncate(ballast, 0)
        eventually(lambda: late.send() == 0, 30, "PUBACK 0 after there was space")
        if durability == "relaxed":  # a crash loses the last moments
            broker.stop_keeping()
        else:
            broker.crash()
        broker.restart()
        assert_all_there(t, broker, early.accepted + late.accepted)


@tern_only
@each("fsync", "quorum", "relaxed")
def test_after_a_write_that_found_no_space_nobody_is_left_without_an_answer(t, durability):
    """By its setting the store goes on to the end of the disk. There a half-written file of its own is what
    makes room again: not for those who come next."""

    def work(folder):
        lines = ["max_queued_bytes 0", "storage_free_min 4096"]
        with durable.DurableBroker(os.path.join(folder, "data"), lines, durability=durability) as broker:
            queue_for_one(t, broker)
            small_disk.fill(os.path.join(folder, "ballast"))
            os.truncate(os.path.join(folder, "ballast"), 64 << 20)
            early, late, refused = Sender(t, broker, ballast=65536), [], 0
            while early.send(timeout=2.0) == 0:
                pass  # the last one's answer may come when there is space
            while refused < 100:
                if len(late) == 0 or late[-1].number % 10 == 0:
                    late.append(Sender(t, broker, ballast=65536))
                    late[-1].number = 100000 * len(late)
                reason = late[-1].send(timeout=mqtt.WAIT_S)
                told = "\n".join(line for line in broker.log().splitlines() if "disk" in line)
                assert reason in (0, 0x97), f"after {refused} that were refused: {reason}; it said:\n{told}"
                refused = refused + 1 if reason == 0x97 else 0
                late[-1].client.ping()
                time.sleep(0.05)
            os.truncate(os.path.join(folder, "ballast"), 0)
            eventually(lambda: late[-1].send() == 0, 30, "PUBACK 0 after there was space")
            accepted = sum((sender.accepted for sender in [early, *late]), [])
            client, missing = away(t, broker, present=True), set(accepted)
            while missing:
                # RocksDB looks for space every five seconds, then it flushes: slowly, where TSan looks at each copy.
                got = drain(client, 1, quiet_s=4 * mqtt.WAIT_S)
                assert got, f"{len(missing)} of {len(accepted)} accepted messages are lost: {sorted(missing)[:20]}"
                missing.difference_update(got)

    small_disk.on(t, 104, work)


# ---------------------------------------------------------------------------------- damage


def filled(t, **how):
    """A broker that was killed over a queue of 2,000 messages and as many retained: (it, what is accepted)."""
    broker = durable.DurableBroker(os.path.join(t.folder(), "data"), **how)
    t.brokers.append(broker)
    queue_for_one(t, broker)
    client = t.client(broker.port, "publisher")
    accepted, waiting = [], 0
    for number in range(2000):
        client.send(mqtt.publish(t.topic(), f"{number}", 1, number + 1, retain=False))
        waiting += 1
        if waiting == 100:
            for _ in range(100):
                packet = client.expect(mqtt.PUBACK)
                equal(packet.reason, 0)
                accepted.append(str(packet.pid - 1))
            waiting = 0
    return broker, accepted


def files_of(folder):
    out = []
    for path, _, names in os.walk(folder):
        out += [os.path.join(path, name) for name in names if not powerloss.is_blind(name) and name != "LOCK"]
    return sorted((path for path in out if os.path.getsize(path) >= 16), key=os.path.getsize, reverse=True)


def assert_refused_well(folder, code, text, path):
    assert code in (BAD_DATA, IO_ERROR), f"exit code {code}:\n{text[-3000:]}"
    named = os.path.basename(path) in text or os.path.basename(folder) in text
    assert named, f"the message names neither {path} nor the folder:\n{text[-3000:]}"
    assert re.search("restore|backup|ternctl|remove", text), f"it does not say what to do:\n{text[-3000:]}"
    assert "Sanitizer" not in text and "ASSERT" not in text, text[-3000:]


def turn_over(path, place):
    with open(path, "r+b") as file:
        file.seek(place)
        byte = file.read(1)
        file.seek(place)
        file.write(bytes([byte[0] ^ 0x40]))


@tern_only
@each("crash", "stop")
def test_a_byte_turned_over_is_found_or_does_no_harm(t, how):
    broker, accepted = filled(t)
    broker.crash() if how == "crash" else broker.stop_keeping()
    good = os.path.join(t.folder(), "good")
    shutil.copytree(broker.data, good)
    refused = 0
    names = [os.path.relpath(path, good) for path in files_of(good)]
    for name in names[:12]:
        shutil.rmtree(broker.data)
        shutil.copytree(good, broker.data)
        path = os.path.join(broker.data, name)
        turn_over(path, os.path.getsize(path) // 2)
        code = try_to_start(broker)
        if code is None:
            # It runs: then nothing may be missing, unless it has found out by now and says so.
            got = drain(away(t, broker), len(accepted))
            broker.crash()
            is_told = re.search("corrupt|damage", broker.log())
            assert set(accepted) <= set(got) or is_told, f"{name} was changed: {len(accepted) - len(got)} lost silently"
        else:
            refused += 1
            assert_refused_well(broker.data, *code, path)
    assert refused > 0, f"none of {names[:12]} was missed"


def try_to_start(broker):
    """None: it runs; else (exit code, what it said)."""
    before = len(broker.log())
    broker.start()
    try:
        if broker.answers():
            return None
        code = broker.process.wait(20)
    finally:
        for s in broker.reserved.values():
            s.close()
    broker.process = None
    broker.log_file.close()
    return code, broker.log()[before:]


@tern_only
def test_a_log_damaged_in_its_middle_is_refused(t):
    broker, _ = filled(t)
    broker.crash()
    logs = [path for path in files_of(broker.data) if path.endswith(".log") and f"{os.sep}log{os.sep}" in path]
    assert logs, f"no log among {files_of(broker.data)}"
    turn_over(logs[0], os.path.getsize(logs[0]) // 3)
    code, text = broker.refuses()
    assert_refused_well(broker.data, code, text, logs[0])


@tern_only
def test_a_torn_tail_of_the_log_is_normal(t):
    broker, disk = start(t)
    queue_for_one(t, broker)
    sender = Sender(t, broker)
    for _ in range(200):
        equal(sender.send(), 0)
    for number in range(100):  # under way when it dies
        sender.client.send(mqtt.publish(t.topic(), f"under way {number}", 1, 500 + number))
    broker.crash()
    for mode in ("beginning", "pages", "nothing"):
        disk.lose_power(random.Random(3), mode)
        broker.restart()
        assert_all_there(t, broker, sender.accepted)
        # drained: so fill it again
        sender = Sender(t, broker)
        for _ in range(200):
            equal(sender.send(), 0)
        broker.crash()
    logs = [path for path in files_of(broker.data) if path.endswith(".log") and f"{os.sep}log{os.sep}" in path]
    with open(max(logs, key=os.path.getmtime), "ab") as file:
        file.write(os.urandom(700))  # half a record that was never synced
    broker.restart()
    assert_all_there(t, broker, sender.accepted)


# ---------------------------------------------------------------------------------- refused starts


@tern_only
def test_a_data_folder_in_use_is_refused(t):
    broker, _ = start(t)
    second = durable.DurableBroker.__new__(durable.DurableBroker)
    second.__dict__.update(broker.__dict__, folder=os.path.join(t.folder(), "second"), process=None)
    second.env = {key: value for key, value in broker.env.items() if not key.startswith(("POWERLOSS", "LD_"))}
    os.makedirs(second.folder)
    second.log_path = os.path.join(second.folder, "broker.log")
    code, text = second.refuses()
    assert code in (NO_CREATE, 69, 75), f"exit code {code}: {text}"
    assert broker.data in text and "use" in text, text
    away(t, broker).ping()


@tern_only
def test_a_data_folder_that_cannot_be_written_is_refused(t):
    parent = os.path.join(t.folder(), "file")
    open(parent, "w").close()
    broker = durable.DurableBroker(os.path.join(t.folder(), "data"))
    t.brokers.append(broker)
    broker.crash()
    broker.lines = [line.replace(f"{broker.data}/", f"{parent}/data/") for line in broker.lines]
    code, text = broker.refuses()
    assert code in (NO_CREATE, IO_ERROR, 77, 78), f"exit code {code}: {text}"
    assert parent in text, text


@tern_only
def test_a_folder_of_a_newer_format_is_refused_and_left_alone(t):
    broker, _ = start(t)
    broker.stop_keeping()
    path = os.path.join(broker.data, "FORMAT")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    newer = re.sub(r"\d+", lambda match: str(int(match.group()) + 1000), text, count=1)
    assert newer != text, f"no version in {text!r}"
    with open(path, "w", encoding="utf-8") as file:
        file.write(newer)
    before = {name: os.path.getmtime(name) for name in files_of(broker.data)}
    code, said = broker.refuses()
    equal(code, BAD_DATA, "exit code")
    assert re.search("newer|format", said) and broker.data in said, said
    equal({name: os.path.getmtime(name) for name in files_of(broker.data)}, before, "times of its files")
