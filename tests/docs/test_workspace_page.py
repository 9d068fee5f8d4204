"""The page of the workspace: states, causes, requests and journal kinds are those of the code."""

from __future__ import annotations

from typing import get_args

from docs_pages import REFERENCE, names, table

from core.control.policy import LOST_WITHOUT_PROGRESS, RETRIES
from core.control.states import ATTEMPT_STATES, TRIAL_STATES
from core.workspace.journal import Kind
from core.workspace.layout import Workspace
from core.workspace.requests import Request

PAGE = REFERENCE / "workspace.md"


def test_the_states_are_those_of_the_code() -> None:
    ((trial, attempt),) = table(PAGE, "States")
    assert tuple(names(trial)) == TRIAL_STATES
    assert tuple(names(attempt)) == ATTEMPT_STATES


def test_the_causes_and_their_retries_are_those_of_the_code() -> None:
    rows = table(PAGE, "Causes of a failure")
    assert {names(cause)[0]: 1 if retried == "once" else int(retried.split()[0]) for cause, _, retried in rows} == dict(RETRIES)
    assert f"{LOST_WITHOUT_PROGRESS} attempts in a row" in PAGE.read_text(encoding="utf-8")


def test_the_requests_and_the_kinds_of_journal_lines_are_those_of_the_code() -> None:
    assert {names(kind)[0] for kind, *_ in table(PAGE, "Requests")} == set(get_args(Request))
    assert {names(kind)[0] for kind, *_ in table(PAGE, "Journal")} == set(get_args(Kind))


def test_the_layout_names_every_folder_that_a_new_workspace_has(tmp_path: object) -> None:
    from pathlib import Path

    root = Path(str(tmp_path)) / "runs"
    Workspace.open(root, create=True)
    text = PAGE.read_text(encoding="utf-8")
    assert not [path.name for path in root.iterdir() if f"\n{path.name}" not in text]
