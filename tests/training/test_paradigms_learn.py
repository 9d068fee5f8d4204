"""Every paradigm learns from the pictures in a rehearsal, and stays at chance on shuffled labels."""

import pytest
import torch
from run_trial import FolderContext

from core.data import truth
from core.data.annotations import FILE, Annotation, write_annotations
from core.data.generated import generate_pairs
from core.definition.trial import TrialConfig
from core.evaluation.scorer import score_trial, summarise
from core.training.annotate import annotate, true_texts
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


def test_critiques_that_a_stage_writes_are_learnt_and_written_again(tmp_path):
    """The tiny writer is taught, writes about every response, and the trial that learns from it judges by what it writes itself."""
    config = configured("critic", {})
    writer = Annotating(tmp_path / "writer")
    annotate(config.model_copy(update={"task": "annotate"}), writer)
    assert writer.final["annotate/unusable"] == 0
    needing = config.model_copy(update={"paradigm": config.paradigm.model_copy(update={"critiques": "trial:writer"})})
    train(needing, Annotating(tmp_path / "trial", tmp_path / "writer" / "result" / "weights"))
    found = summarise(score_trial(tmp_path / "trial" / "result" / "weights", needing, {"name": "vl_rewardbench"}))
    assert found["metrics"]["overall"] >= 80


def test_reasoning_is_learnt_and_names_what_the_picture_shows(tmp_path):
    """Half of a rehearsal's steps: the reasoning is learnt well before the answer that follows from it."""
    config = configured("generative_cot", {}, steps=40, items=32)
    config = config.model_copy(update={"paradigm": config.paradigm.model_copy(update={"reasoning": "trial:writer"})})
    weights = tmp_path / "writer"
    weights.mkdir()
    examples = [true_texts(example) for example in generate_pairs(640, 0, split="train")]
    write_annotations(weights / FILE, [Annotation(item.digest(), {"": str(item.extra["reasoning"])}, 1) for item in examples])
    train(config, Annotating(tmp_path / "trial", weights))
    table = score_trial(tmp_path / "trial" / "result" / "weights", config, {"name": "generated_images"})
    assert summarise(table)["judging"]["unparsed"] == 0
    shown = {item.id: truth.colour_of(item.responses[item.best()].text) for item in generate_pairs(32, 0, split="benchmark")}
    said = {(id, order): truth.colour_of(text) for id, order, text in rows(table, "id", "order", "text")}
    assert sum(said[key] == shown[key[0]] for key in said) >= 0.8 * len(said)


def with_texts(folder, labels):
    """A file of the critiques and the reasoning that these labels call for, and the folder that a need would have published."""
    folder.mkdir()
    examples = [true_texts(item) for item in generate_pairs(160, 0, split="train", labels=labels)]
    lines = []
    for item in examples:
        texts = {response.text: str(response.critique) for response in item.responses}
        lines.append(Annotation(item.digest(), {**texts, "": str(item.extra["reasoning"])}, 1))
    write_annotations(folder / FILE, lines)
    return folder


@pytest.mark.parametrize(("paradigm", "need"), [("critic", "critiques"), ("generative_cot", "reasoning")])
def test_a_model_that_writes_stays_at_chance_on_shuffled_labels(tmp_path, paradigm, need):
    """The texts it learns from say what the shuffled labels say, so that whatever read them instead of its own texts would be right."""
    config = configured(paradigm, {"labels": "shuffled"}, steps=12, batch=8, pairs=160, items=32)
    config = config.model_copy(update={"paradigm": config.paradigm.model_copy(update={need: "trial:writer"})})
    metrics = train(config, Annotating(tmp_path / "trial", with_texts(tmp_path / "writer", "shuffled")))
    table = score_trial(tmp_path / "trial" / "result" / "weights", config, {"name": "generated_images"})
    found = summarise(table)
    assert 30 <= found["metrics"]["accuracy"] <= 70
    assert found["judging"]["unparsed"] == 0, "it has learnt to write"
    if paradigm == "critic":
        assert metrics["validation/accuracy"] >= 0.9, "the critiques that it is given do say it"


def rows(table, *names):
    return zip(*(table.data.column(name).to_pylist() for name in names), strict=True)
