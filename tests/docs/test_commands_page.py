"""The page of commands: options as the command declares them, every variable of the environment, every exit code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from docs_pages import REFERENCE, ROOT, names, table

from core import errors

PAGE = REFERENCE / "commands.md"
FLOORS = ("core", "slurm", "dashboards", "sweeps")


def test_the_tables_of_options_are_the_commands_own() -> None:
    from docs.make_reference import BLOCK, commands, render
    from sweeps.cli.main import app

    text = PAGE.read_text(encoding="utf-8")
    assert text == render(text), "python docs/make_reference.py writes them"
    assert {found[1] for found in BLOCK.finditer(text)} == {name for name, _ in commands(app)}


def environment_of(path: Path) -> set[str]:
    """Names of the environment's variables that a file reads or sets."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        texts: list[ast.expr | None] = []
        if isinstance(node, ast.Call) and "environ" in ast.unparse(node.func):
            texts = [*node.args[:1], *(part for part in node.args if isinstance(part, ast.Name))]
            found |= {keyword.arg for keyword in node.keywords if keyword.arg is not None}
        elif isinstance(node, ast.Subscript | ast.Compare) and "environ" in ast.unparse(node):
            texts = [node.slice] if isinstance(node, ast.Subscript) else [node.left]
        elif isinstance(node, ast.BinOp) and "environ" in ast.unparse(node.right) and isinstance(node.left, ast.Dict):
            texts = list(node.left.keys)
        found |= {text.value for text in texts if isinstance(text, ast.Constant) and isinstance(text.value, str)}
    return {name for name in found if re.fullmatch(r"[A-Z][A-Z0-9_]+", name)}


def test_every_variable_of_the_environment_that_the_code_reads_or_sets_is_named() -> None:
    used = {name for floor in FLOORS for path in (ROOT / floor).rglob("*.py") for name in environment_of(path)}
    assert {"SWEEP_WORKSPACE", "SWEEP_DATA", "SWEEP_INDEX", "PYTHONSAFEPATH"} <= used, "this test has gone blind"
    text = PAGE.read_text(encoding="utf-8")
    assert not {name for name in used if f"`{name}" not in text}


@pytest.mark.parametrize(
    "kind", [errors.DefinitionError, errors.UsageError, errors.EnvironmentFault, errors.IntegrityError, errors.SweepError]
)
def test_the_exit_code_of_every_error_is_explained(kind: type[errors.SweepError]) -> None:
    assert str(kind.exit_code) in {code for code, _ in table(PAGE, "Exit codes")}


def test_the_actions_of_a_plan_are_explained() -> None:
    from typing import get_args

    from sweeps.existing import TrialAction

    assert {names(action)[0] for action, _ in table_of_actions()} == set(get_args(TrialAction))


def table_of_actions() -> list[list[str]]:
    text = PAGE.read_text(encoding="utf-8")
    part = text[text.index("| action | meaning |") :]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in part.split("\n\n")[0].splitlines()[2:]]
