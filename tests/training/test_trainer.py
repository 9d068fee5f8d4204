"""The trainer: exact resume, accumulation, validation, early stop, freezing, failures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from run_trial import FolderContext
from safetensors.torch import load_file

from core import registry
from core.data.examples import PreferenceLabel, pair
from core.definition.trial import TrialConfig
from core.errors import TrialFailed
from core.models.reward_model import build, load_reward_model
from core.training.context import Interrupted
from core.training.losses import RewardBatch
from core.training.trainer import Trainer, summarise, train

SCRIPT = Path(__file__).with_name("run_trial.py")
REHEARSAL = {"steps": 6, "batch": 8, "pairs": 48, "items": 8}
TIMES = ("tokens_per_second", "pairs_per_second", "step_seconds", "memory_gib")


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def make(**change):
    base = {
        "backbone": "qwen2.5-vl-3b",
        "data": {"sources": {"mine": {}}},
        "train": {"steps": 1},
        "execution": {"validate_every": 0.5, "micro_batch": 8},
        "rehearsal": REHEARSAL,
    }
    return TrialConfig.model_validate({**base, **change})


def timeless(rows):
    return {step: {name: value for name, value in row.items() if name not in TIMES} for step, row in rows.items()}


def weights(folder):
    return load_file(Path(folder) / "result" / "weights" / "model.safetensors")


def run(folder, **change):
    context = FolderContext(folder)
    final = train(make(**change), context)
    return context, final


def in_a_process(config, folder, *options):
    file = Path(folder).with_suffix(".json")
    file.write_text(config.model_dump_json())
    command = [sys.executable, "-W", "error", str(SCRIPT), str(file), str(folder), *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_resumed_run_equals_an_undisturbed_one_to_the_bit(tmp_path):
    """The resumed part in a process of its own, with everything that draws at random switched on."""
    config = make(
        head={"dropout": 0.3},
        train={"steps": 1, "select": "best", "early_stop": {"patience": 9}, "validate_every": 0.3},
        optim={"weight_decay": 0.1},
        execution={"micro_batch": 4},
    )
    train(config, FolderContext(tmp_path / "straight"))
    with pytest.raises(Interrupted):
        train(config, FolderContext(tmp_path / "first", stop_at=4))
    in_a_process(config, tmp_path / "second", "--resume", tmp_path / "first" / "checkpoint-4")
    straight = FolderContext(tmp_path / "straight")
    parts = [FolderContext(tmp_path / name) for name in ("first", "second")]
    for group in ("train", "validation"):
        before, after = (timeless(part.read(group)) for part in parts)
        assert not before.keys() & after.keys()
        assert timeless(straight.read(group)) == {**before, **after}
    ours, theirs = weights(tmp_path / "straight"), weights(tmp_path / "second")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    results = [json.loads((tmp_path / name / "result" / "metrics.json").read_text()) for name in ("straight", "second")]
    assert {k: v for k, v in results[0].items() if not k.endswith(TIMES)} == {k: v for k, v in results[1].items() if not k.endswith(TIMES)}


class Amid(FolderContext):
    """Told to leave after the first batch of the validation after step ``stop_at``."""

    trained = 0

    def metrics(self, group, step, values):
        super().metrics(group, step, values)
        self.trained = step if group == "train" else self.trained

    def asked(self):
        return "time_limit" if self.trained == self.stop_at and self.step == self.stop_at - 1 else None


def test_told_to_leave_amid_a_validation_it_leaves_and_the_next_attempt_does_it_again(tmp_path):
    """A warning that is heard only after a whole validation may come too late; the numbers are those of an undisturbed run."""
    train_section = {"steps": 1, "select": "best", "early_stop": {"patience": 9}, "validate_every": 0.3}
    config = make(train=train_section, execution={"micro_batch": 4})
    straight = FolderContext(tmp_path / "straight")
    final = train(config, straight)
    validated = straight.read("validation")
    for step in (min(validated), max(validated)):
        first = Amid(tmp_path / f"first-{step}", stop_at=step)
        with pytest.raises(Interrupted) as left:
            train(config, first)
        assert (left.value.ask, left.value.step, first.saved) == ("time_limit", step, [step])
        second = FolderContext(tmp_path / f"second-{step}", resume=first.folder / f"checkpoint-{step}")
        again = train(config, second)
        assert {k: v for k, v in again.items() if not k.endswith(TIMES)} == {k: v for k, v in final.items() if not k.endswith(TIMES)}
        assert {**first.read("validation"), **second.read("validation")} == validated
        assert step == max(validated) or min(second.read("train")) == step + 1, "no step is done twice, and none is left out"


def test_metrics_are_logged_by_step(tmp_path):
    context, final = run(tmp_path)
    rows = context.read("train")
    assert sorted(rows) == [1, 2, 3, 4, 5, 6]
    names = ("loss", "accuracy", "margin", "chosen_reward", "rejected_reward", "grad_norm", "lr", "epoch", *TIMES)
    assert set(rows[1]) == set(names)
    assert rows[3]["margin"] == pytest.approx(rows[3]["chosen_reward"] - rows[3]["rejected_reward"], abs=1e-6)
    assert rows[6]["epoch"] == pytest.approx(48 / 40)
    assert sorted(context.read("validation")) == [3, 6]
    assert final["validation/accuracy"] == context.read("validation")[6]["accuracy"]
    assert final["train/pairs"] == 48
    assert context.total == 6
    assert context.final == final


def test_the_published_model_scores_the_validation_split_as_logged(tmp_path):
    from core.data import load_data

    _, final = run(tmp_path)
    model = load_reward_model(tmp_path / "result" / "weights")
    scores = model.score(load_data(make()).held_out)
    assert sum(chosen > rejected for chosen, rejected in scores) / len(scores) == final["validation/accuracy"]
    margin = sum(chosen - rejected for chosen, rejected in scores) / len(scores)
    assert margin == pytest.approx(final["validation/margin"], abs=1e-6)


def test_the_micro_batch_changes_losses_only_by_rounding(tmp_path):
    small, _ = run(tmp_path / "2", execution={"micro_batch": 2})
    odd, _ = run(tmp_path / "3", execution={"micro_batch": 3})
    whole, _ = run(tmp_path / "8", execution={"micro_batch": 8})
    for other in (small, odd):
        for step, row in whole.read("train").items():
            assert other.read("train")[step]["loss"] == pytest.approx(row["loss"], abs=1e-5)
            assert other.read("train")[step]["grad_norm"] == pytest.approx(row["grad_norm"], rel=1e-3)


def test_activation_checkpointing_changes_nothing(tmp_path):
    plain, _ = run(tmp_path / "a")
    saving, _ = run(tmp_path / "b", execution={"activation_checkpointing": True, "validate_every": 0.5, "micro_batch": 8})
    for step, row in plain.read("train").items():
        assert saving.read("train")[step]["loss"] == pytest.approx(row["loss"], abs=1e-6)


def test_the_head_never_changes_the_order_of_the_data(tmp_path, monkeypatch):
    import core.training.trainer as trainer

    seen = []
    original = trainer.prepare

    def watch(model, part, pin):
        seen[-1].extend(example.id for example in part.examples)
        return original(model, part, pin)

    monkeypatch.setattr(trainer, "prepare", watch)
    for name, change in (("a", {}), ("b", {"head": {"layers": 5, "dropout": 0.2}}), ("c", {"seed": 1})):
        seen.append([])
        run(tmp_path / name, **change)
    assert len(seen[0]) == 48 + 2 * 8
    assert seen[0] == seen[1]
    assert seen[0] != seen[2]


@pytest.mark.parametrize("freeze", [["vision"], ["vision", "language"]])
def test_frozen_parts_do_not_move_and_the_others_do(tmp_path, freeze):
    config = make(train={"steps": 1, "freeze": freeze}).effective()
    before = build(config).state_dict()
    run(tmp_path, train={"steps": 1, "freeze": freeze})
    after = weights(tmp_path)

    def part(name):
        if name.startswith("head."):
            return "head"
        if ".visual.merger." in name:
            return "merger"
        return "vision" if ".visual." in name else "language"

    moved = {part(name) for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"head", "merger", "vision", "language"} - set(freeze)


def test_a_checkpoint_that_is_asked_for_does_not_end_training(tmp_path):
    context = FolderContext(tmp_path, stop_at=2, ask="checkpoint")
    train(make(), context)
    assert context.saved == [2]
    assert context.final is not None


def test_checkpoints_come_by_steps(tmp_path):
    context, _ = run(tmp_path, execution={"checkpoint_steps": 2, "checkpoint_after": "resume"})
    assert context.saved == [2, 4, 6]
    again = FolderContext(tmp_path / "again", resume=tmp_path / "checkpoint-6")
    final = train(make(), again)
    assert not (tmp_path / "again" / "metrics.jsonl").exists()
    assert final == context.final
    assert all(torch.equal(value, weights(tmp_path)[name]) for name, value in weights(tmp_path / "again").items())


@pytest.mark.parametrize("ask", ["stop", "cancel", "prune", "pause"])
def test_asked_to_leave_it_saves_first(tmp_path, ask):
    context = FolderContext(tmp_path, stop_at=3, ask=ask)
    with pytest.raises(Interrupted) as left:
        train(make(), context)
    assert (left.value.ask, left.value.step) == (ask, 3)
    assert context.saved == [3]
    assert context.final is None


def test_training_stops_early_and_keeps_the_best(tmp_path):
    train_section = {
        "steps": 1,
        "select": "best",
        "early_stop": {"metric": "loss", "patience": 2, "min_delta": 100.0},
        "validate_every": 0.16,
    }
    context, final = run(tmp_path, train=train_section)
    assert sorted(context.read("validation")) == [1, 2, 3]
    assert final["train/steps"] == 3
    first = context.read("validation")[1]
    assert final["validation/loss"] == first["loss"]


def test_a_budget_in_tokens_or_pairs_ends_there(tmp_path):
    config = make().effective()
    tokens = config.model_copy(update={"train": config.train.model_copy(update={"steps": None, "tokens": 1500})})
    context = FolderContext(tmp_path / "t")
    final = Trainer(tokens, context).run()
    rows = context.read("train")
    assert final["train/tokens"] >= 1500 > final["train/tokens"] * (1 - 1 / len(rows))
    assert rows[len(rows)]["lr"] < rows[2]["lr"]
    pairs = config.model_copy(update={"train": config.train.model_copy(update={"steps": None, "pairs": 20})})
    final = Trainer(pairs, FolderContext(tmp_path / "p")).run()
    assert (final["train/pairs"], final["train/steps"]) == (20, 3)


def test_a_real_folder_trains_in_pairs_and_epochs_without_a_validation_split(tmp_path):
    """No rehearsal: weights from a folder in the hub's layout, data from a file, an epoch that the batch does not divide."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    from core.data.generated import generate_pairs

    twin = build(make().effective())
    full = Qwen2_5_VLForConditionalGeneration(twin.backbone.model.config)
    full.model.load_state_dict(twin.backbone.model.state_dict())
    full.save_pretrained(tmp_path / "weights")
    twin.backbone.save(tmp_path / "weights")
    rows = []
    for number, example in enumerate(generate_pairs(10, 0, split="train")):
        (tmp_path / f"{number}.png").write_bytes(example.media[0].data)
        chosen, rejected = (response.text for response in example.responses)
        rows.append(json.dumps({"prompt": "<image>" + example.prompt, "chosen": chosen, "rejected": rejected, "image": f"{number}.png"}))
    (tmp_path / "pairs.jsonl").write_text("\n".join(rows))
    config = TrialConfig.model_validate(
        {
            "backbone": {"name": "qwen2.5-vl-3b", "path": str(tmp_path / "weights")},
            "data": {"sources": {"mine": {"path": str(tmp_path / "pairs.jsonl")}}, "held_out": 0},
            "train": {"epochs": 2, "batch": 8, "dtype": "fp32", "max_length": 128},
        }
    )
    context = FolderContext(tmp_path / "run")
    final = train(config, context)
    assert (final["train/steps"], final["train/pairs"], final["train/epoch"]) == (3, 20, 2.0)
    assert not any(name.startswith("validation") for name in final)
    assert context.read("validation") == {}
    model = load_reward_model(tmp_path / "run" / "result" / "weights")
    assert len(model.score(generate_pairs(2, 0, split="train"))) == 2


def test_bf16_trains_with_fp32_weights(tmp_path):
    config = make().effective()
    config = config.model_copy(update={"train": config.train.model_copy(update={"dtype": "bf16", "steps": 2})})
    context = FolderContext(tmp_path)
    Trainer(config, context).run()
    plain, _ = run(tmp_path / "fp32")
    assert {value.dtype for value in weights(tmp_path).values()} == {torch.float32}
    first, exact = context.read("train")[1]["loss"], plain.read("train")[1]["loss"]
    assert first != exact
    assert first == pytest.approx(exact, abs=0.02)


def test_a_step_of_ties_has_neither_accuracy_nor_margin():
    tied = pair("1", "q", "a", "b")
    tied = tied.__class__(**{**tied.__dict__, "label": PreferenceLabel((0, 0))})
    output = RewardBatch.of(torch.tensor([1.0, 2.0, 5.0, 3.0]), torch.ones(4), [tied, pair("2", "q", "a", "b")])
    assert summarise([output]) == {"chosen_reward": 3.0, "rejected_reward": 2.5, "accuracy": 1.0, "margin": 2.0}
    alone = RewardBatch.of(torch.tensor([1.0, 2.0]), torch.ones(2), [tied])
    assert summarise([alone]) == {"chosen_reward": 1.0, "rejected_reward": 2.0}


def test_a_loss_that_is_not_finite_fails_with_the_step(tmp_path):
    with pytest.raises(TrialFailed, match=r"is (nan|inf) at step \d") as error:
        run(tmp_path, optim={"lr": 1e30, "warmup": 0.0})
    assert error.value.cause == "nan_loss"


def test_running_out_of_gpu_memory_has_its_cause(tmp_path, monkeypatch):
    def exhausted(*_):
        raise torch.cuda.OutOfMemoryError("tried to allocate 2 GiB")

    monkeypatch.setattr(
        registry.Component, "load", lambda self, load=registry.Component.load: exhausted if self.kind == "loss" else load(self)
    )
    with pytest.raises(TrialFailed, match="micro_batch") as error:
        run(tmp_path)
    assert error.value.cause == "cuda_oom"


def test_a_bad_image_in_a_loader_fails_with_file_and_row(tmp_path, monkeypatch):
    from dataclasses import replace

    import core.data.sources as sources
    from core.data.examples import Media

    class Torn(sources.GeneratedPreferences):
        def __iter__(self):
            for number, example in enumerate(super().__iter__()):
                media = (Media("image", path=tmp_path / "gone.png"),)
                yield replace(example, media=media, origin=f"rows.jsonl:{number + 1}") if number == 7 else example

    monkeypatch.setattr(sources, "GeneratedPreferences", Torn)
    with pytest.raises(TrialFailed, match=r"rows\.jsonl:8: .*gone\.png does not exist") as error:
        run(tmp_path / "run")
    assert error.value.cause == "data_error"


def test_a_loss_of_ones_own_trains(tmp_path):
    file = tmp_path / "my_focal_loss.py"
    file.write_text(
        "import torch.nn.functional as F\n"
        "from core.definition.fields import identity\n"
        "from core.definition.trial import LossTermConfig\n"
        "from core.registry import register\n"
        "class FocalConfig(LossTermConfig):\n"
        "    gamma: float = identity(2.0, ge=0, doc='how much easy pairs are discounted')\n"
        "def focal(batch, config):\n"
        "    difference = batch.chosen - batch.rejected\n"
        "    return -((1 - difference.sigmoid()) ** config.gamma) * F.logsigmoid(difference)\n"
        "register('loss', 'focal', FocalConfig, 'my_focal_loss:focal')\n"
    )
    registry.load_code([file])
    context, final = run(tmp_path / "run", loss={"focal": {"gamma": 1.0}})
    rows = context.read("train")
    assert rows[1]["loss"] == pytest.approx(0.5 * 0.693, abs=0.05)
    assert final["train/steps"] == 6


WARMING = """
import sys, torch
from torch.utils._python_dispatch import TorchDispatchMode
from core.training.warm import warm
ran = []
class Watch(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        ran.append(str(function))
        return function(*args, **(kwargs or {}))
with Watch():
    warm("cpu", int(sys.argv[1]))
assert not ran, ran
assert "mlflow" not in sys.modules
before = set(sys.modules)
from core.definition.trial import TrialConfig
from core.models.reward_model import build
config = dict(backbone="qwen2.5-vl-7b", data=dict(sources=dict(a={})), train=dict(steps=1), rehearsal={})
build(TrialConfig.model_validate(config))
print(*sorted(set(sys.modules) - before), sep="\\n")
"""


@pytest.mark.parametrize("ranks", ["1", "2"])
def test_warming_up_imports_all_that_a_trial_needs_and_computes_nothing(ranks):
    done = subprocess.run([sys.executable, "-c", WARMING, ranks], capture_output=True, text=True, check=False, cwd=SCRIPT.parents[2])
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) < 10, done.stdout
