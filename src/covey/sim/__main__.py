"""`python -m covey.sim --profile P --seeds N`: run many seeds, or one again with its story."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import click
import msgspec

from covey.sim.profiles import PROFILES, RunResult, run_profile


def run_seed(profile: str, seed: int, telling: bool = False) -> RunResult:
    """One run; a function of its own so that a pool of processes can call it."""
    return run_profile(PROFILES[profile], seed, telling)


@click.command()
@click.option("--profile", type=click.Choice(sorted(PROFILES)), default="overlay", show_default=True)
@click.option("--seed", type=int, help="Run this one seed, and tell its story if it fails.")
@click.option("--seeds", type=click.IntRange(min=1), default=100, show_default=True, help="How many seeds to run.")
@click.option("--first-seed", type=int, default=1, show_default=True)
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True, help="Processes to use.")
@click.option("--json", "as_json", is_flag=True, help="The summary as one JSON line.")
def main(profile: str, seed: int | None, seeds: int, first_seed: int, jobs: int, as_json: bool) -> None:
    """Simulate clusters under faults. Exit status 1 if a run fails."""
    wanted = [seed] if seed is not None else list(range(first_seed, first_seed + seeds))
    failed: list[RunResult] = []
    results: list[RunResult] = []
    for result in _run(profile, wanted, jobs):
        results.append(result)
        if result.failure:
            failed.append(result)
            _explain(result if seed is not None else run_seed(profile, result.seed, telling=True))
    settled = sorted(result.settled_s for result in results if not result.failure)
    summary = {
        "profile": profile,
        "seeds": len(results),
        "failed": [result.seed for result in failed],
        "steps": sum(result.steps for result in results),
        "virtual_s": round(sum(result.virtual_s for result in results)),
        "settled_s_p50": settled[len(settled) // 2] if settled else None,
        "settled_s_max": settled[-1] if settled else None,
    }
    if seed is not None:
        summary["digest"] = results[0].digest
    if as_json:
        click.echo(json.dumps(summary))
    else:
        click.echo(" ".join(f"{key}={value}" for key, value in summary.items()))
    sys.exit(1 if failed else 0)


def _run(profile: str, seeds: list[int], jobs: int) -> Iterator[RunResult]:
    if len(seeds) == 1:
        yield run_seed(profile, seeds[0], telling=True)
        return
    with ProcessPoolExecutor(max_workers=jobs) as pool:
        yield from pool.map(partial(run_seed, profile), seeds, chunksize=8)


def _explain(result: RunResult) -> None:
    click.echo(f"FAILED: {result.failure}")
    for line in result.story:
        click.echo(f"  {line}")
    click.echo(f"  {msgspec.json.encode(msgspec.structs.replace(result, story=())).decode()}")
    click.echo(f"again: python -m covey.sim --seed {result.seed} --profile {result.profile}")


if __name__ == "__main__":
    main()
