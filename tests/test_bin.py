"""What the scripts in bin/ print and do: their help, their errors, and the environment that they make."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

SCRIPTS = sorted(path.name for path in (ROOT / "bin").iterdir() if not path.name.startswith("_"))
RUN = '"$(dirname "$0")/_run"'
OF_CLICK = [name for name in SCRIPTS if RUN in (ROOT / "bin" / name).read_text()]
HEAD = "Failed at the first try:"
STEADY = """
def test_steady():
    assert 1
"""
FLAKY = """
from pathlib import Path
def test_flaky():
    seen = Path("seen")
    was_seen, _ = seen.exists(), seen.touch()
    assert was_seen
"""
BROKEN = """
def test_broken():
    assert 0
"""
PYTHON = f"""#!/bin/sh
# Stands in for what bin/test calls: of linters, types and coverage only pytest is run.
case "$3 $5" in
  "run pytest") shift 5; exec "{sys.executable}" -m pytest -p xdist.plugin "$@" -n 0 ;;
  report*) echo TOTAL ;;
esac
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that bin/test is run in."""
    for name, text in (
        ("bin/_setup", "#!/bin/sh\n"),
        ("bin/_setup_node", "#!/bin/sh\n"),
        ("venv/bin/python", PYTHON),
        ("venv/bin/lint-imports", "#!/bin/sh\n"),
        ("test_steady.py", STEADY),
        ("pytest.ini", "[pytest]\naddopts = -q\n"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    for name in ("test", "_help", "_check_options"):
        shutil.copy(ROOT / "bin" / name, tmp_path / "bin")
    return tmp_path


def run(project: Path, *arguments: str) -> tuple[int, list[str]]:
    """Run bin/test; return its exit code and the lines of its output."""
    environment = {**os.environ, "VENV": str(project / "venv"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [project / "bin" / "test", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.splitlines()


def test_none(project: Path) -> None:
    code, lines = run(project)
    assert (code, lines[-2:]) == (0, ["TOTAL", f"{HEAD} none"])


def test_passed_when_tried_again(project: Path) -> None:
    (project / "test_flaky.py").write_text(FLAKY)
    code, lines = run(project)
    assert (code, lines[-3:]) == (0, ["TOTAL", HEAD, "  test_flaky.py::test_flaky"])


def test_failed_twice(project: Path) -> None:
    """What failed on another day and is not asked for is not listed."""
    stale = project / ".pytest_cache" / "v" / "cache" / "lastfailed"
    stale.parent.mkdir(parents=True)
    stale.write_text('{\n  "test_steady.py::test_steady": true\n}')
    (project / "test_flaky.py").write_text(FLAKY)
    (project / "test_broken.py").write_text(BROKEN)
    code, lines = run(project, "test_broken.py", "test_flaky.py")
    assert (code, lines[-3:]) == (1, [HEAD, "  test_broken.py::test_broken", "  test_flaky.py::test_flaky"])


def test_no_test_was_run(project: Path) -> None:
    """An option that pytest does not know is an error, and is not called a pass."""
    code, lines = run(project, "--unknown")
    assert code != 0
    assert lines[-1].startswith(f"{HEAD} unknown")


def call(folder: Path, name: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a script of a checkout to its end."""
    return subprocess.run(
        [folder / "bin" / name, *arguments],
        env={"PATH": "/usr/bin:/bin", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A fresh clone, as far as the scripts look at it."""
    shutil.copytree(ROOT / "bin", tmp_path / "clone/bin")
    shutil.copytree(ROOT / "requirements", tmp_path / "clone/requirements")
    return tmp_path / "clone"


def files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.mark.parametrize("option", ["--help", "-h"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_help_in_a_fresh_clone(clone: Path, name: str, option: str) -> None:
    """It says how to call the script and what it does, and makes and installs nothing."""
    before = files(clone)
    done = call(clone, name, option)
    usage, _, what, *_ = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert re.match(rf"Usage: bin/{name}( |$)", usage)
    assert what
    assert files(clone) == before


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that has everything: the one of the tests."""
    folder = tmp_path_factory.mktemp("venv")
    (folder / "bin").mkdir()
    (folder / "bin/python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (folder / "bin/python").chmod(0o755)
    (folder / ".installed-serve").touch()
    return folder


@pytest.mark.parametrize("name", OF_CLICK)
def test_help_with_options(venv: Path, name: str) -> None:
    """Once the dependencies are there, the options are listed, after the same usage line; nothing is installed."""
    done = call(ROOT, name, "--help", VENV=str(venv))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == (ROOT / "bin" / name).read_text().splitlines()[1].removeprefix("# ")
    assert "\nOptions:\n" in done.stdout
    assert [path.name for path in venv.glob(".installed-*")] == [".installed-serve"]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("docs --nonsense", 2, "unknown argument --nonsense"),
        ("docs --dev-addr", 2, "--dev-addr needs HOST:PORT"),
        ("lock --nonsense", 2, "takes no arguments"),
        ("lock", 1, "uv: not found"),
        ("picture --nonsense", 2, "takes no arguments"),
        ("picture", 1, "nvim: not found"),
    ],
)
def test_mistakes(clone: Path, tools: Path, words: str, code: int, says: str) -> None:
    """A mistake, or a program that is missing, is one line that says what to do; nothing is installed."""
    name, *arguments = words.split()
    before = files(clone)
    done = call(clone, name, *arguments, PATH=str(tools))
    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout, files(clone)) == (code, "", before)
    assert line.startswith(f"bin/{name}: {says}")


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder with the programs that the scripts need, and with no others."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("sh", "dirname", "basename", "awk", "sed", "ls", "cmp", "cp", "rm", "mkdir"):
        found = shutil.which(name)
        assert found
        (folder / name).symlink_to(found)
    return folder


@pytest.mark.parametrize("name", ["hardening", "test"])
def test_an_option_that_pytest_does_not_know(venv: Path, tmp_path: Path, name: str) -> None:
    """It is one line, and neither linters nor tests run."""
    shutil.copytree(ROOT / "bin", tmp_path / "bin")
    for setup in ("_setup", "_setup_node"):
        (tmp_path / "bin" / setup).write_text("#!/bin/sh\n")
    done = call(tmp_path, name, "--nonsense", VENV=str(venv))
    (line,) = done.stderr.splitlines()[-1:]
    assert (done.returncode, done.stdout) == (2, "")
    assert line == f"bin/{name}: unrecognized arguments: --nonsense; bin/{name} --help says more"


def test_docs_at_a_port_that_is_taken(venv: Path, clone: Path) -> None:
    """It is told in one line, before the pages are built."""
    shutil.copy(ROOT / "requirements/docs.txt", venv / ".installed-docs")
    try:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            done = call(clone, "docs", "--dev-addr", address, VENV=str(venv))
    finally:
        (venv / ".installed-docs").unlink()
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert line == f"bin/docs: cannot serve on {address} (Address already in use); set --dev-addr HOST:PORT"


INTERPRETER = """#!/bin/sh
# Stands in for Python: makes environments that hold itself, with pip only if it may.
echo "$*" >> "$LOG"
case "$*" in
  "-c import pip") [ -f "$(dirname "$0")/pip" ] ;;
  "-c import ensurepip, venv") [ -z "${LACKS_ENSUREPIP:-}" ] ;;
  "-m venv --clear "*)
    mkdir -p "$4/bin" && cp "$0" "$4/bin/python"
    [ -z "${IS_INTERRUPTED:-}" ] || exit 1
    touch "$4/bin/pip"
    ;;
esac
"""


@pytest.fixture
def python(tools: Path) -> Path:
    (tools / "python3").write_text(INTERPRETER)
    (tools / "python3").chmod(0o755)
    for name in ("touch", "cat"):
        (tools / name).symlink_to(shutil.which(name) or "")
    return tools


def set_up(clone: Path, path: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return call(clone, "_setup", "serve", PATH=str(path), LOG=str(path / "log"), **environment)


def test_setting_up(clone: Path, python: Path) -> None:
    """The environment is made once, and says so; a second time nothing is done or said."""
    assert set_up(clone, python).stderr == "Installing serve dependencies into .venv (once)\n"
    calls = (python / "log").read_text()
    assert "-m pip install" in calls
    again = set_up(clone, python)
    assert (again.returncode, again.stderr, (python / "log").read_text()) == (0, "", calls)


def test_an_environment_that_was_half_made(clone: Path, python: Path) -> None:
    """It is made anew, whatever was left of it."""
    assert set_up(clone, python, IS_INTERRUPTED="1").returncode == 1
    assert (clone / ".venv/bin/python").exists()
    done = set_up(clone, python)
    assert done.returncode == 0, done.stderr
    assert (clone / ".venv/.installed-serve").exists()
    assert (python / "log").read_text().count("-m venv --clear") == 2


def test_a_python_without_ensurepip(clone: Path, python: Path) -> None:
    """The package that is missing is named, and nothing is made."""
    done = set_up(clone, python, LACKS_ENSUREPIP="1")
    assert (done.returncode, (clone / ".venv").exists()) == (1, False)
    assert done.stderr.splitlines()[-1].endswith("apt-get install python3-venv")


def test_no_python(clone: Path, tools: Path) -> None:
    done = set_up(clone, tools)
    assert (done.returncode, done.stderr) == (1, "python3: not found. Install Python 3.11 or newer, or set PYTHON.\n")
