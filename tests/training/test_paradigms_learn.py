"""Every paradigm learns from the pictures in a rehearsal, and stays at chance on shuffled labels."""

import pytest
import torch
from run_trial import FolderContext

from core.definition.trial import TrialConfig
from core.evaluation.scorer import score_trial, summarise
from core.training.annotate import annotate
from core.training.trainer import train

pytestmark = pytest.mark.training


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def configured(paradigm, source, **rehearsal):
    headless = {} if paradigm == "critic" else {"head": "none", "loss": {}}
    return TrialConfig.model_validate(
        {
            "paradigm": paradigm,
            "backbone": "qwen2.5-vl-7b",
            "data": {"sources": {"generated_images": source}},
            "train": {"epochs": 1, "freeze": ["vision"]},
            "execution": {"validate_every": 1.0, "micro_batch": 16},
            "rehearsal": rehearsal,
            **headless,
        }
    )


def trained(folder, paradigm, source, **rehearsal):
    config = configured(paradigm, source, **rehearsal)
    return config, train(config, FolderContext(folder))


def test_a_generative_judge_learns_and_says_so_in_both_orders(tmp_path):
    config, metrics = trained(tmp_path, "generative", {})
    assert metrics["validation/accuracy"] >= 0.7
    table = score_trial(tmp_path / "result" / "weights", config, {"name": "vl_rewardbench"})
    found = summarise(table)
    assert found["metrics"]["overall"] >= 70
    assert found["judging"]["orders"] == 2 and found["judging"]["texts"] == 2 * found["n"]
    assert found["judging"]["unparsed"] == 0


def test_a_generative_judge_learns_nothing_from_shuffled_labels(tmp_path):
    _, metrics = trained(tmp_path, "generative", {"labels": "shuffled"}, steps=20)
    assert 0.35 <= metrics["validation/accuracy"] <= 0.65
    assert metrics["train/loss"] < 1.0, "it has learnt to write a number"


def test_zero_shot_is_a_trial_of_no_steps(tmp_path):
    config, _ = trained(tmp_path, "generative", {}, items=32, steps=1)
    untrained = config.model_copy(update={"train": config.train.model_copy(update={"epochs": None, "steps": 0})})
    context = FolderContext(tmp_path / "untrained")
    found = train(untrained, context)
    assert found["train/steps"] == 0 and "validation/accuracy" in found
    table = score_trial(tmp_path / "untrained" / "result" / "weights", untrained, {"name": "vl_rewardbench"})
    assert summarise(table)["judging"]["texts"] == 64


class Annotating(FolderContext):
    """With a cache, and with what another trial has published as the one need."""

    def __init__(self, folder, needed=None):
        super().__init__(folder)
        self.cache, self.needed = folder / "cache", needed

    def need(self, reference):
        return self.needed


@pytest.mark.parametrize(("paradigm", "field", "least"), [("critic", "critiques", 0.8), ("generative_cot", "reasoning", 0.62)])
def test_what_a_stage_writes_is_learnt_and_written_again(tmp_path, paradigm, field, least):
    """The tiny writer is taught, writes about every pair, and the trial that learns from it judges by what it writes itself."""
    config = configured(paradigm, {})
    writer = Annotating(tmp_path / "writer")
    annotate(config.model_copy(update={"task": "annotate"}), writer)
    assert writer.final["annotate/unusable"] < 0.3 * writer.final["annotate/texts"]
    needing = config.model_copy(update={"paradigm": config.paradigm.model_copy(update={field: "trial:writer"})})
    train(needing, Annotating(tmp_path / "trial", tmp_path / "writer" / "result" / "weights"))
    found = summarise(score_trial(tmp_path / "trial" / "result" / "weights", needing, {"name": "vl_rewardbench"}))
    assert found["metrics"]["overall"] >= 100 * least
    assert found["judging"]["unparsed"] <= 0.1 * found["judging"]["texts"]
