"""The same seed is the same run, byte for byte: under every hash seed, in another process, and again in this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from itertools import count, islice
from pathlib import Path

import pytest

from covey.core.rng import derive
from covey.sim.faults import KINDS, draw_plan
from covey.sim.profiles import PROFILES, RunResult, run_profile

ROOT = Path(__file__).parent.parent


def faulty_seeds() -> list[int]:
    """The first seeds of the overlay whose run knows nearly every kind of fault."""
    plans = ((seed, draw_plan(derive(seed, "overlay profile"))) for seed in count(1))
    return list(islice((seed for seed, plan in plans if len(plan.kinds) >= len(KINDS) - 1), 2))


SEEDS = faulty_seeds()
RUNS = [*[("overlay", seed) for seed in SEEDS], ("hub", 301)]  # of hubs: a short one, with splits and with voters


@cache
def run(profile: str, seed: int) -> RunResult:
    """The run in this process."""
    return run_profile(PROFILES[profile], seed)


def start(profile: str, seed: int, hash_seed: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "covey.sim", "--profile", profile, "--seed", str(seed), "--json"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        stdout=subprocess.PIPE,
        text=True,
    )


def digest_of(child: subprocess.Popen[str]) -> str:
    output, _ = child.communicate()
    assert child.returncode == 0, output
    digest = json.loads(output.splitlines()[-1])["digest"]
    assert isinstance(digest, str)
    return digest


@pytest.mark.serial
def test_a_run_is_the_same_under_every_hash_seed():
    children = {which: [start(*which, hash_seed) for hash_seed in (1, 2, 3)] for which in RUNS}
    digests = {which: [digest_of(child) for child in started] for which, started in children.items()}
    for which in RUNS:
        assert digests[which] == [run(*which).digest] * 3


@pytest.mark.slow
def test_a_run_is_the_same_twice_in_one_process_and_whether_it_is_told_or_not():
    for profile, seed in RUNS:
        assert run(profile, seed) == run_profile(PROFILES[profile], seed, telling=True)


@pytest.mark.slow
def test_another_seed_is_another_run():
    digests = [run("overlay", seed).digest for seed in (*SEEDS, 0)]
    assert len(dict.fromkeys(digests)) == 3
