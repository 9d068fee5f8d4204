"""One launch, as the guide on losses shows it; then what the reference says of a workspace in which something has run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from command import call
from docs_pages import GUIDES, REFERENCE, names, table
from docs_shapes import EXAMPLES, differences
from test_console_blocks import run_page

pytestmark = pytest.mark.launch

COMMON = {"v", "n", "t", "kind"}


def printed(folder: Path, *words: str) -> Any:
    ended = call([*" ".join(words).split(), "--json"], folder, os.environ, 120)
    assert ended.code == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.parametrize("guide", ["search", "ensembles"])
def test_a_guide_launches_what_it_shows(guide: str, tmp_path: Path) -> None:
    run_page(GUIDES / f"{guide}.md", tmp_path, "", "launch")


def test_the_guide_on_losses_launches_and_the_reference_describes_what_it_leaves(tmp_path: Path) -> None:
    run_page(GUIDES / "own-loss.md", tmp_path, "launch")
    trial = printed(tmp_path, "status", "hinge")["trials"][0]["id"]
    words = {"status": "status hinge", "show": f"show {trial}", "explain": f"explain {trial}", "report": "report hinge", "tick": "tick"}
    words["compare"] = f"compare {trial} {trial}"
    for name in ("status", "list", "show", "explain", "report", "compare", "tick", "index show"):
        assert list(differences(EXAMPLES[name], printed(tmp_path, words.get(name, name)))) == [], name
    journals_have_the_documented_fields(tmp_path / "runs")
    metrics_are_the_documented_ones(tmp_path / "runs")
    files_are_the_documented_ones(tmp_path / "runs", trial)


def lines(runs: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for path in runs.glob("trials/*/*/**/journal.jsonl") for line in path.read_text().splitlines()]
    assert {line["kind"] for line in found} >= {"started", "metrics", "progress", "score", "ended"}
    return found


def journals_have_the_documented_fields(runs: Path) -> None:
    documented = {names(kind)[0]: set(names(fields)) for kind, fields, _ in table(REFERENCE / "workspace.md", "Journal")}
    for line in lines(runs):
        assert set(line) - COMMON <= documented[line["kind"]], line


def metrics_are_the_documented_ones(runs: Path) -> None:
    rows = table(REFERENCE / "metrics.md", "Logged by step")
    documented = {name for metric, *_ in rows for name in names(metric)}
    logged = {f"{line['group']}/{name}" for line in lines(runs) if line["kind"] == "metrics" for name in line["values"]}
    assert logged == documented
    results = [json.loads(path.read_text())["metrics"] for path in runs.glob("trials/*/*/result/metrics.json")]
    assert all(set(metrics) == documented | {"train/steps", "train/pairs", "train/tokens"} for metrics in results)


def files_are_the_documented_ones(runs: Path, trial: str) -> None:
    folder = runs / "trials" / trial[:2] / trial
    layout = (REFERENCE / "workspace.md").read_text(encoding="utf-8")
    for path in [*runs.iterdir(), *folder.iterdir(), *(folder / "result").iterdir(), *(folder / "attempts" / "0001").iterdir()]:
        assert path.name in layout, f"{path.name} is not in the layout"
