"""What somebody on the way sees: a capture of the loopback device, searched for what nobody should read."""

import base64
import os
import socket
import subprocess
import urllib.request

import certs
import mqtt
import paho.mqtt.client as paho
import secure
import tls
from suite import Skip, equal, eventually, once, tern_only

USER = "alice"
# Words that occur nowhere else; each is looked for as it is, as hexadecimal and as base64.
CANARIES = {
    "payload": "Kanarienvogel-Nutzlast-5cb1f0",
    "password": "Kanarienvogel-Passwort-9ae310",
    "client id": "kanarienvogel-client-77d2",
    "topic": "kanarienvogel/thema/e41c",
    "will": "Kanarienvogel-Testament-20ff",
    "user property": "Kanarienvogel-Eigenschaft-31aa",
}


def spellings(word):
    raw = word.encode()
    # In base64 a word looks different at each of three offsets; the ends depend on the neighbours.
    coded = [base64.b64encode(b"\0" * shift + raw)[4 if shift else 0 : -4] for shift in range(3)]
    return [raw, raw.hex().encode(), *coded]


def found_in(data):
    """Which canaries are there to be read."""
    return {what for what, word in CANARIES.items() if any(each in data for each in spellings(word))}


class Capture:
    """dumpcap on the loopback device, for these ports alone."""

    def __init__(self, t, ports):
        with open("/proc/self/status", encoding="ascii") as status:
            able = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff"))
        if not able & 1 << 13:
            raise Skip("capturing needs root (CAP_NET_RAW)")
        self.path = os.path.join(t.folder(), f"capture-{len(t.programs)}.pcap")
        self.mark = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.mark.bind(("127.0.0.1", 0))
        what = " or ".join([f"tcp port {port}" for port in ports] + [f"udp port {self.mark.getsockname()[1]}"])
        command = ["dumpcap", "-i", "lo", "-p", "-q", "-B", "64", "-P", "-w", self.path, "-f", what]
        self.program = t.program(*command)
        self.program.wait_line("^File: ")
        self.see(b"first mark")

    def read(self):
        with open(self.path, "rb") as file:
            return file.read()

    def see(self, mark):
        """Until a datagram, sent after all else, stands in the file."""

        def is_seen():
            self.mark.sendto(mark, self.mark.getsockname())
            return mark in self.read()

        eventually(is_seen, what="the end of the capture")

    def end(self):
        """All that was captured, and what the program says of losses."""
        self.see(b"last mark")
        self.mark.close()
        self.program.process.send_signal(2)
        self.program.wait_end(status=None)
        dropped = self.program.wait_line("received/dropped")
        assert "/0 (" in dropped, f"the capture has gaps: {dropped}"
        return self.read()

    def dissected(self, what):
        """Lines of tshark: the packets that this filter finds."""
        command = ["tshark", "-n", "-r", self.path, "-Y", what]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return result.stdout.splitlines()


def password_file(t):
    path = os.path.join(t.folder(), "passwords")
    subprocess.run(["mosquitto_passwd", "-b", "-c", path, USER, CANARIES["password"]], check=True, capture_output=True)
    os.chmod(path, 0o600)
    return path


def broker_of_all(t):
    listeners = {
        "plain": [],
        "ws": ["protocol websockets"],
        "mqtts": certs.listener("ecdsa"),
        "wss": certs.listener("rsa", "protocol websockets"),
    }
    return t.broker([f"password_file {password_file(t)}", "allow_anonymous false"], listeners=listeners, metrics=True)


def talk(t, link, serial):
    """A client that says everything nobody should hear, and hears it again."""
    client = mqtt.Client(0, 5, transport=link, label="canary")
    will = {"topic": CANARIES["topic"], "payload": CANARIES["will"]}
    secret = {"user_property": ("note", CANARIES["user property"])}
    name = f"{CANARIES['client id']}-{serial}"
    client.connect(name, username=USER, password=CANARIES["password"], will=will)
    client.subscribe(CANARIES["topic"], qos=1)
    client.publish(CANARIES["topic"], CANARIES["payload"], qos=1, props=secret)
    client.receive(CANARIES["topic"], CANARIES["payload"])
    client.publish(CANARIES["topic"], CANARIES["payload"] * 2000, qos=1, retain=True)
    client.receive(CANARIES["topic"], CANARIES["payload"] * 2000)
    client.publish(CANARIES["topic"], b"", qos=1, retain=True)
    client.receive(CANARIES["topic"], b"")
    client.vanish()  # the will is published


def programs(t, broker, scheme):
    """The same by clients people use."""
    login = ["-u", USER, "-P", CANARIES["password"], "-i", CANARIES["client id"] + "-m"]
    words = ["-t", CANARIES["topic"], "-m", CANARIES["payload"], "-q", "1"]
    trust = ["--cafile", certs.ca()] if scheme == "mqtts" else []
    where = ["-h", "127.0.0.1", "-p", broker.ports[scheme], "-V", "mqttv5"]
    t.program("mosquitto_pub", *where, *trust, *login, *words).wait_end()


def paho_over(broker, scheme):
    client = paho.Client(CANARIES["client id"] + "-p", transport="websockets" if scheme in ("ws", "wss") else "tcp")
    client.username_pw_set(USER, CANARIES["password"])
    if scheme in ("mqtts", "wss"):
        client.tls_set_context(tls.context())
    client.connect("localhost", broker.ports[scheme])
    client.loop_start()
    client.publish(CANARIES["topic"], CANARIES["payload"], 1).wait_for_publish(mqtt.WAIT_S)
    client.disconnect()
    client.loop_stop()


def log_is_clean(broker):
    """Whatever is logged, passwords and payloads are not."""
    equal(found_in(broker.log().encode()) & {"password", "payload", "will"}, set(), "secrets in the log")


@once
def test_the_control_everything_can_be_read_on_a_plain_listener(t):
    broker = broker_of_all(t)
    capture = Capture(t, [broker.ports["plain"]])
    talk(t, mqtt.Tcp(("127.0.0.1", broker.ports["plain"])), 1)
    programs(t, broker, "plain")
    paho_over(broker, "plain")
    equal(found_in(capture.end()), set(CANARIES), "what can be read")
    assert capture.dissected("tcp.payload contains \"MQTT\""), "tshark sees no packet"
    log_is_clean(broker)


@once
def test_the_control_what_the_broker_says_can_be_read_over_plain_websocket(t):
    """What clients say is masked there, which hides it from a search, though from nobody who cares."""
    broker = broker_of_all(t)
    capture = Capture(t, [broker.ports["ws"]])
    talk(t, mqtt.WebSocket(("127.0.0.1", broker.ports["ws"])), 1)
    paho_over(broker, "ws")
    assert {"payload", "topic"} <= found_in(capture.end()), "the control found nothing"
    log_is_clean(broker)


@once
def test_over_tls_nobody_reads_payload_password_client_id_or_topic(t):
    broker = broker_of_all(t)
    ports = [broker.ports[scheme] for scheme in secure.SCHEMES]
    capture = Capture(t, ports)
    serial = 0
    for scheme in secure.SCHEMES:
        for version in ("1.2", "1.3"):
            how, session = tls.context(versions=(version,)), None
            for _ in range(2):  # anew, and resumed: there could be early data
                serial += 1
                make = {"mqtts": tls.Tls, "wss": tls.WebSocket}[scheme]
                link = make(("127.0.0.1", broker.ports[scheme]), how, session=session)
                equal(link.ssl.session_reused, session is not None, "resumed")
                talk(t, link, serial)
                session = link.ssl.session  # known once something was read
        paho_over(broker, scheme)
    programs(t, broker, "mqtts")
    data = capture.end()
    assert len(data) > 100_000, f"only {len(data)} bytes were captured"
    equal(found_in(data), set(), "what can be read")
    seen = capture.dissected("tls")
    assert len(seen) > 50, f"only {len(seen)} packets of TLS were captured"
    equal(capture.dissected("mqtt || http || websocket"), [], "packets that can be read")
    log_is_clean(broker)


@once
@tern_only
def test_metrics_and_health_name_no_secrets(t):
    broker = broker_of_all(t)
    talk(t, tls.Tls(("127.0.0.1", broker.ports["mqtts"])), 1)
    for page in ("metrics", "health"):
        with urllib.request.urlopen(f"http://127.0.0.1:{broker.http_port}/{page}", timeout=mqtt.WAIT_S) as answer:
            equal(found_in(answer.read()) & {"password", "payload", "will"}, set(), f"secrets in /{page}")
