#!/usr/bin/env python3
"""Make the environment of XAIExplain, and run its commands inside it. Needs nothing but Python.

    python3 xai.py demo        explain a real brain MRI; writes demo-output/
    python3 xai.py test        every check and test (--full: the slow proofs too; further words go to pytest)
    python3 xai.py run ARGS    the command line `xaiexplain ARGS`, in the folder you are in
    python3 xai.py bench       the benchmarks
    python3 xai.py validity    every method on every network; writes docs/validity.md
    python3 xai.py setup       only make the environment (.venv beside this file)
"""

# The file must be readable to any Python 3, so that an old one is told what it lacks instead of a syntax error.
import os
import sys

OLDEST, NEWEST = (3, 11), (3, 13)
ROOT = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(ROOT, ".venv")
STAMP = os.path.join(VENV, "xai-stamp.json")
LOG = os.path.join(VENV, "setup.log")
WINDOWS = os.name == "nt"
PYTHON = os.path.join(VENV, "Scripts", "python.exe") if WINDOWS else os.path.join(VENV, "bin", "python")
REQUIREMENTS = [
    os.path.join(ROOT, "requirements", name) for name in ("torch.txt", "engine.txt", "development.txt", "data.txt")
]

# What Qt and VTK load at run time: the file that the loader looks for, and the Debian package that has it.
LIBRARIES = (
    ("libEGL.so.1", "libegl1"),
    ("libGL.so.1", "libgl1"),
    ("libxkbcommon.so.0", "libxkbcommon0"),
    ("libfontconfig.so.1", "libfontconfig1"),
    ("libglib-2.0.so.0", "libglib2.0-0"),
    ("libdbus-1.so.3", "libdbus-1-3"),
)
MESA = (
    "/usr/lib/*/dri/*_dri.so", "/usr/lib*/dri/*_dri.so", "/usr/lib/*/libgallium-*.so", "/usr/lib*/libgallium-*.so",
)  # fmt: skip


class Problem(Exception):
    """What stops the launcher: a sentence, and what to do about it."""

    def __init__(self, message, hint=""):
        super().__init__(message)
        self.hint = hint


def main(words):
    """Run the command that `words` name; returns the exit status."""
    commands = {"setup": setup, "test": test, "demo": demo, "run": run, "bench": bench, "validity": validity}
    if not words or words[0] in ("-h", "--help", "help"):
        print(__doc__.strip())
        return 0 if words else 2
    if words[0] not in commands:
        raise Problem("There is no command %s." % words[0], "The commands are: %s." % ", ".join(commands))
    check_python()
    return commands[words[0]](words[1:])


def setup(words):
    """Make the environment, and nothing else."""
    if words:
        raise Problem("The command setup takes no further words.", "Run: python3 xai.py setup")
    ensure_environment()
    print("The environment is ready: %s" % PYTHON)
    return 0


def test(words):
    """Run the linter, the type checker and the tests; all of them, so that one run tells everything."""
    check_libraries()
    ensure_environment()
    failed = []
    # The window's tests have a process of their own, beside the others: what Qt and VTK leave behind crashes those.
    window = ["Testing/Host", "Testing/panel"]
    options = [word for word in words if word.startswith("-")]
    beside = aside([PYTHON, "-m", "pytest"] + options + window, ROOT) if options == words else None
    others = ["Testing"] + ["--ignore=" + folder for folder in window]
    try:
        for name, command in (
            ("ruff", ["ruff", "check", "."]),
            ("mypy", ["mypy", "XAIExplainLib"]),
            ("pytest", ["pytest"] + words + (others if beside else [])),
        ):
            print("== " + " ".join(command), flush=True)
            if call([PYTHON, "-m"] + command, cwd=ROOT):
                failed.append(name)
        if beside:
            print("== pytest " + " ".join(options + window), flush=True)
            if beside.result():
                failed.append("pytest of the window")
    finally:
        if beside:
            beside.stop()
    if failed:
        print("xai.py test: failed: " + ", ".join(failed), file=sys.stderr)
    return 1 if failed else 0


def demo(words):
    """The main job on a real brain MRI."""
    check_libraries()
    ensure_environment()
    return become([PYTHON, "-P", "-m", "Testing.demo"] + words)


def run(words):
    """The command line, in the caller's own folder."""
    ensure_environment()
    return become([PYTHON, "-P", "-m", "XAIExplainLib"] + words)


def bench(words):
    """The benchmarks."""
    ensure_environment()
    return become([PYTHON, "-P", "-m", "benchmarks"] + words)


def validity(words):
    """Every method on every kind of network, beside its peers."""
    ensure_environment()
    return become([PYTHON, "-P", "-m", "Testing.validity"] + words)


def check_python():
    """Refuse a Python for which the locked packages do not exist."""
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return
    import shutil

    names = ["python%d.%d" % (3, minor) for minor in range(OLDEST[1], NEWEST[1] + 1)]
    found = [name for name in names if shutil.which(name)]
    wanted = "Python %d.%d to %d.%d" % (OLDEST + NEWEST)
    raise Problem(
        "This is Python %d.%d; XAIExplain needs %s." % (sys.version_info[:2] + (wanted,)),
        "Run: %s xai.py %s" % (found[0], " ".join(sys.argv[1:])) if found else "Install one, for example python3.11.",
    )


def check_libraries():
    """Refuse to start Qt and VTK where the system lacks a library that they load: they would only abort."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes
    import glob

    missing = []
    for library, package in LIBRARIES:
        try:
            ctypes.CDLL(library)
        except OSError:
            missing.append((library, package))
    if not any(glob.glob(pattern) for pattern in MESA):
        missing.append(("Mesa's software renderer", "libgl1-mesa-dri"))
    if missing:
        raise Problem(
            "The system lacks %s, which the window and its pictures need." % ", ".join(name for name, _ in missing),
            "On Debian or Ubuntu: sudo apt install " + " ".join(package for _, package in missing),
        )


def ensure_environment():
    """Make .venv, or bring it up to date; does nothing, quickly, where it is as it should be."""
    state = environment_state()
    if state == "ready":
        return
    with lock():
        state = environment_state()  # another xai.py may have finished it meanwhile
        if state != "ready":
            build(from_scratch=state == "broken")


def environment_state():
    """``ready``, ``stale`` (packages differ from the lock) or ``broken`` (missing, interrupted or damaged)."""
    import json

    if not os.path.exists(PYTHON):
        return "broken"
    try:
        with open(STAMP, encoding="utf-8") as file:
            stamp = json.load(file)
        finished, interpreter, packages = stamp["finished"], stamp["interpreter"], stamp["packages"]
    except FileNotFoundError:
        return "stale"  # made by hand: what is missing is installed into it
    except (OSError, ValueError, KeyError, TypeError):
        return "broken"
    # The interpreter behind .venv changes when the system's Python is upgraded: its packages are then out of reach.
    if not finished or interpreter != os.path.realpath(PYTHON) or set(packages) - set(installed()):
        return "broken"
    return "ready" if stamp.get("requirements") == fingerprint() else "stale"


def fingerprint():
    """One number for all that decides what belongs in the environment, this folder's place included."""
    import zlib

    value = zlib.crc32(ROOT.encode("utf-8"))
    for path in REQUIREMENTS:
        with open(path, "rb") as file:
            value = zlib.crc32(file.read(), value)
    return value


def site_packages():
    """The folder of .venv that packages are installed in; empty text where there is none."""
    if WINDOWS:
        return os.path.join(VENV, "Lib", "site-packages")
    library = os.path.join(VENV, "lib")
    names = [name for name in os.listdir(library) if name.startswith("python3")] if os.path.isdir(library) else []
    return os.path.join(library, names[0], "site-packages") if names else ""


def installed():
    """The names in site-packages: a package that somebody removed by hand is missed at once."""
    folder = site_packages()
    return sorted(name for name in os.listdir(folder) if name != "__pycache__") if os.path.isdir(folder) else []


def build(from_scratch):
    """Install the locked packages, into a new .venv if `from_scratch`."""
    import importlib.util
    import shutil

    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        version = "%d.%d" % sys.version_info[:2]
        raise Problem(
            "This Python (%s) cannot make virtual environments: its venv module is not installed." % sys.executable,
            "On Debian or Ubuntu: sudo apt install python3-venv   (or python%s-venv)" % version,
        )
    print("Preparing the environment in %s; the first time this takes some minutes." % VENV, flush=True)
    if from_scratch:
        shutil.rmtree(VENV, ignore_errors=True)
        pip([sys.executable, "-m", "venv", VENV], "making .venv")
    write_stamp(finished=False)
    install = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--prefer-binary"]
    torch, engine, development, data = REQUIREMENTS
    try:
        pip(install + ["-r", torch, "-c", engine], "1 of 4: torch")
        pip(install + ["-r", engine, "-c", torch, "-c", development], "2 of 4: the engine")
        pip(install + ["-r", development, "-c", torch, "-c", engine], "3 of 4: tests, benchmarks, the little Slicer")
        pip(install + ["--no-deps", "-r", data], "4 of 4: data")
    except Problem:
        os.remove(STAMP)  # pip itself gave up, so nothing is half installed: the next run goes on from here
        raise
    # A path file, not PYTHONPATH: it holds from any folder, and no other Python that is started inherits it.
    with open(os.path.join(site_packages(), "xaiexplain.pth"), "w", encoding="utf-8") as file:
        file.write(ROOT + "\n")
    write_stamp(finished=True)


def write_stamp(finished):
    """Say how far the environment is; a half-made one is recognised by it."""
    import json

    with open(STAMP, "w", encoding="utf-8") as file:
        json.dump(
            {
                "finished": finished, "requirements": fingerprint(), "interpreter": os.path.realpath(PYTHON),
                "packages": installed() if finished else [],
            },
            file,
        )  # fmt: skip


def pip(command, what):
    """Run one step of the installation; on failure say why in a sentence, and keep its log."""
    import subprocess

    terminal = sys.stdout.isatty()
    print("  %s" % what, flush=True)
    lines = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT, env=environment(),
        encoding="utf-8", errors="replace",
    ) as process:  # fmt: skip
        for line in process.stdout:
            lines.append(line)
            if terminal and line.startswith(("Collecting", "Downloading", "Installing")):
                print("\r\033[K    %.70s" % line.strip(), end="", flush=True)
    if terminal:
        print("\r\033[K", end="", flush=True)
    os.makedirs(VENV, exist_ok=True)
    with open(LOG, "a", encoding="utf-8") as file:
        file.writelines(["$ %s\n" % " ".join(command)] + lines + ["\n"])
    if process.returncode:
        raise Problem(*explain_failure("".join(lines), what))


def explain_failure(text, what):
    """A sentence and a hint for the output of a pip that failed."""
    log = "The whole output is in %s" % LOG
    if "ensurepip" in text:
        return "Python could not put pip into the new environment.", "sudo apt install python3-venv   " + log
    if "No space left on device" in text:
        return "The disk is full: the environment needs about 4 GB.", "Make room and run the same command again. " + log
    network = ("NameResolution", "NewConnection", "Failed to establish", "Temporary failure", "ConnectTimeout",
               "ReadTimeout", "ProxyError", "Connection refused", "Network is unreachable", "timed out")  # fmt: skip
    if any(word in text for word in network):
        return (
            "The package index could not be reached (%s)." % what,
            "Check the network or the proxy and run the same command again. " + log,
        )
    if "(from versions: none)" in text:
        wanted = text.split("satisfies the requirement ")[-1].split(" (from")[0].split("satisfies ")[-1]
        return (
            "The package index has no %s for this Python and system, or gave no answer." % wanted,
            "Check the network, and that pip's settings name an index. " + log,
        )
    errors = [line for line in text.splitlines() if line.lower().startswith("error")]
    reason = errors[-1] if errors else (text.strip().splitlines() or ["no output"])[-1]
    return "Installing failed (%s): %s" % (what, reason), log


class lock:
    """Keep two launchers from building the same environment at once; the system frees it if one dies."""

    def __enter__(self):
        self.file = open(os.path.join(ROOT, "requirements", "torch.txt"), "rb")  # noqa: SIM115
        if not WINDOWS:
            import fcntl

            fcntl.flock(self.file, fcntl.LOCK_EX)

    def __exit__(self, *_):
        self.file.close()


def environment():
    """The caller's environment without what would lead .venv's Python to another Python's packages."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "__PYVENV_LAUNCHER__")}


def call(command, cwd=None):
    """Run `command` to its end, through a Ctrl-C too, which it gets itself; returns its exit status."""
    import subprocess

    with subprocess.Popen(command, cwd=cwd, env=environment()) as process:
        interrupted = False
        while True:
            try:
                status = process.wait()
                break
            except KeyboardInterrupt:
                if interrupted:
                    process.kill()
                interrupted = True
    if interrupted:
        raise KeyboardInterrupt
    return 128 - status if status < 0 else status


class aside:
    """Run `command` at the same time as others; what it prints is kept until its result is asked for."""

    def __init__(self, command, cwd):
        import subprocess
        import tempfile

        self.output = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            command, cwd=cwd, env=environment(), stdout=self.output, stderr=subprocess.STDOUT
        )

    def result(self):
        """Wait, print, and return the exit status."""
        import shutil

        status = self.process.wait()
        self.output.seek(0)
        sys.stdout.flush()
        shutil.copyfileobj(self.output, getattr(sys.stdout, "buffer", sys.stdout))
        sys.stdout.flush()
        return 128 - status if status < 0 else status

    def stop(self):
        """End it, if it has not ended."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.output.close()


def become(command):
    """Hand over to `command`: this process becomes it where the system can, so that status and signals are its own."""
    sys.stdout.flush()
    if WINDOWS:
        return call(command)
    return os.execve(command[0], command, environment())


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Problem as problem:
        print("error: %s" % problem, file=sys.stderr)
        if problem.hint:
            print("       %s" % problem.hint, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        sys.exit(130)
