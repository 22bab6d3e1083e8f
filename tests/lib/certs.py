"""Certificates for tests: a CA, an intermediate, servers and clients, good ones and bad ones.

Made with the `openssl` command once per checkout and kept in build/tmp, which tests/run empties; who
changes this file gets new ones. Nothing is ever changed in that folder: a test that needs to change a
file copies it.

    import certs
    certs.ca()                    the root, PEM: what clients trust, and who signs client certificates
    certs.server("rsa")           Pair(cert=..., key=...): leaf and intermediate in one file, its key
    certs.client("alice").args()  ["--cert", ..., "--key", ...] for the mosquitto clients
    certs.path("crl.pem")         any file of the folder
    certs.listener("ecdsa", "require_certificate true")   lines of a listener's section

    certs.py FOLDER               all of them into a folder of one's own, for a look or for C tests

    root ── CN=Tern test root, ECDSA P-256
     ├── intermediate ── every server but the odd ones
     │    └── client "chained"
     └── every other client
    other ── a root that nobody trusts
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DAYS = 120  # of what is valid, less than testssl.sh calls long and more than it calls short

KINDS = ("ecdsa", "rsa", "ed25519")

NEW_KEY = {
    "ecdsa": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "p384": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
    "rsa": ["-newkey", "rsa:2048"],
    "rsa1024": ["-newkey", "rsa:1024"],
    "ed25519": ["-newkey", "ed25519"],
}

LOCAL = "DNS:localhost,IP:127.0.0.1,IP:::1"
SERVER, CLIENT = "serverAuth", "clientAuth"
NOW, PAST, FUTURE = "now", "past", "future"

# name                key        subject                            subjectAltName                   when
SERVERS = {
    "ecdsa": ("ecdsa", "/O=Tern/CN=localhost", LOCAL, NOW),
    "rsa": ("rsa", "/O=Tern/CN=localhost", LOCAL, NOW),
    "ed25519": ("ed25519", "/O=Tern/CN=localhost", LOCAL, NOW),
    "p384": ("p384", "/O=Tern/CN=localhost", LOCAL, NOW),
    "renewed": ("ecdsa", "/O=Tern/CN=localhost", LOCAL, NOW),  # as "ecdsa", with another key: for reloads
    "a": ("ecdsa", "/CN=a.example.test", "DNS:a.example.test", NOW),  # for SNI
    "b": ("rsa", "/CN=b.example.test", "DNS:b.example.test,DNS:*.wild.example.test", NOW),
    "expired": ("ecdsa", "/CN=localhost", LOCAL, PAST),
    "future": ("ecdsa", "/CN=localhost", LOCAL, FUTURE),
    "weak": ("rsa1024", "/CN=localhost", LOCAL, NOW),
}

# name                key        subject                            issuer          purpose  when
CLIENTS = {
    "alice": ("ecdsa", "/O=Tern/OU=Tests/CN=alice", "root", CLIENT, NOW),
    "bob": ("ecdsa", "/O=Tern/OU=Tests/CN=bob", "root", CLIENT, NOW),
    "rsa": ("rsa", "/O=Tern/CN=rsa", "root", CLIENT, NOW),
    "ed25519": ("ed25519", "/O=Tern/CN=ed25519", "root", CLIENT, NOW),
    "chained": ("ecdsa", "/O=Tern/CN=chained", "intermediate", CLIENT, NOW),
    "revoked": ("ecdsa", "/O=Tern/CN=revoked", "root", CLIENT, NOW),
    "expired": ("ecdsa", "/O=Tern/CN=expired", "root", CLIENT, PAST),
    "future": ("ecdsa", "/O=Tern/CN=future", "root", CLIENT, FUTURE),
    "stranger": ("ecdsa", "/O=Tern/CN=alice", "other", CLIENT, NOW),  # says it is alice, says a stranger
    "purpose": ("ecdsa", "/O=Tern/CN=purpose", "root", SERVER, NOW),  # a server's, used by a client
    # Odd subjects. What the identity of each should be stands in SUBJECTS.
    "comma": ("ecdsa", "/O=Tern, Inc./CN=Doe, Jane", "root", CLIENT, NOW),
    "utf8": ("ecdsa", "/O=Tärn/CN=Zoë Müller", "root", CLIENT, NOW),
    "nameless": ("ecdsa", "/O=Tern/OU=No common name", "root", CLIENT, NOW),
    "plus": ("ecdsa", r"/O=Tern/CN=a\+b", "root", CLIENT, NOW),
    "slash": ("ecdsa", r"/O=Tern/CN=a\/b", "root", CLIENT, NOW),
    "twice": ("ecdsa", "/CN=first/O=Tern/CN=second", "root", CLIENT, NOW),
}

# The common name, and the subject as `openssl x509 -nameopt RFC2253,-esc_msb` writes it.
SUBJECTS = {
    "alice": ("alice", "CN=alice,OU=Tests,O=Tern"),
    "bob": ("bob", "CN=bob,OU=Tests,O=Tern"),
    "rsa": ("rsa", "CN=rsa,O=Tern"),
    "ed25519": ("ed25519", "CN=ed25519,O=Tern"),
    "chained": ("chained", "CN=chained,O=Tern"),
    "comma": ("Doe, Jane", r"CN=Doe\, Jane,O=Tern\, Inc."),
    "utf8": ("Zoë Müller", "CN=Zoë Müller,O=Tärn"),
    "nameless": ("", "OU=No common name,O=Tern"),
    "plus": ("a+b", r"CN=a\+b,O=Tern"),
    "slash": ("a/b", "CN=a/b,O=Tern"),
    "twice": ("first", "CN=second,O=Tern,CN=first"),
}

CONFIG = """
[req]
distinguished_name = dn
string_mask = utf8only
[dn]
[ca]
default_ca = sign
[sign]
database = {scratch}/index-{name}
serial = {scratch}/serial-{name}
rand_serial = yes
unique_subject = no
new_certs_dir = {scratch}
certificate = {folder}/{name}.pem
private_key = {folder}/{name}.key
default_md = sha256
policy = anything
string_mask = utf8only
email_in_dn = yes
default_crl_days = {days}
[anything]
countryName = optional
organizationName = optional
organizationalUnitName = optional
commonName = optional
"""


class Pair(NamedTuple):
    cert: str
    key: str

    def args(self):
        """For mosquitto_pub and mosquitto_sub."""
        return ["--cert", self.cert, "--key", self.key]


def openssl(*arguments):
    result = subprocess.run(["openssl", *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert result.returncode == 0, f"openssl {' '.join(arguments)}: {result.stderr}"
    return result.stdout


def stamp(days):
    return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + days * 86400))


class Maker:
    """Fills one folder."""

    def __init__(self, folder):
        self.folder = folder
        self.scratch = tempfile.mkdtemp(prefix="tern-certs-")
        for name in ("root", "intermediate", "other"):
            open(os.path.join(self.scratch, f"index-{name}"), "w", encoding="utf-8").close()
            with open(os.path.join(self.scratch, f"{name}.cnf"), "w", encoding="utf-8") as file:
                file.write(CONFIG.format(scratch=self.scratch, folder=folder, name=name, days=DAYS))

    def at(self, name):
        return os.path.join(self.folder, name)

    def config(self, issuer):
        return ["-config", os.path.join(self.scratch, f"{issuer}.cnf")]

    def authority(self, name, subject, issuer=None):
        by = ["-CA", self.at(f"{issuer}.pem"), "-CAkey", self.at(f"{issuer}.key")] if issuer else []
        extensions = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"]
        extensions += ["subjectKeyIdentifier=hash", "authorityKeyIdentifier=keyid"] if issuer else []
        files = ["-keyout", self.at(f"{name}.key"), "-out", self.at(f"{name}.pem")]
        self.request("ecdsa", subject, ["-x509", "-days", str(DAYS), *by, *files], extensions)

    def request(self, key, subject, how, extensions):
        added = [part for extension in extensions for part in ("-addext", extension)]
        openssl("req", "-utf8", "-nodes", *self.config("root"), *NEW_KEY[key], "-subj", subject, *how, *added)

    def leaf(self, name, key, subject, issuer, purpose, when, names=None):
        """name.pem (with the intermediate behind it) and name.key."""
        cert, private = self.at(f"{name}.pem"), self.at(f"{name}.key")
        extensions = ["basicConstraints=critical,CA:FALSE", f"extendedKeyUsage={purpose}"]
        extensions += ["keyUsage=critical,digitalSignature"]
        extensions += [f"subjectAltName={names}"] if names else []
        signed = extensions + ["subjectKeyIdentifier=hash", "authorityKeyIdentifier=keyid"]
        files = ["-keyout", private, "-out", cert]
        if when == NOW:
            by = ["-CA", self.at(f"{issuer}.pem"), "-CAkey", self.at(f"{issuer}.key")]
            self.request(key, subject, ["-x509", "-days", str(DAYS), *by, *files], signed)
        else:
            # Only `openssl ca` takes dates.
            csr, extra = os.path.join(self.scratch, f"{name}.csr"), os.path.join(self.scratch, f"{name}.ext")
            self.request(key, subject, ["-new", "-keyout", private, "-out", csr], [])
            with open(extra, "w", encoding="utf-8") as file:
                file.write("[x]\n" + "".join(line.replace("=", " = ", 1) + "\n" for line in signed))
            dates = (stamp(-30), stamp(-1)) if when == PAST else (stamp(30), stamp(DAYS))
            how = ["-batch", "-notext", "-in", csr, "-out", cert, "-startdate", dates[0], "-enddate", dates[1]]
            openssl("ca", *self.config(issuer), "-extfile", extra, "-extensions", "x", *how)
        if issuer == "intermediate":
            with open(cert, "a", encoding="utf-8") as file, open(self.at("intermediate.pem"), encoding="utf-8") as up:
                file.write(up.read())

    def lists(self):
        """Revocation lists: of the root, as they should be, before anybody was revoked, and out of date."""
        openssl("ca", *self.config("root"), "-gencrl", "-out", self.at("crl-empty.pem"))
        openssl("ca", *self.config("root"), "-revoke", self.at("client-revoked.pem"))
        openssl("ca", *self.config("root"), "-gencrl", "-out", self.at("crl.pem"))
        old = ["-crl_lastupdate", stamp(-30), "-crl_nextupdate", stamp(-1)]
        openssl("ca", *self.config("root"), "-gencrl", *old, "-out", self.at("crl-old.pem"))
        openssl("ca", *self.config("other"), "-gencrl", "-out", self.at("crl-other.pem"))

    def make(self):
        self.authority("root", "/O=Tern/CN=Tern test root")
        self.authority("other", "/O=Elsewhere/CN=Tern test stranger")
        self.authority("intermediate", "/O=Tern/CN=Tern test intermediate", "root")
        jobs, dated = [], []
        for name, (key, subject, names, when) in SERVERS.items():
            job = (f"server-{name}", key, subject, "intermediate", SERVER, when, names)
            (jobs if when == NOW else dated).append(job)
        for name, (key, subject, issuer, purpose, when) in CLIENTS.items():
            job = (f"client-{name}", key, subject, issuer, purpose, when)
            (jobs if when == NOW else dated).append(job)
        jobs.sort(key=lambda job: not job[1].startswith("rsa"))  # the slow ones first
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda job: self.leaf(*job), jobs))
        for job in dated:  # they share a database
            self.leaf(*job)
        self.lists()
        shutil.copy(self.at("root.pem"), self.at("ca.pem"))
        with open(self.at("ca-both.pem"), "w", encoding="utf-8") as both:
            for name in ("root", "intermediate"):
                with open(self.at(f"{name}.pem"), encoding="utf-8") as file:
                    both.write(file.read())
        for name in os.listdir(self.folder):
            os.chmod(self.at(name), 0o600 if name.endswith(".key") else 0o644)
        shutil.rmtree(self.scratch)


def make(target):
    """All of them into a folder, which appears when it is whole."""
    parent = os.path.dirname(os.path.abspath(target))
    os.makedirs(parent, exist_ok=True)
    scratch = tempfile.mkdtemp(prefix="making-", dir=parent)
    Maker(scratch).make()
    os.chmod(scratch, 0o755)
    shutil.rmtree(target, ignore_errors=True)
    os.rename(scratch, target)


_ready = None
_lock = threading.Lock()


def folder():
    """Where they are; made now if nobody made them before."""
    global _ready
    with _lock:
        if _ready is None:
            with open(os.path.abspath(__file__), "rb") as file:
                version = hashlib.sha256(file.read()).hexdigest()[:12]
            parent = os.path.join(ROOT, "build", "tmp")
            os.makedirs(parent, exist_ok=True)
            found = os.path.join(parent, f"certs-{version}")
            with open(os.path.join(parent, "certs.lock"), "w", encoding="utf-8") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                made_at = 0
                with contextlib.suppress(OSError):
                    made_at = os.stat(found).st_mtime
                if time.time() - made_at > DAYS * 86400 / 4:
                    make(found)
            _ready = found
        return _ready


def path(name):
    found = os.path.join(folder(), name)
    assert os.path.exists(found), f"no {name} among the certificates"
    return found


def ca():
    return path("ca.pem")


def server(name="ecdsa"):
    return Pair(path(f"server-{name}.pem"), path(f"server-{name}.key"))


def client(name="alice"):
    return Pair(path(f"client-{name}.pem"), path(f"client-{name}.key"))


def listener(name="ecdsa", *more):
    """The lines of a listener with this server certificate. Where a line asks for client certificates, the
    root is who signs them."""
    pair = server(name)
    lines = [f"certfile {pair.cert}", f"keyfile {pair.key}", *more]
    asks = any(line.startswith("require_certificate") and not line.endswith("false") for line in more)
    if asks and not any(line.startswith(("cafile", "capath")) for line in more):
        lines.append(f"cafile {ca()}")
    return lines


def copied(pair, target, name="server"):
    """A copy of a pair in a folder of the test's own, to be overwritten by it."""
    made = Pair(os.path.join(target, f"{name}.pem"), os.path.join(target, f"{name}.key"))
    for old, new in zip(pair, made):
        part = f"{new}.part"
        shutil.copy(old, part)
        os.rename(part, new)
    return made


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: certs.py FOLDER")
    make(sys.argv[1])
