"""Which packages stand on which shelf, and what is asked of them. Pure.

A shelf is one child of the hub: it holds the word index of a package, or of a few small ones that are neighbours in the
alphabet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random

FILES_AIM = 18  # on a shelf of small packages: about thirty shelves, six a process

# What clients ask for: words that most packages have, words that few have, and one that none has.
WORDS = (
    "def", "self", "return", "import", "class", "none", "if", "not", "error", "name", "value", "lambda", "yield",
    "async", "await", "socket", "thread", "buffer", "unicode", "zip", "covey",
)  # fmt: skip


def package(file: str) -> str:
    """The package or the module that a file belongs to: `asyncio` of `asyncio/tasks.py`."""
    return file.split("/")[0].removesuffix(".py")


def shelves(files: Iterable[str], aim: int = FILES_AIM) -> dict[str, list[str]]:
    """The files of each shelf. A shelf is called after its first package, with a `+` where it has more."""
    packages: dict[str, list[str]] = {}
    for file in sorted(files):
        packages.setdefault(package(file), []).append(file)
    found: dict[str, list[str]] = {}
    names: list[str] = []
    held: list[str] = []

    def put_away() -> None:
        if names:
            found[names[0] + ("+" if len(names) > 1 else "")] = list(held)
        names.clear()
        held.clear()

    for name in sorted(packages):
        if len(packages[name]) >= aim:
            put_away()
        names.append(name)
        held.extend(packages[name])
        if len(held) >= aim:
            put_away()
    put_away()
    return found


def questions(names: Iterable[str], rng: Random) -> Iterator[tuple[str, str]]:
    """For ever: a shelf and a word to ask it for. Each shelf is asked once in every round."""
    order = list(names)
    while order:
        rng.shuffle(order)
        for name in order:
            yield name, rng.choice(WORDS)
