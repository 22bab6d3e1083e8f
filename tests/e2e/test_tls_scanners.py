"""sslscan and testssl.sh find nothing of medium severity or worse, apart from what is listed here."""

import json
import os
import xml.etree.ElementTree as ElementTree

import certs
import secure
from suite import each, equal, long_only, once, tern_only

# Findings of testssl.sh that are no defects: id, what it says, and why that is as it should be.
KNOWN = {
    "cert_revocation": (
        "Neither CRL nor OCSP URI provided",
        "about the tests' own root: it has no server that tells of revocation",
    ),
    "GREASE": (
        "application_layer_protocol_negotiation",
        "it offers protocols of the web, which a listener of MQTT refuses (RFC 7301, section 3.2)",
    ),
}

# Words of testssl.sh that are not about the server.
SEVERE = ("MEDIUM", "HIGH", "CRITICAL", "FATAL")

# What a short run looks at: -p versions, -S the server's defaults and certificate, -U vulnerabilities,
# -s kinds of suites, -R renegotiation. Suites and groups one by one are sslscan's in any run.
CHECKS = {"mqtts": ["-p", "-S", "-U"], "wss": ["-p", "-s", "-R"]}
# Checks that have to take place, and to be content.
EXPECTED = {
    "mqtts": (
        *("SSLv3", "TLS1_2", "TLS1_3", "heartbleed", "CCS", "ROBOT", "CRIME_TLS", "secure_renego", "RC4"),
        *("secure_client_renego", "SWEET32", "LUCKY13", "cert_chain_of_trust", "cert_commonName"),
    ),
    "wss": ("SSLv3", "TLS1_2", "TLS1_3", "cipherlist_NULL", "cipherlist_aNULL", "cipherlist_STRONG", "secure_renego"),
}

GROUPS = {"x25519", "secp256r1 (NIST P-256)"}


def testssl(t, port, *checks, seconds):
    """{id: (severity, finding)}"""
    report = os.path.join(t.folder(), "testssl.json")
    command = ["testssl", "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--ip", "127.0.0.1"]
    command += ["--add-ca", certs.ca(), "--jsonfile", report, *checks, f"localhost:{port}"]
    program = t.program(*command, env={"TERM": "dumb", "HOME": t.folder()})
    program.wait_end(seconds, status=None)
    with open(report, encoding="utf-8") as file:
        rows = json.load(file)
    found = {}
    for row in rows:
        if row["id"] not in found or row["severity"] in SEVERE:
            found[row["id"]] = (row["severity"], row["finding"])
    return found


def judge(found, expected):
    for check in expected:
        assert check in found, f"testssl.sh did not look at {check}: {sorted(found)}"
        equal(found[check][0], "OK", f"{check} ({found[check][1]})")
    bad = {check: told for check, told in found.items() if told[0] in SEVERE}
    for check, (words, _why) in KNOWN.items():
        if check in bad and words in bad[check][1]:
            del bad[check]
    equal(bad, {}, "findings")


@once
@tern_only
@each(*secure.SCHEMES)
def test_testssl_finds_nothing(t, scheme):
    kind = {"mqtts": "ecdsa", "wss": "rsa"}[scheme]
    found = testssl(t, secure.common(t).ports[f"{kind} {scheme}"], *CHECKS[scheme], seconds=300)
    judge(found, EXPECTED[scheme])


@once
@tern_only
@long_only
@each(*[(kind, scheme) for kind in certs.KINDS for scheme in secure.SCHEMES])
def test_testssl_finds_nothing_with_all_it_has(t, which):
    kind, scheme = which
    found = testssl(t, secure.common(t).ports[f"{kind} {scheme}"], "--full", seconds=1200)
    judge(found, {*EXPECTED["mqtts"], *EXPECTED["wss"]})


def sslscan(t, port):
    report = os.path.join(t.folder(), "sslscan.xml")
    t.program("sslscan", f"--xml={report}", "--no-colour", "--sni-name=localhost", f"127.0.0.1:{port}").wait_end(60)
    return ElementTree.parse(report).getroot()


@once
@tern_only
@each(*[(kind, scheme) for kind in certs.KINDS for scheme in secure.SCHEMES])
def test_sslscan_sees_new_versions_aead_and_strong_groups_alone(t, which):
    kind, scheme = which
    seen = sslscan(t, secure.common(t).ports[f"{kind} {scheme}"])
    versions = {f"{row.get('type')}{row.get('version')}" for row in seen.iter("protocol") if row.get("enabled") == "1"}
    equal(versions, {"tls1.2", "tls1.3"}, "versions")
    suites = {row.get("cipher"): row for row in seen.iter("cipher")}
    assert len(suites) >= 3, f"suites: {sorted(suites)}"
    for name, row in suites.items():
        assert "GCM" in name or "CHACHA20_POLY1305" in name.replace("-", "_"), f"{name} is no AEAD suite"
        assert name.startswith(("TLS_", "ECDHE-")), f"{name} exchanges keys in another way than by curves"
        assert int(row.get("bits")) >= 128 and row.get("strength") in ("strong", "acceptable"), f"{name} is weak"
    groups = {row.get("name") for row in seen.iter("group")}
    assert groups and groups <= GROUPS, f"groups: {groups}"
    for row in seen.iter("heartbleed"):
        equal(row.get("vulnerable"), "0", "heartbleed")
    for row in seen.iter("compression"):
        equal(row.get("supported"), "0", "compression")
    for row in seen.iter("renegotiation"):
        assert row.get("supported") == "0" or row.get("secure") == "1", "insecure renegotiation"
    key = seen.find(".//certificate/pk")
    # sslscan 2.0 calls every kind of key an error that it does not know.
    equal(key.get("error"), "true" if kind == "ed25519" else "false", "the certificate's key is weak")
