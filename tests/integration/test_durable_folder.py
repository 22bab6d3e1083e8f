"""Where state lies."""

import os
import shutil
import tempfile

import mqtt
from suite import equal, eventually, tern_only

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


def kept_by(t, folder, client):
    """A broker on that folder: does it know the client? Its session is kept from now on."""
    broker = t.broker(["persistence true", f"persistence_location {folder}"])
    somebody = mqtt.Client(broker.port, 5, label=client)
    present = somebody.connect(t.id(client), clean=False, props=EXPIRY).session_present
    somebody.disconnect()
    broker.stop()
    return present


@tern_only
def test_mosquittos_file_may_go_and_come_and_ours_stays_where_it_is(t):
    folder = os.path.join(t.folder(), "theirs")
    os.mkdir(folder)
    theirs = os.path.join(folder, "mosquitto.db")
    with open(theirs, "wb") as file:
        file.write(b"\x00\xb5\x00mosquitto db")
    kept_by(t, folder, "one")
    os.rename(theirs, os.path.join(t.folder(), "away"))
    assert kept_by(t, folder, "one"), "a session, after mosquitto's file was removed"
    ours = os.path.join(t.folder(), "ours")
    kept_by(t, ours, "two")
    os.rename(os.path.join(t.folder(), "away"), os.path.join(ours, "mosquitto.db"))
    assert kept_by(t, ours, "two"), "a session, after mosquitto's file was put beside the store"


@tern_only
def test_files_are_merged_once_all_that_is_kept_was_read(t):
    """While it starts nothing merges; each stop leaves a file, and many starts must not leave many."""
    folder = os.path.join(t.folder(), "kept")
    for _ in range(8):
        kept_by(t, folder, "somebody")
    broker = t.broker(["persistence true", f"persistence_location {folder}"])

    def tables():
        return [name for name in os.listdir(os.path.join(folder, "state")) if name.endswith(".sst")]

    eventually(lambda: len(tables()) <= 4, what=f"few files, not {tables()}")
    broker.stop()
