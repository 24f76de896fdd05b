"""`covey sim`: the command of `python -m covey.sim`, under the name people look for it."""

from covey.sim.__main__ import main as simulate

__all__ = ["simulate"]
