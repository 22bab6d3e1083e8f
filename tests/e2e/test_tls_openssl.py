"""openssl s_client: versions, suites, certificates, names, protocols, tickets, client certificates."""

import os

import certs
import secure
import tls
from broker import is_mosquitto
from suite import each, equal, short, tern_only

VERSIONS = {"-tls1_2": "TLSv1.2", "-tls1_3": "TLSv1.3"}
# What the peer signs with, as s_client calls it; for RSA it depends on nothing that we choose.
SIGNATURES = {"ecdsa": "ECDSA", "rsa": "RSA-PSS", "ed25519": "ed25519"}

# All that we promise to speak in TLS 1.2, by the kind of certificate it needs.
AEAD = {
    "ecdsa": ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"),
    "rsa": ("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305"),
}

# Weak, each in its own way: CBC, no forward secrecy, finite fields, nobody proven, nothing ciphered.
WEAK = {
    "ecdsa": ("ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA384", "AECDH-AES128-SHA"),
    "rsa": (
        *("ECDHE-RSA-AES128-SHA", "ECDHE-RSA-AES128-SHA256", "ECDHE-RSA-AES256-SHA384"),
        *("AES128-SHA", "AES128-SHA256", "AES128-GCM-SHA256", "AES256-GCM-SHA384"),
        *("DHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES128-SHA", "ADH-AES128-GCM-SHA256", "NULL-SHA256"),
        *("ECDHE-RSA-NULL-SHA", "AES128-CCM", "CAMELLIA128-SHA"),
    ),
}


def port(t, kind, scheme="mqtts"):
    return secure.common(t).ports[f"{kind} {scheme}"]


def shake(t, kind, *arguments, scheme="mqtts", **how):
    text = {"mqtts": tls.MQTT_LIFE, "wss": tls.WEBSOCKET_LIFE}[scheme]
    return tls.s_client(port(t, kind, scheme), *arguments, text=text, **how)


def assert_refused(found, *alerts):
    assert not found.is_open and not found.was_served, f"it was let in:\n{found}"
    assert not alerts or found.alert in alerts, f"alert {found.alert!r}, expected one of {alerts}:\n{found}"


@short
@each(*[(kind, version, scheme) for kind in certs.KINDS for version in VERSIONS for scheme in secure.SCHEMES])
def test_each_kind_of_certificate_is_proven_in_each_version(t, which):
    kind, version, scheme = which
    found = shake(t, kind, version, scheme=scheme)
    assert found.was_served, found
    equal(found.version, VERSIONS[version])
    equal(found.signature, SIGNATURES[kind], "the server's signature")
    assert "GCM" in found.cipher or "POLY1305" in found.cipher, found.cipher


@each(*[(kind, suite) for kind, suites in AEAD.items() for suite in suites])
def test_every_aead_suite_of_1_2_is_spoken(t, which):
    kind, suite = which
    found = shake(t, kind, "-tls1_2", "-cipher", suite)
    assert found.was_served, found
    equal(found.cipher, suite)


@each("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
def test_every_suite_of_1_3_is_spoken(t, suite):
    found = shake(t, "ecdsa", "-tls1_3", "-ciphersuites", suite)
    assert found.was_served, found
    equal(found.cipher, suite)


@tern_only
@each(*[(kind, suite) for kind, suites in WEAK.items() for suite in suites])
def test_weak_suites_are_refused(t, which):
    kind, suite = which
    assert_refused(shake(t, kind, "-tls1_2", "-cipher", f"{suite}:@SECLEVEL=0"), "handshake failure")


@short
@each("-tls1", "-tls1_1")
def test_versions_that_are_too_old_are_refused(t, version):
    found = shake(t, "rsa", version, "-cipher", "DEFAULT:@SECLEVEL=0")
    assert_refused(found, "protocol version", *["internal error"] * is_mosquitto())


@tern_only
def test_a_listener_that_wants_1_3_refuses_1_2(t):
    broker = t.broker(listeners={"tls": certs.listener("ecdsa", "tls_version tlsv1.3")})
    assert_refused(tls.s_client(broker.port, "-tls1_2"), "protocol version")
    assert tls.s_client(broker.port, "-tls1_3").was_served


@each("X25519", "P-256")
def test_the_curves_we_promise_are_spoken(t, curve):
    for version in VERSIONS:
        found = shake(t, "rsa", version, "-curves", curve)
        assert found.was_served, found
        equal(found.group, {"P-256": "prime256v1"}.get(curve, curve))


@tern_only
@each("P-384", "P-521", "X448")  # the first two cost the broker several handshakes
def test_other_curves_are_refused(t, curve):
    for version in VERSIONS:
        assert_refused(shake(t, "rsa", version, "-curves", curve), "handshake failure")


@tern_only
def test_curves_by_option(t):
    broker = t.broker(listeners={"tls": certs.listener("ecdsa", "tls_curves P-384")})
    equal(tls.s_client(broker.port, "-tls1_3").group, "secp384r1")
    assert_refused(tls.s_client(broker.port, "-curves", "X25519"), "handshake failure")


@tern_only
@short
@each(*VERSIONS)
def test_the_name_asked_for_chooses_the_certificate(t, version):
    more = [f"certificate {certs.server(name).cert} {certs.server(name).key}" for name in ("a", "b")]
    broker = t.broker(listeners={"tls": certs.listener("ecdsa", *more)})
    for name, subject in [
        ("a.example.test", "a.example.test"),
        ("b.example.test", "b.example.test"),
        ("any.wild.example.test", "b.example.test"),
        ("localhost", "localhost"),
    ]:
        found = tls.s_client(broker.port, version, name=name)
        assert found.was_served, found
        assert found.subject.endswith(f"CN = {subject}"), f"{name} got {found.subject}"
    # Nobody's name, and no name: the first one.
    for arguments in (["-servername", "c.example.test"], ["-noservername"]):
        found = tls.s_client(broker.port, version, *arguments, name=None)
        assert found.subject.endswith("CN = localhost"), f"{arguments} got {found.subject}"


@tern_only
@each(*VERSIONS)
def test_the_kind_a_client_can_read_chooses_the_certificate(t, version):
    pair = certs.server("rsa")
    broker = t.broker(listeners={"tls": certs.listener("ecdsa", f"certificate {pair.cert} {pair.key}")})
    equal(tls.s_client(broker.port, version).signature, "ECDSA")
    found = tls.s_client(broker.port, version, "-sigalgs", "RSA-PSS+SHA256")
    assert found.signature == "RSA-PSS", found


@tern_only
@short
@each(*[(version, scheme) for version in VERSIONS for scheme in secure.SCHEMES])
def test_alpn_is_answered_with_what_the_listener_speaks(t, which):
    version, scheme = which
    own = {"mqtts": "mqtt", "wss": "http/1.1"}[scheme]
    found = shake(t, "ecdsa", version, "-alpn", f"h2,{own},x-other", scheme=scheme)
    assert found.was_served, found
    equal(found.protocol, own)
    equal(shake(t, "ecdsa", version, scheme=scheme).protocol, "", "the protocol nobody asked for")
    refusal = shake(t, "ecdsa", version, "-alpn", "h2,x-other", scheme=scheme)
    assert_refused(refusal, "no application protocol")


@short
@each(*[(kind, version, scheme) for kind in certs.KINDS for version in VERSIONS for scheme in secure.SCHEMES])
def test_a_session_is_resumed_from_its_ticket(t, which):
    kind, version, scheme = which
    ticket = os.path.join(t.folder(), "ticket")
    first = shake(t, kind, version, "-sess_out", ticket, scheme=scheme)
    assert first.was_served and not first.is_reused, first
    again = shake(t, kind, version, "-sess_in", ticket, scheme=scheme)
    assert again.was_served and again.is_reused, again
    equal(again.version, VERSIONS[version])


@tern_only
@each(*VERSIONS)
def test_a_ticket_of_one_listener_is_not_taken_by_one_that_wants_more(t, version):
    """What was proven to one listener proves nothing to another that asks for a certificate."""
    ticket = os.path.join(t.folder(), "ticket")
    assert shake(t, "ecdsa", version, "-sess_out", ticket).was_served
    found = shake(t, "mutual", version, "-sess_in", ticket)
    assert not found.was_served and not found.is_reused, found


@each(*VERSIONS)
def test_a_client_certificate_is_asked_for_and_taken(t, version):
    for name in ("alice", "rsa", "ed25519"):
        pair = certs.client(name)
        found = shake(t, "mutual", version, "-cert", pair.cert, "-key", pair.key)
        assert found.was_served, found


@tern_only
def test_a_chain_that_the_client_sends_along_is_followed(t):
    pair = certs.client("chained")
    for version in VERSIONS:
        found = shake(t, "mutual", version, "-cert", pair.cert, "-cert_chain", pair.cert, "-key", pair.key)
        assert found.was_served, found


@each(*[(name, version) for name in ("expired", "future", "stranger", "purpose", "none") for version in VERSIONS])
def test_a_client_certificate_that_proves_nothing_is_refused(t, which):
    name, version = which
    pair = None if name == "none" else certs.client(name)
    found = shake(t, "mutual", version, *([] if pair is None else ["-cert", pair.cert, "-key", pair.key]))
    assert not found.was_served, found
    expected = {
        "expired": ("certificate expired",),
        "future": ("bad certificate", "certificate expired"),
        "stranger": ("unknown ca",),
        "purpose": ("unsupported certificate", "bad certificate"),
        # TLS 1.2 has no word of its own for it
        "none": ("certificate required",) if version == "-tls1_3" else ("handshake failure",),
    }[name]
    assert found.alert in expected, f"alert {found.alert!r}, expected one of {expected}:\n{found}"


@short
def test_renegotiation_is_refused(t):
    said = tls.renegotiation(port(t, "ecdsa"))
    assert b"RENEGOTIATING" in said, said.decode("utf-8", "replace")
    equal(said.count(b"Verify return code"), 1, "handshakes")
    after = said.partition(b"RENEGOTIATING")[2].lower()
    assert b"no renegotiation" in after or b"no_renegotiation" in after, after


@tern_only
def test_there_is_no_early_data(t):
    ticket, early = os.path.join(t.folder(), "ticket"), os.path.join(t.folder(), "early")
    with open(early, "wb") as file:
        file.write(tls.MQTT_LIFE)
    assert shake(t, "ecdsa", "-tls1_3", "-sess_out", ticket).was_served
    found = shake(t, "ecdsa", "-tls1_3", "-sess_in", ticket, "-early_data", early)
    assert b"Early data was accepted" not in found.output, found


@tern_only
@each(*VERSIONS)
def test_ipv6_has_certificates_too(t, version):
    broker = t.broker(listeners={"tls": certs.listener("ecdsa")}, hosts={"tls": "::1"})
    assert tls.s_client(broker.port, version, host="::1").was_served
