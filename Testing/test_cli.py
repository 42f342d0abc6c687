"""The shell: what it prints, what it writes, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from Testing import bright
from XAIExplainLib import cli
from XAIExplainLib.errors import XAIError
from XAIExplainLib.volume import load_volume


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A case and networks for it."""
    return bright.make(tmp_path_factory.mktemp("shell"))


@pytest.fixture
def case(folder):
    """The options that name the case and the model."""
    return ["--volume", str(folder / "case.nrrd"), "--model", str(folder / "bright.pt"), "--allow-code"]


def explain(case, output, *more):
    return cli.main(["explain", *case, "--classes", "dark,bright", "--output", str(output), *more])


def test_explain_writes_a_map_on_the_volumes_grid_and_its_record(case, folder, tmp_path, capsys):
    output = tmp_path / "new" / "map.nrrd"
    assert explain(case, output, "--method", "occlusion", "--target", "bright", "--set", "window=4") == 0
    written, given = load_volume(output), load_volume(folder / "case.nrrd")
    assert written.geometry.same_as(given.geometry) and written.shape == given.shape
    record = json.loads((output.parent / "map.json").read_text())
    assert record["method"] == "occlusion" and record["target"] == "bright"
    assert sorted(path.name for path in output.parent.iterdir()) == ["map.json", "map.nrrd"]
    out, err = capsys.readouterr()
    assert "peak:" in out and str(output) in out
    assert "gone" in err and "\r" not in err  # a log gets whole lines


def test_quiet_is_quiet(case, tmp_path, capsys):
    assert explain(case, tmp_path / "map.nii.gz", "--method", "gradient", "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    assert (tmp_path / "map.json").exists()


def test_predict_answers_in_words_and_for_programs(case, capsys):
    assert cli.main(["predict", *case, "--classes", "dark,bright"]) == 0
    assert "bright" in capsys.readouterr().out
    assert cli.main(["predict", *case, "--classes", "dark,bright", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["classes"] == ["dark", "bright"] and "text" not in answer


def test_methods_are_listed_in_words_and_for_programs(capsys):
    assert cli.main(["methods"]) == 0
    assert "occlusion" in capsys.readouterr().out
    assert cli.main(["methods", "--json"]) == 0
    cards = {card["name"]: card for card in json.loads(capsys.readouterr().out)}
    assert {"citation", "caution", "taxonomy", "parameters"} <= set(cards["occlusion"])


@pytest.mark.parametrize("command", ["models", "cases"])
def test_what_is_bundled_is_listed(command, capsys):
    assert cli.main([command, "--json"]) == 0
    assert all("name" in row for row in json.loads(capsys.readouterr().out))
    assert cli.main([command]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--method", "oclusion"], "occlusion"),
        (["--method", "occlusion", "--set", "widow=4"], "widow"),
        (["--method", "occlusion", "--set", "window"], "name=value"),
        (["--method", "occlusion", "--set", "window=zero"], "window"),
        (["--method", "occlusion", "--target", "purple"], "purple"),
        (["--method", "occlusion", "--memory", "lots"], "lots"),
        (["--method", "occlusion", "--device", "abacus"], "abacus"),
        (["--method", "occlusion", "--seed", "x"], "seed"),
        (["--method"], "--method"),
        ([], "--method"),
    ],
)
def test_what_the_user_can_mend_is_one_error_with_a_hint_and_no_file(case, tmp_path, capsys, words, said):
    assert explain(case, tmp_path / "map.nrrd", *words) == 2
    out, err = capsys.readouterr()
    assert out == "" and "error: " in err and "Traceback" not in err
    assert any(word in err for word in said.split("|"))
    assert len(err.strip().splitlines()) >= 2, "no hint"
    assert list(tmp_path.iterdir()) == []


def test_a_map_that_cannot_be_written_is_refused_before_the_run(case, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("XAIExplainLib.explaining.explain", lambda *_, **__: pytest.fail("it ran"))
    assert explain(case, tmp_path / "map.png", "--method", "gradient") == 2
    assert ".nrrd" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert explain(case, tmp_path / "file" / "map.nrrd", "--method", "gradient") == 2
    assert explain(case, tmp_path, "--method", "gradient") == 2


def test_a_program_that_only_calculates_is_not_asked_about(case, tmp_path):
    assert explain(case[:-1], tmp_path / "map.nrrd", "--method", "gradient") == 0


def test_a_model_with_code_needs_consent_and_the_error_says_so(case, tmp_path, capsys):
    class Reader(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)[:, :2] + torch.from_file("/etc/hostname", size=1, dtype=torch.uint8)

    torch.jit.script(Reader()).save(tmp_path / "reader.pt")
    words = [*case[:2], "--model", str(tmp_path / "reader.pt")]
    assert explain(words, tmp_path / "map.nrrd", "--method", "gradient") == 2
    assert "--allow-code" in capsys.readouterr().err


def test_files_that_are_not_there(case, tmp_path, capsys):
    for words in (["--volume", "nowhere.nrrd", *case[2:]], [*case[:2], "--model", "nowhere.pt"]):
        assert cli.main(["predict", *words]) == 2
        error = capsys.readouterr().err
        assert "nowhere" in error and "case called" not in error


def test_a_bug_shows_its_traceback(case, tmp_path):
    code = (
        "import XAIExplainLib.engine as engine; from XAIExplainLib.cli import main\n"
        "engine.LocalEngine.methods = lambda self, request, run: 1 / 0\n"
        "raise SystemExit(main(['methods']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr


def test_memory_that_runs_out_is_advice_and_no_traceback(case, tmp_path, capsys, monkeypatch):
    def explode(*_, **__):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 TiB")

    monkeypatch.setattr("XAIExplainLib.explaining.explain", explode)
    assert explain(case, tmp_path / "map.nrrd", "--method", "gradient") == 2
    assert "Memory ran out" in capsys.readouterr().err


def test_words_that_need_no_torch_are_answered_without_it(tmp_path):
    (tmp_path / "torch.py").write_text("raise RuntimeError('torch was loaded')")
    for words, status in ((["--version"], 0), (["--help"], 0), (["explain", "--help"], 0), (["dance"], 2)):
        done = subprocess.run(
            [sys.executable, "-m", "XAIExplainLib", *words], capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        assert done.stdout or "error: " in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent otherwise there")
def test_ctrl_c_ends_a_run_with_130_and_leaves_nothing(case, tmp_path):
    output = tmp_path / "map.nrrd"
    words = ["explain", *case, "--method", "occlusion", "--set", "window=1", "--output", str(output)]
    # The network is made slow, so that there is a run to be stopped.
    code = (
        "import sys, time; from XAIExplainLib.cli import main; from XAIExplainLib.model import Model\n"
        "def slow(self, tensor): print('at work', flush=True); time.sleep(30)\n"
        "Model._run = slow\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A shell's background job, as these tests may be, ignores Ctrl-C, and so would this process.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stdout.readline() == "at work\n"
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130 and "cancelled" in err and "Traceback" not in err
    assert time.monotonic() - start < 3
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_leaves_early_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m XAIExplainLib methods --json | head -c 10", shell=True, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.stderr == ""


def test_progress_on_a_terminal_is_one_line(monkeypatch):
    import io

    from XAIExplainLib import console

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    terminal = Terminal()
    with console.ProgressLine(terminal) as progress:
        for step in range(5):
            now[0] = float(step)
            progress.progress(step / 4, f"window {step}")
    text = terminal.getvalue()
    assert "\n" not in text and text.count("\r") == 6 and text.endswith("\033[K")
    assert " 50 %  0:02 gone, 0:02 to go  window 2" in text


def test_a_parameter_without_a_value():
    with pytest.raises(XAIError, match="not understood"):
        cli._parameter("=3")
    assert cli._parameter("composite=epsilon=0.1") == ("composite", "epsilon=0.1")
