"""Whether all who take part in a hub have one configuration, and whether those take part who are to vote."""

from __future__ import annotations

from typing import Any

from covey.core.errors import DeadlineExceeded
from covey.core.ids import short
from covey.core.vocabulary import Emit
from covey.protocols.registry.ground import Ground
from covey.protocols.registry.rows import digest_of
from covey.protocols.registry.vocabulary import ConfigDiffers, VotersMissing

PATIENCE_US = 60 * 1_000_000  # who does not know by then what runs elsewhere does not open the hub. Guess
TELLS = "its synchronization tells everything to whoever comes, and that nodes reach each other"


class Agreement:
    """What keeps a hub from running its children that only people can put right.

    Law: each set of nodes with another configuration is said once, as it is seen; and each set of voters who take no
    part once the view is stable, also that it is empty again.
    """

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._differing: tuple[Any, ...] = ()
        self._missing: tuple[str, ...] = ()

    def missing(self) -> tuple[str, ...]:
        """The voters' names that nobody bears who takes part and has our configuration."""
        options, view = self._ground.options, self._ground.places.view
        ours = digest_of(options.settings)
        there = {one.name for one in (*view.hosts, *view.others) if one.config == ours}
        return tuple(name for name in options.voters if name not in there)

    def silence(self) -> DeadlineExceeded:
        """Why this node cannot know what runs already: who holds rows of this hub and shows none."""
        ground = self._ground
        silent = [short(site) for site in ground.rows.holders(ground.hub) if site not in ground.book.participants]
        told = f"nothing was heard of it from {', '.join(silent[:5])}" if silent else "its rows did not come"
        return DeadlineExceeded(f"{told} for {PATIENCE_US // 1_000_000} s; the hub was not opened: see that {TELLS}")

    def on_view(self) -> None:
        """Others take part now."""
        ground, view = self._ground, self._ground.places.view
        ours = digest_of(ground.options.settings)
        differing = [one for one in (*view.hosts, *view.others) if one.config != ours]
        theirs = tuple((one.site, one.settings) for one in differing)
        if theirs != self._differing:
            self._differing = theirs
            if theirs:
                ground.say(Emit(ConfigDiffers(ground.hub, ground.options.settings, theirs, view.config == ours)))

    def on_stable(self) -> None:
        """The same have taken part for a while."""
        ground, missing = self._ground, self.missing()
        if missing != self._missing and not ground.closing:
            self._missing = missing
            ground.say(Emit(VotersMissing(ground.hub, missing)))
