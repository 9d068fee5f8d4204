"""What a claim may say, and which cells it is about."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.definition import expand, load, resolve_claims
from core.errors import DefinitionError

SHIPPED = Path(__file__).resolve().parents[2] / "sweeps"
TRIAL = """version: 1
name: study
trial: {backbone: qwen2.5-vl-3b, data: {sources: {generated_images: {}}}, train: {epochs: 1}}
grid: {head.layers: [1, 2, 3], head.activation: [tanh, silu], optim.lr: [1e-5, 3e-6]}
evaluate: [generated_images]
claims:
"""


def resolved(tmp_path, claim, *overrides):
    (tmp_path / "study.yaml").write_text(TRIAL + f"  - {claim}\n", encoding="utf-8")
    definition = load(tmp_path / "study.yaml", list(overrides))
    expansion = expand(definition)
    (found,) = resolve_claims(definition, expansion.cells())
    return found, expansion.warnings


def short(found):
    """The pairs of cells, by the values of their axes."""
    return [tuple(" ".join(part.split("=")[1] for part in cell.split()) for cell in pair) for pair in found["pairs"]]


ON = "on: generated_images/accuracy"


def test_better_pairs_cells_that_are_alike_in_all_that_the_claim_does_not_name(tmp_path):
    found, warnings = resolved(
        tmp_path, f"{{better: {{head.activation: silu}}, than: {{head.activation: tanh}}, where: {{head.layers: 2}}, {ON}}}"
    )
    assert short(found) == [("2 silu 1e-05", "2 tanh 1e-05"), ("2 silu 3e-06", "2 tanh 3e-06")]
    assert warnings == []
    assert found["say"] == "better: head.activation=silu than head.activation=tanh where head.layers=2 on generated_images/accuracy"


def test_best_is_one_cell_against_all_others(tmp_path):
    found, _ = resolved(tmp_path, f"{{best: {{head.layers: 2, head.activation: silu, optim.lr: 3e-6}}, {ON}}}")
    assert len(found["pairs"]) == 9
    assert {a for a, _ in short(found)} == {"2 silu 3e-06"}
    several, _ = resolved(tmp_path, f"{{best: {{head.layers: 2}}, {ON}}}")
    assert (several["pairs"], several["problem"]) == ([], "`best` names 4 cells, and one is the best")


def test_no_effect_and_monotone_vary_one_path(tmp_path):
    found, _ = resolved(tmp_path, f"{{no_effect: optim.lr, within: 1, where: {{head.layers: [1, 2]}}, {ON}}}")
    assert short(found) == [(f"{cell} 1e-05", f"{cell} 3e-06") for cell in ("1 none", "2 tanh", "2 silu")]
    found, _ = resolved(tmp_path, f"{{monotone: optim.lr, way: falls, where: {{head.layers: 1}}, {ON}}}")
    assert short(found) == [("1 none 3e-06", "1 none 1e-05")]
    found, _ = resolved(tmp_path, f"{{monotone: head.activation, {ON}}}")
    assert found["problem"] == "a value of head.activation has no order by value"


def test_a_claim_about_no_cell_is_a_warning_and_stays_undecided(tmp_path):
    found, warnings = resolved(tmp_path, f"{{better: {{head.layers: 5}}, than: {{head.layers: 1}}, {ON}}}")
    assert (found["pairs"], found["problem"]) == ([], "no cell meets `better`")
    assert any("no cell of this study meets `better` of the claim" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("claim", "says"),
    [
        (f"{{{ON}}}", "one of `better`, `best`, `no_effect`, `monotone`"),
        (f"{{better: {{head.layers: 2}}, {ON}}}", "`better` goes with `than`"),
        (f"{{best: {{head.layers: 2}}, than: {{head.layers: 1}}, {ON}}}", "`than` goes with `better`"),
        (f"{{no_effect: head.layers, {ON}}}", "within"),
        (f"{{best: {{}}, {ON}}}", "without a path"),
        (f"{{best: {{head.layer: 2}}, {ON}}}", "head.layers"),
        (f"{{monotone: optim.lrr, {ON}}}", "optim.lr"),
        ("{best: {head.layers: 2}, on: vl_rewardbench/overall}", "generated_images/METRIC"),
    ],
)
def test_a_wrong_claim_is_refused_with_its_place(tmp_path, claim, says):
    with pytest.raises(DefinitionError) as caught:
        resolved(tmp_path, claim)
    assert says in "\n".join(caught.value.lines())
    assert str(caught.value.place).endswith("study.yaml:7")


@pytest.mark.parametrize("name", sorted(file.stem for file in SHIPPED.glob("*.yaml") if file.stem not in ("ablation_base", "tuning")))
def test_every_claim_of_a_shipped_definition_is_about_cells(name):
    definition = load(SHIPPED / f"{name}.yaml", search=[SHIPPED])
    claims = resolve_claims(definition, expand(definition).cells())
    assert claims
    assert all(claim["pairs"] for claim in claims), claims


def test_sizes_come_from_the_names_of_backbones():
    definition = load(SHIPPED / "backbone.yaml", search=[SHIPPED])
    claim = resolve_claims(definition, expand(definition).cells())[1]
    assert claim["pairs"] == [["backbone=qwen2.5-vl-7b", "backbone=qwen2.5-vl-3b"], ["backbone=qwen2.5-vl-32b", "backbone=qwen2.5-vl-7b"]]


@pytest.mark.parametrize(
    ("gate", "says"),
    [
        ("{length_bias: {}}", "`max`, a `min` or both"),
        ("{length_bais: {max: 0.1}}", "length_bias"),
        ("{vl_rewardbench/overall: {min: 1}}", "generated_images/METRIC"),
        ("{ece: {max: x}}", "gates.ece.max"),
    ],
)
def test_a_wrong_gate_is_refused_with_its_place(tmp_path, gate, says):
    (tmp_path / "study.yaml").write_text(TRIAL.replace("claims:", f"gates: {gate}"), encoding="utf-8")
    with pytest.raises(DefinitionError) as caught:
        load(tmp_path / "study.yaml")
    assert says in "\n".join(caught.value.lines())
    assert str(caught.value.place).endswith("study.yaml:6")
