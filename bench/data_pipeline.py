"""Measure the data pipeline alone against what the trainer of the tiny twin consumes.

``python bench/data_pipeline.py`` takes generated image pairs, and text pairs in the format of a public set, and times two things in
turn, in CPU seconds of one thread and on the clock: decoding, tokenising and collating micro batches, none of which was met before (the
pipeline), and the forward and backward pass and the optimiser step of the twin on the same batches (the trainer). Reading and mixing the
pairs, once a trial, is told apart. It says how many times more pairs per second the pipeline delivers; the aim is five. The twin is the
hardest customer: on a GPU the real model is the slower one by far, but there the pipeline serves several ranks.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from core.data import load_data
from core.definition.trial import TrialConfig
from core.models.reward_model import build
from core.training.loader import Part, prepare

PAIRS = 96
BATCH = 8
ROUNDS = 5
ANSWER = "The answer is a few sentences long, as answers of people on the web often are. " * 4


def text_set(folder: Path) -> Path:
    """A set in SHP's format."""
    rows = [
        {"post_id": str(n), "history": f"Question {n}? " + ANSWER, "human_ref_A": f"{n} " + ANSWER, "human_ref_B": ANSWER, "labels": n % 2}
        for n in range(PAIRS)
    ]
    path = folder / "train" / "train.json"
    path.parent.mkdir()
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def seconds(work: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """CPU seconds of this process and seconds on the clock, and what the work returned."""
    start = {"cpu": time.process_time(), "clock": time.monotonic()}
    found = work()
    return {"cpu": time.process_time() - start["cpu"], "clock": time.monotonic() - start["clock"]}, found


def compare(name: str, sources: dict[str, Any], real_data: int | None) -> None:
    """Print pairs per second of both, and their ratio."""
    rehearsal = {"pairs": PAIRS, "items": 8, "batch": BATCH, **({"real_data": real_data} if real_data else {})}
    config = TrialConfig.model_validate(
        {"backbone": "qwen2.5-vl-3b", "data": {"sources": sources}, "train": {"steps": 1}, "rehearsal": rehearsal}
    )
    model = build(config.effective())
    reading, data = seconds(lambda: load_data(config))
    order = data.order(0).slice(0, len(data.train) // BATCH * BATCH)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)

    def pipeline() -> list[Any]:
        examples = [[data.train[i] for i in order[at : at + BATCH]] for at in range(0, len(order), BATCH)]
        return [prepare(model, Part(part, len(part), frozenset()), False) for part in examples]

    def trainer(batches: list[Any]) -> int:
        for micro in batches:
            rewards = model(micro.batch).rewards
            loss = -torch.nn.functional.logsigmoid(rewards[0::2] - rewards[1::2]).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return sum(len(micro.examples) for micro in batches)

    speeds: dict[tuple[str, str], list[float]] = {(kind, by): [] for kind in ("pipeline", "trainer") for by in ("cpu", "clock")}
    for _ in range(ROUNDS):
        read, batches = seconds(pipeline)
        trained, pairs = seconds(lambda batches=batches: trainer(batches))
        for by in ("cpu", "clock"):
            speeds["pipeline", by].append(pairs / read[by])
            speeds["trainer", by].append(pairs / trained[by])
    for by, what in (("cpu", "CPU second"), ("clock", "second on the clock")):
        delivered, consumed = (statistics.median(speeds[kind, by]) for kind in ("pipeline", "trainer"))
        print(
            f"{name:18} pipeline {delivered:6.0f} pairs per {what:20} trainer {consumed:6.0f}   {delivered / consumed:5.1f} times "
            f"(median of {ROUNDS})"
        )
    print(f"{name:18} reading all {len(data.train)} pairs, once a trial: {reading['cpu']:.2f} CPU seconds")


def main() -> None:
    """Both kinds of pairs."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        compare("generated images", {"generated_images": {"pairs": PAIRS}}, None)
        compare("text set", {"shp": {"path": str(text_set(Path(folder)))}}, PAIRS)


if __name__ == "__main__":
    main()
