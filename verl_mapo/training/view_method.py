# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What the methods have in common that compare the log-probs of a row with those under changed images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from verl_mapo import names
from verl_mapo.columns import CHANGED_LOG_PROBS
from verl_mapo.settings import ConfigError, select
from verl_mapo.training.method import Method
from verl_mapo.training.visual_credit import check_pass, visual_token_ids
from verl_mapo.views.divergence import divergence
from verl_mapo.views.passes import VIEWS
from verl_mapo.views.pixels import PatchLayout, ViewSettings

if TYPE_CHECKING:
    from verl_mapo.columns import Column
    from verl_mapo.lens.token_weights import Signals
    from verl_mapo.training.step_batch import StepBatch

OLD_LOG_PROBS = "old_log_probs"
"""Field of verl: (B, L) jagged, the log-probs of the log-prob pass."""


class ViewMethod(Method):
    """A method that reads :data:`~verl_mapo.columns.CHANGED_LOG_PROBS`; its settings have a ``view``."""

    columns = (CHANGED_LOG_PROBS,)
    fields = (OLD_LOG_PROBS,)

    def check(self) -> None:
        """Check that there is a log-prob pass, beside which the changed one runs."""
        check_pass(self.config, f"{names.ADV_ESTIMATOR}={self.name}")

    def check_model(self, tokenizer: Any, processor: Any) -> None:
        """Check that the model has image tokens, and keep what the request needs of the processor."""
        self.visual_token_ids = visual_token_ids(processor, select(self.config, names.MODEL_PATH))
        self.layout = tuple(PatchLayout.of(processor.image_processor))

    def log_prob_request(self) -> dict[str, Any]:
        """The request that :func:`verl_mapo.views.passes.viewed_log_probs` answers."""
        view = {
            "view": vars(self.settings.view),
            "layout": self.layout,
            "visual_token_ids": self.visual_token_ids,
        }
        return {VIEWS: {CHANGED_LOG_PROBS.name: view}}

    def divergence(self, step: StepBatch, column: Column = CHANGED_LOG_PROBS) -> Tensor:
        """(B, L) k3 of each response token, NaN where a row has no changed view.

        Raises:
            ConfigError: the log-prob pass gave no log-probs under the view.
        """
        changed = step.response_values(column)
        if changed is None:
            raise ConfigError(
                f"The log-prob pass gave no log-probs under a changed view, which {self.name} needs: they come from "
                "verl's fsdp or fsdp2 engine on NVIDIA and AMD GPUs and on the CPU stack (`verl-mapo doctor` shows "
                "what is registered)."
            )
        return divergence(step.fields[OLD_LOG_PROBS].to_padded_tensor(0.0), changed)


def viewed_divergence(signals: Signals) -> Tensor:
    """(B, L) k3 of each token of the lens's log-prob pass, NaN where a row has no changed view."""
    return divergence(signals.values[OLD_LOG_PROBS], signals.values[CHANGED_LOG_PROBS.name])


def default_view(change: str, share: float = 0.5) -> Any:
    """The factory of the default of a setting ``view``."""
    return lambda: ViewSettings(change=change, share=share)
