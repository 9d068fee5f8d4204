"""The JSON that the reference documents is the JSON that the commands print."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, get_args

import pytest
from docs_pages import REFERENCE
from docs_shapes import EXAMPLES, PAGE, differences

from core.definition import load
from core.workspace import nights
from core.workspace.registration import newest
from sweeps.cli.main import app
from sweeps.launching import prepare

SHIPPED = REFERENCE.parents[1] / "sweeps"
DEFINITION = """\
version: 1
name: documented
trial: {backbone: qwen2.5-vl-3b, data: {sources: {generated_images: {}}}, train: {epochs: 1}}
grid: {head.layers: [1, 2]}
evaluate: [generated_images]
reported: [{source: a paper, metrics: [generated_images/accuracy], rows: [{cell: {head.layers: 1}, values: [90.0]}]}]
claims: [{better: {head.layers: 2}, than: {head.layers: 1}, on: generated_images/accuracy}]
"""


SEARCHED = """\
version: 1
name: searched
trial: {backbone: qwen2.5-vl-3b, data: {sources: {generated_images: {}}}, train: {epochs: 1}}
search: {n_cells: 2, space: {optim.lr: {low: 1e-6, high: 1e-4}}}
"""


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A workspace in which a rehearsal is registered and nothing has run, and a trial of it."""
    folder = tmp_path_factory.mktemp("documented")
    (folder / "documented.yaml").write_text(DEFINITION, encoding="utf-8")
    definition = load(folder / "documented.yaml", rehearsal=True)
    workspace, _ = prepare(definition, folder / "runs", source="documented.yaml", overrides=[], stale="keep", prune=False)
    (folder / "searched.yaml").write_text(SEARCHED, encoding="utf-8")
    prepare(load(folder / "searched.yaml", rehearsal=True), folder / "runs", source="", overrides=[], stale="keep", prune=False)
    always = {"window": "00:00-24:00", "days": "daily", "zone": "UTC", "created": time.time() - 3 * 86400}
    nights.add(workspace, nights.Grid("weekly", "documented-rehearsal", **always))
    revision = newest(workspace.sweep("documented-rehearsal"))
    assert revision is not None
    return folder, next(revision.plan()).id


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert app(list(words), standalone_mode=False) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_reading_command_prints_the_keys_that_are_documented(
    name: str, registered: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, trial = registered
    monkeypatch.chdir(folder)
    commands = {
        "plan": ("plan", "documented.yaml", "--rehearse"),
        "plan --count": ("plan", "documented.yaml", "--rehearse", "--count"),
        "plan --why": ("plan", "documented.yaml", "--why", "head.layers=1"),
        "status": ("status", "documented"),
        "show": ("show", trial),
        "explain": ("explain", trial),
        "report": ("report", "documented"),
        "claims": ("claims", "documented"),
        "digest": ("digest", "documented"),
        "compare": ("compare", "documented:layers=1", ":layers=2"),
        "score": ("score", "--benchmark", "generated_images", "--baseline", "length"),
        "keys": ("keys", "head"),
        "search show": ("search", "show", "searched"),
        "data check": ("data", "check", "documented.yaml"),
        "data stats": ("data", "stats", "documented.yaml", "validation.items=4"),
        "nightly history": ("nightly", "history", "weekly"),
    }
    (folder / "runs" / "HOLD").touch()  # `tick` would start a worker
    real = printed(capsys, *commands.get(name, tuple(name.split())), "--json")
    assert list(differences(EXAMPLES[name], real)) == []


def test_every_reading_command_is_documented() -> None:
    from docs.make_reference import commands

    reading = {name for name, function in commands(app) if "json" in function.__annotations__} - {
        "cancel",
        "pause",
        "resume",
        "retry",
        "fetch",
    }
    assert {name.split(" --")[0] for name in EXAMPLES} == reading


def test_the_words_that_scripts_meet_are_those_of_the_code() -> None:
    from core.analysis.report import Kind
    from sweeps.doctor import Verdict

    text = PAGE.read_text(encoding="utf-8")
    assert not {word for word in (*get_args(Kind), *get_args(Verdict)) if f"`{word}`" not in text}
