"""The shipped definitions: as many cells as the paper's tables, shared cells as one trial, reported values where they belong."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.definition import expand, load, reported_for
from core.definition.plan import PlannedTrial
from core.definition.trial import TrialConfig
from core.errors import DefinitionError

TABLES = {
    "head_ablation": 7,
    "regularisation": 5,
    "learning_rate": 4,
    "backbone": 8,
    "data": 11,
    "text_transfer": 4,
    "data_ratio": 5,
    "basereward": 2,
    "public_models": 3,
    "paradigm": 6,
    "ensemble": 3,
}

SHIPPED = Path(__file__).resolve().parents[2] / "sweeps"


def plan(name: str, *overrides: str) -> list[PlannedTrial]:
    return list(expand(load(SHIPPED / f"{name}.yaml", list(overrides), search=[SHIPPED])).trials())


@pytest.mark.parametrize(("name", "cells"), TABLES.items())
def test_a_definition_has_the_cells_of_its_table_and_a_reported_row_for_each(name: str, cells: int) -> None:
    definition = load(SHIPPED / f"{name}.yaml", search=[SHIPPED])
    study = expand(definition)
    ids = {cell.id for cell in study.cells()}
    assert len(ids) == cells
    assert study.warnings == definition.notices == []
    assert set(reported_for(definition, study.cells())) == ids


def test_the_default_point_is_one_trial_in_every_table() -> None:
    names = ("head_ablation", "regularisation", "learning_rate", "backbone", "data")
    cells = {name: {trial.id for trial in plan(name)} for name in names}
    [base] = plan("ablation_base")
    assert all(base.id in ids for ids in cells.values())
    assert len(set.union(*cells.values())) == 7 + 5 + 4 + 8 + 11 - 4


def test_the_final_recipe_is_one_trial_of_two_tables() -> None:
    final = {trial.cell["backbone"]: trial.id for trial in plan("basereward")}
    transfer = {(trial.cell["backbone"], trial.cell["data"]): trial.id for trial in plan("text_transfer")}
    assert final["qwen2.5-vl-7b"] == transfer["qwen2.5-vl-7b", "seven sets"]


def test_the_data_carry_what_the_paper_prints_with_its_oddities() -> None:
    definition = load(SHIPPED / "data.yaml", search=[SHIPPED])
    found = reported_for(definition, expand(definition).cells())
    rows = {cell.cell["data.sources"]: found[cell.id] for cell in expand(definition).cells()}
    assert rows["ultrafeedback_hard"]["rewardbench/overall/without_prior"]["value"] == 84.0
    assert rows["mmif"]["mm_rlhf_rewardbench/acc"]["comparable"] is False
    assert "out of order" in rows["mmif"]["mm_rlhf_rewardbench/acc"]["note"]
    assert rows["r1_reward"]["vl_rewardbench/overall"] | {"value": 75.6, "comparable": False} == rows["r1_reward"]["vl_rewardbench/overall"]
    assert rows["olmo_2"]["vl_rewardbench/r1_script/reasoning"]["value"] is None


def test_the_backbones_carry_what_the_paper_prints() -> None:
    definition = load(SHIPPED / "backbone.yaml", search=[SHIPPED])
    found = reported_for(definition, expand(definition).cells())
    rows = {cell.cell["backbone"]: [value["value"] for value in found[cell.id].values()] for cell in expand(definition).cells()}
    assert rows["qwen2.5-vl-32b"] == [82.8, 92.9, 78.3, 70.5, 54.8, 83.4]
    assert rows["internvl2-8b"] == [69.8, 81.0, 62.2, 68.1, 70.3, 82.3]


def test_regularisers_reach_the_trial() -> None:
    weights = {tuple(sorted((name, term["weight"]) for name, term in trial.config["loss"].items())) for trial in plan("regularisation")}
    plain = ("bradley_terry", 1.0)
    assert weights == {
        (plain,),
        *((plain, ("zero_coefficient", weight)) for weight in (0.001, 0.01, 0.1)),
        (plain, ("length_normalisation", 1.0)),
    }


def test_a_transform_has_no_coefficient_and_is_no_loss_by_itself() -> None:
    with pytest.raises(DefinitionError, match=r"a transform of the rewards has no coefficient: its weight is 1 or 0, not 0\.5"):
        plan("ablation_base", "loss.length_normalisation.weight=0.5")
    with pytest.raises(DefinitionError, match="no entry with a weight above 0: length_normalisation only changes the rewards"):
        plan("ablation_base", "loss.length_normalisation.weight=1", "loss.bradley_terry.weight=0")


def test_a_term_of_weight_0_is_no_term() -> None:
    [plain] = plan("ablation_base")
    [zero] = plan("ablation_base", "loss.zero_coefficient.weight=0", "loss.length_normalisation.weight=0")
    assert zero.id == plain.id
    assert set(TrialConfig.model_validate(zero.config).loss) == {"bradley_terry"}
