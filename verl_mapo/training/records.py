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
"""What is written down of a rollout: one JSON object a row, enough to look at it later."""

from __future__ import annotations

import math
from typing import Any

import transfer_queue as tq
from tensordict import TensorDict
from transfer_queue import KVBatchMeta
from transformers import PreTrainedTokenizerBase

from verl_mapo.advantages.axpo import PLAIN, RESAMPLE, SOURCE
from verl_mapo.advantages.mapo import MapoAdvantage
from verl_mapo.rollout.trajectory import TRAJECTORY
from verl_mapo.training.columns import Carrier, plain
from verl_mapo.training.token_records import describe_tokens

ROLES = {PLAIN: "plain", SOURCE: "source", RESAMPLE: "resample"}
"""How the roles of explored rollouts are written down."""


def describe_rows(
    batch: KVBatchMeta,
    split: str,
    step: int,
    carrier: Carrier | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> list[dict[str, Any]]:
    """The records of a batch, padding left out, in the order of its keys.

    Args:
        batch: scored, and in training after its advantages were computed.
        split: ``train`` or ``val``.
        step: the global step.
        carrier: the columns, and what the estimator made of them; None in validation.
        tokenizer: the policy's, for what visual credit did to each token; None in validation.
    """
    fields = ["raw_prompt", "reward_model", "data_source", "extra_fields", "rm_scores", "response_mask"]
    fields += ["advantages"] if split == "train" else []
    credit = carrier and carrier.credit
    fields += ["responses"] if credit else []
    data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=fields)
    prompts, rewards, sources, extra = (plain(data[name]) for name in fields[:4])
    scores = [row.sum() for row in data["rm_scores"].unbind()]
    advantages = _advantages(data) if split == "train" else [None] * len(scores)
    tokens = describe_tokens(batch, data, credit, tokenizer) if credit else {}
    records = []
    for row, (key, tag) in enumerate(zip(batch.keys, batch.tags, strict=True)):
        if tag.get("is_padding", False):
            continue
        uid, session, _ = key.rsplit("_", 2)
        record = {
            "step": step,
            "split": split,
            "source": sources[row],
            "uid": uid,
            "session": int(session),
            "question": _question(prompts[row]),
            "ground_truth": str(rewards[row]["ground_truth"]),
            "outcome": float(scores[row]),
            "advantage": advantages[row],
            "trajectory": extra[row].get(TRAJECTORY),
        }
        record |= _parts(carrier and carrier.mapo, row, extra[row])
        records.append(record | {"axpo": _exploration(carrier, row, extra[row]), "credit": tokens.get(row)})
    return records


def _advantages(data: TensorDict) -> list[float | None]:
    """Mean advantage of each row's policy tokens; None for a row without any."""
    rows = zip(data["advantages"].unbind(), data["response_mask"].unbind(), strict=True)
    policies = [advantages[mask.bool()] for advantages, mask in rows]
    return [float(policy.mean()) if len(policy) else None for policy in policies]


def _parts(result: MapoAdvantage | None, row: int, extra: dict[str, Any]) -> dict[str, float | None]:
    if result is None:
        return {"alignment": extra["reward_extra_info"].get("alignment"), "a_out": None, "a_sem": None}
    alignment = float(result.alignment[row]) if result.has_alignment[row] else None
    return {"alignment": alignment, "a_out": float(result.a_out[row]), "a_sem": float(result.a_sem[row])}


def _exploration(carrier: Carrier | None, row: int, extra: dict[str, Any]) -> dict[str, Any] | None:
    """What a row was to AXPO; None where AXPO is not at work."""
    if carrier is None or carrier.axpo is None:
        return None
    role, confidence = int(carrier.columns["role"][row]), float(carrier.columns["confidence"][row])
    return {
        "role": ROLES[role],
        "prefix_id": int(carrier.columns["prefix_id"][row]),
        "prefix_tokens": int(carrier.columns["prefix_length"][row]),
        "confidence": None if math.isnan(confidence) else confidence,
        "a_prefix": float(carrier.axpo.a_prefix[row]) if role == SOURCE else None,
        "recovered": bool(carrier.axpo.recovered[row]) if role == SOURCE else None,
        "cached_tokens": extra.get("num_cached_tokens"),
    }


def _question(messages: list[dict[str, Any]]) -> str:
    content = messages[-1]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
