"""Letters on their way out: one for each node, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from covey.api.group_values import GroupMember
from covey.core.ids import Site
from covey.core.vocabulary import Abandon
from covey.protocols.groups import vocabulary as g

if TYPE_CHECKING:
    from covey.runtime.runner import Runner


class Post:
    """One letter to mailboxes of one life of a node, and its outcome."""

    def __init__(
        self,
        runner: Runner,
        sender: int,
        life: tuple[Site, int],
        mailboxes: tuple[int, ...],
        kind: g.Kind,
        number: int,
        payload: bytes,
    ) -> None:
        self._runner = runner
        self._mailboxes = len(mailboxes)
        self._request, self.outcome = runner.request()
        try:
            runner.feed(g.SendMail(self._request, sender, *life, mailboxes, kind, number, payload))
        except BaseException:
            runner.forget_request(self._request)
            raise

    def end(self) -> int:
        """Nobody waits any more: what is not on its way is taken back. Returns to how many mailboxes it is."""
        self._runner.forget_request(self._request)
        if self.outcome.done() and not self.outcome.cancelled():
            return 0 if self.outcome.exception() else self._mailboxes
        if self._runner.is_open:
            self._runner.feed(Abandon(self._request))
        return 0


def by_node(targets: list[GroupMember]) -> dict[tuple[Site, int], list[int]]:
    """The mailboxes of each life among them."""
    nodes: dict[tuple[Site, int], list[int]] = {}
    for member in targets:
        nodes.setdefault(member.life, []).append(member.mailbox)
    return nodes
