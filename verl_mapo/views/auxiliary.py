# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Terms that the engine adds to verl's loss of an update: of the divergence from a changed view, and of -log p.

    L = L_verl - g mean(k3(log q - log p)) + e mean(-log p)

The means are those of verl's ``loss_agg_mode`` over the policy tokens; tokens without log q add 0 to the first. The
log-probs q under the changed view are those of the log-prob pass, so that no gradient flows through them.

The functions of verl's registry of policy losses get log-probs, advantages and a mask, but no further column of the
batch; so the terms are added around verl's loss function, and go with any policy loss of the registry.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig
from tensordict import TensorDict
from torch import Tensor
from verl.trainer.ppo.core_algos import agg_loss
from verl.utils.metric import AggregationType, Metric
from verl.workers.utils.padding import no_padding_2_padding

from verl_mapo.columns import CHANGED_LOG_PROBS
from verl_mapo.views.divergence import divergence

AUXILIARY = "auxiliary_loss"
"""The key under which a batch asks for the terms (:meth:`verl_mapo.training.method.Method.update_request`)."""


def auxiliary_request(config: DictConfig, gain: float = 0.0, entropy: float = 0.0) -> dict[str, Any]:
    """The request for the terms; g is ``gain``, e is ``entropy``."""
    actor = config.actor_rollout_ref.actor
    means = {name: actor.get(name) for name in ("loss_agg_mode", "loss_scale_factor")}
    return {AUXILIARY: {"gain": gain, "entropy": entropy, **means}}


def with_terms(loss_function: Callable[..., Any], request: dict[str, Any]) -> Callable[..., tuple[Tensor, dict]]:
    """verl's loss function with the terms of a request; metrics ``actor/auxiliary/*`` are their means."""

    def loss(*, model_output: dict[str, Tensor], data: TensorDict, dp_group: Any = None) -> tuple[Tensor, dict]:
        total, metrics = loss_function(model_output=model_output, data=data, dp_group=dp_group)
        log_probs = no_padding_2_padding(model_output["log_probs"], data)
        mask = data["response_mask"].to_padded_tensor(0).bool()

        def mean(values: Tensor) -> Tensor:
            return agg_loss(
                loss_mat=values.masked_fill(~mask, 0.0),
                loss_mask=mask,
                loss_agg_mode=request["loss_agg_mode"],
                loss_scale_factor=request["loss_scale_factor"],
                **{name: data[name] for name in ("dp_size", "batch_num_tokens", "global_batch_size")},
            )

        means = {"entropy": mean(-log_probs)}
        if request["gain"]:
            changed = no_padding_2_padding(data[CHANGED_LOG_PROBS.name], data)
            # a token without a changed view is compared with itself, which is 0
            changed = changed.to(log_probs.dtype).where(~changed.isnan(), log_probs.detach())
            means |= {"divergence": mean(divergence(log_probs, changed)), "entropy_changed": mean(-changed)}
            total = total - request["gain"] * means["divergence"]
        total = total + request["entropy"] * means["entropy"]
        found = {
            f"actor/auxiliary/{name}": Metric(value=value.detach(), aggregation=AggregationType.SUM)
            for name, value in means.items()
        }
        return total, metrics | found

    return loss
