"""One sweep trains the members, another puts them together: nothing is trained twice, and what is not there yet is named."""

import json

import pytest
from typer.testing import CliRunner

from sweeps.cli.main import app

pytestmark = [pytest.mark.launch, pytest.mark.training]

COMMON = """\
version: 1
name: {name}
trial:
  backbone: qwen2.5-vl-3b
  data: {{sources: {{generated_images: {{}}}}}}
  train: {{epochs: 1}}
  execution: {{threads: 1}}
  rehearsal: {{steps: 2, pairs: 24, items: 8}}
grid: {{head.layers: {layers}}}
validation: {{items: 8}}
evaluate: [generated_images]
"""
ENSEMBLES = """\
ensembles:
  - name: two
    members: [{where: {head.layers: 2}}, {sweep: first, where: {head.layers: 1}}]
    rules: [mean, vote]
  - {name: later, members: {sweep: third}}
"""


def call(*words):
    found = CliRunner().invoke(app, list(words))
    assert found.exit_code == 0, found.output
    return found.output


def refused(*words):
    return str(CliRunner().invoke(app, list(words)).exception)


def read(*words):
    return json.loads(call(*words, "--json"))


def test_an_ensemble_reuses_what_other_sweeps_trained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, layers, more in (("first", "[1, 2]", ""), ("second", "[2]", ENSEMBLES), ("third", "[3]", "")):
        (tmp_path / f"{name}.yaml").write_text(COMMON.format(name=name, layers=layers) + more)
    call("launch", "first.yaml", "--rehearse")

    plan = read("plan", "second.yaml", "--rehearse")
    assert plan["counts"]["reused"] == plan["counts"]["trials"] == 1
    two, later = plan["ensembles"]
    assert [(member["name"], member["trials"][0]["state"]) for member in two["members"]] == [
        ("head.layers=2", "reused"), ("first:head.layers=1", "completed"),
    ]  # fmt: skip
    assert (two["waits"], later["waits"]) == ([], ["third, which has not been launched as a rehearsal in this workspace"])

    said = call("launch", "second.yaml", "--rehearse")
    assert "1 reused" in said and "1 cell, 3 ensembles" in said
    assert read("status", "second")["counts"] == {"completed": 1}, "a member that another sweep has not trained holds nothing up"
    assert read("status", "second")["ensembles"][1]["waits"] == later["waits"]

    rows = {row["name"]: row for row in read("report", "second")["rows"] if row["kind"] == "ensemble"}
    assert rows["two/mean"]["members"] == ["head.layers=2", "first:head.layers=1"]
    assert (rows["two/mean"]["n"], rows["two/vote"]["n"], rows["later/mean"]["n"]) == (1, 1, 0)
    assert rows["later/mean"]["missing"] == ["waiting: for third, which has not been launched as a rehearsal in this workspace"]
    assert 0 <= rows["two/mean"]["metrics"]["generated_images/accuracy"]["mean"] <= 100
    # without the statistics by example the row is the same
    quick = {row["name"]: row for row in read("report", "second", "--quick")["rows"] if row["kind"] == "ensemble"}
    assert (
        quick["two/mean"]["metrics"]["generated_images/accuracy"]["values"]
        == rows["two/mean"]["metrics"]["generated_images/accuracy"]["values"]
    )

    (compared,) = read("compare", "second:ensemble=two/mean", "first:layers=1", "--metric", "generated_images/accuracy")["comparisons"]
    assert compared["refused"] is None and compared["parts"].keys() | {"examples"} == {"examples"}
    assert "2 cells are like this" in refused("compare", "second:ensemble=two", "first:layers=1")

    (tmp_path / "second.yaml").write_text(COMMON.format(name="second", layers="[2]") + ENSEMBLES.replace("third", "frist"))
    assert "did you mean: first" in refused("plan", "second.yaml", "--rehearse")
