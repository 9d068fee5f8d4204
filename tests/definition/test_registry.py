"""Components of a user's own files are there for every thread at once, or not yet for any."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from core import registry

CODE = """\
import sys

from core.definition.trial import LossTermConfig
from core.registry import register

moment = sys.modules["moment_of_the_test"]
moment.begun.set()
assert moment.go_on.wait(30)
register("loss", "late", LossTermConfig, "late_losses:late")
"""


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Two events that hold the import of :data:`CODE` where it has begun; afterwards the registry is as it was."""
    registry.names("loss")
    made = SimpleNamespace(begun=threading.Event(), go_on=threading.Event())
    monkeypatch.setitem(sys.modules, "moment_of_the_test", made)
    monkeypatch.setattr(registry, "_components", dict(registry._components))
    yield made
    sys.modules.pop("late_losses", None)


def test_a_file_of_components_that_another_thread_is_loading_is_waited_for(tmp_path: Path, moment: SimpleNamespace) -> None:
    file = tmp_path / "late_losses.py"
    file.write_text(CODE, encoding="utf-8")
    seen: list[bool] = []

    def second() -> None:
        registry.load_code([file])
        seen.append(registry.has("loss", "late"))

    threads = [threading.Thread(target=registry.load_code, args=([file],)), threading.Thread(target=second)]
    threads[0].start()
    assert moment.begun.wait(30)
    threads[1].start()
    threads[1].join(1.0)
    assert seen == [], "it must not go on without the component"
    moment.go_on.set()
    for thread in threads:
        thread.join()
    assert seen == [True]
