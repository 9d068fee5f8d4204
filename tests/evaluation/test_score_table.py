from __future__ import annotations

import json
import os
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.data.examples import Media, pair
from core.errors import EnvironmentFault, IntegrityError
from core.evaluation.score_table import METADATA_KEY, SCHEMA, ScoreMetadata, comparable, from_examples, media_sha

ABOUT = ScoreMetadata("vl_rewardbench", "1250-rows", "hash", "trial:abc", "key", True, 0)


def two_alike():
    same = pair("i", "what?", "good", "bad", source="s", category="c", extra={"media": "a.png"})
    return [same, same, pair("i", "what else?", "good", "bad")]


def test_a_table_comes_back_as_it_was_written(tmp_path):
    table = from_examples(two_alike(), [[1.5, None], [0.25, -2.0], None], ABOUT, tokens=lambda text: len(text.split()))
    table.write(tmp_path / "table.parquet")
    back = type(table).read(tmp_path / "table.parquet")
    assert back.data.equals(table.data)
    assert back.metadata == table.metadata == replace(ABOUT, skipped=1)
    assert back.examples == 2


def test_columns_are_those_of_the_contract():
    columns = "example id response label comparison order sample score text chars tokens source category media_sha extra"
    assert SCHEMA.names == columns.split()
    row = from_examples(two_alike()[:1], [[1.5, None]], ABOUT).data.to_pylist()[1]
    assert row["response"] == 1
    assert row["label"] == 1
    assert row["score"] is None
    assert row["chars"] == 3
    assert row["comparison"] is None
    assert (row["source"], row["category"], json.loads(row["extra"])) == ("s", "c", {"media": "a.png"})


def test_equal_examples_are_told_apart_by_their_occurrence_also_when_one_was_skipped():
    keys = from_examples(two_alike(), [None, [0.0, 1.0], [0.0, 1.0]], ABOUT).data.column("example").to_pylist()
    digest = two_alike()[0].digest()
    assert keys[0] == keys[1] == f"{digest}#2"
    assert keys[2].endswith("#1")
    assert not keys[2].startswith(digest)


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_not_finite_is_refused(score):
    with pytest.raises(ValueError, match="not finite"):
        from_examples(two_alike()[:1], [[score, 1.0]], ABOUT)


def test_scores_must_fit_the_examples():
    with pytest.raises(ValueError, match="3 examples"):
        from_examples(two_alike(), [[1.0, 2.0]], ABOUT)
    with pytest.raises(ValueError, match="2 responses, but 1 scores"):
        from_examples(two_alike()[:1], [[1.0]], ABOUT)


def test_media_are_hashed_by_content_and_absent_ones_are_null(tmp_path):
    (tmp_path / "a.png").write_bytes(b"picture")
    in_memory, in_file = Media("image", data=b"picture"), Media("image", path=tmp_path / "a.png")
    assert media_sha([in_memory]) == media_sha([in_file])
    assert media_sha([in_memory]) != media_sha([in_memory, in_memory])
    assert media_sha([in_file, Media("image", path=tmp_path / "none.png")]) is None
    assert media_sha([]) is None


def write_raw(path, data, **metadata):
    about = {"version": 1, "benchmark": "b", "revision": "r", "data_hash": "h", "scorer": "s"}
    about |= {"scoring_key": None, "rehearsal": False, "skipped": 0, **metadata}
    pq.write_table(data.replace_schema_metadata({METADATA_KEY: json.dumps(about).encode()}), path)


@pytest.fixture
def good():
    return from_examples(two_alike(), [[1.0, 0.0]] * 3, ABOUT)


def test_reading_refuses_what_is_no_score_table_and_names_the_file(tmp_path, good):
    path = tmp_path / "table.parquet"
    read = type(good).read

    def refused(match):
        with pytest.raises(IntegrityError, match=match) as error:
            read(path)
        assert str(path) in str(error.value)

    refused("does not exist")
    path.write_bytes(b"PAR1 torn")
    refused("not a readable Parquet")
    pq.write_table(good.data, path)
    refused("no metadata of ours")
    write_raw(path, good.data.drop_columns(["score"]))
    refused("column of the score table is missing")
    position = good.data.column_names.index("label")
    write_raw(path, good.data.set_column(position, "label", good.data.column("label").cast(pa.string())))
    refused("wrong type: label")
    write_raw(path, good.data, version=2)
    refused("newer version")
    write_raw(path, good.data, surprise=1)
    refused("metadata of the score table are not ours")
    write_raw(path, pa.concat_tables([good.data, good.data.slice(0, 1)]))
    refused("occurs twice")
    position = good.data.column_names.index("score")
    write_raw(path, good.data.set_column(position, "score", pa.array([float("nan")] * 6)))
    refused("not finite")
    write_raw(path, good.data)
    assert read(path).examples == 3


def test_a_write_that_fails_leaves_the_old_table_and_no_litter(tmp_path, good, monkeypatch):
    path = tmp_path / "table.parquet"
    good.write(path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(EnvironmentFault, match="disk is full"):
            good.write(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["table.parquet"]


def test_tables_are_compared_only_on_the_same_data():
    assert comparable(ABOUT, replace(ABOUT, scorer="other", scoring_key="other")) is None
    assert comparable(ABOUT, replace(ABOUT, revision="1247-rows")) == "different revision: 1250-rows and 1247-rows"
    assert comparable(ABOUT, replace(ABOUT, data_hash="other")) == "different data: hash and other"
    assert comparable(ABOUT, replace(ABOUT, rehearsal=False)) is not None
    assert comparable(ABOUT, replace(ABOUT, skipped=3)) is not None
    assert comparable(ABOUT, replace(ABOUT, benchmark="other")) is not None
