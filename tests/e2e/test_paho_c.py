"""Eclipse Paho for C: the synchronous client's stories, and the asynchronous client in full flight."""

import os
import subprocess
import threading

import suite
from suite import alone, each, short

HERE = os.path.dirname(os.path.abspath(__file__))
STORIES = (
    "all_qualities_arrive_in_order",
    "retained_messages_wait",
    "a_session_is_resumed",
    "members_share",
)
VERSIONS = (3, 4, 5)
TRANSPORTS = ("tcp", "ws")

compiling = threading.Lock()


def compiled(name, library):
    """The program, compiled when its source is newer. Libraries that end in s do TLS too."""
    source = os.path.join(HERE, f"{name}.c")
    program = os.path.join(suite.BUILD, name + ("_tls" if library.endswith("s") else ""))
    with compiling:
        if not os.path.exists(program) or os.path.getmtime(program) < os.path.getmtime(source):
            command = ["gcc", "-std=gnu17", "-O1", "-g", "-Wall", "-Wextra", "-Werror", source]
            result = subprocess.run(
                [*command, "-o", program, f"-l{library}", "-lpthread"], capture_output=True, text=True
            )
            assert result.returncode == 0, result.stderr
    return program


def uri(t, transport):
    if transport == "ws":
        return f"ws://127.0.0.1:{t.common().ports['ws']}/mqtt"
    return f"tcp://127.0.0.1:{t.common().port}"


@short
@each(*VERSIONS)
def test_a_megabyte_arrives_whole(t, version):
    """Over TCP alone: over WebSocket, after a large PUBLISH, this client may wait in vain for a PUBACK

    that has reached its socket (a proxy in between saw it pass). mqtt.js and paho for Python carry
    such payloads over WebSocket.
    """
    program = compiled("paho_c", "paho-mqtt3c")
    t.program(program, uri(t, "tcp"), version, t.id(), "a_megabyte_arrives_whole").wait_end(60)


@short
@each(*[(story, version, transport) for story in STORIES for version in VERSIONS for transport in TRANSPORTS])
def test_the_synchronous_client_tells(t, which):
    story, version, transport = which
    program = compiled("paho_c", "paho-mqtt3c")
    t.program(program, uri(t, transport), version, t.id(), story).wait_end(60)


@each(*[(version, transport) for version in VERSIONS for transport in TRANSPORTS])
def test_a_killed_client_leaves_its_will(t, which):
    version, transport = which
    program = compiled("paho_c", "paho-mqtt3c")
    watcher = t.program(program, uri(t, transport), version, t.id(), "watch")
    watcher.wait_line("^watching")
    doomed = t.program(program, uri(t, transport), version, t.id(), "be_doomed")
    doomed.wait_line("^connected")
    doomed.stop(hard=True)
    watcher.wait_end(30)


@short
@each(*[(version, transport, qos) for version in VERSIONS for transport in TRANSPORTS for qos in (0, 1, 2)])
def test_the_asynchronous_client_gets_back_what_it_sent(t, which):
    version, transport, qos = which
    program = compiled("paho_c_async", "paho-mqtt3a")
    t.program(program, uri(t, transport), version, t.id(), qos).wait_end(60)


@alone
@each(4, 5)
def test_64_mib_arrive_whole(t, version):
    """TCP only: over WebSocket paho C 1.3 overlooks a PUBACK that follows some megabytes."""
    program = compiled("paho_c", "paho-mqtt3c")
    t.program(program, uri(t, "tcp"), version, t.id(), "payloads_of_64_mib_arrive_whole").wait_end(90)
