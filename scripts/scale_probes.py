# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What scripts/bench_scale.py reads of the processes of a run: CPU times, steps of event loops, rows of the queue."""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import time
from collections import defaultdict
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil


class Phases:
    """CPU and elapsed seconds and bytes of the trainer's process, by phase. An inner phase is no part of the outer."""

    def __init__(self) -> None:
        self.bytes = 0
        self.clear()

    def clear(self) -> None:
        """Forget all phases."""
        self.found: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0, 0.0])
        self.open, self.mark = ["between"], self._now()

    def _now(self) -> list[float]:
        return [time.process_time(), time.monotonic(), float(self.bytes)]

    def settle(self) -> None:
        now = self._now()
        for place, (then, value) in enumerate(zip(self.mark, now, strict=True)):
            self.found[self.open[-1]][place] += value - then
        self.mark = now

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what happens inside the block for this phase."""
        self.settle()
        self.open.append(name)
        try:
            yield
        finally:
            self.settle()
            self.open.pop()
            self.found[name][3] += 1

    def wrap(self, owner: Any, attribute: str, name: str) -> None:
        """Make every call of a function a phase."""
        function = getattr(owner, attribute)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.phase(name):
                return function(*args, **kwargs)

        setattr(owner, attribute, timed)

    def count_bytes(self) -> None:
        """Count what TransferQueue's client in this process sends and receives."""
        import zmq.asyncio

        kind = zmq.asyncio.Socket
        send, receive = kind.send_multipart, kind.recv_multipart

        def add(frames: Any) -> None:
            self.bytes += sum(memoryview(frame).nbytes for frame in frames)

        def counted_send(socket: Any, frames: Any, *args: Any, **kwargs: Any) -> Any:
            add(frames)
            return send(socket, frames, *args, **kwargs)

        def counted_receive(socket: Any, *args: Any, **kwargs: Any) -> Any:
            future = receive(socket, *args, **kwargs)
            future.add_done_callback(lambda done: None if done.cancelled() or done.exception() else add(done.result()))
            return future

        kind.send_multipart, kind.recv_multipart = counted_send, counted_receive


class Timed(Coroutine):
    """A coroutine whose steps are timed: during a step, all other coroutines of its event loop wait."""

    longest = collection = began = 0.0
    """CPU seconds of the longest step, and of the longest garbage collection."""

    def __init__(self, inner: Any):
        self.inner = inner

    def send(self, value: Any) -> Any:
        """Run one step."""
        start = time.thread_time()
        try:
            return self.inner.send(value)
        finally:
            Timed.longest = max(Timed.longest, time.thread_time() - start)

    def throw(self, *args: Any) -> Any:
        """Raise an exception inside."""
        return self.inner.throw(*args)

    def close(self) -> None:
        """End it."""
        self.inner.close()

    def __await__(self) -> Any:
        return self.inner.__await__()

    @classmethod
    def collect(cls, phase: str, _: dict[str, int]) -> None:
        """Time a garbage collection; a callback of Python's collector."""
        if phase == "start":
            cls.began = time.thread_time()
        else:
            cls.collection = max(cls.collection, time.thread_time() - cls.began)


class StepTimes:
    """Methods that an agent-loop worker gets beside its own, to time the steps of its event loop."""

    async def time_steps(self) -> None:
        """Time all steps and collections from now on."""

        def make(loop: Any, coroutine: Any, **options: Any) -> asyncio.Task:
            return asyncio.Task(Timed(coroutine), loop=loop, **options)

        asyncio.get_running_loop().set_task_factory(make)
        gc.callbacks.append(Timed.collect)

    async def longest_step(self) -> tuple[float, float]:
        """CPU seconds of the longest step, and of the longest collection, since the last call."""
        longest = Timed.longest, Timed.collection
        Timed.longest = Timed.collection = 0.0
        return longest


def held(unit: Any, image_token: int) -> dict[str, Any]:
    """What a storage unit holds: bytes by field, rows, tokens, image tokens; runs inside the actor."""
    import torch

    owned: dict[int, int] = {}

    def size(value: Any) -> int:
        if isinstance(value, torch.Tensor):
            owned[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
            return value.nbytes
        if isinstance(value, dict) and any(isinstance(part, torch.Tensor) for part in value.values()):
            return sum(map(size, value.values()))
        return len(pickle.dumps(value))

    data = unit.storage_data.field_data
    fields = {name: sum(map(size, column.values())) for name, column in data.items()}
    ids = list(data.get("input_ids", {}).values())
    features = data.get("multi_modal_inputs", {}).values()
    return {
        "fields": fields,
        "rows": len(ids),
        "tokens": sum(map(len, ids)),
        "response": sum(map(len, data.get("responses", {}).values())),
        "image_tokens": sum(int((row == image_token).sum()) for row in ids),
        "pixels": sum(row["pixel_values"].nbytes for row in features if "pixel_values" in row),
        "owned": sum(owned.values()),
    }


def actors() -> dict[int, str]:
    """The class of each living actor, by process."""
    from ray._private import state

    alive = (actor for actor in state.actors().values() if actor["State"] == "ALIVE")
    found = {actor["Pid"]: actor["ActorClassName"] for actor in alive}
    for child in psutil.Process().children(recursive=True):
        if child.name() in ("raylet", "gcs_server"):
            found[child.pid] = child.name()
    return {**found, os.getpid(): "trainer"}


def usage(kinds: dict[int, str]) -> dict[int, dict[int, float]]:
    """CPU seconds of each process (under 0) and of each of its threads."""
    found = {}
    for pid in kinds:
        process = psutil.Process(pid)
        threads = {thread.id: thread.user_time + thread.system_time for thread in process.threads()}
        found[pid] = {0: sum(process.cpu_times()[:2]), **threads}
    return found


def used(before: dict[int, dict[int, float]], after: dict[int, dict[int, float]], kinds: dict[int, str]) -> dict:
    """By kind: number of processes, CPU seconds of all, of the busiest one, and of its busiest thread."""
    found: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(("count", "all", "most", "thread"), 0.0))
    for pid, kind in kinds.items():
        spent = {thread: value - before[pid].get(thread, 0.0) for thread, value in after[pid].items()}
        total = spent.pop(0)
        entry = found[kind]
        entry["count"] += 1
        entry["all"] += total
        entry["most"] = max(entry["most"], total)
        entry["thread"] = max(entry["thread"], *spent.values())
    return dict(found)


def peak_mb(pid: int) -> float:
    """Largest resident set of a process so far, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6


def watch_phases(phases: Phases, trainer: Any) -> None:
    """Name the phases of a step of the trainer: verl's, and this package's inside them."""
    import transfer_queue as tq
    from verl.trainer.ppo.v1 import PPOTrainer

    from verl_mapo.training import trainer as module

    phases.wrap(trainer, "_next_train_batch", "dataloader")
    phases.wrap(trainer, "_submit_batch_to_rollout", "request")
    phases.wrap(trainer.replay_buffer, "_sync_metadata_from_transfer_queue", "poll")
    phases.wrap(trainer.replay_buffer, "sample", "sample")
    phases.wrap(PPOTrainer, "_balance_batch", "balance")
    phases.wrap(trainer, "_balance_batch", "stratify (ours)")
    phases.wrap(trainer.actor_rollout_wg, "compute_log_prob", "dispatch of log-probs")
    phases.wrap(PPOTrainer, "_compute_old_log_prob", "log-probs")
    phases.wrap(trainer, "_fetch", "fetch (ours)")
    phases.wrap(PPOTrainer, "_compute_advantage", "advantage")
    for method in trainer.methods:
        for hook in ("before_advantage", "advantages", "after_advantage"):
            phases.wrap(method, hook, "methods (ours)")
        phases.wrap(method, "metrics", "metrics (ours)")
    for name in ("check_errors", "check_unreadable", "check_tokens"):
        phases.wrap(module, name, "checks (ours)")
    phases.wrap(module, "rollout_metrics", "metrics (ours)")
    phases.wrap(module, "describe_rows", "records (ours)")
    phases.wrap(trainer, "_write", "records (ours)")
    phases.wrap(trainer.actor_rollout_wg, "update_actor", "dispatch of update")
    phases.wrap(trainer, "_compute_metrics", "metrics")
    phases.wrap(tq, "kv_clear", "clear")
