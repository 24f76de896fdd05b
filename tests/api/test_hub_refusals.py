"""What a hub does not do is said to whoever asked, at once."""

from __future__ import annotations

import asyncio
import sys

import msgspec
import pytest

import covey
from covey import ChildSpec
from covey.core.rows import Put, Start, WriteShared
from covey.protocols.registry import rows
from covey.testing import Cluster, run
from covey.wire.keys import encode_key
from tests.api.hub_children import session
from tests.api.hubs_open import flock, machine, now, specs, unread
from tests.testing.virtual import until


def test_where_there_is_no_room_children_and_updates_are_refused_and_the_rest_goes_on():
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 2) as f:
            hub = f.hubs[0]
            (await hub.start_children(specs(3))).raise_for_errors()
            shared = machine(hub).ground.rows.shared
            shared._config = msgspec.structs.replace(shared._config, shared_bytes_max=4_000)
            began = now()
            large = [ChildSpec(f"large {number}", session, "x" * 3_000) for number in range(3)]
            result = await hub.start_children([*large, ChildSpec("small", session)])
            assert [child.id for child in result.started] == ["large 0", "small"]
            assert {(error.id, error.trouble) for error in result.errors} == {
                ("large 1", "refused"),
                ("large 2", "refused"),
            }
            with pytest.raises(covey.Overloaded, match="nothing was written: remove some"):
                hub.update_child(1, {"tag": "x" * 3_000})
            hub.update_child(1, {"tag": "y"})
            assert hub.dump()[1].tag == "y"
            assert now() - began < 1

    run(test)


def test_what_a_lying_peer_names_is_refused_reported_once_and_never_imported():
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 2) as f, f.hubs[1].events() as events:
            victim = f.nodes[1].site
            spec = rows.Spec("antigravity:fly", b"\x92\x90\x80", rows.Restart.PERMANENT, 0, 0)
            birth = rows.encode(rows.Birth(spec, b"\x80", 1, None))
            ground, id = machine(f.hubs[0]).ground, encode_key("lie")
            changes = Start(id, birth), Put(id, rows.ASSIGNED, victim)
            f.hubs[0]._hubs.feed(WriteShared(ground.hub, changes))
            await asyncio.sleep(60)
            (ended,) = unread(events, covey.CopyEnded)
            assert (ended.id, ended.why) == ("lie", "refused")
            assert "does not run 'antigravity:fly'" in ended.error
            assert f.hubs[0].dump()["lie"].state == "failed"
            assert "antigravity" not in sys.modules

    run(test)


def test_a_child_that_nobody_can_run_any_more_is_told_of_and_explained():
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 2, children=[]) as f, f.hubs[0].events() as events:
            able = await f.join(children=[session])
            (await f.hubs[0].start_children(specs(2))).raise_for_errors()
            await f.nodes[2].close()
            await until(lambda: not able._hubs._open and f.hubs[0].dump()[0].state == "waiting", 5)
            await asyncio.sleep(0.1)
            assert {event.child.id for event in unread(events, covey.ChildUnplaced)} == {0, 1}
            assert f.hubs[0].explain(0).reasons == ("no node that takes part runs 'tests.api.hub_children:session'",)

    run(test)
