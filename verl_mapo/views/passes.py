# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Further forward passes of a micro-batch under changed views, through verl's own forward step.

Only the rows that a view changes are passed again. Where it changes none, the shortest row is passed all the same and
its log-probs are left out, because ranks that share a sharded model have to call it equally often.

A token is hidden by leaving it out of the sequence, while every other token keeps its rotary position. That is what an
attention mask on the hidden tokens would give the others, in packed and padded rows and with any attention kernel, and
it takes less time. Without image tokens, the vision tower is not asked about the row's images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from tensordict import NonTensorData, NonTensorStack, TensorDict
from torch import Tensor
from verl.utils import tensordict_utils as tu

from verl_mapo.packed_rows import policy_tokens
from verl_mapo.views.pixels import PatchLayout, ViewSettings, changed_pixels

VIEWS = "changed_views"
"""The key under which a batch asks for views: column to request."""

_PIXELS = (("pixel_values", "image_grid_thw"), ("pixel_values_videos", "video_grid_thw"))
_FEATURES = "multi_modal_inputs"


def viewed_log_probs(
    micro_batch: TensorDict, request: dict[str, Any], step: Callable[[TensorDict], tuple[Any, dict]], device: Any
) -> Tensor:
    """(B, S) jagged, the log-prob of each token under a view, one position before the token; NaN in rows not changed.

    Args:
        micro_batch: verl's micro-batch.
        request: either ``view`` (:class:`ViewSettings` as a dict), ``layout`` (:class:`PatchLayout`) and
            ``visual_token_ids``; or ``hidden``, the name of a column of response length that is 1 on hidden tokens.
        step: verl's forward step without gradient and loss.
        device: where pixels are changed.
    """
    ids = micro_batch["input_ids"].cpu()
    offsets = ids.offsets()
    features = _features(micro_batch)
    if "hidden" in request:
        gone = policy_tokens(micro_batch[request["hidden"]].cpu(), offsets)
    else:
        gone = _image_tokens(micro_batch, request)
    bounds = list(zip(offsets.tolist(), offsets.tolist()[1:], strict=False))
    changed = [row for row, (begin, end) in enumerate(bounds) if gone[begin:end].any()]
    chosen = changed or [min(range(len(bounds)), key=lambda row: bounds[row][1] - bounds[row][0])]
    # a selection makes every jagged column anew: half of the time of a hidden view beside its pass
    part = micro_batch.copy() if len(chosen) == len(bounds) else tu.index_select_tensor_dict(micro_batch, chosen)
    tu.assign_non_tensor(part, calculate_entropy=False)
    kept = torch.cat([torch.arange(*bounds[row]) for row in chosen])
    if "hidden" in request or request["view"]["change"] == "hidden":
        if "hidden" not in request and _FEATURES in part.keys():
            del part[_FEATURES]
        _hide(part, gone[kept])
        kept = kept[~gone[kept]]
    elif changed:
        rows = [_changed(features[row], ids.values()[slice(*bounds[row])], request, device) for row in chosen]
        part[_FEATURES] = NonTensorStack(*rows)
    log_probs = step(part)[1]["model_output"]["log_probs"].values()

    places = kept.to(log_probs.device)
    found = log_probs.new_full((len(gone),), torch.nan)
    if changed:
        found[places] = log_probs.roll(1)  # verl's log-prob of a token lies one position before it
    found[offsets[:-1].to(found.device)] = torch.nan
    return torch.nested.nested_tensor_from_jagged(found.roll(-1), offsets.to(found.device))


def row_seed(ids: Tensor, seed: int) -> int:
    """The seed of a row's change: of the row's tokens and the view's seed, the same in every batch and process."""
    digest = hashlib.blake2b(ids.numpy().tobytes(), digest_size=7, key=str(seed).encode())
    return int.from_bytes(digest.digest(), "little")


def _features(micro_batch: TensorDict) -> list[dict[str, Tensor]]:
    """The image features of each row; empty for a row without images."""
    found = [row.data if isinstance(row, NonTensorData) else row for row in micro_batch.get(_FEATURES, [])]
    return [row or {} for row in found] or [{}] * len(micro_batch)


def _image_tokens(micro_batch: TensorDict, request: dict[str, Any]) -> Tensor:
    """(N,) bool, the image tokens that the policy did not write."""
    ids = micro_batch["input_ids"].cpu()
    policy = policy_tokens(micro_batch["response_mask"].cpu(), ids.offsets())
    return torch.isin(ids.values(), torch.tensor(request["visual_token_ids"])) & ~policy


def _changed(features: dict[str, Tensor], ids: Tensor, request: dict[str, Any], device: Any) -> dict[str, Tensor]:
    """A row's features with changed pixels."""
    view, layout = ViewSettings(**request["view"]), PatchLayout(*request["layout"])
    generator = torch.Generator(device=device).manual_seed(row_seed(ids, view.seed))
    pixels = {
        name: changed_pixels(features[name].to(device), features[grids].cpu(), layout, view, generator)
        for name, grids in _PIXELS
        if features.get(name) is not None
    }
    return {**features, **pixels}


def _hide(part: TensorDict, gone: Tensor) -> None:
    """Leave tokens out of the rows of a batch; gone is (N,) bool over its packed positions."""
    ids, places = part["input_ids"], part["position_ids"]
    lengths = ids.offsets().diff().tolist()
    keeps = [~each for each in gone.to(ids.device).split(lengths)]
    part["input_ids"] = tu.nested_tensor_from_tensor_list(
        [row[keep] for row, keep in zip(ids.values().split(lengths), keeps, strict=True)]
    )
    rows = [row[..., keep] for row, keep in zip(places.values().split(lengths, dim=-1), keeps, strict=True)]
    if places.dim() == 3:  # the first of four positions is that of text, in which packed rows are told apart
        for row in rows:
            row[0] = torch.arange(row.shape[-1], device=row.device)
    part["position_ids"] = tu.nested_tensor_from_tensor_list(rows)
