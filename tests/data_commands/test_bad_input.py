"""Bad input through the command, as a user meets it: named with file and row, and with the way out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sweeps.cli.main import main

Called = Callable[..., tuple[str, int]]

GOOD = {"prompt": "Which?", "chosen": "This one.", "rejected": "That."}

DEFINITION = """\
version: 1
name: mine
trial:
  backbone: qwen2.5-vl-3b
  data: {sources: {mine: {path: %s}}}
  train: {steps: 2}
validation: {items: 1}
resources: {gpus: 0}
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")


@pytest.fixture
def called(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Called:
    def call(*words: str) -> tuple[str, int]:
        monkeypatch.setattr(sys, "argv", ["sweep", *words])
        with pytest.raises(SystemExit) as left:
            main()
        shown = capsys.readouterr()
        return shown.out + shown.err, int(left.value.code or 0)

    return call


def definition(file: str) -> str:
    Path("mine.yaml").write_text(DEFINITION % file)
    return "mine.yaml"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rejected": GOOD["chosen"]}, "chosen and rejected are equal"),
        ({"strength": 5}, "`strength` is 1, 2 or 3, found 5"),
        ({"is_tie": "maybe"}, "`is_tie` is true or false, found 'maybe'"),
        ({"margin": "high"}, "`margin` is a finite number, found 'high'"),
        ({"prompt": "<image> and <image>?", "image": "one.png"}, "the text has 2 places `<image>` for 1 images"),
        ({"chosen": " "}, "`chosen` is empty"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_with_its_line_and_the_way_out(called: Called, change: dict[str, Any], said: str) -> None:
    rows = [GOOD | {"id": str(number)} for number in range(4)]
    rows[2] = rows[2] | change
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    output, code = called("data", "check", definition("rows.jsonl"))
    assert code == 2
    assert "rows.jsonl:3: " in output and f"row 3 is refused: {said}" in output


def test_a_refused_row_says_what_to_do_next(called: Called) -> None:
    Path("rows.jsonl").write_text(json.dumps(GOOD | {"rejected": GOOD["chosen"]}) + "\n")
    Path("config.json").write_text("{}")
    output, code = called("plan", definition("rows.jsonl"), "backbone.path=.")
    assert code == 2
    assert "rows.jsonl:1: source 'mine': row 1 is refused" in output
    assert "next:     mend the row or take it out, then `sweep data check DEFINITION`" in output


def test_an_empty_data_set_is_named(called: Called) -> None:
    Path("rows.jsonl").write_text("\n\n")
    output, code = called("data", "check", definition("rows.jsonl"))
    assert code == 2
    assert "the file of source 'mine' holds no rows" in output and "rows.jsonl" in output


def test_a_shard_that_is_corrupt_in_the_middle_is_named_with_the_row_before(called: Called) -> None:
    rows = [GOOD | {"id": str(number), "rejected": f"That {number}. " + "x" * 400} for number in range(4000)]
    pq.write_table(pa.Table.from_pylist(rows), "rows.parquet", row_group_size=1000, compression="none", use_dictionary=False)
    data = bytearray(Path("rows.parquet").read_bytes())
    middle = len(data) // 2
    data[middle - 200_000 : middle + 200_000] = b"\xff" * 400_000
    Path("rows.parquet").write_bytes(bytes(data))
    output, code = called("data", "check", definition("rows.parquet"))
    assert code == 2
    assert "rows.parquet" in output and "the file is no readable Parquet after row 1000" in output


def test_an_unknown_backbone_is_answered_with_the_nearest(called: Called) -> None:
    Path("rows.jsonl").write_text(json.dumps(GOOD) + "\n")
    output, code = called("plan", definition("rows.jsonl"), "backbone=qwen2.5-vl-8b")
    assert code == 2
    assert "unknown backbone" in output and "did you mean: qwen2.5-vl-" in output


def test_a_checkpoint_of_another_architecture_is_named_before_anything_is_queued(called: Called) -> None:
    Path("rows.jsonl").write_text("".join(json.dumps(GOOD | {"id": str(number)}) + "\n" for number in range(4)))
    Path("model").mkdir()
    Path("model/config.json").write_text(json.dumps({"model_type": "internvl_chat"}))
    output, code = called("plan", definition("rows.jsonl"), "backbone.path=model")
    assert code == 0
    assert "missing: the weights of qwen2.5-vl-3b are of another architecture: model_type internvl_chat in" in output
    output, code = called("launch", definition("rows.jsonl"), "backbone.path=model")
    assert code == 3
    assert "allowed:  model_type qwen2_5_vl" in output and "next:     name the backbone that this checkpoint belongs to" in output


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model in the hub's layout, its copy with another tokenizer (``lacking``), and a published one with a NaN."""
    import torch

    from core.definition.trial import TrialConfig
    from core.models.reward_model import build

    place = tmp_path_factory.mktemp("models")
    sources = {"sources": {"generated_images": {}}}
    config = TrialConfig.model_validate(
        {"backbone": "qwen2.5-vl-3b", "data": sources, "train": {"steps": 1}, "rehearsal": {"items": 8}, "head": {"layers": 1}}
    )
    model: Any = build(config.effective())
    for name in ("good", "lacking", "nan"):
        (place / name).mkdir()
    for name in ("good", "lacking"):
        model.backbone.model.save_pretrained(str(place / name))
        model.backbone.save(place / name)
    tokenizer = place / "lacking" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace("<|image_pad|>", "<|picture|>"))
    torch.nn.init.constant_(model.head.layers[-1].bias, float("nan"))
    model.save(place / "nan")
    return place


@pytest.mark.training
def test_a_score_that_is_no_number_is_named_with_its_example(called: Called, folders: Path) -> None:
    output, code = called("score", "--model", str(folders / "nan"), "--benchmark", "generated_images")
    assert code == 3
    assert "the scoring failed (nan_loss): benchmark generated_images: generated images, benchmark-" in output
    assert "a score is nan" in output and "train again with a lower optim.lr" in output


@pytest.mark.training
def test_a_tokenizer_without_the_image_token_is_named(called: Called, folders: Path) -> None:
    Path("rows.jsonl").write_text("".join(json.dumps(GOOD | {"id": str(number)}) + "\n" for number in range(4)))
    output, code = called("run", definition("rows.jsonl"), f"backbone.path={folders / 'lacking'}", "train.batch=2")
    assert code == 1
    assert "the tokenizer lacks <|image_pad|>: it is none of Qwen2.5-VL's" in output and str(folders / "lacking") in output
    assert "next:     bring the folder again" in output


@pytest.mark.training
def test_a_response_that_is_longer_than_the_budget_is_named_with_its_row_and_never_cut(called: Called, folders: Path) -> None:
    rows = [GOOD | {"id": str(number)} for number in range(4)]
    rows[2]["chosen"] = "word " * 60
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = (f"backbone.path={folders / 'good'}", "train.batch=2", "train.max_length=64", "train.dtype=fp32")
    output, code = called("run", definition("rows.jsonl"), *words)
    assert code == 1
    assert "rows.jsonl:3: does not fit into max_length 64: a response has " in output
    assert "A response is never cut: raise train.max_length, or take the row out" in output
