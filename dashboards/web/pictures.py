"""Pictures that were drawn, kept for the next reader."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable


class Pictures:
    """Pictures that were drawn, kept until they are many: every reader of a page asks for the same ones."""

    KEPT = 128

    def __init__(self) -> None:
        self._drawn: OrderedDict[tuple[str, ...], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[str, ...], draw: Callable[[], bytes]) -> bytes:
        """The picture of this key."""
        with self._lock:
            if key in self._drawn:
                self._drawn.move_to_end(key)
                return self._drawn[key]
        made = draw()
        with self._lock:
            self._drawn[key] = made
            while len(self._drawn) > self.KEPT:
                self._drawn.popitem(last=False)
        return made
