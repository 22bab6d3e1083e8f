"""Certificates, passwords and rules are read again, by SIGHUP or because their files changed, and nobody who
is connected notices. What is bad leaves what was, and says so in the log, in /health and in /metrics."""

import base64
import hashlib
import json
import os
import re
import shutil
import socket
import ssl
import time
import urllib.request

import certs
import mqtt
import tern_bench
import tls
from suite import alone, each, equal, eventually, plain_build, short, tern_only

# The files are looked at every two seconds, and a change counts at the second look; a busy machine is slower.
WATCH_S = 30


def health(broker):
    url = f"http://127.0.0.1:{broker.http_port}/health"
    with urllib.request.urlopen(url, timeout=mqtt.WAIT_S) as answer:  # raises if it is not 200
        return json.load(answer)


def items(broker, kind):
    return [item for item in health(broker)["security"] if item["kind"] == kind]


def replace(path, text, mode=0o600):
    """In one step, as whoever renews a file should do it."""
    with open(path + ".part", "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path + ".part", mode)
    os.rename(path + ".part", path)


def rewrite(broker, old, new):
    with open(broker.config, encoding="utf-8") as file:
        text = file.read()
    assert old in text, text
    replace(broker.config, text.replace(old, new))


def der(path):
    with open(path, encoding="utf-8") as file:
        return ssl.PEM_cert_to_DER_cert(re.search("-----BEGIN.*?END CERTIFICATE-----", file.read(), re.S).group())


def served(broker):
    """The certificate that a new connection is shown."""
    link = tls.transport(broker.port)
    try:
        return link.ssl.getpeercert(binary_form=True)
    finally:
        link.close()


def password_line(user, password):
    """As mosquitto 2.0 writes it, with few rounds."""
    salt = hashlib.sha256(user.encode()).digest()[:12]
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)
    return f"{user}:$7$101${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}\n"


def can_login(t, broker, user, password):
    client = t.raw(broker.port, 5, user)
    code = client.connect(t.id(user), reason=None, username=user, password=password).reason
    client.close()
    assert code in (0, 0x86), f"CONNACK {code:#x}"
    return code == 0


def may_subscribe(client, topic):
    pid = client.pid()
    client.send(mqtt.subscribe(pid, [(topic, 0)], None, client.version))
    return client.answer(mqtt.SUBACK, pid=pid).reasons[0] < 0x80


class TlsHouse:
    """A broker with TLS and files of its own."""

    def __init__(self, t, *more, name="ecdsa", lines=()):
        self.folder = t.folder()
        self.pair = certs.copied(certs.server(name), self.folder)
        section = [f"certfile {self.pair.cert}", f"keyfile {self.pair.key}", *more]
        self.broker = t.broker(list(lines), metrics=True, listeners={"mqtt": section})
        self.port = self.broker.port

    def put(self, name):
        certs.copied(certs.server(name), self.folder)

    def read_again(self, how):
        if how == "reload":
            self.broker.reload()


# ---- certificates -------------------------------------------------------------------------------


@tern_only
@short
@each("reload", "watch")
def test_a_new_pair_is_served_and_old_connections_stay(t, how):
    house = TlsHouse(t)
    clients = [tls.client(t, house.port, f"old{n}") for n in range(5)]
    for client in clients:
        client.subscribe(t.topic(), qos=0)
    equal(served(house.broker), der(certs.server("ecdsa").cert), "the certificate at first")
    house.put("renewed")
    house.read_again(how)
    renewed = der(certs.server("renewed").cert)
    eventually(lambda: served(house.broker) == renewed, WATCH_S, "the new certificate")
    tls.client(t, house.port, "new").publish(t.topic(), b"still here")
    for client in clients:
        client.expect(mqtt.PUBLISH, payload=b"still here")
    equal(health(house.broker)["status"], "ok", "health")
    equal(t.metric(house.broker, "tern_security_reload_failures_total"), 0, "failures")
    assert t.metric(house.broker, "tern_security_reloads_total") >= 1


@tern_only
@short
def test_the_end_of_each_certificate_is_told(t):
    house = TlsHouse(t, f"certificate {certs.server('rsa').cert} {certs.server('rsa').key}")
    shown = {item["file"]: item for item in items(house.broker, "tls")}
    equal(set(shown), {house.pair.cert, certs.server("rsa").cert}, "the files")
    link = tls.transport(house.port)
    ends = ssl.cert_time_to_seconds(link.ssl.getpeercert()["notAfter"])
    link.close()
    found = t.metric(house.broker, "tern_tls_certificate_expiry_timestamp_seconds", file=house.pair.cert)
    equal(found, ends, "the metric")
    equal(shown[house.pair.cert]["expires"], time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ends)), "/health")


@tern_only
@short
@each("reload", "watch")
def test_a_key_that_does_not_fit_changes_nothing_is_told_once_and_heals(t, how):
    house = TlsHouse(t)
    good = der(house.pair.cert)
    before = len(house.broker.log())
    shutil.copy(certs.server("renewed").key, house.pair.key)
    house.read_again(how)
    eventually(lambda: health(house.broker)["status"] == "degraded", WATCH_S, "a health that is degraded")
    (item,) = items(house.broker, "tls")
    equal((item["status"], item["file"]), ("stale", house.pair.cert), "/health")
    assert house.pair.key in item["reason"], item
    equal(t.metric(house.broker, "tern_security_stale", kind="tls"), 1, "tern_security_stale")
    equal(t.metric(house.broker, "tern_security_reload_failures_total"), 1, "failures")
    equal(served(house.broker), good, "the certificate")
    tls.client(t, house.port, "new").ping()
    time.sleep(6)  # three more looks at the files, which are as they were
    said = [line for line in house.broker.log()[before:].splitlines() if "level=error" in line and "finding=" in line]
    equal(len(said), 1, f"lines about it in {said}")
    house.put("renewed")
    renewed = der(certs.server("renewed").cert)
    eventually(lambda: served(house.broker) == renewed, WATCH_S, "the new certificate")
    equal(health(house.broker)["status"], "ok", "health")
    equal(t.metric(house.broker, "tern_security_stale", kind="tls"), 0, "tern_security_stale")


@tern_only
@each("expired", "future", "weak")
def test_a_certificate_that_nobody_should_trust_does_not_replace_a_good_one(t, name):
    house = TlsHouse(t)
    good = der(house.pair.cert)
    house.put(name)
    house.broker.reload()
    eventually(lambda: items(house.broker, "tls")[0]["status"] == "stale", what="a stale certificate")
    equal(served(house.broker), good, "the certificate")
    expires = items(house.broker, "tls")[0]["expires"]
    ends = t.metric(house.broker, "tern_tls_certificate_expiry_timestamp_seconds")
    equal(expires, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ends)), "the end of the one in use")
    assert ends > time.time(), "the end of the bad one is told"


@tern_only
def test_half_of_a_new_pair_is_waited_out(t):
    """Who writes the certificate first and its key a second later is not served the wrong one."""
    house = TlsHouse(t)
    pair = certs.server("renewed")
    shutil.copy(pair.cert, house.pair.cert)
    time.sleep(1)
    shutil.copy(pair.key, house.pair.key)
    eventually(lambda: served(house.broker) == der(pair.cert), WATCH_S, "the new certificate")
    equal(health(house.broker)["status"], "ok", "health")


@tern_only
@short
def test_a_link_that_is_swapped_as_kubernetes_does_it_is_seen(t):
    folder = os.path.join(t.folder(), "secret")
    for version, name in (("v1", "ecdsa"), ("v2", "renewed")):
        os.makedirs(os.path.join(folder, version))
        pair = certs.server(name)
        shutil.copy(pair.cert, os.path.join(folder, version, "tls.crt"))
        shutil.copy(pair.key, os.path.join(folder, version, "tls.key"))
    os.symlink("v1", os.path.join(folder, "..data"))
    for name in ("tls.crt", "tls.key"):
        os.symlink(os.path.join("..data", name), os.path.join(folder, name))
    section = [f"certfile {folder}/tls.crt", f"keyfile {folder}/tls.key"]
    broker = t.broker(metrics=True, listeners={"mqtt": section})
    client = tls.client(t, broker.port, "old")
    os.symlink("v2", os.path.join(folder, "..new"))
    os.rename(os.path.join(folder, "..new"), os.path.join(folder, "..data"))
    shutil.rmtree(os.path.join(folder, "v1"))
    renewed = der(certs.server("renewed").cert)
    eventually(lambda: served(broker) == renewed, WATCH_S, "the new certificate")
    client.ping()
    equal(t.metric(broker, "tern_security_reload_failures_total"), 0, "failures")


@tern_only
def test_files_that_are_gone_leave_what_they_said(t):
    house = TlsHouse(t)
    good = der(house.pair.cert)
    os.rename(house.pair.cert, house.pair.cert + ".gone")
    eventually(lambda: health(house.broker)["status"] == "degraded", WATCH_S, "a health that is degraded")
    equal(served(house.broker), good, "the certificate")
    os.rename(house.pair.cert + ".gone", house.pair.cert)
    eventually(lambda: health(house.broker)["status"] == "ok", WATCH_S, "a health that is well")
    equal(served(house.broker), good, "the certificate")


@tern_only
@short
def test_who_is_revoked_is_refused_from_then_on(t):
    crl = os.path.join(t.folder(), "crl.pem")
    shutil.copy(certs.path("crl-empty.pem"), crl)
    house = TlsHouse(t, f"cafile {certs.ca()}", "require_certificate true", f"crlfile {crl}")
    shown = tls.context(client=certs.client("revoked"))
    client = tls.client(t, house.port, "revoked", how=shown)
    client.disconnect()
    shutil.copy(certs.path("crl.pem"), crl)
    house.broker.reload()
    eventually(lambda: t.metric(house.broker, "tern_security_reloads_total") == 1, what="the reload")
    assert "REVOKED" in tls.refused(house.port, shown), "another alert"
    tls.client(t, house.port, "alice", how=tls.context(client=certs.client("alice"))).ping()


@tern_only
@alone
def test_reloads_under_load_lose_no_connection(t):
    house = TlsHouse(t)
    clients = [tls.client(t, house.port, f"c{n}") for n in range(200)]
    for client in clients:
        client.subscribe(t.topic(), qos=0)
    publisher = tls.client(t, house.port, "publisher")
    for number in range(20):
        house.put(("ecdsa", "renewed")[number % 2])
        house.broker.reload()
        publisher.publish(t.topic(), b"%d" % number)
        tls.client(t, house.port, f"new{number}").disconnect()
    for client in clients:
        for number in range(20):
            client.expect(mqtt.PUBLISH, payload=b"%d" % number)
    eventually(lambda: served(house.broker) == der(house.pair.cert), what="the last certificate")
    equal(t.metric(house.broker, "tern_clients_connected"), 201, "clients")


@tern_only
@alone
@plain_build
def test_reloads_with_5000_clients_at_work_disconnect_nobody(t):
    house = TlsHouse(t)
    options = f"pairs --count 2500 --qos 1 --rate 4000 --seconds 20 --ssl --cacertfile {certs.ca()}"
    run = tern_bench.start(house.port, options, "--tls-server-name", "localhost")
    eventually(lambda: t.metric(house.broker, "tern_clients_connected") == 5000, 120, "5000 clients")
    before = t.metric(house.broker, "tern_publish_received_total")
    count = 0
    while t.metric(house.broker, "tern_clients_connected") == 5000 and count < 12:
        house.put(("renewed", "ecdsa")[count % 2])
        house.broker.reload()
        count += 1
        eventually(lambda: t.metric(house.broker, "tern_security_reloads_total") >= count, what="the reload")
        equal(served(house.broker), der(house.pair.cert), "the certificate")
        time.sleep(1)
    equal(count, 12, "reloads while 5000 clients were connected")
    assert t.metric(house.broker, "tern_publish_received_total") > before + 1000, "nobody was at work"
    equal(t.metric(house.broker, "tern_disconnects_server_total"), 0, "clients that the broker disconnected")
    out, err = run.communicate(timeout=120)
    equal(run.returncode, tern_bench.CLEAN, f"exit code of tern-bench ({out}{err})")
    equal(tern_bench.violations(json.loads(out)), {}, "what went wrong")
    equal(t.metric(house.broker, "tern_security_reload_failures_total"), 0, "failures")


# ---- passwords and rules ------------------------------------------------------------------------


@tern_only
@short
@each("reload", "watch")
def test_a_new_password_file_counts(t, how):
    """For who comes, and for who is there: bob's line is gone, dora's is as it was."""
    path = os.path.join(t.folder(), "passwords")
    dora = password_line("dora", "five")
    replace(path, password_line("alice", "one") + password_line("bob", "two") + dora)
    lines = ["allow_anonymous false", f"password_file {path}", "login_failures_free 0"]  # carol tries until she may
    broker = t.broker(lines, metrics=True)
    assert can_login(t, broker, "alice", "one")
    assert not can_login(t, broker, "alice", "two")
    goes = t.client(broker.port, "goes", 5, username="bob", password="two")
    stays = t.client(broker.port, "stays", 5, username="dora", password="five")
    replace(path, password_line("alice", "three") + dora + password_line("carol", "four"))
    if how == "reload":
        broker.reload()
    eventually(lambda: can_login(t, broker, "carol", "four"), WATCH_S, "a login of carol")
    assert can_login(t, broker, "alice", "three")
    assert not can_login(t, broker, "alice", "one")
    assert not can_login(t, broker, "bob", "two")
    stays.ping()
    goes.expect_refusal(0x87)
    equal(items(broker, "passwords")[0]["status"], "ok", "status")


@tern_only
@short
@each("reload", "watch")
def test_new_rules_count_for_those_who_are_connected(t, how):
    path = os.path.join(t.folder(), "acl")
    replace(path, "topic readwrite open/#\n")
    broker = t.broker([f"acl_file {path}"], metrics=True)
    client = t.client(broker.port, "client", 5)
    assert may_subscribe(client, "open/a")
    assert not may_subscribe(client, "later/a")
    replace(path, "topic readwrite later/#\n")
    if how == "reload":
        broker.reload()
    eventually(lambda: may_subscribe(client, "later/a"), WATCH_S, "a subscription to later/a")
    assert not may_subscribe(client, "open/b")
    client.ping()


@tern_only
@short
def test_bad_rules_leave_the_old_ones_and_are_told_with_their_line(t):
    path = os.path.join(t.folder(), "acl")
    replace(path, "topic readwrite open/#\n")
    broker = t.broker([f"acl_file {path}", "max_packet_size 2000"], metrics=True)
    client = t.client(broker.port, "client", 5)
    replace(path, "topic readwrite later/#\n\ntopic write #/late\n")
    rewrite(broker, "max_packet_size 2000", "max_packet_size 5000")
    broker.reload()
    eventually(lambda: items(broker, "acl")[0]["status"] == "stale", what="stale rules")
    assert items(broker, "acl")[0]["reason"].startswith("line 3: "), items(broker, "acl")
    assert f"file={path} line=3 " in broker.log(), broker.log()
    assert may_subscribe(client, "open/a")
    assert not may_subscribe(client, "later/a")
    # The rest of the configuration is as it should be, so it counts.
    connack = t.raw(broker.port, 5, "probe").connect("", clean=True)
    equal(connack.props.get("packet_max"), 5000, "max_packet_size")


@tern_only
@short
@each("acl_file", "password_file")
def test_a_file_that_is_named_for_the_first_time_has_to_be_good(t, key):
    path = os.path.join(t.folder(), "file")
    replace(path, "nonsense\n")
    broker = t.broker(["max_packet_size 2000"], metrics=True)
    rewrite(broker, "max_packet_size 2000", f"max_packet_size 5000\n{key} {path}")
    broker.reload()
    eventually(lambda: "reload failed" in broker.log(), what="the refusal in the log")
    assert f"file={path} line=1 " in broker.log(), broker.log()
    connack = t.raw(broker.port, 5, "probe").connect("", clean=True)
    equal(connack.props.get("packet_max"), 2000, "max_packet_size")
    equal(health(broker)["security"], [], "what guards it")


@tern_only
@short
def test_a_file_that_is_named_later_guards_from_then_on(t):
    acl, passwords = (os.path.join(t.folder(), name) for name in ("acl", "passwords"))
    replace(acl, "user alice\ntopic readwrite hers/#\n")
    replace(passwords, password_line("alice", "one"))
    broker = t.broker(["allow_anonymous true", "max_packet_size 2000"], metrics=True)
    client = t.client(broker.port, "client", 5)
    assert may_subscribe(client, "any/a")
    rewrite(broker, "max_packet_size 2000", f"acl_file {acl}\npassword_file {passwords}")
    rewrite(broker, "allow_anonymous true", "allow_anonymous false")
    broker.reload()
    eventually(lambda: len(health(broker)["security"]) == 2, what="two files that guard it")
    client.expect_refusal(0x87)  # anonymous clients are not wanted any more
    alice = t.client(broker.port, "alice", 5, username="alice", password="one")
    assert may_subscribe(alice, "hers/a")
    t.raw(broker.port, 5, "nobody").connect("", reason=0x87)


@tern_only
def test_a_pipe_in_the_place_of_a_file_holds_nobody_up(t):
    path = os.path.join(t.folder(), "acl")
    replace(path, "topic readwrite #\n")
    broker = t.broker([f"acl_file {path}"], metrics=True)
    os.remove(path)
    os.mkfifo(path)
    broker.reload()
    eventually(lambda: items(broker, "acl")[0]["status"] == "stale", what="stale rules")
    with socket.create_connection(("127.0.0.1", broker.port), timeout=5):
        pass
