"""Several ranks do what one process does: the same losses, exact resume, and checkpoints that any number of ranks can read."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from run_trial import FolderContext
from safetensors.torch import load_file

from core.models.reward_model import load_reward_model
from core.training.layout import Layout, states
from core.training.memory import buffers

SCRIPT = Path(__file__).with_name("run_ranks.py")
REHEARSAL = {"steps": 5, "batch": 8, "pairs": 48, "items": 7}
TIMES = ("per_second", "seconds", "memory", "epoch")
WITHIN = 1e-5


def config(**change):
    base = {
        "backbone": "qwen2.5-vl-3b",
        "data": {"sources": {"mine": {}}},
        "head": {"dropout": 0.0},
        "train": {"steps": 1, "freeze": []},
        "optim": {"weight_decay": 0.1},
        "execution": {"validate_every": 0.5, "micro_batch": 3},
        "rehearsal": REHEARSAL,
    }
    return {**base, **change}


PLAIN = config()
JUDGE = config(paradigm="generative")
BEST = config(train={"steps": 1, "select": "best", "validate_every": 0.3})
SCENARIOS = [
    {"name": "one", "config": PLAIN, "ranks": 1},
    {"name": "one stopped", "config": PLAIN, "ranks": 1, "stop_at": 3},
    {"name": "one best", "config": BEST, "ranks": 1},
    {"name": "one, half in words", "config": PLAIN, "ranks": 1, "media": "first half"},
    *(
        {"name": f"zero {zero}", "config": BEST if zero == 1 else PLAIN, "ranks": 2, "zero": zero} for zero in (0, 1, 2, 3)
    ),
    *({"name": f"zero {zero} stopped", "config": PLAIN, "ranks": 2, "zero": zero, "stop_at": 3} for zero in (2, 3)),
    *(
        {"name": f"zero {zero} resumed", "config": PLAIN, "ranks": 2, "zero": zero, "resume": f"zero {zero} stopped/checkpoint-3"}
        for zero in (2, 3)
    ),
    *(
        {"name": f"zero {zero} to one", "config": PLAIN, "ranks": 1, "resume": f"zero {zero} stopped/checkpoint-3"}
        for zero in (2, 3)
    ),
    {"name": "2 to 3", "config": PLAIN, "ranks": 2, "zero": 3, "resume": "zero 2 stopped/checkpoint-3"},
    {"name": "one to 2", "config": PLAIN, "ranks": 2, "zero": 2, "resume": "one stopped/checkpoint-3"},
    {"name": "offloaded", "config": PLAIN, "ranks": 1, "zero": 3, "offload": "all"},
    {"name": "one that writes", "config": JUDGE, "ranks": 1},
    {"name": "two that write", "config": JUDGE, "ranks": 2, "zero": 3},
    {"name": "one in bf16", "config": PLAIN, "ranks": 1, "dtype": "bf16"},
    {"name": "zero 3 in bf16", "config": PLAIN, "ranks": 2, "zero": 3, "dtype": "bf16"},
    {"name": "half in words", "config": PLAIN, "ranks": 2, "zero": 3, "media": "first half"},
]  # fmt: skip

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """All scenarios, trained one after the other in one process that has the libraries loaded."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "scenarios.json").write_text(json.dumps(SCENARIOS))
    command = [sys.executable, str(SCRIPT), str(folder / "scenarios.json"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    return folder


def rows(folder, group="train"):
    found = FolderContext(folder).read(group)
    return {step: {k: v for k, v in row.items() if not any(word in k for word in TIMES)} for step, row in found.items()}


def weights(folder):
    return load_file(folder / "result" / "weights" / "model.safetensors")


COMPARED = ("loss", "margin", "accuracy", "grad_norm", "lr")
"""What the loss sees of the rewards. Their level it does not: the gradient of the head's last bias is nothing but rounding, of which
AdamW makes a step of the size of the learning rate."""


def near(one, other):
    assert one.keys() == other.keys()
    for step, row in one.items():
        shared = [name for name in COMPARED if name in row]
        expected = pytest.approx([other[step][name] for name in shared], abs=WITHIN, rel=WITHIN)
        assert [row[name] for name in shared] == expected, step


@pytest.mark.parametrize(("name", "reference"), [
    ("zero 0", "one"), ("zero 1", "one best"), ("zero 2", "one"), ("zero 3", "one"), ("offloaded", "one"),
    ("half in words", "one, half in words"), ("two that write", "one that writes"),
])  # fmt: skip
def test_several_ranks_have_the_losses_of_one(runs, name, reference):
    for group in ("train", "validation"):
        near(rows(runs / name, group), rows(runs / reference, group))


def test_bf16_is_computed_by_ranks_as_by_one(runs):
    """Within the precision of bf16, whose rounding depends on the micro batch."""
    one, two, exact = (rows(runs / name) for name in ("one in bf16", "zero 3 in bf16", "one"))
    for step, row in two.items():
        assert row["loss"] == pytest.approx(one[step]["loss"], abs=0.02), step
    assert all(row["margin"] != exact[step]["margin"] for step, row in two.items())


@pytest.mark.parametrize("zero", [2, 3])
def test_a_resumed_run_of_the_same_ranks_equals_an_undisturbed_one_to_the_bit(runs, zero):
    straight, resumed = rows(runs / f"zero {zero}"), rows(runs / f"zero {zero} resumed")
    assert list(resumed) == [4, 5]
    assert resumed == {step: straight[step] for step in resumed}
    ours, theirs = weights(runs / f"zero {zero} resumed"), weights(runs / f"zero {zero}")
    assert all(torch.equal(ours[key], value) for key, value in theirs.items())


@pytest.mark.parametrize("name", ["zero 2 to one", "zero 3 to one", "2 to 3", "one to 2"])
def test_a_checkpoint_is_read_by_another_number_of_ranks_and_another_stage(runs, name):
    resumed, straight = rows(runs / name), rows(runs / "one")
    assert list(resumed) == [4, 5]
    near(resumed, {step: straight[step] for step in resumed})
    assert not (runs / name / ".universal").exists()


def test_the_published_model_is_whole(runs):
    model = load_reward_model(runs / "zero 3" / "result" / "weights")
    assert {name: tuple(value.shape) for name, value in model.state_dict().items()} == {
        name: tuple(value.shape) for name, value in load_reward_model(runs / "one" / "result" / "weights").state_dict().items()
    }


@pytest.mark.parametrize(("name", "each"), [("one stopped", 12), ("zero 2 stopped", 16), ("zero 3 stopped", 12)])
def test_a_checkpoint_is_as_large_as_a_plan_says(runs, name, each):
    trained = json.loads((runs / "one" / "held.json").read_text())["trained"]
    written = sum(file.stat().st_size for file in (runs / name / "checkpoint-3").rglob("*") if file.is_file())
    assert written == pytest.approx(each * trained, rel=0.1)


@pytest.mark.parametrize(("name", "layout", "ranks"), [
    ("one", Layout(), 1), ("zero 0", Layout(0), 2), ("zero 1", Layout(1), 2), ("zero 2", Layout(2), 2), ("zero 3", Layout(3), 2),
])  # fmt: skip
def test_the_estimated_memory_is_what_training_holds(runs, name, layout, ranks):
    held = json.loads((runs / name / "held.json").read_text())
    size = held if layout.stage != 3 else json.loads((runs / "one" / "held.json").read_text())  # a divided weight shows a part of itself
    everything, trained = size["all"], size["trained"]
    expected = states(everything, trained, ranks, layout).device
    moved = buffers(trained, 0, ranks, layout, overlap=False)
    assert 0.95 * expected <= held["bytes"] <= 1.2 * (expected + moved), (held, expected, moved)
