"""File sources: every format is read, every bad row is refused with file and row."""

import json
import os
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from pydantic import ValidationError

from core.data import check_data, load_data
from core.data.config import FileSourceConfig
from core.data.generated import blank
from core.data.sources import FileSource
from core.definition.trial import TrialConfig
from core.errors import DefinitionError, EnvironmentFault

GOOD = {"prompt": "What is it?", "chosen": "A cat.", "rejected": "A dog."}


def write(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def source(path, **config):
    return FileSource("mine", FileSourceConfig(path=str(path), **config))


def trial(sources, held_out=0, **more):
    return TrialConfig.model_validate(
        {"backbone": "qwen2.5-vl-7b", "data": {"sources": sources, "held_out": held_out}, "train": {"steps": 1}, **more}
    )


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "q", "rejected": "b"}, "`chosen` is missing or null; the row has prompt, rejected"),
        ({**GOOD, "chosen": None}, "`chosen` is missing or null"),
        ({**GOOD, "chosen": 3}, "`chosen` is a text, found int"),
        ({**GOOD, "chosen": ["a"]}, "`chosen` is a text, found list"),
        ({**GOOD, "rejected": "  \n"}, "`rejected` is empty"),
        ({**GOOD, "rejected": "A cat."}, "chosen and rejected are equal"),
        ({**GOOD, "chosen": "\ud800"}, "`chosen` is not valid Unicode"),
        ({**GOOD, "strength": 5}, "`strength` is 1, 2 or 3"),
        ({**GOOD, "margin": "big"}, "`margin` is a finite number"),
        ({**GOOD, "is_tie": "yes"}, "`is_tie` is true or false"),
        ({**GOOD, "id": [1]}, "`id` is a text or a whole number"),
        ({**GOOD, "image": 7}, "an image is a path"),
        ({**GOOD, "prompt": "<image> <image> ?", "image": "a.png"}, "2 places `<image>` for 1 images"),
        (["a"], "a row is a mapping, found list"),
    ],
)
def test_a_bad_row_is_refused_with_file_and_row(tmp_path, row, says):
    path = write(tmp_path / "bad.jsonl", [GOOD, row])
    with pytest.raises(DefinitionError) as error:
        source(path).check()
    assert says in str(error.value)
    assert f"{path}:2" in str(error.value)


def test_a_bad_row_of_a_json_list_is_named_by_its_number(tmp_path):
    path = tmp_path / "bad.json"
    path.write_text(json.dumps([GOOD, GOOD, {"prompt": "q"}]))
    with pytest.raises(DefinitionError, match=r"bad\.json, row 3"):
        list(source(path))


@pytest.mark.parametrize("text", ['{"prompt": ', '{"prompt": "q"}\n\xff'])
def test_a_line_that_does_not_parse_is_named(tmp_path, text):
    path = tmp_path / "bad.jsonl"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DefinitionError, match=r"bad\.jsonl:\d"):
        list(source(path))


def test_no_rows_and_files_that_are_no_list_are_refused(tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    with pytest.raises(DefinitionError, match="holds no rows"):
        source(empty).check()
    mapping = tmp_path / "mapping.json"
    mapping.write_text("{}")
    with pytest.raises(DefinitionError, match="is a list of rows"):
        list(source(mapping))
    (tmp_path / "broken.parquet").write_bytes(b"PAR1nothing")
    with pytest.raises(DefinitionError, match="no readable Parquet"):
        list(source(tmp_path / "broken.parquet"))


def test_fields_may_have_other_names_and_lie_in_mappings(tmp_path):
    row = {"q": {"text": "Why?"}, "a": "This.", "b": "That.", "key": 7, "delta": 0.5, "kind": "why", "tie": True, "topic": "x"}
    path = write(tmp_path / "other.jsonl", [row])
    names = {"prompt": "q.text", "chosen": "a", "rejected": "b", "id": "key", "margin": "delta", "category": "kind", "is_tie": "tie"}
    [example] = source(path, fields={**names, "group": "topic"})
    assert (example.id, example.prompt, example.label.margin, example.category) == ("7", "Why?", 0.5, "why")
    assert example.tie
    assert example.group == "x"


def test_an_unknown_name_in_the_field_map_is_refused_with_the_nearest():
    with pytest.raises(ValidationError, match="did you mean: chosen"):
        FileSourceConfig(fields={"chozen": "a"})


def test_parquet_rows_and_embedded_images(tmp_path):
    rows = [{**GOOD, "image": {"bytes": blank(), "path": "a.png"}}, {**GOOD, "chosen": "A bird.", "image": None}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "p.parquet")
    first, second = source(tmp_path / "p.parquet")
    assert first.media[0].data == blank()
    assert second.media == ()


def test_sharegpt_turns_become_prompt_and_history(tmp_path):
    turns = [
        {"from": "system", "value": "Be short."},
        {"from": "human", "value": "Hi"},
        {"from": "gpt", "value": "Hello"},
        {"from": "human", "value": "<image>What?"},
    ]
    row = {"conversations": turns, "chosen": {"from": "gpt", "value": "a"}, "rejected": {"from": "gpt", "value": "b"}, "images": ["x.png"]}
    messages = [{"role": "user", "content": "Hi"}]
    other = {"messages": messages, "chosen": {"role": "assistant", "content": "a"}, "rejected": {"role": "assistant", "content": "b"}}
    one, two = source(write(tmp_path / "s.jsonl", [row, other]), format="sharegpt")
    assert one.prompt == "<image>What?"
    assert [turn.role for turn in one.history] == ["system", "user", "assistant"]
    assert one.media[0].path == tmp_path / "x.png"
    assert (two.prompt, two.responses[0].text) == ("Hi", "a")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"conversations": []}, "is a list of turns, found an empty list"),
        ({"conversations": [{"from": "gpt", "value": "x"}]}, "the last turn of `conversations` is the user's"),
        ({"conversations": [{"from": "robot", "value": "x"}]}, "the role of `conversations\\[0\\]` is one of"),
        ({"chosen": {"from": "human", "value": "x"}}, "`chosen` is the assistant's turn"),
    ],
)
def test_bad_conversations_are_refused(tmp_path, change, says):
    row = {"conversations": [{"from": "human", "value": "Hi"}], "chosen": {"from": "gpt", "value": "a"}}
    row |= {"rejected": {"from": "gpt", "value": "b"}, **change}
    with pytest.raises(DefinitionError, match=says):
        list(source(write(tmp_path / "s.jsonl", [row]), format="sharegpt"))


def test_the_public_demo_set_loads():
    folder = Path(os.environ.get("REWARDSWEEP_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("the public data sets are not on this machine")
    demo = source(folder / "dpo_en_demo.json", format="sharegpt")
    demo.check()
    assert demo.count == 300
    assert max(len(example.history) for example in demo) == 12


def test_a_missing_medium_is_refused_before_training(tmp_path):
    path = write(tmp_path / "d.jsonl", [GOOD, {**GOOD, "image": "gone.png"}])
    with pytest.raises(EnvironmentFault) as error:
        check_data(trial({"mine": {"path": str(path)}}))
    assert "gone.png" in str(error.value)
    assert "d.jsonl:2" in str(error.value)
    assert "--rehearse" in str(error.value)


def test_absent_data_name_what_was_searched_and_rehearse(tmp_path, monkeypatch):
    monkeypatch.setenv("SWEEP_DATA", str(tmp_path))
    with pytest.raises(EnvironmentFault) as error:
        check_data(trial({"r1": {}}))
    for part in ("r1.jsonl", "r1.parquet", "--rehearse", "data.sources.r1.path"):
        assert part in str(error.value)
    write(tmp_path / "r1.jsonl", [GOOD])
    check_data(trial({"r1": {}}))
    monkeypatch.delenv("SWEEP_DATA")
    with pytest.raises(EnvironmentFault, match=r"\$SWEEP_DATA is not set"):
        check_data(trial({"r1": {}}))


def test_the_fingerprint_follows_the_content(tmp_path):
    path = write(tmp_path / "d.jsonl", [GOOD])
    first = source(path).fingerprint()
    assert source(path).fingerprint() == first
    assert source(path, fields={"id": "x"}).fingerprint() != first
    write(path, [{**GOOD, "chosen": "A cow, now."}])
    assert source(path).fingerprint() != first


def test_a_rehearsal_generates_every_source_from_its_name(tmp_path):
    config = trial({"r1": {"path": str(tmp_path / "absent.jsonl")}, "other": {}}, rehearsal={"pairs": 20, "items": 4})
    check_data(config)
    data = load_data(config)
    assert {name: counts["rows"] for name, counts in data.counts.items()} == {"r1": 20, "other": 20}
    pictures = [example.media[0].data for example in [*data.train, *data.held_out]]
    assert len(set(pictures)) == 40
    assert len(data.held_out) == 4


def test_a_rehearsal_keeps_the_switches_of_generated_images():
    blanked = trial({"generated_images": {"images": "blank", "pairs": 500}}, rehearsal={"pairs": 20, "items": 4})
    data = load_data(blanked)
    assert len(data.train) == 16
    assert len({example.media[0].data for example in data.train}) == 1


def test_critiques_come_with_the_responses_and_an_empty_one_is_none(tmp_path):
    write(tmp_path / "a.jsonl", [{**GOOD, "chosen_reason": "It fits.", "rejected_reason": ""}])
    [example] = source(tmp_path / "a.jsonl")
    assert [response.critique for response in example.responses] == ["It fits.", None]
