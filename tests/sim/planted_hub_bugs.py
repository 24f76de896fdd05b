"""Bugs to plant in hubs: what each breaks is what its name says, and which law finds it stands beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from covey.core.ids import Dot
from covey.protocols.claims.votes import Vote, Votes
from covey.protocols.registry.book import Book
from covey.protocols.registry.calls import Calls
from covey.protocols.registry.copies import Hosted, Phase
from covey.protocols.registry.duplicates import Duplicates
from covey.protocols.registry.ground import Ground
from covey.protocols.registry.hosting import Hosting
from covey.protocols.registry.hub import Hub
from covey.protocols.registry.mailbox import Mailbox
from covey.protocols.registry.moves import Moves
from covey.rows.shared import SharedTable
from covey.wire.messages import registry as wire

# Hub seeds that cost less than others: those without voters, and those with.
FREE = (5, 35, 34, 7, 9, 11, 15, 21)
FENCED = (301, 312, 32, 39, 37, 28)


class HubBug(msgspec.Struct, frozen=True):
    """What is planted, what the law says that finds it, and the seeds to look at."""

    plant: Callable[[pytest.MonkeyPatch], None]
    says: str
    seeds: tuple[int, ...] = FREE


# --- what is shown --------------------------------------------------------------------------------------------------


def who_knows_a_child_does_not_read_its_row_again(patch: pytest.MonkeyPatch) -> None:
    """Registries differ: whoever comes later reads what others missed."""
    fold = Book.fold_shared
    patch.setattr(
        Book,
        "fold_shared",
        lambda self, id, row: fold(self, id, row) if row is None or id not in self.children else False,
    )


def an_end_that_is_shown_is_not_told(patch: pytest.MonkeyPatch) -> None:
    changed = Hub._changed

    def quiet(self: Hub, id: bytes, before: Any, now_us: int) -> None:
        if self._shown(id) is not None:
            changed(self, id, before, now_us)

    patch.setattr(Hub, "_changed", quiet)


def a_stopped_child_comes_back(patch: pytest.MonkeyPatch) -> None:
    """Who starts a row again brings back what it was before it was removed."""
    kill, apply = SharedTable.kill, SharedTable.apply
    dead: dict[tuple[int, bytes], list[tuple[Dot, bytes]]] = {}

    def bury(self: SharedTable, key: bytes, field: bytes | None, dot: Dot) -> None:
        row = self._rows.get(key)
        if field is None and row is not None and dot in row.births:
            dead.setdefault((id(self), key), []).append((dot, row.births[dot].value))
        kill(self, key, field, dot)

    def dig(self: SharedTable, dot: Dot, op: Any) -> bool:
        key, field, value, *_ = op
        for birth, before in dead.pop((id(self), key), []) if field is None and value is not None else ():
            self.revive(key, None, birth, (), before)
        return apply(self, dot, op)

    patch.setattr(SharedTable, "kill", bury)
    patch.setattr(SharedTable, "apply", dig)


# --- copies ---------------------------------------------------------------------------------------------------------


def who_is_told_to_end_is_forgotten_at_once(patch: pytest.MonkeyPatch) -> None:
    """The next copy does not wait for the one that still ends."""
    end = Hosting.end

    def hasty(self: Hosting, hosted: Hosted, now_us: int, *, for_good: bool = False) -> None:
        end(self, hosted, now_us, for_good=for_good)
        if hosted.phase is Phase.ENDING:
            self._over(hosted)

    patch.setattr(Hosting, "end", hasty)


def nobody_asks_whether_a_duplicate_stays(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Duplicates, "due", lambda self, id, now_us: None)


def children_stay_where_they_are(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Moves, "want", lambda self, id: None)


def copies_end_without_an_event(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Hosting, "tell_ended", lambda self, hosted, why, winner=None: None)


# --- letters --------------------------------------------------------------------------------------------------------


def a_move_takes_no_state_along(patch: pytest.MonkeyPatch) -> None:
    """What was acknowledged is lost by a planned move."""
    run = Moves._run

    def bare(self: Moves, key: Any, message: wire.Handover, child: Any, arriving: Any, now_us: int) -> None:
        run(self, key, msgspec.structs.replace(message, state=None), child, arriving, now_us)

    patch.setattr(Moves, "_run", bare)


def a_mailbox_forgets_what_it_took(patch: pytest.MonkeyPatch) -> None:
    put = Mailbox.put

    def forget(self: Mailbox, letter: Any, low: int, now_us: int, name: int | None = None) -> Any:
        if letter.key not in self.queue:
            self._known.pop(letter.key, None)
        return put(self, letter, low, now_us, name)

    patch.setattr(Mailbox, "put", forget)


def what_a_copy_had_as_it_ended_is_said_not_to_have_run(patch: pytest.MonkeyPatch) -> None:
    """So it is said again, to a copy that was started anew."""
    reply = Hosting._reply
    patch.setattr(
        Hosting,
        "_reply",
        lambda self, hosted, letter, kind, payload: reply(
            self, hosted, letter, wire.ELSEWHERE if kind == wire.GONE else kind, payload
        ),
    )


def who_expires_did_not_run(patch: pytest.MonkeyPatch) -> None:
    expired = Calls.expired

    def sure(self: Calls, number: int) -> None:
        if number in self._pending:
            self._pending[number].unknown.clear()
        expired(self, number)

    patch.setattr(Calls, "expired", sure)


# --- with Majority --------------------------------------------------------------------------------------------------


def a_voter_grants_everything(patch: pytest.MonkeyPatch) -> None:
    def claim(self: Votes, id: Any, epoch: int, life: Any, wait_us: int, now_us: int) -> bool:
        self._votes[id] = Vote(max(epoch, self.least(id)), life, False, wait_us)
        self._granted_us[id] = now_us
        return True

    patch.setattr(Votes, "claim", claim)


def a_copy_stays_after_its_lease(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Hosting, "fence", lambda self, id, ended_us, now_us: None)


def nobody_knows_of_earlier_tokens(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ground, "epoch", lambda self, above, now_us: 1)
    patch.setattr(Votes, "least", lambda self, id: 0)


def who_has_no_lease_is_served(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Hosting, "fence", lambda self, id, ended_us, now_us: None)
    patch.setattr(Ground, "leased", lambda self, id, now_us: True)


HUB_BUGS = {
    bug.plant.__name__: bug
    for bug in (
        HubBug(who_knows_a_child_does_not_read_its_row_again, "show other children"),
        HubBug(an_end_that_is_shown_is_not_told, "the fold of the events is the book"),
        HubBug(a_stopped_child_comes_back, "stays so"),
        HubBug(who_is_told_to_end_is_forgotten_at_once, "one copy of a child at most"),
        HubBug(nobody_asks_whether_a_duplicate_stays, "runs 2 times"),
        HubBug(children_stay_where_they_are, "does not run where it belongs"),
        HubBug(copies_end_without_an_event, "heard nothing of the end of"),
        HubBug(a_move_takes_no_state_along, "a planned move loses nothing"),
        HubBug(a_mailbox_forgets_what_it_took, "a letter is taken once"),
        HubBug(what_a_copy_had_as_it_ended_is_said_not_to_have_run, "nobody applies a letter again"),
        HubBug(who_expires_did_not_run, "what was said not to have run"),
        HubBug(a_voter_grants_everything, "no two copies run at one time", FENCED),
        HubBug(a_copy_stays_after_its_lease, "no two copies run at one time", FENCED),
        HubBug(nobody_knows_of_earlier_tokens, "token", FENCED),
        HubBug(who_has_no_lease_is_served, "nobody gets a letter without a lease", FENCED),
    )
}
