"""Every error covey raises, named by who is to blame.

::

    CoveyError
    ├─ UsageError            you: the call was wrong; the state is unchanged
    │  ├─ ConfigError        (also ValueError) an option has a wrong value
    │  ├─ ClosedError        the node or handle is closed, or not started
    │  ├─ UnknownName        (also LookupError) nothing here has that name
    │  ├─ NameTaken          somebody else has that name
    │  ├─ ValueTooLarge      the value does not fit in a frame
    │  └─ TypeMismatch       one name, two types
    ├─ PeerError             them: the link is dropped, the rest goes on
    │  ├─ FrameError         bytes that are not a frame of ours, or too long
    │  ├─ DecodeError        a frame that does not decode
    │  ├─ VersionMismatch    no protocol version in common
    │  ├─ AuthenticationError   another secret
    │  ├─ ClusterMismatch    another cluster's name
    │  └─ SiteConflict       two processes claim one life of one site
    ├─ UnavailableError      the world: try again
    │  ├─ PeerUnreachable    (also ConnectionError) no link could be made
    │  ├─ JoinFailed         no contact let us in
    │  ├─ StorageFailed      the disk said no; nothing undurable was shown
    │  ├─ DeadlineExceeded   (also TimeoutError) it may still happen
    │  └─ Overloaded         a bound was reached
    └─ Deposed               this child no longer has the right to run

    InvariantError (AssertionError) stands outside: it is our bug, and `except CoveyError` must not hide it.

A message says the cause, what happened to the state, and what to do, in one line.
"""

from __future__ import annotations


class CoveyError(Exception):
    """The root of all errors that are not bugs of covey itself."""


class UsageError(CoveyError):
    """The caller's mistake. Nothing was changed."""


class ConfigError(UsageError, ValueError):
    """An option has a value that cannot work. Nothing was opened."""


class ClosedError(UsageError):
    """The node or handle is not open: not started yet, closed, or dead from the cause in `__cause__`."""


class UnknownName(UsageError, LookupError):
    """Nothing here goes by that name."""


class NameTaken(UsageError):
    """The name belongs to somebody else."""


class ValueTooLarge(UsageError):
    """The encoded value is larger than a message may be. Nothing was sent."""


class TypeMismatch(UsageError):
    """One name is used with two types."""


class PeerError(CoveyError):
    """A peer broke the protocol. Its link is dropped; everything else goes on."""


class FrameError(PeerError):
    """The bytes are not a frame, or the frame is longer than the limit."""


class DecodeError(PeerError):
    """The frame's content does not decode to messages."""


class VersionMismatch(PeerError):
    """The two sides have no protocol version in common."""


class AuthenticationError(PeerError):
    """The other side does not hold the same secret."""


class ClusterMismatch(PeerError):
    """The other side belongs to a cluster of another name."""


class SiteConflict(PeerError):
    """Two processes claim the same life of the same site: a cloned disk."""


class UnavailableError(CoveyError):
    """The world did not allow it this time."""


class PeerUnreachable(UnavailableError, ConnectionError):
    """No link to the peer could be made, so the message was not delivered."""


class JoinFailed(UnavailableError):
    """No contact answered."""


class StorageFailed(UnavailableError):
    """The storage refused. What was not durable has not been shown to anyone."""


class DeadlineExceeded(UnavailableError, TimeoutError):
    """The answer did not come in time; the operation may still take effect."""


class Overloaded(UnavailableError):
    """A bound was reached. The operation was not admitted."""


class Deposed(CoveyError):
    """This child no longer has the right to run."""


class InvariantError(AssertionError):
    """A law of covey does not hold: our bug. It stops this node only."""


def invariant(holds: bool, law: str) -> None:
    """Raise `InvariantError(law)` unless `holds`. Unlike `assert` it survives `python -O`."""
    if not holds:
        raise InvariantError(law)
