"""What a node runs without having named it: everything in the modules that it allows.

A name from elsewhere is looked up, and what is not allowed is never imported.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterable
from typing import Any

from covey.core.errors import ConfigError, UsageError
from covey.protocols.registry.placement import WHOLE, can_run
from covey.runtime.children import Start, name_of

log = logging.getLogger(__name__)


class Allowed(dict[str, Start[...]]):
    """What a node can start, by name: what it was given, and what its modules have, imported when first needed."""

    def __init__(self, starts: dict[str, Start[...]], modules: tuple[str, ...]) -> None:
        super().__init__(starts)
        self.modules = modules

    @property
    def said(self) -> tuple[str, ...]:
        """The same as other nodes are told it, in order."""
        return tuple(sorted([*self, *(module + WHOLE for module in self.modules)]))

    def get(self, name: str, default: Any = None) -> Any:
        """What bears this name; `default` where it is not allowed, or is not there."""
        if name not in self and can_run([module + WHOLE for module in self.modules], name):
            start = _find(name)
            if start is not None:
                self[name] = start
        return super().get(name, default)


def check_modules(allow: Iterable[str]) -> tuple[str, ...]:
    """The names of modules, sorted. Raises `ConfigError`."""
    if isinstance(allow, str):
        raise ConfigError(f"allow: must be a list of names of modules, not the str {allow!r}; write [{allow!r}]")
    if not isinstance(allow, Iterable):
        raise ConfigError(f"allow: must be a list of names of modules, not {allow!r:.60}")
    for module in (modules := list(dict.fromkeys(allow))):
        if not isinstance(module, str) or not all(part.isidentifier() for part in module.split(".")):
            raise ConfigError(f"allow: {module!r} is not the name of a module; write it as in an import")
    return tuple(sorted(modules))


def _find(name: str) -> Start[...] | None:
    """What bears this name, if it can be started. Its module is allowed."""
    module, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
        return Start(found) if name_of(found) == name else None
    except UsageError as error:
        log.warning("event=child_not_startable start=%r reason=%r", name, str(error))
    except Exception as error:  # whatever a module does when it is imported
        log.warning("event=child_not_found start=%r reason=%r", name, f"{type(error).__name__}: {error}")
    return None
