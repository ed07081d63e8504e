# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The watch of the actors: scripted, and with dead actors in a cluster that was there before and in the run's own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import nullcontext
from unittest.mock import Mock

import pytest
import ray
from omegaconf import OmegaConf
from support.ray_nodes import ray_cluster
from support.scripted import compose_config

from verl_mapo import cluster
from verl_mapo.cluster import METRICS_FILE, OF_OWN_RAY, TrainerHere, check_ray_settings, watch
from verl_mapo.driver_threads import THREADS
from verl_mapo.launcher import WORKER_DIED
from verl_mapo.settings import ConfigError

CONNECTED = """
import sys, threading, time
import ray
from verl_mapo import cluster
cluster.POLL_S = 0.1
cluster.watch.__defaults__ = (0.3,)
ray.init(sys.argv[1], log_to_driver=False, include_dashboard=False)
"""

RUN = """
class Actor:
    def pid(self):
        import os
        return os.getpid()

    def die(self):
        import os
        os._exit(1)

@ray.remote(num_cpus=0)
class WorkerDict(Actor):
    pass

@ray.remote(num_cpus=0)
class NotNeeded(Actor):
    pass

@ray.remote(num_cpus=0)
class TaskRunner:
    def pid(self):
        self.owned = WorkerDict.remote()
        return ray.get(self.owned.pid.remote())

cluster.watch_cluster()
released = [WorkerDict.remote(), TaskRunner.remote()]
print(*ray.get([actor.pid.remote() for actor in released]), flush=True)
del released
while len(cluster.state.actors(actor_state_name="DEAD")) < 3:
    time.sleep(0.1)
time.sleep(0.5)
for kind in (NotNeeded, WorkerDict):
    kind.remote().die.remote()
threading.Event().wait()
"""

RUN_ON_ANOTHER_NODE = """
@ray.remote(num_cpus=0, resources={"other": 1})
class WorkerDict:
    def node(self):
        return ray.get_runtime_context().get_node_id()

cluster.watch_cluster()
worker = WorkerDict.remote()
print(ray.get(worker.node.remote()), flush=True)
threading.Event().wait()
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(cluster, "POLL_S", 0.0)


def test_settings_of_an_own_ray_are_refused_exactly_where_a_run_joins_a_cluster(monkeypatch):
    cpu = compose_config("stack=cpu")
    joining = compose_config("stack=cpu", *(f"ray_kwargs.ray_init.{name}=null" for name in OF_OWN_RAY[:3]))
    for address in ("10.0.0.1:6379", "local"):
        monkeypatch.setenv("RAY_ADDRESS", address)
        check_ray_settings(joining)
    check_ray_settings(cpu)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(ConfigError) as error:
        check_ray_settings(cpu)
    words = str(error.value)
    assert "ray_kwargs.ray_init.num_gpus=null" in words and words.startswith(
        "ray_kwargs.ray_init.num_cpus=16, ray_kwargs.ray_init.num_gpus=1, "
    )
    assert "would join the Ray cluster at 10.0.0.1:6379" in words and "RAY_ADDRESS=local" in words


@pytest.mark.parametrize("name", OF_OWN_RAY)
def test_what_ray_refuses_in_a_cluster_is_refused(name, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    value = {"a": 1} if name in ("resources", "labels", "_system_config") else 1
    given = {"address": "10.0.0.1:6379", name: value}
    with pytest.raises(ValueError, match=r"must not be provided|cannot be configured"):
        ray.init(**given)
    ray.shutdown()
    with pytest.raises(ConfigError, match="or ray_kwargs.ray_init.address=local to start another Ray"):
        check_ray_settings(OmegaConf.create({"ray_kwargs": {"ray_init": given}}))


@pytest.mark.parametrize(
    ("address", "refused"),
    [("garbage", True), (" local", True), ("10.0.0.1:99999", True), ("ray://10.0.0.1:10001", False)],
)
def test_address_that_is_none_is_refused_and_ray_client_is_left_to_ray(address, refused, monkeypatch):
    for variable, given in ((address, {}), ("", {"address": address})):
        monkeypatch.setenv("RAY_ADDRESS", variable)
        config = OmegaConf.create({"ray_kwargs": {"ray_init": {"num_cpus": 1, **given}}})
        with pytest.raises(ConfigError, match="give HOST:PORT") if refused else nullcontext():
            check_ray_settings(config)


@pytest.mark.parametrize("value", [None, 3])
def test_settings_of_ray_that_are_no_node_are_refused(value):
    with pytest.raises(ConfigError, match=rf"ray_kwargs\.ray_init={value or 'null'} is refused: it holds several"):
        check_ray_settings(OmegaConf.create({"ray_kwargs": {"ray_init": value}}))


def test_run_is_stopped_when_an_actor_stays_dead(capsys):
    answers, stopped = iter([[], [], ["WorkerDict (pid 7 on node 10.0.0.2) died: no heartbeat"]]), []
    watch(lambda: next(answers), stopped.append, grace_s=0.0)
    said = "WorkerDict (pid 7 on node 10.0.0.2) died: no heartbeat"
    assert stopped == [f"stopped: {said}, and verl was still waiting 0 seconds later."]
    assert capsys.readouterr().err == f"verl-mapo: {said}.\n"


def test_watch_ends_with_the_connection_to_ray_and_starts_no_other_ray():
    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    thread = cluster.watch_cluster()
    ray.shutdown()
    thread.join(timeout=60)
    assert not thread.is_alive() and not ray.is_initialized()
    watch(iter([[], None]).__next__, pytest.fail)


def test_silence_of_ray_is_said_once_and_does_not_stop_the_run(capsys):
    answers, stopped = (
        iter([ConnectionError("no connection.\nmore"), ConnectionError("again"), ["WorkerDict died"]]),
        [],
    )

    def dead():
        if isinstance(answer := next(answers), Exception):
            raise answer
        return answer

    watch(dead, stopped.append, grace_s=0.0)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and "(no connection): none is seen until it does" in lines[0]
    assert len(stopped) == 1


def test_dead_actor_of_a_cluster_that_was_there_before_ends_the_run_and_the_trainer_is_on_its_node(monkeypatch):
    paths = ":".join(filter(None, sys.path))
    monkeypatch.setenv(METRICS_FILE, "/run/metrics/000.jsonl")
    monkeypatch.setenv(THREADS, "3")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    context = ray.init(
        "local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": paths, "KEPT": "1"}},
    )
    try:

        @ray.remote
        class Trainer:
            def place(self):
                node = ray.get_runtime_context().get_node_id()
                return node, os.environ[METRICS_FILE], os.environ["KEPT"], os.environ[THREADS]

        started = Mock(wraps=Trainer)
        trainer = TrainerHere(started).options(runtime_env={}).remote()
        here = ray.get_runtime_context().get_node_id()
        strategy = started.options.call_args.kwargs.get("scheduling_strategy")
        assert strategy is not None and (strategy.node_id, strategy.soft) == (here, False)
        assert ray.get(trainer.place.remote()) == (here, "/run/metrics/000.jsonl", "1", "3")
        address = context.address_info["gcs_address"]
        done = run_with_a_dead_actor(address)
    finally:
        ray.shutdown()
    lines = stopped_for_the_dead_actor(done)
    assert f"in the Ray cluster at {address}, job " in lines[0]


def test_actor_that_dies_before_the_launcher_has_seen_it_ends_the_run_in_its_own_cluster():
    lines = stopped_for_the_dead_actor(run_with_a_dead_actor("local"))
    assert not any("in the Ray cluster at" in line for line in lines)


def test_dead_node_ends_the_run_and_is_named_as_dead():
    with ray_cluster(num_cpus=1) as nodes:
        other = nodes.add_node(num_cpus=1, resources={"other": 1})
        run = start(RUN_ON_ANOTHER_NODE, nodes.address)
        assert run.stdout.readline().strip() == other.node_id
        nodes.remove_node(other, allow_graceful=False)
        _, said = run.communicate(timeout=100)
    assert run.returncode == WORKER_DIED, said
    assert re.search(r"verl-mapo: stopped: \S*WorkerDict \(pid \d+ on node \S+, which is dead itself\) died: ", said), (
        said
    )


def start(script: str, address: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": ":".join(filter(None, sys.path))}
    command = [sys.executable, "-c", CONNECTED + script, address]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run_with_a_dead_actor(address: str) -> subprocess.CompletedProcess[str]:
    run = start(RUN, address)
    written = run.communicate()
    return subprocess.CompletedProcess(run.args, run.returncode, *written)


def stopped_for_the_dead_actor(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Check how the run ended; returns the sentences."""
    assert done.returncode == WORKER_DIED, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("verl-mapo: ")]
    assert lines[-1].startswith("verl-mapo: stopped: ") and "WorkerDict (pid " in lines[-1] and " on node " in lines[-1]
    assert "and verl was still waiting" in lines[-1] and "NotNeeded" not in done.stderr
    for pid in done.stdout.splitlines()[0].split():
        assert f"pid {pid} " not in done.stderr, "the owner of that actor released it, or was released itself"
    return lines
