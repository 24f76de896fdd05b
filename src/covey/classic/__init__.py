"""The seeds' own names over a running `covey.Node`, for those who know them: thin, and each says where it differs."""

from covey.classic.groups import Groups

__all__ = ["Groups"]
