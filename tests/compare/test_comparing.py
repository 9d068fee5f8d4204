"""From names to sides: what `sweep compare` accepts, and what it answers to the rest."""

from __future__ import annotations

import json

import numpy as np
import pytest

from core.data.examples import pair
from core.definition.plan import PlannedTrial
from core.errors import UsageError
from core.evaluation.score_table import ScoreMetadata, from_examples
from core.evaluation.scorer import summarise
from core.workspace.layout import Workspace
from sweeps.comparing import compare_named
from tests import written

VL = "vl_rewardbench/overall"
EVALUATE = ({"benchmark": {"name": "vl_rewardbench"}, "scoring": {}},)


@pytest.fixture
def place(workspace):
    return Workspace.open(workspace, create=True)


def score(place, planned, share, revision="r1", rehearsal=False):
    """A finished trial with a real table."""
    trial = place.trial(planned.id)
    writer = written.Writer(trial, 1)
    writer.end()
    written.publish(trial, 1, {"validation/accuracy": share})
    right = np.random.default_rng(int(planned.id[:2], 16)).random(120) < share
    examples = [pair(f"wildvision-{n}", f"question {n}", f"good {n}", f"bad {n}") for n in range(120)]
    table = from_examples(
        examples, [[float(good), 0.5] for good in right], ScoreMetadata("vl_rewardbench", revision, "h", "trial", None, rehearsal)
    )
    folder = trial.scoring("k" * 8).folder
    folder.mkdir(parents=True)
    table.write(folder / "table.parquet")
    (folder / "summary.json").write_text(json.dumps({"v": 1, "key": "k" * 8, "data_hash": "h", "scorer": "trial", **summarise(table)}))


def planned(number, **cell):
    return PlannedTrial(written.trial_id(number), cell, 0, written.CONFIG)


def test_two_trials_by_the_first_digits_of_their_ids(place):
    a, b = planned(1, x=1), planned(2, x=2)
    score(place, a, 0.9)
    score(place, b, 0.5)
    (found,) = compare_named(place, a.id[:5], b.id[:5], [VL]).comparisons
    assert (found.better, found.a) == ("a", f"trial {a.id[:10]}")


def test_cells_of_a_sweep_by_the_last_parts_of_their_paths(place):
    written.launch(place, "s", [planned(1, **{"head.layers": 1, "optim.lr": 1e-5}), planned(2, **{"head.layers": 2, "optim.lr": 1e-5})])
    for number, share in ((1, 0.5), (2, 0.9)):
        score(place, planned(number), share)
    (found,) = compare_named(place, "s:layers=2", ":head.layers=1,lr=0.00001", ["validation/accuracy"]).comparisons
    assert (found.a, found.b) == ("s@1:head.layers=2,optim.lr=1e-05", "s@1:head.layers=1,optim.lr=1e-05")
    assert found.difference == pytest.approx(0.4)


def test_a_cell_whose_value_holds_a_space_is_found_by_the_name_that_is_printed(place):
    cells = [planned(1, data="seven sets", x=1), planned(2, data="text sets", x=1)]
    written.launch(place, "s", cells)
    for one, share in zip(cells, (0.5, 0.9), strict=True):
        score(place, one, share)
    (found,) = compare_named(place, "s:data=seven sets", "s:data=text sets", ["validation/accuracy"]).comparisons
    assert (found.a, found.b) == ("s@1:data=seven sets,x=1", "s@1:data=text sets,x=1")
    (again,) = compare_named(place, found.a, found.b, ["validation/accuracy"]).comparisons
    assert again.difference == found.difference


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("s:layers=3", "no such cell"),
        ("s:lr=1e-5", "2 cells are like this, and one is compared"),
        ("s:layer=1", "did you mean: head.layers"),
        ("s:layers", "PATH=VALUE"),
        ("s", "s has 2 cells, and one is compared with one"),
        ("t", "no such sweep"),
        ("abcd", "no trial that was attempted starts like this"),
    ],
)
def test_a_name_that_stands_for_nothing_or_for_too_much_is_answered(place, name, said):
    written.launch(place, "s", [planned(n, **{"head.layers": n, "optim.lr": 1e-5}) for n in (1, 2)])
    written.launch(place, "one", [planned(3, **{"head.layers": 9})])
    score(place, planned(3), 0.5)
    with pytest.raises(UsageError) as error:
        compare_named(place, name, "one", [])
    assert said in str(error.value)


def test_two_sweeps_are_compared_where_they_have_the_same_cells(place):
    written.launch(place, "s", [planned(1, x=1), planned(2, x=2), planned(3, x=3)])
    written.launch(place, "t", [planned(4, x=2), planned(5, x=3), planned(6, x=4)])
    for number in range(1, 7):
        score(place, planned(number), 0.5)
    found = compare_named(place, "s", "t", ["validation/accuracy"])
    assert [(one.a, one.b) for one in found.comparisons] == [("s@1:x=2", "t@1:x=2"), ("s@1:x=3", "t@1:x=3")]
    assert (found.only_a, found.only_b) == (["x=1"], ["x=4"])
    written.launch(place, "u", [planned(7, y=1), planned(8, y=2)])
    with pytest.raises(UsageError, match="no cell in common"):
        compare_named(place, "s", "u", [])


def test_a_rehearsal_is_not_compared_with_a_real_sweep(place):
    written.launch(place, "s", [planned(1, x=1)])
    written.launch(place, "s", [planned(2, x=1)], rehearsal=True)
    for number in (1, 2):
        score(place, planned(number), 0.5)
    (found,) = compare_named(place, "s", "s-rehearsal", ["validation/accuracy"]).comparisons
    assert found.refused == "a rehearsal with a real run: s-rehearsal@1:x=1 is the rehearsal"


def test_another_revision_of_the_benchmark_is_refused(place):
    score(place, planned(1), 0.9)
    score(place, planned(2), 0.5, revision="r2")
    (found,) = compare_named(place, planned(1).id, planned(2).id, [VL]).comparisons
    assert found.refused == "different benchmark revisions: r1, and r2"


def test_a_metric_that_no_cell_has_names_the_nearest_and_groupings_are_not_mixed(place):
    for number in (1, 2):
        score(place, planned(number), 0.5)
    ids = planned(1).id, planned(2).id
    with pytest.raises(UsageError, match=f"did you mean: {VL}"):
        compare_named(place, *ids, ["vl_rewardbench/overal"])
    with pytest.raises(UsageError, match="groupings of a metric are not comparable"):
        compare_named(place, *ids, ["vl_rewardbench/official"])


def test_a_table_that_cannot_be_read_is_said(place):
    for number in (1, 2):
        score(place, planned(number), 0.5)
    place.trial(planned(1).id).scoring("k" * 8).table.write_bytes(b"no table")
    (found,) = compare_named(place, planned(1).id, planned(2).id, [VL]).comparisons
    assert found.difference is not None
    assert found.decisive is None
    assert any("No statistics by example" in note for note in found.notes)
