"""What a type checker lets pass of hubs: `mypy --strict` refuses what would raise, and nothing that works."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

PROGRAM = """
import covey


async def poll(ctx: covey.Context, host: str, seconds: float = 1.0) -> None: ...
async def named(ctx: covey.Context, id: str) -> covey.Handover: return covey.Handover(id)
def sync(ctx: covey.Context) -> None: ...


class Device:
    def __init__(self, ctx: covey.Context, host: str) -> None: ...
    async def start(self) -> None: ...
    async def run(self) -> None: ...


class Idle:
    def __init__(self, ctx: covey.Context) -> None: ...


async def main(node: covey.Node, hub: covey.Hub) -> None:
"""

RIGHT = """
covey.ChildSpec("a", poll, "host")
covey.ChildSpec("a", poll, "host", seconds=2.0).with_options(restart="permanent")
covey.ChildSpec("a", Device, "host")
covey.ChildSpec("a", covey.process(poll), "host")
batch = [covey.ChildSpec("a", poll, "host"), covey.ChildSpec("b", Device, "host"), covey.ChildSpec("c", named, "x")]
await hub.start_children(batch, on_failure="rollback", wait="visible_everywhere")
await hub.start_child(covey.ChildSpec("a", poll, "host"), timeout=3, metadata={"a": 1})
await hub.call("a", start=named)
await hub.call("a", start=covey.process(named))
await hub.call("a", start=covey.ChildSpec("a", poll, "host"))
hub.children("local")
node.hub("h", children=[poll, Device, covey.process(named)], on_split="both", weight=2, resolve=lambda id, a, b: a)
node.hub("h", children=[], on_split=covey.Majority(["a", "b", "c"]), static=batch, synchronization=covey.PubSub())
node.singleton("s", poll, "host", on_split="both", zone="eu")
node.singleton("s", poll, "host", 2.0, on_split="both")
node.singleton("s", Device, "host", on_split="both")
node.singleton("s", covey.process(poll), "host", on_split="both")
"""

WRONG = """
covey.ChildSpec("a", poll, 3)
covey.ChildSpec("a", poll)
covey.ChildSpec("a", poll, "host", 1.0, 4)
covey.ChildSpec("a", poll, "host", minutes=1.0)
covey.ChildSpec("a", Device, 3)
covey.ChildSpec("a", covey.process(poll), 3)
covey.ChildSpec("a", sync)
covey.ChildSpec("a", Idle)
covey.ChildSpec("a", poll, "host").with_options(restart="often")
await hub.start_children([covey.ChildSpec("a", poll, "host")], on_failure="nonsense")
await hub.start_children([covey.ChildSpec("a", poll, "host")], wait="later")
await hub.start_child(covey.ChildSpec("a", poll, "host"), tiemout=3)
await hub.call("a", start=sync)
hub.children("here")
node.hub("h", children=[poll], on_split="nope")
node.hub("h", children=[poll], on_split="both", wieght=1)
node.hub("h", children=poll, on_split="both")
node.hub("h", children=[sync], on_split="both")
node.singleton("s", poll, 3, on_split="both")
node.singleton("s", poll, "host", on_split="both", weight="heavy")
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_wrong_arguments_and_options_are_refused_and_right_ones_are_not(tmp_path):
    api = pytest.importorskip("mypy.api")
    path = tmp_path / "program.py"
    right, wrong = RIGHT.strip().splitlines(), WRONG.strip().splitlines()
    path.write_text(PROGRAM + "".join(f"    {line}\n" for line in [*right, *wrong]))
    begins = PROGRAM.count("\n") + 1
    config = tmp_path / "mypy.ini"
    config.write_text(f"[mypy]\nstrict = True\nmypy_path = {ROOT / 'src'}\n")
    out, err, _ = api.run([
        "--config-file", str(config), "--cache-dir", str(tmp_path / "cache"), "--follow-imports", "silent",
        "--python-executable", sys.executable, "--no-error-summary", str(path),
    ])  # fmt: skip
    assert not err
    told = {int(line.split(":")[1]) for line in out.splitlines() if ": error:" in line}
    lines = {begins + at: line for at, line in enumerate([*right, *wrong])}
    assert {lines[at] for at in told} == set(wrong), out
