"""The set-up's rows, what each failure says and advises, the self-test, and Slicer's own samples."""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FAILING = Path(__file__).with_name("failingEngine.py")
READY = {
    "version": "0.1.0", "python": "3.12.10", "torch": "2.8.0", "monai": "1.6.0", "processor": "A processor",
    "threads": 4, "machine": "Linux x86_64", "total_memory": 16 * 2**30, "graphics": None, "pid": 1,
}  # fmt: skip
TORCH = "The engine's Python cannot load PyTorch: "


@pytest.fixture
def status(panel: Any) -> Any:
    import XAIExplainPanels.status as module

    return module


@pytest.fixture
def failing(panel: Any) -> Iterator[Any]:
    """Lets the engine fail in a given way, and gives the working one back."""
    script = panel.folder / "failing"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAILING}" "{panel.folder}"\n')
    script.chmod(0o755)

    def fail(order: dict[str, Any], interpreter: str = str(script)) -> str:
        (panel.folder / "failure.json").write_text(json.dumps(order))
        panel.useInterpreter(interpreter)
        panel.desk.setup.ui.setupSection.collapsed = True
        panel.desk.restartEngine()
        panel.wait(lambda: panel.desk.engineError(), "the failure is not noticed")
        return plain(panel.desk.setup.ui.statusLabel.text)

    yield fail
    panel.useInterpreter(str(panel.fake))
    panel.desk.restartEngine()
    panel.wait(lambda: panel.desk.catalog.loaded, "no engine")


def plain(html: str) -> str:
    return re.sub(r"<[^>]*>", " ", html).replace("&nbsp;", " ").replace("&#x27;", "'").replace("&quot;", '"')


@pytest.mark.parametrize(
    ("order", "says", "advises"),
    [
        ({"fatal": {"message": TORCH + "No module named 'torch'.", "hint": "Install torch for /x."}},
         "cannot load PyTorch", "Install torch for /x."),
        ({"fatal": {"message": TORCH + "it is incomplete."}}, "incomplete", "C:\\Slicer"),
        ({"fatal": {"message": TORCH + "[WinError 126] The specified module could not be found."}}, "WinError",
         "Visual C++"),
        ({"fatal": {"message": TORCH + "numpy.core.multiarray failed to import."}}, "multiarray", "do not fit"),
        ({"fatal": {"message": TORCH + "/lib/libstdc++.so.6: version `GLIBCXX_3.4.30' not found."}}, "GLIBCXX",
         "another system"),
        ({"fatal": {"message": TORCH + "mach-o file, but is an incompatible architecture."}}, "incompatible",
         "this Mac"),
        ({"fatal": {"message": "The engine's Python lacks monai.", "hint": "Install: python -m pip install monai"}},
         "lacks monai", "pip install monai"),
        ({"words": "ModuleNotFoundError: No module named 'numpy'", "code": 1}, "No module named 'numpy'",
         "choose another"),
        ({"words": "SyntaxError: invalid syntax", "code": 1}, "exit code 1", "Python 3.11"),
        ({"words": "", "signal": "SIGILL"}, "signal 4", "too old"),
        ({"words": "", "signal": "SIGSEGV"}, "signal 11", "crashed"),
        ({"words": "", "signal": "SIGKILL"}, "killed", "Close other programs"),
    ],
)  # fmt: skip
def test_each_failure_is_a_sentence_with_the_next_step(
    panel: Any, failing: Any, order: dict[str, Any], says: str, advises: str
) -> None:
    text = failing(order)
    assert says in text
    assert advises in text
    assert "missing" in text
    assert not panel.desk.setup.ui.setupSection.collapsed
    assert not panel.desk.run.ui.applyButton.enabled
    assert "See Set-up" in panel.message


def test_no_python_there_and_no_python_at_all(panel: Any, failing: Any, tmp_path: Path) -> None:
    text = failing({}, str(tmp_path / "nothing"))
    assert "could not be started" in text
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF no program")
    broken.chmod(0o755)
    assert "choose another one below" in failing({}, str(broken))


def test_rows_of_a_good_engine(status: Any) -> None:
    rows = status.rows(READY, True, None, {"total": 16 * 2**30, "available": 9 * 2**30, "rss": 2**29})
    assert [row.name for row in rows] == ["Engine", "PyTorch", "MONAI", "Device", "Memory"]
    assert {row.state for row in rows} == {"good"}
    assert not any(row.advice for row in rows)
    text = plain(status.html(rows))
    for word in ("2.8.0", "1.6.0", "A processor, 4 threads", "16 GB in all, 9.0 GB free, the engine holds 0.5 GB"):
        assert word in text


@pytest.mark.parametrize(
    ("change", "memory", "name", "state", "advises"),
    [
        ({"torch": "2.2.2", "machine": "Darwin x86_64"}, {}, "PyTorch", "careful", "Apple silicon"),
        ({"torch": "2.4.1+cpu"}, {}, "PyTorch", "careful", "Older than 2.8"),
        ({"monai": "1.3.2"}, {}, "MONAI", "careful", "another extension"),
        ({"monai": None}, {}, "MONAI", "bad", "Install PyTorch"),
        ({}, {"available": 2 * 2**30}, "Memory", "careful", "small volumes"),
        ({}, {"available": 2**28}, "Memory", "bad", "Close other programs"),
    ],
)
def test_rows_that_are_to_be_looked_at(
    status: Any, change: dict[str, Any], memory: dict[str, Any], name: str, state: str, advises: str
) -> None:
    rows = status.rows({**READY, **change}, True, None, memory)
    row = next(row for row in rows if row.name == name)
    assert row.state == state
    assert advises in row.advice
    assert all(other.state == "good" for other in rows if other is not row)


def test_states_differ_by_shape_and_word_too(status: Any) -> None:
    assert len({sign for sign, _color in status.SIGNS.values()}) == len(status.SIGNS)
    assert len(set(status.words().values())) == len(status.SIGNS)


def test_an_engine_that_tells_less_is_no_error(status: Any) -> None:
    rows = status.rows({"torch": "9.9", "python": "3.12", "version": "0"}, True, None)
    assert {row.state for row in rows} == {"good", "waiting"}
    assert status.rows(None, True, None)[0].state == "waiting"
    assert "not running" in status.rows(None, False, None)[0].text


def test_free_memory_is_asked_for_when_the_section_is_opened(panel: Any) -> None:
    assert not panel.requests("status")
    panel.host.click(panel.desk.setup.ui.setupSection)
    panel.wait(lambda: "9.0 GB free" in panel.desk.setup.ui.statusLabel.text, "no memory")
    panel.desk.setup.ui.setupSection.collapsed = True


@pytest.mark.parametrize(
    ("text", "advises"),
    [
        ("Command '['pip']' returned non-zero exit status 1.", "begin with ERROR"),
        ("OSError: [Errno 28] No space left on device", "Make room"),
        ("[Errno 13] Permission denied: '/opt/Slicer'", "folder of your own"),
        ("NewConnectionError: Temporary failure in name resolution", "internet could not be reached"),
        ("ERROR: No matching distribution found for torch>=2.8", "no package for this system"),
        ("ResolutionImpossible: conflicting dependencies", "Another extension"),
        ("[WinError 5] Access is denied in use", "folder of your own"),
    ],
)
def test_each_failed_installation_has_a_next_step(
    panel: Any, monkeypatch: pytest.MonkeyPatch, text: str, advises: str
) -> None:
    import subprocess
    import types

    import slicer
    from XAIExplainPanels import installing

    def fails(**_options: Any) -> None:
        raise subprocess.CalledProcessError(1, ["pip"], output=text)

    utils = types.ModuleType("PyTorchUtils")
    utils.PyTorchUtilsLogic = lambda: types.SimpleNamespace(installTorch=fails)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "PyTorchUtils", utils)
    assert hasattr(slicer.app, "extensionsManagerModel")
    with pytest.raises(installing.InstallError, match=advises):
        installing.install(str(panel.widget.resourcePath("requirements.txt")))


# The self-test


def right() -> dict[str, Any]:
    from XAIExplainPanels import selfTest

    return {
        "prediction": {"predicted": {"index": 1, "name": "enhancing"}, "probabilities": [0, selfTest.PROBABILITY, 0]},
        "diagnostics": {"score": selfTest.SCORE, "seconds": 1.5}, "peak": {"lps": list(selfTest.PEAK)},
    }  # fmt: skip


def test_self_test_judges_answer_score_and_peak(panel: Any) -> None:
    from XAIExplainPanels import selfTest

    isRight, sentence = selfTest.judge(right())
    assert isRight
    assert "0.0 mm" in sentence and "1.5 s" in sentence
    for change, word in (
        ({"prediction": {"predicted": {"index": 0, "name": "healthy"}, "probabilities": [0.9, 0.1, 0]}}, "healthy"),
        ({"diagnostics": {"score": selfTest.SCORE * 1.05}}, "score"),
        ({"peak": {"lps": [selfTest.PEAK[0] + 8, *selfTest.PEAK[1:]]}}, "8 mm"),
        ({"peak": None}, "no peak"),
    ):
        isRight, sentence = selfTest.judge({**right(), **change})
        assert isRight is False
        assert word in sentence and "Do not trust" in sentence


def test_self_test_that_cannot_run_is_a_sentence(panel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(panel.logic.engine, "request", lambda *words, **fields: asked.append((words, fields)))
    panel.desk.setup.ui.setupSection.collapsed = False
    panel.host.click(panel.desk.setup.ui.selfTestButton)
    assert not panel.desk.setup.ui.selfTestButton.enabled
    (_command, _onResult, onError), fields = asked[-1] if asked[-1][0][0] == "explain" else asked[-2]
    assert fields["volumes"] == ["enhancing-ring"]
    onError({"kind": "memory", "message": "Memory ran out.", "hint": "Close other programs."})
    text = panel.desk.setup.ui.selfTestLabel.text
    assert "could not run: Memory ran out. Close other programs." in text
    assert panel.desk.setup.ui.selfTestButton.enabled
    panel.desk.setup.ui.setupSection.collapsed = True


# Slicer's own samples


@pytest.fixture
def store(panel: Any, tmp_path: Path) -> Iterator[Any]:
    """A server with a small MRHead, to which Slicer's source points meanwhile."""
    import SimpleITK
    import slicer

    slicer.modules.sampleDataSources = {}
    import SampleData

    source = SampleData.SampleDataLogic().sourceForSampleName("MRHead")
    image = SimpleITK.GetImageFromArray(np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    SimpleITK.WriteImage(image, str(tmp_path / "head.nrrd"))
    data = (tmp_path / "head.nrrd").read_bytes()
    source.checksums = ["SHA256:" + hashlib.sha256(data).hexdigest()]

    class Store(http.server.BaseHTTPRequestHandler):
        asked: list[str] = []
        answer = 200
        content = data

        def do_GET(self) -> None:
            self.asked.append(self.path)
            if self.path == "/redirected":
                self.send_response(302)
                self.send_header("Location", "/head.nrrd")
                self.end_headers()
                return
            self.send_response(self.answer)
            self.send_header("Content-Length", str(len(self.content)))
            self.end_headers()
            self.wfile.write(self.content)

        def log_message(self, *_words: Any) -> None:
            pass

    Store.asked = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Store)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    source.uris = [f"http://127.0.0.1:{server.server_port}/redirected"]
    cached = Path(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory()) / source.fileNames[0]
    cached.unlink(missing_ok=True)
    yield Store
    server.shutdown()
    server.server_close()
    cached.unlink(missing_ok=True)
    slicer.modules.sampleDataSources = {}


def choose(panel: Any) -> None:
    panel.desk.case._listed = None
    panel.desk.refresh()
    panel.host.setCombo(panel.desk.case.ui.exampleComboBox, "MRHead (Slicer's sample data)")
    panel.host.click(panel.desk.case.ui.exampleButton)


def test_sample_is_asked_for_fetched_and_shown(panel: Any, store: Any) -> None:
    import slicer

    choose(panel)
    assert [asked["kind"] for asked in panel.host.dialogs] == ["confirm"]
    assert "some megabytes" in panel.host.dialogs[0]["text"]
    panel.wait(lambda: not panel.logic.samples.fetching, "nothing comes")
    assert store.asked == ["/redirected", "/head.nrrd"]
    node = panel.node.inputVolume
    assert node.GetName() == "MRHead"
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node).ravel(), np.arange(60))
    panel.host.closeScene()
    panel.host.dialogs.clear()
    choose(panel)  # from the cache: neither a question nor the network
    assert not panel.host.dialogs
    assert panel.node.inputVolume.GetName() == "MRHead"
    assert len(store.asked) == 2


def test_sample_that_is_declined_is_not_fetched(panel: Any, store: Any) -> None:
    panel.host.answers.confirm = False
    try:
        choose(panel)
    finally:
        panel.host.answers.confirm = True
    assert not store.asked
    assert panel.node.inputVolume is None


@pytest.mark.parametrize("problem", ["offline", "damaged", "gone"])
def test_sample_that_does_not_come_is_a_sentence(panel: Any, store: Any, problem: str) -> None:
    import SampleData
    import slicer

    source = SampleData.SampleDataLogic().sourceForSampleName("MRHead")
    if problem == "offline":
        source.uris = ["http://127.0.0.1:9/head.nrrd"]
    store.content, store.answer = (b"no volume", 200) if problem == "damaged" else (store.content, 404)
    choose(panel)
    panel.wait(lambda: not panel.logic.samples.fetching, "no end")
    assert "could not be fetched" in panel.message
    assert {"damaged": "damaged", "gone": "404", "offline": "bundled case"}[problem] in panel.message
    folder = Path(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory())
    assert not list(folder.glob("MR-head*"))
    assert panel.desk.case.ui.exampleButton.enabled
