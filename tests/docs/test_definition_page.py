"""Every definition in the documentation is one: it loads, and means as many cells as it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from docs_pages import GUIDES, PAGES, REFERENCE, Block, blocks, names, table

from core.data.config import FIELDS
from core.definition import expand, load
from core.definition.axes import MAX_CELLS
from core.definition.schema import DefinitionConfig
from core.definition.trial import RehearsalConfig, TrialConfig

SHIPPED = REFERENCE.parents[1] / "sweeps"
PAGE = REFERENCE / "definition.md"
DEFINITIONS = [
    block for page in PAGES for block in blocks(page, "yaml") if "head.layers" in block.text or "trial:" in block.text or page == PAGE
]
REST = {
    "version": "version: 1\n",
    "name": "name: fragment\n",
    "trial": "trial: {backbone: qwen2.5-vl-7b, data: {sources: {pairs: {}}}, train: {epochs: 1}}\n",
}
"""What a fragment leaves out."""


def written(block: Block, folder: Path) -> Path:
    text = block.text
    if not re.search("^version:", text, flags=re.MULTILINE):
        keys = re.findall(r"^(\w+):", text, flags=re.MULTILINE)
        text = "".join(line for key, line in REST.items() if key not in keys or key == "trial") + text
        if "trial" in keys:
            text = text.replace(REST["trial"], "base: whole\n")
            whole = "".join(line for line in REST.values()).replace("fragment", "whole")
            (folder / "whole.yaml").write_text(whole, encoding="utf-8")
    if "code:" in text:
        for file in blocks(block.page, "python"):
            (folder / file.note.removeprefix("file: ")).write_text(file.text, encoding="utf-8")
    path = folder / "definition.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("block", DEFINITIONS, ids=lambda block: block.name)
def test_every_definition_in_the_documentation_loads_and_has_the_cells_that_it_says(block: Block, tmp_path: Path) -> None:
    expansion = expand(load(written(block, tmp_path), search=[SHIPPED]))
    counts = expansion.counts
    assert expansion.warnings == []
    said = re.match(r"# (\d+ .*)", block.text)
    assert said is not None or block.page != PAGE, "each example of the reference says how many cells it has"
    for number, what in re.findall(r"(\d+) (\w+)", said[1]) if said is not None else []:
        assert counts[what if what in counts else f"{what}s"] == int(number), counts


def test_the_limit_of_cells_and_the_fields_of_a_row_are_those_of_the_code() -> None:
    assert f"more than {MAX_CELLS:,} cells" in PAGE.read_text(encoding="utf-8")
    guide = GUIDES / "own-data.md"
    listed = re.search(r"The names that the map may use: (.*?)\n\n", guide.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert listed is not None
    assert set(names(listed[1])) == set(FIELDS)
    explained = {name for field, _ in table(guide, "Pairs") for name in names(field)} - {"images", "videos"}
    assert explained == set(FIELDS) - {"conversations"}


def test_the_reference_names_every_top_level_key_section_and_rehearsal_key() -> None:
    rows = table(PAGE, "The sweep definition")
    assert {name for key, _ in rows for name in names(key)} == set(DefinitionConfig.model_fields)
    sections = {name for key, _ in table(PAGE, "trial") for name in names(key)}
    assert sections == set(TrialConfig.model_fields) - {"seed", "rehearsal"}
    values = {names(key)[0].removeprefix("rehearsal."): value for key, value, _ in table(PAGE, "Rehearsals")}
    sizes = {name: None if value == "null" else float(value) for name, value in values.items()}
    assert sizes == RehearsalConfig().model_dump()
