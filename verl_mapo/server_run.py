# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Rollouts of a model on an OpenAI-compatible server, scored by the run's reward manager and recorded as in any run.

They stand in ``RUN/trajectories/val/0.jsonl``, to which each rollout is appended when it has ended: a run that was
stopped goes on with those that are missing.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from omegaconf import DictConfig, OmegaConf
from pydantic import Field, PositiveInt, field_validator
from pydantic.dataclasses import dataclass
from tensordict import TensorDict
from tqdm import tqdm
from verl import DataProto
from verl.experimental.agent_loop.agent_loop import DictConfigWrap
from verl.trainer.ppo.reward import get_custom_reward_fn

from verl_mapo import names
from verl_mapo.endpoint import ChatClient, NoReply, Retries, Seconds, api_key, base_url
from verl_mapo.made_rollouts import settled
from verl_mapo.rewards.manager import LocalRewardManager
from verl_mapo.rollout.chat_loop import ChatLoop
from verl_mapo.rollout.state import LoopState
from verl_mapo.run_command import about
from verl_mapo.run_folder import RunFolder, append_records, rollouts_file, write_whole
from verl_mapo.run_identity import claim, deciding_settings
from verl_mapo.run_lock import held
from verl_mapo.settings import STRICT, ConfigError, select
from verl_mapo.training.questions import Questions
from verl_mapo.training.records import rollout_record, waited

SPLIT, STEP = "val", 0
"""Where the records stand: no step of training came before."""

_REFUSALS = (401, 403, 404)
"""Statuses with which a server will refuse every request: the key, or the name of the model, is wrong."""

_MOST_REASONS = 10
"""Reasons for missing replies that are printed; a message with numbers of its own, such as tokens, is one each."""

_LEAST_IN_A_ROW = 8
"""The run stops when this many rollouts in a row, or as many as are under way at once, got no reply."""


@dataclass(frozen=True, config=STRICT)
class ServerSettings:
    """A model on a server, and how it is asked.

    Attributes:
        server: base URL of an OpenAI-compatible server, ending in ``/v1``.
        model: the name under which the server serves the model.
        n: number of rollouts of a question.
        temperature: 0 for greedy rollouts.
        top_p: share of the probability that is sampled from; 1 is not sent.
        api_key_env: name of the environment variable that holds the key; None sends no key.
        concurrency: number of rollouts under way at the same time.
        timeout_s: longest time that one attempt of a request may take, in seconds; all attempts together, with the
            pauses between them, may take ``retries`` + 1 times as long.
        retries: how often a failed request is sent again.
    """

    server: str
    model: str
    n: PositiveInt = 4
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    api_key_env: str | None = None
    concurrency: PositiveInt = 16
    timeout_s: Seconds = 300.0
    retries: Retries = 2

    @field_validator("server")
    @classmethod
    def _is_http(cls, url: str) -> str:
        return base_url(url)

    @property
    def identity(self) -> dict[str, Any]:
        """What all rollouts of a folder share; the others may change when a run goes on."""
        own = {"model": self.model, "temperature": self.temperature, "top_p": self.top_p}
        return {f"server.{name}": value for name, value in own.items()}


class ServerDown(RuntimeError):
    """The server replies to no rollout any more; the message is a sentence."""


class ServerRun:
    """The rollouts of all questions of ``data.train_files``, ``n`` each.

    Args:
        config: the whole configuration of the run: data, visual tools, limits and reward are read, and the tokenizer
            and the processor of ``actor_rollout_ref.model.path``, the model that will be trained.
        settings: the server.
        run: the folder of the run.
        identity: what else decides the rollouts, by name.

    Raises:
        ConfigError: a setting, the model, the data or the key cannot be used; or the folder holds other rollouts.

    Attributes:
        failures: number of rollouts without a reply by reason, of this call of :meth:`roll_out`.
    """

    def __init__(
        self, config: DictConfig, settings: ServerSettings, run: Path, identity: Mapping[str, Any] | None = None
    ):
        if select(config, names.REWARD_MANAGER_NAME) != names.REWARD_MANAGER:
            raise ConfigError(
                f"{names.REWARD_MANAGER_NAME}={select(config, names.REWARD_MANAGER_NAME)} cannot score the rollouts of "
                f"a server: set it to {names.REWARD_MANAGER}."
            )
        self.config, self.settings, self.folder = config, settings, RunFolder(run.resolve())
        self.file = rollouts_file(self.folder.trajectories, SPLIT, STEP)
        self.key = api_key(settings.api_key_env, "--api-key-env")
        self.questions = Questions(config)
        claim(self.folder, deciding_settings(config) | settings.identity | dict(identity or {}))
        self.failures: Counter[str] = Counter()
        self._in_a_row = 0

    def roll_out(self) -> None:
        """Make the rollouts that are missing.

        Raises:
            ServerDown: the server refuses the key or the model, or gave no reply many times in a row.
        """
        server = {name: getattr(self.settings, name) for name in ("server", "n", "model", "temperature", "top_p")}
        self.folder.config.parent.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, self.folder.config)
        write_whole(self.folder.about, json.dumps(about([]) | {"server": server}, indent=1))
        done = settled(self.file)
        total = len(self.questions) * self.settings.n
        with tqdm(total=total, initial=len(done), desc="rollouts", unit="rollout") as self._bar:
            asyncio.run(self._all(self._missing(done)))

    def _missing(self, done: set[tuple[str, int]]) -> Iterator[tuple[dict[str, Any], int]]:
        for row in self.questions:
            for session in range(self.settings.n):
                if (row["question_id"], session) not in done:
                    yield row, session

    async def _all(self, missing: Iterator[tuple[dict[str, Any], int]]) -> None:
        """Run ``concurrency`` rollouts at a time."""
        questions, settings = self.questions, self.settings
        compute_score = get_custom_reward_fn(self.config)
        self._rewards = LocalRewardManager(self.config, questions.tokenizer, compute_score)
        self._loop = ChatLoop(
            trainer_config=DictConfigWrap(self.config),
            server_manager=ChatClient(settings.server, settings.model, self.key, settings.timeout_s, settings.retries),
            tokenizer=questions.tokenizer,
            processor=questions.processor,
            dataset_cls=type(questions.dataset),
            data_config=DictConfigWrap(self.config.data),
            hf_model_type=questions.processor.config.model_type,
        )

        async def one_after_the_other() -> None:
            for row, session in missing:
                await self._one(row, session)

        tasks = [asyncio.create_task(one_after_the_other()) for _ in range(settings.concurrency)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _one(self, row: dict[str, Any], session: int) -> None:
        """Make one rollout and append its record, or the reason why there is none."""
        sampling = {"temperature": self.settings.temperature}
        if self.settings.top_p < 1:
            sampling["top_p"] = self.settings.top_p
        try:
            state = await self._loop.roll_out(sampling, **row | {"session_id": session, "global_steps": STEP})
        except NoReply as error:
            self._note(row, session, error)
            return
        self._in_a_row = 0
        result = await self._rewards.run_single(_as_data(row, state))
        terms = result["reward_extra_info"]
        state.trajectory.join_scores(terms)
        record = rollout_record(
            SPLIT,
            STEP,
            question_id=row["question_id"],
            uid=row["question_id"],
            session=session,
            row=row,
            outcome=float(result["reward_score"]),
            alignment=terms["alignment"],
            trajectory=state.trajectory.to_record(),
            seconds=waited(state.metrics),
        )
        append_records(self.file, [record])
        self._bar.update()

    def _note(self, row: dict[str, Any], session: int, error: NoReply) -> None:
        """Count a rollout without a reply, and stop the run where no other will do better."""
        self.failures[str(error)] += 1
        self._in_a_row += 1
        named = {name: row[name] for name in ("question_id", "data_source", "index")}
        failure = {**named, "session": session, "reason": str(error)}
        append_records(self.folder.failures, [failure])
        if error.status in _REFUSALS:
            raise ServerDown(
                f"The server {self.settings.server} refuses the model {self.settings.model} or the key: {error}."
            )
        if self._in_a_row >= max(self.settings.concurrency, _LEAST_IN_A_ROW):
            raise ServerDown(
                f"The server {self.settings.server} gave no reply to {self._in_a_row} rollouts in a row: {error}. What "
                "it replied before is kept; the same command goes on."
            )


def made(run: ServerRun) -> bool:
    """Make the rollouts that are missing, and print why some got no reply; returns whether the server stayed up."""
    try:
        with held(run.folder):
            run.roll_out()
        return True
    except ServerDown as error:
        typer.secho(f"verl-mapo: {error}", fg="red")
        return False
    finally:
        for reason, count in run.failures.most_common(_MOST_REASONS):
            typer.echo(f"{count} rollouts got no reply: {reason}.")
        if others := run.failures.total() - sum(count for _, count in run.failures.most_common(_MOST_REASONS)):
            typer.echo(f"{others} rollouts got no reply for other reasons, see {run.folder.failures}.")
        if run.failures:
            typer.echo("The same command tries them again.")


def _as_data(row: dict[str, Any], state: LoopState) -> DataProto:
    """A finished rollout as verl's agent-loop worker gives it to a reward manager."""
    prompts, responses = torch.tensor([state.prompt_ids]), torch.tensor([state.response_ids], dtype=torch.int64)
    extra = {"__num_turns__": 2 * len(state.trajectory.assistant_turns)}
    fields = {**row, **extra, "tool_extra_fields": {names.TRAJECTORY: state.trajectory}}
    columns = {name: np.empty(1, dtype=object) for name in fields}
    for name, column in columns.items():
        column[0] = fields[name]
    tensors = {
        "prompts": prompts,
        "responses": responses,
        "attention_mask": torch.ones(1, prompts.shape[1] + responses.shape[1], dtype=torch.int64),
    }
    return DataProto(batch=TensorDict(tensors, batch_size=1), non_tensor_batch=columns)
