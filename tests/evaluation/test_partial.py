"""A scoring that was stopped goes on where it was, and only where it is the same scoring."""

import json

import pytest

from core.definition.trial import TrialConfig
from core.evaluation import scorer
from core.evaluation.partial import Partial
from core.evaluation.scorer import score_trial
from core.models.judgement import Judgement
from core.models.reward_model import RewardModel, build

VERDICT = Judgement((0, 1), (1.0, None), ("1", "?"), compared=True, order=1, sample=2)


def test_verdicts_are_read_back_and_an_unfinished_line_is_ignored(tmp_path):
    with Partial(tmp_path / "p", {"a": 1}) as first:
        first.add(3, [VERDICT])
    with (tmp_path / "p").open("a") as file:
        file.write('[4, [{"resp')
    with Partial(tmp_path / "p", {"a": 1}) as again:
        assert again.known == {3: [VERDICT]}
        again.add(4, [VERDICT])
    assert [json.loads(line)[0] for line in (tmp_path / "p").read_text().splitlines()[1:]] == [3, 4]


def test_another_scoring_begins_anew(tmp_path):
    with Partial(tmp_path / "p", {"a": 1}) as first:
        first.add(3, [VERDICT])
    with Partial(tmp_path / "p", {"a": 2}) as other:
        assert other.known == {}


def test_a_stopped_scoring_judges_only_what_is_left(tmp_path, monkeypatch):
    config = TrialConfig.model_validate(
        {
            "backbone": "qwen2.5-vl-3b",
            "data": {"sources": {"generated_images": {}}},
            "train": {"steps": 1},
            "rehearsal": {"items": 40},
        }
    )
    (tmp_path / "weights").mkdir()
    build(config.effective()).save(tmp_path / "weights")
    whole = score_trial(tmp_path / "weights", config, {"name": "vl_rewardbench"})
    judge, counted = RewardModel.judge, []

    def counting(self, examples, **more):
        counted.append(len(examples))
        if len(counted) == 2:
            raise KeyboardInterrupt
        return judge(self, examples, **more)

    monkeypatch.setattr(RewardModel, "judge", counting)
    with pytest.raises(KeyboardInterrupt):
        score_trial(tmp_path / "weights", config, {"name": "vl_rewardbench"}, unfinished=tmp_path / "p")
    said = []
    table = score_trial(
        tmp_path / "weights",
        config,
        {"name": "vl_rewardbench"},
        unfinished=tmp_path / "p",
        on_progress=lambda done, total: said.append((done, total)),
    )
    assert counted == [scorer.BATCH, scorer.BATCH, scorer.BATCH, 8] and said[-1] == (40, 40)
    assert table.data.equals(whole.data)
