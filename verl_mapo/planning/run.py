# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A run before it is started, and the lines of its plan."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from omegaconf import DictConfig

from verl_mapo import names
from verl_mapo.advantages.axpo import AxpoSettings
from verl_mapo.planning.arithmetic import GB
from verl_mapo.planning.data_facts import DataFacts
from verl_mapo.planning.model_shape import ModelShape
from verl_mapo.rollout.context_length import observations
from verl_mapo.rollout.images import ProcessorResize
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.settings import parse, select
from verl_mapo.training.dead_settings_conditions import NO_REFERENCE
from verl_mapo.training.lora import adapter_rank

Level = Literal["", "ok", "warns", "fails", "unchecked"]

GIVE_DATA = "Give the training data with --data."
GIVE_MEMORY = "Give the memory of a node with --host-memory, in GB, for example --host-memory 2000."
ON_THE_MACHINE = "Leave out --gpu-memory on a machine of the run, whose disk the plan then reads."


@dataclass(frozen=True)
class Line:
    """One line of a plan.

    Attributes:
        where: the part of the run or of the machine.
        what: what is needed.
        needs: how much; empty where nothing is counted.
        has: how much there is; empty where it is not known.
        level: whether the run works, works worse, or fails; ``unchecked`` where that depends on what is not known, and
            empty where the line is only information.
        words: what will happen and what to do, or what to give for a check; empty where nothing is wrong.
    """

    where: str
    what: str
    needs: str = ""
    has: str = ""
    level: Level = ""
    words: str = ""


@dataclass(frozen=True)
class Place:
    """Where the run is to take place; sizes are in bytes, and None where they are not known.

    Attributes:
        gpu: memory of a GPU.
        gpus: number of GPUs of this machine.
        memory: host memory of a node.
        shm: what is free of a node's /dev/shm.
        disk: what is free where the checkpoints are written.
    """

    gpu: float
    gpus: int | None = None
    memory: float | None = None
    shm: float | None = None
    disk: float | None = None


@dataclass(frozen=True)
class PlannedRun:
    """A run before it is started.

    Attributes:
        config: the whole configuration, with the number of agent-loop workers set.
        shape: of the model.
        originals, crops: the resizes of the run.
        data: of the training data; None if no file was given.
        place: where it is to run.
    """

    config: DictConfig
    shape: ModelShape
    originals: ProcessorResize
    crops: ProcessorResize
    data: DataFacts | None
    place: Place

    @property
    def nodes(self) -> int:
        """Nodes that train."""
        return self.config.trainer.nnodes

    @property
    def gpus(self) -> int:
        """GPUs that train."""
        return self.nodes * self.config.trainer.n_gpus_per_node

    @property
    def shards(self) -> int:
        """GPUs over which FSDP divides one copy of the model: all of them, or ``fsdp_size``."""
        given = self.config.actor_rollout_ref.actor.fsdp_config.fsdp_size
        return given if 0 < given < self.gpus else self.gpus

    @property
    def copies(self) -> int:
        """Copies of the model in training."""
        return self.gpus // self.shards

    @property
    def separate(self) -> bool:
        """Whether the engines have GPUs of their own."""
        return self.config.trainer.v1.trainer_mode == "separate_async"

    @property
    def engines(self) -> int:
        """Engines that generate: on the GPUs that train, or on their own."""
        rollout = self.config.actor_rollout_ref.rollout
        gpus = rollout.nnodes * rollout.n_gpus_per_node if self.separate else self.gpus
        return max(gpus // rollout.tensor_model_parallel_size, 1)

    @property
    def group(self) -> int:
        """Rollouts of a prompt."""
        return select(self.config, names.ROLLOUT_N)

    @cached_property
    def rollouts(self) -> int:
        """Rollouts of a step, with all continuations that AXPO may make."""
        whole = self.config.data.train_batch_size * self.group
        if select(self.config, names.ADV_ESTIMATOR) != names.AXPO:
            return whole
        axpo = parse(AxpoSettings, self.config)
        return whole + axpo.slots(whole) * axpo.continuations

    @cached_property
    def looks(self) -> int:
        """The largest number of observations of a rollout."""
        if select(self.config, names.DEFAULT_AGENT_LOOP) != names.AGENT_LOOP:
            return 0
        return observations(self.config, parse(VisualToolSettings, self.config))

    @property
    def range_of_looks(self) -> tuple[int, int]:
        """One observation a rollout, and all that the turns allow."""
        return min(self.looks, 1), self.looks

    @property
    def image_tokens(self) -> float:
        """Image tokens of a row, on average; without data, those of one image of the largest size."""
        return self.originals.tokens[1] if self.data is None else self.data.tokens

    @property
    def trained(self) -> int:
        """Parameters that are trained; those of LoRA's adapters are too few to count."""
        return 0 if adapter_rank(self.config) else self.shape.parameters

    @property
    def reference(self) -> bool:
        """Whether training holds a reference model, too; with LoRA it is the model without its adapters."""
        return bool(self.trained) and not NO_REFERENCE.holds(self.config)

    @property
    def micro_batch(self) -> int:
        """Tokens of the largest micro-batch of an update, on the GPUs that share a sequence."""
        actor, data = self.config.actor_rollout_ref.actor, self.config.data
        if actor.use_dynamic_bsz:
            return (actor.ppo_max_token_len_per_gpu or 0) * self.ulysses
        return (actor.ppo_micro_batch_size_per_gpu or 1) * (data.max_prompt_length + data.max_response_length)

    @property
    def ulysses(self) -> int:
        """GPUs that share a sequence."""
        return self.config.actor_rollout_ref.actor.get("ulysses_sequence_parallel_size", 1) or 1


def fails_if(words: str) -> Level:
    """The level of a line that was compared, and that says what to do where the run fails."""
    return "fails" if words else "ok"


def counted(number: int, thing: str) -> str:
    """A number with the name of what it counts."""
    return f"{number:,} {thing}{'s' * (number != 1)}"


def size(amount: float | None) -> str:
    """A number of bytes in GB, as text; empty if it is not known."""
    if amount is None:
        return ""
    return f"{amount / GB:,.0f} GB" if amount >= 10 * GB else f"{amount / GB:.1f} GB"
