"""A real rehearsal with a cell that fails, its dashboard as a user starts it, and Debian's Chromium."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect, sync_playwright
from tests_launch import Study

CHROMIUM = shutil.which("chromium")
DEFINITION = """\
version: 1
name: looked_at
description: What a reader sees.
code: [my_losses.py]
trial:
  backbone: qwen2.5-vl-3b
  data: {sources: {generated_images: {}}}
  train: {epochs: 1}
  execution: {threads: 1}
cases:
  - {head.layers: 1}
  - {head.layers: 2}
  - {head.layers: 3, loss.breaks.weight: 1}
checkpoint: {every: 4steps}
validation: {items: 16, every: 0.25}
evaluate: [generated_images]
ensembles: [{name: both, members: {head.layers: [1, 2]}}]
reported: [{source: a paper, metrics: [generated_images/accuracy], rows: [{cell: {head.layers: 1}, values: [71.2]}]}]
"""
LOSS = '''\
"""A loss that cannot be computed."""

from core.definition.trial import LossTermConfig
from core.registry import register


def breaks(batch, config):
    raise ValueError("<b>the margin of this loss</b> has no value")


register("loss", "breaks", LossTermConfig, "my_losses:breaks")
'''


@pytest.fixture(scope="session")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """One small rehearsal for all tests: two cells are done, one has failed."""
    made = Study(tmp_path_factory.mktemp("looked"))
    (made.folder / "my_losses.py").write_text(LOSS, encoding="utf-8")
    made.write(DEFINITION, "looked_at")
    made.launch(name="looked_at", code=1)
    return made


@pytest.fixture(scope="session")
def server_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `sweep ui` says what went wrong in it."""
    return tmp_path_factory.mktemp("server") / "ui.log"


@pytest.fixture(scope="session")
def dashboard(rehearsal: Study, server_log: Path) -> Iterator[str]:
    """The address of `sweep ui`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with open(server_log, "w", encoding="utf-8") as log:
        process = rehearsal.start("ui", "--no-mlflow", "--port", str(port), stderr=log)
    assert process.stdout is not None
    line = process.stdout.readline()
    try:
        found = re.search(r"http://\S+/", line)
        assert found is not None, line + server_log.read_text(encoding="utf-8")
        yield found[0].rstrip("/")
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        process.stdout.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium. Without it the tests are skipped; in CI that is a failure."""
    if CHROMIUM is None:
        reason = "Debian's chromium is not installed (apt-get install chromium)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        # root has no sandbox; the pages are our own
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield browser
        browser.close()


class Reader:
    """A reader's window. What goes wrong in it is kept: console errors, failed answers, and requests to other hosts."""

    def __init__(self, context: BrowserContext, base: str) -> None:
        self.page: Page = context.new_page()
        self.base = base
        self.wrong: list[str] = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        self.page.on("request", self._request)
        self.page.on("response", lambda answer: self.wrong.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(f"console: {message.text}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith((self.base, "data:", "blob:")):
            self.wrong.append(f"another host: {request.url}")

    def open(self, address: str) -> Page:
        """Open a page and wait until it shows what it works out."""
        self.page.goto(self.base + address)
        return self.settle()

    def settle(self) -> Page:
        """Wait until nothing is being worked out, and every picture is there."""
        expect(self.page.locator("body")).not_to_contain_text("being worked out", timeout=60_000)
        self.until("[...document.images].every(one => one.complete || one.loading === 'lazy')")
        return self.page

    def until(self, condition: str) -> None:
        """Wait for a condition. (Playwright's own way evaluates a text within the page, which the page's policy forbids.)"""
        end = time.monotonic() + 60
        while not self.page.evaluate(condition):
            assert time.monotonic() < end, condition
            self.page.wait_for_timeout(50)


@pytest.fixture(params=[("light", 1280), ("dark", 400)], ids=["light wide", "dark narrow"])
def reader(request: pytest.FixtureRequest, browser: Browser, dashboard: str, server_log: Path) -> Iterator[Reader]:
    """A reader, by day with a wide window and at night with a narrow one; at the end nothing may have gone wrong."""
    before = server_log.stat().st_size
    scheme, width = request.param
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}, service_workers="block")
    made = Reader(context, dashboard)
    yield made
    context.close()
    said = server_log.read_bytes()[before:].decode("utf-8", "replace")
    assert made.wrong == [], f"the server said:\n{said[-6000:]}"
    assert said == ""


@pytest.fixture(scope="session")
def ids(rehearsal: Study) -> dict[str, str]:
    """The trials of the rehearsal by their number of layers."""
    return {str(trial["cell"]["head.layers"]): str(trial["id"]) for trial in rehearsal.trials("looked_at")}
