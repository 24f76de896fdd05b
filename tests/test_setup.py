"""Setting up works on machines about which nothing is known.

Each test builds a bare machine (a folder of commands that is the whole PATH) and, in a folder with a space in its name,
a project with our Makefile and tools. The project's sources are a stand-in without dependencies that builds itself, so
nothing is fetched: the index is switched off.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

pytestmark = [pytest.mark.serial, pytest.mark.slow]

ROOT = Path(__file__).resolve().parent.parent

# All that tools/setup.sh and the Makefile's recipes for it need of a machine, besides a Python.
COMMANDS = ["cat", "dirname", "make", "rm", "sh", "tail"]

PROJECT = """
[build-system]
requires = []
build-backend = "build_covey"
backend-path = ["."]

[project]
name = "covey"
version = "0"
requires-python = ">=3.11"

[project.optional-dependencies]
cli = []
speed = []
tls = []
dev = []
"""

BACKEND = '''
"""Build the stand-in, in editable form, without any dependency."""

import tomllib
import zipfile
from pathlib import Path


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    extras = tomllib.loads(Path("pyproject.toml").read_text())["project"]["optional-dependencies"]
    metadata = ["Metadata-Version: 2.1", "Name: covey", "Version: 0"]
    for extra, needs in extras.items():
        metadata += [f"Provides-Extra: {extra}", *(f"Requires-Dist: {need}; extra == '{extra}'" for need in needs)]
    name = "covey-0-py3-none-any.whl"
    with zipfile.ZipFile(Path(wheel_directory) / name, "w") as wheel:
        wheel.writestr("covey.pth", str(Path("src").resolve()))
        wheel.writestr("covey-0.dist-info/METADATA", "\\n".join(metadata) + "\\n")
        wheel.writestr("covey-0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("covey-0.dist-info/RECORD", "")
    return name
'''

MAIN = """
import json
import sys

print(json.dumps({"ran": __file__, "arguments": sys.argv[1:]}))
"""


# Debian without python3-venv. Setting up takes a fifth of the time there, so most tests happen on such a machine.
WITHOUT_ENSUREPIP = f"""
if [ "$*" = "-m venv .venv" ]; then
    "{sys.executable}" -m venv --without-pip .venv
    echo "ensurepip is not available"
    exit 1
fi"""


@cache
def python_with_pip():
    """Return a Python that can fill an environment: a .venv made by uv has no pip, but what it stems from may have."""
    for python in (sys.executable, getattr(sys, "_base_executable", sys.executable)):
        if subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0:
            return python
    # Nothing here could install anything without uv, so there is no machine to imitate.
    return pytest.skip("no pip on this machine")


class Machine:
    """A bare machine: a few commands, perhaps a Python, and a checkout of the project."""

    def __init__(self, home: Path):
        self.home = home
        self.commands = home / "commands"
        self.commands.mkdir()
        for name in COMMANDS:
            found = shutil.which(name)
            assert found, f"{name} is missing on this machine"
            (self.commands / name).symlink_to(found)
        self.project = home / "some folder"
        package = self.project / "src" / "covey"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(MAIN)
        (self.project / "pyproject.toml").write_text(PROJECT)
        (self.project / "build_covey.py").write_text(BACKEND)
        shutil.copytree(ROOT / "tools", self.project / "tools")
        for name in ("Makefile", "constraints.txt"):
            shutil.copy(ROOT / name, self.project)

    @property
    def environment(self):
        return self.project / ".venv"

    def add_command(self, name: str, *lines: str) -> None:
        """Put a shell script on the machine's PATH."""
        script = self.commands / name
        script.write_text("\n".join(["#!/bin/sh", *lines, ""]))
        script.chmod(0o755)

    def add_python(self, *lines: str, name: str = "python3") -> None:
        """Put a Python on the PATH, behind shell lines that may answer in its place."""
        self.add_command(name, *lines, f'exec "{python_with_pip()}" "$@"')

    def run(self, *command: str, status: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project, with nothing of this process's own environment."""
        settings = {"PATH": str(self.commands), "HOME": str(self.home)}
        offline = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1"}
        harmless = {"PIP_REQUIRE_VIRTUALENV": "1"}  # whatever the script does wrong, this machine stays as it is
        done = subprocess.run(
            [str(self.commands / command[0]), *command[1:]],
            cwd=self.project,
            env=settings | offline | harmless | variables,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done

    def demo(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run `make demo`, which shows that the environment works and holds the sources of this very folder."""
        done = self.run("make", "demo", *options)
        report = json.loads(done.stdout)
        assert Path(report["ran"]) == self.project.resolve() / "src" / "covey" / "__main__.py"
        return done


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def announced(wanted):
    return f"covey: installing {wanted} into .venv\n"


def test_two_targets_at_once_in_a_folder_with_a_space_install_once_each_and_then_never_again(machine):
    machine.add_python()
    done = machine.run("make", "-j2", "demo", ".venv/.dev", "ARGS=--json")
    assert json.loads(done.stdout)["arguments"] == ["demo", "--json"]
    assert done.stderr == announced(".[cli,speed,tls]") + announced(".[dev]")
    assert machine.run("make", "-j2", "demo", ".venv/.dev").stderr == ""

    earlier = (machine.project / "constraints.txt").stat().st_mtime - 2
    os.utime(machine.environment / ".cli", (earlier, earlier))
    assert machine.demo().stderr == announced(".[cli,speed,tls]")


def leave_an_empty_folder(machine):
    machine.environment.mkdir()


def leave_a_python_that_is_not_an_environments(machine):
    (machine.environment / "bin").mkdir(parents=True)
    (machine.environment / "bin" / "python").symlink_to(getattr(sys, "_base_executable", sys.executable))


def leave_a_dangling_interpreter(machine):
    machine.demo()
    python = machine.environment / "bin" / "python"
    python.unlink()
    python.symlink_to(machine.home / "a Python that was uninstalled")


def move_the_folder(machine):
    machine.demo()
    machine.project = machine.project.rename(machine.home / "another folder")


@pytest.mark.parametrize(
    "happen",
    [
        leave_an_empty_folder,
        leave_a_python_that_is_not_an_environments,
        leave_a_dangling_interpreter,
        move_the_folder,
    ],
)
def test_a_broken_environment_is_made_anew(machine, happen):
    machine.add_python(WITHOUT_ENSUREPIP)
    happen(machine)
    assert machine.demo().stderr == announced(".[cli,speed,tls]")
    assert machine.demo().stderr == ""


def test_without_ensurepip_the_pythons_own_pip_fills_the_environment(machine):
    machine.add_python(WITHOUT_ENSUREPIP)
    machine.run("python3", "-m", "venv", ".venv", status=1)  # somebody tried by hand, and half of one is left
    assert machine.demo().stderr == announced(".[cli,speed,tls]")
    machine.run("rm", "-rf", ".venv")
    assert machine.demo().stderr == announced(".[cli,speed,tls]")
    assert not list(machine.environment.glob("lib/python*/site-packages/pip"))


def test_without_ensurepip_and_pip_one_line_says_what_helps_and_nothing_is_left(machine):
    machine.add_python(WITHOUT_ENSUREPIP, '[ "$1 $2" != "-m pip" ] || exit 1')
    done = machine.run("make", "demo", status=2)
    line = done.stderr.splitlines()[1]
    assert line.startswith("covey: ")
    assert line.endswith("apt install python3-venv, or install uv")
    assert not machine.environment.exists()


def test_without_a_python_that_is_new_enough_one_line_says_what_helps(machine):
    machine.add_command("python3", "exit 1 # as an old one answers the question for its version")
    done = machine.run("make", "demo", status=2)
    assert "needs Python 3.11 or newer, and found none: apt install python3-venv, or install uv" in done.stderr
    assert not machine.environment.exists()


def test_an_old_python3_is_passed_over_for_a_newer_one_beside_it(machine):
    machine.add_command("python3", "exit 1")
    machine.add_python(WITHOUT_ENSUREPIP, name="python3.12")
    assert machine.demo().stderr == announced(".[cli,speed,tls]")


def test_the_python_that_was_asked_for_is_taken_or_refused_by_name(machine):
    machine.add_python(WITHOUT_ENSUREPIP, name="my python")
    machine.add_command("old", "exit 1")
    done = machine.run("make", "demo", status=2, PYTHON="old")
    assert "covey: PYTHON=old is not a Python 3.11 or newer\n" in done.stderr
    machine.demo(f"PYTHON={machine.commands / 'my python'}")


def test_uv_is_preferred_and_fetches_no_python(machine):
    machine.add_python()
    calls = machine.home / "calls"
    machine.add_command(
        "uv",
        f'echo "$UV_PYTHON_DOWNLOADS $*" >> "{calls}"',
        'case "$1" in',
        "    venv) exec python3 -m venv --without-pip .venv ;;",
        '    pip) shift 4; exec python3 -m pip --python .venv/bin/python install "$@" ;;',
        "esac",
    )
    machine.demo()
    python = machine.commands / "python3"
    assert calls.read_text().splitlines() == [
        f"never venv --python {python} .venv",
        "never pip install --python .venv/bin/python -c constraints.txt -e .[cli,speed,tls]",
    ]


def test_an_extra_that_does_not_install_is_left_out_and_said(machine):
    machine.add_python(WITHOUT_ENSUREPIP)
    settings = machine.project / "pyproject.toml"
    settings.write_text(settings.read_text().replace("speed = []", 'speed = ["covey-nowhere"]'))
    said = machine.demo().stderr
    assert said.startswith(announced(".[cli,speed,tls]") + "covey: went on without the extras speed and tls")


def test_a_failure_shows_the_end_of_the_log_and_is_tried_again_next_time(machine):
    machine.add_python(WITHOUT_ENSUREPIP)
    settings = machine.project / "pyproject.toml"
    settings.write_text(settings.read_text().replace("cli = []", 'cli = ["covey-nowhere"]'))
    said = machine.run("make", "demo", status=2).stderr
    assert "covey: could not install .[cli,speed,tls] into .venv; the end of .setup.log says:\n" in said
    assert "No matching distribution found for covey-nowhere" in said
    assert not machine.environment.exists()
    settings.write_text(PROJECT)
    machine.demo()


def test_the_verbs_explain_themselves_and_clean_leaves_only_the_sources(machine):
    (machine.commands / "awk").symlink_to(shutil.which("awk") or "")
    (machine.commands / "find").symlink_to(shutil.which("find") or "")
    machine.add_python(WITHOUT_ENSUREPIP)
    before = sorted(machine.project.rglob("*"))
    listed = machine.run("make").stdout
    verbs = ["help", "demo", "check", "test", "bench", "prove", "clean", "distclean"]
    assert re.findall(r"^make (\w+) +\w", listed, re.MULTILINE) == verbs
    machine.demo()
    machine.run("make", "distclean")
    assert sorted(machine.project.rglob("*")) == before


def package(requirement):
    """Return the name that a requirement starts with, in its normal form."""
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def test_covey_needs_two_packages_and_all_that_is_installed_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert [package(need) for need in project["dependencies"]] == ["click", "msgspec"]

    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\d.]+", pin)] == []
    pinned = [package(pin) for pin in pins]
    assert len(pinned) == len(set(pinned))
    extras = project["optional-dependencies"].values()
    wanted = {package(need) for needs in (project["dependencies"], *extras) for need in needs}
    assert wanted - {"covey"} - set(pinned) == set()
