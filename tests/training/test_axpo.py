# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""AXPO in the trainer: what the loss acts on and is divided by, and the masks, advantages and records of a step."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from support.fake_queue import FakeQueue, jagged, scored_rows
from support.ranks import token_weights
from transfer_queue import KVBatchMeta

from verl_mapo.advantages.axpo import AxpoSettings, loss_masks
from verl_mapo.columns import AXPO_COLUMNS, CONTINUATION, PLAIN, SOURCE, VISUAL_FOCUS
from verl_mapo.rollout.statuses import EndReason, TurnStatus
from verl_mapo.rollout.trajectory import Trajectory, Turn
from verl_mapo.settings import ConfigError

N, PROMPTS, MINI, LENGTH = 4, 8, 2, 6


def rows_with_continuations(resampled: int, ranks: int) -> dict[str, torch.Tensor]:
    """A step of 8 prompts x 4 rollouts with so many resampled prefixes of 4, padded for the ranks."""
    generator = torch.Generator().manual_seed(7)
    role = torch.tensor([PLAIN] * (N * PROMPTS) + [CONTINUATION] * (4 * resampled), dtype=torch.int8)
    role[: N * resampled : N] = SOURCE
    length = torch.where(role == PLAIN, 0, 2)
    mask = (torch.arange(LENGTH) < torch.randint(3, LENGTH + 1, (len(role), 1), generator=generator)).long()
    mask[role == CONTINUATION, :2] = 0
    padding = -len(role) % (ranks * PROMPTS // MINI)
    live = torch.cat([torch.ones(len(role), dtype=torch.bool), torch.zeros(padding, dtype=torch.bool)])
    role, length = (torch.cat([column, column[:1].expand(padding)]) for column in (role, length))
    mask = torch.cat([mask, torch.zeros(padding, LENGTH, dtype=torch.long)])
    acted_on, divided_by = loss_masks(mask, torch.zeros_like(live), role, length, AxpoSettings())
    masks = {"original": mask, "response_mask": acted_on, "loss_mask": divided_by}
    return {"role": role, "live": live, "originals": N * PROMPTS, **masks}


def update(rows: dict[str, torch.Tensor], ranks: int, mode: str, out) -> tuple[torch.Tensor, int]:
    torch.multiprocessing.spawn(token_weights, (ranks, rows, PROMPTS // MINI, mode, str(out)), nprocs=ranks)
    return torch.load(out / f"weights-{ranks}.pt")


@pytest.mark.parametrize("mode", ["token-mean", "seq-mean-token-sum"])
def test_added_rows_make_no_optimizer_step_and_plain_tokens_keep_their_weight(tmp_path, mode):
    rows = rows_with_continuations(resampled=3, ranks=2)
    assert (~rows["live"]).sum() == 4, "44 rows, padded to a multiple of 2 ranks x 4 steps"
    weights, steps = update(rows, 2, mode, tmp_path)
    assert steps == PROMPTS // MINI, "continuations and padding make no step of their own"
    assert weights[~rows["live"]].abs().sum() == 0
    assert torch.equal(weights != 0, rows["response_mask"] != 0), "masked out of the loss, not merely advantage 0"
    plain, resample = rows["role"] == PLAIN, rows["role"] == CONTINUATION
    tokens = weights[plain & rows["live"]][rows["response_mask"][plain & rows["live"]] != 0]
    if mode == "token-mean":
        original = rows["original"][(rows["role"] != CONTINUATION) & rows["live"]].sum()
        assert tokens.mean().item() == pytest.approx(steps / original.item(), rel=0.05), "1 / tokens of the originals"
    else:
        assert torch.allclose(tokens, torch.tensor(1 / (MINI * N)))
    assert (weights[resample] != 0).any()


def test_masks_equal_verls_without_continuations():
    rows = rows_with_continuations(resampled=0, ranks=1)
    assert torch.equal(rows["response_mask"], rows["loss_mask"]) and rows["live"].all()
    assert torch.equal(rows["response_mask"], rows["original"] != 0)


NAN = float("nan")
ROOT = 0.5**0.5


def put_resampled_prompt(queue: FakeQueue) -> KVBatchMeta:
    """One prompt of two: a right guess, and a failed tool user with two continuations, of which one is right."""
    masks = [torch.ones(3), torch.ones(4), torch.tensor([0, 0, 1, 1.0]), torch.tensor([0, 0, 1.0])]
    call = Turn((0, 3), "x", TurnStatus.OK, tool="zoom")
    trajectories = [Trajectory([], [], turns, EndReason.ANSWER) for turns in ([], [call], [call], [call])]
    queue.fields.update(scored_rows(masks, [1.0, 0.0, 1.0, 0.0], trajectories, num_cached_tokens=[9] * 4))
    queue.fields["uid"] = list("aaaa")
    values = [
        [PLAIN, SOURCE, CONTINUATION, CONTINUATION],
        [0, 2, 2, 2],
        [-1, 1, 1, 1],
        [NAN, 0.4, NAN, NAN],
        [0] * 4,
        [2.0] * 4,
    ]
    for column, rows in zip(AXPO_COLUMNS, values, strict=True):
        queue.fields[column.name] = torch.tensor(rows, dtype=column.dtype)
    keys = [f"a_{number}_0" for number in range(4)]
    return queue.batch(keys, prompt_len=[10] * 4, response_len=[len(mask) for mask in masks])


@pytest.fixture
def run_step(queue, make_trainer, tmp_path) -> Callable[..., tuple]:
    """A step of that prompt: the trainer, its metrics, and the queue behind it."""

    def run(*overrides: str) -> tuple:
        records = f"trainer.rollout_data_dir={tmp_path}"
        trainer = make_trainer("method=axpo", "algorithm.axpo.continuations=2", records, *overrides)
        metrics: dict = {}
        trainer._compute_advantage(put_resampled_prompt(queue), metrics)
        return trainer, metrics, queue

    return run


def test_loss_acts_on_the_prefix_of_a_source_and_after_the_prefix_of_a_continuation(run_step):
    *_, queue = run_step()
    masks = [mask.tolist() for mask in queue.fields["response_mask"].unbind()]
    assert masks == [[1] * 3, [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1]]
    assert [mask.sum().item() for mask in queue.fields["loss_mask"].unbind()] == [3, 4, 0, 0]


def test_advantages_of_a_step_are_those_of_its_groups(run_step):
    *_, queue = run_step()
    plain, source, right, wrong = (row.tolist() for row in queue.fields["advantages"].unbind())
    assert plain == pytest.approx([ROOT] * 3, abs=1e-4)
    assert source == pytest.approx([0, 0, 0, 0], abs=1e-4), "its 0 replaced, both rewards are 1"
    assert right == pytest.approx([0, 0, ROOT, ROOT], abs=1e-4) and wrong == pytest.approx([0, 0, -ROOT], abs=1e-4)


def put_recovered_prompt(queue: FakeQueue) -> KVBatchMeta:
    """One prompt of three, right without a tool, a source and wrong, and two continuations, right and wrong.

    All rollouts but the first have a visual turn with a score.
    """
    call = {"span": (0, 2), "text": "x", "status": TurnStatus.OK, "tool": "zoom", "described": True}
    turns = [[], *([Turn(score=score, **call)] for score in (0.2, 0.4, 0.3, 0.1))]
    trajectories = [Trajectory([], [], own, EndReason.ANSWER) for own in turns]
    queue.fields.update(scored_rows([torch.ones(4)] * 5, [1.0, 0.0, 0.0, 1.0, 0.0], trajectories))
    queue.fields["uid"] = list("aaaaa")
    values = [
        [PLAIN, SOURCE, PLAIN, CONTINUATION, CONTINUATION],
        [0, 2, 0, 2, 2],
        [-1, 1, -1, 1, 1],
        [NAN, 0.4, 0.6, NAN, NAN],
        [0] * 5,
        [2.0] * 5,
    ]
    for column, rows in zip(AXPO_COLUMNS, values, strict=True):
        queue.fields[column.name] = torch.tensor(rows, dtype=column.dtype)
    columns = [trajectory.columns(1) for trajectory in trajectories]
    queue.fields.update({name: torch.stack([column[name] for column in columns]) for name in columns[0]})
    return queue.batch([f"a_{number}_0" for number in range(5)], prompt_len=[10] * 5, response_len=[4] * 5)


@pytest.mark.parametrize("alignment", [False, True])
def test_without_division_by_std_all_groups_are_only_centred(queue, make_trainer, alignment):
    """With alignment, MAPO compares the continuations with each other and not with the prompt's other rollouts."""
    settings = ["algorithm.norm_adv_by_std_in_grpo=false", f"algorithm.axpo.alignment={str(alignment).lower()}"]
    make_trainer("method=axpo", "algorithm.axpo.continuations=2", *settings)._compute_advantage(
        put_recovered_prompt(queue), {}
    )
    advantages = [row.tolist() for row in queue.fields["advantages"].unbind()]
    wrong, tried = (0.4 * (0.4 - 0.3), 0.4 * 0.1) if alignment else (0, 0)
    assert advantages[0] == pytest.approx([2 / 3] * 4)
    assert advantages[1] == pytest.approx([1 / 3, 1 / 3, 0, 0]), "with its 0 replaced: 1 less the mean of 1, 1, 0"
    assert advantages[2] == pytest.approx([-1 / 3 + wrong] * 4)
    assert advantages[3] == pytest.approx([0, 0, 0.5 + tried, 0.5 + tried])
    assert advantages[4] == pytest.approx([0, 0, -0.5 - tried, -0.5 - tried])


def test_visual_credit_scores_a_source_by_all_its_tokens(queue, make_trainer):
    """The source's four tokens have the larger sum, 1.0 against 0.9; the two of its prefix would have the smaller."""
    batch = put_resampled_prompt(queue)
    focus = ([0.3] * 3, [0.25] * 4, [0.2] * 4, [0.2] * 3)
    queue.fields[VISUAL_FOCUS.name] = jagged([torch.tensor([*row, NAN]) for row in focus])
    credit = [f"algorithm.visual_credit.{setting}" for setting in ("enable=true", "intra=false", "beta=0")]
    make_trainer("method=axpo", "algorithm.axpo.continuations=2", *credit)._compute_advantage(batch, {})
    assert queue.fields["advantages"].unbind()[0].tolist() == pytest.approx([0.5 * ROOT] * 3, abs=1e-4)


def test_metrics_of_a_step_count_prefixes_tokens_and_seconds(run_step):
    _, metrics, _ = run_step()
    expected = {
        "trigger_rate": 1,
        "recovery_rate": 1,
        "slots/used": 1,
        "lost": 0,
        "subgroup_size": 1,
        "extra_tokens": 3 / 7,
        "confidence/selected": 0.4,
        "seconds/max": 2,
        "cached_share": 18 / 24,
        "outcome/original": 0.5,
    }
    assert {name: metrics[f"axpo/{name}"] for name in expected} == pytest.approx(expected)
    assert metrics["rollout_visual/tool_rate"] == 0.5, "continuations use tools by construction and are not counted"


def test_records_hold_the_role_and_the_prefix_of_each_row(run_step):
    trainer, *_ = run_step()
    parts = [record["axpo"] for record in trainer.records]
    assert [part["role"] for part in parts] == ["plain", "source", "resample", "resample"]
    assert [part["prefix_length"] for part in parts] == [0, 2, 2, 2]
    assert [part["prefix_id"] for part in parts] == [-1, 1, 1, 1]
    assert [part["confidence"] for part in parts] == [None, pytest.approx(0.4), None, None]
    assert [part["recovered"] for part in parts] == [None, True, None, None]


def test_alignment_without_turn_columns_names_the_two_settings(run_step):
    with pytest.raises(ConfigError, match="algorithm.axpo.alignment=true needs rollouts with alignment columns"):
        run_step("algorithm.axpo.alignment=true")


def test_trainer_gives_verl_the_resampling_manager(make_trainer):
    trainer = make_trainer("method=axpo")
    trainer.methods[0].configure()
    agent = trainer.config.actor_rollout_ref.rollout.agent
    assert agent.agent_loop_manager_class == "verl_mapo.rollout.axpo.worker.ResamplingManager"
