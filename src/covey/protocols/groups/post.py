"""Mail as it travels, and as our mailboxes get it: numbered for each pair, put into messages, sorted when it comes."""

from __future__ import annotations

from collections.abc import Container, Sequence

import msgspec

from covey.protocols.groups.streams import Streams
from covey.protocols.groups.vocabulary import Address, Kind, Letter, Outgoing
from covey.wire.messages.groups import Mail

TARGETS_AT_ONCE = 3_000  # mailboxes of one node in one message: with their numbers they take at most 60,000 bytes
TARGET_BYTES = 20
MAIL_BYTES = 64  # the rest of a message, about

Targets = tuple[tuple[int, int], ...]

_KINDS = tuple(Kind)
_VALUE, _CALL = Kind.VALUE, Kind.CALL


class Post:
    """Turns letters into mail and mail into letters, counting both; it shares what the machine keeps.

    Law: what goes to one mailbox from another is numbered in the order in which it is given to `mails` and `batch`.
    """

    def __init__(self, mailboxes: Container[int], said: Streams, heard: Streams, counts: dict[str, int]) -> None:
        self._mailboxes = mailboxes
        self._said = said
        self._heard = heard
        self._counts = counts

    def numbered(self, letter: Outgoing) -> Targets:
        """The mailboxes that a letter is for, each with its number between the two. Answers have none."""
        if letter.kind is not _VALUE and letter.kind is not _CALL:
            return tuple([(to.mailbox, 0) for to in letter.to])
        draw, sender = self._said.draw, letter.sender
        return tuple([(to.mailbox, draw(sender, to)) for to in letter.to])

    def mails(self, incarnation: int, letter: Outgoing) -> list[Mail]:
        """One letter as it travels to that life of another node."""
        targets = self.numbered(letter)
        payload = msgspec.Raw(letter.payload)
        return [
            Mail(incarnation, letter.sender, targets[at : at + TARGETS_AT_ONCE], letter.kind, letter.number, payload)
            for at in range(0, len(targets), TARGETS_AT_ONCE)
        ]

    def batch(self, incarnation: int, letters: Sequence[Outgoing]) -> tuple[list[Mail], int]:
        """Many letters as they travel, and their size, about; those of mailboxes that are closed do not."""
        mails: list[Mail] = []
        size = sent = 0
        mailboxes, draw = self._mailboxes, self._said.draw
        for letter in letters:
            sender, to, kind = letter.sender, letter.to, letter.kind
            if sender not in mailboxes:
                continue
            sent += len(to)
            size += size_of(letter, 1)
            if len(to) == 1 and (kind is _VALUE or kind is _CALL):  # nearly always
                target = to[0]
                targets = ((target.mailbox, draw(sender, target)),)
                mails.append(Mail(incarnation, sender, targets, kind, letter.number, msgspec.Raw(letter.payload)))
            else:
                mails += self.mails(incarnation, letter)
        self._counts["sent"] += sent
        return mails, size

    def sort(
        self, letters: list[Letter], sender: Address, targets: Sequence[tuple[int, int]], mail: Mail | Outgoing
    ) -> None:
        """Add mail to `letters` as our mailboxes get it; closed ones get none."""
        counts, kind, payload = self._counts, _KINDS[mail.kind], bytes(mail.payload)
        numbered = kind is _VALUE or kind is _CALL
        for mailbox, number in targets:
            if mailbox not in self._mailboxes:
                counts["undeliverable"] += 1
                continue
            lost = self._heard.take(mailbox, sender, number) if numbered else 0
            if lost is None:
                continue
            counts["received"] += 1
            counts["lost"] += lost
            letters.append(Letter(mailbox, sender, lost, kind, mail.number, payload))


def size_of(letter: Outgoing, mails: int) -> int:
    """How many bytes a letter takes in so many messages, about."""
    return mails * (len(letter.payload) + MAIL_BYTES) + TARGET_BYTES * len(letter.to)
