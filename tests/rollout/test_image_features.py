# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Features and position ids that verl's worker is given, compared with those that verl computes itself."""

from __future__ import annotations

import gc
import pickle
import threading

import pytest
import ray
import torch
from PIL import Image
from support.scripted import call, compose_config, play, prompt_of, verl_inputs
from transformers import Qwen3_5Model
from verl.experimental.agent_loop.agent_loop import AgentLoopWorker
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopWorkerTQ

from verl_mapo.rollout import loop
from verl_mapo.rollout.axpo.worker import ResamplingWorker
from verl_mapo.rollout.image_features import GRIDS, PIXELS, POSITION_IDS, FeatureStore, feature_dtype

FP32 = [f"++actor_rollout_ref.{model}.fsdp_config.mixed_precision.param_dtype=fp32" for model in ("actor", "ref")]
SCRIPT = [call((10, 10, 200, 140)), call((10, 10, 60, 90)), "<answer>red <|image_pad|></answer>"]


@pytest.fixture
def calls(monkeypatch):
    """The thread and the number of images of every call of an image processor."""
    seen: list[tuple[int, int]] = []

    def watch(model):
        kind = type(model.processor.image_processor)
        preprocess = kind.preprocess

        def counted(self, images, *args, **kwargs):
            seen.append((threading.get_ident(), len(images)))
            return preprocess(self, images, *args, **kwargs)

        monkeypatch.setattr(kind, "preprocess", counted)
        return seen

    return watch


def verls_own(model, output):
    """What verl's methods compute of a finished rollout; the text is left out, which may confuse the processor."""
    worker = object.__new__(AgentLoopWorker)
    worker.tokenizer, worker.processor = model.tokenizer, model.processor
    tokens = torch.tensor([output.prompt_ids + output.response_ids])
    features = AgentLoopWorker._compute_multi_modal_inputs.__wrapped__(worker, output, tokens[..., :0])
    positions = AgentLoopWorker._compute_position_ids.__wrapped__(worker, tokens, torch.ones_like(tokens), features)
    return {**features, "position_ids": positions}


@pytest.mark.parametrize("script", [SCRIPT, ["<answer>red</answer>"]], ids=["crops", "no crop"])
def test_worker_is_given_what_verl_computes(model, picture, script):
    output = play(model, compose_config(*FP32), prompt_of(picture), script)
    given, own = verl_inputs(model, output), verls_own(model, output)
    assert given.keys() == own.keys() and all(torch.equal(given[name], own[name]) for name in own)
    assert {name: value.dtype for name, value in given.items()} == {name: value.dtype for name, value in own.items()}


def test_features_of_an_image_depend_on_the_dtype_and_the_limits_that_are_asked_for(model):
    image, store = Image.new("RGB", (112, 84), (200, 30, 30)), FeatureStore()
    small = {"min_pixels": 28 * 28, "max_pixels": 56 * 56}
    for dtype, kwargs in ((torch.bfloat16, {}), (torch.float32, {}), (torch.float32, small), (torch.bfloat16, {})):
        given, own = (each.of(model.processor, [image], 1, kwargs, dtype) for each in (store, FeatureStore()))
        assert given[PIXELS].dtype is dtype and torch.equal(given[PIXELS], own[PIXELS])
        assert torch.equal(given[GRIDS], own[GRIDS])


@pytest.mark.parametrize("kind", [AgentLoopWorkerTQ, ray.remote(ResamplingWorker)], ids=["verl's", "axpo's"])
def test_actor_of_ray_takes_what_the_output_brings_along(kind, model, picture):
    """Ray pickles the class of an actor by value, which loses the wrapper around a method of it."""
    made = ray.cloudpickle.loads(ray.cloudpickle.dumps(kind.__ray_metadata__.modified_class))
    output = play(model, compose_config(), prompt_of(picture), SCRIPT)
    worker = object.__new__(made)
    tokens = torch.tensor([output.prompt_ids + output.response_ids])
    features = worker._compute_multi_modal_inputs(output, tokens)
    assert features[PIXELS] is output.features[PIXELS]
    positions = worker._compute_position_ids(tokens, torch.ones_like(tokens), features)
    assert positions is output.features[POSITION_IDS]


def test_positions_that_verl_computes_for_qwen3_5_are_those_of_its_model(tiny_models, picture):
    """verl's processor computes them with a function of Qwen3-VL, whose processor class Qwen3.5 has."""
    model = tiny_models["qwen3_5"]
    output = play(model, compose_config(), prompt_of(picture), SCRIPT)
    tokens, given = torch.tensor([output.prompt_ids + output.response_ids]), verl_inputs(model, output)
    own = Qwen3_5Model(model.processor.config).get_rope_index
    kinds = (tokens == model.processor.image_token_id).int()
    places, _ = own(tokens, mm_token_type_ids=kinds, image_grid_thw=given[GRIDS])
    assert torch.equal(given["position_ids"][:, 1:], places.transpose(0, 1))


def test_row_without_images_is_given_what_verl_computes(model):
    output = play(model, compose_config(), [{"role": "user", "content": "why?"}], ["<answer>x</answer>"])
    given, own = verl_inputs(model, output), verls_own(model, output)
    assert given.keys() == own.keys() and all(torch.equal(given[name], own[name]) for name in own)


def test_each_image_of_the_rollouts_of_a_prompt_is_processed_once_and_in_a_thread(model, picture, calls, monkeypatch):
    seen = calls(model)
    monkeypatch.setattr(loop, "_FEATURES", FeatureStore())
    outputs = [play(model, compose_config(), prompt_of(picture), SCRIPT) for _ in range(3)]  # one original, alive
    rows = [verl_inputs(model, output) for output in outputs]
    originals = {id(output.state.history.images[0]) for output in outputs}
    assert len(originals) == 1 and len(seen) == 1 + 3 * 2 and {number for _, number in seen} == {1}
    assert threading.get_ident() not in {thread for thread, _ in seen}
    assert all(torch.equal(row[PIXELS], rows[0][PIXELS]) for row in rows)


def test_pixels_travel_in_the_dtype_to_which_the_actor_casts_them(model, picture):
    half, full = (
        verl_inputs(model, play(model, compose_config(*more), prompt_of(picture), SCRIPT)) for more in ([], FP32)
    )
    assert half[PIXELS].dtype == torch.bfloat16 and full[PIXELS].dtype == torch.float32
    assert torch.equal(half[PIXELS], full[PIXELS].to(torch.bfloat16)), "rounded once, as FSDP would"
    assert 2 * len(pickle.dumps(half[PIXELS])) < 1.01 * len(pickle.dumps(full[PIXELS]))


def test_tokens_are_those_that_the_processor_counts_with_pixels(model, picture, monkeypatch):
    def played():
        output = play(model, compose_config(), prompt_of(picture), SCRIPT)
        return output.prompt_ids, output.response_ids, output.response_mask

    counted = played()
    monkeypatch.setattr(loop, "without_pixels", lambda processor: processor)
    assert played() == counted


@pytest.mark.parametrize(
    ("overrides", "dtype"),
    [
        ([], torch.bfloat16),
        (["stack=cpu"], torch.float32),
        (["actor_rollout_ref.actor.strategy=fsdp"], torch.bfloat16),
        (["actor_rollout_ref.actor.strategy=megatron"], torch.float32),
        (["++actor_rollout_ref.ref.fsdp_config.mixed_precision.param_dtype=fp32"], torch.float32),
        (["critic.enable=true"], torch.float32),
        (["algorithm.adv_estimator=gae"], torch.float32),
    ],
)
def test_pixels_are_only_rounded_where_every_model_rounds_them(overrides, dtype):
    assert feature_dtype(compose_config(*overrides)) == dtype


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_model_in_bfloat16_computes_the_same_logits_from_either_dtype(family, tiny_models, picture):
    from verl_mapo.toy.tiny_vlm import build_model

    model = tiny_models[family]
    network = build_model(family, model.tokenizer, seed=0).to(torch.bfloat16).eval()
    output = play(model, compose_config(*FP32), prompt_of(picture), ["<answer>red</answer>"])
    inputs = verl_inputs(model, output)
    tokens = torch.tensor([output.prompt_ids + output.response_ids])
    logits = [
        network(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            pixel_values=inputs[PIXELS].to(dtype),
            image_grid_thw=inputs[GRIDS],
            mm_token_type_ids=(tokens == model.processor.image_token_id).int(),
        ).logits
        for dtype in (torch.float32, torch.bfloat16)
    ]
    assert torch.equal(*logits)


def images_of(number: int, side: int = 112) -> list[Image.Image]:
    return [Image.effect_noise((side, side), 60).convert("RGB") for _ in range(number)]


def test_store_forgets_images_that_are_gone_and_those_used_longest_ago(model):
    side = 4 * model.processor.image_processor.patch_size * model.processor.image_processor.merge_size
    images = images_of(4, side)
    size = FeatureStore().of(model.processor, images[:1], 1, {})[PIXELS].nbytes
    store = FeatureStore(kept_bytes=2 * size)
    for image in (*images[:3], images[1]):
        store.of(model.processor, [image], 1, {})
    assert list(store._kept) == [id(images[2]), id(images[1])]
    store.of(model.processor, images[3:], 0, {})
    assert len(store._kept) == 2, "images of one rollout alone are not kept"
    images.clear()
    del image
    gc.collect()
    assert not store._kept


def test_image_larger_than_all_that_is_kept_is_still_computed(model):
    store = FeatureStore(kept_bytes=1)
    side = 4 * model.processor.image_processor.patch_size * model.processor.image_processor.merge_size
    images = images_of(3, side)
    together = store.of(model.processor, images, 3, {})
    assert len(together[GRIDS]) == 3 and len(store._kept) == 1


def test_features_of_many_images_are_those_of_one_call(model):
    side = model.processor.image_processor.patch_size * model.processor.image_processor.merge_size
    images = [
        Image.effect_noise((width * side, height * side), 60).convert("RGB")
        for width, height in ((4, 4), (6, 4), (4, 4), (5, 9))
    ]
    once = dict(model.processor(text=[""], images=images, return_tensors="pt"))
    parts = FeatureStore().of(model.processor, images, 2, {})
    assert torch.equal(parts[PIXELS], once[PIXELS]) and torch.equal(parts[GRIDS], once[GRIDS])
    assert parts["images_seqlens"].tolist() == [grid.prod() for grid in once[GRIDS]]
