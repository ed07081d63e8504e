# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Fixtures of several folders of tests: tiny models, a picture, a fake queue, and one way to build a trainer."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, Phase, settings
from PIL import Image, ImageDraw

torch.set_num_threads(1)
os.environ.setdefault("RAY_worker_niceness", "0")  # ray's 15 starves its workers where other programs run
yaml.SafeLoader = yaml.CSafeLoader  # with which hydra composes a configuration in three quarters of the time
# How long an example takes depends on what else the machine does. The examples are the same in every run, so that a
# test fails where its code has changed and nowhere else; pytest --hypothesis-profile=search draws new ones.
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", settings.get_profile("search"), derandomize=True)
settings.register_profile(  # of scripts/mutate.py: a failing example is enough
    "mutation", settings.get_profile("same"), database=None, phases=[Phase.explicit, Phase.generate]
)
settings.load_profile("same")

FAMILIES = ("qwen2_5_vl", "qwen3_vl")
ENVIRONMENT = os.environ


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests marked matrix unless ``-m`` speaks of them."""
    if "matrix" not in config.option.markexpr:
        matrix = [item for item in items if item.get_closest_marker("matrix")]
        items[:] = [item for item in items if item not in matrix]
        config.hook.pytest_deselected(items=matrix)


@pytest.fixture(autouse=True)
def same_environment() -> Iterator[None]:
    """Put the object ``os.environ`` back: datasets replaces it by a copy when it works in several processes.

    Libraries that hold the object, as rich does for the width of a terminal, would not see what later tests set.
    """
    os.environ = ENVIRONMENT  # noqa: B003
    yield
    os.environ = ENVIRONMENT  # noqa: B003


@pytest.fixture(scope="module", autouse=True)
def no_ray_is_left() -> Iterator[None]:
    """Fail where a file of tests leaves its process connected to Ray, of which the next file could start none."""
    yield
    ray = sys.modules.get("ray")
    assert ray is None or not ray.is_initialized(), "call ray.shutdown(), and end the threads that call Ray"


@pytest.fixture(scope="session")
def shelf(tmp_path_factory) -> Path:
    """A folder for toys, the same in all workers of this session; ``TEST_TOYS`` names one for several sessions."""
    if "TEST_TOYS" in os.environ:
        return Path(os.environ["TEST_TOYS"])
    own = tmp_path_factory.getbasetemp()
    return (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "toys"


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory) -> dict[str, SimpleNamespace]:
    """Tokenizer, processor and model type of each family, from folders with untrained weights."""
    from verl.utils import hf_processor, hf_tokenizer

    from verl_mapo.toy.tiny_vlm import build_model, build_processor, save

    models = {}
    for family in (*FAMILIES, "qwen3_5"):
        folder = tmp_path_factory.mktemp(family)
        processor = build_processor(family)
        save(build_model(family, processor.tokenizer, seed=0), processor, folder)
        models[family] = SimpleNamespace(
            folder=folder,
            model_type=family,
            tokenizer=hf_tokenizer(str(folder)),
            processor=hf_processor(str(folder)),
        )
    return models


@pytest.fixture(params=FAMILIES)
def model(request, tiny_models) -> SimpleNamespace:
    return tiny_models[request.param]


@pytest.fixture(scope="session")
def released_models(shelf) -> dict[str, SimpleNamespace]:
    """The released families by name, see :mod:`support.released`; the first worker that asks writes the folders."""
    from support.released import load_all

    return load_all(shelf / "released")


@pytest.fixture(scope="session")
def picture(tmp_path_factory) -> str:
    """Path of a 448 x 300 picture with a red square at (60, 40, 120, 100)."""
    image = Image.new("RGB", (448, 300), (230, 230, 240))
    ImageDraw.Draw(image).rectangle((60, 40, 119, 99), fill=(200, 30, 30))
    path = tmp_path_factory.mktemp("pictures") / "square.png"
    image.save(path)
    return str(path)


@pytest.fixture
def queue(monkeypatch):
    """The queue that the trainers of a test read and write."""
    from support.fake_queue import FakeQueue

    fake = FakeQueue()
    fake.install(monkeypatch)
    return fake


@pytest.fixture
def make_trainer() -> Callable[..., Any]:
    """A trainer of a configuration on top of one of verl's; nothing of verl is started."""
    from support.scripted import compose_config
    from verl.trainer.ppo.v1 import PPOTrainer

    from verl_mapo.training.trainer import VisualTrainer

    def make(*overrides: str, config: Any = None, stock: type = PPOTrainer, **attributes: Any) -> VisualTrainer:
        kind = type("Trainer", (VisualTrainer, stock), {"on_step_end": None, "on_sample_end": None})
        trainer = kind.__new__(kind)
        trainer.config = compose_config(*overrides) if config is None else config
        trainer.use_methods(trainer.config)
        defaults = {"global_steps": 7, "use_reference_policy": False, "parameter_sync_step": 1}
        trainer.__dict__.update(defaults | attributes)
        return trainer

    return make
