"""Texts from an OpenAI-compatible endpoint (``POST BASE/chat/completions``).

The key comes from the environment, is sent as a header, and is written nowhere. What may pass (429, 5xx, a lost connection) is tried
again after a growing pause; any other refusal ends the trial with the endpoint's own words.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from core.data.examples import Media, PreferenceExample
from core.definition.trial import AnnotateConfig, TrialConfig
from core.errors import EnvironmentFault, TrialFailed
from core.models.judges import preferred_slot
from core.models.reward_model import read_template

if TYPE_CHECKING:
    from core.training.annotate import Question

PATIENCE = 6
"""How often one question is sent at most."""


class Endpoint:
    """Writes through HTTP, several questions at once.

    Args:
        config: the trial; its prompt and paradigm say what is asked.
        settings: its section `annotate`.
        pause: seconds before the second sending; it doubles each time.

    Raises:
        EnvironmentFault: no address.
    """

    def __init__(self, config: TrialConfig, settings: AnnotateConfig, pause: float = 1.0) -> None:
        if settings.endpoint is None:
            raise EnvironmentFault("`annotate.model` names a model at an endpoint, and no address is given", allowed="annotate.endpoint")
        self.settings = settings
        self.template = read_template(config.prompt, config.paradigm) or ""
        self.most = int(getattr(config.paradigm, "max_new_tokens", 1024))
        self.batch = 4 * settings.parallel
        self.pause = pause
        known = [settings.model, settings.temperature, self.most, hashlib.sha256(self.template.encode()).hexdigest()]
        self.name = json.dumps(["endpoint", config.paradigm.name, *known])

    def write(self, questions: Sequence[Question], number: int) -> list[str]:
        """See :class:`core.training.annotate.Writer`."""
        with ThreadPoolExecutor(self.settings.parallel) as pool:
            return list(pool.map(lambda question: self._ask(question, number), questions))

    def _ask(self, question: Question, number: int) -> str:
        body = {
            "model": self.settings.model,
            "messages": messages(question.example, question.index, self.template),
            "temperature": 0.0 if number == 0 else self.settings.temperature,
            "max_tokens": self.most,
        }
        answer = self._send(body, question.example)
        try:
            text = answer["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            raise TrialFailed("data_error", f"the endpoint's answer holds no text: {json.dumps(answer)[:200]}") from None
        return str(text or "")

    def _send(self, body: dict[str, Any], example: PreferenceExample) -> Any:
        headers = {"Content-Type": "application/json"}
        key = os.environ.get(self.settings.key_env)
        if key:
            headers["Authorization"] = f"Bearer {key}"
        address = f"{(self.settings.endpoint or '').rstrip('/')}/chat/completions"
        request = urllib.request.Request(address, json.dumps(body).encode(), headers)
        trouble = ""
        for sending in range(PATIENCE):
            if sending:
                time.sleep(self.pause * 2 ** (sending - 1))
            try:
                with urllib.request.urlopen(request, timeout=600) as response:
                    return json.loads(response.read())
            except urllib.error.HTTPError as error:
                trouble = f"{error.code} {error.reason}: {error.read()[:200].decode(errors='replace')}"
                if error.code in (401, 403):
                    raise EnvironmentFault(
                        "the endpoint does not accept the key", found=trouble, allowed=f"a key in ${self.settings.key_env}", place=address
                    ) from None
                if error.code != 429 and error.code < 500:
                    raise TrialFailed("data_error", f"{example.origin or example.id}: the endpoint refuses: {trouble}") from None
            except (OSError, ValueError) as error:
                trouble = str(error)
        raise EnvironmentFault(f"the endpoint did not answer {PATIENCE} times", found=trouble, place=address)


def messages(example: PreferenceExample, index: int | None, template: str) -> list[dict[str, Any]]:
    """The chat that is sent: the turns before, the prompt with its pictures, and what is asked about the responses."""
    before: list[dict[str, Any]] = [{"role": turn.role, "content": turn.text} for turn in example.history]
    pictures = [{"type": "image_url", "image_url": {"url": picture(medium)}} for medium in example.media]
    if index is not None:
        return [
            *before,
            {"role": "user", "content": [*pictures, {"type": "text", "text": example.prompt}]},
            {"role": "assistant", "content": example.responses[index].text},
            {"role": "user", "content": template},
        ]
    slot = preferred_slot(example)
    first, second = (example.best(), example.worst()) if slot == 0 else (example.worst(), example.best())
    values = {"response_1": example.responses[first].text, "response_2": example.responses[second].text, "prompt": example.prompt}
    text = re.sub(r"\{(response_1|response_2|prompt)\}", lambda found: values[found[1]], template)
    return [*before, {"role": "user", "content": [*pictures, {"type": "text", "text": text}]}]


def picture(medium: Media) -> str:
    """An image as a data URI.

    Raises:
        TrialFailed: a video, which the protocol does not know, or a file that cannot be read.
    """
    if medium.kind != "image":
        raise TrialFailed("data_error", f"an endpoint reads no video: {medium.path}")
    try:
        data = medium.data if medium.data is not None else (medium.path.read_bytes() if medium.path is not None else b"")
    except OSError as error:
        raise TrialFailed("data_error", f"the image cannot be read: {error}") from error
    kind = "png" if data[:4] == b"\x89PNG" else "webp" if data[8:12] == b"WEBP" else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
