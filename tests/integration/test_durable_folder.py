"""Where state lies."""

import os
import shutil
import tempfile

from suite import equal, tern_only

EXPIRY = {"session_expiry": 3600}


@tern_only
def test_beside_the_file_of_mosquitto_there_is_a_folder_for_us(t):
    """mosquitto's configuration does for both, and its file stays as it is."""
    folder = tempfile.mkdtemp(prefix="tern-test-")
    theirs = os.path.join(folder, "mosquitto.db")
    with open(theirs, "wb") as file:
        file.write(b"\x00\xb5\x00mosquitto db")
    broker = t.broker(["persistence true", f"persistence_location {folder}/"])
    t.client(broker.port, "somebody", 5, clean=False, props=EXPIRY).disconnect()
    assert os.path.exists(os.path.join(folder, "tern", "FORMAT")), os.listdir(folder)
    equal(sorted(os.listdir(folder)), ["mosquitto.db", "tern"], "what lies there")
    with open(theirs, "rb") as file:
        equal(file.read(), b"\x00\xb5\x00mosquitto db", "mosquitto's file")
    assert "ternctl import" in broker.log(), broker.log()
    broker.stop()
    shutil.rmtree(folder)
