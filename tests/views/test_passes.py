# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Log-probs under changed views in verl's own log-prob pass, against plain passes of transformers, row by row."""

from __future__ import annotations

import pytest
import torch
from support.passes import log_prob_pass, rows_of, shard, tiny_engine, use_verl_forward
from torch import distributed

from verl_mapo.views.passes import VIEWS, row_seed
from verl_mapo.views.pixels import PatchLayout, ViewSettings, changed_pixels

COLUMN = "changed_log_probs"


@pytest.fixture
def engine(model, monkeypatch):
    return tiny_engine(model.folder, monkeypatch)


@pytest.fixture
def rows(engine, model, picture):
    """Two rows with images, and between them a shorter one without."""
    first, second, _ = rows_of(engine.module, model, picture)
    ids = first["input_ids"][first["input_ids"] != model.processor.image_token_id][-30:]
    text = {
        "input_ids": ids,
        "position_ids": torch.arange(len(ids)).expand(4, -1),
        "response_mask": torch.ones(12, dtype=torch.int64),
        "multi_modal_inputs": {},
    }
    return [first, text, second]


def request_of(model, **settings) -> dict:
    view = ViewSettings(**settings)
    layout = tuple(PatchLayout.of(model.processor.image_processor))
    ids = [model.processor.image_token_id, model.processor.video_token_id]
    return {COLUMN: {"view": vars(view), "layout": layout, "visual_token_ids": ids}}


def viewed(engine, rows, request, **asked) -> dict[str, torch.Tensor]:
    return log_prob_pass(engine, rows, None, **{VIEWS: request}, **asked)


def plain_log_probs(engine, row, pixels=None, **options) -> torch.Tensor:
    """(S,) of each token at its own place, by transformers' model; the first has none."""
    features = row["multi_modal_inputs"] | ({} if pixels is None else {"pixel_values": pixels})
    with torch.no_grad():
        logits = engine.module(
            input_ids=row["input_ids"][None], position_ids=row["position_ids"][:, None], **features, **options
        ).logits[0]
    found = logits.log_softmax(-1)[:-1].gather(1, row["input_ids"][1:, None]).squeeze(1)
    return torch.cat([torch.tensor([torch.nan]), found])


def response(row, values: torch.Tensor) -> torch.Tensor:
    return values[-len(row["response_mask"]) :]


def at_own_place(values: torch.Tensor) -> torch.Tensor:
    """verl's log-prob of a token lies one position before it."""
    return values.roll(1)


@pytest.mark.parametrize("change", ["squares", "blur", "noise"])
def test_log_probs_are_those_of_a_plain_pass_with_changed_pixels(engine, model, rows, change):
    request = request_of(model, change=change, seed=3)
    found = viewed(engine, rows, request)
    layout, view = PatchLayout.of(model.processor.image_processor), ViewSettings(change, seed=3)
    for row, changed, own in zip(rows, found[COLUMN].unbind(), found["log_probs"].unbind(), strict=True):
        if not row["multi_modal_inputs"]:
            assert changed.isnan().all()
            continue
        features = row["multi_modal_inputs"]
        generator = torch.Generator().manual_seed(row_seed(row["input_ids"], 3))
        pixels = changed_pixels(features["pixel_values"], features["image_grid_thw"], layout, view, generator)
        expected = plain_log_probs(engine, row, pixels)
        torch.testing.assert_close(response(row, at_own_place(changed)), response(row, expected), rtol=0, atol=1e-5)
        assert (response(row, at_own_place(changed)) - response(row, at_own_place(own))).abs().max() > 1e-4


def test_hidden_images_are_those_that_an_attention_mask_hides(engine, model, rows):
    found = viewed(engine, rows, request_of(model, change="hidden"))[COLUMN].unbind()
    for row, changed in zip(rows, found, strict=True):
        if not row["multi_modal_inputs"]:
            assert changed.isnan().all()
            continue
        image = row["input_ids"] == model.processor.image_token_id
        seen = torch.ones(len(image), len(image), dtype=torch.bool).tril()
        seen[:, image] &= image[:, None]  # a text token sees no image; an image token sees what it saw
        expected, own = plain_log_probs(engine, row, attention_mask=seen[None, None]), plain_log_probs(engine, row)
        policy = row["response_mask"].bool()
        found, expected, own = (response(row, each)[policy] for each in (at_own_place(changed), expected, own))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        assert not torch.allclose(expected, own, atol=1e-4)


def test_hidden_text_is_that_which_an_attention_mask_hides(engine, model, rows):
    """Rows of which a span of the response is hidden; the row without one has no log-probs."""
    spans = [(2, 7), (0, 0), (0, 4)]
    for row, (begin, end) in zip(rows, spans, strict=True):
        row["seen_text"] = torch.zeros_like(row["response_mask"])
        row["seen_text"][begin:end] = 1
    found = viewed(engine, rows, {"unseen_log_probs": {"hidden": "seen_text"}})["unseen_log_probs"].unbind()
    for row, changed, (begin, end) in zip(rows, found, spans, strict=True):
        if begin == end:
            assert changed.isnan().all()
            continue
        hidden = torch.zeros(len(row["input_ids"]), dtype=torch.bool)
        hidden[-len(row["response_mask"]) :] = row["seen_text"].bool()
        seen = torch.ones(len(hidden), len(hidden), dtype=torch.bool).tril()
        seen[:, hidden] &= hidden[:, None]
        expected = response(row, plain_log_probs(engine, row, attention_mask=seen[None, None]))
        changed = response(row, at_own_place(changed))
        assert changed[begin:end].isnan().all(), "a hidden token has no log-prob"
        # the token after the span is predicted by the last token that is not hidden, whose state the span is not in
        torch.testing.assert_close(changed[end + 1 :], expected[end + 1 :], rtol=0, atol=1e-5)
        assert not changed[end:].isnan().any()


@pytest.mark.parametrize("settings", [{}, {"change": "hidden"}])
def test_packed_rows_in_any_order_have_the_log_probs_of_padded_rows(engine, model, rows, settings, monkeypatch):
    request = request_of(model, **settings)
    padded = [row.clone() for row in viewed(engine, rows, request)[COLUMN].unbind()]
    use_verl_forward(engine, monkeypatch)
    for order in ([0, 1, 2], [2, 0], [1, 2]):
        chosen = [rows[number] for number in order]
        found = viewed(engine, chosen, request, use_remove_padding=True)[COLUMN].unbind()
        for number, values in zip(order, found, strict=True):
            torch.testing.assert_close(values[:-1], padded[number][:-1], rtol=0, atol=1e-5, equal_nan=True)


def test_views_of_one_pass_do_not_change_each_other(engine, model, rows):
    """All rows have images, so that no view selects rows."""
    requests = {change: request_of(model, change=change)[COLUMN] for change in ("hidden", "squares", "noise")}
    together = viewed(engine, rows[::2], requests)
    for change, request in requests.items():
        alone = viewed(engine, rows[::2], {COLUMN: request})[COLUMN]
        torch.testing.assert_close(together[change].values(), alone.values(), rtol=0, atol=0, equal_nan=True)


def test_micro_batch_without_images_is_passed_as_often_and_has_no_log_probs(engine, model, rows, monkeypatch):
    """Ranks that share a model have to call it equally often."""
    use_verl_forward(engine, monkeypatch)
    calls = []
    engine.module.register_forward_pre_hook(lambda *_: calls.append(1))
    for settings in ({}, {"change": "hidden"}):
        assert viewed(engine, rows[1:2], request_of(model, **settings))[COLUMN].values().isnan().all()
    assert len(calls) == 4


def test_other_outputs_are_those_of_a_pass_without_a_request(engine, model, rows):
    asked = viewed(engine, rows, request_of(model), calculate_entropy=True)
    plain = log_prob_pass(engine, rows, None, calculate_entropy=True)
    for name in ("log_probs", "entropy"):
        assert torch.equal(asked[name].values(), plain[name].values())
    assert COLUMN not in plain and asked.keys() == plain.keys() | {COLUMN}
    for row in rows[::2]:
        assert row["multi_modal_inputs"].keys() >= {"pixel_values"}, "the batch keeps its images"


def test_sharded_model_has_the_log_probs_of_the_unsharded_model(engine, model, rows, tmp_path, monkeypatch):
    request = request_of(model)
    bare = viewed(engine, rows, request)[COLUMN].values()
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        shard(engine, "fsdp2", adapters=False)
        found = viewed(engine, rows, request)[COLUMN].values()
    finally:
        distributed.destroy_process_group()
    torch.testing.assert_close(found, bare, rtol=0, atol=1e-5, equal_nan=True)


def test_seed_of_a_row_depends_on_its_tokens_and_the_seed_of_the_view():
    ids = torch.arange(5)
    assert row_seed(ids, 0) == row_seed(ids.clone(), 0)
    assert len({row_seed(ids, 0), row_seed(ids, 1), row_seed(ids + 1, 0)}) == 3
