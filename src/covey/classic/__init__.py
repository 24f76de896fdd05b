"""The seeds' own names over a running `covey.Node`, for those who know them: thin, and each says where it differs."""

from covey.classic.groups import Groups
from covey.classic.membership import Membership
from covey.classic.synchronization import SynchronizationStrategy
from covey.classic.values import Dump, Recorded
from covey.protocols.membership.vocabulary import SyncMessage
from covey.protocols.registry.strategies.strategy import AllRows, CrossNodeRequest, Data, HubView, OurRows, Step, Tell

__all__ = [
    "AllRows",
    "CrossNodeRequest",
    "Data",
    "Dump",
    "Groups",
    "HubView",
    "Membership",
    "OurRows",
    "Recorded",
    "Step",
    "SyncMessage",
    "SynchronizationStrategy",
    "Tell",
]
