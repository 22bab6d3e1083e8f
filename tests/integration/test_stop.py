"""The broker is told to stop while everything is in motion: it ends by itself, leaks nothing and breaks nothing.

A sanitizer's build says the most here: its report is an exit code, and so a failure.
"""

import itertools
import os
import signal
import threading
import time

import mqtt
from suite import each, eventually, tern_only
from ternctl import ternctl

LISTENERS = {"mqtt": [], "ws": ["protocol websockets"]}


class Crowd:
    """Clients that connect, subscribe, share, publish and vanish, until they are told to go home."""

    def __init__(self, broker, kind, count=6):
        self.broker, self.kind, self.going_home = broker, kind, threading.Event()
        self.threads = [threading.Thread(target=self.live, args=(number,)) for number in range(count)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.going_home.set()
        for thread in self.threads:
            thread.join()

    def live(self, number):
        for turn in itertools.count():
            if self.going_home.is_set():
                break
            try:
                self.meet(f"{self.kind}{number}-{turn}", number)
            except (OSError, AssertionError, ValueError):
                pass  # the broker is going: whatever happens to a client is fine
            mqtt.forget_clients()

    def meet(self, name, number):
        words = mqtt.connect(name, will={"topic": f"will/{number % 3}", "payload": "gone", "qos": 1})
        words += mqtt.subscribe(1, [(f"$share/{group}/crowd/#", 1) for group in range(8)])
        words += mqtt.subscribe(2, [("will/#", 1), (f"crowd/{number}", 2)])
        words += b"".join(mqtt.publish(f"crowd/{to}", bytes(3000), 2, 10 + to) for to in range(6))
        if self.kind == "ws":
            client = mqtt.websocket_client(self.broker.ports["ws"])
        else:
            client = mqtt.Client(self.broker.port)
        client.send(words)
        if number % 2 == 0:
            client.expect(mqtt.CONNACK, 1.0)


@tern_only
@each(*[(kind, moment) for kind in ("tcp", "ws") for moment in (0.0, 0.05, 0.3)])
def test_a_crowd_in_motion_is_sent_home(t, which):
    kind, moment = which
    broker = t.broker(listeners=LISTENERS, tern_only=["threads 4"])
    with Crowd(broker, kind):
        time.sleep(moment)
        broker.stop()


@tern_only
def test_stopping_at_once_while_large_messages_leave(t):
    """The second signal does not wait for readers; what is being sent is not touched before the end."""
    broker = t.broker(tern_only=["threads 2"])
    for number in range(8):
        reader = t.client(broker.port, f"deaf{number}", 5)
        reader.subscribe(t.topic(), qos=0)
    publisher = t.client(broker.port, "publisher", 5)
    for _ in range(10):
        publisher.publish(t.topic(), bytes(1_000_000), qos=1)
    broker.process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    assert broker.is_alive(), "it should still be saying goodbye to readers that do not read"
    started = time.monotonic()
    broker.stop()
    assert time.monotonic() - started < 3, "the second signal did not stop it at once"


@tern_only
@each("gone", "there")
def test_a_stop_waits_for_no_queue_of_password_checks(t, whoever):
    """Many of them, of 20 ms and more each: who waits for his is sent home, who left is not checked at all."""
    path = os.path.join(t.folder(), "passwords")
    ternctl("user", "add", path, "alice", stdin="alice-pw\n")
    lines = [f"password_file {path}", "allow_anonymous false", "login_failures_free 0", "threads 1"]
    broker = t.broker(tern_only=[*lines, f"connect_timeout {1 if whoever == 'gone' else 600}"], metrics=True)
    guessers = [mqtt.Client(broker.port) for _ in range(1500)]
    for number, guesser in enumerate(guessers):
        guesser.send_or_closed(mqtt.connect(f"g{number}", username="alice", password="no"))
    eventually(lambda: t.metric(broker, "tern_packets_received_total") >= 1000, what="most have asked")
    if whoever == "gone":
        eventually(lambda: t.metric(broker, "tern_connections") == 0, what="their time is over")
    broker.stop(wait_s=12)
