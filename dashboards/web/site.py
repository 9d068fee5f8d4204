"""What every page is made with: the templates, the frame around a page, and an answer for what goes wrong."""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from core.control.states import TRIAL_STATES
from core.errors import SweepError
from core.workspace.layout import Workspace
from dashboards.web.address import Address
from dashboards.web.data import Data
from dashboards.web.pictures import Pictures

HERE = Path(__file__).resolve().parent
PAGE_ROWS = 50
"""Rows of a page."""
ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")


@dataclass(frozen=True)
class Paging:
    """Where a page stands among others."""

    number: int
    size: int
    total: int

    @property
    def last(self) -> int:
        """The last page."""
        return max(1, -(-self.total // self.size))

    @property
    def first_row(self) -> int:
        """Number of the first row, from 1; 0 where there is none."""
        return min((self.number - 1) * self.size + 1, self.total)

    @property
    def last_row(self) -> int:
        """Number of the last row."""
        return min(self.number * self.size, self.total)


class Site:
    """The pages' common ground."""

    def __init__(self, data: Data) -> None:
        self.data = data
        self.pictures = Pictures()
        # no block of a page holds a script or a style: the policy forbids both, and nothing is ever marked as safe
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.filters |= {
            "clock": clock,
            "span": span,
            "path": path_segment,
            "value": axis_text,
            "number": number,
            "short": short,
        }
        self._templates.globals |= {"states": TRIAL_STATES, "mlflow": data.mlflow, "age": age, "named": named}
        for name in self._templates.list_templates():  # compiled before the first reader comes
            self._templates.get_template(name)

    @property
    def workspace(self) -> Workspace:
        """Whose sweeps are shown."""
        return self.data.workspace

    def page(self, request: Request, template: str, *, status: int = 200, version: str | None = None, **values: Any) -> Response:
        """A page. ``version`` names the state that it shows: a page that is open asks again with it, see :meth:`still_right`."""
        values.setdefault("address", address(request))
        text = self._templates.get_template(template).render(version=version, problems=dict(self.data.problems), **values)
        return HTMLResponse(text, status)

    def still_right(self, request: Request, version: str) -> Response | None:
        """The answer to a page that is open and shows this version; asked before anything is worked out for it."""
        return Response(status_code=204) if request.headers.get("X-Version") == version else None

    def error(self, request: Request, error: SweepError, status: int) -> Response:
        """A page that says what was wrong, in the words of the command."""
        return self.page(request, "error.html", status=status, lines=error.lines(), title="This view cannot be shown")


def address(request: Request) -> Address:
    """The address of a request, typed."""
    return Address(request.url.path, request.query_params)


def paging(where: Address, total: int, size: int = PAGE_ROWS) -> Paging:
    """The page that an address asks for, at most the last one."""
    asked = where.number("page", 1, 1, 10**7)
    return Paging(min(asked, max(1, -(-total // size))), size, total)


def as_csv(header: Sequence[str], rows: Iterable[Sequence[object]], name: str) -> Response:
    """A table as a file to keep. A text that a spreadsheet would take for a formula gets an apostrophe in front."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_inert(cell) for cell in row] for row in rows)
    return attachment(out.getvalue().encode(), "text/csv; charset=utf-8", f"{name}.csv")


def _inert(cell: object) -> object:
    if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{cell}"
    return "" if cell is None else cell


def attachment(content: bytes, kind: str, name: str) -> Response:
    """A file to keep: never shown by the browser as a page of ours."""
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }
    return Response(content, media_type=kind, headers=headers)


def clock(seconds: float | None) -> str:
    """A time of day with its date, in the server's zone."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds)) if seconds else "–"


def span(seconds: float | None) -> str:
    """A length of time: ``41 s``, ``12 min``, ``3.4 h``."""
    if seconds is None:
        return "–"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def age(seconds: float) -> str:
    """How long ago a time is."""
    return span(max(0.0, time.time() - seconds))


def named(words: Iterable[str]) -> dict[str, str]:
    """Choices of a list, any of them first."""
    return {"": "any"} | {word: word for word in words}


def path_segment(text: object) -> str:
    """A name as one part of an address."""
    return quote(str(text), safe="")


def short(text: str) -> str:
    """A name in which ids stand with their first ten digits, as everywhere."""
    return ID.sub(lambda found: found[0][:10], text)


def axis_text(value: object) -> str:
    """A coordinate as the definition writes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else short(str(value))


def number(value: float | None, digits: int = 1) -> str:
    """A number, or a dash."""
    return "–" if value is None else f"{value:.{digits}f}"
