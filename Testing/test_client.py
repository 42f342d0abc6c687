"""The client's side of the door, against a real process: answers, cancel, death, and nobody left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from XAIExplainLib.client import EngineClient
from XAIExplainLib.errors import CancelledError, XAIError

SMALL = str(Path(__file__).with_name("small_engine.py"))
ROOT = Path(__file__).resolve().parent.parent
posix = pytest.mark.skipif(os.name == "nt", reason="signals and process groups are POSIX")


def small_client(**options):
    """A client whose process is the small engine: the interpreter takes the script and ignores ``-m`` after it."""
    return EngineClient(arguments=(SMALL,), **options)


@pytest.fixture
def client():
    with small_client() as client:
        yield client


def runs(pid):
    """Whether a process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def until(condition, seconds=5.0):
    """Wait for `condition`; returns the seconds it took."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, "it did not happen"
        time.sleep(0.01)
    return time.monotonic() - start


def test_starts_at_the_first_request_and_stays_warm(client):
    assert not client.alive and client.ready is None
    first = client.wait(client.request("echo", word="hello"), timeout=20)
    assert first["said"] == "hello" and client.alive and client.ready["version"] == "small"
    assert client.wait(client.request("echo"), timeout=20)["pid"] == first["pid"]


def test_callbacks_come_only_from_poll(client):
    events = []
    client.request("work", callback=events.append, seconds=0.3)
    time.sleep(1.5)
    assert events == [] and client.busy
    until(lambda: client.poll() or (events and events[-1]["event"] == "result"))
    assert events[0]["event"] == "progress" and not client.busy


def test_a_callback_may_ask_the_next_question(client):
    words = []

    def ask_again(event):
        client.request("echo", callback=lambda event: words.append(event["result"]["said"]), word="second")

    client.request("echo", callback=ask_again, word="first")
    until(lambda: client.poll() or words == ["second"])


@pytest.mark.parametrize("then", ["echo", "user", "kill", "deaf"])
def test_a_preview_is_heard_and_its_file_does_not_stay(client, tmp_path, then):
    client.cancel_seconds = 0.2
    file, seen, heard = tmp_path / "map.preview", [], []

    def look(event):
        seen.append(file.read_text())
        if then == "deaf":
            client.cancel(job)

    job = client.request("look", callback=heard.append, then=then, file=str(file))
    try:
        client.wait(job, timeout=20, on_preview=look)
    except XAIError:
        assert then != "echo"
    assert seen == ["half a map"]
    assert [event["event"] for event in heard] == ["preview", "result" if then == "echo" else "error"]
    assert not file.exists()


def test_what_libraries_print_does_not_break_the_stream(client):
    assert client.wait(client.request("chatter"), timeout=20) == {"quiet": True}
    until(lambda: any("noise from C" in line for line in client.log))


def test_errors_of_the_user_come_as_such(client):
    with pytest.raises(XAIError, match="upside down") as caught:
        client.wait(client.request("user"), timeout=20)
    assert caught.value.hint == "Turn it round."
    with pytest.raises(XAIError, match="KeyError") as caught:
        client.wait(client.request("bug"), timeout=20)
    assert "Traceback" in caught.value.event["traceback"]


def test_a_job_that_listens_is_cancelled_and_the_engine_stays(client):
    heard = []
    job = client.request("work", callback=heard.append, seconds=60)
    until(lambda: client.poll() or heard, 20)
    pid = client.ready["pid"]
    start = time.monotonic()
    client.cancel(job)
    with pytest.raises(CancelledError):
        client.wait(job)
    assert time.monotonic() - start < 3
    assert heard[-1]["kind"] == "cancelled"
    assert client.wait(client.request("echo"), timeout=20)["pid"] == pid


def test_a_job_that_does_not_listen_is_ended_and_those_behind_it_are_asked_again(client):
    deaf = client.request("deaf")
    behind = client.request("echo", word="behind")
    until(lambda: client.poll() or client.ready, 20)
    pid = client.ready["pid"]
    start = time.monotonic()
    client.cancel(deaf)
    with pytest.raises(CancelledError):
        client.wait(deaf)
    assert time.monotonic() - start < 3
    answer = client.wait(behind, timeout=20)
    assert answer["said"] == "behind" and answer["pid"] != pid
    assert not runs(pid)


def test_cancel_of_no_job_is_no_error(client):
    client.cancel(12345)
    job = client.request("echo")
    client.cancel(job)
    with pytest.raises(CancelledError):
        client.wait(job, timeout=20)
    client.cancel(job)


@posix
def test_a_killed_engine_is_reported_in_a_sentence_and_replaced(client):
    heard = []
    job = client.request("work", callback=heard.append, seconds=60)
    waiting = client.request("echo")
    until(lambda: client.poll() or heard, 20)
    pid = client.ready["pid"]
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(XAIError, match="killed.*memory") as caught:
        client.wait(job, timeout=5)
    assert caught.value.hint and heard[-1]["kind"] == "died"
    with pytest.raises(KeyError):
        client.wait(waiting)  # it was answered by the same death
    assert not client.alive and client.ready is None
    assert client.wait(client.request("echo"), timeout=20)["pid"] != pid


@posix
def test_a_request_in_the_moment_of_death_is_answered_by_the_new_engine(client):
    client.wait(client.request("echo"), timeout=20)
    pid = client.ready["pid"]
    lost = client.request("deaf")
    os.kill(pid, signal.SIGKILL)
    until(lambda: not client.alive)
    answer = client.wait(client.request("echo"), timeout=20)  # asked before poll has said that the engine died
    assert answer["pid"] != pid
    with pytest.raises(KeyError):
        client.wait(lost)


def test_last_words_are_told(client):
    with pytest.raises(XAIError, match=r"exit code 7.*the roof fell in"):
        client.wait(client.request("leave"), timeout=20)


def test_an_interpreter_that_is_not_there_is_an_answer_not_a_crash():
    with EngineClient(interpreter="/nowhere/python") as client:
        with pytest.raises(XAIError, match="/nowhere/python"):
            client.wait(client.request("echo"), timeout=5)
        with pytest.raises(XAIError):
            client.start()


def test_a_python_without_torch_is_told_in_a_sentence(tmp_path):
    # A package that fails to import stands for a Python that has none.
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\")\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with EngineClient(environment=environment) as client, pytest.raises(XAIError, match="PyTorch") as caught:
        client.wait(client.request("hello"), timeout=60)
    assert "Install" in caught.value.hint and caught.value.event["kind"] == "died"


def test_variables_of_slicers_python_do_not_reach_another_one():
    environment = {"PYTHONHOME": "/slicer", "PYTHONPATH": "/slicer/lib"}
    foreign = EngineClient(interpreter="/elsewhere/python", environment=environment)._child_environment()
    assert "PYTHONHOME" not in foreign and foreign["PYTHONPATH"] == str(ROOT)
    own = EngineClient(environment=environment)._child_environment()
    assert own["PYTHONHOME"] == "/slicer" and own["PYTHONPATH"] == os.pathsep.join([str(ROOT), "/slicer/lib"])


def test_files_beside_the_user_are_not_taken_for_packages(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise RuntimeError('not the real one')\n")
    monkeypatch.chdir(tmp_path)
    arguments = ("-c", "import json, sys; sys.exit('the real ' + json.__name__)")
    with EngineClient(arguments=arguments) as client, pytest.raises(XAIError, match="the real json"):
        client.wait(client.request("echo"), timeout=20)


@posix
def test_a_client_that_dies_takes_its_engine_with_it():
    code = (
        "import sys; from XAIExplainLib.client import EngineClient\n"
        f"client = EngineClient(arguments=({SMALL!r},))\n"
        "client.wait(client.request('echo'), timeout=20); client.request('deaf')\n"
        "print(client.ready['pid'], flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True
    )
    pid = int(parent.stdout.readline())
    assert runs(pid)
    parent.kill()
    parent.wait()
    until(lambda: not runs(pid), 2)
    parent.stdin.close()
    parent.stdout.close()


@posix
def test_a_client_that_forgets_to_stop_leaves_nobody():
    code = (
        "from XAIExplainLib.client import EngineClient\n"
        f"client = EngineClient(arguments=({SMALL!r},))\n"
        "client.wait(client.request('echo'), timeout=20); print(client.ready['pid'], flush=True)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=30, check=True)
    until(lambda: not runs(int(done.stdout)), 2)


def _cycles(count):
    pids = []
    for _ in range(count):
        with small_client() as client:
            pids.append(client.wait(client.request("echo"), timeout=20)["pid"])
            client.request("work", seconds=60)
        client.stop()
    return pids


@posix
def test_cycles_of_start_and_stop_leave_no_process():
    pids = _cycles(5)
    assert len(set(pids)) == 5
    until(lambda: not any(runs(pid) for pid in pids), 3)


@posix
@pytest.mark.full
def test_thirty_cycles_leave_no_process():
    pids = _cycles(30)
    until(lambda: not any(runs(pid) for pid in pids), 3)


def test_stop_is_quick_in_the_middle_of_a_run_and_tells_the_open_jobs():
    client = small_client()
    heard = []
    client.request("deaf", callback=heard.append)
    until(lambda: client.poll() or client.ready, 20)
    start = time.monotonic()
    client.stop()
    assert time.monotonic() - start < 2.5
    client.stop()
    assert heard == []
    client.poll()
    assert [event["kind"] for event in heard] == ["cancelled"]
