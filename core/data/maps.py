"""Field maps of public preference sets: one YAML file a set in ``core/data/sets``, so that a set is described and not programmed.

A map says where the set lies on the hub, which of its files hold rows, and how a row becomes pairs. Six formats are enough for
the sets of BaseReward; :mod:`core.data.formats` reads them:

==============  =====================================================================================================
format          a row holds
==============  =====================================================================================================
``pair``        a prompt, a chosen and a rejected text
``sharegpt``    a conversation, and a chosen and a rejected turn
``turns``       two whole conversations that differ in the last turn
``choice``      a prompt, two responses and a label that says which is better
``rated``       a prompt and a list of responses with scores: all pairs, or the pair of the widest gap
``judged``      the prompt of a judge with both responses in it, and its verdict
==============  =====================================================================================================

``checked`` says what the map was checked against. A hub cannot be asked from everywhere, and sets change: where a field is called
otherwise, the refusal names the missing field and the fields of the row, and ``fields`` of the source in the definition renames it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from core.errors import DefinitionError, nearest

FOLDER = Path(__file__).with_name("sets")

Format = Literal["pair", "sharegpt", "turns", "choice", "rated", "judged"]
Skipped = Literal["equal", "empty", "tie"]


def _listed(value: object) -> object:
    return value if isinstance(value, list | tuple) else [value]


Words = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Verdicts(_Part):
    """Values of a label (or patterns in a verdict's text) by what they mean."""

    first: Words
    second: Words
    tie: Words = ()


class Rated(_Part):
    """Where the responses of a ``rated`` row stand, and what they are worth: the mean of the scores that are numbers."""

    items: str
    text: str
    scores: Words
    keep: Literal["all", "widest"] = "all"


class Judged(_Part):
    """A pattern with the groups ``prompt``, ``first`` and ``second``, searched in the field ``text``, and the field of the verdict."""

    text: str
    pattern: str
    verdict: str


class FieldMap(_Part):
    """How one public set is read.

    Attributes:
        title: its name as its authors write it.
        about: what a user should know, in a sentence or two.
        checked: what the map was checked against.
        hub: the repository.
        files: patterns of the files that hold rows, read in natural order; no other file is fetched but ``media``.
        media: patterns of the files with images, fetched too; empty where the rows carry them.
        unpack: archives that are to be unpacked beside the rows before the set can be read.
        roots: a JSON file ``{name: {annotation, root}}`` that says which folder the media of each file of rows are relative to.
        lines: JSON lines although the files are called ``.json``.
        reads: what a row may carry.
        format: see the module.
        fields: our names of fields to the set's.
        decode: fields that hold JSON as text.
        values: of a ``choice`` or ``judged`` row.
        rated: of a ``rated`` row.
        judged: of a ``judged`` row.
        skip: rows that the set is known to hold and that no reward model can learn from: left out and counted.
        overlaps: benchmarks that draw on this set.
    """

    title: str
    about: str = ""
    checked: str
    hub: str
    files: Words
    media: tuple[str, ...] = ()
    unpack: tuple[str, ...] = ()
    roots: str | None = None
    lines: bool = False
    reads: tuple[Literal["text", "image", "video"], ...] = ("text",)
    format: Format = "pair"
    fields: dict[str, str] = {}
    decode: tuple[str, ...] = ()
    values: Verdicts | None = None
    rated: Rated | None = None
    judged: Judged | None = None
    skip: tuple[Skipped, ...] = ()
    overlaps: tuple[str, ...] = ()


def names() -> list[str]:
    """The sets that have a map."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


@cache
def field_map(name: str) -> FieldMap:
    """The map of a set.

    Raises:
        DefinitionError: there is none of this name, or its file is wrong.
    """
    path = FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise DefinitionError("no such public set", found=name, allowed=names(), nearest=nearest(name, names()))
    try:
        return FieldMap.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, ValidationError) as error:
        raise DefinitionError(f"the field map of {name} is wrong: {error}", place=path) from error
