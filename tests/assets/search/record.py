"""Writes ``curves.json`` beside this file: learning curves of the tiny twin, recorded from a rehearsed grid of learning rates.

The grid is one that ``sweep launch`` rehearses as it is::

    trial: {backbone: qwen2.5-vl-3b, data: {sources: {generated_images: {}}}, train: {epochs: 1, batch: 128}}
    grid: {optim.lr: {logspace: [1e-8, 1e-4, 16]}}
    seeds: 2
    validation: {items: 1000, every: 0.05}

``python tests/assets/search/record.py WORKSPACE SWEEP``
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from core.workspace.files import MANIFEST
from core.workspace.layout import Workspace
from core.workspace.lineage import metric_lines
from core.workspace.registration import resolve


def main(root: str, sweep: str) -> None:
    place = Workspace.open(Path(root))
    curves = []
    for planned in resolve(place, sweep).plan():
        trial = place.trial(planned.id)
        if not (trial.result / MANIFEST).exists():
            continue
        lines = [line for line in metric_lines(trial) if line.group == "validation"]
        points = [[round(line.values["loss"], 4), round(line.values["accuracy"], 4)] for line in lines]
        curves.append({"lr": planned.cell["optim.lr"], "seed": planned.seed, "loss_accuracy": points})
    out = Path(__file__).with_name("curves.json")
    out.write_text("[\n" + ",\n".join(json.dumps(curve) for curve in curves) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
