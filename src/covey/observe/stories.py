"""Stories: what happened around one key, so that a failure can be read instead of guessed.

A pure fold over `(now, machine, input, effects)`. Each step becomes one line under every site it mentions; each site
keeps the last lines of its story.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from covey.core.ids import SITE_BYTES, Contact, Site, short
from covey.core.vocabulary import MessagesReceived


class Stories:
    """The last lines about each site. Invariant: at most `sites_max` stories of at most `lines_max` lines."""

    def __init__(self, lines_max: int = 64, sites_max: int = 256) -> None:
        self._lines_max = lines_max
        self._sites_max = sites_max
        self._stories: dict[Site, deque[str]] = {}

    def observe(self, now_us: int, machine: str, incoming: Any, effects: Sequence[Any]) -> None:
        """Fold in one step of one machine."""
        parts = incoming.messages if isinstance(incoming, MessagesReceived) else ()
        sites = dict.fromkeys(site for item in (incoming, *parts, *effects) for site in _sites(item))
        if not sites:
            return
        heard = ", ".join(map(brief, parts)) or brief(incoming)
        line = f"{now_us / 1e6:12.6f} {machine:<8} {heard} -> {', '.join(map(brief, effects)) or '-'}"
        for site in sites:
            story = self._stories.pop(site, None)
            if story is None:
                story = deque(maxlen=self._lines_max)
                if len(self._stories) >= self._sites_max:
                    del self._stories[next(iter(self._stories))]
            self._stories[site] = story  # moved to the end: the story untouched for longest goes first
            story.append(line)

    def tell(self, site: Site) -> list[str]:
        """The story of `site`, oldest line first."""
        return list(self._stories.get(site, ()))

    def __len__(self) -> int:
        return len(self._stories)


def brief(item: Any) -> str:
    """A struct in a few words: its name, and its sites in short form."""
    fields = [_brief_value(getattr(item, name)) for name in getattr(item, "__struct_fields__", ())]
    return f"{type(item).__name__}({' '.join(field for field in fields if field)})"


def _brief_value(value: Any) -> str:
    if isinstance(value, Contact):
        return short(value.site)
    if isinstance(value, bytes):
        return short(Site(value)) if len(value) == 16 else f"{len(value)}B"
    if isinstance(value, msgspec.Struct):
        return brief(value)
    if isinstance(value, (tuple, list)):
        return "[" + " ".join(_brief_value(part) for part in value) + "]"
    return str(value)


def _sites(item: Any) -> Iterator[Site]:
    if isinstance(item, Contact):
        yield item.site
    elif isinstance(item, bytes):
        if len(item) == SITE_BYTES:
            yield Site(item)
    elif isinstance(item, msgspec.Struct):
        for name in item.__struct_fields__:
            yield from _sites(getattr(item, name))
    elif isinstance(item, (tuple, list)):
        for part in item:
            yield from _sites(part)
