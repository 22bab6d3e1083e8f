"""The process: signals, exit codes, what it says at start and what it is linked to."""

import base64
import glob
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import broker as broker_module
import certs
import mqtt
import tls
from suite import each, equal, eventually, plain_build, port_told, short, tern_only

OK, USAGE, UNAVAILABLE, CANNOT_CREATE, CONFIGURATION = 0, 64, 69, 73, 78
SHUTTING_DOWN = 0x8B
VERSIONS = (3, 4, 5)


def run(*arguments, program=None, env=None, cwd=None, seconds=30):
    """A program that ends by itself: (exit code, standard output, standard error)."""
    result = subprocess.run(
        [program or broker_module.program(), *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds,
        stdin=subprocess.DEVNULL,
        env=dict({name: value for name, value in os.environ.items() if not name.startswith("TERN_")}, **(env or {})),
        cwd=cwd,
    )
    return result.returncode, result.stdout, result.stderr


def write(t, name, text):
    path = os.path.join(t.folder(), name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def can_connect(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


# ---- stopping -----------------------------------------------------------------------------------


@short
@each(signal.SIGTERM, signal.SIGINT)
def test_a_broker_that_is_told_to_stop_says_goodbye(t, number):
    broker = t.broker()
    clients = [t.client(broker.port, f"v{version}", version) for version in VERSIONS]
    broker.process.send_signal(number)
    for client in clients:
        if client.version == 5 and not broker_module.is_mosquitto():
            equal(client.expect(mqtt.DISCONNECT).reason, SHUTTING_DOWN, "reason")
            equal(client.expect_close(), [], "after that")
        else:
            client.expect_close()
    equal(broker.process.wait(20), OK, "exit code")
    assert not can_connect(broker.port)


@tern_only
def test_what_was_accepted_is_delivered_before_the_end(t):
    broker = t.broker()
    subscriber = t.client(broker.port, "subscriber", 5)
    subscriber.subscribe(t.topic(), qos=0)
    publisher = t.client(broker.port, "publisher", 5)
    count = 200
    for number in range(count):
        publisher.send(mqtt.publish(t.topic(), b"%d" % number, 1, 1 + number))
    for number in range(count):
        publisher.expect(mqtt.PUBACK, pid=1 + number)
    broker.process.send_signal(signal.SIGTERM)
    for number in range(count):
        subscriber.expect(mqtt.PUBLISH, payload=b"%d" % number)
    equal(subscriber.expect(mqtt.DISCONNECT).reason, SHUTTING_DOWN, "reason")


@tern_only
@short
def test_a_client_that_never_reads_does_not_hold_up_the_end(t):
    broker = t.broker()
    deaf = t.client(broker.port, "deaf", 5)
    deaf.subscribe(t.topic(), qos=0)
    publisher = t.client(broker.port, "publisher", 5)
    for _ in range(300):
        publisher.publish(t.topic(), bytes(64 * 1024))
    broker.process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    equal(broker.process.wait(30), OK, "exit code")
    assert time.monotonic() - started < 20


@tern_only
def test_a_second_signal_ends_it_at_once(t):
    broker = t.broker()
    deaf = t.client(broker.port, "deaf", 5)
    deaf.subscribe(t.topic(), qos=0)
    publisher = t.client(broker.port, "publisher", 5)
    for _ in range(300):
        publisher.publish(t.topic(), bytes(64 * 1024))
    broker.process.send_signal(signal.SIGTERM)
    publisher.expect(mqtt.DISCONNECT)
    if broker.process.poll() is None:
        broker.process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    broker.process.wait(10)
    assert time.monotonic() - started < 3, "it took its time"
    broker.kill()


# ---- reloading ----------------------------------------------------------------------------------


def rewrite(broker, old, new):
    with open(broker.config, encoding="utf-8") as file:
        text = file.read()
    assert old in text, text
    with open(broker.config, "w", encoding="utf-8") as file:
        file.write(text.replace(old, new))


def log_grows(broker, before, word):
    return eventually(lambda: word in broker.log()[before:].lower(), what=f"'{word}' in the log")


@tern_only
@short
def test_a_good_file_is_taken_over_without_losing_a_connection(t):
    broker = t.broker(["max_packet_size 2000"])
    client = t.client(broker.port, "client", 5)
    client.subscribe(t.topic(), qos=0)
    rewrite(broker, "max_packet_size 2000", "max_packet_size 5000")
    broker.reload()

    def is_taken_over():
        probe = t.raw(broker.port, 5, "probe")
        connack = probe.connect("", clean=True)
        probe.send(mqtt.disconnect())
        return connack.props.get("packet_max") == 5000

    eventually(is_taken_over, what="the new max_packet_size in CONNACK")
    client.publish(t.topic(), b"still here")
    client.expect(mqtt.PUBLISH, payload=b"still here")


@tern_only
@short
@each("no_such_key 5", "max_packet_size nonsense", "max_qos 7", "listener")
def test_a_bad_file_changes_nothing_and_is_named(t, bad):
    broker = t.broker(["max_packet_size 2000"])
    client = t.client(broker.port, "client", 5)
    before = len(broker.log())
    rewrite(broker, "max_packet_size 2000", f"max_packet_size 5000\n{bad}")
    broker.reload()
    log_grows(broker, before, bad.split()[0])
    connack = t.raw(broker.port, 5, "probe").connect("", clean=True)
    equal(connack.props.get("packet_max"), 2000, "max_packet_size")
    client.send(b"\xc0\x00")
    client.expect(mqtt.PINGRESP)


@tern_only
def test_a_log_file_is_opened_anew_and_hears_what_is_wrong_with_a_new_configuration(t):
    path = os.path.join(t.folder(), "tern.log")
    broker = t.broker([f"log_dest file {path}", "log_format json", "max_packet_size 2000"])
    t.client(broker.port, "before", 5)
    os.rename(path, path + ".1")
    rewrite(broker, "max_packet_size 2000", "max_packet_size nonsense")
    broker.reload()

    def rows(name):
        with open(name, encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def findings():
        return [row for row in rows(path + ".1") if "nonsense" in row.get("finding", "")]

    found = eventually(findings, what="the finding in the log")
    equal((found[0]["level"], found[0]["file"]), ("error", broker.config), "the finding")
    assert not os.path.exists(path), "a bad configuration opened a log file"
    rewrite(broker, "max_packet_size nonsense", "max_packet_size 3000")
    broker.reload()
    eventually(lambda: os.path.exists(path) and rows(path), what="lines in the new file")
    listening = [row["at"] for row in rows(path + ".1") if row["msg"] == "listening"]
    equal(listening, [f"127.0.0.1:{broker.port}"], "where it listens")


@tern_only
def test_a_broker_without_standard_files_sends_its_log_to_nobody(t):
    """Were descriptor 2 free, a socket would get it, and with it every line of the log."""
    port = broker_module.free_port()
    command = f'exec "$0" --listener "{port} 127.0.0.1" --http_listener none --log_type all <&- >&- 2>&-'
    program = t.program("sh", "-c", command, broker_module.program())
    eventually(lambda: can_connect(port), what="a broker that answers")
    clients = [t.client(port, f"client{number}", 5) for number in range(3)]
    t.client(port, "one more", 5).send(mqtt.disconnect())
    for client in clients:
        client.ping()
    for number in (0, 1, 2):
        equal(os.readlink(f"/proc/{program.process.pid}/fd/{number}"), "/dev/null", f"descriptor {number}")


@tern_only
def test_what_cannot_change_while_running_is_named(t):
    broker = t.broker(["threads 1"])
    before = len(broker.log())
    rewrite(broker, "threads 1", "threads 2")
    broker.reload()
    log_grows(broker, before, "threads")
    t.client(broker.port, "client", 5)


@tern_only
def test_a_file_that_is_gone_changes_nothing(t):
    broker = t.broker(["max_packet_size 2000"])
    before = len(broker.log())
    os.remove(broker.config)
    broker.reload()
    log_grows(broker, before, "broker.conf")
    connack = t.raw(broker.port, 5, "probe").connect("", clean=True)
    equal(connack.props.get("packet_max"), 2000, "max_packet_size")


# ---- the command line ---------------------------------------------------------------------------


@tern_only
@short
def test_help_and_version_are_printed(t):
    code, out, _ = run("--help")
    equal(code, OK, "exit code")
    assert "max_packet_size" in out and "--test-config" in out, out
    code, out, _ = run("--version")
    equal(code, OK, "exit code")
    assert "tern" in out.lower(), out


@tern_only
@short
@each("--no-such-option", "-x", "-c")
def test_a_command_line_that_makes_no_sense_is_usage(t, argument):
    code, out, err = run(argument)
    assert code in (USAGE, CONFIGURATION), f"exit code {code}"
    if argument == "-c":
        equal(code, USAGE, "exit code")
    assert argument.lstrip("-") in out + err or argument == "-c", out + err


@tern_only
@short
def test_a_good_configuration_tests_well(t):
    path = write(t, "good.conf", "listener 1883 127.0.0.1\nmax_packet_size 1M\nmax_inflight_messages 50\n")
    code, _, err = run("--test-config", "-c", path)
    equal(code, OK, f"exit code ({err})")


@tern_only
@short
def test_all_mistakes_are_told_with_their_lines(t):
    path = write(
        t,
        "bad.conf",
        "listener 1883 127.0.0.1\nmax_packet_sise 1M\nmax_qos 7\n\nsys_interval soon\ncafile /etc/ca.pem\n",
    )
    code, out, err = run("--test-config", "-c", path)
    equal(code, CONFIGURATION, "exit code")
    said = out + err
    for line in (2, 3, 5, 6):
        assert f"bad.conf:{line}:" in said, f"line {line} is not told in:\n{said}"
    assert "max_packet_size" in said, f"the nearest name is not offered:\n{said}"


@tern_only
@short
def test_a_bad_configuration_does_not_start_and_opens_no_port(t):
    path = write(t, "bad.conf", "listener 0 127.0.0.1\nhttp_listener none\nno_such_key 1\n")
    code, out, err = run("-c", path)
    equal(code, CONFIGURATION, f"exit code ({out}{err})")
    assert "bad.conf:3:" in out + err, out + err


@tern_only
def test_a_configuration_that_is_not_there_is_a_configuration_error(t):
    path = os.path.join(t.folder(), "none.conf")
    code, out, err = run("-c", path)
    equal(code, CONFIGURATION, "exit code")
    assert "none.conf" in out + err, out + err


@tern_only
@short
@each("mqtt", "http")
def test_a_port_that_is_taken_ends_the_start(t, which):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        http = f"127.0.0.1:{port}" if which == "http" else "none"
        mqtt_port = port if which == "mqtt" else 0
        path = write(t, "taken.conf", f"listener {mqtt_port} 127.0.0.1\nhttp_listener {http}\npersistence false\n")
        code, out, err = run("-c", path, cwd=t.folder())
    equal(code, CANNOT_CREATE, f"exit code ({out}{err})")
    assert str(port) in out + err, out + err


@tern_only
@short
@each(1, 2)
def test_a_second_tern_does_not_share_the_port_of_the_first(t, threads):
    """Listeners of one process share a port; two brokers there would each serve half of the clients."""
    first = t.broker([f"threads {threads}"])
    for other in (1, 2):
        text = f"threads {other}\nlistener {first.port} 127.0.0.1\nhttp_listener none\npersistence false\n"
        code, out, err = run("-c", write(t, "second.conf", text), cwd=t.folder())
        equal(code, CANNOT_CREATE, f"exit code ({out}{err})")
        assert f"127.0.0.1:{first.port}: the address is in use" in err, err
    first.kill()
    t.broker([f"threads {threads}", f"listener {first.port} 127.0.0.1"])


@tern_only
@short
def test_the_environment_and_the_command_line_override_the_file(t):
    broker = t.broker(
        ["max_packet_size 2000"], env={"TERN_MAX_PACKET_SIZE": "3000", "TERN_MAX_KEEPALIVE": "30"}
    )
    connack = t.raw(broker.port, 5, "probe").connect("", clean=True, keepalive=60)
    equal(connack.props.get("packet_max"), 3000, "max_packet_size of the environment")
    equal(connack.props.get("server_keepalive"), 30, "max_keepalive of the environment")
    broker.stop()
    broker = t.broker(
        ["max_packet_size 2000"], env={"TERN_MAX_PACKET_SIZE": "3000"}, args=["--max_packet_size", "4000"]
    )
    connack = t.raw(broker.port, 5, "probe").connect("", clean=True)
    equal(connack.props.get("packet_max"), 4000, "max_packet_size of the command line")


# ---- what it needs and what it is made of -------------------------------------------------------


@tern_only
@short
def test_a_kernel_without_io_uring_is_named_before_a_port_is_bound(t):
    wrapper = os.path.join(broker_module.ROOT, "tests", "lib", "without_uring.py")
    # The port is taken: a broker that tried to bind it would end with another code.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        path = write(t, "plain.conf", f"listener {port} 127.0.0.1\nhttp_listener none\npersistence false\n")
        code, out, err = run(
            wrapper, broker_module.program(), "-c", path, program=sys.executable, cwd=t.folder()
        )
    equal(code, UNAVAILABLE, f"exit code ({out}{err})")
    lines = [line for line in (out + err).splitlines() if "io_uring" in line]
    equal(len(lines), 1, f"lines about io_uring in {out}{err}")
    assert "seccomp" in lines[0], f"the remedy is not named: {lines[0]}"


@tern_only
def test_no_second_tls_library_is_linked(t):
    code, out, err = run(broker_module.program(), program="ldd")
    equal(code, OK, "exit code of ldd")
    for stranger in ("libssl.so.1", "libssl.so.3", "libcrypto.so.1", "libcrypto.so.3", "libgnutls", "libcurl"):
        assert stranger not in out, out
    # BoringSSL's files have the names of OpenSSL's, in a folder of their own.
    found = re.findall(r"lib(?:ssl|crypto)\S* => (\S+)", out)
    equal(len(found), 2, f"libraries of TLS in {out}")
    assert all("/android/" in path for path in found), out


@tern_only
@short
@plain_build
@each("libcrypto.so.3", "libssl.so.3", "libgnutls.so.30")
def test_a_second_tls_library_in_the_process_ends_the_start(t, stranger):
    paths = glob.glob(f"/usr/lib/*/{stranger}")
    if not paths:
        return
    path = write(t, "plain.conf", "listener 0 127.0.0.1\nhttp_listener none\n")
    code, out, err = run("-c", path, env={"LD_PRELOAD": paths[0]})
    equal(code, UNAVAILABLE, f"exit code ({out}{err})")
    equal(len(err.splitlines()), 1, f"lines of {err}")
    assert "LD_PRELOAD" in err, err


@tern_only
@short
def test_the_limit_of_open_files_is_raised_by_the_broker_itself(t):
    path = write(t, "files.conf", "listener 0 127.0.0.1\nhttp_listener none\npersistence false\n")
    process = t.program("bash", "-c", f"unset TERN_BIN; ulimit -Sn 256; exec {broker_module.program()} -c {path}")
    port = port_told(lambda: "\n".join(process.lines), r"mqtt +127\.0\.0\.1:(\d+)")
    held = [t.raw(port, 5, "held") for _ in range(400)]
    for client in held:
        client.connect("", clean=True)
    process.process.send_signal(signal.SIGTERM)
    process.wait_end(20)


# ---- secrets ------------------------------------------------------------------------------------

CANARY = "canary-6b1f0c52"


def password_line(user, password):
    """As mosquitto 2.0 writes it, with few rounds."""
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), b"saltsaltsalt", 101)
    return f"{user}:$7$101${base64.b64encode(b'saltsaltsalt').decode()}${base64.b64encode(digest).decode()}\n"


def guarded(t, *lines, **how):
    """A broker with TLS and passwords, alice's is the canary."""
    path = write(t, "passwords", password_line("alice", CANARY))
    os.chmod(path, 0o600)
    lines = ["allow_anonymous false", f"password_file {path}", *lines]
    return t.broker(lines, listeners={"tls": certs.listener(), "mqtt": []}, **how)


@tern_only
@short
def test_no_password_is_in_the_log_whatever_is_logged(t):
    broker = guarded(t, "log_type all")
    for version in VERSIONS:
        t.raw(broker.ports["mqtt"], version).connect("good", username="alice", password=CANARY)
        t.raw(broker.ports["mqtt"], version).connect("bad", reason=None, username="alice", password=CANARY + "!")
        t.raw(broker.ports["mqtt"], version).connect("who", reason=None, username=CANARY[::-1], password=CANARY)
        tls.client(t, broker.ports["tls"], f"tls{version}", version, username="alice", password=CANARY)
    broker.reload()
    log_grows(broker, 0, "reloaded")
    broker.process.terminate()
    equal(broker.process.wait(mqtt.WAIT_S), OK, "exit code")
    assert "alice" in broker.log() and CANARY[::-1] in broker.log(), "logins are not in the log at all"
    assert CANARY not in broker.log(), "a password is in the log"
    assert "$7$" not in broker.log(), "a hash is in the log"


def crash(t, *lines):
    """Start a broker that may leave a core, log in, make it crash; the cores."""
    folder = t.folder()
    path = write(t, "passwords", password_line("alice", CANARY))
    pair = certs.server()
    text = ["allow_anonymous false", f"password_file {path}", "http_listener none", *lines, "listener 0 127.0.0.1"]
    text += [f"certfile {pair.cert}", f"keyfile {pair.key}"]
    config = write(t, "crash.conf", "\n".join(text) + "\n")
    command = f"ulimit -c unlimited; cd {folder}; exec {broker_module.program()} -c {config}"
    program = t.program("bash", "-c", command)
    port = port_told(lambda: "\n".join(program.lines), r"mqtts +127\.0\.0\.1:(\d+)")
    tls.client(t, port, "a", username="alice", password=CANARY).ping()
    program.process.send_signal(signal.SIGABRT)
    program.wait_end(60, status=-signal.SIGABRT)
    return [os.path.join(folder, name) for name in os.listdir(folder) if name.startswith("core")]


@tern_only
@plain_build
def test_a_broker_that_holds_keys_leaves_no_core(t):
    equal(crash(t), [], "cores")


@tern_only
@plain_build
def test_a_core_is_there_for_who_asks_for_it(t):
    """The other test would see one if there was one."""
    with open("/proc/sys/kernel/core_pattern", encoding="utf-8") as file:
        if not re.match(r"core[^/|]*$", file.read().strip()):
            return  # this machine's cores go elsewhere
    equal(len(crash(t, "core_dumps true")), 1, "cores")


@tern_only
@short
def test_all_that_guards_a_listener_is_judged_before_a_port_is_opened(t):
    acl = write(t, "acl", "topic readwrite a/#\ntopik read b\n")
    expired, pair = certs.server("expired"), certs.server()
    text = f"acl_file {acl}\npassword_file {t.folder()}/none\nhttp_listener none\n"
    text += f"listener 0 127.0.0.1\ncertfile {expired.cert}\nkeyfile {expired.key}\n"
    text += f"listener 0 127.0.0.1\ncertfile {pair.cert}\nkeyfile {expired.key}\nprotocol websockets\n"
    path = write(t, "bad.conf", text)
    for how in (["--test-config"], []):
        code, out, err = run(*how, "-c", path)
        equal(code, CONFIGURATION, f"exit code ({out}{err})")
        assert f"{acl}:2: error: " in err, err
        assert f"{t.folder()}/none: error: there is no such file" in err, err
        equal(len(re.findall(r"^listener 0 127\.0\.0\.1: error: ", err, re.M)), 2, f"listeners told in {err}")
        assert "mqtts" not in err, err


@tern_only
@short
def test_a_good_guard_tests_well_and_files_that_others_can_read_are_told(t):
    path = write(t, "passwords", password_line("alice", "secret"))
    os.chmod(path, 0o644)
    pair = certs.server()
    text = f"password_file {path}\nhttp_listener none\nlistener 0 127.0.0.1\n"
    config = write(t, "good.conf", text + f"certfile {pair.cert}\nkeyfile {pair.key}\n")
    code, out, err = run("--test-config", "-c", config)
    equal(code, OK, f"exit code ({out}{err})")
    assert f"{path}: warning: others than its owner can read it: chmod 600 {path}" in err, err
    assert pair.key not in err, err


@tern_only
@short
def test_privileges_are_dropped_after_the_keys_were_read(t):
    if os.geteuid() != 0:
        return
    folder = t.folder()
    os.chmod(folder, 0o755)
    pair = certs.copied(certs.server(), folder)
    os.chmod(pair.key, 0o600)
    section = [f"certfile {pair.cert}", f"keyfile {pair.key}"]
    broker = t.broker(["user nobody"], metrics=True, listeners={"tls": section})
    with open(f"/proc/{broker.process.pid}/status", encoding="utf-8") as file:
        status = file.read()
    assert not re.search(r"^(Uid|Gid):.*\b0\b", status, re.M), status
    assert not re.search(r"^Groups:.*\b0\b", status, re.M), status
    assert f"file={pair.key}" in broker.log() and "user nobody may not read it" in broker.log(), broker.log()
    client = tls.client(t, broker.port, "a")
    before = len(broker.log())
    os.chmod(broker.folder, 0o755)
    broker.reload()
    log_grows(broker, before, "reloaded")
    assert "level=error" in broker.log()[before:] and pair.key in broker.log()[before:], broker.log()[before:]
    tls.client(t, broker.port, "b").ping()
    client.ping()
    equal(t.metric(broker, "tern_security_stale", kind="tls"), 1, "tern_security_stale")
    assert t.metric(broker, "process_open_fds") > 0 and t.metric(broker, "process_resident_memory_bytes") > 0
    os.chmod(pair.key, 0o644)
    eventually(lambda: t.metric(broker, "tern_security_stale", kind="tls") == 0, 30, "a key that is read again")


@tern_only
@plain_build
def test_nobody_of_the_same_name_looks_into_a_broker_that_holds_keys(t):
    if os.geteuid() != 0:
        return
    for line, may_look in (("core_dumps false", False), ("core_dumps true", True)):
        broker = t.broker(["user nobody", line], listeners={"tls": certs.listener()})
        log_grows(broker, 0, "mqtts ")  # it has settled in
        path = f"/proc/{broker.process.pid}/environ"
        code, _, _ = run("-u", "nobody", "--", "head", "-c", "1", path, program="runuser")
        equal(code == 0, may_look, f"nobody looks in, with {line}")
