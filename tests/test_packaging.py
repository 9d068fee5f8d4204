"""What is installed: the wheel's contents, the command's name, the pins, and nothing by accident."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distributions, entry_points, packages_distributions, requires, version
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("core", "slurm", "dashboards", "sweeps")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources so that the checkout stays as it is, with the setuptools of this environment."""
    copy = tmp_path_factory.mktemp("sources")
    for name in (*PACKAGES, "tests", "bench", "docs"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "assets"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    out = copy / "dist"
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(copy)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = out.glob("*.whl")
    return wheel


def contents(wheel: Path) -> set[str]:
    with ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_the_four_packages_and_nothing_else(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in contents(wheel)}
    assert {name for name in tops if not name.endswith(".dist-info")} == set(PACKAGES)


def test_the_wheel_holds_every_module_the_shipped_definitions_and_the_typing_marks(wheel: Path) -> None:
    expected = {str(path.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    expected |= {str(path.relative_to(ROOT)) for path in (ROOT / "sweeps").rglob("*.yaml")}
    expected |= {f"{package}/py.typed" for package in PACKAGES}
    expected |= {str(path.relative_to(ROOT)) for part in ("templates", "static") for path in (ROOT / "dashboards" / "web" / part).iterdir()}
    assert expected <= contents(wheel)


def test_the_installed_wheel_runs_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    """Nothing of the checkout is needed: not the folder, not the editable installation."""
    installed = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(installed), str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    script = """
import importlib.resources, core.registry, core.definition.trial, sweeps
print(core.registry.__file__, *core.registry.names("head"))
print(*(entry.name for entry in importlib.resources.files(sweeps).iterdir() if entry.name.endswith(".yaml")))
"""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    result = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100)
    assert result.returncode == 0, result.stderr
    place, definitions = result.stdout.splitlines()
    assert place.startswith(f"{installed}{os.sep}")
    assert "mlp" in place
    assert set(definitions.split()) == {path.name for path in (ROOT / "sweeps").glob("*.yaml")}


def project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        found: dict[str, Any] = tomllib.load(file)["project"]
    return found


def pins() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.+!-]+", line) for line in lines), "a pin is NAME==VERSION"
    assert lines == sorted(lines, key=str.lower), "the pins are sorted"
    return {str(canonicalize_name(name)): number for name, _, number in (line.partition("==") for line in lines)}


def needed(roots: list[Requirement]) -> set[str]:
    """Names of all distributions that the requirements bring, extras and environment markers followed, as installed here."""
    installed = {str(canonicalize_name(found.name)) for found in distributions()}
    seen: set[tuple[str, str]] = set()
    todo = [(str(canonicalize_name(root.name)), extra) for root in roots for extra in (*root.extras, "")]
    while todo:
        name, extra = todo.pop()
        if (name, extra) in seen or name not in installed:
            continue
        seen.add((name, extra))
        for text in requires(name) or []:
            requirement = Requirement(text)
            environment = {**{key: str(value) for key, value in default_environment().items()}, "extra": extra}
            if requirement.marker is None or requirement.marker.evaluate(environment):
                todo += [(str(canonicalize_name(requirement.name)), inner) for inner in (*requirement.extras, "")]
    return {name for name, _ in seen}


def test_every_distribution_that_the_project_brings_is_pinned() -> None:
    installed = {str(canonicalize_name(found.name)): found.version for found in distributions()}
    other = {name: installed[name] for name, number in pins().items() if installed.get(name, number) != number}
    if other:
        pytest.skip(f"this environment is not the pinned one: {other}")
    roots = [Requirement(text) for text in project()["dependencies"]]
    roots += [Requirement(text) for extra in project()["optional-dependencies"].values() for text in extra]
    unpinned = needed(roots) - set(pins())
    assert not unpinned, f"run `make constraints`: {sorted(unpinned)}"


def test_every_package_that_the_code_imports_is_a_declared_dependency() -> None:
    """What only comes along with something else may leave with its next release."""
    extras = project()["optional-dependencies"]
    texts = [*project()["dependencies"], *(text for extra in extras.keys() - {"dev"} for text in extras[extra])]
    declared = {str(canonicalize_name(Requirement(text).name)) for text in texts}
    declared.add("pydantic-core")  # pydantic's own other half, pinned by it to the digit
    owners = packages_distributions()
    undeclared = set()
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            else:
                continue
            for top in {name.split(".")[0] for name in names} - set(PACKAGES) - sys.stdlib_module_names:
                if declared.isdisjoint(str(canonicalize_name(owner)) for owner in owners.get(top, [])):
                    undeclared.add(f"{path.relative_to(ROOT)} imports {top}")
    assert not undeclared


def test_the_pins_lie_within_the_ranges_of_the_project() -> None:
    fixed = pins()
    for text in [*project()["dependencies"], *(text for extra in project()["optional-dependencies"].values() for text in extra)]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(fixed[canonicalize_name(requirement.name)]), text


def test_the_pinned_torch_is_the_cpu_build_and_nothing_of_cuda_or_torchvision_comes_along() -> None:
    fixed = pins()
    assert fixed["torch"].endswith("+cpu")
    assert not [name for name in fixed if name.startswith(("nvidia", "cuda", "triton", "torchvision"))]


def run_sweep(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """``sweep --help`` as a user types it in a folder."""
    command = [str(Path(sys.executable).parent / "sweep"), "--help"]
    variables = {**os.environ, **environment}
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=100)


def test_the_installed_command_is_the_one_of_this_version() -> None:
    (command,) = entry_points(group="console_scripts", name="sweep")
    assert {"sweep": command.value} == project()["scripts"]
    assert version("rewardsweep") == project()["version"]


def test_a_folder_of_the_user_with_one_of_our_names_is_no_obstacle(tmp_path: Path) -> None:
    for package in PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise RuntimeError('the user's own')\n")
    result = run_sweep(tmp_path)
    assert result.returncode == 0, result.stderr
    assert "launch" in result.stdout


def test_a_foreign_package_that_hides_ours_is_refused_with_exit_3(tmp_path: Path) -> None:
    """W&B's engine installs a ``sweeps`` too."""
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "__init__.py").write_text("")
    result = run_sweep(tmp_path, PYTHONPATH=str(tmp_path))
    assert result.returncode == 3
    assert str(tmp_path / "sweeps" / "__init__.py") in result.stderr
    assert "Traceback" not in result.stderr
