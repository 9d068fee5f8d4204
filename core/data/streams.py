"""Named random streams, all derived from the trial's seed (no torch at import).

Each consumer of randomness has a name: ``data`` (the order of the examples), ``backbone`` and ``head`` (initialisation),
``step`` (dropout and whatever else is drawn while training), ``sampling``. A stream depends on the seed and its own name
alone, so that another head, or a longer validation, never changes the order of the data.

Streams are indexed instead of being carried: epoch ``e`` of the data order and step ``s`` of training have seeds of their
own. A resumed run therefore needs no saved generator state to continue exactly.
"""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def stream_seed(seed: int, *name: str | int) -> int:
    """The seed of a named stream: 63 bits of sha256 over the trial's seed and the stream's name."""
    text = "/".join(["rewardsweep", str(seed), *map(str, name)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *name: str | int) -> np.random.Generator:
    """A numpy generator for a named stream."""
    import numpy as np

    return np.random.Generator(np.random.PCG64(stream_seed(seed, *name)))


def reseed(seed: int, *name: str | int) -> None:
    """Point every global generator (python, numpy, torch on all devices) at a named stream."""
    import numpy as np
    import torch

    value = stream_seed(seed, *name)
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.manual_seed(value)
