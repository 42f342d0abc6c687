"""The engine's side of the door: lines in, events out, whatever comes."""

import json
import os
import threading

import numpy as np
import pytest

from Testing.small_engine import SmallEngine
from XAIExplainLib import protocol
from XAIExplainLib.errors import XAIError
from XAIExplainLib.worker import Worker, is_out_of_memory


class Talk:
    """A worker in a thread of this process, at the other end of two pipes."""

    def __init__(self, make_engine=SmallEngine):
        their_in, self._write = os.pipe()
        self._read, their_out = os.pipe()
        self.left = threading.Event()
        self.status = None
        self.worker = Worker(os.fdopen(their_in, "rb"), os.fdopen(their_out, "wb"), lambda status: self.left.set())
        self._thread = threading.Thread(target=self._serve, args=(make_engine,), daemon=True)
        self._thread.start()
        self._lines = os.fdopen(self._read, "rb")

    def _serve(self, make_engine):
        self.status = self.worker.serve(make_engine)

    def say(self, **message):
        self.say_raw(json.dumps(message).encode() + b"\n")

    def say_raw(self, line):
        os.write(self._write, line)

    def hear(self, number=None):
        """The next event that is no progress; of request `number`, if given."""
        while True:
            event = json.loads(self._lines.readline())
            if event.get("event") != "progress" and number in (None, event.get("id")):
                return event

    def hear_any(self):
        return json.loads(self._lines.readline())

    def close(self):
        os.close(self._write)
        self._thread.join(5)
        return not self._thread.is_alive()


@pytest.fixture
def talk():
    talk = Talk()
    ready = talk.hear()
    assert ready["event"] == "ready" and ready["protocol"] == protocol.PROTOCOL
    yield talk
    assert talk.close()
    assert talk.left.wait(3)


def test_answers_carry_the_number_of_the_request(talk):
    talk.say(id=7, command="echo", word="hello")
    event = talk.hear()
    assert (event["id"], event["event"], event["result"]["said"]) == (7, "result", "hello")


def test_hello_repeats_the_greeting(talk):
    talk.say(id=1, command="hello")
    assert talk.hear()["result"]["version"] == "small"


@pytest.mark.parametrize(
    "line",
    [b"{not json\n", b"\xff\xfe\n", b"[1, 2]\n", b'"word"\n', b"null\n", b'{"command": "echo"}\n', b'{"id": true}\n',
     b'{"id": 3}\n', b'{"id": "x", "command": "echo"}\n', b"[" * 100_000 + b"\n"],
)  # fmt: skip
def test_a_wrong_line_is_answered_and_the_worker_goes_on(talk, line):
    talk.say_raw(b"\n" + line)
    event = talk.hear()
    assert event["event"] == "error" and event["kind"] == "user" and event["hint"]
    talk.say(id=9, command="echo", word="still here")
    assert talk.hear(9)["result"]["said"] == "still here"


def test_an_unknown_command_is_answered_with_the_known_ones(talk):
    talk.say(id=1, command="dance")
    event = talk.hear()
    assert event["kind"] == "user" and "dance" in event["message"] and "echo" in event["hint"]


def test_another_transport_is_refused_in_a_sentence(talk):
    talk.say(id=1, command="echo", transport="frames")
    event = talk.hear()
    assert event["kind"] == "user" and "frames" in event["message"]


def test_a_number_in_use_is_refused(talk):
    talk.say(id=1, command="work", seconds=0.5)
    talk.say(id=1, command="echo")
    assert talk.hear()["kind"] == "user"
    assert talk.hear()["event"] == "result"


@pytest.mark.parametrize(
    ("command", "kind", "said"),
    [("user", "user", "upside down"), ("bug", "bug", "KeyError"), ("memory", "memory", "Memory ran out")],
)
def test_each_kind_of_error_says_what_it_is(talk, command, kind, said):
    talk.say(id=1, command=command)
    event = talk.hear()
    assert event["event"] == "error" and event["kind"] == kind and said in event["message"] and event["hint"]
    assert ("traceback" in event) == (kind != "user")


def test_progress_is_throttled_and_grows(talk):
    talk.say(id=1, command="work", seconds=1.2)
    events = []
    while not events or events[-1]["event"] == "progress":
        events.append(talk.hear_any())
    heard = events[:-1]
    assert 2 <= len(heard) <= 14
    fractions = [event["fraction"] for event in heard]
    assert fractions == sorted(fractions) and fractions[0] >= 0 and fractions[-1] <= 1
    assert heard[0]["remaining"] is None
    assert heard[-1]["remaining"] is not None and heard[-1]["elapsed"] > 0.5


def test_a_preview_comes_before_its_result(talk, tmp_path):
    talk.say(id=1, command="look", then="echo", file=str(tmp_path / "map"))
    events = [talk.hear(1), talk.hear(1)]
    assert [event["event"] for event in events] == ["preview", "result"]
    assert events[0]["map"] == str(tmp_path / "map") and events[0]["stage"] == {"number": 1, "of": 2}


def test_a_running_job_is_cancelled(talk):
    talk.say(id=1, command="work", seconds=60)
    assert talk.hear_any()["event"] == "progress"
    talk.say(id=2, command="cancel", job=1)
    kinds = {event["id"]: event for event in (talk.hear(), talk.hear())}
    assert kinds[1]["kind"] == "cancelled" and kinds[2]["result"] == {"cancelled": True}


def test_a_waiting_job_is_cancelled_at_once(talk):
    talk.say(id=1, command="work", seconds=1)
    talk.say(id=2, command="echo")
    talk.say(id=3, command="cancel", job=2)
    first = talk.hear()
    assert (first["id"], first["kind"]) == (2, "cancelled")
    assert talk.hear()["id"] == 3
    assert talk.hear()["id"] == 1
    talk.say(id=4, command="cancel", job=2)
    assert talk.hear()["result"] == {"cancelled": False}


def test_status_is_answered_in_the_middle_of_a_run(talk):
    talk.say(id=1, command="work", seconds=1)
    talk.say(id=2, command="echo")
    assert talk.hear_any()["event"] == "progress"
    talk.say(id=3, command="status")
    status = talk.hear(3)["result"]
    assert status["running"] == 1 and status["waiting"] == 1
    assert status["rss"] is None or status["rss"] > 1_000_000


def test_the_end_of_the_input_ends_a_run():
    talk = Talk()
    talk.hear()
    talk.say(id=1, command="work", seconds=60)
    assert talk.hear_any()["event"] == "progress"
    assert talk.close()
    assert talk.left.wait(3)


def test_shutdown_is_answered_and_obeyed():
    talk = Talk()
    talk.hear()
    talk.say(id=1, command="shutdown")
    assert talk.hear()["result"] == {}
    assert talk.left.wait(3)
    talk.close()


def test_an_engine_that_cannot_start_says_why():
    def make_engine():
        raise XAIError("There is no torch.", "Install it.")

    talk = Talk(make_engine)
    assert talk.hear() == {"event": "fatal", "message": "There is no torch.", "hint": "Install it."}
    assert talk.close()
    assert talk.status == 3


def test_numbers_of_numpy_and_numbers_json_lacks_are_written():
    line = protocol.encode({
        "a": np.float32(0.5), "b": np.arange(3), "c": float("nan"), "d": (1, {2}), 5: np.bool_(True),
        "e": np.float32("inf"),
    })  # fmt: skip
    assert json.loads(line) == {"a": 0.5, "b": [0, 1, 2], "c": None, "d": [1, [2]], "5": True, "e": None}
    assert line.count(b"\n") == 1


def test_what_counts_as_out_of_memory():
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert not is_out_of_memory(RuntimeError("shapes differ"))
    assert not is_out_of_memory(ValueError("out of memory"))
