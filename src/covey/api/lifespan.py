"""A node that lives as long as a web application does: `lifespan`, for whatever speaks ASGI.

ASGI servers tell an application when it begins and when it ends, in each worker process; Starlette, FastAPI and
Litestar hand that on as an async context manager of the application. So nothing of them is imported here, and where a
framework has hooks of another kind (Quart's `while_serving`), `async with lifespan(app):` there is the same.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias

from covey.api.hub_making import wanted_hub
from covey.api.node import Node
from covey.core.errors import ConfigError

Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[dict[str, Any]]]

_NODE = "node"


def lifespan(cluster: str, *, hubs: Mapping[str, Mapping[str, Any]] | None = None, **options: Any) -> Lifespan:
    """What to pass as `lifespan=` to an application, so that each of its worker processes is a node of `cluster`.

    `hubs` has the options of `Node.hub` for each hub to open, by name; all other options are those of `Node`. The node
    is started and the hubs are opened, in their order, before the first request, and closed after the last one; only
    then, so a server may import the application and fork. Handlers find them under their names as
    `request.state.node` and `request.state.sessions`, or on `app.state`, where the application has one.

    Raises `ConfigError` at once for hubs that cannot work; what else is wrong with an option fails the startup.

    ::

        app = Starlette(
            routes=[Route("/{user}", say, methods=["POST"])],
            lifespan=covey.lifespan("chat", hubs={"sessions": dict(children=[session], on_split="both")}),
        )
    """
    _check_options(cluster, options)
    wanted = {name: _check_hub(name, hub) for name, hub in _check_hubs(hubs).items()}

    @asynccontextmanager
    async def live(app: Any) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            node = await stack.enter_async_context(Node(cluster, **options))
            shown: dict[str, Any] = {_NODE: node}
            for name, hub in wanted.items():
                shown[name] = await stack.enter_async_context(node.hub(name, **hub))
            _show(getattr(app, "state", None), shown, stack)
            yield shown

    return live


def _check_options(cluster: str, options: Mapping[str, Any]) -> None:
    """Raises `ConfigError` for names that are no options of a node: where they are written, and not in a worker."""
    try:
        inspect.signature(Node).bind(cluster, **options)
    except TypeError as error:
        raise ConfigError(f"lifespan: {error}; options are those of covey.Node, and `hubs`") from None


def _check_hubs(hubs: object) -> Mapping[str, Any]:
    if hubs is None:
        return {}
    if not isinstance(hubs, Mapping):
        raise ConfigError(
            f"hubs: must be a dict of options by name, not {hubs!r:.80}; write "
            '{"sessions": dict(children=[session], on_split="both")}'
        )
    return hubs


def _check_hub(name: object, options: object) -> dict[str, Any]:
    if not isinstance(name, str) or not name.isidentifier() or name == _NODE:
        raise ConfigError(
            f"hubs: {name!r} cannot be the name of a hub here, as handlers read request.state.<name>; use another "
            f"word, and not {_NODE!r}, which is the node's"
        )
    if not isinstance(options, Mapping):
        raise ConfigError(f"hubs: the options of {name!r} must be a dict, not {options!r:.80}")
    try:
        wanted_hub(options, None)
    except ConfigError as error:
        raise ConfigError(f"hubs: {name!r}: {error}") from None
    return dict(options)


def _show(state: Any, shown: Mapping[str, Any], stack: AsyncExitStack) -> None:
    """Put everything on an application's `state`, if it has one, and take it off again at the end.

    Raises `ConfigError` where the application keeps something else under one of the names.
    """
    if state is None:
        return
    for name, value in shown.items():
        if getattr(state, name, None) is not None:
            raise ConfigError(f"lifespan: app.state.{name} is something else already; give the hub another name")
        setattr(state, name, value)
        stack.callback(_forget, state, name)


def _forget(state: Any, name: str) -> None:
    if hasattr(state, name):
        delattr(state, name)
