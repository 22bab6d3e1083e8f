"""The brokers that the TLS tests share, and how each client is told to use them."""

import broker as broker_module
import certs

SCHEMES = ("mqtts", "wss")


def common(t):
    """A listener for each kind of certificate and scheme, "rsa wss"; "mutual mqtts" wants one of clients too."""

    def make():
        listeners = {}
        for scheme in SCHEMES:
            more = ["protocol websockets"] if scheme == "wss" else []
            for kind in certs.KINDS:
                listeners[f"{kind} {scheme}"] = certs.listener(kind, *more)
            listeners[f"mutual {scheme}"] = certs.listener("ecdsa", "require_certificate true", *more)
        lines = ["max_inflight_messages 1000"] if broker_module.is_mosquitto() else []
        return broker_module.Broker(lines=lines, listeners=listeners)

    return t.kept("secure", make)


def url(t, kind, scheme, names=None, host="localhost"):
    """names: what the client calls the schemes, where it has names of its own."""
    name = (names or {}).get(scheme, scheme)
    return f"{name}://{host}:{common(t).ports[f'{kind} {scheme}']}" + ("/mqtt" if scheme == "wss" else "")
