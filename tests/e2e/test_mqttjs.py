"""MQTT.js over TCP and WebSocket, each version of the protocol; the stories stand in mqttjs.js."""

import os

import suite
from suite import alone, each, short

HERE = os.path.dirname(os.path.abspath(__file__))
MODULES = {"NODE_PATH": os.path.join(suite.ROOT, "build", "npm", "node_modules")}
STORIES = (
    "all_qualities_arrive_in_order",
    "retained_messages_wait",
    "a_lost_connection_publishes_the_will",
    "a_session_is_resumed",
    "members_share",
    "payloads_of_every_size_arrive_whole",
    "it_reconnects_by_itself",
)
VERSIONS = (3, 4, 5)
TRANSPORTS = ("tcp", "ws")


def tell(t, story, version, transport):
    ports = t.common().ports
    url = {"tcp": f"mqtt://127.0.0.1:{ports['mqtt']}", "ws": f"ws://127.0.0.1:{ports['ws']}/mqtt"}[transport]
    script = os.path.join(HERE, "mqttjs.js")
    t.program("node", script, url, version, t.id(), story, env=MODULES).wait_end(60)


@each(*[(story, version, transport) for story in STORIES for version in VERSIONS for transport in TRANSPORTS])
def test_mqttjs_tells(t, which):
    tell(t, *which)


@short
@each(*TRANSPORTS)
def test_mqttjs_of_version_5_tells_that_properties_and_aliases_travel(t, transport):
    tell(t, "properties_and_aliases_travel", 5, transport)


@alone
@each(*[(version, transport) for version in (4, 5) for transport in TRANSPORTS])
def test_mqttjs_tells_that_64_mib_arrive_whole(t, which):
    tell(t, "payloads_of_64_mib_arrive_whole", *which)
