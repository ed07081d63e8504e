# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""An audited rollout goes on from its first look with other images: tokens, images, records and evidence."""

from __future__ import annotations

import asyncio
import json

import pytest
from PIL import Image, ImageChops
from support.scripted import assert_consistent, call, compose_config, make_loop, prompt_of

from verl_mapo.names import AUDIT_PICTURE, AUDIT_TRUTH, TRAJECTORY
from verl_mapo.rollout.statuses import EndReason
from verl_mapo.rollout.trajectory import Trajectory

ANSWER = "<answer>red</answer>"
ALL = "visual_tool.audit.swaps=[random_crop,other_image,blank,repeat]"


class AuditServer:
    """Answers a request for log-probabilities, and notes what every request shows; turns come from a script."""

    def __init__(self, scripted, of_token):
        self.scripted, self.of_token = scripted, of_token
        self.asked: list[tuple[list[int], list[Image.Image], dict]] = []

    async def generate(self, request_id, *, prompt_ids, sampling_params, image_data=None, **more):
        self.asked.append((list(prompt_ids), list(image_data), dict(sampling_params)))
        logprobs = sampling_params.get("prompt_logprobs") is not None
        output = (
            await self.scripted.generate(
                request_id, prompt_ids=prompt_ids, sampling_params=sampling_params, image_data=image_data, **more
            )
            if not logprobs
            else type("Output", (), {})()
        )
        if logprobs:
            values = [[self.of_token(token)] for token in prompt_ids[1:]]
            output.extra_fields = {"prompt_logprobs": [*values, [0.0]]}
        return output

    @property
    def generated(self):
        return [asked for asked in self.asked if "prompt_logprobs" not in asked[2]]


@pytest.fixture
def other(tmp_path) -> str:
    Image.new("RGB", (300, 300), (20, 90, 20)).save(tmp_path / "other.png")
    return str(tmp_path / "other.png")


def audited(model, picture, other, turns, *overrides, of_token=lambda token: -1.0, truth="red"):
    async def run():
        loop = make_loop(model, compose_config(*overrides), turns)
        loop.server_manager = AuditServer(loop.server_manager, of_token)
        row = {"raw_prompt": prompt_of(picture), "global_steps": 1, "index": 3, "session_id": 0, AUDIT_PICTURE: other}
        output = await loop.run({"temperature": 1.0}, **row, **{AUDIT_TRUTH: truth})
        return output, loop.server_manager

    return asyncio.run(run())


def equal(first: Image.Image, second: Image.Image) -> bool:
    return first.size == second.size and ImageChops.difference(first, second).getbbox() is None


def colours(image: Image.Image) -> set[tuple[int, int, int]]:
    return {colour for _, colour in image.getcolors(image.width * image.height)}


def test_tokens_are_the_same_up_to_the_look_and_the_image_is_another(model, picture, other):
    replies = [f"<answer>{colour}</answer>" for colour in ("blue", "green", "grey", "red")]
    output, server = audited(model, picture, other, [call(), ANSWER, *replies], ALL)
    assert_consistent(model, output)
    audit = output.extra_fields[TRAJECTORY].audit
    assert audit.turn == 0 and [swap.kind for swap in audit.swaps] == ["random_crop", "other_image", "blank", "repeat"]
    assert [swap.reply for swap in audit.swaps] == replies
    _, (real_ids, real_images, _), *swaps = server.generated
    for (ids, images, _), swap in zip(swaps, audit.swaps, strict=True):
        assert ids == real_ids and equal(images[0], real_images[0])
        assert images[1].size == real_images[1].size
        if swap.kind != "random_crop":  # another part of the picture may look the same
            assert equal(images[1], real_images[1]) == (swap.kind == "repeat")
        assert swap.end_reason is EndReason.ANSWER and swap.calls == 0
    assert equal(output.multi_modal_data["images"][1], real_images[1])
    assert colours(swaps[1][1][1]) == {(20, 90, 20)} and audit.swaps[1].source == other
    assert colours(swaps[2][1][1]) == {(127, 127, 127)} and audit.swaps[2].source == ""
    assert (
        audit.swaps[0].source == picture and audit.swaps[0].box != output.extra_fields[TRAJECTORY].turns[0].view.region
    )


def test_evidence_is_the_log_probability_of_the_truth_alone(tiny_models, picture, other):
    model = tiny_models["qwen2_5_vl"]
    told = model.tokenizer("<answer>red</answer>", add_special_tokens=False, return_offsets_mapping=True)
    truth = [
        token for token, (start, end) in zip(told["input_ids"], told["offset_mapping"], strict=True)
        if start < 11 and end > 8
    ]  # fmt: skip
    output, server = audited(model, picture, other, [call(), ANSWER, ANSWER], "visual_tool.audit.swaps=[blank]",
                             of_token=lambda token: -0.001 * token)  # fmt: skip
    audit = output.extra_fields[TRAJECTORY].audit
    assert audit.evidence == audit.swaps[0].evidence == pytest.approx(-0.001 * sum(truth))
    asked = [ids for ids, _, params in server.asked if "prompt_logprobs" in params]
    assert all(ids[-len(told["input_ids"]) :] == told["input_ids"] for ids in asked) and len(asked) == 2
    assert asked[0][: -len(told["input_ids"])] == server.generated[1][0]


def test_later_looks_of_a_swapped_rollout_show_other_images_too(model, picture, other):
    turns = [call(), ANSWER, call((20, 10, 60, 50)), call((5, 5, 50, 60)), "<answer>blue</answer>"]
    output, server = audited(model, picture, other, turns, "visual_tool.audit.swaps=[blank]")
    [swap] = output.extra_fields[TRAJECTORY].audit.swaps
    assert swap.calls == 2 and swap.reply == "<answer>blue</answer>"
    *_, (_, images, _) = server.generated
    assert len(images) == 4 and all(colours(image) == {(127, 127, 127)} for image in images[1:])


@pytest.mark.parametrize("turns", [[ANSWER], ["<tool_call>no json</tool_call>", ANSWER]])
def test_rollout_without_a_look_has_no_audit(tiny_models, picture, other, turns):
    output, server = audited(tiny_models["qwen2_5_vl"], picture, other, turns, ALL)
    assert output.extra_fields[TRAJECTORY].audit is None and len(server.asked) == len(turns)


def test_what_cannot_be_shown_instead_is_left_out(tiny_models, picture, tmp_path):
    model, whole = tiny_models["qwen2_5_vl"], call((0, 0, 448, 300))
    for other in (picture, "", str(tmp_path / "absent.png")):
        output, _ = audited(model, picture, other, [whole, ANSWER, ANSWER], ALL.replace(",repeat", ""))
        assert [swap.kind for swap in output.extra_fields[TRAJECTORY].audit.swaps] == ["blank"]


def test_record_is_read_back(tiny_models, picture, other):
    output, _ = audited(tiny_models["qwen2_5_vl"], picture, other, [call(), ANSWER, ANSWER, ANSWER], ALL)
    trajectory = output.extra_fields[TRAJECTORY]
    trajectory.audit.swaps[0].outcome = 1.0
    record = json.loads(json.dumps(trajectory.to_record()))
    assert Trajectory.from_record(record).audit == trajectory.audit
    assert Trajectory.from_record({**record, "audit": None}).audit is None
    del record["audit"]
    assert Trajectory.from_record(record).audit is None
