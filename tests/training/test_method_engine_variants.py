# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Focus on each path that verl's engine can take through a model: the numbers of a plain padded pass."""

from __future__ import annotations

import copy

import pytest
import torch
from support.passes import (
    add_adapters,
    log_prob_pass,
    passes_of_a_rank,
    rows_of,
    shard,
    tiny_engine,
    use_verl_forward,
)
from torch import distributed
from torch.distributed.tensor import DTensor
from verl.utils.experimental.torch_functional import FusedLinearForPPO
from verl.utils.kernel import linear_cross_entropy as triton_kernel

from verl_mapo.advantages.visual_credit import VisualCreditSettings
from verl_mapo.training.method_engine import FOCUS, whole_head
from verl_mapo.training.visual_credit import focus_request


@pytest.fixture
def engine(model, monkeypatch):
    return tiny_engine(model.folder, monkeypatch)


@pytest.fixture
def rows(engine, model, picture):
    return rows_of(engine.module, model, picture)


@pytest.fixture
def requests(model):
    """Final norm and a decoder layer, token and predictor, all images and the latest."""
    image = [model.processor.image_token_id]
    other = VisualCreditSettings(prototype="latest", position="predictor", layer=0)
    return [focus_request(image, settings) for settings in (VisualCreditSettings(), other)]


@pytest.fixture
def group(tmp_path):
    """A process group of one."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """Scores and log-probs but for those after a row's last token, which are of no token."""
    assert torch.equal(one[FOCUS].offsets(), other[FOCUS].offsets())
    assert not one[FOCUS].values().isnan().all()
    last = one[FOCUS].offsets()[1:] - 1
    for name in (FOCUS, "log_probs"):
        found, expected = (each[name].values().clone() for each in (one, other))
        found[last], expected[last] = 0, 0
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5, equal_nan=True)


def passes(engine, rows, requests, **asked) -> list[dict[str, torch.Tensor]]:
    return [log_prob_pass(engine, rows, request, **asked) for request in requests]


def assert_all_same(found: list[dict], expected: list[dict]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)


# ---------------------------------------------------------------------------------------------------- packed, in shards


def test_packed_rows_have_the_scores_of_padded_rows_in_any_order_and_micro_batch(engine, rows, requests, monkeypatch):
    for order in ([0, 1, 2], [2, 0, 1], [1]):
        chosen = [rows[number] for number in order]
        with monkeypatch.context() as patch:
            padded = passes(engine, chosen, requests)
            use_verl_forward(engine, patch)
            assert_all_same(passes(engine, chosen, requests), padded)
            assert_all_same(passes(engine, chosen, requests, use_remove_padding=True), padded)


def test_packed_rows_may_be_padded_to_a_bucket(engine, rows, requests, monkeypatch):
    use_verl_forward(engine, monkeypatch)
    packed = passes(engine, rows, requests, use_remove_padding=True)
    engine.pad_to_length = True
    assert sum(len(row["input_ids"]) for row in rows) % engine.pad_to_length_bucket
    assert_all_same(passes(engine, rows, requests, use_remove_padding=True), packed)


def test_two_ranks_of_sequence_parallelism_have_the_scores_of_one_process(engine, model, rows, requests, tmp_path):
    rows = across_the_border(rows, model.processor.image_token_id)
    engine.module.save_pretrained(tmp_path)
    buckets = [1, 64]  # padding of one state, and of more, behind the last rank's shard
    torch.multiprocessing.spawn(passes_of_a_rank, (2, str(tmp_path), rows, requests, buckets, str(tmp_path)), nprocs=2)
    expected = passes(engine, rows, requests)
    for rank in range(2):
        for found in torch.load(tmp_path / f"rank-{rank}.pt", weights_only=False).values():
            assert_all_same(found, expected)


def across_the_border(rows: list[dict], image_token: int) -> list[dict]:
    """An odd number of states, and an image of which two ranks hold a part each; the last response is cut for it."""
    for cut in range(1, 20):
        last = {name: rows[0][name][..., :-cut] for name in ("input_ids", "position_ids", "response_mask")}
        chosen = [rows[2], rows[0] | last]
        ids = torch.cat([row["input_ids"] for row in chosen])
        border = -(-len(ids) // 2)
        if len(ids) % 2 and (ids[border - 1 : border + 1] == image_token).all():
            return chosen
    raise AssertionError("no image lies across the border")


# ------------------------------------------------------------------------------------------------- wrapped and replaced


def add_lora(engine) -> None:
    """verl's own wrapping, with adapters that are not zero."""
    add_adapters(engine)
    generator = torch.Generator().manual_seed(0)
    for name, weight in engine.module.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(0, 0.1, generator=generator)


def test_lora_has_the_scores_of_the_merged_model(engine, rows, requests):
    plain = passes(engine, rows, requests)
    add_lora(engine)
    found = passes(engine, rows, requests)
    engine.module = copy.deepcopy(engine.module).merge_and_unload()
    assert_all_same(found, passes(engine, rows, requests))
    assert not torch.allclose(found[0][FOCUS].values(), plain[0][FOCUS].values(), atol=1e-3, equal_nan=True)


@pytest.mark.parametrize("adapters", [False, True])
@pytest.mark.parametrize("strategy", ["fsdp", "fsdp2"])
def test_sharded_model_has_the_scores_of_the_unsharded_model(engine, rows, requests, group, strategy, adapters):
    if adapters:
        add_lora(engine)
    bare = passes(engine, rows, requests)
    shard(engine, strategy, adapters)
    assert_all_same(passes(engine, rows, requests), bare)


def test_gradient_checkpointing_changes_no_score(engine, rows, requests):
    plain = passes(engine, rows, requests)
    engine.module.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    for module in (engine.module.eval(), engine.module.train()):
        assert module.get_decoder().gradient_checkpointing
        assert_all_same(passes(engine, rows, requests), plain)


def test_fused_kernels_have_the_scores_of_the_language_head(engine, rows, requests, monkeypatch):
    plain = passes(engine, rows, requests)
    use_verl_forward(engine, monkeypatch, fused_kernels="torch")
    for packed in (False, True):
        assert_all_same(passes(engine, rows, requests, use_fused_kernels=True, use_remove_padding=packed), plain)


@pytest.mark.parametrize("packed", [False, True])
def test_fused_kernels_read_the_whole_head_of_a_sharded_model(engine, rows, requests, group, monkeypatch, packed):
    """verl 0.9.1 alone stops here: the head is an FSDP2 unit that its fused forward does not call."""
    plain = passes(engine, rows, requests)
    use_verl_forward(engine, monkeypatch, fused_kernels="torch")
    shard(engine, "fsdp2", adapters=False)
    assert_all_same(passes(engine, rows, requests, use_fused_kernels=True, use_remove_padding=packed), plain)
    assert isinstance(engine.module.lm_head.weight, DTensor), "it is a shard again"


def test_update_through_fused_kernels_reaches_the_head_of_a_sharded_model(engine, rows, group, monkeypatch):
    use_verl_forward(engine, monkeypatch, fused_kernels="torch")
    row = rows[0]
    inputs = {
        "input_ids": row["input_ids"][None],
        "position_ids": row["position_ids"][:, None],
        **row["multi_modal_inputs"],
    }

    def update() -> torch.Tensor:
        with whole_head(engine.module, forward_only=False):
            output = engine.module(**inputs, temperature=1.0, return_dict=True, use_cache=False)
        output.log_probs[0, :-1].sum().backward()
        return engine.module.lm_head.weight.grad

    expected = update().clone()
    engine.module.zero_grad()
    shard(engine, "fsdp2", adapters=False)
    for times in (1, 2):  # the gradients of two micro-batches add up
        torch.testing.assert_close(update().full_tensor(), times * expected, rtol=1e-3, atol=1e-4)
        assert isinstance(engine.module.lm_head.weight, DTensor)


def test_forward_around_the_triton_kernel_gives_the_same_states(engine, rows, requests, monkeypatch):
    """The kernel itself needs a GPU; verl's torch implementation of the same sums stands in for it."""

    def kernel(hidden, weight, labels, temperature, reduction):
        return FusedLinearForPPO(impl_backend="torch").forward(hidden, weight, labels, temperature)

    plain = passes(engine, rows, requests)
    monkeypatch.setattr(triton_kernel, "linear_cross_entropy", kernel)
    use_verl_forward(engine, monkeypatch, fused_kernels="triton")
    assert_all_same(passes(engine, rows, requests, use_fused_kernels=True, use_remove_padding=True), plain)


def test_autocast_leaves_the_reduction_in_float32(engine, rows, requests, monkeypatch):
    """The hook runs inside verl's autocast: what it makes of the states must be what it makes of them outside."""
    states, seen = [], engine._score
    monkeypatch.setattr(engine, "_score", lambda *args: states.append((args, seen(*args))) or states[-1][1])
    engine._autocast_dtype = torch.bfloat16
    passes(engine, rows, requests)
    for args, inside in states:
        assert torch.equal(seen(*args).nan_to_num(-1), inside.nan_to_num(-1))


# --------------------------------------------------------------------------------------------------------------- videos


@pytest.mark.parametrize("packed", [False, True])
def test_video_of_one_frame_is_scored_as_the_image_that_it_is(engine, model, rows, monkeypatch, packed):
    image, video = model.processor.image_token_id, model.processor.video_token_id
    request = focus_request([image, video], VisualCreditSettings())
    use_verl_forward(engine, monkeypatch)
    videos = [
        row
        | {
            "input_ids": torch.where(row["input_ids"] == image, video, row["input_ids"]),
            "multi_modal_inputs": {
                "pixel_values_videos": row["multi_modal_inputs"]["pixel_values"],
                "video_grid_thw": row["multi_modal_inputs"]["image_grid_thw"],
            },
        }
        for row in rows
    ]
    as_images, as_videos, mixed = (
        log_prob_pass(engine, batch, request, use_remove_padding=packed)
        for batch in (rows, videos, [rows[0], videos[1], rows[2]])
    )
    for found in (as_videos, mixed):
        torch.testing.assert_close(found[FOCUS].values(), as_images[FOCUS].values(), rtol=0, atol=1e-5, equal_nan=True)
