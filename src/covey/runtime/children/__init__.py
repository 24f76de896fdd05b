"""Children of hubs: coroutines and processes that the machine of hubs has started, fed and ended."""

from covey.runtime.children.children import Children, ChildrenConfig
from covey.runtime.children.context import Context, Handover, Stopping
from covey.runtime.children.letters import Call, Cast, Mailbox
from covey.runtime.children.resolving import Resolve
from covey.runtime.children.starts import Start, decode_arguments, encode_arguments, name_of

__all__ = [
    "Call",
    "Cast",
    "Children",
    "ChildrenConfig",
    "Context",
    "Handover",
    "Mailbox",
    "Resolve",
    "Start",
    "Stopping",
    "decode_arguments",
    "encode_arguments",
    "name_of",
]
