"""Where a node looks for others: a seed is one place to look, given as text.

Discovery only ever adds candidates. A seed that finds nobody says why in `trouble` and is asked again; what it finds
may be long gone. Who is a member is decided elsewhere.
"""

from covey.runtime.discovery.seeds import Seed, parse_seed

__all__ = ["Seed", "parse_seed"]
