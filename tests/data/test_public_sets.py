"""Public sets: a row in each set's own format becomes the right pairs; what is wrong is named with file and row."""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from core.data import check_data, data_fingerprint, load_data
from core.data import maps as field_maps
from core.data.config import PublicSetConfig
from core.data.hub import matching, record
from core.data.media import load_image
from core.data.public import PublicSource
from core.data.sources import open_source
from core.definition.trial import RehearsalConfig, TrialConfig
from core.errors import DefinitionError, EnvironmentFault

PICTURE = io.BytesIO()
Image.new("RGB", (4, 4), "red").save(PICTURE, format="PNG")
IMAGE = {"bytes": PICTURE.getvalue(), "path": "0.png"}
USER = {"role": "user", "content": "Why?"}
R1 = (
    "You are a highly skilled and impartial evaluator ...\n\n###### **Input:**  \n###### [Question]:\nHow many?  \n\n"
    "###### [Response 1]:\nTwo\nor so.  \n\n###### [Response 2]:\nThree.  \n\n"
    "###### **Output Format (strictly follow):**  \n<think>...</think><answer>1/2</answer>"
)
CRITIC = (
    "<image>\nGiven an image ... as follows:\nQuestion: [What is it?]\n"
    "The first response: [A cat.]\nThe second response: [A dog.]\nASSISTANT:\n"
)


def turns(answer):
    return [USER, {"role": "assistant", "content": answer}]


def rated(*scores):
    return [{"response": f"answer {number}", "fine-grained_score": score} for number, score in enumerate(scores)]


def vl_item(answer, *ratings):
    aspects = ("Helpfulness", "Ethical Considerations", "Visual Faithfulness")
    notes = {aspect: {"Rating": rating, "Rationale": ""} for aspect, rating in zip(aspects, ratings, strict=True)}
    return {"model": "m", "response": answer, "annotations": notes}


SETS = {
    "mmif": (
        "mm-ifdpo-23k.json",
        {
            "conversations": [{"from": "human", "value": "<image>Describe in two words."}],
            "chosen": {"from": "gpt", "value": "A cat"},
            "rejected": {"from": "gpt", "value": "Here it is"},
            "images": ["images/1.jpg"],
        },
        [("<image>Describe in two words.", "A cat", "Here it is")],
    ),
    "omnialign_v_dpo": ("chart.jsonl", {"question": "q", "chosen": "long", "rejected": "no", "image": "i.jpg"}, [("q", "long", "no")]),
    "rlaif_v": (
        "RLAIF-V-Dataset_000.parquet",
        {"ds_name": "d", "image": IMAGE, "question": "q", "chosen": "y", "rejected": "n", "origin_dataset": "coco", "idx": 7},
        [("q", "y", "n")],
    ),
    "mmpr": (
        "annotations/ai2d.jsonl",
        {"image": "a/1.png", "question": "<image>\nq", "chosen": "y", "rejected": "n"},
        [("<image>\nq", "y", "n")],
    ),
    "r1_reward_rl": (
        "data/train-00000-of-00001.parquet",
        {"question": R1, "message": json.dumps([{"role": "user", "content": "x"}]), "answer": ["<answer>2</answer>"], "image": IMAGE},
        [("How many?", "Three.", "Two\nor so.")],
    ),
    "mm_rlhf": ("dpo_pairs.jsonl", {"id": 1, "prompt": "q", "chosen": "y", "rejected": "n", "video": "video/1"}, [("q", "y", "n")]),
    "vlfeedback": (
        "data/train-0.parquet",
        {
            "id": "svit-1",
            "prompt": "q",
            "image": IMAGE,
            "completions": [vl_item("a", "3", "5", "N/A"), vl_item("b", "5", "5", "5"), vl_item("c", "1", "5", "1")],
        },
        [("q", "b", "c")],
    ),
    "rlhf_v": (
        "RLHF-V-Dataset.parquet",
        {
            "ds_name": "d",
            "image": IMAGE,
            "text": json.dumps({"question": "q", "chosen": "y", "rejected": "n"}),
            "origin_dataset": "coco",
            "idx": 0,
        },
        [("q", "y", "n")],
    ),
    "povid": (
        "POVID_preference_data_for_VLLMs.json",
        {
            "id": "1",
            "image": "coco/1.jpg",
            "conversations": [{"from": "human", "value": "<image>\nq"}, {"from": "gpt", "value": "y"}],
            "rejected_conversations": [{"from": "human", "value": "<image>\nq"}, {"from": "gpt", "value": "n"}],
        },
        [("<image>\nq", "y", "n")],
    ),
    "llava_critic": (
        "pairwise/train-00000-of-00005.parquet",
        {
            "id": "1",
            "source": "s",
            "image": IMAGE,
            "conversations": [{"from": "human", "value": CRITIC}, {"from": "gpt", "value": "The second response is better, because ..."}],
        },
        [("What is it?", "A dog.", "A cat.")],
    ),
    "ultrafeedback_all": (
        "evol_instruct.jsonl",
        {"source": "evol", "instruction": "q", "completions": rated(4.0, 2.0, 4.0)},
        [("q", "answer 0", "answer 1"), ("q", "answer 2", "answer 1")],
    ),
    "ultrafeedback_hard": (
        "evol_instruct.jsonl",
        {"source": "evol", "instruction": "q", "completions": rated(3.5, 1.0, 4.75, 4.0)},
        [("q", "answer 2", "answer 1")],
    ),
    "shp": (
        "askbaking/train.json",
        {"post_id": "p", "domain": "askbaking_train", "history": "q", "human_ref_A": "n", "human_ref_B": "y", "labels": 0, "score_A": 1},
        [("q", "y", "n")],
    ),
    "tulu_3_if": (
        "data/train-0.parquet",
        {"id": "1", "prompt": "Why?", "chosen": turns("y"), "rejected": turns("n")},
        [("Why?", "y", "n")],
    ),
    "olmo_2": (
        "data/train-0.parquet",
        {"chosen": turns("y"), "rejected": turns("n"), "chosen_rating": 5.0, "source": "s"},
        [("Why?", "y", "n")],
    ),
    "wildchat": (
        "data/train-0.parquet",
        {"chosen": [*turns("Because."), *turns("y")], "rejected": [*turns("Because."), *turns("n")]},
        [("Why?", "y", "n")],
    ),
    "swe_arena": (
        "data/train-00000-of-00003.parquet",
        {
            "chat_session_id": "c",
            "instruction": "q",
            "feedback": {"vote_type": "vote_right"},
            "states": {"model_A": {"messages": [["user", "q"], ["bot", "n"]]}, "model_B": {"messages": [["user", "q"], ["bot", "y"]]}},
        },
        [("q", "y", "n")],
    ),
}


def put(folder, name, rows):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".json" and "train" not in name:
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def opened(folder, kind, **config):
    return PublicSource("mine", PublicSetConfig(type=kind, path=str(folder), **config))


def pairs(source):
    return [(e.prompt, *(r.text for r in e.responses)) for e in source]


def test_every_set_has_a_row_here():
    assert set(SETS) == set(field_maps.names())


@pytest.mark.parametrize("kind", SETS)
def test_a_row_of_the_set_becomes_its_pairs(tmp_path, kind):
    name, row, expected = SETS[kind]
    put(tmp_path, name, [row])
    source = opened(tmp_path, kind)
    assert pairs(source) == expected
    examples = list(source)
    assert all(example.label.ranks == (0, 1) and example.source == "mine" for example in examples)
    reads = field_maps.field_map(kind).reads
    assert all(bool(example.media) == (len(reads) > 1) for example in examples)
    if name.endswith(".parquet") and examples[0].media:
        assert load_image(examples[0].media[0]).size == (4, 4)


def test_all_pairs_of_a_prompt_stay_on_one_side_and_carry_their_gap(tmp_path):
    name, row, _ = SETS["ultrafeedback_all"]
    put(tmp_path, name, [row])
    first, second = opened(tmp_path, "ultrafeedback_all")
    assert first.group == second.group == "q"
    assert (first.label.margin, first.id != second.id) == (2.0, True)


def test_the_hard_subset_is_one_pair_a_prompt_of_those_of_the_whole(tmp_path):
    rows = [
        {"instruction": f"q{n}", "completions": rated(*scores)}
        for n, scores in enumerate([(1, 5, 3, 2), (4, 4, 4, 1), (2, 3, 2, 3), (5, 1, 5, 1)])
    ]
    put(tmp_path, "a.jsonl", rows)
    whole, hard = pairs(opened(tmp_path, "ultrafeedback_all")), pairs(opened(tmp_path, "ultrafeedback_hard"))
    assert len(whole) == 6 + 3 + 4 + 4
    assert hard == [
        ("q0", "answer 1", "answer 0"),
        ("q1", "answer 0", "answer 3"),
        ("q2", "answer 1", "answer 0"),
        ("q3", "answer 0", "answer 1"),
    ]
    assert set(hard) <= set(whole)


def test_known_faults_are_left_out_and_counted_and_others_refused(tmp_path):
    good = {"post_id": "p", "history": "q", "human_ref_A": "y", "human_ref_B": "n", "labels": 1}
    put(tmp_path, "a/train.json", [good, {**good, "human_ref_B": "y"}, {**good, "human_ref_A": " "}])
    source = opened(tmp_path, "shp")
    source.check()
    assert source.counts() == {"pairs": 1, "skipped_empty": 1, "skipped_equal": 1}
    path = put(tmp_path, "b/train.json", [good, {**good, "labels": 2}])
    with pytest.raises(DefinitionError) as error:
        opened(tmp_path, "shp").check()
    said = str(error.value)
    assert f"{path}:2: source 'mine': row 2 is refused: `labels` is one of 1, 0; found 2" in said
    assert "sweep data show shp" in said


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        (
            "povid",
            {"rejected_conversations": [{"from": "human", "value": "other"}, {"from": "gpt", "value": "n"}]},
            "differ before their last turn",
        ),
        ("povid", {"conversations": [{"from": "gpt", "value": "a"}, {"from": "human", "value": "q"}]}, "differ before their last turn"),
        ("povid", {"rejected_conversations": None}, "`rejected_conversations` is missing or null; the row has"),
        ("rlhf_v", {"text": "no json"}, "`text` holds no JSON"),
        ("rlhf_v", {"text": json.dumps({"question": "q"})}, "`text.chosen` is missing or null"),
        ("r1_reward_rl", {"question": "tell me"}, "no judge's prompt of the known form"),
        ("r1_reward_rl", {"answer": ["<answer>3</answer>"]}, "`answer.0` names no better response"),
        ("ultrafeedback_hard", {"completions": "none"}, "`completions` is a list of responses"),
        ("mmpr", {"question": "<image> <image> two?"}, "2 places `<image>` for 1 images"),
    ],
)
def test_a_row_of_another_form_is_refused_by_name(tmp_path, kind, change, said):
    name, row, _ = SETS[kind]
    put(tmp_path, name, [row, {**row, **change}])
    with pytest.raises(DefinitionError) as error:
        list(opened(tmp_path, kind))
    assert "row 2 is refused" in str(error.value) and said in str(error.value)


def test_fields_of_the_source_rename_those_of_the_map(tmp_path):
    put(tmp_path, "chart.jsonl", [{"ask": "q", "chosen": "y", "rejected": "n", "image": "i.jpg"}])
    with pytest.raises(DefinitionError, match="`question` is missing"):
        list(opened(tmp_path, "omnialign_v_dpo"))
    assert pairs(opened(tmp_path, "omnialign_v_dpo", fields={"prompt": "ask"})) == [("q", "y", "n")]


def test_the_roots_of_mmpr_say_where_images_lie(tmp_path):
    name, row, _ = SETS["mmpr"]
    put(tmp_path, name, [row])
    (tmp_path / "images/ai2d/a").mkdir(parents=True)
    (tmp_path / "images/ai2d/a/1.png").write_bytes(PICTURE.getvalue())
    meta = {"ai2d": {"root": "MMPR-v1.2/images/ai2d", "annotation": "MMPR-v1.2/annotations/ai2d.jsonl", "length": 1}}
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    source = opened(tmp_path, "mmpr")
    source.check()
    assert next(iter(source)).media[0].path == tmp_path / "images/ai2d/a/1.png"
    (tmp_path / "meta.json").write_text("[]")
    with pytest.raises(DefinitionError, match="does not say where media lie"):
        opened(tmp_path, "mmpr")


def test_a_shard_that_is_corrupt_in_the_middle_is_named_with_the_row_before(tmp_path):
    name, row, _ = SETS["olmo_2"]
    rows = [{**row, "id": str(number)} for number in range(4)]
    path = tmp_path / name
    path.parent.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2, compression="gzip")
    content = bytearray(path.read_bytes())
    with pq.ParquetFile(path) as file:
        start = file.metadata.row_group(1).column(0).data_page_offset
        size = file.metadata.row_group(1).column(0).total_compressed_size
    content[start + 20 : start + size] = b"\xff" * (size - 20)
    path.write_bytes(bytes(content))
    with pytest.raises(DefinitionError) as error:
        list(opened(tmp_path, "olmo_2"))
    assert str(path) in str(error.value) and "after row 2" in str(error.value) and "bring the file again" in str(error.value)
    lines = put(tmp_path, "x/train.json", [SETS["shp"][1]])
    lines.write_text(lines.read_text() + '{"post_id": "cut')
    with pytest.raises(DefinitionError, match=r"train\.json:2: the line is no JSON"):
        list(opened(tmp_path, "shp"))


def hub_copy(home, kind, commit="a" * 40, ref="main"):
    """The set's row in the layout of the hub's cache: blobs, a snapshot of links, and a reference."""
    name, row, _ = SETS[kind]
    root = home / "hub" / f"datasets--{field_maps.field_map(kind).hub.replace('/', '--')}"
    blob = root / "blobs" / ("b" * 64)
    put(root, "staged/" + name, [row])
    blob.parent.mkdir(parents=True, exist_ok=True)
    (root / "staged" / name).rename(blob)
    link = root / "snapshots" / commit / name
    link.parent.mkdir(parents=True)
    link.symlink_to(blob)
    (root / "refs").mkdir(exist_ok=True)
    (root / "refs" / ref).write_text(commit)
    return root


@pytest.fixture
def hub_home(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("SWEEP_DATA", raising=False)
    return tmp_path


def test_a_set_is_found_in_the_hubs_cache_at_its_revision(hub_home):
    hub_copy(hub_home, "rlaif_v")
    for revision in (None, "a" * 40):
        source = PublicSource("rlaif_v", PublicSetConfig(type="rlaif_v", revision=revision))
        assert pairs(source) == [("q", "y", "n")]
    assert [digit for digit in source.fingerprint() if digit]  # the blob's own name is its digest: nothing is read
    with pytest.raises(EnvironmentFault) as error:
        PublicSource("rlaif_v", PublicSetConfig(type="rlaif_v", revision="c" * 40))
    assert "openbmb/RLAIF-V-Dataset at ccc" in str(error.value) and "sweep fetch" in str(error.value)


def test_a_copy_that_was_cut_off_is_named(hub_home):
    root = hub_copy(hub_home, "rlaif_v")
    folder = root / "snapshots" / ("a" * 40)
    path = record(folder)
    path.parent.mkdir()
    path.write_text(json.dumps({"RLAIF-V-Dataset_000.parquet": 5, "RLAIF-V-Dataset_001.parquet": 9}))
    with pytest.raises(EnvironmentFault, match="is incomplete: 2 files are missing"):
        PublicSource("rlaif_v", PublicSetConfig(type="rlaif_v"))


def test_a_set_is_found_by_its_name_in_the_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SWEEP_DATA", str(tmp_path))
    put(tmp_path / "shp", "a/train.json", [SETS["shp"][1]])
    config = TrialConfig.model_validate(
        {"backbone": "qwen2.5-vl-7b", "data": {"sources": {"shp": {}}, "held_out": 0}, "train": {"steps": 1}}
    )
    check_data(config)
    data = load_data(config)
    assert [example.prompt for example in data.train] == ["q"]
    assert data.fingerprint == data_fingerprint(config)


def test_text_sets_are_rehearsed_with_text():
    rehearsal = RehearsalConfig(pairs=8)
    media = {kind: bool(next(iter(open_source(kind, PublicSetConfig(type=kind), rehearsal))).media) for kind in ("shp", "povid")}
    assert media == {"shp": False, "povid": True}


def test_patterns_choose_files_in_natural_order():
    names = ["annotations/b.jsonl", "annotations/x/a.jsonl", "data/train-10.parquet", "data/train-9.parquet", "other/train-1.parquet"]
    assert matching(names, ["data/*.parquet"]) == ["data/train-9.parquet", "data/train-10.parquet"]
    assert matching(names, ["annotations/**/*.jsonl"]) == ["annotations/b.jsonl", "annotations/x/a.jsonl"]
