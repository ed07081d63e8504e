# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The lines of a plan about rows and tokens."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import mean

from verl_mapo import names
from verl_mapo.planning.data_facts import TEXT_TOKENS
from verl_mapo.planning.run import Line, PlannedRun
from verl_mapo.rollout.context_length import images_allowed
from verl_mapo.training.engines import token_limits

OBSERVATION_TEXT = 30
"""Tokens of an observation beside its image."""

FEW = 64
"""Tokens below which a turn has hardly room for a thought, a label and a box [ours]."""


def row_lines(run: PlannedRun) -> Iterator[Line]:
    """Steps, and images of a rollout."""
    batch, data = run.config.data.train_batch_size, run.data
    step = f"{batch} prompts, {run.rollouts:,} rollouts"
    if data is None:
        yield Line("rows", "a step", step, "no data file is given")
        return
    has = f"{data.rows:,} rows, {data.rows // batch:,} steps an epoch"
    words = "" if data.rows >= batch else f"No batch is full: set data.train_batch_size to at most {data.rows}."
    yield Line("rows", "a step", step, has, "fails" if words else "ok", words)
    shown, allowed = data.most_images + run.looks, images_allowed(run.config)
    needs = f"{data.most_images} of a row + {run.looks} observations"
    words = "" if shown <= allowed else f"Set {names.IMAGES_PER_PROMPT}={shown}, or leave such rows out."
    yield Line("rows", "images of a rollout", needs, f"{allowed} allowed", "fails" if words else "ok", words)
    if data.unreadable:
        sampled = len(data.prompts) + data.unreadable
        words = "The rollouts of the others end as unreadable_image: look at the paths in the data."
        level = "fails" if data.unreadable == sampled else "warns"
        yield Line("rows", "readable images", f"{sampled} rows", f"{len(data.prompts)} rows", level, words)


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
    needs = f"up to {observed:,} of {run.looks} observations" if run.looks else "one turn"
    has = f"{data.max_response_length:,}, of which {max(each, 0):,} for each turn"
    yield Line("tokens", "response", needs, has, "fails" if words else "ok", words)
    whole = data.max_prompt_length + data.max_response_length
    limits = {"actor_rollout_ref.rollout.max_model_len": rollout.max_model_len or whole}
    limits |= token_limits(config)
    words = " ".join(f"Raise {name} to {whole}." for name, limit in limits.items() if limit < whole)
    has = f"at least {min(limits.values()):,}"
    yield Line("tokens", "prompt and response", f"{whole:,}", has, "fails" if words else "ok", words)


def _prompts(run: PlannedRun) -> Line:
    limit, data = run.config.data.max_prompt_length, run.data
    if data is None or not data.prompts:
        return Line("tokens", "prompt", f"about {run.image_tokens + TEXT_TOKENS:,.0f}", f"{limit:,}")
    needs = f"about {mean(data.prompts):,.0f}, the longest {data.prompts[-1]:,}"
    share = data.share_longer_than(limit)
    if not share:
        return Line("tokens", "prompt", needs, f"{limit:,}")
    end = "left out" if run.config.data.filter_overlong_prompts else "too long, and their rollouts end at once"
    words = f"About {share:.0%} of the rows are {end}. Raise data.max_prompt_length, or lower the size of images."
    return Line("tokens", "prompt", needs, f"{limit:,}", "fails" if share == 1 else "warns", words)
