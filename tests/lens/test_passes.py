# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Sketches inside verl's own log-prob pass, on tiny models of both families."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import torch
from support.fake_queue import scored_rows
from support.passes import add_adapters, log_prob_pass, rows_of, shard, tiny_engine, use_verl_forward
from support.policies import with_wrong_sign
from support.scripted import compose_config
from torch import distributed

from verl_mapo import names
from verl_mapo.advantages.visual_credit import VisualCreditSettings, token_factor
from verl_mapo.columns import (
    AXPO_COLUMNS,
    CHANGED_LOG_PROBS,
    CONTINUATION,
    PERCEPTION,
    PLAIN,
    SOURCE,
    UNSEEN_LOG_PROBS,
    Column,
)
from verl_mapo.lens.collection import Collection, split_sketches
from verl_mapo.lens.passes import SKETCH, share_of_cores
from verl_mapo.lens.sketch import CountSketch, cosine_error
from verl_mapo.lens.steps import updates
from verl_mapo.relatives.pepo import pepo_factor
from verl_mapo.relatives.pgpo import pgpo_factor
from verl_mapo.relatives.srpo import PerceptionSpans, srpo_factors
from verl_mapo.relatives.vppo import vppo_factors
from verl_mapo.rollout.statuses import EndReason, TurnStatus
from verl_mapo.rollout.trajectory import Trajectory, Turn
from verl_mapo.training.axpo import Axpo
from verl_mapo.training.lens import Lens
from verl_mapo.training.method_engine import FOCUS
from verl_mapo.training.visual_credit import focus_request
from verl_mapo.views.divergence import divergence
from verl_mapo.views.passes import VIEWS

REQUEST = {"size": 512, "seed": 2, "layers": None, "weights": {}}


@pytest.fixture
def engine(model, monkeypatch):
    engine = tiny_engine(model.folder, monkeypatch)
    engine.get_data_parallel_group = lambda: None  # verl passes it to every loss function
    return engine


def sketches(engine, rows: list[dict], request: dict = REQUEST, **asked) -> torch.Tensor:
    return torch.stack(log_prob_pass(engine, rows, None, **{SKETCH: request, **asked})[SKETCH].unbind())


def request_of_both_kinds(model) -> dict:
    """A request for a weighting by states of the pass itself, and for one by another pass."""
    ids = [model.processor.image_token_id]
    hidden = {"view": {"change": "hidden"}, "layout": (), "visual_token_ids": ids}
    vgpo = {FOCUS: focus_request(ids, VisualCreditSettings())}
    return REQUEST | {"weights": {names.VGPO: vgpo, names.PGPO: {VIEWS: {CHANGED_LOG_PROBS.name: hidden}}}}


def full(engine, row: dict, layers: int | None = None, weights: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    """The gradients, flat and by name, that an ordinary backward pass of one row leaves in the weights.

    ``weights`` are those of the response tokens, (L,); None for 1.
    """
    model = engine.module
    model.zero_grad()
    logits = model(
        input_ids=row["input_ids"][None], position_ids=row["position_ids"][:, None], **row["multi_modal_inputs"]
    ).logits[0]
    begin = len(row["input_ids"]) - len(row["response_mask"])
    places = begin + row["response_mask"].nonzero().squeeze(1)
    log_probs = logits.float().log_softmax(-1)[places - 1, row["input_ids"][places]]
    (log_probs.sum() if weights is None else log_probs @ weights[row["response_mask"].bool()]).backward()
    blocks = model.get_decoder().layers
    found = {
        f"{number}.{name}": layer.weight.grad.flatten().clone()
        for number in range(len(blocks) - (layers or len(blocks)), len(blocks))
        for name, layer in blocks[number].named_modules()
        if isinstance(layer, torch.nn.Linear) and layer.weight.requires_grad
    }
    model.zero_grad()
    return found


def slow(engine, row: dict, layers: int | None = None, weights: torch.Tensor | None = None) -> torch.Tensor:
    """The sketch of :func:`full`."""
    sketch = CountSketch(REQUEST["size"], REQUEST["seed"])
    found = torch.zeros(1, sketch.size)
    for name, gradient in full(engine, row, layers, weights).items():
        sketch.add(found, name, gradient[None])
    return found[0]


def test_pass_on_a_cpu_uses_all_cores_and_gives_them_back():
    before = torch.get_num_threads()
    with share_of_cores(torch.device("cpu")):
        assert torch.get_num_threads() == len(os.sched_getaffinity(0))
    with share_of_cores(torch.device("cuda")):
        assert torch.get_num_threads() == before
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("layers", [None, 1])
def test_sketch_of_each_row_is_that_of_its_own_backward_pass(engine, model, picture, layers):
    rows = rows_of(engine.module, model, picture)
    found = sketches(engine, rows, REQUEST | {"layers": layers})
    for row, sketch in zip(rows, found, strict=True):
        expected = slow(engine, row, layers)
        assert torch.allclose(sketch, expected, atol=1e-3 * float(expected.abs().max()))
    assert all(parameter.grad is None for parameter in engine.module.parameters())


def test_log_probs_are_those_of_a_pass_without_a_request(engine, model, picture):
    rows = rows_of(engine.module, model, picture)
    asked = log_prob_pass(engine, rows, None, **{SKETCH: REQUEST})
    plain = log_prob_pass(engine, rows, None)
    assert torch.equal(asked["log_probs"].values(), plain["log_probs"].values())
    assert not asked["log_probs"].values().requires_grad and SKETCH not in plain


def test_sketches_do_not_depend_on_the_micro_batch(engine, model, picture):
    rows = rows_of(engine.module, model, picture)
    together = sketches(engine, rows)
    pair = sketches(engine, [rows[2], rows[0]])
    assert torch.allclose(pair, together[[2, 0]], atol=1e-3 * float(together.abs().max()))


def test_adapters_alone_are_measured_where_they_alone_are_trained(engine, model, picture):
    rows = rows_of(engine.module, model, picture)[:2]
    add_adapters(engine)
    with torch.no_grad():
        for name, parameter in engine.module.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02)
    found = sketches(engine, rows)
    for row, sketch in zip(rows, found, strict=True):
        expected = slow(engine, row)
        assert expected.abs().max() > 0
        assert torch.allclose(sketch, expected, atol=1e-3 * float(expected.abs().max()))


def test_token_weighted_sketches_are_those_of_the_weighted_log_probs(engine, model, picture):
    """VGPO's and PEPO's factors, computed here from an ordinary pass with scores, against slow backward passes.

    Factors that are shifted by one token give another sketch, and the placebo has the factors and not the sketch.
    """
    rows = rows_of(engine.module, model, picture)
    count = len(engine.module.get_decoder().layers)
    vgpo = focus_request([model.processor.image_token_id], VisualCreditSettings())
    pepo = vgpo | {"layers": list(range(count)), "similarity": "every_state"}
    asked = {names.VGPO: vgpo, names.PEPO: pepo}
    wanted = {name: {FOCUS: each} for name, each in asked.items()}
    found = sketches(engine, rows, REQUEST | {"weights": wanted}, calculate_entropy=True)
    plain, weighted = split_sketches(found, REQUEST["size"], asked)
    assert torch.allclose(plain, sketches(engine, rows), atol=1e-3 * float(plain.abs().max()))
    for number, row in enumerate(rows):
        mask, stop = row["response_mask"], len(row["input_ids"]) - 1
        scores, entropy = {}, None
        for name, request in asked.items():
            output = log_prob_pass(engine, [row], request, calculate_entropy=True)
            scores[name] = output[FOCUS].values()[stop - len(mask) : stop][None]
            entropy = output["entropy"].values()[stop - len(mask) : stop][None]
        scored = ~scores[names.VGPO].isnan() & mask.bool()
        by_vgpo = token_factor(scores[names.VGPO], scored, mask[None], VisualCreditSettings())
        by_pepo = pepo_factor(2 * scores[names.PEPO] - 1, entropy, scored, 1.0)
        for name, factor in ((names.VGPO, by_vgpo.factor[0]), (names.PEPO, by_pepo[0])):
            sketch, tolerance = weighted[f"weighted/{name}"][number], 1e-3 * float(plain[number].abs().max())
            assert torch.allclose(sketch, slow(engine, row, weights=factor), atol=tolerance)
            assert not torch.allclose(sketch, slow(engine, row, weights=factor.roll(1)), atol=tolerance)
            assert not torch.allclose(sketch, weighted[f"weighted/{name}, shuffled"][number], atol=tolerance)
        assert weighted["row_score/vgpo"][number] == pytest.approx(float(by_vgpo.trajectory_score[0]), rel=1e-4)
    assert weighted["row_score/pepo"].isnan().all()


def test_sketches_of_methods_that_compare_views_are_those_of_the_weighted_log_probs(engine, model, picture, tmp_path):
    """The request is the lens's own; views are compared here row by row, with the passes that training makes.

    Five passes answer it: one under the own view, one for the view that vppo and srpo share, and one each for those of
    papo, pgpo and srpo's reasoning.
    """
    rows = rows_of(engine.module, model, picture)[:2]  # the second one has no call, and so no written perception
    overrides = [
        f"lens.folder={tmp_path}",
        "lens.size=512",
        "lens.seed=2",
        f"lens.token_weights=[{','.join(names.VIEWED)}]",
    ]
    lens = Lens(compose_config(*overrides, f"actor_rollout_ref.model.path={model.folder}"))
    lens.check_model(model.tokenizer, model.processor)
    spans = PerceptionSpans(model.tokenizer, True, ["description"])
    for row in rows:
        row[PERCEPTION.name] = spans.of(row["input_ids"][-len(row["response_mask"]) :], row["response_mask"])
    passes = []
    handle = engine.module.register_forward_pre_hook(lambda *_: passes.append(1))
    request = lens.log_prob_request()[SKETCH]
    plain, weighted = split_sketches(sketches(engine, rows, request), 512, request["weights"])
    handle.remove()
    assert len(passes) == 5
    for number, row in enumerate(rows):
        policy, written = row["response_mask"].bool()[None], row[PERCEPTION.name].bool()[None]
        assert written.any() == (number == 0)

        def of_response(values: torch.Tensor, row: dict = row) -> torch.Tensor:
            return values[-len(row["response_mask"]) - 1 : -1][None]

        def signal(name: str, column: Column, row: dict = row, read: Callable = of_response) -> torch.Tensor:
            """log p and log q of the response under a view of a method."""
            view = request["weights"][name][VIEWS][column.name]
            output = log_prob_pass(engine, [row], None, **{VIEWS: {column.name: view}})
            return read(output["log_probs"].values()), read(output[column.name].values())

        shown = {name: divergence(*signal(name, CHANGED_LOG_PROBS)) for name in (names.VPPO, names.PGPO)}
        own, unseen = signal(names.SRPO, UNSEEN_LOG_PROBS)
        own, masked = signal(names.PAPO, CHANGED_LOG_PROBS)
        expected = {
            names.VPPO: vppo_factors(shown[names.VPPO], policy).kept.float(),
            names.PGPO: pgpo_factor(shown[names.PGPO], policy),
            names.SRPO: srpo_factors(shown[names.VPPO], own - unseen, written, policy).factor,
            names.PAPO: 1 - (masked - own).exp(),
        }
        for name, (factor,) in expected.items():
            sketch, tolerance = weighted[f"weighted/{name}"][number], 1e-3 * float(plain[number].abs().max())
            assert torch.allclose(sketch, slow(engine, row, weights=factor), atol=tolerance), name
            even = name == names.SRPO and not written.any()  # all factors are 1
            assert even or not torch.allclose(sketch, weighted[f"weighted/{name}, shuffled"][number], atol=tolerance)
        score = shown[names.VPPO][policy].double().mean()
        assert weighted["row_score/vppo"][number] == pytest.approx(float(score), rel=1e-3)


def test_cosines_of_weighted_sketches_are_those_of_full_gradients_within_the_bound(engine, model, picture):
    rows = rows_of(engine.module, model, picture)
    vgpo = focus_request([model.processor.image_token_id], VisualCreditSettings())
    request = REQUEST | {"weights": {names.VGPO: {FOCUS: vgpo}}}
    plain, weighted = split_sketches(sketches(engine, rows, request), REQUEST["size"], request["weights"])
    vectors = []
    for row in rows:
        mask, stop = row["response_mask"], len(row["input_ids"]) - 1
        score = log_prob_pass(engine, [row], vgpo)[FOCUS].values()[stop - len(mask) : stop][None]
        factor = token_factor(score, ~score.isnan(), mask[None], VisualCreditSettings()).factor[0]
        vectors.append(torch.cat([*full(engine, row, weights=factor).values()]))
    ones = torch.stack([torch.cat([*full(engine, row).values()]) for row in rows])
    exact, found = (
        torch.nn.functional.normalize(one, dim=1) @ torch.nn.functional.normalize(other, dim=1).T
        for one, other in ((torch.stack(vectors), ones), (weighted["weighted/vgpo"], plain))
    )
    assert (found - exact).abs().max() < 4 * cosine_error(REQUEST["size"], 1.0)


def test_weighted_sketches_do_not_depend_on_the_micro_batch_and_leave_focus_scores_to_the_method(
    engine, model, picture
):
    rows = rows_of(engine.module, model, picture)
    vgpo = focus_request([model.processor.image_token_id], VisualCreditSettings())
    request = REQUEST | {"weights": {names.VGPO: {FOCUS: vgpo}}}
    together, alone = sketches(engine, rows, request), sketches(engine, [rows[2]], request)
    assert torch.allclose(alone[0], together[2], atol=1e-3 * float(together.abs().max()))
    both = log_prob_pass(engine, rows, vgpo, **{SKETCH: request})
    plain = log_prob_pass(engine, rows, vgpo)
    assert torch.equal(both[FOCUS].values().nan_to_num(-1), plain[FOCUS].values().nan_to_num(-1))


@pytest.mark.parametrize("strategy", [pytest.param("fsdp", marks=pytest.mark.matrix), "fsdp2"])
def test_shards_take_several_backward_passes(engine, model, picture, tmp_path, strategy):
    """FSDP gathers the weights again for each backward pass over the same graph, and after that of a view."""
    rows = rows_of(engine.module, model, picture)
    request = request_of_both_kinds(model)
    whole = sketches(engine, rows, request).nan_to_num(0.0)  # of pgpo, no group compares a score
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        shard(engine, strategy, adapters=False)
        found = [sketches(engine, rows, request).nan_to_num(0.0) for _ in range(2)]
    finally:
        distributed.destroy_process_group()
    assert all(torch.allclose(each, whole, atol=1e-3 * float(whole.abs().max())) for each in found)


def test_packed_rows_have_the_sketches_of_padded_rows(engine, model, picture, monkeypatch):
    rows = rows_of(engine.module, model, picture)
    request = request_of_both_kinds(model)
    padded = sketches(engine, rows, request).nan_to_num(0.0)
    use_verl_forward(engine, monkeypatch)
    packed = sketches(engine, rows, request, use_remove_padding=True).nan_to_num(0.0)
    assert torch.allclose(packed, padded, atol=1e-3 * float(padded.abs().max()))


def test_update_of_a_step_is_that_of_ordinary_backward_passes_of_the_methods_loss(
    queue, make_trainer, engine, model, picture, tmp_path
):
    """Sketches of the log-prob pass, weighed by the lens, against the advantages that the trainer gives each token.

    Three rollouts of a question, of which the second is the source, and two continuations of its first three tokens.
    """
    called, short, twice = rows_of(engine.module, model, picture)
    rows = [dict(row) for row in (short, called, twice, twice, called)]
    length = [0, 3, 0, 3, 3]
    for row in rows[3:]:
        row["response_mask"] = row["response_mask"].clone().index_fill_(0, torch.arange(3), 0)
    role, prefix_id = [PLAIN, SOURCE, PLAIN, CONTINUATION, CONTINUATION], [-1, 1, -1, 1, 1]
    for column, values in zip(AXPO_COLUMNS, (role, length, prefix_id, *[[0] * 5] * 3), strict=True):
        queue.fields[column.name] = torch.tensor(values, dtype=column.dtype)
        for row, value in zip(rows, queue.fields[column.name], strict=True):
            row[column.name] = value
    measured = (f"lens.folder={tmp_path}", "lens.size=512", "lens.seed=2")
    trainer = make_trainer(
        "method=axpo", "algorithm.axpo.continuations=2", *measured, f"actor_rollout_ref.model.path={model.folder}"
    )
    request = trainer.methods[-1].log_prob_request()[SKETCH]
    assert request["weights"] == {"axpo": {}}
    call = Turn((0, 3), "x", TurnStatus.OK, tool="zoom")
    trajectories = [Trajectory([], [], turns, EndReason.ANSWER) for turns in ([], [call], [call], [call], [call])]
    masks = [row["response_mask"] for row in rows]
    queue.fields |= scored_rows(masks, [1.0, 0.0, 0.0, 1.0, 0.0], trajectories)
    queue.fields["uid"] = list("aaaaa")
    queue.fields[SKETCH] = sketches(engine, rows, request)
    keys = [f"a_{number}_0" for number in range(5)]
    trainer._compute_advantage(queue.batch(keys, prompt_len=[9] * 5, response_len=[len(m) for m in masks]), {})

    collection = Collection.of_parts(tmp_path, 3, {})
    assert collection.tokens.tolist() == [int(mask.sum()) for mask in masks], "of the rollout, and not of the loss"
    advantages = queue.fields["advantages"].unbind()
    expected = sum(slow(engine, row, weights=own) for row, own in zip(rows, advantages, strict=True))
    close = {"atol": 1e-3 * float(expected.abs().max())}
    axpo = Axpo.lens_rows()[0]
    for estimator, equal in ((axpo, True), (with_wrong_sign(axpo), False)):
        [update], _ = updates(collection, estimator, torch.Generator())
        assert torch.allclose(update, expected, **close) == equal
    assert len(collection.originals().outcome) == 3
