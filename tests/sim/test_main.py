"""`python -m covey.sim`: what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from covey.sim.__main__ import main
from covey.sim.profiles import PROFILES, Scene, build_overlay

ROOT = Path(__file__).parent.parent.parent


def build_hopeless(seed: int, telling: bool) -> Scene:
    scene = build_overlay(seed, telling)
    return msgspec.structs.replace(scene, pending=lambda: ("it never settles", [scene.world.nodes[0].site]))


@pytest.fixture
def hopeless(monkeypatch):
    """The overlay profile, with a `pending` that never becomes None."""
    profile = msgspec.structs.replace(
        PROFILES["overlay"], build=build_hopeless, faulty_us=1_000_000, budget_us=1_000_000
    )
    monkeypatch.setitem(PROFILES, "overlay", profile)


def test_a_good_seed_ends_with_a_summary_and_status_zero():
    result = CliRunner().invoke(main, ["--seed", "2"])
    assert result.exit_code == 0
    (summary,) = result.output.splitlines()
    assert re.fullmatch(
        r"profile=overlay seeds=1 failed=\[\] steps=\d+ virtual_s=\d+ settled_s_p50=[\d.]+ settled_s_max=[\d.]+ "
        r"digest=[0-9a-f]{32}",
        summary,
    )


def test_the_summary_as_json_is_one_line():
    result = CliRunner().invoke(main, ["--seed", "2", "--json"])
    assert result.exit_code == 0
    (summary,) = map(json.loads, result.output.splitlines())
    assert list(summary) == [
        "profile", "seeds", "failed", "steps", "virtual_s", "settled_s_p50", "settled_s_max", "digest",
    ]  # fmt: skip
    assert (summary["profile"], summary["seeds"], summary["failed"]) == ("overlay", 1, [])


@pytest.mark.usefixtures("hopeless")
@pytest.mark.parametrize(
    "arguments", [["--seed", "7"], pytest.param(["--seeds", "1", "--first-seed", "7"], marks=pytest.mark.slow)]
)
def test_a_run_that_fails_is_explained_and_the_status_is_one(arguments):
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    first, *story, again, summary = result.output.splitlines()
    assert first == "FAILED: not settled: it never settles"
    assert again == "again: python -m covey.sim --seed 7 --profile overlay"
    assert summary.startswith("profile=overlay seeds=1 failed=[7] ")
    assert len(story) > 1
    assert all(re.match(r"  n\d+ +\d+\.\d{6} \w+ ", line) for line in story[:-1])
    told = json.loads(story[-1])
    assert (told["seed"], told["failure"], told["story"]) == (7, "not settled: it never settles", [])


@pytest.mark.usefixtures("hopeless")
def test_a_failure_leaves_a_summary_in_json_as_the_last_line():
    result = CliRunner().invoke(main, ["--seed", "7", "--json"])
    assert result.exit_code == 1
    summary = json.loads(result.output.splitlines()[-1])
    assert (summary["failed"], summary["settled_s_p50"], summary["settled_s_max"]) == ([7], None, None)


@pytest.mark.parametrize("arguments", [["--profile", "nonsense"], ["--seeds", "0"], ["--jobs", "0"], ["--seed", "x"]])
def test_a_wrong_option_is_refused_before_anything_runs(arguments):
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "Invalid value" in result.output


@pytest.mark.serial
def test_many_seeds_run_in_several_processes_and_add_up():
    command = [sys.executable, "-m", "covey.sim", "--seeds", "2", "--first-seed", "2", "--jobs", "2", "--json"]
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=True)
    (summary,) = map(json.loads, done.stdout.splitlines())
    assert (summary["seeds"], summary["failed"]) == (2, [])
    alone = [CliRunner().invoke(main, ["--seed", str(seed), "--json"]) for seed in (2, 3)]
    assert summary["steps"] == sum(json.loads(result.output)["steps"] for result in alone)
