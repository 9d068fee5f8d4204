"""A workspace with a sweep that has everything: done, failed, running, retried and corrupt trials, and scores by example."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from core.control.tick import trial_key
from core.definition import load
from core.definition.plan import PlannedTrial
from core.definition.trial import RehearsalConfig
from core.evaluation.benchmarks import load as load_benchmark
from core.evaluation.score_table import from_examples
from core.evaluation.scorer import summarise
from core.store import Index
from core.workspace.layout import Workspace, write_config
from core.workspace.registration import Revision, newest
from dashboards.web.access import Access
from dashboards.web.app import create_app
from dashboards.web.data import Data
from sweeps.dashboard import HouseAnswers
from sweeps.launching import prepare
from tests.written import Writer, publish

DEFINITION = """\
version: 1
name: shown
trial: {backbone: qwen2.5-vl-3b, data: {sources: {generated_images: {}}}, train: {epochs: 1}}
grid: {head.layers: [1, 2, 3], optim.lr: [1e-5, 3e-6]}
seeds: 2
evaluate: [generated_images]
reported: [{source: a paper, metrics: [generated_images/accuracy], rows: [{cell: {head.layers: 1, optim.lr: 1e-5}, values: [90.0]}]}]
ensembles:
  - {name: both rates, members: {head.layers: 1}}
  - {name: all heads, members: {optim.lr: 1e-5}}
"""
ITEMS = 24


def scored(workspace: Workspace, planned: PlannedTrial, right: int) -> None:
    """Write a score table in which the first ``right`` examples are right."""
    entry = planned.evaluate[0]
    key = trial_key(planned, entry)
    loaded = load_benchmark(entry["benchmark"], RehearsalConfig.model_validate(planned.config["rehearsal"]))
    rows = []
    for number, example in enumerate(loaded.examples):
        good = 1.0 + number / 100 if number < right else -1.0 - number / 100
        rows.append([good if rank == 0 else 0.0 for rank in example.label.ranks])
    table = from_examples(loaded.examples, rows, loaded.metadata(f"trial:{planned.id}", key))
    scoring = workspace.trial(planned.id).scoring(key)
    scoring.folder.mkdir(parents=True)
    table.write(scoring.table)
    scoring.summary.write_text(json.dumps({"v": 1, "key": key, **summarise(table)}), encoding="utf-8")


class Made:
    """A workspace made by hand, and its dashboard."""

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace.open(root)
        revision = newest(self.workspace.sweep("shown-rehearsal"))
        assert revision is not None
        self.revision: Revision = revision
        self.plan = list(revision.plan())

    def complete(self, number: int, right: int, accuracy: float) -> PlannedTrial:
        planned = self.plan[number]
        trial = self.workspace.trial(planned.id)
        write_config(trial, dict(planned.config))
        Writer(trial, 1).steps(1, 20).end()
        publish(trial, 1, {"validation/accuracy": accuracy, "train/loss": 0.1}, steps=20)
        scored(self.workspace, planned, right)
        return planned

    def fail(self, number: int, message: str = "no space", cause: str = "user_bug") -> PlannedTrial:
        planned = self.plan[number]
        trial = self.workspace.trial(planned.id)
        write_config(trial, dict(planned.config))
        Writer(trial, 1).steps(1, 5).end("failed", cause=cause, message=message)
        return planned

    def data(self) -> Data:
        index = Index.open(self.workspace)
        data = Data(self.workspace, index, HouseAnswers(self.workspace), mlflow="http://127.0.0.1:5000")
        data.refresh()
        return data


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """For tests that only read: six trials are done, one has failed, five are pending."""
    folder = tmp_path_factory.mktemp("shown")
    (folder / "shown.yaml").write_text(DEFINITION, encoding="utf-8")
    definition = load(folder / "shown.yaml", rehearsal=True, overrides=[f"rehearsal.items={ITEMS}"])
    prepare(definition, folder / "runs", source="shown.yaml", overrides=[], stale="keep", prune=False)
    found = Made(folder / "runs")
    for number in range(6):
        found.complete(number, 12 + 2 * number, 0.5 + number / 20)
    found.fail(6)
    return found


@pytest.fixture(scope="session")
def shared_data(shared: Made) -> Iterator[Data]:
    data = shared.data()
    yield data
    data.close()


@pytest.fixture
def shared_page(shared_data: Data) -> Callable[..., TestClient]:
    """Opens pages over ``shared``; keyword arguments are the rules of access."""
    return lambda **rules: TestClient(create_app(shared_data, Access(**{"hosts": ("testserver",), **rules})), follow_redirects=False)


@pytest.fixture
def made(shared: Made, tmp_path: Path) -> Made:
    """A copy that a test may change."""
    shutil.copytree(shared.workspace.root, tmp_path / "runs", ignore=shutil.ignore_patterns("index-*"))
    return Made(tmp_path / "runs")


@pytest.fixture
def open_page(made: Made) -> Iterator[Callable[..., TestClient]]:
    """Opens pages over ``made`` as its files are when it is called."""
    opened: list[Data] = []

    def client() -> TestClient:
        opened.append(made.data())
        return TestClient(create_app(opened[-1], Access(hosts=("testserver",))), follow_redirects=False)

    yield client
    for data in opened:
        data.close()
