"""SCRAM-SHA-256, the client's side (RFC 5802, RFC 7677), written from the RFCs and from nothing of ours.

    client = ScramClient("alice", "secret")
    auth(client.first())                  n,,n=alice,r=...
    auth(client.final(server_first))      c=biws,r=...,p=...
    client.verify(server_final)           raises unless the server knows the keys too

Messages are bytes, as MQTT 5 carries them in Authentication Data.
"""

import base64
import hashlib
import hmac
import os

METHOD = "SCRAM-SHA-256"


class ScramError(AssertionError):
    """The server said something that a client must not accept."""


def attributes(message):
    """b"r=x,s=y" -> {"r": "x", "s": "y"}"""
    return dict(part.split("=", 1) for part in message.decode().split(","))


def digest(key, text):
    return hmac.new(key, text, hashlib.sha256).digest()


class ScramClient:
    """One exchange. authzid: act as this user; gs2: the channel binding flag, "n" or "y"."""

    def __init__(self, username, password, nonce=None, authzid="", gs2="n"):
        self.username, self.password = username, password.encode()
        self.nonce = nonce or base64.b64encode(os.urandom(18)).decode()
        self.header = f"{gs2},{'a=' + self.escaped(authzid) if authzid else ''},"
        self.signature = self.iterations = self.salt = None

    @staticmethod
    def escaped(name):
        return name.replace("=", "=3D").replace(",", "=2C")

    @property
    def first_bare(self):
        return f"n={self.escaped(self.username)},r={self.nonce}"

    def first(self):
        return (self.header + self.first_bare).encode()

    def final(self, server_first):
        """The answer to the server's challenge, which is judged before."""
        said = attributes(server_first)
        if not said["r"].startswith(self.nonce) or said["r"] == self.nonce:
            raise ScramError("the server's nonce does not go on from ours")
        self.salt, self.iterations = base64.b64decode(said["s"], validate=True), int(said["i"])
        without_proof = f"c={base64.b64encode(self.header.encode()).decode()},r={said['r']}"
        message = f"{self.first_bare},{server_first.decode()},{without_proof}".encode()
        salted = hashlib.pbkdf2_hmac("sha256", self.password, self.salt, self.iterations)
        key = digest(salted, b"Client Key")
        signed = digest(hashlib.sha256(key).digest(), message)
        proof = bytes(a ^ b for a, b in zip(key, signed))
        self.signature = digest(digest(salted, b"Server Key"), message)
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def verify(self, server_final):
        said = attributes(server_final)
        if self.signature is None or base64.b64decode(said.get("v", "")) != self.signature:
            raise ScramError(f"the server has not proved itself: {server_final!r}")


def password_line(username, password, iterations=4096, salt=None):
    """A line of a password file, as `ternctl user add --scram` writes it."""
    salt = salt or os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored = hashlib.sha256(digest(salted, b"Client Key")).digest()
    texts = [base64.b64encode(part).decode().rstrip("=") for part in (salt, stored, digest(salted, b"Server Key"))]
    return f"{username}:$scram-sha-256${iterations}${'$'.join(texts)}"
