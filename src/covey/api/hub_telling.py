"""From what the machine says of a hub to what users hear of it, a log for people, and what of that still holds."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from covey.api.hub_values import (
    ConfigMismatch,
    CopyEnded,
    HandoverLost,
    HubEvent,
    HubNodesChanged,
    MoveFailed,
    StrategyFailed,
    VotersMissing,
    explain_mismatch,
    explain_missing,
)
from covey.protocols.claims.vocabulary import SeatEmpty
from covey.protocols.registry import vocabulary as h
from covey.wire.keys import decode_key

if TYPE_CHECKING:
    from covey.api.hub_node import OpenHub

log = logging.getLogger(__name__)


class HubTelling:
    """The events of one hub, but those of its children.

    Law: whoever listens later hears first what was said before and holds still.
    """

    def __init__(self, hub: OpenHub) -> None:
        self._hub = hub
        self._failed: dict[str, StrategyFailed] = {}  # the last of each function
        self._mismatch: ConfigMismatch | None = None
        self._missed = False  # voters that take no part, as was said last

    def standing(self) -> tuple[HubEvent, ...]:
        """What was said before and holds still."""
        others = self._hub.machine.ground.places.view.others
        mismatch = (self._mismatch,) if others and self._mismatch is not None else ()
        missing = self._missing()
        voters = (missing,) if missing.names and self._missed else ()
        return (*self._failed.values(), *mismatch, *voters)

    def missing(self) -> str:
        """What it means that some of the voters take no part; "" where all do, or nobody votes."""
        return self._missing().explanation

    def _missing(self) -> VotersMissing:
        hub = self._hub
        names, voters = hub.machine.agreement.missing(), hub.machine.ground.options.voters
        return VotersMissing(names, explain_missing(voters, names, hub.hubs.votes_in(hub.instance)))

    def told(self, event: Any) -> HubEvent | None:
        """What users hear of this, if they do."""
        hub = self._hub
        told: HubEvent
        match event:
            case h.ParticipantsChanged():
                told = HubNodesChanged(hub.nodes())
                log.info("event=hub_nodes_changed hub=%s nodes=%d", hub.text, len(told.nodes))
            case h.ConfigDiffers(_, ours, theirs, places):
                others = {hub.name_of(site): settings for site, settings in theirs}
                explained = explain_mismatch(ours, others, places) if theirs else ""
                told = self._mismatch = ConfigMismatch(ours, theirs, places, explained)
                log.error("event=config_mismatch hub=%s reason=%r", hub.text, told.explanation)
            case h.CopyEnded(_, id, epoch, why, winner, error, copies):
                told = CopyEnded(decode_key(id), why, winner, error, hub.machine.ground.me[0], copies)
                log.warning("event=copy_ended hub=%s id=%r token=%d why=%r winner=%r copies=%d",
                            hub.text, told.id, epoch, why, hub.name_of(winner), copies)  # fmt: skip
            case h.MoveFailed(_, id, target, error):
                told = MoveFailed(decode_key(id), target, error)
                log.warning("event=move_failed hub=%s id=%r target=%s reason=%r",
                            hub.text, told.id, hub.name_of(target), error)  # fmt: skip
            case h.HandoverLost(_, id, error):  # whoever ran it has logged that
                told = HandoverLost(decode_key(id), error)
            case h.StrategyFailed(_, function, reason):
                told = self._failed[function] = StrategyFailed(function, reason)
                log.error("event=strategy_failed hub=%s function=%s reason=%r", hub.text, function, reason)
            case h.VotersMissing():
                told = self._missing()
                self._missed = bool(told.names)
                log.log(logging.WARNING if told.names else logging.INFO,
                        "event=voters_missing hub=%s names=%s reason=%r",
                        hub.text, ",".join(told.names), told.explanation)  # fmt: skip
            case SeatEmpty(name, sites, why) if sites:  # who is not there at all is missed already
                told = VotersMissing((name,), f"{name}: {why}")
            case _:
                return None
        return told
