"""Generated text preferences, and what a backbone that reads text alone is given and refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from core.data import check_data, load_data
from core.data.generated import COLOURS, generate_pairs
from core.definition.trial import TrialConfig
from core.errors import DefinitionError


def config(backbone: str, **change: object) -> TrialConfig:
    base = {"backbone": backbone, "data": {"sources": {"pairs": {}}, "held_out": 0}, "train": {"steps": 1}}
    return TrialConfig.model_validate({**base, **change})


def test_the_answer_stands_in_the_text_and_nothing_else_gives_it_away() -> None:
    examples = generate_pairs(200, 3, split="train", images="told")
    assert not any(example.media for example in examples)
    for example in examples:
        told = next(colour for colour in COLOURS if f"The picture is {colour}. " in example.prompt)
        assert told in example.responses[0].text
        assert told not in example.responses[1].text
    seen = Counter((example.prompt.partition(". ")[2], example.responses[0].text, example.responses[1].text) for example in examples)
    turned = Counter((question, rejected, chosen) for (question, chosen, rejected) in seen.elements())
    assert seen == turned


def test_in_a_rehearsal_a_text_backbone_trains_on_text_and_the_others_on_pictures() -> None:
    text = load_data(config("qwen3-8b", rehearsal={}))
    pictures = load_data(config("qwen2.5-vl-7b", rehearsal={}))
    assert not any(example.media for example in [*text.train, *text.held_out])
    assert all(example.media for example in [*pictures.train, *pictures.held_out])
    assert text.fingerprint != pictures.fingerprint


def test_a_row_with_an_image_is_refused_for_a_text_backbone_before_anything_is_queued(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    rows = [{"prompt": "q", "chosen": "a", "rejected": "b"}, {"prompt": "q", "chosen": "a", "rejected": "b", "image": "a.png"}]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"sources": {"pairs": {"path": str(file)}}, "held_out": 0}
    check_data(config("qwen2.5-vl-7b", data=data))
    with pytest.raises(DefinitionError, match="qwen3-8b cannot read a row of source 'pairs'") as error:
        check_data(config("qwen3-8b", data=data))
    assert str(error.value.place) == f"{file}:2"
    file.write_text(json.dumps(rows[0]) + "\n")
    check_data(config("qwen3-8b", data=data))
