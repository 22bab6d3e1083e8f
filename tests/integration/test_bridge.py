"""Bridges, Tern to Debian's mosquitto and mosquitto to Tern: what arrives, what does not, after what."""

import time

import bridges
import certs
from bridges import ROLES, drain, joined, state, two
from suite import each, equal, eventually, long_only, short, tern_only

VERSIONS = [(role, version) for role in ROLES for version in ("mqttv31", "mqttv311", "mqttv50")]


def payloads(name, count):
    return {f"{name}{i}".encode() for i in range(count)}


# ---------------------------------------------------------------------------------- what arrives


@tern_only
@short
@each(*VERSIONS)
def test_every_quality_goes_both_ways_and_retained_stays_retained(t, how):
    role, version = how
    pair = two(t, role, "# both 2", more=[f"bridge_protocol_version {version}"])
    joined(t, pair, pair.near, pair.far, "probe/out")
    joined(t, pair, pair.far, pair.near, "probe/in")
    for source, target in ((pair.near, pair.far), (pair.far, pair.near)):
        name = "out" if source is pair.near else "in"
        receiver = t.client(target.port, f"receiver-{name}", 4)
        receiver.subscribe(f"{name}/#", qos=2)
        sender = t.client(source.port, f"sender-{name}", 4)
        for qos in (0, 1, 2):
            sender.publish(f"{name}/{qos}", f"quality {qos}", qos=qos, retain=qos == 1)
            receiver.receive(f"{name}/{qos}", f"quality {qos}", qos=qos)
        late = t.client(target.port, f"late-{name}", 4)
        late.subscribe(f"{name}/#", qos=2)
        late.receive(f"{name}/1", "quality 1", retain=True)
        late.expect_nothing()


@tern_only
@short
@each(*ROLES)
def test_directions_prefixes_and_the_quality_of_a_row_are_kept(t, role):
    rows = ["a/# out 1 here/ there/", "b/# in 0 from-there/ src/", '"" out 2 single/local single/remote']
    pair = two(t, role, *rows)
    joined(t, pair, pair.near, pair.far, "here/a/probe", "there/a/probe")
    joined(t, pair, pair.far, pair.near, "src/b/probe", "from-there/b/probe")
    near, far = t.client(pair.near.port, "near", 5), t.client(pair.far.port, "far", 5)
    near.subscribe("#", qos=2, no_local=True)
    far.subscribe("#", qos=2, no_local=True)
    near.publish("here/a/x", "1", qos=2)
    far.receive("there/a/x", "1", qos=1)
    far.publish("src/b/y", "2", qos=2)
    near.receive("from-there/b/y", "2", qos=0)
    near.publish("single/local", "3", qos=2)
    far.receive("single/remote", "3", qos=2)
    near.publish("a/x", "not below the prefix", qos=1)
    near.publish("from-there/b/z", "the other direction", qos=1)
    far.publish("there/a/z", "the other direction", qos=1)
    near.expect_nothing()
    far.expect_nothing()


@tern_only
def test_properties_of_version_5_go_along(t):
    pair = two(t, "tern", "# both 1", more=["bridge_protocol_version mqttv50"])
    joined(t, pair, pair.far, pair.near, "probe")
    props = {"content_type": "text/plain", "response_topic": "r", "correlation_data": b"c"}
    props["user_property"] = [("a", "1"), ("a", "2")]
    for source, target in ((pair.near, pair.far), (pair.far, pair.near)):
        receiver = t.client(target.port, f"to{target.port}", 5)
        receiver.subscribe("p/#", qos=1)
        t.client(source.port, f"by{source.port}", 5).publish("p/x", "x", qos=1, props={**props, "message_expiry": 600})
        got = receiver.receive("p/x", "x").props
        assert 590 <= got.pop("message_expiry") <= 600, got
        got.pop("subscription_id", None)
        equal(got, props, "properties")


@tern_only
@short
@each(*VERSIONS)
def test_nothing_goes_round_in_circles(t, how):
    """Both directions on the same topics: what came over the bridge does not go back."""
    role, version = how
    no_loop(t, role, version, 100, 2)


@tern_only
@long_only
@each(*VERSIONS)
def test_nothing_goes_round_in_circles_for_ten_seconds(t, how):
    no_loop(t, *how, 1000, 10)


def no_loop(t, role, version, count, seconds):
    pair = two(t, role, "# both 1", more=[f"bridge_protocol_version {version}"])
    joined(t, pair, pair.near, pair.far, "probe/out")
    joined(t, pair, pair.far, pair.near, "probe/in")
    ends = [t.client(broker.port, name, 4) for name, broker in (("near", pair.near), ("far", pair.far))]
    for end in ends:
        end.subscribe("x/#", qos=1)
    for i in range(count):
        for end, name in zip(ends, ("near", "far")):
            end.publish(f"x/{name}", f"{name}{i}", qos=i % 2)
    wanted = payloads("near", count) | payloads("far", count)
    for end in ends:
        got = drain(end, wanted)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            end.expect_nothing(0.5)
        equal(len(got), 2 * count, "messages")


# ---------------------------------------------------------------------------------- what fails


@tern_only
@each(("tern", "mqttv311"), ("tern", "mqttv50"), ("mosquitto", "mqttv311"))
def test_what_is_published_while_the_link_is_cut_arrives_when_it_is_mended(t, how):
    role, version = how  # mosquitto 2.0 asks for no session that lasts when it bridges by MQTT 5
    cut_for(t, role, version, 0)


@tern_only
@long_only
@each(*ROLES)
def test_a_link_that_is_cut_for_a_minute_costs_nothing(t, role):
    cut_for(t, role, "mqttv311", 60)


def cut_for(t, role, version, seconds):
    more = [f"bridge_protocol_version {version}", "cleansession false"]
    pair = two(t, role, "# both 2", more=more, relay=True)
    joined(t, pair, pair.near, pair.far, "probe/out")
    joined(t, pair, pair.far, pair.near, "probe/in")
    ends = {"near": t.client(pair.near.port, "near", 4), "far": t.client(pair.far.port, "far", 4)}
    for name, other in (("near", "far"), ("far", "near")):
        ends[name].subscribe(f"x/{other}/#", qos=2)
    for half in range(4):
        if half == 1:
            pair.wire.cut()  # in the middle of what the first half has begun
        if half == 3:
            time.sleep(seconds)
            pair.wire.mend()
        for name, end in ends.items():
            for i in range(half * 25, half * 25 + 25):
                end.publish(f"x/{name}/1", f"{name}-one-{i}", qos=1)
                end.publish(f"x/{name}/2", f"{name}-two-{i}", qos=2)
    for name, other in (("near", "far"), ("far", "near")):
        once, twice = payloads(f"{other}-two-", 100), payloads(f"{other}-one-", 100)
        got = drain(ends[name], once | twice, 60)
        doubled = [text for text in once if got.count(text) != 1]
        equal(doubled, [], "QoS 2 messages that came more than once")
        in_order = [text for text in got if text in once]
        equal(in_order, sorted(once, key=lambda text: int(text.split(b"-")[-1])), "order of QoS 2")


@tern_only
@each(1, 2)
def test_a_remote_broker_that_is_killed_gets_what_it_missed(t, qos):
    """It lost its sessions: what had been acknowledged was its own to lose, and all that came later is not."""
    pair = two(t, "tern", "# out 2")
    joined(t, pair, pair.near, pair.far, "probe")
    sender = t.client(pair.near.port, "sender", 4)
    receiver = t.client(pair.far.port, "receiver", 4)
    receiver.subscribe("x", qos=2)
    for i in range(30):
        sender.publish("x", f"before{i}", qos=qos)
    drain(receiver, payloads("before", 30))
    pair.far.kill()
    for i in range(50):
        sender.publish("x", f"away{i}", qos=qos)
    pair.far.start()
    receiver = t.client(pair.far.port, "receiver", 4)
    receiver.subscribe("x", qos=2)
    got = drain(receiver, payloads("away", 50))
    assert qos == 1 or len(got) == 50, got


@tern_only
def test_a_remote_broker_that_is_killed_and_remembers_gives_what_it_had(t):
    """mosquitto with persistence: its session of the bridge survives, and what is in it."""
    lines = ["persistence true", "autosave_interval 1", "autosave_on_changes true"]
    pair = two(t, "tern", "# both 1", more=["cleansession false"], far_lines=lines, relay=True)
    joined(t, pair, pair.far, pair.near, "probe")
    receiver = t.client(pair.near.port, "receiver", 4)
    receiver.subscribe("x", qos=1)
    pair.wire.cut()
    sender = t.client(pair.far.port, "sender", 4)
    for i in range(50):
        sender.publish("x", f"kept{i}", qos=1)
    time.sleep(1.5)  # autosave is of the next second
    pair.far.kill()
    pair.far.start()
    pair.wire.mend()
    drain(receiver, payloads("kept", 50))


@tern_only
def test_the_other_address_is_used_while_the_first_one_is_dead(t):
    first, second = bridges.Mosquitto(t), bridges.Mosquitto(t)
    first.kill()
    rows = bridges.block(first.port, "# both 1", more=[f"address 127.0.0.1:{second.port}"])
    near = t.broker(rows)
    state(t, second.port, b"1")
    first.start()
    state(t, first.port, b"1")  # it goes back to the first one
    state(t, second.port, b"0")
    assert "the first address answers again" in near.log(), near.log()


# ---------------------------------------------------------------------------------- TLS


@tern_only
@short
def test_a_bridge_proves_itself_with_a_certificate(t):
    server, client = certs.server(), certs.client()
    lines = [f"cafile {certs.ca()}", f"certfile {server.cert}", f"keyfile {server.key}", "require_certificate true"]
    far = bridges.Mosquitto(t, lines)
    rows = [f"bridge_cafile {certs.ca()}", f"bridge_certfile {client.cert}", f"bridge_keyfile {client.key}"]
    near = t.broker([row.replace("127.0.0.1", "localhost") for row in bridges.block(far.port, "# both 1", more=rows)])
    state(t, near.port, b"1")
    assert "tls=yes" in near.log(), near.log()


@tern_only
@short
def test_mosquitto_bridges_to_tern_over_tls(t):
    client = certs.client()
    far = t.broker(listeners={"mqtt": [], "tls": certs.listener("ecdsa", "require_certificate true")})
    rows = [f"bridge_cafile {certs.ca()}", f"bridge_certfile {client.cert}", f"bridge_keyfile {client.key}"]
    rows = bridges.block(far.ports["tls"], "# both 1", more=rows)
    near = bridges.Mosquitto(t, [row.replace("127.0.0.1", "localhost") for row in rows])
    state(t, near.port, b"1")
    state(t, far.port, b"1")
    joined(t, None, near, far, "probe")


@tern_only
@short
@each("wrong authority", "wrong name", "any name")
def test_a_certificate_that_proves_nothing_is_refused(t, what):
    ca = certs.ca() if what != "wrong authority" else certs.path("other.pem")
    rows = [f"bridge_cafile {ca}"] + (["bridge_insecure true"] if what == "any name" else [])
    # The certificate is made for localhost and 127.0.0.1, not for 127.0.0.2, where the same broker is.
    host = "127.0.0.1" if what == "wrong authority" else "127.0.0.2"
    far = t.broker(listeners={"tls": certs.listener()}, hosts={"tls": host})
    near = t.broker([row.replace("127.0.0.1", host) for row in bridges.block(far.port, "# both 1", more=rows)])
    if what == "any name":
        state(t, near.port, b"1")
    else:
        eventually(lambda: "bridge: cannot connect" in near.log(), what="the refusal")
        assert "the peer's certificate" in near.log(), near.log()
        assert "bridge: connected" not in near.log()


@tern_only
@each("plain", "tls")
def test_who_took_the_wrong_port_is_told_what_it_may_be(t, way):
    """A port for TLS that is spoken to in clear, and the other way round."""
    far = t.broker(listeners={"tls": certs.listener(), "mqtt": []})
    if way == "plain":
        rows, words = bridges.block(far.ports["tls"], "# both 1"), "does that port want TLS"
    else:
        rows = bridges.block(far.ports["mqtt"], "# both 1", more=[f"bridge_cafile {certs.ca()}"])
        words = "is that a port for TLS?"
    near = t.broker(rows)
    eventually(lambda: "bridge: cannot connect" in near.log(), what="the refusal")
    assert words in near.log(), near.log()
