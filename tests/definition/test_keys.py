"""What describes the language to people and editors: the list of keys, the JSON Schema, the starting file; and its lightness."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from core.definition import expand, load
from core.definition.fields import role_of
from core.definition.json_schema import json_schema
from core.definition.keys import keys
from core.definition.template import starting_file
from core.definition.trial import TrialConfig
from core.errors import UsageError

SHIPPED = Path(__file__).resolve().parents[2] / "sweeps"


def test_every_key_has_type_and_documentation() -> None:
    found = {key.path: key for key in keys()}
    for key in found.values():
        assert key.type
        assert key.doc, key.path
    head = found["head.layers"]
    assert (head.type, head.unit, head.default, head.role) == ("integer, 1 to 5", "layers", 2, "identity")
    assert "Table 2" in str(head.source)
    assert found["head.activation"].type == "none | tanh | silu | relu | gelu"
    assert found["backbone.path"].role == "place"
    assert found["execution.micro_batch"].role == "execution"
    assert found["grid"].role is None
    assert {"data.sources.<name>.cap", "loss.bradley_terry.weight", "resources.score.gpus", "evaluate[].frames", "seeds"} <= set(found)
    assert "(of generated_images)" in found["data.sources.<name>.images"].doc
    assert not {"seed", "rehearsal"} & set(found)


def test_every_field_of_a_trial_declares_its_role() -> None:
    for field in TrialConfig.model_fields.values():
        role_of(field)
    described = [key for key in keys() if key.path.split(".")[0] in TrialConfig.model_fields]
    assert all(key.role in ("identity", "execution", "place") for key in described)


def test_keys_below_a_path_and_through_a_name_of_the_users() -> None:
    assert [key.path for key in keys("loss.bradley_terry")] == ["loss.bradley_terry.weight"]
    assert [key.path for key in keys("data.sources.mine.cap")] == ["data.sources.<name>.cap"]
    with pytest.raises(UsageError) as caught:
        keys("optim.lrr")
    assert caught.value.nearest == "optim.lr"


class Editor(yaml.SafeLoader):
    """Reads as editors do, by YAML 1.2: `on` and `no` are texts."""


Editor.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:bool" or first in "tTfF"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read(text: str) -> Any:
    return yaml.load(text, Loader=Editor)


def test_the_json_schema_accepts_every_shipped_definition_and_the_starting_file() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    files = sorted(SHIPPED.glob("*.yaml"))
    assert len(files) >= 2
    for file in files:
        assert [error.message for error in validator.iter_errors(read(file.read_text()))] == []
    assert [error.message for error in validator.iter_errors(read(starting_file("mine")))] == []
    json.dumps(schema)


@pytest.mark.parametrize(
    "text",
    [
        "version: 1\n",
        "version: 2\nname: x\n",
        "version: 1\nname: x\nvalidaton: {}\n",
        "version: 1\nname: x\ntrial: {haed: {}}\n",
        "version: 1\nname: x\ntrial: {head: {activation: sillu}}\n",
        "version: 1\nname: x\ntrial: {head: {layers: 9}}\n",
        "version: 1\nname: x\ntrial: {data: {sources: {a: {capp: 1}}}}\n",
        "version: 1\nname: x\ntrial: {loss: {bradley_tery: {}}}\n",
        "version: 1\nname: x\ntrial: {optim: {lr: fast}}\n",
        "version: 1\nname: x\nevaluate: [vl_rewardbnch]\n",
        "version: 1\nname: x\nreported: [{source: s, metrcs: []}]\n",
    ],
)
def test_the_json_schema_refuses_what_an_editor_should_underline(text: str) -> None:
    assert list(jsonschema.Draft202012Validator(json_schema()).iter_errors(read(text)))


def test_the_starting_file_loads_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(starting_file("mine"))
    definition = load(path, search=[SHIPPED])
    assert definition.name == definition.project == "mine"
    assert expand(definition).counts == {"cells": 3, "trials": 3, "excluded": 0, "merged": 1}
    assert expand(definition).warnings == []


def test_what_the_starting_file_comments_out_loads_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    lines = starting_file("mine").splitlines()
    opened = [
        line.replace("# ", "", 1)
        if line.lstrip().startswith(("# seeds", "# validation", "# evaluate", "# checkpoint", "# resources", "# optim"))
        else line
        for line in lines
    ]
    assert opened != lines
    path.write_text("\n".join(opened))
    assert expand(load(path, search=[SHIPPED])).counts["cells"] == 9


def test_a_name_that_no_sweep_can_have_is_refused() -> None:
    with pytest.raises(UsageError):
        starting_file("a/b")


def test_planning_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "import core.definition\n"
        "assert 'pydantic' not in sys.modules and 'omegaconf' not in sys.modules, 'the package itself is lazy'\n"
        "from core.definition import expand, load, why\n"
        f"definition = load(Path({str(SHIPPED / 'head_ablation.yaml')!r}))\n"
        "assert sum(1 for _ in expand(definition).trials()) == 7\n"
        "why(definition, {})\n"
        "import core.definition.json_schema, core.definition.template\n"
        "heavy = [name for name in ('torch', 'transformers', 'mlflow', 'pandas', 'sqlalchemy') if name in sys.modules]\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=SHIPPED.parent, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
