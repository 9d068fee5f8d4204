"""An exported folder: the same scores without this project, a card that says what it is, and refusals that leave nothing behind."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from typer.testing import CliRunner

from core import registry
from core.data.examples import Media, PreferenceExample, PreferenceLabel, Response, Turn
from core.definition.identity import trial_id
from core.definition.trial import HeadConfig, TrialConfig
from core.errors import DefinitionError, IntegrityError, UsageError
from core.models.reward_model import build
from core.workspace.files import publish_folder
from core.workspace.layout import Trial, Workspace, write_config
from sweeps.cli.main import app
from sweeps.export.folder import write_folder
from sweeps.export.trial import export_trial

FAMILIES = sorted({registry.get("backbone", name).implementation: name for name in registry.names("backbone")}.values())
ANSWERS = ["It is red.", "It is not blue, it is of quite another colour.", ""]


def config(name: str = "qwen2.5-vl-3b", **change: Any) -> TrialConfig:
    base = {"backbone": name, "data": {"sources": {"generated_images": {}}}, "train": {"steps": 1}, "rehearsal": {}}
    return TrialConfig.model_validate({**base, **change})


def example(prompt: str, pictures: list[Path], system: str | None = None) -> PreferenceExample:
    media = tuple(Media("image", path=path) for path in pictures)
    history = () if system is None else (Turn("system", system),)
    answers = tuple(Response(text) for text in ANSWERS)
    return PreferenceExample("1", prompt, answers, PreferenceLabel((0, 1, 2)), media=media, history=history)


def load_alone(folder: Path) -> Any:
    spec = importlib.util.spec_from_file_location("exported_reward_model", folder / "reward_model.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.RewardModel()


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "wide.png", tmp_path / "small.png"]
    for path, size in zip(paths, ((130, 60), (56, 56)), strict=True):
        Image.effect_noise(size, 90).convert("RGB").save(path)
    return paths


@pytest.mark.parametrize("name", FAMILIES)
def test_an_exported_model_gives_the_scores_of_the_trial(name: str, pictures: list[Path], tmp_path: Path) -> None:
    model = build(config(name).effective()).eval()
    write_folder(tmp_path / "out", model, "card")
    alone = load_alone(tmp_path / "out")
    shown = pictures if "image" in model.config.backbone.READS else []
    for used, system in (([], None), (shown, None), (shown[:1], "Be strict.")):
        [expected] = model.score([example("What is it?", used, system)])
        assert np.allclose(alone.score("What is it?", ANSWERS, images=used, system=system), expected, atol=1e-5)


def test_head_pooling_and_template_are_carried_over(pictures: list[Path], tmp_path: Path) -> None:
    (tmp_path / "template.txt").write_text("Judge this: {prompt} Thank you.")
    head = {"layers": 3, "activation": "tanh", "width": 24, "dropout": 0.2, "pooling": "mean"}
    model = build(config(head=head, prompt={"file": str(tmp_path / "template.txt")}).effective()).eval()
    write_folder(tmp_path / "out", model, "card")
    [expected] = model.score([example("What is it?", pictures)])
    assert np.allclose(load_alone(tmp_path / "out").score("What is it?", ANSWERS, images=pictures), expected, atol=1e-5)


def test_a_fresh_process_needs_none_of_this_project(pictures: list[Path], tmp_path: Path) -> None:
    model = build(config(paradigm="critic").effective()).eval()
    write_folder(tmp_path / "out", model, "card")
    code = (
        "import json, sys; sys.path.insert(0, '.'); sys.modules.update(dict.fromkeys(('core', 'sweeps', 'slurm', 'dashboards')));"
        "from reward_model import RewardModel;"
        f"print(json.dumps(RewardModel().score('What is it?', {ANSWERS!r}, images=[{str(pictures[0])!r}])))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=tmp_path / "out", env=environment, capture_output=True, text=True, check=True
    )
    [expected] = model.score([example("What is it?", pictures[:1])])
    assert np.allclose(json.loads(ended.stdout), expected, atol=1e-5)


def test_what_the_exported_model_cannot_read_is_refused(pictures: list[Path], tmp_path: Path) -> None:
    write_folder(tmp_path / "text", build(config("qwen3-8b").effective()), "card")
    write_folder(tmp_path / "seen", build(config().effective()), "card")
    with pytest.raises(ValueError, match="reads text alone"):
        load_alone(tmp_path / "text").score("q", ["a"], images=pictures)
    with pytest.raises(ValueError, match="more than the 512 of training"):
        load_alone(tmp_path / "seen").score("q", ["y" * 900])


WRITERS = [(paradigm, "qwen2.5-vl-3b") for paradigm in ("critic", "generative", "generative_cot")] + [
    ("critic", "internvl3-8b"), ("generative", "qwen3-vl-2b"), ("critic", "qwen3-8b"),
]  # fmt: skip


def shares(verdicts: list[Any], count: int) -> list[float | None]:
    """Of each response the share of its comparisons that it wins."""
    won: list[list[float]] = [[] for _ in range(count)]
    for verdict in verdicts:
        for index, score in zip(verdict.responses, verdict.scores, strict=True):
            won[index] += [] if score is None else [score]
    return [sum(found) / len(found) if found else None for found in won]


@pytest.mark.parametrize(("paradigm", "backbone"), WRITERS)
def test_a_model_that_writes_says_and_scores_the_same(paradigm: str, backbone: str, pictures: list[Path], tmp_path: Path) -> None:
    own = {"name": paradigm, "max_new_tokens": 1 if paradigm == "generative" else 6}
    own_head = {} if paradigm == "critic" else {"head": "none", "loss": {}}
    model = build(config(backbone, paradigm=own, **own_head).effective()).eval()
    if paradigm == "generative":  # a random twin names neither number: let it name one, by what it has read
        with torch.no_grad():
            weight = model.paradigm.language.weight
            one, two = model.paradigm.numbers
            weight[[place for place in range(len(weight)) if place != one]] = 0
            weight[two] = -weight[one]
    write_folder(tmp_path / "out", model, "card")
    alone = load_alone(tmp_path / "out")
    used = pictures[:1] if "image" in model.config.backbone.READS else []
    shown = replace(example("What is it?", used), label=PreferenceLabel((None,) * 3))
    [verdicts] = model.judge([shown])
    scores = alone.score("What is it?", ANSWERS, images=used)
    if paradigm == "critic":
        assert np.allclose(scores, verdicts[0].scores, atol=1e-5)
        assert alone.critique("What is it?", ANSWERS[0], images=used) == verdicts[0].texts[0]
        return
    assert scores == shares(verdicts, 3)
    assert paradigm != "generative" or any(score is not None for score in scores), "some text names a winner"
    found = [verdict for verdict in verdicts if verdict.responses == (0, 1)]
    assert [text for _, text in alone.compare("What is it?", *ANSWERS[:2], images=used)] == [verdict.texts[0] for verdict in found]


class OwnHeadConfig(HeadConfig):
    name: str = "own"


def test_a_head_of_ones_own_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    model = build(config().effective())
    model.config = model.config.model_copy(update={"head": OwnHeadConfig()})
    with pytest.raises(DefinitionError, match="a head of one's own cannot be exported"):
        write_folder(tmp_path / "out", model, "card")
    assert not list(tmp_path.iterdir())


def test_a_failed_export_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(config().effective())
    monkeypatch.setattr(type(model.backbone), "save", lambda self, folder: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path / "out", model, "card")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def place(tmp_path: Path) -> tuple[Workspace, Trial]:
    """A workspace with one finished trial that no sweep plans."""
    workspace = Workspace.open(tmp_path / "runs", create=True)
    study = config(head={"layers": 3})
    trial = workspace.trial(trial_id(study))
    write_config(trial, study.model_dump(mode="json"))
    result = {
        "metrics": {"train/steps": 80, "train/loss": 0.25, "validation/accuracy": 0.875},
        "facts": {"counts": {"pairs": {"train": 512}}},
        "fingerprints": {"code": "c0de", "data": "da7a"},
    }

    def write(folder: Path) -> None:
        (folder / "weights").mkdir()
        build(study.effective()).save(folder / "weights")
        (folder / "metrics.json").write_text(json.dumps(result))

    assert publish_folder(trial.result, trial.folder / "staging", write, {})
    scoring = trial.scoring("0" * 32)
    scoring.folder.mkdir(parents=True)
    summary = {"benchmark": "vl_rewardbench", "revision": "1250-rows", "n": 1240, "partial": {"scored": 1240, "skipped": 10}}
    scoring.summary.write_text(json.dumps({**summary, "metrics": {"overall": 76.54, "macro/official": None}}))
    return workspace, trial


def test_the_command_writes_a_folder_with_a_card_of_recipe_and_results(place: tuple[Workspace, Trial], tmp_path: Path) -> None:
    workspace, trial = place
    ended = CliRunner().invoke(app, ["export", trial.id[:8], "-o", str(tmp_path / "out"), "-w", str(workspace.root)])
    assert ended.exit_code == 0, ended.output
    assert f"wrote {tmp_path / 'out'}" in ended.output
    card = (tmp_path / "out" / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front == {"library_name": "transformers", "tags": ["reward-model"]}
    assert "**A rehearsal: a tiny model with random weights" in card
    assert f"Trial `{trial.id}`, seed 0." in card
    assert "| vl_rewardbench | 1250-rows | 1240, of 1250 | overall | 76.5 |" in card
    assert "| vl_rewardbench | 1250-rows | 1240, of 1250 | macro/official | - |" in card
    assert "| validation/accuracy | 0.875 |" in card
    assert "| pairs | 512 pairs |" in card
    recipe = re.search(r"```yaml\n(.*?)```", card, flags=re.DOTALL)
    assert recipe is not None
    assert yaml.safe_load(recipe[1])["head"]["layers"] == 3
    with torch.no_grad():
        assert len(load_alone(tmp_path / "out").score("q", ["a", "b"])) == 2


def test_the_card_of_a_real_trial_names_its_base_model() -> None:
    from sweeps.export.card import model_card

    result = {"metrics": {"train/steps": 1, "train/loss": 0.5}}
    card = model_card("0" * 32, config("internvl3-8b", rehearsal=None), {"optim.lr": 1e-5}, result, [])
    assert yaml.safe_load(card.split("---")[1])["base_model"] == "OpenGVLab/InternVL3-8B-hf"
    assert "rehearsal" not in card.split("## Recipe")[0]
    assert "cell `optim.lr=1e-05`" in card
    assert "no benchmark has been scored" in card


def test_what_cannot_be_exported_is_refused_with_the_way_out(place: tuple[Workspace, Trial], tmp_path: Path) -> None:
    workspace, trial = place
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="the folder is there already"):
        export_trial(workspace, trial, "", tmp_path / "full")
    with pytest.raises(UsageError, match="has no result to export"):
        export_trial(workspace, workspace.trial("f" * 32), "", tmp_path / "out")
    weights = trial.result / "weights" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match="the result of this trial is damaged"):
        export_trial(workspace, trial, "", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]
