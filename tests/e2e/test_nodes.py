# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A real run in a Ray cluster of two nodes, which are on one machine: a rank, an engine and workers on each."""

from __future__ import annotations

import re
import time

import pytest
import ray
from ray._private import state
from support.ray_nodes import ray_cluster
from support.real_run import PROMPTS, code_of, metrics_of, rollouts_of, start, toy_overrides, train

from verl_mapo.cluster import OF_OWN_RAY
from verl_mapo.platforms import cpu
from verl_mapo.run_folder import RunFolder

pytestmark = [pytest.mark.e2e, pytest.mark.matrix]

NODE = {"num_cpus": 16, "num_gpus": 1, "object_store_memory": 500_000_000}
ON_BOTH = ("WorkerDict", "HttpServer", "AgentLoopWorker", "RewardLoopWorker", "StorageUnit")
"""Parts of the names of the actors of which each node must have one."""


@pytest.fixture
def cluster(monkeypatch):
    for name, value in cpu.environment().items():
        monkeypatch.setenv(name, value)
    with ray_cluster(**NODE) as nodes:
        monkeypatch.setenv("RAY_ADDRESS", nodes.address)
        yield nodes


def places(address: str) -> dict[str, set[str]]:
    """The nodes on which actors of these names have been, by part of the name."""
    ray.init(address, log_to_driver=False, include_dashboard=False)
    try:
        actors = [*state.actors().values()]
    finally:
        ray.shutdown()
    return {
        part: {actor["Address"]["NodeID"] for actor in actors if part in actor["ActorClassName"]} for part in ON_BOTH
    }


def test_run_on_two_nodes_trains_goes_on_and_ends_when_a_node_dies(cluster, toy, tmp_path):
    other = cluster.add_node(**NODE)
    overrides = [
        *toy_overrides(toy),
        *(f"ray_kwargs.ray_init.{name}=null" for name in OF_OWN_RAY[:3]),
        "trainer.nnodes=2",
        "trainer.save_freq=1",
        "actor_rollout_ref.rollout.agent.num_workers=2",
        "reward.num_workers=2",
        "transfer_queue.backend.SimpleStorage.num_data_storage_units=2",
    ]
    train(tmp_path, overrides)
    assert all(len(nodes) == 2 for nodes in places(cluster.address).values())
    attempt = start(tmp_path, [*overrides, "trainer.total_training_steps=9"])
    while 3 not in metrics_of(tmp_path):
        assert attempt.poll() is None
        time.sleep(0.5)
    cluster.remove_node(other, allow_graceful=False)
    killed = time.monotonic()
    assert code_of(attempt) != 0
    print(f"\na node that dies: the run ended after {time.monotonic() - killed:.0f} s")
    said = RunFolder(tmp_path).log.read_text(errors="replace")
    assert re.search(r"verl-mapo: \S+ \(pid \d+ on node \S+, which is dead itself\) died", said), said[-4000:]
    for step in (1, 2, 3):
        metrics = metrics_of(tmp_path)[step]
        assert metrics["training/rollout_probs_diff_max"] < 1e-3, step
        assert metrics["actor/grad_norm"] > 0
        assert len(rollouts_of(tmp_path, step)) == 8 * PROMPTS
