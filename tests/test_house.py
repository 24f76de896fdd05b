"""The house keeps its order: floors, what may be imported where, sizes, names, and what is written down about them.

ARCHITECTURE.md and CONTRIBUTING.md say it in words. Each failure names the file, the line and what to do.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import covey

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

# Imports point downwards only; siblings on one floor do not know each other. "" is the package root, `import covey`.
FLOORS = {
    "core": 1,
    "wire": 2,
    "crdt": 2,
    "rows": 2,
    "protocols": 3,
    "engine": 4,
    "observe": 4,
    "runtime": 5,
    "sim": 5,
    "api": 6,
    "classic": 6.5,  # other names for what api has
    "": 6.8,
    "cli": 7,
    "web": 7,
    "testing": 7,
    "__main__": 8,
}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
WORLDLY = {"asyncio", "datetime", "logging", "os", "random", "secrets", "socket", "ssl", "threading", "time"}

# Files above 300 lines, and how far they may go: the size rounded up to the next ten. An entry may only shrink.
LINES_AIM = 300
LINES_MAX = 600
LARGE: dict[str, int] = {
    "src/covey/api/hub_node.py": 430,
    "src/covey/api/hub_values.py": 320,
    "src/covey/api/hubs.py": 340,
    "src/covey/api/mailboxes.py": 360,
    "src/covey/api/node.py": 580,
    "src/covey/core/vocabulary.py": 410,
    "src/covey/protocols/claims/host.py": 400,
    "src/covey/protocols/detector/machine.py": 430,
    "src/covey/protocols/detector/opinions.py": 330,
    "src/covey/protocols/groups/machine.py": 350,
    "src/covey/protocols/links/machine.py": 560,
    "src/covey/protocols/membership/ledger.py": 320,
    "src/covey/protocols/membership/machine.py": 390,
    "src/covey/protocols/membership/passage.py": 320,
    "src/covey/protocols/overlay/machine.py": 450,
    "src/covey/protocols/registry/calls.py": 450,
    "src/covey/protocols/registry/hosting.py": 540,
    "src/covey/protocols/registry/hub.py": 490,
    "src/covey/protocols/registry/machine.py": 520,
    "src/covey/protocols/registry/moves.py": 510,
    "src/covey/protocols/registry/starting.py": 350,
    "src/covey/protocols/replication/machine.py": 480,
    "src/covey/protocols/replication/shared.py": 350,
    "src/covey/rows/shared.py": 450,
    "src/covey/runtime/runner.py": 410,
    "src/covey/runtime/transport/tcp.py": 340,
    "src/covey/sim/profiles.py": 390,
    "src/covey/sim/world.py": 320,
    "tests/api/test_events.py": 520,
    "tests/api/test_life.py": 320,
    "tests/api/test_options.py": 310,
    "tests/api/test_send.py": 410,
    "tests/engine/test_engine.py": 310,
    "tests/protocols/claims/claims_world.py": 340,
    "tests/protocols/claims/test_host.py": 360,
    "tests/protocols/detector/detector_world.py": 340,
    "tests/protocols/direct/test_direct.py": 350,
    "tests/protocols/links/links_harness.py": 370,
    "tests/protocols/links/test_client_links.py": 310,
    "tests/protocols/links/test_dialling.py": 330,
    "tests/protocols/overlay/overlay_harness.py": 310,
    "tests/protocols/overlay/test_paper.py": 340,
    "tests/protocols/registry/registry_world.py": 330,
    "tests/protocols/registry/test_call_mailboxes.py": 370,
    "tests/protocols/registry/test_calls.py": 330,
    "tests/protocols/registry/test_hosting.py": 340,
    "tests/protocols/registry/test_starting.py": 360,
    "tests/protocols/replication/replication_net.py": 430,
    "tests/protocols/replication/test_replication_shared.py": 320,
    "tests/runtime/test_nodes_over_tcp.py": 430,
    "tests/runtime/transport/test_memory.py": 360,
    "tests/test_house.py": 350,
    "tests/test_setup.py": 320,
    "tests/wire/test_vectors.py": 360,
}

# Said once for all machines, in `core.vocabulary`.
DOOR = {"handle", "deadline", "check", "statistics"}
# Properties whose name is their whole documentation.
OBVIOUS = {"life", "full", "site", "address", "incarnation"}

# Folders of tests without a package of their name.
FREE_FOLDERS = {"examples": "the programs in examples/", "hostile": "what strangers send to a whole node"}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def name_of(path: Path) -> str:
    """`covey.wire.codec` for its file; a package for its `__init__.py`."""
    parts = path.relative_to(ROOT / "src").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(module: str) -> tuple[str, ...]:
    """What counts as one sibling: a package on its floor, and inside `protocols` each protocol."""
    parts = (*module.split(".")[1:], "")
    if parts[0] not in FLOORS:
        pytest.fail(f"{module} stands on no floor: give {parts[0]!r} one in FLOORS of tests/test_house.py")
    return parts[:2] if parts[0] == "protocols" else parts[:1]


def imported(path: Path) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Every import of a file, those in functions and under TYPE_CHECKING too: line, module, names."""
    package = name_of(path).split(".") if path.name == "__init__.py" else name_of(path).split(".")[:-1]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, ()
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield node.lineno, module, tuple(alias.name for alias in node.names)


def ours(module: str, names: tuple[str, ...]) -> list[str]:
    """The modules of covey behind one import. `from covey import core` means the package `core`."""
    if module.split(".")[0] != "covey":
        return []
    if module in ("covey", "covey.protocols"):
        folders = {path.name for path in (ROOT / "src" / Path(*module.split("."))).iterdir()}
        return [f"{module}.{name}" if {name, f"{name}.py"} & folders else module for name in names] or [module]
    return [module]


def at(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def nothing(wrong: list[str]) -> None:
    assert not wrong, "\n".join([f"{len(wrong)} to put right:", *wrong])


def test_imports_point_downwards():
    wrong = []
    for path in SOURCES:
        here = room(name_of(path))
        for line, module, names in imported(path):
            for target in map(room, ours(module, names)):
                if target != here and FLOORS[target[0]] >= FLOORS[here[0]]:
                    arrow = f"{'.'.join(filter(None, here)) or 'covey'} -> {'.'.join(filter(None, target)) or 'covey'}"
                    wrong.append(f"{at(path, line)}: {arrow} is not downwards")
    nothing(wrong)


def test_nothing_of_the_real_world_is_imported_below_the_runtime_or_in_the_simulator():
    wrong = []
    for path in SOURCES:
        (floor, *_) = room(name_of(path))
        if FLOORS[floor] >= 5 and floor != "sim":
            continue
        for line, module, names in imported(path):
            if module.split(".")[0] in WORLDLY and (module, names) != ("random", ("Random",)):
                wrong.append(f"{at(path, line)}: {module} belongs to floor 5 and above")
    nothing(wrong)


def test_no_file_grows_beyond_thinking_again():
    wrong = []
    sizes = {str(path.relative_to(ROOT)): len(path.read_bytes().splitlines()) for path in [*SOURCES, *TESTS]}
    for name, size in sizes.items():
        if size > LINES_MAX:
            wrong.append(f"{name} has {size} lines, more than {LINES_MAX}: take it apart")
        elif size > LINES_AIM and size > LARGE.get(name, 0):
            entry = f'"{name}": {-(-size // 10) * 10},'
            known = f"more than its {LARGE[name]} in LARGE" if name in LARGE else f"more than {LINES_AIM}"
            wrong.append(f"{name} has {size} lines, {known}: take it apart, or argue for the entry {entry}")
    for name in LARGE:
        if sizes.get(name, 0) <= LINES_AIM:
            wrong.append(f"{name} has {sizes.get(name, 'no')} lines: take its entry out of LARGE")
    nothing(wrong)


def test_the_public_names_are_the_documented_ones():
    page = ROOT / "docs" / "api.md"
    documented = re.findall(r"^\| `(\w+)` \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(documented) == sorted(dict.fromkeys(documented)), "a name is documented twice"
    missing = sorted({*covey.__all__} - {*documented})
    unknown = sorted({*documented} - {*covey.__all__})
    assert (missing, unknown) == ([], []), "docs/api.md has one row `| \\`Name\\` | … |` for each name in covey.__all__"
    assert [name for name in covey.__all__ if not hasattr(covey, name)] == []


def _is_set(source: ast.expr) -> bool:
    if isinstance(source, (ast.Set, ast.SetComp)):
        return True
    if isinstance(source, ast.Call) and isinstance(source.func, ast.Name):
        if source.func.id in ("list", "tuple", "enumerate", "iter", "reversed", "zip"):
            return any(map(_is_set, source.args))
        return source.func.id in ("set", "frozenset")
    return False


def test_no_run_depends_on_the_order_of_a_set():
    wrong = []
    for path in SOURCES:
        (floor, *_) = room(name_of(path))
        if FLOORS[floor] > 4 and floor != "sim":
            continue
        for node in ast.walk(tree(path)):
            if isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension)) and _is_set(node.iter):
                wrong.append(f"{at(path, node.iter.lineno)}: iterates a set; sort it, or use a dict or OrderedSet")
    nothing(wrong)


@cache
def promised(folder: Path) -> frozenset[str]:
    """The methods that a `Protocol` of this package documents for all who implement it."""
    classes = [node for path in folder.glob("*.py") for node in tree(path).body if isinstance(node, ast.ClassDef)]
    protocols = [node for node in classes if any(ast.unparse(base) == "Protocol" for base in node.bases)]
    methods = [
        node
        for protocol in protocols
        for node in protocol.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return frozenset(DOOR | {node.name for node in methods if ast.get_docstring(node)})


def _undocumented(body: list[ast.stmt], inside: str, said: frozenset[str]) -> Iterator[tuple[int, str]]:
    for node in body:
        if not isinstance(node, (ast.ClassDef, *FUNCTIONS)) or node.name.startswith("_"):
            continue
        is_method = bool(inside) and not isinstance(node, ast.ClassDef)
        decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
        exempt = is_method and (node.name in said or ("property" in decorators and node.name in OBVIOUS))
        if ast.get_docstring(node) is None and not exempt and "overload" not in decorators:
            yield node.lineno, f"{inside}{node.name}"
        if isinstance(node, ast.ClassDef):
            yield from _undocumented(node.body, f"{node.name}.", said)


def test_every_module_and_every_public_class_and_function_says_what_it_is():
    wrong = []
    for path in SOURCES:
        module = tree(path)
        if module.body and ast.get_docstring(module) is None:  # an empty __init__.py has nothing to say
            wrong.append(f"{at(path, 1)}: the module has no docstring")
        if FLOORS[room(name_of(path))[0]] < 7:
            missing = _undocumented(module.body, "", promised(path.parent))
            wrong += [f"{at(path, line)}: {name} has no docstring" for line, name in missing]
    nothing(wrong)


# Put together from pieces, so that this file does not name what it looks for.
FOREIGN = {
    "a path of one machine": "|".join(
        rf"(?<![\w.:/]){start}" for start in ("/ho" + r"me/(?!ann\b)", "/Us" + "ers/", "/ro" + "ot/", "/wo" + "rk/")
    )  # ann is nobody
    + "|"
    + r"\b[A-Z]:\\{1,2}" + "Us" + "ers",
    "a package index": "|".join(
        ("py" + r"pi\.", "python" + r"hosted\.", "index" + "[-_]url", "find" + "[-_]links", "arti" + "factory")
    ),
}  # fmt: skip


def tracked() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


@pytest.mark.parametrize("what", FOREIGN)
def test_no_tracked_file_names_one_machine_or_a_package_index(what):
    pattern = re.compile(FOREIGN[what], re.IGNORECASE if what == "a package index" else 0)
    wrong = []
    for path in tracked():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        wrong += [
            f"{at(path, number)}: {line.strip()[:80]}" for number, line in enumerate(lines, 1) if pattern.search(line)
        ]
    nothing(wrong)


def test_the_patterns_find_what_they_look_for_and_not_this_file():
    machine, index = FOREIGN.values()
    for text in ("see /ho" + "me/bob/x", "'/wo" + "rk/main'", "C:\\Us" + "ers\\ann", "(/ro" + "ot/.cache)"):
        assert re.search(machine, text), text
    for text in ("https://py" + "pi.org/simple", "--index" + "-url=x", "files.python" + "hosted.org"):
        assert re.search(index, text), text
    for text in (
        "src/covey/api/node.py",
        "./home.md",
        "https://example.org/wo" + "rk/x",
        "/var/lib/covey",
        "/ho" + "me/ann/.config",
    ):
        assert not re.search(machine, text), text
    here = Path(__file__).read_text(encoding="utf-8")
    assert not any(re.search(pattern, here) for pattern in FOREIGN.values())


def test_every_test_file_mirrors_a_place_in_the_sources_and_has_a_name_of_its_own():
    wrong = []
    seen: dict[str, Path] = {}
    for path in [path for path in TESTS if path.name.startswith("test_")]:
        folder = path.parent.relative_to(ROOT / "tests")
        if folder.parts and folder.parts[0] not in FREE_FOLDERS and not (ROOT / "src" / "covey" / folder).is_dir():
            wrong.append(f"{at(path, 1)}: src/covey has no folder {folder}")
        if path.name in seen:
            wrong.append(f"{at(path, 1)}: {seen[path.name].relative_to(ROOT)} has the same name")
        seen[path.name] = path
        if not path.read_text(encoding="utf-8").startswith('"""'):
            wrong.append(f"{at(path, 1)}: say in a docstring what these tests hold")
    assert not list((ROOT / "tests").rglob("__init__.py")), "test folders are no packages"
    nothing(wrong)
