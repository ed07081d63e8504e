# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The worker with a scripted language model, queue and reward; everything else is real."""

from __future__ import annotations

import asyncio
import math
import zlib
from collections import defaultdict
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
import torch
import transfer_queue as tq
from support.scripted import compose_config, prompt_of
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer
from verl.utils.dataset.rl_dataset import RLHFDataset
from verl.workers.rollout.replica import TokenOutput

from verl_mapo.advantages.axpo import AxpoSettings
from verl_mapo.columns import AXPO_COLUMNS, CONTINUATION, PLAIN, SOURCE
from verl_mapo.names import OUTCOME_ERROR
from verl_mapo.rollout.axpo.first_call import FirstCallFinder
from verl_mapo.rollout.axpo.slot_actor import SlotActor
from verl_mapo.rollout.axpo.worker import ResamplingWorker
from verl_mapo.settings import parse

UNSURE, SURE = math.log(0.4), math.log(0.9)


def zoom(label: str) -> str:
    return f'{{"name": "zoom", "arguments": {{"label": "{label}", "bbox_2d": [0, 0, 40, 40]}}}}</tool_call>'


GUESS_RIGHT, GUESS_WRONG = "<answer>yes</answer>", "<answer>no</answer>"
ZOOM_RIGHT, ZOOM_WRONG, ZOOM_UNSURE = (f"look <tool_call>{zoom(label)}" for label in ("right", "wrong", "unsure"))


class Policy:
    """Writes scripted first turns by session and continuations in order; after a crop, the label decides the answer."""

    def __init__(self, tokenizer: Any, first: list[str], continuations: list[str | Exception]):
        self.tokenizer, self.continuations = tokenizer, iter(continuations)
        self.first = {zlib.crc32(repr((1, 1, 0, session, 0)).encode()): turn for session, turn in enumerate(first)}
        self.tag = tokenizer.convert_tokens_to_ids("<tool_call>")
        self.prefixes: list[list[int]] = []

    async def generate(
        self, request_id: str, *, prompt_ids: list[int], sampling_params: dict, image_data: list, **_: Any
    ) -> TokenOutput:
        await asyncio.sleep(0)
        text = self.tokenizer.decode(prompt_ids)
        if prompt_ids[-1] == self.tag:
            self.prefixes.append(prompt_ids)
            turn = next(self.continuations)
        elif len(image_data) > 1:
            turn = GUESS_RIGHT if '"right"' in text else GUESS_WRONG
        else:
            turn = self.first.get(sampling_params["seed"]) or next(self.continuations)
        if isinstance(turn, Exception):
            raise turn
        ids = self.tokenizer.encode(turn) + [self.tokenizer.eos_token_id]
        logprob = UNSURE if "unsure" in turn else SURE
        return TokenOutput(token_ids=ids, log_probs=[logprob] * len(ids), extra_fields={"global_steps": 1})


class LocalSlotActor:
    """A slot actor without ray: ``actor.submit.remote(...)`` is its coroutine."""

    def __init__(self, actor: SlotActor):
        self.actor = actor
        self.submit, self.wait_for_slot = (
            SimpleNamespace(remote=method) for method in (actor.submit, self._wait_for_slot)
        )

    async def _wait_for_slot(self, step: int, uid: str, rank: int) -> bool:
        """Wait for a slot, unless nothing is left to wait for: a test must fail then, and not hang."""
        decided = self.actor._answers[step, uid, rank].done()
        assert decided or self.actor._steps[step].running_prompts, "this request is never decided"
        return await self.actor.wait_for_slot(step, uid, rank)


class Worker(ResamplingWorker):
    """As verl builds it, without an engine."""

    def __init__(self, model: Any, config: Any, policy: Policy):
        self.config, self.tokenizer, self.processor = config, model.tokenizer, model.processor
        self.hf_model_type, self.dataset_cls, self.tools = model.model_type, RLHFDataset, []
        self.llm_client, self.reward_loop_worker_handles = policy, None
        self.axpo, self.seed = parse(AxpoSettings, config), 1
        self.finder, self.groups = FirstCallFinder(model.tokenizer), {}

    async def _compute_score(self, outputs: list, kwargs: dict) -> None:
        text = outputs[-1].state.trajectory.turns[-1].text
        outputs[-1].reward_score = float(text == GUESS_RIGHT)
        if "unjudged" in text:
            outputs[-1].extra_fields["reward_extra_info"] = {OUTCOME_ERROR: "The answer check raised KeyError."}

    async def _compute_teacher_logprobs(self, *_: Any, **__: Any) -> None: ...

    def _compute_multi_modal_inputs(self, *_: Any) -> dict:
        return {}

    def _compute_position_ids(self, input_ids: torch.Tensor, *_: Any) -> torch.Tensor:
        return torch.arange(input_ids.shape[1]).unsqueeze(0)


@pytest.fixture
def roll_out(model, picture, monkeypatch):
    """Roll one prompt out; returns rows by key, the statuses of the prompt in order, and the policy."""

    def run(first: list[str], continuations: list, *overrides: str, validate: bool = False, prompts: int = 1):
        rows: dict[str, dict] = defaultdict(dict)
        statuses: list[str] = []

        async def put(keys, fields=None, tags=None, **_):
            for i, key in enumerate(keys):
                rows[key] |= {name: fields[name][i] for name in fields.keys()}

        async def put_one(key, tag=None, **_):
            statuses.append(tag["status"])
            if tag["status"] == "finished":
                assert all("role" in row for row in rows.values()), (
                    "the columns are written before the prompt counts as finished"
                )

        monkeypatch.setattr(tq, "async_kv_batch_put", put)
        monkeypatch.setattr(tq, "async_kv_put", put_one)
        n = len(first)
        config = compose_config("method=axpo", f"actor_rollout_ref.rollout.n={n}", "visual_tool.seed=1", *overrides)
        config.actor_rollout_ref.rollout.val_kwargs.n = n

        async def play() -> Policy:
            policy = Policy(model.tokenizer, first, continuations)
            worker = Worker(model, config, policy)
            actor = SlotActor(worker.axpo, n)
            worker.use_slots_of(LocalSlotActor(actor))
            await actor.add_prompts(1, prompts)
            for other in range(1, prompts):
                await actor.submit(1, f"other {other}", [])
            row = {"uid": "u", "global_steps": 1, "index": 0, "raw_prompt": prompt_of(picture)}
            await worker._run_prompt(
                row | {"agent_name": "visual_tool_agent"},
                {},
                {"validate": validate, "step": 1, "sample_index": 0, "rollout_n": 0},
            )
            assert not worker.groups
            return policy

        policy = asyncio.run(play())
        return dict(rows), statuses, policy

    return run


def roles(rows: dict) -> dict[int, int]:
    return {int(key.split("_")[1]): int(row["role"]) for key, row in sorted(rows.items())}


FOUR = [ZOOM_RIGHT.split("<tool_call>")[1], *[ZOOM_WRONG.split("<tool_call>")[1]] * 3]


def test_least_certain_failed_call_is_continued_from_its_tokens(roll_out, model):
    rows, statuses, policy = roll_out([GUESS_RIGHT, ZOOM_WRONG, ZOOM_UNSURE, ZOOM_WRONG], FOUR, prompts=4)
    assert statuses == ["running", "finished"]
    assert roles(rows) == {
        0: PLAIN,
        1: PLAIN,
        2: SOURCE,
        3: PLAIN,
        4: CONTINUATION,
        5: CONTINUATION,
        6: CONTINUATION,
        7: CONTINUATION,
    }
    source = rows["u_2_0"]
    length = int(source["prefix_length"])
    assert model.tokenizer.decode(source["responses"][:length]) == "look <tool_call>"
    assert source["prefix_id"] == 2 and source["confidence"] == pytest.approx(0.4) and source["response_mask"][0] == 1
    for number in (4, 5, 6, 7):
        row = rows[f"u_{number}_0"]
        assert row["prefix_id"] == 2 and row["prefix_length"] == length and row["confidence"].isnan()
        assert row["responses"][:length].tolist() == source["responses"][:length].tolist()
        assert row["response_mask"][:length].tolist() == [0] * length and row["response_mask"][length] == 1
    assert policy.prefixes == [[*source["prompts"].tolist(), *source["responses"][:length].tolist()]] * 4
    assert [float(rows[f"u_{number}_0"]["rm_scores"].sum()) for number in (4, 5, 6, 7)] == [1, 0, 0, 0]
    assert all({column.name for column in AXPO_COLUMNS} <= set(row) for row in rows.values()) and "start" not in row


def test_group_with_a_correct_tool_user_gets_no_continuations(roll_out):
    rows, statuses, policy = roll_out([GUESS_WRONG, ZOOM_WRONG, ZOOM_RIGHT, ZOOM_UNSURE], [], prompts=4)
    assert statuses[-1] == "finished" and set(roles(rows).values()) == {PLAIN} and not policy.prefixes
    assert rows["u_0_0"]["confidence"].isnan() and rows["u_1_0"]["confidence"] == pytest.approx(0.9)


def test_group_without_tool_users_gets_no_continuations(roll_out):
    rows, _, policy = roll_out([GUESS_WRONG] * 4, [], prompts=4)
    assert set(roles(rows).values()) == {PLAIN} and not policy.prefixes


def test_two_prefixes_of_a_prompt_have_continuations_of_their_own(roll_out):
    rows, *_ = roll_out([GUESS_RIGHT, ZOOM_WRONG, ZOOM_UNSURE, GUESS_WRONG], [*FOUR, *FOUR], prompts=8)
    assert roles(rows) == {0: PLAIN, 1: SOURCE, 2: SOURCE, 3: PLAIN} | dict.fromkeys(range(4, 12), CONTINUATION)
    assert [int(rows[f"u_{number}_0"]["prefix_id"]) for number in range(4, 12)] == [2] * 4 + [1] * 4


def test_failed_continuation_is_counted_and_the_others_are_kept(roll_out):
    rows, statuses, _ = roll_out([GUESS_WRONG, ZOOM_WRONG], [*FOUR[:3], RuntimeError("engine")], prompts=8)
    assert statuses[-1] == "finished" and sorted(roles(rows)) == [0, 1, 2, 3, 4]
    assert rows["u_1_0"]["lost"] == 1 and rows["u_1_0"]["role"] == SOURCE


def test_rollout_whose_continuations_all_fail_stays_plain(roll_out):
    rows, statuses, _ = roll_out([GUESS_WRONG, ZOOM_WRONG], [RuntimeError("engine")] * 4, prompts=8)
    assert statuses[-1] == "finished" and roles(rows) == {0: PLAIN, 1: PLAIN}
    assert rows["u_1_0"]["lost"] == 4 and rows["u_1_0"]["prefix_length"] == 0 and rows["u_1_0"]["prefix_id"] == -1


def test_group_with_a_failed_session_gets_no_continuations(roll_out):
    rows, statuses, policy = roll_out([GUESS_WRONG, RuntimeError("engine"), ZOOM_WRONG], [], prompts=8)
    assert statuses[-1] == "failure" and not policy.prefixes and roles(rows) == {0: PLAIN, 2: PLAIN}


def test_error_costs_its_rollout_alone_and_a_tool_user_without_an_outcome_does_not_trigger(roll_out, monkeypatch):
    unjudged = "<answer>unjudged</answer>"
    rows, statuses, _ = roll_out([unjudged, ZOOM_WRONG], FOUR, prompts=8)
    assert statuses[-1] == "finished" and roles(rows)[1] == SOURCE and len(rows) == 6
    assert not rows["u_0_0"]["response_mask"].any() and rows["u_1_0"]["response_mask"].any()
    monkeypatch.setattr("verl_mapo.tools.zoom.Zoom.run", Mock(side_effect=KeyError("x")))
    rows, statuses, policy = roll_out([GUESS_WRONG, ZOOM_WRONG], [], prompts=8)
    assert statuses[-1] == "finished" and roles(rows) == {0: PLAIN, 1: PLAIN} and not policy.prefixes
    assert not rows["u_1_0"]["response_mask"].any() and rows["u_0_0"]["response_mask"].any()


def test_prompt_that_cannot_be_started_does_not_keep_the_others_waiting(roll_out, monkeypatch, caplog):
    monkeypatch.setattr(ResamplingWorker.__mro__[1], "_run_prompt", AsyncMock(side_effect=OSError("queue")))
    submitted = []
    submit = SlotActor.submit

    async def record(self, step, uid, scores):
        submitted.append((uid, scores))
        await submit(self, step, uid, scores)

    monkeypatch.setattr(SlotActor, "submit", record)
    with pytest.raises(OSError, match="queue"):
        roll_out([GUESS_WRONG], [], prompts=8)
    assert submitted[-1] == ("u", []) and "The failed prompt u of step 1 gets no slots." in caplog.text


def test_fresh_rollouts_start_at_the_prompt_and_have_no_source(roll_out):
    fresh = [GUESS_RIGHT, ZOOM_WRONG, ZOOM_RIGHT, GUESS_WRONG]
    rows, _, policy = roll_out([GUESS_WRONG, ZOOM_WRONG], fresh, "algorithm.axpo.fix_prefix=false", prompts=8)
    assert not policy.prefixes
    assert roles(rows) == {0: PLAIN, 1: PLAIN} | dict.fromkeys(range(2, 6), CONTINUATION)
    for number in range(2, 6):
        row = rows[f"u_{number}_0"]
        assert row["prefix_length"] == 0 and row["prefix_id"] == 1 and row["response_mask"][0] == 1
    assert sum(float(rows[f"u_{number}_0"]["rm_scores"].sum()) for number in range(2, 6)) == 2


@pytest.mark.parametrize("rank", ["confidence", "entropy", "random"])
def test_seeded_run_ranks_prefixes_in_the_same_order_every_time(roll_out, rank):
    first = [GUESS_WRONG, ZOOM_WRONG, ZOOM_UNSURE, ZOOM_WRONG]
    chosen = [
        [
            key
            for key, row in roll_out(first, FOUR, f"algorithm.axpo.prefix_rank={rank}", prompts=4)[0].items()
            if row["role"] == SOURCE
        ]
        for _ in range(2)
    ]
    assert chosen[0] == chosen[1] and len(chosen[0]) == 1
    assert rank == "random" or chosen[0] == ["u_2_0"]


def filtered(rows: dict, monkeypatch) -> set[str]:
    """The keys of these rows that verl's dynamic sampling (``algorithm.filter_groups``) drops."""
    scores = {key: row["rm_scores"] for key, row in rows.items()}
    monkeypatch.setattr(tq, "kv_batch_get", lambda keys, **_: {"rm_scores": [scores[key] for key in keys]})
    buffer = ReplayBuffer.__new__(ReplayBuffer)
    buffer.filter_groups_metric = "reward"
    buffer.partitions = {"train": dict.fromkeys(rows, {})}
    buffer.finished_keys = {"train": {"u"}}
    buffer._dapo_classification_cache = {"train": {}}
    return buffer._dapo_filtered_keys("train")[0]


def test_dynamic_sampling_keeps_a_group_that_continuations_recovered(roll_out, monkeypatch):
    recovered, *_ = roll_out([GUESS_WRONG, ZOOM_WRONG], FOUR, prompts=8)
    failed, *_ = roll_out([GUESS_WRONG, ZOOM_WRONG], [FOUR[1]] * 4, prompts=8)
    assert filtered(recovered, monkeypatch) == set() and filtered(failed, monkeypatch) == {"u"}


def test_validation_rollouts_get_no_continuations(roll_out):
    rows, _, policy = roll_out([GUESS_WRONG, ZOOM_WRONG], [], validate=True, prompts=8)
    assert not policy.prefixes and all("role" not in row for row in rows.values())
