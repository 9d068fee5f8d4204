"""Annotation through a real HTTP server on this machine: what is sent, what is tried again, what is refused, and where the key is not."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from core.data.annotations import FILE, annotated, read_annotations
from core.data.generated import generate_pairs
from core.definition.trial import AnnotateConfig, TrialConfig
from core.errors import EnvironmentFault, TrialFailed
from core.models.judges import preferred_slot
from core.training.annotate import Question, annotate
from core.training.context import Interrupted
from core.training.endpoint import Endpoint

KEY = "sk-a-very-secret-key"


class Server(ThreadingHTTPServer):
    """Answers what ``answer`` says; ``failures`` first answers come as these codes."""

    def __init__(self, answer):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer, self.failures, self.seen, self.lock = answer, [], [], threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.seen.append((self.path, dict(self.headers), body))
            code = self.server.failures.pop(0) if self.server.failures else 200
        text = json.dumps(
            {"choices": [{"message": {"content": self.server.answer(body)}}]} if code == 200 else {"error": "not now"}
        ).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    made = []

    def start(answer):
        made.append(Server(answer))
        return made[-1]

    yield start
    for one in made:
        one.shutdown()
        one.server_close()


class Context:
    """As much of an attempt as annotating needs."""

    def __init__(self, folder, stop_after=None):
        self.cache = folder / "cache"
        self.out = folder / "out"
        self.device, self.threads, self.stop_after, self.calls = "cpu", torch.get_num_threads(), stop_after, 0

    def note(self, **facts):
        self.facts = facts

    def progress(self, step, total, **values):
        self.calls += 1

    def asked(self):
        return "preempted" if self.calls == self.stop_after else None

    def publish(self, write, metrics):
        self.out.mkdir()
        write(self.out)
        self.metrics = dict(metrics)


def config(server, paradigm, pairs=12, **settings):
    return TrialConfig.model_validate(
        {
            "task": "annotate",
            "paradigm": paradigm,
            "backbone": "qwen2.5-vl-7b",
            "data": {"sources": {"generated_images": {"pairs": pairs}}, "held_out": 0},
            "train": {"steps": 0},
            "annotate": {"model": "writer", "endpoint": server.address, "parallel": 2, **settings},
        }
    )


def text_of(body):
    last = body["messages"][-1]["content"]
    return last if isinstance(last, str) else last[-1]["text"]


def test_critiques_of_every_response_are_written_and_join_the_examples(server, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    here = server(lambda body: f"About {body['messages'][1]['content']}")
    context = Context(tmp_path)
    annotate(config(here, "critic"), context)
    assert context.metrics == {"annotate/texts": 24.0, "annotate/unusable": 0.0, "annotate/tries": 1.0}
    found = read_annotations(context.out / FILE)
    for example in generate_pairs(12, 0, split="train"):
        assert [part.critique for part in annotated(example, found).responses] == [f"About {part.text}" for part in example.responses]
    path, headers, body = here.seen[0]
    assert path == "/v1/chat/completions" and headers["Authorization"] == f"Bearer {KEY}"
    assert body["model"] == "writer" and body["temperature"] == 0.0
    assert body["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/png;base64,")
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and KEY in file.read_text(errors="replace")]


def test_reasoning_must_end_in_the_right_answer_and_tries_are_counted(server, tmp_path):
    examples = {example.responses[0].text: example for example in generate_pairs(12, 0, split="train")}
    assert examples
    here = server(lambda body: f"<think>Look.</think><answer>{1 if body['temperature'] == 0 else 2}</answer>")
    context = Context(tmp_path)
    annotate(config(here, "generative_cot", tries=2), context)
    found = read_annotations(context.out / FILE)
    for example in generate_pairs(12, 0, split="train"):
        item = found[example.digest()]
        assert item.texts == {"": "Look."} and item.tries == preferred_slot(example) + 1


def test_what_no_try_could_use_is_counted_and_left_out(server, tmp_path):
    here = server(lambda body: "I cannot decide.")
    context = Context(tmp_path)
    annotate(config(here, "generative_cot", tries=3), context)
    assert context.metrics == {"annotate/texts": 0.0, "annotate/unusable": 12.0, "annotate/tries": 3.0}
    assert len(here.seen) == 36


def test_an_attempt_that_was_stopped_pays_for_nothing_twice(server, tmp_path):
    here = server(lambda body: "Fine.")
    with pytest.raises(Interrupted):
        annotate(config(here, "critic"), Context(tmp_path, stop_after=2))
    paid = len(here.seen)
    assert 0 < paid < 24
    annotate(config(here, "critic"), Context(tmp_path))
    assert len(here.seen) == 24


def ask(server, **settings):
    made = config(server, "critic", **settings)
    return Endpoint(made, made.annotate or AnnotateConfig(), pause=0.0)


def test_what_may_pass_is_tried_again(server):
    here = server(lambda body: "Fine.")
    here.failures = [429, 503, 500]
    assert ask(here).write([Question(generate_pairs(1, 0, split="train")[0], 0)], 1) == ["Fine."]
    assert len(here.seen) == 4 and here.seen[-1][2]["temperature"] == 1.0


@pytest.mark.parametrize(
    ("codes", "error", "words"),
    [([400], TrialFailed, "400"), ([401], EnvironmentFault, r"OPENAI_API_KEY"), ([500] * 6, EnvironmentFault, "did not answer 6 times")],
)
def test_what_does_not_pass_ends_it_with_the_reason(server, codes, error, words):
    here = server(lambda body: "Fine.")
    here.failures = codes
    with pytest.raises(error, match=words):
        ask(here).write([Question(generate_pairs(1, 0, split="train")[0], 0)], 0)


def test_a_model_without_an_address_is_refused(server):
    here = server(lambda body: "Fine.")
    with pytest.raises(EnvironmentFault, match="no address"):
        ask(here, endpoint=None)
