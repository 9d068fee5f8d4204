"""The page of metrics: names, groupings, baselines and revisions are those of the code."""

from __future__ import annotations

import pytest
from docs_pages import REFERENCE, names, table

from core import registry
from core.control.tick import BASELINES
from core.evaluation.benchmarks import get, published_revisions

PAGE = REFERENCE / "metrics.md"


@pytest.mark.parametrize("benchmark", registry.names("benchmark"))
def test_the_metrics_of_a_benchmark_are_those_that_it_computes(benchmark: str) -> None:
    assert {name for metric, _ in table(PAGE, benchmark) for name in names(metric)} == set(get(benchmark).metric_names)


def test_the_baselines_are_those_that_are_registered() -> None:
    assert {names(name)[0] for name, _ in table(PAGE, "Baselines")} == set(registry.names("baseline"))
    assert "`length` and `random` stand below" in PAGE.read_text(encoding="utf-8") and set(BASELINES) == {"length", "random"}


def test_the_revisions_that_published_numbers_refer_to_are_named() -> None:
    named = {name for revision, _ in table(PAGE, "Revisions") for name in names(revision)}
    assert {revision for revision in published_revisions().values() if revision is not None} <= named


def test_the_guide_names_the_files_that_benchmarks_and_weights_are_looked_for() -> None:
    guide = REFERENCE.parent / "guides" / "real-models.md"
    text = guide.read_text(encoding="utf-8")
    ours = [part.name for part in registry.components("benchmark") if part.implementation.startswith("core.")]
    for name in (name for name in ours if not name.startswith("generated")):
        *_, at_the_hub = get(name).file_names  # type: ignore[attr-defined]  # of benchmarks that lie in a file
        assert at_the_hub in text
    shipped = [part for part in registry.components("backbone") if part.implementation.startswith("core.")]
    hub = {part.name: part.config.HUB.get(part.name, "to be converted") for part in shipped}  # type: ignore[attr-defined]
    assert {names(name)[0]: place for name, place in table(guide, "Weights")} == hub
