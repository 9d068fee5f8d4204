"""The journal survives a killed writer: an unfinished last line is ignored, then cut off by the next writer."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from core.workspace.journal import JournalCache, JournalWriter, Summary, read_lines


def _fill(path: Path, lines: int) -> None:
    writer = JournalWriter(path, clock=lambda: 1000.0)
    for step in range(1, lines + 1):
        writer.write("metrics", group="train", step=step, values={"loss": 1.0 / step})
    writer.close()


def test_an_unfinished_last_line_is_ignored_and_the_count_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    _fill(path, 3)
    with open(path, "a") as handle:
        handle.write('{"v":1,"n":4,"t":1000.0,"kind":"metr')
    lines, _ = read_lines(path)
    assert [line["n"] for line in lines] == [1, 2, 3]
    writer = JournalWriter(path)
    writer.write("ended", state="failed", cause="killed", message="it received SIGKILL")
    writer.close()
    lines, offset = read_lines(path)
    assert [line["n"] for line in lines] == [1, 2, 3, 4]
    assert lines[-1]["cause"] == "killed"
    assert offset == path.stat().st_size


@given(cut=st.integers(min_value=0, max_value=400))
def test_every_prefix_of_a_journal_reads_as_a_prefix_of_its_lines(tmp_path_factory: object, cut: int) -> None:
    folder = tmp_path_factory.mktemp("j")  # type: ignore[attr-defined]
    path = folder / "journal.jsonl"
    _fill(path, 5)
    whole, _ = read_lines(path)
    path.write_bytes(path.read_bytes()[:cut])
    lines, _ = read_lines(path)
    assert lines == whole[: len(lines)]


def test_numbers_that_json_has_not_are_null(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "j")
    writer.write("metrics", group="train", step=1, values={"loss": float("nan"), "lr": float("inf"), "accuracy": 0.5})
    writer.close()
    assert read_lines(tmp_path / "j")[0][0]["values"] == {"loss": None, "lr": None, "accuracy": 0.5}


def test_a_cache_reads_only_what_is_new_and_agrees_with_a_fresh_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    cache = JournalCache()
    assert cache.summary(path) == Summary()
    _fill(path, 2)
    assert cache.summary(path).steps == 2
    writer = JournalWriter(path)
    writer.write("checkpoint", step=2, folder="step-00000002")
    writer.write("progress", step=7, total=9, values={})
    writer.close()
    assert (cache.summary(path).steps, cache.summary(path).checkpoint) == (7, 2)
    assert cache.summary(path) == JournalCache().summary(path)
