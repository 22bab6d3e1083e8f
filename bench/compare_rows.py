"""What bench/compare measures and whom: two tables.

ROWS are the plain-TCP, in-memory rows of the design's section 8. `allowed` is the share of mosquitto's
CPU per message (its better setting) that Tern may take, `most` what it may take at all; `shape` is the
--shape of tern-limit, where a bare forwarder can stand beside. Every load of messages is a closed loop:
--window is always given.

BROKERS are started one at a time on a port of 127.0.0.1. In `command` and `configuration` stand {port},
{dir} (an empty folder of its own), {conf} (the configuration, written there) and {shape}.
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
    unit: str = "us"  # CPU of the broker for each delivery (or connect); or "bytes" of its memory


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
)


@dataclass(frozen=True)
class Broker:
    name: str
    command: str
    configuration: str = ""
    kind: str = "other"  # tern, limit, mosquitto: what the shares are made of


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

# The program of a command is looked up in --build first, then on PATH; who is not found is left out.
BROKERS = (
    Broker("mosquitto", "mosquitto -c {conf}", MOSQUITTO_KEYS + "set_tcp_nodelay false\n", kind="mosquitto"),
    Broker("its nodelay", "mosquitto -c {conf}", MOSQUITTO_KEYS + "set_tcp_nodelay true\n", kind="mosquitto"),
    Broker("FlashMQ", "flashmq --config-file {conf}", FLASHMQ_KEYS),
    Broker("NanoMQ", "nanomq start --conf {conf}", NANOMQ_KEYS),
    Broker("limit", "tern-limit --shape {shape} --port {port}", kind="limit"),
    Broker("Tern", "tern -c {conf}", MOSQUITTO_KEYS + "http_listener none\n", kind="tern"),
)
