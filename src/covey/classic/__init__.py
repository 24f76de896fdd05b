"""The seeds' own names over a running `covey.Node`, for those who know them: thin, and each says where it differs."""

from covey.classic.groups import Groups
from covey.classic.membership import Membership
from covey.classic.values import Dump, Recorded
from covey.protocols.membership.vocabulary import SyncMessage

__all__ = ["Dump", "Groups", "Membership", "Recorded", "SyncMessage"]
