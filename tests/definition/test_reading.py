from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.definition.reading import MAX_NODES, read_file, read_text, write_text
from core.errors import DefinitionError


def refusal(text: str) -> DefinitionError:
    with pytest.raises(DefinitionError) as caught:
        read_text(text, "study.yaml")
    return caught.value


def test_scalars_stay_as_written() -> None:
    tree = read_text("{a: 1e-5, b: no, c: 010, d: 12:30, e: none, f: 1_000, g: 2024-01-01, h: .5}", "f").tree
    assert tree == {"a": "1e-5", "b": "no", "c": "010", "d": "12:30", "e": "none", "f": "1_000", "g": "2024-01-01", "h": ".5"}


def test_only_plain_nulls_are_none() -> None:
    assert read_text("{a: null, b: ~, c: , d: 'null', e: ''}", "f").tree == {"a": None, "b": None, "c": None, "d": "null", "e": ""}


def test_every_key_and_item_has_its_line() -> None:
    places = read_text("a:\n  b: 1\n  c:\n    - x\n    - y\n", "study.yaml").places
    assert str(places[("a", "b")]) == "study.yaml:2"
    assert str(places[("a", "c", 1)]) == "study.yaml:5"


def test_a_duplicate_key_names_both_lines() -> None:
    error = refusal("a: 1\nb: 2\na: 3\n")
    assert str(error.place) == "study.yaml:3"
    assert "'a'" in error.message
    assert "line 1" in str(error.found)


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system [touch x]", "!include other.yaml", "!!python/name:os.system", "!!str x"])
def test_tags_are_refused_with_their_line(tag: str) -> None:
    error = refusal(f"a: 1\nb: {tag}\n")
    assert "tag" in error.message
    assert str(error.place) == "study.yaml:2"


def test_anchors_and_merge_keys_work_and_own_keys_win() -> None:
    tree = read_text("a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\nc: {<<: [*a, {z: 4}]}\n", "f").tree
    assert tree["b"] == {"x": "1", "y": "3"}
    assert tree["c"] == {"x": "1", "y": "2", "z": "4"}


def test_an_alias_bomb_is_bounded() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert str(MAX_NODES) in str(refusal("\n".join(lines)).found)


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: &a {b: *a}", "a: &a {<<: *a}"])
def test_an_alias_inside_itself_is_refused(text: str) -> None:
    assert "alias" in refusal(text).message


@pytest.mark.parametrize("text", ["a: [1", "a: b: c", "a: 1\n---\nb: 2", "a: *missing", "? [x]\n: 1", "a: \x01", "[" * 5000])
def test_what_is_no_single_readable_document_is_refused_with_a_place(text: str) -> None:
    assert str(refusal(text).place).startswith("study.yaml:")


def test_an_unreadable_file_is_named(tmp_path: object) -> None:
    from pathlib import Path

    assert isinstance(tmp_path, Path)
    with pytest.raises(DefinitionError, match="cannot be read"):
        read_file(tmp_path / "absent.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\n")
    with pytest.raises(DefinitionError, match="UTF-8"):
        read_file(tmp_path / "latin.yaml")


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
TREES = st.recursive(TEXT | st.none(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=8)


@given(TREES)
def test_what_is_written_reads_back_the_same(tree: object) -> None:
    assert read_text(write_text({"key": tree}), "f").tree == {"key": tree}
