import pytest
import torch

from core.definition.trial import TrialConfig
from core.models.reward_model import build


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def twin_config(**change):
    base = {
        "backbone": "qwen2.5-vl-3b",
        "data": {"sources": {"generated_images": {}}},
        "train": {"steps": 1},
        "rehearsal": {},
    }
    return TrialConfig.model_validate({**base, **change}).effective()


@pytest.fixture(scope="session")
def twin():
    return build(twin_config()).eval()


@pytest.fixture(scope="session")
def make_config():
    return twin_config
