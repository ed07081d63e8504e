# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The scorer in named actors of a real, local Ray that counts two GPUs; there need not be any."""

import asyncio
import logging
import sys
import time

import pytest
import ray
from ray.exceptions import RayActorError
from support.scorers import (
    ENDING_SCORER,
    NUMBER_SCORER,
    OPTIONS_SCORER,
    PLACE_SCORER,
    picture,
    picture_bytes,
)

from verl_mapo.rewards.scorers.actor import RemoteScorer, start_scorers
from verl_mapo.rewards.scorers.base import build_scorer
from verl_mapo.rewards.scorers.settings import ScorerSettings
from verl_mapo.settings import ConfigError

IMAGE = picture_bytes(0)


@pytest.fixture(scope="module", autouse=True)
def local_ray():
    paths = ":".join(filter(None, sys.path))
    runtime_env = {"env_vars": {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}}
    with pytest.MonkeyPatch.context() as patch:  # inherited by the node and its workers
        patch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
        ray.init(num_cpus=2, num_gpus=2, include_dashboard=False, log_to_driver=False, runtime_env=runtime_env)
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
    (actor,) = start_scorers(settings)
    workers = [Worker.remote(settings) for _ in range(2)]
    ray.get([worker.score.remote(0, 1) for worker in workers])
    before = len(file.read_text().split())
    results = ray.get([worker.score.remote(100 * index, 16) for index, worker in enumerate(workers)])
    assert results == [[float(100 * index + place) for place in range(16)] for index in range(2)]
    sizes = [int(line) for line in file.read_text().split()]
    assert sum(sizes) == 34, "one actor scored the pairs of both workers"
    assert len(sizes) - before < 32, "batches, not pairs, are scored; how many depends on when the pairs come"
    assert ray.get(actor.ready.remote())


def test_actors_belong_to_their_settings():
    options = [{"factor": 1.0}, {"factor": 1.0}, {"factor": 2.0}]
    (here,), (again,), (there,) = (start_scorers(settings_of(kind=OPTIONS_SCORER, options=given)) for given in options)
    assert here._actor_id == again._actor_id != there._actor_id
    assert ray.get([actor.score.remote("label 3", IMAGE) for actor in (here, there)]) == [3.0, 6.0]


def test_clip_scores_the_same_in_an_actor(clip_folder):
    settings = ScorerSettings(model=clip_folder, placement="actor", device="cpu")
    (actor,) = start_scorers(settings)
    score = asyncio.run(RemoteScorer(settings).score("red square", IMAGE))
    assert score == ray.get(actor.score.remote("red square", IMAGE))
    assert score == pytest.approx(build_scorer(settings).score(["red square"], [picture(0)])[0], abs=1e-5)


def score_all(scorer: RemoteScorer, *texts: str) -> list[float | None]:
    async def together() -> list[float | None]:
        return await asyncio.gather(*(scorer.score(text, IMAGE) for text in texts))

    return asyncio.run(together())


def test_replicas_get_one_gpu_each_and_see_all_though_ray_hides_them_from_actors_without_a_share():
    settings = settings_of(kind=PLACE_SCORER, device="cuda", replicas=2)
    actors = start_scorers(settings, training=[2])
    assert ray.available_resources()["GPU"] == 2, "training finds every GPU free"
    assert score_all(RemoteScorer(settings), *["label"] * 4) == [200.0, 201.0, 200.0, 201.0], "in turn"
    assert len(actors) == 2


def test_share_of_a_gpu_beside_training_is_held_and_one_of_training_is_refused():
    settings = settings_of(kind=PLACE_SCORER, num_gpus=0.5)
    with pytest.raises(ConfigError, match=r"num_gpus=0\.5 is refused: 2 GPUs of the Ray cluster are free, training"):
        start_scorers(settings, training=[2])
    actors = start_scorers(settings, training=[1])
    assert score_all(RemoteScorer(settings), "label") == [100.0], "it sees one GPU, which Ray has chosen"
    assert len(actors) == 1


def test_killed_actor_is_restarted_and_a_late_one_leaves_its_pair_unscored(caplog):
    settings = settings_of(max_wait_ms=1000.0)
    (actor,) = start_scorers(settings)
    scorer = RemoteScorer(settings)
    ray.kill(actor, no_restart=False)
    assert score_all(scorer, "label 7") == [7.0]
    scorer.timeout_s = 0.1
    assert score_all(scorer, "label 7") == [None]
    assert "the scorer's actor did not reply within 0.1 s" in caplog.text


def test_pairs_of_dead_actors_go_to_the_others_and_are_unscored_without_any(caplog):
    settings = settings_of(kind=ENDING_SCORER, replicas=3, retries=0, max_wait_ms=0.0)
    actors = start_scorers(settings)  # three, where Ray counts two CPUs: they hold none
    scorer = RemoteScorer(settings)
    start = time.monotonic()
    assert score_all(scorer, "end") == [None], "a pair that ends processes does not end all of them"
    assert "Actor 0 of the scorer's 3 is gone, and 2 are left" in caplog.text
    assert "Actor 1 of the scorer's 3 is gone, and 1 are left" in caplog.text
    assert score_all(scorer, *(f"label {number}" for number in range(16))) == [float(number) for number in range(16)]
    ray.kill(actors[2])
    with pytest.raises(RayActorError):  # it takes a moment to die
        while True:
            ray.get(actors[2].ready.remote())
    assert score_all(scorer, "label 1", "label 2") == [None, None], "missing, not 0"
    assert "Actor 2 of the scorer's 3 is gone, and 0 are left" in caplog.text
    assert "A pair is unscored: no actor that was asked replied; 0 of the scorer's 3 are left." in caplog.text
    assert sum(record.levelno == logging.ERROR for record in caplog.records) == 3, "each loss is told once"
    assert time.monotonic() - start < scorer.timeout_s


def test_scorer_that_cannot_be_built_is_refused():
    http = {"kind": "http", "model": "clip", "url": "http://127.0.0.1:9/v1", "placement": "actor"}
    with pytest.raises(ConfigError, match=r"api_key_env='NO_SUCH_KEY' is not set"):
        start_scorers(ScorerSettings(**http, api_key_env="NO_SUCH_KEY"))


def test_worker_without_the_trainer_of_this_package_is_refused():
    with pytest.raises(ConfigError, match=r"scorer\.placement='actor' needs the trainer of this package"):
        RemoteScorer(settings_of(max_batch=11))


def test_scorer_that_ends_its_process_while_it_loads_is_refused():
    with pytest.raises(ConfigError, match=r"replicas=1 scorers of model=None could not be started: one of them"):
        start_scorers(settings_of(kind=f"{ENDING_SCORER}AtOnce", retries=0))


def test_scorer_that_loads_too_long_is_refused():
    with pytest.raises(ConfigError, match=r"could not be started: not all were ready within 0.001 s"):
        start_scorers(settings_of(max_batch=12), timeout_s=0.001)
