# Copyright 2026 The verl_mapo authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""The scorer in a named actor of a real, local Ray."""

import asyncio
import sys
from pathlib import Path

import pytest
import ray
from scorer_support import LengthScorer, crop_bytes, picture

from verl_mapo.rewards.scorers.actor import RemoteScorer, scorer_actor, start_actor
from verl_mapo.rewards.scorers.base import build_scorer
from verl_mapo.rewards.settings import ScorerSettings
from verl_mapo.settings import ConfigError

pytestmark = pytest.mark.ray
CROP = crop_bytes(0)
OWN = f"{LengthScorer.__module__}.{LengthScorer.__name__}"


@pytest.fixture(scope="module", autouse=True)
def local_ray():
    paths = ":".join([str(Path(__file__).parent), *filter(None, sys.path)])
    runtime_env = {"env_vars": {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}}
    ray.init(num_cpus=2, num_gpus=0, include_dashboard=False, log_to_driver=False, runtime_env=runtime_env)
    yield
    ray.shutdown()


def settings_of(**options) -> ScorerSettings:
    return ScorerSettings(**{"kind": OWN, "placement": "actor", "max_wait_ms": 100.0, **options})


@ray.remote(num_cpus=0)
class Worker:
    """What a reward worker does with it."""

    def __init__(self, settings: ScorerSettings):
        self.scorer = RemoteScorer(settings)

    async def score(self, start: int, count: int) -> tuple[list[float | None], dict[str, int]]:
        calls = (self.scorer.score(f"label {start + index}", CROP) for index in range(count))
        return list(await asyncio.gather(*calls)), dict(self.scorer.counts)


def test_workers_share_one_actor_and_its_batches():
    settings = settings_of(max_batch=32)
    actor = start_actor(settings)
    workers = [Worker.remote(settings) for _ in range(2)]
    ray.get([worker.score.remote(0, 1) for worker in workers])
    before = ray.get(actor.counts.remote())["batches"]
    results = ray.get([worker.score.remote(100 * index, 16) for index, worker in enumerate(workers)])
    for index, (scores, counts) in enumerate(results):
        assert scores == [float(100 * index + place) for place in range(16)]
        assert counts == {"scored": 17}
    counts = ray.get(actor.counts.remote())
    assert counts["scored"] == 34
    assert counts["batches"] - before <= 4


def test_other_settings_are_another_actor():
    here, again, there = (scorer_actor(settings_of(max_batch=size)) for size in (3, 3, 4))
    assert here._actor_id == again._actor_id != there._actor_id


def test_a_real_clip_scores_the_same_in_an_actor(clip_folder):
    settings = ScorerSettings(model=clip_folder, placement="actor", device="cpu")
    actor = start_actor(settings)
    score = asyncio.run(RemoteScorer(settings).score("red square", CROP))
    assert ray.get(actor.counts.remote())["scored"] == 1
    assert score == pytest.approx(build_scorer(settings).score(["red square"], [picture(0)])[0], abs=1e-5)


def test_an_actor_that_dies_comes_back():
    settings = settings_of(max_batch=5)
    actor = start_actor(settings)
    ray.kill(actor, no_restart=False)
    assert asyncio.run(RemoteScorer(settings).score("label 7", CROP)) == 7.0


def test_an_actor_that_is_gone_leaves_pairs_unscored():
    scorer = RemoteScorer(settings_of(max_batch=6))
    assert asyncio.run(scorer.score("label 7", CROP)) == 7.0
    ray.kill(scorer.handle)
    assert asyncio.run(scorer.score("label 7", CROP)) is None
    assert scorer.counts == {"scored": 1, "failed": 1}


def test_a_scorer_that_cannot_be_built_is_a_sentence_everywhere():
    scorer = RemoteScorer(
        ScorerSettings(
            kind="http", model="clip", url="http://127.0.0.1:9/v1", placement="actor", api_key_env="NO_SUCH_KEY"
        )
    )
    with pytest.raises(ConfigError, match=r"api_key_env='NO_SUCH_KEY' is not set"):
        start_actor(scorer.settings)
    with pytest.raises(ConfigError, match=r"api_key_env='NO_SUCH_KEY' is not set"):
        asyncio.run(scorer.score("label 1", CROP))


def test_a_gpu_that_nobody_has_stops_the_start_with_a_sentence():
    with pytest.raises(ConfigError, match=r"scorer\.num_gpus=0\.5 is refused: no scorer was ready within 1 s"):
        start_actor(settings_of(num_gpus=0.5), timeout_s=1.0)
