"""Examples of a benchmark with the scores that trials gave them: what a mistake looks like.

Prompts and responses are untrusted text and are shown as text. Images are untrusted files: each is decoded within the project's
limits on its size, shrunk, and encoded anew as PNG; what cannot be decoded is not shown, and no byte of the file itself is ever sent.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from starlette.requests import Request
from starlette.responses import Response

from core.control.tick import trial_key
from core.data.examples import Media, PreferenceExample
from core.data.media import MediaError, load_frames, load_image
from core.definition.plan import PlannedTrial
from core.definition.trial import RehearsalConfig
from core.errors import EnvironmentFault, IntegrityError, SweepError, UsageError
from core.evaluation.benchmarks import load
from core.evaluation.score_table import ScoreTable, example_keys
from dashboards.web.address import Address
from dashboards.web.data import Data, Pending
from dashboards.web.site import Site, as_csv, paging

EDGE = 768
"""Pixels of the longer side of an image on a page."""
FRAMES = 4
"""Frames of a video that are shown."""
SHOWN = 5
"""Examples on a page."""
LONGEST = 6000
"""Characters of a text that a page shows."""


@dataclass(frozen=True)
class Scored:
    """An example with the scores of one trial.

    Attributes:
        key: its key in the score table.
        id: the data set's own id.
        category: the data set's own.
        better: position of the preferred response, and its score.
        worse: position of the worse response that scored highest, and its score.
    """

    key: str
    id: str
    category: str | None
    better: tuple[int, float | None]
    worse: tuple[int, float | None]

    @property
    def margin(self) -> float | None:
        """How much higher the preferred response scored; ``None`` where an output could not be parsed."""
        return None if self.better[1] is None or self.worse[1] is None else self.better[1] - self.worse[1]

    @property
    def right(self) -> bool:
        """Whether the preferred response scored strictly higher."""
        return self.margin is not None and self.margin > 0


def scored(table: ScoreTable) -> dict[str, Scored]:
    """The examples of a table that carry a preference, by key; of several orders or samples the mean score of a response counts."""
    data = table.data.select(["example", "id", "response", "label", "score", "category"]).to_pydict()
    rows: dict[str, dict[int, list[float]]] = {}
    about: dict[str, tuple[str, str | None, dict[int, int]]] = {}
    for example, id, response, label, score, category in zip(
        *(data[name] for name in ("example", "id", "response", "label", "score", "category")), strict=True
    ):
        about.setdefault(example, (id, category, {}))
        if label is not None:
            about[example][2][response] = label
        rows.setdefault(example, {}).setdefault(response, [])
        if score is not None:
            rows[example][response].append(score)
    found = {}
    for example, (id, category, labels) in about.items():
        top = min(labels.values(), default=0)
        best = [response for response, rank in labels.items() if rank == top]
        others = [response for response, rank in labels.items() if rank > top]
        if not best or not others:
            continue
        means = {response: (sum(values) / len(values) if values else None) for response, values in rows[example].items()}
        rival = max(others, key=lambda response: (means[response] is not None, means[response] or 0.0))
        found[example] = Scored(example, id, category, (best[0], means[best[0]]), (rival, means[rival]))
    return found


ORDERS = {"worst": "worst mistakes first", "closest": "closest calls first", "best": "clearest right ones first"}


def ordered(found: Mapping[str, Scored], order: str) -> list[Scored]:
    """Worst: the wrong response scored most above the right one. Those without a margin come last."""
    keys: dict[str, Callable[[float], float]] = {"worst": lambda margin: margin, "closest": abs, "best": lambda margin: -margin}
    known = sorted((keys[order](one.margin), one.key) for one in found.values() if one.margin is not None)
    return [found[key] for _, key in known] + [one for one in found.values() if one.margin is None]


def table_of(data: Data, trial: str, key: str) -> ScoreTable:
    """A trial's score table.

    Raises:
        IntegrityError: it is missing or damaged.
    """
    path = data.workspace.trial(trial).scoring(key).table
    if not path.is_file():
        raise IntegrityError("there is no score table", place=path)
    return ScoreTable.read(path)


def entry_of(planned: PlannedTrial, key: str) -> Mapping[str, object]:
    """The entry of a trial's ``evaluate`` that a scoring's key belongs to.

    Raises:
        UsageError: none has this key.
    """
    for entry in planned.evaluate:
        if trial_key(planned, entry) == key:
            return entry
    raise UsageError("this sweep asks for no such scoring", found=key[:64])


def texts(data: Data, planned: PlannedTrial, key: str) -> Mapping[str, PreferenceExample] | str:
    """The examples behind a scoring, by key, or a sentence that says why they are not shown."""
    config = dict(entry_of(planned, key)["benchmark"])  # type: ignore[call-overload]
    rehearsal = planned.config.get("rehearsal")
    name = hashlib.sha256(repr((sorted(config.items(), key=str), rehearsal)).encode()).hexdigest()

    def read() -> Mapping[str, PreferenceExample]:
        loaded = load(config, None if rehearsal is None else RehearsalConfig.model_validate(rehearsal))
        return dict(zip(example_keys(loaded.examples), loaded.examples, strict=True))

    try:
        found = data.soon(("examples", name), 0, read, patience=20.0)
    except EnvironmentFault as error:
        return f"{error.message}: {error.found}" if error.found else error.message
    except SweepError as error:
        return error.message
    return "the examples are still being read" if isinstance(found, Pending) else found


def shortened(text: str) -> str:
    """A text as far as a page shows it."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text) - LONGEST} more characters)"


Behind = tuple[str, str, Mapping[str, PreferenceExample] | str]
"""The trial and the scoring under which the pictures of examples are asked for, and their texts, or why there are none."""


def mistakes(where: Address, found: Mapping[str, Scored], known: Mapping[str, str], chosen: str, behind: Behind) -> dict[str, Any]:
    """What a page says of the examples of one scoring, in the order that its address asks for, a few at a time.

    Args:
        where: the address.
        found: the examples with their scores.
        known: the scorings that a reader may choose, with their names.
        chosen: the one that is shown.
        behind: where texts and pictures come from.
    """
    order = where.word("order", ORDERS, "worst")
    rows = ordered(found, order)
    pages = paging(where, len(rows), SHOWN)
    return {
        "key": chosen, "known": known, "order": order, "wrong": sum(not one.right for one in rows), "total": len(rows), "paging": pages,
        "rows": [block(one, behind) for one in rows[pages.first_row - 1 if rows else 0 : pages.last_row]],
        "why": behind[2] if isinstance(behind[2], str) else None,
    }  # fmt: skip


def block(one: Scored, behind: Behind) -> dict[str, Any]:
    """An example as a template shows it: texts, pictures, scores."""
    trial, key, found = behind
    example = None if isinstance(found, str) else found.get(one.key)
    digest, _, occurrence = one.key.partition("#")
    return {
        "scored": one,
        "prompt": shortened(example.prompt) if example is not None else None,
        "better": shortened(example.responses[one.better[0]].text) if example is not None else None,
        "worse": shortened(example.responses[one.worse[0]].text) if example is not None else None,
        "pictures": [f"/trial/{trial}/image/{key}/{digest}/{occurrence}/{number}" for number in range(pictures(example))]
        if example is not None
        else [],
    }


def examples_file(where: Address, found: Mapping[str, Scored], name: str) -> Response:
    """All examples of a scoring with their scores, as CSV."""
    rows = [
        [one.key, one.id, one.category, one.better[1], one.worse[1], one.margin, int(one.right)]
        for one in ordered(found, where.word("order", ORDERS, "worst"))
    ]
    return as_csv(["example", "id", "category", "better response", "worse response", "margin", "right"], rows, name)


def pictures(example: PreferenceExample) -> int:
    """How many pictures of an example a page asks for."""
    return sum(1 if media.kind == "image" else FRAMES for media in example.media)


def image(site: Site, request: Request) -> Response:
    """One picture of an example, encoded anew."""
    data, at = site.data, request.path_params
    trial = data.trial_id(at["trial"])
    sweeps = data.browser.sweeps_of(trial)
    planned = data.planned(sweeps[0], trial) if sweeps else None
    found = texts(data, planned, at["key"]) if planned is not None else "no sweep asks for this trial"
    if isinstance(found, str):
        return Response(found, 404, media_type="text/plain")
    example = found.get(f"{at['digest']}#{at['occurrence']}")
    if example is None:
        return Response("no such example\n", 404, media_type="text/plain")
    try:
        content = site.pictures.get(("image", at["key"], example.digest(), str(at["number"])), lambda: encoded(example.media, at["number"]))
    except (MediaError, IndexError, SweepError) as error:
        return Response(f"{error}\n", 404, media_type="text/plain")
    return Response(content, media_type="image/png", headers={"Content-Security-Policy": "sandbox; default-src 'none'"})


def encoded(media: Sequence[Media], number: int) -> bytes:
    """The picture of this number as PNG.

    Raises:
        MediaError: it cannot be read, or is too large.
        IndexError: there are fewer.
    """
    for medium in media:
        count = 1 if medium.kind == "image" else FRAMES
        if number < count:
            made = load_image(medium) if medium.kind == "image" else load_frames(medium, FRAMES)[number]
            if max(made.size) > EDGE:
                made.thumbnail((EDGE, EDGE))
            elif max(made.size) < 96:  # a toy picture of some pixels, as it is but large enough to see
                made = made.resize((made.width * 2, made.height * 2), Image.Resampling.NEAREST)
            out = io.BytesIO()
            made.save(out, "PNG")
            return out.getvalue()
        number -= count
    raise IndexError("no such picture")
