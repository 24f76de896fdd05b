"""The facts and effects that more than one machine speaks.

The tense tells the role: facts are past (`PeerLost`), commands and effects imperative (`Send`), and what is emitted to
the user is a fact again. What only one machine speaks stands beside that machine.

`now_us` never appears here: time is the second argument of every `handle`. Machines share this form::

    __init__(config, rng, now_us)   handle(incoming, now_us) -> list[effect]   deadline() -> int | None
    check() -> None                 statistics() -> frozen struct              pure queries
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Protocol

import msgspec

from covey.core.ids import ClusterId, Contact, Site


class Channel(IntEnum):
    """Named, separate connections. Nodes keep `control` and `data` to each other; the first is never paused for the
    second. On `client` somebody who holds the secret and is no node asks one node something.
    """

    CONTROL = 0
    DATA = 1
    CLIENT = 2


class Cause(IntEnum):
    """Why a link ended or could not be made. Numbers are on the wire; never reuse one."""

    CLOSED = 0  # the other side ended without a word
    RESET = 1  # the operating system broke the connection
    SILENT = 2  # nothing was heard for the silence limit
    SLOW = 3  # it did not read fast enough for too long
    GOODBYE = 4  # it said it was closing
    REPLACED = 5  # a newer connection or life took its place
    IDLE = 6  # nobody needed the link any more
    REFUSED = 7  # nobody listens there
    TIMEOUT = 8  # no answer in time
    VERSION = 9
    CLUSTER = 10
    SECRET = 11
    SITE_CONFLICT = 12
    SELF = 13  # the address is our own
    OTHER_SITE = 14  # somebody else answers at that address
    CROSSING = 15  # our own dial to it goes first
    FRAME = 16  # not a frame of ours, or too long
    DECODE = 17  # a frame that does not decode
    VIOLATION = 18  # a message that its protocol forbids
    BUSY = 19  # too many connections
    TLS = 20  # no TLS session: plaintext against TLS, or a certificate of another authority
    NO_ADDRESS = 21  # no link, and no address to dial
    ALONE = 22  # one side left its cluster or was thrown out, and goes on in one of its own


class Liveness(IntEnum):
    """What the detector holds of one life. Numbers are on the wire and order evidence: later beats earlier."""

    UNKNOWN = 0  # a stored member that nobody has observed since we started
    ALIVE = 1
    SUSPECT = 2
    DOWN = 3
    STOPPED = 4  # it said so itself; irrevocable for that life


class Machine(Protocol):
    """What the engine asks of everything it composes."""

    def handle(self, incoming: Any, now_us: int) -> Sequence[Any]: ...
    def deadline(self) -> int | None: ...
    def check(self) -> None: ...
    def statistics(self) -> msgspec.Struct: ...


# --- facts every machine may hear -----------------------------------------------------------------------------------


class Tick(msgspec.Struct, frozen=True, gc=False):
    """The alarm rang. Spurious ones are harmless."""


class WallOffset(msgspec.Struct, frozen=True, gc=False):
    """Wall time is monotonic time plus this, microseconds since 1970; told when it moved by more than 1 ms."""

    offset_us: int


class AddressLearned(msgspec.Struct, frozen=True, gc=False):
    """The address to advertise from now on: the local end of the first link, where none was given."""

    address: str


class MessagesReceived(msgspec.Struct, frozen=True, gc=False):
    """Messages from one frame of an authenticated peer, in order, all of them for the machine that hears this."""

    peer: Site
    messages: Sequence[Any]


class PeerConnected(msgspec.Struct, frozen=True, gc=False):
    """A link to a life is up."""

    contact: Contact
    channel: Channel


class PeerLost(msgspec.Struct, frozen=True, gc=False):
    """A link that was up is gone."""

    contact: Contact
    channel: Channel
    cause: Cause


class PeerUnreached(msgspec.Struct, frozen=True, gc=False):
    """What was to be sent to a peer without a link was dropped: no link could be made."""

    site: Site
    channel: Channel
    cause: Cause


class AddressAnswered(msgspec.Struct, frozen=True, gc=False):
    """Somebody who holds our secret answers at a dialled address; it may be ourselves."""

    address: str
    contact: Contact


class AddressFailed(msgspec.Struct, frozen=True, gc=False):
    """Nobody of our cluster answers at a dialled address."""

    address: str
    cause: Cause


class MemberAdded(msgspec.Struct, frozen=True, gc=False):
    """A site belongs to the cluster, in this life and at this address, as far as is known; also said when these change.

    `observed` is False for a member that was only read from disk, or that another one wrote. `meta` is what it says of
    itself, encoded.
    """

    contact: Contact
    ephemeral: bool
    observed: bool
    meta: bytes = b""


class MemberRemoved(msgspec.Struct, frozen=True, gc=False):
    """A site does not belong to the cluster any more.

    `by` threw it out; it is the site itself if it left, or was ephemeral and is forgotten; None if it is we who go.
    """

    site: Site
    by: Site | None = None


class DigestsChanged(msgspec.Struct, frozen=True, gc=False):
    """What membership wants every ping and ack to carry: digests of its operations and of its kicked set."""

    digests: bytes


class PeerProbed(msgspec.Struct, frozen=True, gc=False):
    """A member is asked just now whether it lives: what is said to it in this turn goes along for next to nothing."""

    site: Site


class DigestsHeard(msgspec.Struct, frozen=True, gc=False):
    """The digests that a peer's ping or ack carried."""

    site: Site
    digests: bytes


class LivenessChanged(msgspec.Struct, frozen=True, gc=False):
    """The detector's opinion of one life changed. `why` is for people, `cause` is one word.

    `cause`: `added` or `stored` (membership says so), `spoke`, `told` (by another member), `unreached` (by us),
    `silent` (through its suspicion), `refused` (nobody listens there any more), `stopped` (its own last word).
    """

    contact: Contact
    state: Liveness
    why: str
    cause: str = ""


class Superseded(msgspec.Struct, frozen=True, gc=False):
    """Others know a later life of ours than this one, or the end of this one: no word of this life counts with them."""

    incarnation: int


class ClusterChanged(msgspec.Struct, frozen=True, gc=False):
    """We belong to another cluster now, or begin a new life: every link and all that was known of others ends.

    `solo`: nobody else can be in that cluster.
    """

    cluster: ClusterId
    incarnation: int
    solo: bool


class ClusterEntered(msgspec.Struct, frozen=True, gc=False):
    """`ClusterChanged` has been carried out: no link and no message of the cluster before comes after this."""

    cluster: ClusterId


class NeighborUp(msgspec.Struct, frozen=True, gc=False):
    """This node and `contact` keep a link to each other from now on."""

    contact: Contact


class NeighborDown(msgspec.Struct, frozen=True, gc=False):
    """`contact` is not a neighbour any more."""

    contact: Contact
    cause: Cause


class LoopLagged(msgspec.Struct, frozen=True, gc=False):
    """The world's event loop was this late at its last look (told when it was late, and once when it is well again)."""

    lag_us: int


class TurnEnded(msgspec.Struct, frozen=True, gc=False):
    """Everything of this turn has been said: what was gathered is to be said and written now."""


class PeerCongested(msgspec.Struct, frozen=True, gc=False):
    """The peer reads more slowly than we write; what is sent now waits in memory."""

    site: Site
    channel: Channel


class PeerDrained(msgspec.Struct, frozen=True, gc=False):
    """The peer caught up."""

    site: Site
    channel: Channel


# --- effects that several machines use ------------------------------------------------------------------------------


class Send(msgspec.Struct, frozen=True, gc=False):
    """Send one message over the link to `to`, dialling `address` first where there is no link and one is given.

    At most once: what cannot be sent ends in `PeerUnreached`, what was on a link that broke in `PeerLost`.
    """

    to: Site
    message: Any
    address: str = ""
    channel: Channel = Channel.CONTROL


class SendMany(msgspec.Struct, frozen=True, gc=False):
    """Send several messages, in order, over the existing link to `to`; without one they are dropped.

    What one turn has for one peer costs one effect and one encoding this way.
    """

    to: Site
    messages: Sequence[Any]
    channel: Channel = Channel.CONTROL


class SendData(msgspec.Struct, frozen=True, gc=False):
    """Send messages to one peer on the `data` channel, waiting for the link where it is not ready.

    Resolved once they are on the link; refused when they cannot be, and then none was sent. Request 0 asks for no
    outcome. `bytes`: their size, about.
    """

    request: int
    to: Site
    address: str
    messages: tuple[Any, ...]
    bytes: int


class Multicast(msgspec.Struct, frozen=True, gc=False):
    """Send one message, encoded once, over existing links; peers without a link are passed over."""

    to: tuple[Site, ...]
    message: Any
    channel: Channel = Channel.CONTROL


class WantTurn(msgspec.Struct, frozen=True, gc=False):
    """Tell us `TurnEnded` once the world has nothing more to say at once."""


class Flood(msgspec.Struct, frozen=True, gc=False):
    """Send one message to every neighbour but one; whoever takes it in as news floods it on."""

    message: Any
    but: Site | None = None


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One entry of a log: `value` under `key` from now on; None takes the key away."""

    key: bytes
    value: bytes | None


class Dial(msgspec.Struct, frozen=True, gc=False):
    """Find out who is at an address; ends in `AddressAnswered` or `AddressFailed`."""

    address: str


class Pin(msgspec.Struct, frozen=True, gc=False):
    """Keep the control link to this peer: it is a neighbour."""

    site: Site


class Unpin(msgspec.Struct, frozen=True, gc=False):
    """The control link to this peer may be closed when it is idle or others need the room."""

    site: Site


class Disconnect(msgspec.Struct, frozen=True, gc=False):
    """Drop every link to a peer and tell it why."""

    site: Site
    cause: Cause
    detail: str = ""


class Emit(msgspec.Struct, frozen=True, gc=False):
    """Tell the user's subscribers an event."""

    event: Any


class Resolve(msgspec.Struct, frozen=True, gc=False):
    """The outcome of a command that carried `request`."""

    request: int
    value: Any = None


class Refuse(msgspec.Struct, frozen=True, gc=False):
    """A command that carried `request` failed; `error` is a `CoveyError` with its whole message."""

    request: int
    error: Exception


class Stop(msgspec.Struct, frozen=True, gc=False):
    """This process ends: announce the end of this life, write what is to be kept, and say nothing more."""


class Abandon(msgspec.Struct, frozen=True, gc=False):
    """Nobody waits for `request` any more."""

    request: int


class Persist(msgspec.Struct, frozen=True, gc=False):
    """Change a log durably, all records or none; whatever the same machine does afterwards waits for it.

    A log is a map from keys to values, so it does not grow with time (see `engine.gate`).
    """

    log: str
    records: tuple[Record, ...]


# --- events that several machines emit ------------------------------------------------------------------------------


class SiteContested(msgspec.Struct, frozen=True, gc=False):
    """Another process lives as our site, in a later life, and members hold to that one: this one has to end."""

    detail: str


class ProtocolViolation(msgspec.Struct, frozen=True, gc=False):
    """A peer sent what no peer may send. Its link was dropped."""

    site: Site
    cause: Cause
    detail: str
