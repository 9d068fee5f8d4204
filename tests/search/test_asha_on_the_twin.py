"""ASHA on the tiny twin: learning curves recorded from a rehearsed grid, replayed through the real passes and decisions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from farm import STEPS, Farm, register

RECORDED = json.loads((Path(__file__).resolve().parents[1] / "assets" / "search" / "curves.json").read_text(encoding="utf-8"))
SEEDS = (0, 1)
CURVES = {(entry["lr"], entry["seed"]): [{"loss": loss, "accuracy": acc} for loss, acc in entry["loss_accuracy"]] for entry in RECORDED}
RATES = sorted({lr for lr, _ in CURVES if all((lr, seed) in CURVES for seed in SEEDS)})


def planted(seed: int) -> float:
    """The learning rate with which the whole grid ends best."""
    return min(RATES, key=lambda lr: CURVES[lr, seed][-1]["loss"])


def test_it_finds_the_best_cell_with_less_than_half_of_the_grids_steps_in_nine_of_ten_seeds(tmp_path: Path) -> None:
    found, shares = 0, []
    for number in range(10):
        recorded = SEEDS[number % len(SEEDS)]

        def curve(config: Mapping[str, Any], recorded: int = recorded) -> list[dict[str, float]]:
            return CURVES[config["optim"]["lr"], recorded][1::2]

        text = (
            f"search: {{sampler: random, seed: {number}, n_cells: {len(RATES)}, pruner: asha, space: {{optim.lr: {RATES}}}}}\n"
            "objective: {metric: validation/loss, mode: min}\n"
        )
        root = tmp_path / str(number)
        root.mkdir()
        farm = Farm(register(root / "runs", text), curve, workers=4).run()
        (study,) = farm.search.studies
        assert len(study.suggestions) == len(RATES)
        share = farm.steps / (STEPS * len(RATES))
        shares.append(share)
        found += farm.search.best(study)[0].planned.config["optim"]["lr"] == planted(recorded) and share < 0.5
    assert found >= 9, shares
