"""TLS under the raw client of mqtt.py, with its cipher bytes in our hands; and `openssl s_client`.

    link = tls.Tls(("127.0.0.1", port), tls.context(client=certs.client("alice")))
    client = mqtt.Client(port, 5, transport=link)
    tls.client(t, port, "a")                  connected, as t.client()
    tls.WebSocket(("127.0.0.1", port), ...)   WebSocket over TLS

    link.tamper = lambda cipher: ...          what leaves from now on is changed on its way
    link.alert                                why the server ended it, as OpenSSL names it; or None
    link.said_goodbye                         the server sent close_notify
"""

import contextlib
import re
import socket
import ssl
import subprocess
import threading
import time
import warnings

import certs
import mqtt

VERSIONS = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}


def context(client=None, ca=None, versions=("1.2", "1.3"), alpn=None, ciphers=None):
    """A client's settings. It believes our root, or the file ca, and proves itself by the pair client."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        made.minimum_version, made.maximum_version = VERSIONS[versions[0]], VERSIONS[versions[-1]]
    made.load_verify_locations(ca or certs.ca())
    if ciphers:
        made.set_ciphers(ciphers)
    if client is not None:
        made.load_cert_chain(client.cert, client.key)
    if alpn:
        made.set_alpn_protocols(list(alpn))
    return made


class Tls(mqtt.Tcp):
    """As mqtt.Tcp. wait() and recv() speak of plain bytes."""

    def __init__(self, address, how=None, name="localhost", session=None, handshake=True):
        super().__init__(address)
        how, name, session = getattr(self, "given", (how, name, session))
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl = (how or context()).wrap_bio(
            self.incoming, self.outgoing, server_hostname=name, session=session
        )
        self.plain, self.ended = bytearray(), False
        self.alert, self.said_goodbye, self.tamper = None, False, None
        if handshake:
            self.shake()

    # -- cipher bytes

    def flush(self):
        """What OpenSSL wants to say leaves; returns it as it left."""
        cipher = self.outgoing.read()
        if cipher and self.tamper is not None:
            cipher = self.tamper(cipher)
        if cipher:
            self.sock.sendall(cipher)
        return cipher

    def more(self, seconds):
        """Wait for cipher bytes and feed them. False when none came in time."""
        if not super().wait(seconds):
            return False
        cipher = super().recv()
        self.incoming.write(cipher) if cipher else self.incoming.write_eof()
        return True

    def shake(self):
        """The whole handshake; ssl.SSLError when the server, or we, refuse."""
        while True:
            try:
                self.ssl.do_handshake()
                self.flush()
                return
            except ssl.SSLWantReadError:
                self.flush()
                if not self.more(mqtt.WAIT_S):
                    raise mqtt.Silence("the TLS handshake does not go on") from None
            except ssl.SSLError as error:
                self.end(error)
                self.flush()
                raise

    def end(self, error):
        self.ended = True
        self.said_goodbye = isinstance(error, ssl.SSLZeroReturnError)
        if not self.said_goodbye and not isinstance(error, ssl.SSLEOFError):
            self.alert = error.reason

    # -- plain bytes

    def send(self, data):
        self.ssl.write(data)
        self.flush()

    def take(self):
        """Decipher what was fed."""
        while not self.ended:
            try:
                part = self.ssl.read(1 << 16)
                self.plain += part
                if not part:  # OpenSSL's way to say that close_notify came
                    self.ended = self.said_goodbye = True
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError as error:
                self.end(error)
        try:
            self.flush()  # alerts, answers to a key update
        except OSError:
            pass

    def wait(self, seconds):
        until = time.monotonic() + seconds
        self.take()
        while not self.plain and not self.ended:
            if not self.more(max(0.0, until - time.monotonic())):
                return False
            self.take()
        return True

    def recv(self):
        if not self.wait(mqtt.WAIT_S):
            raise socket.timeout("nothing came from the server")
        part = bytes(self.plain)
        self.plain.clear()
        return part

    def say_goodbye(self):
        """close_notify."""
        try:
            self.ssl.unwrap()
        except ssl.SSLError:
            pass
        self.flush()


class WebSocket(mqtt.WebSocket, Tls):
    """mqtt.WebSocket whose bytes are ciphered: its super() is Tls."""

    def __init__(self, address, how=None, name="localhost", session=None, **upgrade):
        self.given = (how, name, session)
        mqtt.WebSocket.__init__(self, address, **upgrade)


def transport(port, scheme="mqtts", how=None, host="127.0.0.1", **more):
    make = {"mqtts": Tls, "wss": WebSocket}[scheme]
    return make((host, port), how, **more)


def client(t, port, name="a", version=5, scheme="mqtts", how=None, host="127.0.0.1", tls=None, **connect):
    """A connected raw client with id t.id(name)."""
    link = transport(port, scheme, how, host, **(tls or {}))
    made = mqtt.Client(port, version, transport=link, label=name)
    made.connect(t.id(name), **connect)
    return made


def refused(port, how=None, host="127.0.0.1", **more):
    """The server does not let this TLS client through: the alert it gave, or "closed". A client of TLS 1.3
    that is refused for its certificate learns it only when it reads."""
    link = Tls((host, port), how, handshake=False, **more)
    try:
        link.shake()
        link.send(mqtt.connect("refused-" + str(port)))
        if not link.wait(mqtt.WAIT_S):
            raise mqtt.Silence("neither a refusal nor an answer")
        assert link.ended and not link.plain, f"the server let it through: {bytes(link.plain)!r}"
    except ssl.SSLError:
        assert "CERTIFICATE_VERIFY_FAILED" != link.alert, "we refused the server, not it us"
    except (ConnectionResetError, BrokenPipeError):
        pass
    finally:
        link.close()
    return link.alert or "closed"


# ---------------------------------------------------------------------------------- programs


def dialogue(command, text, seconds=30):
    """Run a program, say text, leave its input open, and read until it ends because the server hung up."""
    program = subprocess.Popen(
        [str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    said, is_late = bytearray(), threading.Event()
    alarm = threading.Timer(seconds, lambda: (is_late.set(), program.kill()))
    alarm.start()
    try:
        try:
            program.stdin.write(text)
            program.stdin.flush()
        except BrokenPipeError:
            pass  # it ended before; what it said tells why
        while part := program.stdout.read1(65536):
            said += part
    finally:
        alarm.cancel()
        program.kill()
        program.wait()
        program.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            program.stdin.close()
    text = said[-2000:].decode("utf-8", "replace")
    assert not is_late.is_set(), f"{' '.join(map(str, command))} did not end:\n{text}"
    return bytes(said)


def renegotiation(port):
    """What openssl s_client says when it asks for one, as it does when a line says R."""
    command = ["openssl", "s_client", "-tls1_2", "-connect", f"127.0.0.1:{port}", "-CAfile", certs.ca()]
    return dialogue(command, b"R\n")


# A whole life on the wire: the server closes after it, and the client ends by itself.
MQTT_LIFE = mqtt.connect("") + mqtt.disconnect()
WEBSOCKET_LIFE = (
    b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: mqtt\r\n\r\n" + mqtt.WebSocket.encode(mqtt.BINARY_FRAME, MQTT_LIFE)
)


class Shake:
    """What `openssl s_client` told of a handshake; "" where it told nothing."""

    FIELDS = {
        "version": rb"^(?:New|Reused), (TLSv[\d.]+)",
        "cipher": rb"^(?:New|Reused), TLS\S+ Cipher is (\S+)",
        "protocol": rb"^ALPN protocol: (.*)",
        "group": rb"^Server Temp Key: (?:ECDH, )?([\w-]+)",
        "signature": rb"^Peer signature type: (\S+)",
        "subject": rb"^subject=(.*)",
        "alert": rb"alert ([a-z ]+):",
    }

    def __init__(self, output, status):
        self.output, self.status = output, status
        for field, pattern in self.FIELDS.items():
            found = re.search(pattern, output, re.MULTILINE)
            setattr(self, field, found.group(1).decode() if found else "")
        self.is_open = bool(self.cipher)
        self.is_reused = b"\nReused, TLS" in output
        # CONNACK 0, or the upgrade to WebSocket
        self.was_served = bool(re.search(rb"\x20[\x02-\x7f]\0\0|^HTTP/1.1 101 ", output, re.MULTILINE))

    def __str__(self):
        return self.output.decode("utf-8", "backslashreplace")


def s_client(port, *arguments, text=MQTT_LIFE, host="127.0.0.1", name="localhost", seconds=30):
    """`openssl s_client` says text and stays until the server hangs up. It trusts our root, and no server
    that cannot prove its name."""
    command = ["openssl", "s_client", "-ign_eof", "-connect", f"{'[::1]' if host == '::1' else host}:{port}"]
    command += ["-CAfile", certs.ca(), "-verify_return_error"]
    command += ["-servername", name, "-verify_hostname", name] if name else []
    try:
        done = subprocess.run(
            [*command, *[str(part) for part in arguments]],
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        text = (late.output or b"")[-2000:].decode("utf-8", "backslashreplace")
        raise AssertionError(f"the server did not hang up on s_client {arguments}:\n{text}") from None
    return Shake(done.stdout, done.returncode)
