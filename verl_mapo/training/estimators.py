# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Registers the advantage estimators of the methods with verl, and passes them the batch of a step.

verl's V1 trainer calls a registered estimator with rewards, mask, uid and configuration only. So the trainer puts the
batch and the method into a context variable during the call (:func:`estimating`), and the registered function takes
them from there. Nothing else reads the context variable.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import Tensor
from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY, register_adv_est

from verl_mapo.names import ESTIMATORS
from verl_mapo.settings import ConfigError
from verl_mapo.training.method import Method
from verl_mapo.training.step_batch import StepBatch

_CURRENT: ContextVar[tuple[StepBatch, Method]] = ContextVar("verl_mapo_estimator")

_REGISTERED: set[str] = set()
"""The names under which estimators of methods are registered."""


@contextmanager
def estimating(step: StepBatch, method: Method) -> Iterator[None]:
    """Pass a batch and a method to the estimator that verl calls inside the ``with`` block."""
    token = _CURRENT.set((step, method))
    try:
        yield
    finally:
        _CURRENT.reset(token)


def register_estimator(name: str) -> None:
    """Register the estimator of a method with verl, once, under its name or its dotted path.

    An estimator of verl that has the same name (``gdpo``) still computes in every trainer other than those of this
    package.
    """
    if name in _REGISTERED:
        return
    _REGISTERED.add(name)
    of_verl = ADV_ESTIMATOR_REGISTRY.pop(name, None)

    @register_adv_est(name)
    def estimate(token_level_rewards: Tensor, response_mask: Tensor, **others: Any) -> tuple[Tensor, Tensor]:
        """Advantages and returns, both (B, L) and the same tensor; see :meth:`Method.advantages`."""
        step, method = _CURRENT.get((None, None))
        if step is None and of_verl is not None:
            return of_verl(token_level_rewards=token_level_rewards, response_mask=response_mask, **others)
        if step is None:
            raise ConfigError(
                f"algorithm.adv_estimator={name} needs the columns that verl's V1 trainers carry: set "
                "trainer.use_v1=true."
            )
        method.require_columns(step)
        advantages = method.advantages(step, token_level_rewards, response_mask)
        _check(advantages, token_level_rewards, name)
        advantages = advantages.to(token_level_rewards.dtype)  # verl's metrics take no mean of integers
        return advantages, advantages


def _check(advantages: Any, rewards: Tensor, name: str) -> None:
    """Check the form of what a method returned; :mod:`verl_mapo.training.finite_checks` checks its numbers."""
    if not isinstance(advantages, Tensor) or advantages.shape != rewards.shape:
        found = tuple(advantages.shape) if isinstance(advantages, Tensor) else type(advantages).__name__
        raise ValueError(
            f"algorithm.adv_estimator={name}: advantages() returned {found}; it must return a tensor of the shape of "
            f"the rewards, {tuple(rewards.shape)}."
        )


for _name in ESTIMATORS:
    register_estimator(_name)
