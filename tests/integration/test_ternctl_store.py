"""ternctl backup, restore, check, export and import: on stores of real brokers, whole and damaged."""

import json
import os
import re
import shutil
import subprocess
import threading

import mqtt
import small_disk
from broker import program as broker_program
from suite import equal, eventually, plain_build, short, tern_only
from ternctl import CANNOT_CREATE, DATA, OK, UNAVAILABLE, USAGE, program, ternctl

HOUR = {"session_expiry": 3600}
TIMES = ("expiry_s", "delay_s")


def durable(t, name="store"):
    """A broker whose store lies in a folder of the test's own: (broker, folder)."""
    folder = os.path.join(t.folder(), name)
    return t.broker(["persistence true", f"persistence_location {folder}"], metrics=True), folder


def fill(t, broker):
    """A session that is away, with messages of both QoS, one of them sent already, and a will that waits;
    one in the middle of a QoS 2 exchange; retained messages."""
    will = dict(topic="will", payload=b"gone", qos=1, props={"will_delay": 3000})
    away = t.client(broker.port, "away", clean=False, props=HOUR, will=will)
    away.subscribe("q/#", qos=2, props={"subscription_id": 7})
    sender = t.client(broker.port, "sender")
    sender.publish("q/1", b"one", qos=1, retain=True, props={"user_property": [("k", "v")], "content_type": "text"})
    away.expect_publish("q/1", b"one", qos=1)
    away.vanish()
    half = t.client(broker.port, "half", clean=False, props=HOUR)
    half.send(mqtt.publish("q/2", b"\xff\x00two", 2, 9))
    half.answer(mqtt.PUBREC, pid=9)
    sender.publish("q/3", b"three", qos=1)
    sender.publish("r/1", b"kept", qos=1, retain=True)
    return sender


def drain(t, broker):
    """The sessions that fill() left are there, and what is owed comes, in order and once."""
    half = mqtt.Client(broker.port, 5, label="half")
    assert half.connect(t.id("half"), clean=False, props=HOUR).session_present
    half.send(mqtt.publish("q/2", b"\xff\x00two", 2, 9, dup=True))
    half.answer(mqtt.PUBREC, pid=9, reason=0)
    half.send(mqtt.ack(mqtt.PUBREL, 9))
    half.answer(mqtt.PUBCOMP, pid=9, reason=0)
    away = mqtt.Client(broker.port, 5, label="away")
    assert away.connect(t.id("away"), clean=False, props=HOUR).session_present
    got = [away.receive() for _ in range(3)]
    wanted = [("q/1", b"one"), ("q/2", b"\xff\x00two"), ("q/3", b"three")]
    equal([(p.topic, p.payload) for p in got], wanted, "messages")
    assert got[0].dup and not got[1].dup, "only what was sent before is sent again"
    equal(got[0].props["user_property"], [("k", "v")], "properties")
    away.subscribe("r/#")
    away.expect_publish("r/1", b"kept", retain=True)
    away.disconnect()


def whole(folder):
    code, out, err = ternctl("check", folder)
    assert (code, err) == (OK, "") and out.endswith(": whole\n"), (code, out, err)
    return out


def files(folder):
    return sorted(os.path.join(at, name) for at, _, names in os.walk(folder) for name in names)


def contents(folder):
    found = {}
    for path in files(folder):
        with open(path, "rb") as file:
            found[path] = file.read()
    return found


def flip(path, at=None):
    """One bit of a file, in its middle."""
    with open(path, "r+b") as file:
        size = os.path.getsize(path)
        file.seek(size // 2 if at is None else at)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 0x10]))


# ---- backup and restore ---------------------------------------------------------------------------


@tern_only
@short
def test_a_backup_of_a_running_broker_becomes_a_store_again(t):
    broker, _ = durable(t)
    sender = fill(t, broker)
    backup, restored = os.path.join(t.folder(), "backup"), os.path.join(t.folder(), "restored")
    code, out, err = ternctl("backup", backup, "--http", f"127.0.0.1:{broker.http_port}")
    equal((code, err), (OK, ""), f"ternctl backup ({out})")
    sender.publish("q/4", b"after", qos=1)
    broker.kill()
    before = contents(backup)
    whole(backup)
    types = [line["type"] for line in exported(backup)]
    equal([types.count(name) for name in ("session", "message", "packet_id", "retained")], [2, 3, 1, 2], "lines")
    assert contents(backup) == before, "a backup is only read"
    equal(sorted(os.listdir(t.folder())), ["backup", "store"], "folders, after those that were needed are gone")
    equal(ternctl("restore", backup, "--into", restored)[0], OK, "ternctl restore")
    whole(restored)
    other = t.broker(["persistence true", f"persistence_location {restored}"])
    drain(t, other)


@tern_only
def test_a_store_of_a_killed_broker_is_whole_and_exported_with_what_its_log_has(t):
    broker, folder = durable(t)
    fill(t, broker)
    broker.kill()
    whole(folder)
    lines = exported(folder)
    equal([line["message"]["topic"] for line in lines if line["type"] == "message"], ["q/1", "q/2", "q/3"], "messages")
    whole(folder)
    other = t.broker(["persistence true", f"persistence_location {folder}"])
    drain(t, other)


@tern_only
def test_a_backup_under_load_has_all_that_was_acknowledged_before_it_began(t):
    folder, backup = os.path.join(t.folder(), "store"), os.path.join(t.folder(), "backup")
    lines = ["persistence true", f"persistence_location {folder}", "max_queued_messages 0"]
    broker = t.broker(lines, metrics=True)
    away = t.client(broker.port, "away", clean=False, props=HOUR)
    away.subscribe("n", qos=1)
    away.vanish()
    acknowledged, ending = [0], threading.Event()

    def publish():
        sender = mqtt.Client(broker.port, 5, label="sender")
        sender.connect(t.id("sender"))
        while not ending.is_set():
            sender.publish("n", b"%d" % (acknowledged[0] + 1), qos=1)
            acknowledged[0] += 1

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        eventually(lambda: acknowledged[0] >= 200 or not thread.is_alive(), seconds=60, what="200 acknowledgements")
        least = acknowledged[0]
        code, _, err = ternctl("backup", backup, "--http", f"127.0.0.1:{broker.http_port}")
        most = acknowledged[0] + 1
    finally:
        ending.set()
        thread.join()
    equal((code, err), (OK, ""), "ternctl backup")
    whole(backup)
    got = [int(line["message"]["payload"]) for line in exported(backup) if line["type"] == "message"]
    equal(got, list(range(1, len(got) + 1)), "messages in the backup")
    assert least <= len(got) <= most, f"{len(got)} messages, {least} to {most} expected"


@tern_only
def test_without_a_store_there_is_no_backup(t):
    broker = t.broker(["persistence false"], metrics=True)
    code, _, err = ternctl("backup", os.path.join(t.folder(), "backup"), "--http", f"127.0.0.1:{broker.http_port}")
    assert code == UNAVAILABLE and "persistence is off" in err, (code, err)


@tern_only
def test_a_backup_goes_into_a_new_folder_only(t):
    broker, folder = durable(t)
    http = ("--http", f"127.0.0.1:{broker.http_port}")
    taken = os.path.join(t.folder(), "taken")
    os.mkdir(taken)
    with open(os.path.join(taken, "file"), "w", encoding="utf-8") as file:
        file.write("mine")
    code, _, err = ternctl("backup", taken, *http)
    assert code == CANNOT_CREATE and "not empty" in err, (code, err)
    equal(os.listdir(taken), ["file"], "files of another")
    code, _, err = ternctl("backup", os.path.join(t.folder(), "no", "parent"), *http)
    assert code == CANNOT_CREATE, (code, err)
    code, _, err = ternctl("backup", "", *http)
    equal(code, USAGE, "exit code")
    equal(ternctl("backup", os.path.join(t.folder(), "good"), *http)[0], OK, "a backup after others that failed")


@tern_only
def test_a_backup_on_a_full_disk_leaves_nothing_and_says_to_make_room(t):
    def work(small):
        broker, _ = durable(t)
        sender = fill(t, broker)
        sender.publish("r/large", os.urandom(300000), qos=1, retain=True)
        backup, ballast = os.path.join(small, "backup"), os.path.join(small, "ballast")
        http = ("--http", f"127.0.0.1:{broker.http_port}")
        small_disk.fill(ballast)
        for space in (0, 100000):  # for nothing of it, and for a part
            os.truncate(ballast, os.path.getsize(ballast) - space)
            code, out, err = ternctl("backup", backup, *http)
            equal((code, out), (CANNOT_CREATE, ""), f"ternctl backup ({err})")
            assert re.search("make (room|space),? and try again", err), err
            equal(os.listdir(small), ["ballast"], "what is left")
        sender.publish("q/4", b"after", qos=1)
        os.remove(ballast)
        equal(ternctl("backup", backup, *http)[0], OK, "ternctl backup when there is room")
        whole(backup)

    small_disk.on(t, 2, work)


@tern_only
def test_a_restore_on_a_full_disk_leaves_nothing(t):
    def work(small):
        broker, _ = durable(t)
        fill(t, broker).publish("r/large", os.urandom(300000), qos=1, retain=True)
        backup, ballast = os.path.join(t.folder(), "backup"), os.path.join(small, "ballast")
        equal(ternctl("backup", backup, "--http", f"127.0.0.1:{broker.http_port}")[0], OK, "ternctl backup")
        small_disk.fill(ballast)
        os.truncate(ballast, os.path.getsize(ballast) - 100000)
        for into in ("new", "there"):
            code, out, err = ternctl("restore", backup, "--into", os.path.join(small, into))
            assert code == CANNOT_CREATE and out == "" and "make space" in err, (code, out, err)
            os.makedirs(os.path.join(small, "there"), exist_ok=True)
        equal(sorted(os.listdir(small)), ["ballast", "there"], "what is left")
        equal(os.listdir(os.path.join(small, "there")), [], "what is left in an empty folder")
        os.remove(ballast)
        equal(ternctl("restore", backup, "--into", os.path.join(small, "there"))[0], OK, "ternctl restore")

    small_disk.on(t, 2, work)


@tern_only
def test_nothing_is_restored_from_what_is_damaged_or_over_what_is_there(t):
    broker, folder = durable(t)
    fill(t, broker)
    backup = os.path.join(t.folder(), "backup")
    equal(ternctl("backup", backup, "--http", f"127.0.0.1:{broker.http_port}")[0], OK, "ternctl backup")
    broker.stop()
    code, _, err = ternctl("restore", backup, "--into", folder)
    assert code == CANNOT_CREATE and "not empty" in err, (code, err)
    for kept in files(backup):
        broken, into = os.path.join(t.folder(), "broken"), os.path.join(t.folder(), "into")
        shutil.copytree(backup, broken)
        hurt = os.path.join(broken, os.path.relpath(kept, backup))
        if os.path.getsize(hurt) > 0:
            flip(hurt)
            code, _, err = ternctl("restore", broken, "--into", into)
            equal((code, os.path.exists(into)), (DATA, False), f"restore with damage in {hurt} ({err})")
            code, _, err = ternctl("check", broken)
            equal(code, DATA, f"check with damage in {hurt} ({err})")
        shutil.rmtree(broken)
    os.remove(os.path.join(backup, "SUMS"))
    code, _, err = ternctl("restore", backup, "--into", os.path.join(t.folder(), "into"))
    equal(code, DATA, f"restore of a copy that broke off ({err})")


# ---- check ----------------------------------------------------------------------------------------


@tern_only
def test_a_store_in_use_is_left_alone(t):
    broker, folder = durable(t)
    for command in (["check", folder], ["export", folder], ["import", folder]):
        code, out, err = ternctl(*command)
        assert code == UNAVAILABLE and "stop it" in err and out == "", (command, code, out, err)


@tern_only
def test_no_store_is_told_apart_from_a_damaged_one(t):
    empty = os.path.join(t.folder(), "empty")
    os.mkdir(empty)
    for folder in (empty, os.path.join(t.folder(), "missing"), "/dev/null"):
        for command in ("check", "export"):
            code, out, err = ternctl(command, folder)
            assert code == DATA and err and out == "", (command, folder, code, out, err)
    equal(os.listdir(empty), [], "files in a folder that was looked at")
    for words in (["check"], ["check", "a", "b"], ["export"], ["restore", "a"], ["import"], ["backup"]):
        equal(ternctl(*words)[0], USAGE, f"exit code of {words}")


@tern_only
def test_damage_in_a_file_of_a_store_is_found(t):
    broker, folder = durable(t)
    fill(t, broker)
    broker.stop()
    whole(folder)
    tables = [path for path in files(os.path.join(folder, "state")) if path.endswith(".sst")]
    assert tables, files(folder)
    for table in tables:
        copy = os.path.join(t.folder(), "copy")
        shutil.copytree(folder, copy)
        flip(os.path.join(copy, os.path.relpath(table, folder)), at=20)
        code, out, err = ternctl("check", copy)
        assert code == DATA and "ternctl restore" in out + err, (table, code, out, err)
        shutil.rmtree(copy)


@tern_only
def test_of_halves_that_do_not_fit_the_export_says_so_and_writes_what_there_is(t):
    broker, folder = durable(t)
    fill(t, broker)
    broker.stop()
    for half, types in (("log", {"export", "session", "retained"}), ("state", {"export"})):
        copy = os.path.join(t.folder(), "without-" + half)
        shutil.copytree(folder, copy)
        shutil.rmtree(os.path.join(copy, half))
        words = ["--persistence_location", copy, "--http_listener", "none", "--listener", "0 127.0.0.1"]
        refused = subprocess.run([broker_program(), *words], capture_output=True, text=True, timeout=60)
        assert refused.returncode == DATA and "restore a backup" in refused.stderr, refused
        code, out, err = ternctl("export", copy)
        assert code == DATA and "of different times" in err and "not complete" in err, (half, code, err)
        found = {json.loads(line)["type"] for line in out.splitlines()}
        assert types <= found and "end" not in found, (half, found)


# ---- export and import ----------------------------------------------------------------------------


def exported(folder):
    code, out, err = ternctl("export", folder)
    equal((code, err), (OK, ""), "ternctl export")
    lines = [json.loads(line) for line in out.splitlines()]
    equal(lines[0]["type"], "export", "the first line")
    equal(lines[-1], {"type": "end", "lines": len(lines) - 1}, "the last line")
    return lines[1:-1]


def without_times(lines):
    """What is left of it is less by the time it is imported."""

    def without(item):
        if not isinstance(item, dict):
            return item
        return {key: without(value) for key, value in item.items() if key[-3:] != "_ms" and key not in TIMES}

    return [without(line) for line in lines]


def imported(folder, text):
    code, out, err = ternctl("import", folder, stdin=text)
    equal((code, err), (OK, ""), f"ternctl import ({out})")
    return out


@tern_only
@short
def test_what_is_exported_is_imported_again_and_works(t):
    broker, folder = durable(t)
    fill(t, broker)
    broker.stop()
    text = ternctl("export", folder)[1]
    wills = [json.loads(line)["will"] for line in text.splitlines() if '"will"' in line]
    equal([(will["topic"], will["payload"]) for will in wills], [("will", "gone")], "wills")
    other = os.path.join(t.folder(), "other")
    out = imported(other, text)
    assert out.startswith("imported 2 sessions, 1 subscriptions, 3 messages owed, 1 packet ids, 2 retained"), out
    whole(other)
    equal(without_times(exported(other)), without_times(exported(folder)), "what is exported of it")
    out = imported(other, text)
    assert re.search("^left out 2 sessions: the store has one", out, re.M), out
    assert re.search("^left out 2 retained messages: the store has one", out, re.M), out
    equal(without_times(exported(other)), without_times(exported(folder)), "what is there after a second import")
    again = t.broker(["persistence true", f"persistence_location {other}"])
    drain(t, again)


@tern_only
def test_a_wrong_line_says_where_it_stands(t):
    folder = os.path.join(t.folder(), "new")
    head = '{"type":"export","format":1}\n'
    code, out, err = ternctl("import", folder, stdin=head + '{"type":"retained","message":{"topic":"a/#"}}\n')
    assert code == DATA and "line 2" in err and "topic" in err and out == "", (code, out, err)
    code, out, err = ternctl("import", folder, stdin="")
    assert code == DATA and "empty" in err, (code, out, err)
    assert not os.path.exists(folder), "a store that nobody wanted"


@tern_only
def test_an_export_that_was_cut_off_is_refused_and_leaves_nothing(t):
    broker, folder = durable(t)
    fill(t, broker)
    broker.stop()
    lines = ternctl("export", folder)[1].splitlines(keepends=True)
    cut, other = os.path.join(t.folder(), "cut"), os.path.join(t.folder(), "other")
    for text in ("".join(lines[:-1]), "".join(lines[:-3]), "".join(lines)[:-30]):
        with open(cut, "w", encoding="utf-8") as file:
            file.write(text)
        with open(cut, encoding="utf-8") as file:
            done = subprocess.run([program(), "import", other], stdin=file, capture_output=True, text=True, timeout=60)
        by_file, by_pipe = (done.returncode, done.stdout, done.stderr), ternctl("import", other, stdin=text)
        for code, out, err in (by_file, by_pipe):
            assert code == DATA and out == "" and re.search("line \\d+: |the last line", err), (code, out, err)
            assert not os.path.exists(other), "a part of it was kept"
    os.mkdir(other)
    equal(ternctl("import", other, stdin="".join(lines[:-1]))[0], DATA, "exit code")
    equal(os.listdir(other), [], "files in a folder that was empty")
    imported(other, "".join(lines[:-1]) + '{"type":"end"}\n')
    before = without_times(exported(other))
    code, out, err = ternctl("import", other, stdin="".join(lines[:-1]))
    assert code == DATA and out == "" and "missing" in err, (code, out, err)
    equal(without_times(exported(other)), before, "what an older store has after an import that was refused")


@tern_only
def test_an_import_on_a_full_disk_leaves_nothing(t):
    def work(small):
        folder, ballast = os.path.join(small, "new"), os.path.join(small, "ballast")
        lines = [json.dumps({"type": "retained", "message": {"topic": f"t/{i}", "payload": os.urandom(500).hex()}})
                 for i in range(3000)]
        text = "\n".join(['{"type":"export","format":1}', *lines, '{"type":"end"}']) + "\n"
        for space in (0, 16384, 1 << 20):
            small_disk.fill(ballast)
            os.truncate(ballast, os.path.getsize(ballast) - space)
            code, out, err = ternctl("import", folder, stdin=text)
            assert code == CANNOT_CREATE and out == "" and "make" in err, (space, code, out, err)
            equal(os.listdir(small), ["ballast"], f"what is left, of {space} bytes")
        os.remove(ballast)
        imported(folder, text)

    small_disk.on(t, 16, work)


@tern_only
def test_messages_of_a_session_whose_sequences_do_not_grow_are_refused(t):
    folder = os.path.join(t.folder(), "new")

    def text(*sequences):
        key, lines = "0000000000000001", ['{"type":"export","format":1}']
        lines.append(f'{{"type":"session","session":"{key}","client":"a","expiry_s":null}}')
        for number in sequences:
            message = {"type": "message", "session": key, "sequence": number, "qos": 1, "message": {"topic": "x"}}
            lines.append(json.dumps(message))
        return "".join(line + "\n" for line in [*lines, json.dumps({"type": "end", "lines": len(lines)})])

    for sequences in ((3, 3), (3, 2)):
        code, out, err = ternctl("import", folder, stdin=text(*sequences))
        assert code == DATA and "line 4" in err and "sequence" in err and out == "", (sequences, code, out, err)
    imported(folder, text(3, 7))


@tern_only
def test_an_import_that_is_killed_leaves_a_whole_store(t):
    folder, count = os.path.join(t.folder(), "new"), 3000
    importing = subprocess.Popen([program(), "import", folder], stdin=subprocess.PIPE)
    try:
        importing.stdin.write(b'{"type":"export","format":1}\n')
        for i in range(count):
            line = {"type": "retained", "message": {"topic": f"t/{i}", "payload": "x" * 1000}}
            importing.stdin.write(json.dumps(line).encode() + b"\n")
        importing.stdin.flush()
    finally:
        importing.kill()
        importing.wait()
        importing.stdin.close()
    whole(folder)
    kept = [line for line in exported(folder) if line["type"] == "retained"]
    assert len(kept) <= count, f"{len(kept)} of {count} messages"
    t.broker(["persistence true", f"persistence_location {folder}"])


@tern_only
@plain_build
def test_many_sessions_are_imported_and_exported(t):
    folder, path = os.path.join(t.folder(), "new"), os.path.join(t.folder(), "lines")
    count = 20000
    with open(path, "w", encoding="utf-8") as file:
        file.write('{"type":"export","format":1}\n')
        for i in range(count):
            key = f"{i + 1:016x}"
            file.write(f'{{"type":"session","session":"{key}","client":"c{i}","expiry_s":null}}\n')
            file.write(f'{{"type":"subscription","session":"{key}","filter":"f/{i}/#","qos":1}}\n')
            file.write(f'{{"type":"message","session":"{key}","sequence":1,"qos":1,"message":{{"topic":"f/{i}/x"}}}}\n')
        file.write(f'{{"type":"end","lines":{3 * count + 1}}}\n')
    with open(path, encoding="utf-8") as file:
        out = imported(folder, file.read())
    assert out.startswith(f"imported {count} sessions, {count} subscriptions, {count} messages owed"), out
    assert f"{count} sessions, {count} subscriptions, {count} messages owed" in whole(folder)
    equal(len(exported(folder)), 3 * count, "lines")
