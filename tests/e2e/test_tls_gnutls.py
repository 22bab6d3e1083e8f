"""gnutls-cli: another library than openssl's and ours agrees on what is spoken and what is not."""

import certs
import secure
import tls
from suite import each, equal, short, tern_only

VERSIONS = ("1.2", "1.3")
SIGNATURES = {"ecdsa": "ECDSA", "rsa": "RSA", "ed25519": "EdDSA"}


def shake(t, kind, version, *arguments, scheme="mqtts", priority="", port=None):
    """What gnutls-cli printed, after a whole MQTT life on the connection."""
    text = {"mqtts": tls.MQTT_LIFE, "wss": tls.WEBSOCKET_LIFE}[scheme]
    port = port or secure.common(t).ports[f"{kind} {scheme}"]
    command = ["gnutls-cli", "--x509cafile", certs.ca(), "--port", str(port), "--verify-hostname", "localhost"]
    command += ["--sni-hostname", "localhost", "--priority", f"NORMAL:-VERS-ALL:+VERS-TLS{version}{priority}"]
    return tls.dialogue([*command, *arguments, "127.0.0.1"], text).decode("utf-8", "backslashreplace")


def is_open(said):
    return "Handshake was completed" in said and "The certificate is trusted" in said


@short
@each(*[(kind, version, scheme) for kind in certs.KINDS for version in VERSIONS for scheme in secure.SCHEMES])
def test_each_kind_of_certificate_is_proven_in_each_version(t, which):
    kind, version, scheme = which
    said = shake(t, kind, version, scheme=scheme)
    assert is_open(said), said
    description = next(line for line in said.splitlines() if line.startswith("- Description:"))
    assert f"(TLS{version}" in description and f"({SIGNATURES[kind]}" in description, description
    assert "GCM" in description or "CHACHA20" in description, description


@each(*secure.SCHEMES)
def test_a_session_is_resumed(t, scheme):
    """Of TLS 1.2: with 1.3 this client waits for its ticket before it says anything, and BoringSSL sends
    tickets along with the server's first word. s_client, which speaks first, resumes 1.3 too."""
    said = shake(t, "ecdsa", "1.2", "--resume", "--waitresumption", scheme=scheme)
    assert "This is a resumed session" in said, said


@tern_only
def test_alpn_is_answered(t):
    said = shake(t, "ecdsa", "1.3", "--alpn", "x-other", "--alpn", "mqtt")
    assert is_open(said) and "Application protocol: mqtt" in said, said
    said = shake(t, "ecdsa", "1.3", "--alpn", "x-other")
    assert not is_open(said) and "alert [120]" in said, said


@tern_only
def test_the_name_asked_for_chooses_the_certificate(t):
    pair = certs.server("a")
    broker = t.broker(listeners={"tls": certs.listener("ecdsa", f"certificate {pair.cert} {pair.key}")})
    names = ["--sni-hostname", "a.example.test", "--verify-hostname", "a.example.test"]
    said = shake(t, None, "1.3", *names, port=broker.port)
    assert is_open(said), said


@each(*VERSIONS)
def test_a_client_certificate_is_taken(t, version):
    pair = certs.client("alice")
    said = shake(t, "mutual", version, "--x509certfile", pair.cert, "--x509keyfile", pair.key)
    assert is_open(said) and "Successfully sent 1 certificate(s)" in said, said
    said = shake(t, "mutual", version)
    assert "alert" in said or "Fatal error" in said, said


@tern_only
@each("+AES-128-CBC", "+AES-256-CBC", "+AES-128-CCM")
def test_suites_that_are_not_aead_are_refused(t, cipher):
    said = shake(t, "ecdsa", "1.2", priority=f":-CIPHER-ALL:{cipher}")
    assert not is_open(said) and "alert [40]" in said, said


@tern_only
@each("+RSA", "+DHE-RSA")
def test_key_exchanges_without_curves_are_refused(t, exchange):
    said = shake(t, "rsa", "1.2", priority=f":-KX-ALL:{exchange}")
    assert not is_open(said) and "alert [40]" in said, said


@each("1.0", "1.1")
def test_versions_that_are_too_old_are_refused(t, version):
    said = shake(t, "ecdsa", version, priority=":%COMPAT:%UNSAFE_RENEGOTIATION")
    assert not is_open(said), said
    equal("alert [" in said, True, "an alert")
