"""The house as docs/design/house.md describes it: imports run downwards, light modules stay light, a file is one room."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BELOW = {
    "core": set(),
    "slurm": {"core"},
    "dashboards": {"core"},
    "sweeps": {"core", "slurm", "dashboards"},
}
"""Each floor with the floors that it may import."""
ROOMS = {
    "definition",
    "workspace",
    "store",
    "control",
    "run",
    "data",
    "models",
    "training",
    "evaluation",
    "analysis",
    "policy",
}
FOLDERS = {*BELOW, "tests", "bench", "docs"}
PRODUCTS = {"build", "dist", "runs", "mlruns", "node_modules"}
"""Folders at the top that tools and launches make; git ignores them."""
HEAVY = ("torch", "transformers", "mlflow")
PORTS = {"Scheduler", "Submitter", "Tracker"}
LONGEST = 600
ENTRY = ("core/entry.py", "sweeps.cli.main")
"""The one name that the ground holds of the top floor: the check for foreign packages has to run before any floor is imported."""


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py") if "assets" not in path.parts)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every module that a file imports, at whatever depth, as (line, dotted name); ``from core import errors`` is ``core.errors``."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{stem}.{alias.name}"
                yield node.lineno, inner if is_module(inner) else stem


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def room(name: str) -> str | None:
    """The room of ``core`` that a module stands in; ``None`` for ``core.errors`` and ``core.registry``, which all may use."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "core" and (ROOT / "core" / parts[1]).is_dir() else None


@pytest.mark.parametrize("floor", BELOW)
def test_a_floor_imports_only_the_floors_below_it(floor: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources(floor)
        for line, name in imports(path)
        if (top := name.split(".")[0]) in BELOW and top != floor and top not in BELOW[floor]
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("floor", BELOW)
def test_no_floor_names_a_module_above_it_in_a_string(floor: str) -> None:
    """A module that is loaded by name (``importlib``, ``python -m``) is an import as well."""
    above = set(BELOW) - BELOW[floor] - {floor}
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} names {node.value!r}"
        for path in sources(floor)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch(r"[a-z_]+(\.[a-z_0-9]+)+(:\w+)?", node.value)
        and node.value.split(".")[0] in above
        and is_module(node.value.partition(":")[0])
        and (str(path.relative_to(ROOT)), node.value) != ENTRY
    ]
    assert not wrong, "\n".join(wrong)


def test_tests_and_measurements_are_imported_by_no_floor() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources(*BELOW)
        for line, name in imports(path)
        if name.split(".")[0] in ("tests", "bench")
    ]
    assert not wrong, "\n".join(wrong)


def test_the_definition_room_imports_no_other_room() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources("core/definition")
        for line, name in imports(path)
        if room(name) not in (None, "definition")
    ]
    assert not wrong, "\n".join(wrong)


def test_the_rooms_of_core_have_an_order() -> None:
    graph: dict[str, set[str]] = defaultdict(set)
    for path in sources("core"):
        here = room(module_name(path))
        if here is not None:
            graph[here] |= {there for _, name in imports(path) if (there := room(name)) not in (None, here)}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"rooms of core import each other in a circle: {' <- '.join(error.args[1])}")


def test_only_control_declares_the_ports() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} declares {node.name}"
        for path in sources(*BELOW)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef) and node.name in PORTS and not path.is_relative_to(ROOT / "core" / "control")
    ]
    assert not wrong, "\n".join(wrong)


def heavy_after(statements: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run statements in a fresh interpreter; its last line of output lists the heavy packages that it has then loaded."""
    script = f"import sys\n{statements}\nprint()\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", script, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_the_definition_room_and_every_config_module_load_nothing_heavy() -> None:
    """A sweep of 100,000 cells is planned on a login node, in a process that never loads torch."""
    names = [module_name(path) for path in sources("core/definition")]
    names += [module_name(path) for path in sources("core") if path.name == "config.py"]
    statements = f"""
import importlib
for module in {names!r}:
    importlib.import_module(module)
    loaded = [name for name in {HEAVY!r} if name in sys.modules]
    if loaded:
        sys.exit(f"{{module}} loads {{loaded}}")
"""
    result = heavy_after(statements)
    assert result.returncode == 0, result.stderr


def test_the_command_shows_its_help_without_loading_anything_heavy() -> None:
    statements = """
from sweeps.cli.main import main
sys.argv[0] = "sweep"
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""
    result = heavy_after(statements, "--help")
    assert result.returncode == 0, result.stderr
    assert "launch" in result.stdout
    assert result.stdout.splitlines()[-1] == ""


def test_packages_stand_only_in_the_folders_of_the_house() -> None:
    found = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".") and any(path.rglob("*.py"))}
    assert found - PRODUCTS <= FOLDERS
    assert {path.name for path in (ROOT / "core").iterdir() if path.is_dir() and any(path.glob("*.py"))} <= ROOMS


@pytest.mark.parametrize("package", BELOW)
def test_every_folder_of_a_package_is_a_package(package: str) -> None:
    """A folder without ``__init__.py`` would be missing from the wheel's tested set and could be hidden by another path."""
    missing = {str(path.parent.relative_to(ROOT)) for path in sources(package) if not (path.parent / "__init__.py").is_file()}
    assert not missing


def test_a_file_is_one_room() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in sources(*BELOW, "tests", "bench")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST
    }
    assert not long


def test_nothing_is_left_open() -> None:
    marks = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")) + r")\b")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in [*sources(*BELOW, "tests", "bench"), *(ROOT / "sweeps").glob("*.yaml"), *(ROOT / "docs").rglob("*.md")]
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if marks.search(line)
    ]
    assert not found
