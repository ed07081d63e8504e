# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""AXPO's agent-loop worker: runs continuations of failed tool calls while the batch is still being generated.

verl's worker runs the sessions (original rollouts) of a prompt and marks the prompt as finished once all of them have
ended. This worker first looks at the group: if some rollouts used tools and all of those failed, it asks the slot actor
for slots and runs K continuations of each prefix that gets one, as further sessions of the prompt, through the same
agent loop. Only then is the prompt marked as finished, so that verl's filters of groups see the continuations, too.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from dataclasses import replace
from random import Random
from typing import Any
from uuid import uuid4

import ray
import transfer_queue as tq
from ray.actor import ActorHandle
from tensordict import TensorDict
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopManagerTQ, AgentLoopWorkerTQ

from verl_mapo.advantages.axpo import AxpoSettings
from verl_mapo.rollout.axpo.first_call import FirstCallFinder
from verl_mapo.rollout.axpo.prompt_group import Continuations, FinishedRollout, PromptGroup
from verl_mapo.rollout.axpo.slot_actor import start_slot_actor
from verl_mapo.rollout.output import VisualToolOutput
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.rollout.state import LoopState
from verl_mapo.settings import parse

logger = logging.getLogger(__name__)

PARTITION = "train"
"""verl's name for the training rollouts in TransferQueue; validation rollouts get no continuations."""


# verl decorates its class with ray.remote, and an actor class cannot be subclassed; this is the plain class inside.
class ResamplingWorker(AgentLoopWorkerTQ.__ray_metadata__.modified_class):
    """verl's agent-loop worker, which also runs continuations. Its arguments are those of verl's class."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.axpo = parse(AxpoSettings, self.config)
        self.seed = parse(VisualToolSettings, self.config).seed
        self.finder = FirstCallFinder(self.tokenizer)
        self.groups: dict[str, PromptGroup] = {}
        self.slot_actor: ActorHandle | None = None

    def use_slots_of(self, slot_actor: ActorHandle) -> None:
        """Set the actor that allocates slots; called before the first prompt."""
        self.slot_actor = slot_actor

    async def _run_prompt(self, prompt: dict, sampling_params: dict, trajectory: dict, trace: bool = False) -> None:
        if not trajectory["validate"]:
            n = prompt.get("__rollout_n__", self.config.actor_rollout_ref.rollout.n)
            self.groups[prompt["uid"]] = PromptGroup(n)
        try:
            await super()._run_prompt(prompt, sampling_params, trajectory, trace)
        finally:
            group = self.groups.pop(prompt["uid"], None)
            if group is not None and not group.submitted:  # other prompts of the step wait for this one's request
                logger.error("The failed prompt %s of step %s gets no slots.", prompt["uid"], prompt["global_steps"])
                await self._submit(group, prompt, [])

    async def _run_agent_loop(self, sampling_params: dict, trajectory: dict, **session: Any) -> None:
        group = self.groups.get(session["uid"])
        if group is None:
            return await super()._run_agent_loop(sampling_params, trajectory, **session)
        try:
            await super()._run_agent_loop(sampling_params, trajectory, **session)
        except BaseException:
            group.failed = True
            raise
        finally:
            group.running -= 1
            if not group.running:
                await self._complete(group, sampling_params, trajectory, session)

    async def _agent_loop_postprocess(
        self,
        output: AgentLoopOutput | list[AgentLoopOutput],
        validate: bool,
        start: LoopState | None = None,
        **row: Any,
    ) -> None:
        # ``start`` is an argument of the agent loop, which must not become a field of the row.
        await super()._agent_loop_postprocess(output, validate, **row)
        group = self.groups.get(row["uid"])
        if group is None or row["session_id"] >= group.n:
            return
        outputs = output if isinstance(output, list) else [output]
        last = outputs[-1]
        state = last.state if isinstance(last, VisualToolOutput) else None
        call = self.finder.first_call(state) if state else None
        keys = [_key(row["uid"], row["session_id"], index) for index in range(len(outputs))]
        outcome = None if state and state.trajectory.error else last.reward_score
        group.finished[row["session_id"]] = FinishedRollout(keys, state, outcome, call)

    async def _complete(self, group: PromptGroup, sampling_params: dict, trajectory: dict, session: dict) -> None:
        """Run the group's continuations after its last original rollout, and write AXPO's columns of all its rows."""
        began = time.monotonic()
        try:
            await self._resample(group, sampling_params, trajectory, session)
        finally:
            group.seconds = time.monotonic() - began
            if group.finished:
                keys, columns = group.columns()
                fields = TensorDict(columns, batch_size=len(keys))
                await tq.async_kv_batch_put(keys=keys, fields=fields, partition_id=PARTITION)

    async def _resample(self, group: PromptGroup, sampling_params: dict, trajectory: dict, session: dict) -> None:
        """Ask for a slot for each prefix that could be resampled, and run the continuations of those that get one."""
        step, uid = int(session["global_steps"]), session["uid"]
        place = None if self.seed is None else zlib.crc32(repr((self.seed, step, session["index"])).encode())
        candidates = group.candidates(self.axpo, Random(place))
        await self._submit(group, session, [score for score, _ in candidates])

        async def resample(rank: int, source: int) -> None:
            if await self.slot_actor.wait_for_slot.remote(step, uid, rank):
                await self._run_continuations(group, rank, source, sampling_params, trajectory, session)

        await asyncio.gather(*(resample(rank, source) for rank, (_, source) in enumerate(candidates)))

    async def _submit(self, group: PromptGroup, prompt: dict, scores: list[float]) -> None:
        group.submitted = True
        await self.slot_actor.submit.remote(int(prompt["global_steps"]), prompt["uid"], scores)

    async def _run_continuations(
        self, group: PromptGroup, rank: int, source: int, sampling_params: dict, trajectory: dict, session: dict
    ) -> None:
        """Run the K continuations of one prefix. Those that fail are counted; the others are kept.

        Args:
            group: the group of the prompt.
            rank: the rank of the prefix among those of its prompt, from 0.
            source: session number of the rollout that the prefix belongs to.
            sampling_params, trajectory, session: verl's arguments of a rollout of this prompt.
        """
        origin, k = group.finished[source], self.axpo.continuations
        prefix_length = origin.call.prefix_length if self.axpo.fix_prefix else 0
        numbers = [group.n + rank * k + i for i in range(k)]
        ends = await asyncio.gather(
            *(
                super(ResamplingWorker, self)._run_agent_loop(
                    sampling_params,
                    trajectory,
                    **{**session, "session_id": number, "start": self._start(origin.state, prefix_length)},
                )
                for number in numbers
            ),
            return_exceptions=True,
        )
        continuations = Continuations(source, prefix_length)
        for number, end in zip(numbers, ends, strict=True):
            if isinstance(end, BaseException):
                logger.error("A continuation of %s_%d failed and is left out.", session["uid"], source, exc_info=end)
                continuations.lost += 1
            else:
                continuations.keys.append(_key(session["uid"], number, 0))
        group.continuations.append(continuations)

    def _start(self, state: LoopState, prefix_length: int) -> LoopState | None:
        """The state from which one continuation starts; None for a fresh rollout."""
        if not prefix_length:
            return None
        start = state.prefix(prefix_length)
        # Under full determinism verl hands the request id to vLLM, which serves one request under it at a time.
        own_id = self.config.actor_rollout_ref.rollout.full_determinism
        return replace(start, request_id=uuid4().hex) if own_id else start


class ResamplingManager(AgentLoopManagerTQ):
    """verl's agent-loop manager with :class:`ResamplingWorker` and one slot actor for all workers.

    Its arguments are those of verl's class.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.agent_loop_workers_class = ray.remote(ResamplingWorker)

    async def _init_agent_loop_workers(self) -> None:
        await super()._init_agent_loop_workers()
        settings = parse(AxpoSettings, self.config)
        self.slot_actor = start_slot_actor(settings, self.rollout_config.n)
        await asyncio.gather(*(worker.use_slots_of.remote(self.slot_actor) for worker in self.agent_loop_workers))

    def generate_sequences(self, prompts: TensorDict) -> None:
        """Announce training prompts to the slot actor, then dispatch them as verl does."""
        if not ("validate" in prompts and prompts["validate"]):
            ray.get(self.slot_actor.add_prompts.remote(int(prompts["global_steps"]), len(prompts)))
        super().generate_sequences(prompts)


def _key(uid: str, session: int, index: int) -> str:
    """verl's key of a row in TransferQueue."""
    return f"{uid}_{session}_{index}"
