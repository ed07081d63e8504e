# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Terms around verl's own policy loss: values and gradients by hand, over micro-batches, and from trainer to engine."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.fake_queue import jagged
from support.scripted import compose_config
from tensordict import TensorDict
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1 import PPOTrainer
from verl.utils import tensordict_utils as tu
from verl.workers.config import FSDPActorConfig
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead
from verl.workers.utils.losses import ppo_loss

from verl_mapo.columns import CHANGED_LOG_PROBS
from verl_mapo.lens.estimators import Rollouts
from verl_mapo.lens.token_weights import Signals
from verl_mapo.relatives.papo import Papo, PapoSettings
from verl_mapo.training.method_engine import MethodEngine
from verl_mapo.views.auxiliary import AUXILIARY, auxiliary_request, with_terms

NAN = float("nan")


def request_of(mode: str = "token-mean", **terms: float) -> dict:
    config = compose_config(f"actor_rollout_ref.actor.loss_agg_mode={mode}")
    return auxiliary_request(config, **terms)[AUXILIARY]


def batch_of(rows: list[dict], whole: list[dict] | None = None) -> TensorDict:
    """Rows of one prompt token, of the batch ``whole`` if it is given; each has log q and the mask of its response."""
    lengths = [len(row["mask"]) for row in rows]
    columns = {
        "prompts": [torch.zeros(1, dtype=torch.int64) for _ in rows],
        "responses": [torch.zeros(length, dtype=torch.int64) for length in lengths],
        "response_mask": [torch.tensor(row["mask"]) for row in rows],
        "old_log_probs": [torch.tensor(row["p"]) for row in rows],
        "advantages": [torch.zeros(length) for length in lengths],
        "changed_log_probs": [torch.tensor([*row["q"], NAN]) for row in rows],
    }
    data = TensorDict({name: jagged(values) for name, values in columns.items()}, batch_size=len(rows))
    whole = whole or rows
    tokens = sum(sum(row["mask"]) for row in whole)
    tu.assign_non_tensor(data, dp_size=1, batch_num_tokens=tokens, global_batch_size=len(whole))
    return data


def loss_of(
    rows: list[dict], request: dict, whole: list[dict] | None = None
) -> tuple[torch.Tensor, dict, torch.Tensor]:
    """Loss, metrics and the gradient with respect to log p, packed; ``rows`` are a micro-batch of ``whole``."""
    config = FSDPActorConfig(
        strategy="fsdp2", rollout_n=1, ppo_micro_batch_size_per_gpu=1, loss_agg_mode=request["loss_agg_mode"]
    )
    data = batch_of(rows, whole)
    values = torch.cat([torch.tensor([*row["p"], 0.0]) for row in rows]).requires_grad_()
    log_probs = torch.nested.nested_tensor_from_jagged(values, data["changed_log_probs"].offsets())
    loss, metrics = with_terms(partial(ppo_loss, config=config), request)(
        model_output={"log_probs": log_probs}, data=data
    )
    (gradient,) = torch.autograd.grad(loss, values)
    return loss, {name: value.aggregate() for name, value in metrics.items() if "auxiliary" in name}, gradient


def test_loss_and_gradient_by_hand():
    """k3 is e^-1 at d = -1; d k3 / d log p = 1 - q / p. The last token is not the policy's, the one before has no q."""
    row = {"p": [-1.0, -2.0, -3.0, -4.0], "q": [-2.0, -2.0, NAN, -9.0], "mask": [1, 1, 1, 0]}
    loss, metrics, gradient = loss_of([row], request_of(gain=0.3, entropy=0.06))
    assert metrics["actor/auxiliary/divergence"] == pytest.approx(math.exp(-1) / 3)
    assert metrics["actor/auxiliary/entropy"] == pytest.approx(2.0)
    assert metrics["actor/auxiliary/entropy_changed"] == pytest.approx((2 + 2 + 3) / 3)
    assert loss.item() == pytest.approx(-0.3 * math.exp(-1) / 3 + 0.06 * 2)
    pull = -0.3 * (1 - math.exp(-1)) / 3
    assert gradient.tolist() == pytest.approx([pull - 0.02, -0.02, -0.02, 0, 0], abs=1e-6)


def test_loss_of_the_terms_alone_moves_the_policy_away_from_the_changed_view():
    row = {"p": [-1.0, -3.0], "q": [-2.0, -2.0], "mask": [1, 1]}
    _, _, gradient = loss_of([row], request_of(gain=1.0))
    assert gradient[0] < 0 < gradient[1], "a step against the gradient raises the first log p and lowers the second"


def test_lens_adds_the_terms_with_the_gradient_that_the_loss_has():
    """Without advantages, the weights of papo's row are g times the token factors, and e times the plain gradient."""
    rows = [{"p": [-1.0, -2.0, -3.0, -4.0], "q": [-2.0, -1.5, NAN, -9.0], "mask": [1, 1, 1, 0]}]
    rows.append({"p": [-30.0, -9.0, -1.0], "q": [-1.0, -1.0, -1.0], "mask": [1, 1, 1]})  # cut at 20 and at 10
    _, _, gradient = loss_of(rows, request_of(**{name: getattr(PapoSettings(), name) for name in ("gain", "entropy")}))
    mask, own, changed = (
        jagged([torch.tensor(row[name]) for row in rows]).to_padded_tensor(0) for name in ("mask", "p", "q")
    )
    signals = Signals(mask != 0, {"old_log_probs": own, CHANGED_LOG_PROBS.name: changed})
    found = Papo.token_factors(signals)
    assert found.factor[0, 0].item() == pytest.approx(1 - math.exp(-1)) and not found.factor[1, :2].any()
    row, _ = Papo.lens_rows()
    zero = torch.zeros(2)
    rollouts = Rollouts(zero, zero[:, None], zero[:, None], *[zero] * 6, zero.long(), zero.long())
    together = row.weights(rollouts, None)[:, None] * found.factor + row.plain(rollouts, None)[:, None] * mask
    lengths = [slice(0, 4), slice(5, 8)]  # behind each row's last token, verl's packed log-probs have one place more
    expected = [-6 * gradient[at] for at in lengths]
    for values, of_loss in zip(together, expected, strict=True):
        assert values[: len(of_loss)].tolist() == pytest.approx(of_loss.tolist(), abs=1e-6)


numbers = st.integers(-40, 0).map(lambda n: n / 8)
tokens = st.tuples(numbers, st.one_of(numbers, st.just(NAN)), st.booleans().map(int))
rows_of_tokens = st.lists(st.lists(tokens, min_size=1, max_size=4), min_size=1, max_size=4).filter(
    lambda rows: all(any(own for *_, own in row) for row in rows)
)


@given(rows_of_tokens, st.sampled_from(["token-mean", "seq-mean-token-mean"]))
def test_loss_equals_a_loop_and_does_not_depend_on_the_micro_batch(drawn, mode):
    rows = [dict(zip(("p", "q", "mask"), map(list, zip(*row, strict=True)), strict=True)) for row in drawn]
    request = request_of(mode, gain=0.02, entropy=0.05)
    loss, _, gradient = loss_of(rows, request)

    values = []
    for row in drawn:
        of_row = [
            -0.02 * (0.0 if math.isnan(q) else min(math.exp(q - p) - (q - p) - 1, 10)) - 0.05 * p
            for p, q, own in row
            if own
        ]
        values.append(of_row)
    flat = [value for row in values for value in row]
    mean = sum(flat) / len(flat) if mode == "token-mean" else sum(sum(row) / len(row) for row in values) / len(values)
    assert loss.item() == pytest.approx(mean, abs=1e-5)
    parts = [loss_of([row], request, rows) for row in rows]
    assert sum(part[0].item() for part in parts) == pytest.approx(loss.item(), abs=1e-5)
    torch.testing.assert_close(torch.cat([part[2] for part in parts]), gradient)


def test_engine_adds_the_terms_to_an_update_and_to_nothing_else(monkeypatch):
    seen = []

    def step(self, micro_batch, loss_function, forward_only):
        seen.append(loss_function)
        return None, {"model_output": {}}

    monkeypatch.setattr(FSDPEngineWithLMHead, "forward_step", step)
    engine = MethodEngine.__new__(MethodEngine)
    asked = tu.get_tensordict({"input_ids": torch.zeros(1, 1)}, {AUXILIARY: request_of(gain=1.0)})
    bare = tu.get_tensordict({"input_ids": torch.zeros(1, 1)}, {})
    for batch, forward_only in ((asked, False), (asked, True), (bare, False)):
        engine.forward_step(batch, "loss", forward_only)
    assert callable(seen[0]) and seen[1:] == ["loss", "loss"]


def test_trainer_asks_for_the_terms_during_the_update_alone(make_trainer):
    seen = []

    class Stock(PPOTrainer):
        def _update_actor(self, batch, metrics):
            seen.append(dict(batch.extra_info))
            return batch

    for method, terms in (("papo", {"gain": 0.02, "entropy": 0.05}), ("grpo", None)):
        batch = KVBatchMeta(extra_info={"temperature": 1.0})
        after = make_trainer(f"method={method}", stock=Stock)._update_actor(batch, {})
        assert after.extra_info == {"temperature": 1.0}
        found = seen.pop().get(AUXILIARY)
        assert found is None if terms is None else {name: found[name] for name in terms} == terms
