"""`Scope`, what `node.scope(name)` gives: all groups of one scope, and everything that happens in any of them."""

from __future__ import annotations

from covey.api.events import Subscription
from covey.api.group_node import Groups, encode_scope
from covey.api.group_values import GroupMember, ScopeEvent
from covey.api.groups import Group
from covey.wire.keys import Key


class Scope:
    """All groups of one scope. Cheap: ask for it whenever it is needed. Scopes know nothing of each other.

    From the first time on that a node asks for a scope, it learns who is in its groups, without being in any, and goes
    on doing so. It may ask for 1,024 scopes; for one more, it raises `UsageError`.
    """

    def __init__(self, groups: Groups, name: str) -> None:
        self.name = name
        self._groups = groups
        self._encoded = encode_scope(name)
        groups.hold(self._encoded)

    def group(self, key: Key) -> Group:
        """One group. Raises `ConfigError` for what is no key."""
        return Group(self._groups, key, self.name)

    def groups(self) -> list[Key]:
        """The keys of all groups that have a member, as far as this node knows."""
        return self._groups.keys(self._encoded)

    def events(
        self, events_max: int | None = None
    ) -> Subscription[tuple[tuple[Key, tuple[GroupMember, ...]], ...], ScopeEvent]:
        """A stream of `ScopeEvent` of every group; `snapshot` has each group with a member, and its members.

        A group begins with its first member and ends with its last. The snapshot of 10,000 groups takes 25 ms. Where
        thousands of members come or go at once, some hundreds are told each turn of the event loop, and what this node
        itself does is told at once: give room for as much with `events_max`, or there will be a `Lost`.
        """
        return self._groups.scope_events(self._encoded, events_max)

    def __repr__(self) -> str:
        return f"<covey.Scope {self.name!r}>"
