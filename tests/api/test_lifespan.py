"""`covey.lifespan`: a node and its hubs live as long as a web application does, and handlers find them."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

import covey
from covey.testing import Cluster, run
from covey.testing.cluster import _VirtualEnvironment
from tests.runtime.transport.tcp_harness import wait_until

HUBS: dict[str, Any] = {"counters": {"children": [], "on_split": "both"}}


async def counter(ctx: covey.Context, name: str) -> None:
    count = 0
    async for call in ctx.mailbox:
        count += 1
        call.reply({"name": name, "count": count})


HUBS["counters"]["children"].append(counter)


def virtual(cluster: Cluster, number: int, **options: Any) -> dict[str, Any]:
    """The options of a node in virtual time."""
    return {
        "listen": "127.0.0.1:0",
        "seeds": [node.address for node in cluster._nodes],
        "secret": "only for a test of covey",
        "config": covey.Config.laptop(),
        "_environment": _VirtualEnvironment(cluster, 100 + number),
        **options,
    }


def test_applications_share_children_and_find_them_in_their_state():
    async def test(cluster: Cluster) -> None:
        (first,) = await cluster.start(1)
        one, other = (covey.lifespan("test", hubs=HUBS, **virtual(cluster, number)) for number in (1, 2))
        app = SimpleNamespace(state=SimpleNamespace())
        async with one(app) as shown, other(None) as elsewhere:
            assert sorted(shown) == ["counters", "node"] == sorted(vars(app.state))
            assert app.state.node is shown["node"]
            await first.wait_members(3)
            assert await shown["counters"].call("a", start=counter) == {"name": "a", "count": 1}
            assert await elsewhere["counters"].call("a", start=counter) == {"name": "a", "count": 2}
        assert vars(app.state) == {}, "nothing is left to handlers that come too late"
        with pytest.raises(covey.ClosedError):
            shown["counters"].lookup("a")
        await asyncio.sleep(1)
        assert [member.status for member in first.members()] == ["alive"], "they left, and were not lost"

    run(test)


def test_an_application_begins_again_as_another_node():
    async def test(cluster: Cluster) -> None:
        live = covey.lifespan("test", hubs=HUBS, **virtual(cluster, 1))
        async with live(None) as shown:
            before = shown["node"]
        async with live(None) as shown:
            assert shown["node"] is not before
            assert await shown["counters"].call("a", start=counter) == {"name": "a", "count": 1}

    run(test)


def test_a_hub_that_cannot_open_closes_the_node_and_says_why():
    async def test(cluster: Cluster) -> None:
        app = SimpleNamespace(state=SimpleNamespace())
        hubs = {"a": HUBS["counters"] | {"on_split": covey.Majority(["me", "b", "c"])}}
        live = covey.lifespan("test", hubs=hubs, **virtual(cluster, 1, name="me"))
        with pytest.raises(covey.ConfigError, match="'me', is to vote and has no storage"):
            await live(app).__aenter__()
        assert vars(app.state) == {}

    run(test)


def test_what_an_application_keeps_under_that_name_is_not_overwritten():
    async def test(cluster: Cluster) -> None:
        app = SimpleNamespace(state=SimpleNamespace(node="its own"))
        with pytest.raises(covey.ConfigError, match=r"app\.state\.node is something else already"):
            await covey.lifespan("test", **virtual(cluster, 1))(app).__aenter__()
        assert app.state.node == "its own"

    run(test)


async def a_local() -> None: ...


@pytest.mark.parametrize(
    "hubs, told",
    [
        (["sessions"], "hubs: must be a dict of options by name"),
        ({"node": HUBS["counters"]}, "'node' cannot be the name of a hub here"),
        ({"my hub": HUBS["counters"]}, "'my hub' cannot be the name of a hub here"),
        ({("a", 1): HUBS["counters"]}, "cannot be the name of a hub here"),
        ({"a": [counter]}, "the options of 'a' must be a dict"),
        ({"a": {"children": [counter]}}, "'a': on_split: must be chosen"),
        ({"a": {"children": counter, "on_split": "both"}}, "'a': children: must be a list"),
        ({"a": {"childs": [counter], "on_split": "both"}}, "'a': childs: a hub has no such option"),
        ({"a": {"children": [counter], "on_split": "both", "weight": -1}}, "'a': weight: must be an int"),
        (
            {"a": {"on_split": "both", "static": [covey.ChildSpec("x", counter, "x")]}},
            "'a': static: this node does not run",
        ),
        ({"a": {"children": [lambda ctx: None], "on_split": "both"}}, "'a': children: .* a lambda has no name"),
    ],
)
def test_hubs_that_cannot_work_are_refused_where_they_are_written(hubs, told):
    with pytest.raises(covey.ConfigError, match=told):
        covey.lifespan("test", hubs=hubs)


def test_options_that_no_node_has_are_refused_where_they_are_written():
    with pytest.raises(covey.ConfigError, match="unexpected keyword argument 'sedes'"):
        covey.lifespan("test", sedes=["local:test"])


# --- with a real server -----------------------------------------------------------------------------------------------


async def count(request: Any) -> JSONResponse:
    assert request.app.state.counters is request.state.counters
    return JSONResponse(await request.state.counters.call(request.path_params["name"], start=counter))


@pytest.mark.serial
async def test_uvicorn_starts_and_ends_it_with_the_application(tmp_path, monkeypatch):
    monkeypatch.setenv("COVEY_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    app = Starlette(routes=[Route("/{name}", count)], lifespan=covey.lifespan("test", hubs=HUBS))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on", ws="none", loop="none"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(server.serve([listening]))
        await wait_until(lambda: server.started or serving.done(), 15)
        replies = [await get(listening.getsockname()[1], "/a") for _ in range(2)]
        node = app.state.node
        server.should_exit = True
        async with asyncio.timeout(15):
            await serving
    assert replies == [b'{"name":"a","count":1}', b'{"name":"a","count":2}']
    assert repr(node).startswith("<covey.Node 'test' closed")


async def get(port: int, path: str) -> bytes:
    """The body that answers a request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    async with asyncio.timeout(10):
        head, body = (await reader.read()).split(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    assert b" 200 " in head, head
    return body


@pytest.mark.serial
async def test_a_startup_that_fails_ends_the_server_with_the_reason(caplog):
    app = Starlette(lifespan=covey.lifespan("test", listen="127.0.0.1:no-port"))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none", loop="none"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with asyncio.timeout(15):
            with pytest.raises(SystemExit):
                await server.serve([listening])
    assert not server.started
    assert "listen" in caplog.text
    assert "covey.core.errors.ConfigError" in caplog.text
