# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The lines of a plan about rows and tokens."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import mean

from verl_mapo import names
from verl_mapo.planning.data_facts import TEXT_TOKENS
from verl_mapo.planning.run import GIVE_DATA, Line, PlannedRun, counted, fails_if
from verl_mapo.rollout.context_length import images_allowed
from verl_mapo.settings import select
from verl_mapo.training.dead_settings_conditions import ACTOR
from verl_mapo.training.engines import token_limits

OBSERVATION_TEXT = 30
"""Tokens of an observation beside its image."""

_ESTIMATE = f"({TEXT_TOKENS} are estimated for text)"

FEW = 64
"""Tokens below which a turn has hardly room for a thought, a label and a box [ours]."""


_MINI_BATCH = f"{ACTOR}.ppo_mini_batch_size"


def row_lines(run: PlannedRun) -> Iterator[Line]:
    """Steps, and images of a rollout."""
    batch, data = run.config.data.train_batch_size, run.data
    mini = select(run.config, _MINI_BATCH, batch)
    step = f"{counted(batch, 'prompt')}, {counted(run.rollouts, 'rollout')}"
    if data is None:
        yield Line("rows", "a step", step, "", "unchecked", GIVE_DATA)
    else:
        has = f"{counted(data.rows, 'row')}, {counted(data.rows // batch, 'step')} an epoch"
        settings = f"{names.TRAIN_BATCH_SIZE} and {_MINI_BATCH}" if mini > data.rows else names.TRAIN_BATCH_SIZE
        words = "" if data.rows >= batch else f"No batch is full: set {settings} to at most {data.rows}."
        yield Line("rows", "a step", step, has, fails_if(words), words)
    if mini > batch:
        yield from _large_mini_batch(run, mini, batch)
    if data is None:
        return
    shown, allowed = data.most_images + run.looks, images_allowed(run.config)
    needs = f"{data.most_images} from the row" + f", up to {run.looks} from tools" * (run.looks > 0)
    words = "" if shown <= allowed else f"Set {names.IMAGES_PER_PROMPT}={shown}, or leave such rows out."
    yield Line("rows", "images of a rollout", needs, f"{allowed} allowed", fails_if(words), words)
    if data.unreadable:
        sampled = len(data.prompts) + data.unreadable
        words = "The rollouts of the others end as unreadable_image: look at the paths in the data."
        level = "fails" if data.unreadable == sampled else "warns"
        yield Line("rows", "readable images", f"{sampled} rows", f"{len(data.prompts)} rows", level, words)


def _large_mini_batch(run: PlannedRun, mini: int, batch: int) -> Iterator[Line]:
    """The line of a mini-batch that is larger than a step.

    verl refuses it where it cuts by rows. Else it fills the mini-batch with empty sequences, which changes only a loss
    that is a mean over sequences.
    """
    actor = run.config.actor_rollout_ref.actor
    remedy = f"Set {_MINI_BATCH} to at most {batch}."
    needs, has = counted(mini, "prompt"), f"{counted(batch, 'prompt')} in a step"
    if not actor.use_dynamic_bsz:
        yield Line("rows", "a mini-batch", needs, has, "fails", f"verl ends at its start. {remedy}")
    elif actor.loss_agg_mode.startswith("seq-mean"):
        words = f"verl divides the loss by {mini} prompts where there are {batch}. {remedy}"
        yield Line("rows", "a mini-batch", needs, has, "warns", words)


def token_lines(run: PlannedRun) -> Iterator[Line]:
    """Lengths of prompts, responses and sequences."""
    config = run.config
    data, rollout = config.data, config.actor_rollout_ref.rollout
    yield _prompts(run)
    observed = run.looks * (run.crops.tokens[1] + OBSERVATION_TEXT)
    each = (data.max_response_length - observed) // (run.looks + 1)
    words = ""
    if run.looks and each < FEW:
        words = "Raise data.max_response_length, or lower visual_tool.max_crop_pixels or the number of turns."
    needs = f"up to {observed:,} from tools, in {counted(run.looks, 'observation')}" if run.looks else "one turn"
    has = f"{data.max_response_length:,}; leaves {max(each, 0):,} tokens of text per turn"
    yield Line("tokens", "response", needs, has, fails_if(words), words)
    whole = data.max_prompt_length + data.max_response_length
    limits = {"actor_rollout_ref.rollout.max_model_len": rollout.max_model_len or whole}
    limits |= token_limits(config)
    words = " ".join(f"Raise {name} to {whole}." for name, limit in limits.items() if limit < whole)
    least = min(limits, key=limits.__getitem__)
    has = f"{limits[least]:,} ({least.rpartition('.')[2]})"
    yield Line("tokens", "prompt and response", f"up to {whole:,}", has, fails_if(words), words)


def _prompts(run: PlannedRun) -> Line:
    limit, data = run.config.data.max_prompt_length, run.data
    if data is None or not data.prompts:
        needs = f"about {run.image_tokens + TEXT_TOKENS:,.0f} with one image of the largest size {_ESTIMATE}"
        return Line("tokens", "prompt", needs, f"{limit:,}", "unchecked", GIVE_DATA)
    needs = f"about {mean(data.prompts):,.0f}, the longest about {data.prompts[-1]:,} {_ESTIMATE}"
    share = data.share_longer_than(limit)
    if not share:
        return Line("tokens", "prompt", needs, f"{limit:,}", "ok")
    end = "left out" if run.config.data.filter_overlong_prompts else "too long, and their rollouts end at once"
    words = f"About {share:.0%} of the rows are {end}. Raise data.max_prompt_length, or lower the size of images."
    return Line("tokens", "prompt", needs, f"{limit:,}", "fails" if share == 1 else "warns", words)
