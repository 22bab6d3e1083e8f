"""What bench/compare measures and whom: two tables.

ROWS are the plain-TCP, in-memory rows of the design's section 8. `allowed` is the share of mosquitto's
CPU per message (its better setting) that Tern may take, `most` what it may take at all; `shape` is the
--shape of tern-limit, where a bare forwarder can stand beside. Every load of messages is a closed loop:
--window is always given.

BROKERS are started one at a time on a port of 127.0.0.1. In `command` and `configuration` stand {port},
{dir} (an empty folder of its own), {conf} (the configuration, written there), {shape} and {certs}.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    key: str  # for --rows
    name: str
    load: str  # arguments of tern-bench run
    allowed: float = None
    most: float = None
    shape: str = None
    # "us": CPU of the broker for each delivery (or connect); "bytes" of its memory; "ms": p99 of what
    # others feel of a storm
    unit: str = "us"
    secure: str = None  # "tls", or "mtls" when clients have to prove who they are, too
    over: str = None  # the key of the same row without TLS, which is then measured, too
    over_most: float = None  # how much more than that it may take; "bare": see BARE_SHARE


ROWS = (
    Row(
        "pairs-burst",
        "QoS 0, 64 pairs, 64 in flight, bursts of 16",
        "pairs -c 64 --window 64 --burst 16",
        allowed=0.13,
        shape="pairs",
    ),
    Row("pairs-one", "QoS 0, 64 pairs, one in flight", "pairs -c 64 --window 1", allowed=0.81, shape="pairs"),
    Row(
        "fanout-burst",
        "QoS 0 fan-out 1 -> 500, 16 in flight, bursts of 8",
        "fanout -c 500 --window 16 --burst 8",
        allowed=0.14,
        shape="fanout",
    ),
    Row(
        "fanout-one",
        "QoS 0 fan-out 1 -> 500, one in flight",
        "fanout -c 500 --window 1",
        allowed=0.67,
        shape="fanout",
    ),
    Row(
        "fanin-burst",
        "QoS 0 fan-in 500 -> 1, 16 in flight each, bursts of 4",
        "fanin -c 500 --window 16 --burst 4",
        allowed=0.15,
        shape="fanin",
    ),
    Row("fanin-one", "QoS 0 fan-in 500 -> 1, one in flight each", "fanin -c 500 --window 1", shape="fanin"),
    Row("qos1", "QoS 1, 64 pairs, window 16", "pairs -c 64 -q 1 --window 16", allowed=0.13),
    Row("qos2", "QoS 2, 64 pairs, window 16", "pairs -c 64 -q 2 --window 16", allowed=0.13),
    Row(
        "large-8",
        "QoS 0, 8 pairs, 64 KiB, 8 in flight",
        "pairs -c 8 -s 65536 --window 8",
        allowed=0.70,
        shape="pairs",
    ),
    Row(
        "large-4",
        "QoS 0, 8 pairs, 64 KiB, 4 in flight",
        "pairs -c 8 -s 65536 --window 4",
        allowed=0.70,
        shape="pairs",
    ),
    Row(
        "wildcards",
        "QoS 0, 10,000 wildcard filters on 100 clients, 1 to 3 match, 16 in flight",
        "wildcards --window 16",
        allowed=0.14,
    ),
    Row("connect", "connect and disconnect, 64 clients", "connect -c 64", allowed=0.60, shape="pairs"),
    Row("idle", "idle connection, 10,000 held", "idle -c 10000", most=1500, shape="pairs", unit="bytes"),
    Row(
        "tls-pairs-burst",
        "TLS 1.3, QoS 0, 64 pairs, 64 in flight, bursts of 16",
        "pairs -c 64 --window 64 --burst 16",
        secure="tls",
        over="pairs-burst",
        over_most=0.5,
    ),
    Row(
        "tls-pairs-one",
        "TLS 1.3, QoS 0, 64 pairs, one in flight",
        "pairs -c 64 --window 1",
        secure="tls",
        over="pairs-one",
    ),
    Row(
        "tls-connect",
        "TLS 1.3, connect and disconnect, full handshakes",
        "connect -c 64",
        secure="tls",
        over="connect",
        over_most="bare",
    ),
    Row(
        "tls-resume",
        "TLS 1.3, connect and disconnect, resumed",
        "connect -c 64 --tls-resume",
        secure="tls",
        over="connect",
    ),
    Row(
        "mtls-connect",
        "TLS 1.3, connect and disconnect, clients prove who they are",
        "connect -c 64",
        secure="mtls",
        over="connect",
    ),
    Row(
        "tls-idle",
        "TLS 1.3, idle connection, 10,000 held",
        "idle -c 10000",
        secure="tls",
        most=6000,
        unit="bytes",
    ),
    Row(
        "tls-storm",
        "TLS 1.3, others while 500 clients a second come: p99",
        "storm -c 2000 --rate 500",
        secure="tls",
        unit="ms",
    ),
)

# A handshake, which is a connect over TLS less a plain one, may cost what BoringSSL's own does
# (bench_tls, measured before) divided by this.
BARE_SHARE = 0.8


@dataclass(frozen=True)
class Broker:
    name: str
    command: str
    configuration: str = ""
    kind: str = "other"  # tern, limit, mosquitto: what the shares are made of
    secure: dict = None  # more lines of configuration for each Row.secure; None: it is left out of these


# What mosquitto and Tern both understand, and what a measurement must not be limited by.
MOSQUITTO_KEYS = """\
listener {port} 127.0.0.1
allow_anonymous true
max_queued_messages 0
max_queued_bytes 0
max_inflight_messages 1000
sys_interval 0
persistence false
connection_messages false
log_type error
"""

FLASHMQ_KEYS = """\
listen {{
    protocol mqtt
    inet_protocol ip4
    inet4_bind_address 127.0.0.1
    port {port}
    tcp_nodelay true
}}
allow_anonymous true
quiet true
log_file {dir}/log
thread_count 1
client_max_write_buffer_size 67108864
max_qos_msg_pending_per_client 60000
max_qos_bytes_pending_per_client 1073741824
"""

NANOMQ_KEYS = """\
mqtt {{
    max_packet_size = 256MB
    max_mqueue_len = 8192
}}
listeners.tcp {{
    bind = "127.0.0.1:{port}"
}}
log {{
    to = [console]
    level = error
}}
"""

# Also of these two; {certs} is a folder with ca.crt, and server and client .crt and .key.
MOSQUITTO_TLS = "certfile {certs}/server.crt\nkeyfile {certs}/server.key\n"
MOSQUITTO_SECURE = {
    "tls": MOSQUITTO_TLS,
    "mtls": MOSQUITTO_TLS + "cafile {certs}/ca.crt\nrequire_certificate true\n",
}

# The program of a command is looked up in --build first, then on PATH; who is not found is left out.
BROKERS = (
    Broker(
        "mosquitto",
        "mosquitto -c {conf}",
        MOSQUITTO_KEYS + "set_tcp_nodelay false\n",
        "mosquitto",
        MOSQUITTO_SECURE,
    ),
    Broker(
        "its nodelay",
        "mosquitto -c {conf}",
        MOSQUITTO_KEYS + "set_tcp_nodelay true\n",
        "mosquitto",
        MOSQUITTO_SECURE,
    ),
    Broker("FlashMQ", "flashmq --config-file {conf}", FLASHMQ_KEYS),
    Broker("NanoMQ", "nanomq start --conf {conf}", NANOMQ_KEYS),
    Broker("limit", "tern-limit --shape {shape} --port {port}", kind="limit"),
    Broker("Tern", "tern -c {conf}", MOSQUITTO_KEYS + "http_listener none\nflapping_count 0\n", "tern", MOSQUITTO_SECURE),
)
