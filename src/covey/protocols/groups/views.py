"""Who is a member of which group: a fold over the rows that are shown, our own included."""

from __future__ import annotations

from covey.core.errors import invariant
from covey.core.ids import Site
from covey.core.rows import RowsChanged
from covey.protocols.groups.rows import decode_row, decode_value
from covey.protocols.groups.vocabulary import Address, GroupChanged, GroupEntry

Place = tuple[bytes, bytes]  # (scope, group)
Life = tuple[Site, int]


class Views:
    """The members of every group of the scopes that are held here.

    Law: a group's view is the fold of its `GroupChanged`, and has what the shown rows say. Invariants: a group exists
    while it has a member; nobody is filed in one without a count; of one node there are at most `members_max` members
    in all groups together. Of more, those that came first are shown: no covey lets its own users join so often.
    """

    def __init__(self, members_max: int) -> None:
        self._members_max = members_max
        self.by_place: dict[Place, dict[Address, GroupEntry]] = {}
        self._targets: dict[Place, dict[Life, tuple[Address, ...]]] = {}  # of groups that mail was sent to, by node
        self._members: dict[Site, int] = {}  # of each node, in all groups
        self.nonsense = 0  # rows that no covey writes
        self.left_out = 0  # members of nodes that have too many

    def of(self, scope: bytes, group: bytes) -> dict[Address, GroupEntry]:
        """The members of one group, in the order in which they came here."""
        return self.by_place.get((scope, group), {})

    def groups(self, scope: bytes) -> list[bytes]:
        """The groups of a scope that have a member."""
        return [group for held, group in self.by_place if held == scope]

    def targets(self, scope: bytes, group: bytes) -> dict[Life, tuple[Address, ...]]:
        """The distinct members of a group by the life that they belong to. Not to be changed."""
        place = (scope, group)
        targets = self._targets.get(place)
        if targets is None:
            nodes: dict[Life, list[Address]] = {}
            for address in self.of(scope, group):
                nodes.setdefault((address.site, address.incarnation), []).append(address)
            targets = {life: tuple(addresses) for life, addresses in nodes.items()}
            if targets:
                self._targets[place] = targets
        return targets

    @property
    def members(self) -> int:
        """How many members all groups have together."""
        return sum(self._members.values())

    def fold(self, scope: bytes, fact: RowsChanged) -> list[GroupChanged]:
        """Rows of one node are there, changed or gone. Whatever they say, they are only its own members."""
        changes: dict[bytes, list[tuple[GroupEntry | None, GroupEntry | None]]] = {}
        owner, incarnation, by_place = fact.owner, fact.incarnation, self.by_place
        for key, value in fact.changes:
            row = decode_row(key)
            if row is None:
                self.nonsense += 1
                continue
            said = None if value is None else decode_value(value)
            if said is None and value is not None:
                self.nonsense += 1
            group, mailbox = row
            place, address = (scope, group), Address(owner, incarnation, mailbox)
            view = by_place.get(place)
            before = None if view is None else view.get(address)
            after = None if said is None else GroupEntry(address, said[0], said[1])
            if before == after or not self._file(place, address, before, after):
                continue
            changed = changes.get(group)
            if changed is None:
                changes[group] = [(before, after)]
            else:
                changed.append((before, after))
        return [GroupChanged(scope, group, tuple(changed)) for group, changed in changes.items()]

    def _file(self, place: Place, address: Address, before: GroupEntry | None, after: GroupEntry | None) -> bool:
        """One member from now on; False where there is no room for it."""
        members = self._members.get(address.site, 0) + (after is not None) - (before is not None)
        if members > self._members_max:
            self.left_out += 1
            return False
        if self._targets:
            self._targets.pop(place, None)
        view = self.by_place.get(place)
        if view is None:
            view = self.by_place[place] = {}
        if after is not None:
            view[address] = after
        else:
            del view[address]
        if not view:
            del self.by_place[place]
        if members:
            self._members[address.site] = members
        else:
            self._members.pop(address.site, None)
        return True

    def check(self) -> None:
        """Every invariant."""
        members: dict[Site, int] = {}
        for view in self.by_place.values():
            invariant(bool(view), "a group exists while it has a member")
            for address, entry in view.items():
                invariant(entry.address == address and entry.count > 0, "a member is filed under its address")
                members[address.site] = members.get(address.site, 0) + 1
        for place, targets in self._targets.items():
            known = [address for addresses in targets.values() for address in addresses]
            invariant(sorted(known) == sorted(self.by_place.get(place, ())), "who is sent to is who is in the view")
        invariant(members == self._members, "members are counted")
        invariant(all(count <= self._members_max for count in members.values()), "one node's members are bounded")
