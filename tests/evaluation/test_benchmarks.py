from __future__ import annotations

import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core import registry
from core.definition.trial import RehearsalConfig
from core.errors import DefinitionError, EnvironmentFault
from core.evaluation.benchmarks import data_hash, get, load, published_revisions, typed
from core.evaluation.scorer import score_baseline, summarise

VL = "vl_rewardbench"
MM = "mm_rlhf_rewardbench"
TEXT = {"id": "RLAIF-V-1", "prompt": "What is it?", "chosen": "a cat", "rejected": "a dog", "image": "img/0.jpg"}
HUB = {"id": "mathverse_1", "query": "<image>\nHow many?", "response": ["two", "three"], "human_ranking": [1, 0], "image": "img/0.jpg"}
PAIR = {"id": "1", "image": "mcq/1.png", "prompt": "Which?", "chosen": "A", "rejected": "B"}


def refusal(name, path):
    with pytest.raises(DefinitionError) as error:
        load({"name": name, "data": str(path)})
    return str(error.value)


def test_a_hub_row_is_read_by_its_ranking_without_the_image_line(tmp_path, jsonl):
    path = jsonl(tmp_path / "a.jsonl", [HUB, {**HUB, "human_ranking": [0, 1]}])
    first, second = load({"name": VL, "data": str(path)}).examples
    assert first.prompt == "How many?"
    assert [response.text for response in first.responses] == ["three", "two"]
    assert [response.text for response in second.responses] == ["two", "three"]
    assert first.label.ranks == (0, 1)
    assert first.media[0].path == tmp_path / "img/0.jpg"


def test_the_hubs_parquet_carries_the_images_themselves(tmp_path):
    pq.write_table(pa.Table.from_pylist([{**HUB, "image": {"bytes": b"png", "path": "x.png"}}]), tmp_path / "a.parquet")
    (example,) = load({"name": VL, "data": str(tmp_path / "a.parquet")}).examples
    assert example.media[0].data == b"png"


def test_media_are_looked_for_in_the_folder_that_is_given(tmp_path, jsonl):
    path = jsonl(tmp_path / "a.jsonl", [TEXT])
    (example,) = load({"name": VL, "data": str(path), "media": str(tmp_path / "pictures")}).examples
    assert example.media[0].path == tmp_path / "pictures/img/0.jpg"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({**HUB, "human_ranking": [1, 1]}, "`human_ranking` is [0, 1] or [1, 0], found [1, 1]"),
        ({**HUB, "human_ranking": [1, 2]}, "[1, 2]"),
        ({**HUB, "human_ranking": [0]}, "`human_ranking`"),
        ({**HUB, "human_ranking": None}, "`human_ranking`"),
        ({**HUB, "human_ranking": [False, True]}, "`human_ranking`"),
        ({**HUB, "response": ["one"]}, "`response` is a list of two texts"),
        ({key: value for key, value in HUB.items() if key != "query"}, "`prompt` is missing"),
        ({key: value for key, value in TEXT.items() if key != "chosen"}, "`chosen` is missing"),
        ({**TEXT, "rejected": "a cat"}, "chosen and rejected are equal"),
        ({**TEXT, "id": None}, "`id` is a text"),
        ("no row", "a row is a mapping"),
    ],
)
def test_a_wrong_label_is_refused_with_file_and_row(tmp_path, jsonl, row, said):
    path = jsonl(tmp_path / "bench.jsonl", [TEXT, row])
    message = refusal(VL, path)
    assert f"{path}:2: " in message
    assert "row 2 is refused" in message
    assert said in message


def test_a_wrong_row_of_mm_rlhf_is_refused_with_file_and_row(tmp_path, jsonl):
    for row in ({**PAIR, "image": None}, {**PAIR, "video": "video/1"}, {**PAIR, "chosen": ""}):
        assert "bench.jsonl:2: " in refusal(MM, jsonl(tmp_path / "bench.jsonl", [PAIR, row]))


def test_the_file_of_another_benchmark_is_refused(tmp_path, jsonl):
    rows = [{**PAIR, "id": str(number)} for number in range(4)]
    assert "0 of 4 ids begin with rlaif" in refusal(VL, jsonl(tmp_path / "mm.jsonl", rows))
    assert "no path of an image or video names one of mcq" in refusal(MM, jsonl(tmp_path / "vl.jsonl", [TEXT]))
    assert "`subset` is one of" in refusal("rewardbench", jsonl(tmp_path / "pairs.jsonl", [PAIR]))


def test_a_file_that_is_no_json_is_refused_with_its_line(tmp_path):
    path = tmp_path / "bench.jsonl"
    path.write_text('{"id": 1}\n{"id"\n')
    assert "bench.jsonl:" in refusal(VL, path)
    path.write_text("")
    assert "holds no rows" in refusal(VL, path)
    (tmp_path / "bench.tsv").write_text("a\tb")
    assert ".jsonl" in refusal(VL, tmp_path / "bench.tsv")


@pytest.mark.parametrize("name", [VL, MM, "multimodal_rewardbench", "rewardbench", "rm_bench"])
def test_absent_data_say_where_was_searched_and_name_the_rehearsal(tmp_path, monkeypatch, name):
    with pytest.raises(EnvironmentFault) as error:
        load({"name": name})
    assert "$SWEEP_DATA is not set" in str(error.value)
    assert "--rehearse" in str(error.value)
    monkeypatch.setenv("SWEEP_DATA", str(tmp_path))
    with pytest.raises(EnvironmentFault) as error:
        load({"name": name})
    assert str(tmp_path / f"{name}.jsonl") in str(error.value)
    assert str(tmp_path / f"{name}.parquet") in str(error.value)


def test_a_wrong_configuration_names_the_nearest_key():
    with pytest.raises(DefinitionError) as error:
        typed({"name": VL, "frame": 3})
    assert "did you mean: frames" in str(error.value)
    with pytest.raises(DefinitionError) as error:
        load({"name": "vl_rewardbnch"})
    assert "did you mean: vl_rewardbench" in str(error.value)


def test_the_data_hash_knows_labels_and_forgets_orders():
    one = load({"name": "generated_images", "items": 4}).examples
    assert data_hash(one) == data_hash(one[::-1])
    assert data_hash(one) != data_hash(one[:-1])
    assert data_hash(one) != data_hash([*one, one[0]])


def test_groups_follow_the_ids():
    from core.evaluation.benchmarks.vl_rewardbench import official, r1_script
    from core.evaluation.metrics import ExampleFields

    def both(id):
        example = ExampleFields("x", id, None, None, "{}")
        return official(example), r1_script(example)

    assert both("RLAIF-V-12") == ("hallucination", "general")
    assert both("RLHF-V-12") == ("hallucination", "general")
    assert both("hallucination_pair-3") == ("hallucination", "hallucination")
    assert both("mathverse_12") == ("reasoning", "reasoning")
    assert both("mmmu_pro_test_Art_1") == ("reasoning", "reasoning")
    assert both("wildvision-battle-1") == ("general", "general")
    assert both("svit-complex_reasoning-876") == ("general", "general")


def test_the_category_is_the_first_one_found_in_the_media_path():
    from core.evaluation.benchmarks.mm_rlhf import category
    from core.evaluation.metrics import ExampleFields

    def of(path):
        return category(ExampleFields("x", "i", None, None, json.dumps({"media": path})))

    assert of("video/clip") == "video"
    assert of("short/a_long_story.png") == "long"
    assert of("other/1.png") is None
    assert category(ExampleFields("x", "i", None, None, "{}")) is None


@pytest.mark.parametrize("name", registry.names("benchmark"))
def test_a_rehearsal_has_the_real_metrics_and_fills_every_group(name):
    rehearsal = RehearsalConfig(items=64)
    loaded = load({"name": name} if name.startswith("generated") else {"name": name, "data": "/nowhere"}, rehearsal)
    assert loaded.rehearsal
    assert loaded.revision == "rehearsal-64"
    assert len(loaded.examples) == 64
    assert all(bool(example.media) == bool(loaded.config.NEEDS) for example in loaded.examples)
    assert all(media.data for example in loaded.examples for media in example.media)
    found = summarise(score_baseline("random", {"name": name}, rehearsal))
    assert tuple(found["metrics"]) == get(name).metric_names
    assert None not in found["metrics"].values()
    assert found["rehearsal"] is True


def test_rehearsed_mm_rlhf_has_two_to_six_pairs_under_each_id():
    ids = [example.id for example in load({"name": MM}, RehearsalConfig(items=128)).examples]
    assert {ids.count(id) for id in ids[:-6]} == {2, 3, 4, 5, 6}


def test_what_reads_no_picture_is_at_chance_in_a_rehearsal():
    found = summarise(score_baseline("length", {"name": VL}, RehearsalConfig()))["metrics"]
    assert found["overall"] == 50.0
    assert found["macro/official"] == 50.0


def test_generated_images_keep_their_switch_and_name_it():
    shown, blank = load({"name": "generated_images"}), load({"name": "generated_images", "images": "blank"})
    assert (shown.revision, len(shown.examples)) == ("v1-128", 128)
    assert blank.revision == "v1-128-blank"
    assert load({"name": "generated_images", "images": "blank"}, RehearsalConfig()).revision == "rehearsal-128-blank"
    assert shown.examples[0].media != blank.examples[0].media


def test_benchmarks_share_no_picture_with_each_other_or_with_training():
    from core.data.generated import generate_pairs

    seen = [{example.media[0].data for example in generate_pairs(64, 0, split="train")}]
    seen += [{example.media[0].data for example in load({"name": name}, RehearsalConfig(items=64)).examples} for name in (VL, MM)]
    seen.append({example.media[0].data for example in load({"name": "generated_images"}).examples})
    for index, pictures in enumerate(seen):
        assert not any(pictures & others for others in seen[index + 1 :])


def test_published_numbers_refer_to_known_revisions():
    assert {name: revision for name, revision in published_revisions().items() if revision} == {
        VL: "1250-rows",
        MM: "170-pairs",
        "multimodal_rewardbench": "4711-rows",
        "rm_bench": "1327-rows",
    }


def test_loading_and_baselines_import_no_torch():
    code = (
        "import sys; from core.definition.trial import RehearsalConfig as R; from core.evaluation.scorer import score_baseline, summarise;"
        "summarise(score_baseline('length', {'name': 'vl_rewardbench'}, R(items=8))); print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
