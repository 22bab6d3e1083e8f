"""ternctl cluster init and certificate: who is a node of a cluster."""

import os
import stat
import subprocess

from suite import equal, tern_only
from ternctl import CANNOT_CREATE, DATA, OK, USAGE, ternctl

FILES = ["a.key", "a.pem", "ca.key", "ca.pem"]


def has(text, part):
    """part stands in the text; else both are shown."""
    equal(part if part in text else text, part)


def made(t):
    """The folder of a cluster with a node."""
    folder = os.path.join(t.folder(), "prod")
    equal(ternctl("cluster", "init", folder, "--name", "prod")[0], OK)
    equal(ternctl("cluster", "certificate", folder, "a", "--address", "127.0.0.1")[0], OK)
    return folder


@tern_only
def test_a_cluster_and_a_node_are_made_for_their_owner_alone(t):
    folder = made(t)
    equal(sorted(os.listdir(folder)), FILES)
    for name in FILES:
        equal(stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode), 0o600)
    equal(stat.S_IMODE(os.stat(folder).st_mode), 0o700)


@tern_only
def test_openssl_takes_what_was_made(t):
    folder = made(t)
    for purpose in ("sslserver", "sslclient"):
        command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", f"{folder}/ca.pem"]
        found = subprocess.run(command + [f"{folder}/a.pem"], capture_output=True, encoding="utf-8")
        equal((found.returncode, found.stdout), (0, f"{folder}/a.pem: OK\n"))
    command = ["openssl", "x509", "-in", f"{folder}/a.pem", "-noout", "-ext", "subjectAltName"]
    has(subprocess.run(command, capture_output=True, encoding="utf-8").stdout, "URI:tern://prod/a, IP Address:127.0.0.1")


@tern_only
def test_it_says_what_to_do_next(t):
    folder = os.path.join(t.folder(), "prod")
    code, out, _ = ternctl("cluster", "init", folder, "--name", "prod")
    equal(code, OK)
    has(out, f"ternctl cluster certificate {folder} NODE")
    code, out, _ = ternctl("cluster", "certificate", folder, "a")
    equal(code, OK)
    for line in ("cluster_ca ", "cluster_certificate ", "cluster_key "):
        has(out, line)


@tern_only
def test_nothing_is_written_over(t):
    folder = made(t)
    before = {name: open(os.path.join(folder, name), "rb").read() for name in FILES}
    for arguments in (["init", folder, "--name", "other"], ["certificate", folder, "a"]):
        code, _, said = ternctl("cluster", *arguments)
        equal(code, CANNOT_CREATE)
        has(said, "keep it, or move it away first")
    os.unlink(os.path.join(folder, "a.key"))
    equal(ternctl("cluster", "certificate", folder, "a")[0], CANNOT_CREATE)
    equal(os.path.exists(os.path.join(folder, "a.key")), False)
    for name in set(FILES) - {"a.key"}:
        equal(open(os.path.join(folder, name), "rb").read(), before[name])


@tern_only
def test_what_is_wrong_is_said(t):
    folder = made(t)
    nowhere = os.path.join(t.folder(), "nowhere")
    rows = [
        (["init", nowhere], USAGE, "--name NAME"),
        (["init", nowhere, "--name", "a/b"], USAGE, "letters, digits"),
        (["init", os.path.join(nowhere, "deep"), "--name", "a"], CANNOT_CREATE, "name a folder that you may make"),
        (["certificate", folder], USAGE, "write the folder of cluster init"),
        (["certificate", folder, "../x"], USAGE, "letters, digits"),
        (["certificate", folder, "ca"], USAGE, 'not "ca"'),
        (["certificate", folder, "b", "--days", "0"], USAGE, "--days"),
        (["certificate", folder, "b", "--address", "10.0.0.7:1883"], DATA, "write it without a port"),
        (["certificate", nowhere, "b"], DATA, "name the folder that ternctl cluster init made"),
    ]
    for arguments, expected, words in rows:
        code, _, said = ternctl("cluster", *arguments)
        equal((arguments, code), (arguments, expected))
        has(said, words)
    equal(sorted(os.listdir(folder)), FILES)
    equal(os.path.exists(nowhere), False)
