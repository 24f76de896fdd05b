"""The protocol version, and what a newer one may do to an older one.

Rules: fields are only ever appended, with defaults; a message kind keeps its tag for ever; unknown kinds and unknown
trailing fields are ignored. So `VERSION` rises only when two versions cannot talk at all, and `VERSION_MIN` says how
far back this build understands.
"""

VERSION = 1
VERSION_MIN = 1
MAGIC = "covey"


def common(peer_min: int, peer_max: int) -> int | None:
    """The newest version both sides speak, or None."""
    version = min(VERSION, peer_max)
    return version if version >= max(VERSION_MIN, peer_min) else None
