# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The scorer in a named actor of a real, local Ray."""

import asyncio
import sys

import pytest
import ray
from support.scorers import NUMBER_SCORER, OPTIONS_SCORER, picture, picture_bytes

from verl_mapo.rewards.scorers.actor import RemoteScorer, scorer_actor, start_actor
from verl_mapo.rewards.scorers.base import build_scorer
from verl_mapo.rewards.scorers.settings import ScorerSettings
from verl_mapo.settings import ConfigError

pytestmark = pytest.mark.ray
IMAGE = picture_bytes(0)


@pytest.fixture(scope="module", autouse=True)
def local_ray():
    paths = ":".join(filter(None, sys.path))
    runtime_env = {"env_vars": {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}}
    ray.init(num_cpus=2, num_gpus=0, include_dashboard=False, log_to_driver=False, runtime_env=runtime_env)
    yield
    ray.shutdown()


def settings_of(**settings) -> ScorerSettings:
    return ScorerSettings(**{"kind": NUMBER_SCORER, "placement": "actor", "max_wait_ms": 100.0, **settings})


@ray.remote(num_cpus=0)
class Worker:
    """Scores pairs as a reward worker does."""

    def __init__(self, settings: ScorerSettings):
        self.scorer = RemoteScorer(settings)

    async def score(self, start: int, count: int) -> list[float | None]:
        calls = (self.scorer.score(f"label {start + index}", IMAGE) for index in range(count))
        return list(await asyncio.gather(*calls))


def test_workers_share_one_actor_and_its_batches(tmp_path):
    file = tmp_path / "batches.txt"
    options = {"batches_file": str(file)}
    settings = settings_of(kind=OPTIONS_SCORER, options=options, max_batch=32, max_wait_ms=1000.0)
    actor = start_actor(settings)
    workers = [Worker.remote(settings) for _ in range(2)]
    ray.get([worker.score.remote(0, 1) for worker in workers])
    before = len(file.read_text().split())
    results = ray.get([worker.score.remote(100 * index, 16) for index, worker in enumerate(workers)])
    assert results == [[float(100 * index + place) for place in range(16)] for index in range(2)]
    sizes = [int(line) for line in file.read_text().split()]
    assert sum(sizes) == 34, "one actor scored the pairs of both workers"
    assert len(sizes) - before < 32, "batches, not pairs, are scored; how many depends on when the pairs come"
    assert ray.get(actor.ready.remote())


def test_each_settings_object_has_its_own_actor():
    here, again, there = (scorer_actor(settings_of(max_batch=size)) for size in (3, 3, 4))
    assert here._actor_id == again._actor_id != there._actor_id


def test_actor_name_depends_on_the_options():
    once, twice = (scorer_actor(settings_of(kind=OPTIONS_SCORER, options={"factor": size})) for size in (1.0, 2.0))
    assert once._actor_id != twice._actor_id
    assert ray.get(once.score.remote("label 3", IMAGE)) == 3.0
    assert ray.get(twice.score.remote("label 3", IMAGE)) == 6.0


def test_clip_scores_the_same_in_an_actor(clip_folder):
    settings = ScorerSettings(model=clip_folder, placement="actor", device="cpu")
    actor = start_actor(settings)
    score = asyncio.run(RemoteScorer(settings).score("red square", IMAGE))
    assert score == ray.get(actor.score.remote("red square", IMAGE))
    assert score == pytest.approx(build_scorer(settings).score(["red square"], [picture(0)])[0], abs=1e-5)


def test_killed_actor_is_restarted():
    settings = settings_of(max_batch=5)
    actor = start_actor(settings)
    ray.kill(actor, no_restart=False)
    assert asyncio.run(RemoteScorer(settings).score("label 7", IMAGE)) == 7.0


def test_pairs_are_unscored_after_the_actor_has_ended(caplog):
    scorer = RemoteScorer(settings_of(max_batch=6))
    assert asyncio.run(scorer.score("label 7", IMAGE)) == 7.0
    ray.kill(scorer.handle)
    assert asyncio.run(scorer.score("label 7", IMAGE)) is None
    assert "A pair is unscored: the scorer's actor is gone" in caplog.text


def test_scorer_that_cannot_be_built_is_refused_by_driver_and_worker():
    scorer = RemoteScorer(
        ScorerSettings(
            kind="http", model="clip", url="http://127.0.0.1:9/v1", placement="actor", api_key_env="NO_SUCH_KEY"
        )
    )
    with pytest.raises(ConfigError, match=r"api_key_env='NO_SUCH_KEY' is not set"):
        start_actor(scorer.settings)
    with pytest.raises(ConfigError, match=r"api_key_env='NO_SUCH_KEY' is not set"):
        asyncio.run(scorer.score("label 1", IMAGE))


def test_gpu_share_that_no_node_has_is_refused():
    with pytest.raises(ConfigError, match=r"scorer\.num_gpus=0\.5 is refused: no scorer was ready within 1 s"):
        start_actor(settings_of(num_gpus=0.5), timeout_s=1.0)
