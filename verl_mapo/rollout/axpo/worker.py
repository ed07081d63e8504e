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
"""AXPO's explorative rollout: failed tool calls are resampled while the batch is still being generated.

verl's worker lets the sessions of a prompt run and says that the prompt is finished once all of them are. Here the
session that ends last looks at the group first: if there were tool users and all of them failed, it asks the ledger for
slots and runs K continuations of each prefix that gets one, as further sessions of the prompt, through the same agent
loop. Only then does the prompt count as finished, so that whatever filters groups sees the continuations too.
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
"""verl's name for the queue of training rollouts; validation is never explored."""


class ResamplingWorker(AgentLoopWorkerTQ.__ray_metadata__.modified_class):
    """verl's agent-loop worker, with a second look at the groups in which the tools failed."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.axpo = parse(AxpoSettings, self.config)
        self.seed = parse(VisualToolSettings, self.config).seed
        self.finder = FirstCallFinder(self.tokenizer)
        self.groups: dict[str, PromptGroup] = {}
        self.ledger: ActorHandle | None = None

    def join(self, ledger: ActorHandle) -> None:
        """Take slots from this ledger; before the first prompt."""
        self.ledger = ledger

    async def _run_prompt(self, prompt: dict, sampling_params: dict, trajectory: dict, trace: bool = False) -> None:
        if not trajectory["validate"]:
            n = prompt.get("__rollout_n__", self.config.actor_rollout_ref.rollout.n)
            self.groups[prompt["uid"]] = PromptGroup(n)
        await super()._run_prompt(prompt, sampling_params, trajectory, trace)
        group = self.groups.pop(prompt["uid"], None)
        if group is not None and group.under_way:
            logger.error("The sessions of prompt %s could not be started.", prompt["uid"])
            await self.ledger.settle.remote(int(prompt["global_steps"]), prompt["uid"], [])

    async def _run_agent_loop(self, sampling_params: dict, trajectory: dict, **session: Any) -> None:
        group = self.groups.get(session["uid"])
        if group is None:
            return await super()._run_agent_loop(sampling_params, trajectory, **session)
        try:
            await super()._run_agent_loop(sampling_params, trajectory, **session)
        except BaseException:
            group.died = True
            raise
        finally:
            group.under_way -= 1
            if not group.under_way:
                await self._close(group, sampling_params, trajectory, session)

    async def _agent_loop_postprocess(
        self,
        output: AgentLoopOutput | list[AgentLoopOutput],
        validate: bool,
        start: LoopState | None = None,
        **row: Any,
    ) -> None:
        await super()._agent_loop_postprocess(output, validate, **row)
        group = self.groups.get(row["uid"])
        if group is None or row["session_id"] >= group.n:
            return
        outputs = output if isinstance(output, list) else [output]
        last = outputs[-1]
        state = last.state if isinstance(last, VisualToolOutput) else None
        call = self.finder.first_call(state) if state else None
        keys = [_key(row["uid"], row["session_id"], index) for index in range(len(outputs))]
        group.sessions[row["session_id"]] = FinishedRollout(keys, state, last.reward_score, call)

    async def _close(self, group: PromptGroup, sampling_params: dict, trajectory: dict, session: dict) -> None:
        """Every session has ended: explore, and say of every row what it became."""
        began = time.monotonic()
        try:
            await self._explore(group, sampling_params, trajectory, session)
        finally:
            group.seconds = time.monotonic() - began
            if group.sessions:
                keys, columns = group.columns()
                fields = TensorDict(columns, batch_size=len(keys))
                await tq.async_kv_batch_put(keys=keys, fields=fields, partition_id=PARTITION)

    async def _explore(self, group: PromptGroup, sampling_params: dict, trajectory: dict, session: dict) -> None:
        step, uid = int(session["global_steps"]), session["uid"]
        place = None if self.seed is None else zlib.crc32(repr((self.seed, step, session["index"])).encode())
        candidates = group.candidates(self.axpo, Random(place))
        await self.ledger.settle.remote(step, uid, [score for score, _ in candidates])

        async def resample(rank: int, source: int) -> None:
            if await self.ledger.verdict.remote(step, uid, rank):
                await self._resample(group, rank, source, sampling_params, trajectory, session)

        await asyncio.gather(*(resample(rank, source) for rank, (_, source) in enumerate(candidates)))

    async def _resample(
        self, group: PromptGroup, rank: int, source: int, sampling_params: dict, trajectory: dict, session: dict
    ) -> None:
        """Run the K continuations of one prefix. Those that die are counted, and the others stand."""
        origin, k = group.sessions[source], self.axpo.continuations
        length = origin.call.length if self.axpo.fix_prefix else 0
        numbers = [group.n + rank * k + i for i in range(k)]
        ends = await asyncio.gather(
            *(
                super(ResamplingWorker, self)._run_agent_loop(
                    sampling_params,
                    trajectory,
                    **{**session, "session_id": number, "start": self._start(origin.state, length)},
                )
                for number in numbers
            ),
            return_exceptions=True,
        )
        resampling = Continuations(source, length)
        for number, end in zip(numbers, ends, strict=True):
            if isinstance(end, BaseException):
                logger.error("A continuation of %s_%d died and is left out.", session["uid"], source, exc_info=end)
                resampling.lost += 1
            else:
                resampling.keys.append(_key(session["uid"], number, 0))
        group.resamplings.append(resampling)

    def _start(self, state: LoopState, length: int) -> LoopState | None:
        """What one continuation starts from; None for a fresh rollout."""
        if not length:
            return None
        start = state.prefix(length)
        # Under full determinism verl hands the request id to vLLM, which serves one request under it at a time.
        own_id = self.config.actor_rollout_ref.rollout.full_determinism
        return replace(start, request_id=uuid4().hex) if own_id else start


class ResamplingManager(AgentLoopManagerTQ):
    """verl's agent-loop manager with explorative workers and one ledger for all of them."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.agent_loop_workers_class = ray.remote(ResamplingWorker)

    async def _init_agent_loop_workers(self) -> None:
        await super()._init_agent_loop_workers()
        config = parse(AxpoSettings, self.config)
        self.ledger = start_slot_actor(config, self.rollout_config.n)
        await asyncio.gather(*(worker.join.remote(self.ledger) for worker in self.agent_loop_workers))

    def generate_sequences(self, prompts: TensorDict) -> None:
        """Tell the ledger of the prompts, then dispatch them as verl does."""
        if not ("validate" in prompts and prompts["validate"]):
            ray.get(self.ledger.expect.remote(int(prompts["global_steps"]), len(prompts)))
        super().generate_sequences(prompts)


def _key(uid: str, session: int, index: int) -> str:
    return f"{uid}_{session}_{index}"
