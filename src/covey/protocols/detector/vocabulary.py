"""What only the detector says and hears."""

from __future__ import annotations

import msgspec

from covey.core.ids import Site
from covey.core.vocabulary import Liveness


class PeerSpoke(msgspec.Struct, frozen=True, gc=False):
    """A frame of this site, which we accuse, has been heard, whatever was in it."""

    site: Site


class LinkBroken(msgspec.Struct, frozen=True, gc=False):
    """The event: `one` (this node) does not reach `other`, yet other members do. Both are well; the way is not."""

    one: Site
    other: Site


class LinkMended(msgspec.Struct, frozen=True, gc=False):
    """The event: `one` reaches `other` again."""

    one: Site
    other: Site


class SelfAccused(msgspec.Struct, frozen=True, gc=False):
    """The event: others hold this node for suspect, down or stopped. `refuted` is False if no word of ours can help:

    the record is of a later life than ours, or says that we stopped. Then a new incarnation is needed.
    """

    by: bytes
    state: Liveness
    incarnation: int
    refuted: bool
