"""Bugs to plant in groups: what each breaks is what its name says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from covey.core.rows import RowsChanged
from covey.protocols.groups import vocabulary as g
from covey.protocols.groups.machine import Groups
from covey.protocols.groups.own import Own
from covey.protocols.groups.post import Post
from covey.protocols.groups.streams import Streams
from covey.protocols.groups.views import Views


def one_leave_takes_all_joins(patch: pytest.MonkeyPatch) -> None:
    leave = Own._on_leave
    patch.setattr(Own, "_on_leave", lambda self, command, now_us: leave(
        self, msgspec.structs.replace(command, count=2**31), now_us
    ))  # fmt: skip


def closing_leaves_one_group(patch: pytest.MonkeyPatch) -> None:
    close = Groups._on_close
    patch.setattr(Groups, "_on_close", lambda self, command, now_us: close(self, command, now_us)[:1])


def a_change_of_metadata_counts_as_a_join(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Own, "_on_meta", lambda self, command, now_us: self._on_join(
        g.JoinGroup(command.mailbox, command.scope, command.group, command.meta), now_us
    ))  # fmt: skip


def members_of_others_stay_for_ever(patch: pytest.MonkeyPatch) -> None:
    """Phantoms: what is hidden, or gone with its life, stays in the view."""
    fold = Views.fold

    def keep(self: Views, scope: bytes, fact: RowsChanged) -> Any:
        gone = all(value is None for _, value in fact.changes)
        return [] if gone and len(fact.changes) > 1 else fold(self, scope, fact)

    patch.setattr(Views, "fold", keep)


def events_of_updates_are_not_told(patch: pytest.MonkeyPatch) -> None:
    on_rows = Groups._on_rows

    def silent(self: Groups, fact: RowsChanged, now_us: int) -> Any:
        effects = on_rows(self, fact, now_us)
        return [e for e in effects if not all(before and after for before, after in e.event.changes)]

    patch.setattr(Groups, "_on_rows", silent)


def gaps_are_not_told(patch: pytest.MonkeyPatch) -> None:
    take = Streams.take
    patch.setattr(Streams, "take", lambda *args: None if take(*args) is None else 0)


def letters_are_delivered_as_they_come(patch: pytest.MonkeyPatch) -> None:
    take = Streams.take
    patch.setattr(Streams, "take", lambda *args: take(*args) or 0)


def closed_mailboxes_still_get_mail(patch: pytest.MonkeyPatch) -> None:
    sort = Post.sort

    def more(self: Post, letters: Any, sender: g.Address, targets: Any, mail: Any) -> None:
        sort(self, letters, sender, targets, mail)
        letters += [
            g.Letter(mailbox, sender, 0, g.Kind(mail.kind), mail.number, bytes(mail.payload))
            for mailbox, number in targets
            if mailbox not in self._mailboxes or mail.kind >= g.Kind.REPLY
        ]

    patch.setattr(Post, "sort", more)


def who_waits_is_not_told_that_a_life_is_over(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Groups, "_ended", lambda self, site, incarnation, why: [])


def a_new_life_of_ours_keeps_the_old_address(patch: pytest.MonkeyPatch) -> None:
    changed = Groups._on_cluster_changed

    def stay(self: Groups, fact: Any, now_us: int) -> Any:
        me = self._me
        effects = changed(self, fact, now_us)
        self._me = me
        return effects

    patch.setattr(Groups, "_on_cluster_changed", stay)


def streams_of_a_removed_life_are_forgotten_at_once(patch: pytest.MonkeyPatch) -> None:
    """What seed 7 found."""
    removed = Groups._on_member_removed

    def forget(self: Groups, fact: Any, now_us: int) -> Any:
        effects = removed(self, fact, now_us)
        self._heard.forget(fact.site)
        return effects

    patch.setattr(Groups, "_on_member_removed", forget)
    patch.setattr(Streams, "is_new", lambda self, other: True)


PLANT: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    bug.__name__: bug
    for bug in (
        one_leave_takes_all_joins,
        closing_leaves_one_group,
        a_change_of_metadata_counts_as_a_join,
        members_of_others_stay_for_ever,
        events_of_updates_are_not_told,
        gaps_are_not_told,
        letters_are_delivered_as_they_come,
        closed_mailboxes_still_get_mail,
        who_waits_is_not_told_that_a_life_is_over,
        a_new_life_of_ours_keeps_the_old_address,
        streams_of_a_removed_life_are_forgotten_at_once,
    )
}

# --- what few seeds show: a scenario finds each ----------------------------------------------------------------------


def pairs_begin_again_at_the_same_number(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Streams, "first", lambda self, other: 0)


def mail_for_the_life_before_is_delivered(patch: pytest.MonkeyPatch) -> None:
    on_messages = Groups._on_messages

    def blind(self: Groups, received: Any, now_us: int) -> Any:
        to = self._me.incarnation
        mails = tuple(msgspec.structs.replace(mail, to=to) for mail in received.messages)
        return on_messages(self, msgspec.structs.replace(received, messages=mails), now_us)

    patch.setattr(Groups, "_on_messages", blind)


def the_forgotten_are_not_remembered(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Streams, "is_new", lambda self, other: True)
