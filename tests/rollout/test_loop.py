# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The agent loop with a scripted server; processor, Continuous Token, tools and images are real."""

from __future__ import annotations

import asyncio
import io
import random

import pytest
from PIL import Image
from support.scripted import assert_consistent, call, compose_config, make_loop, play, prompt_of

from verl_mapo.names import TRAJECTORY
from verl_mapo.rollout.statuses import EndReason, LabelFault, TurnStatus
from verl_mapo.rollout.trajectory import Trajectory


def test_processor_does_not_resize_the_images_again(model, picture):
    images = play(model, compose_config(), prompt_of(picture), [call(), call((1, 2, 300, 90))]).multi_modal_data[
        "images"
    ]
    grid = model.processor.image_processor(images=images, return_tensors="pt")["image_grid_thw"]
    patch = model.processor.image_processor.patch_size
    assert [(h * patch, w * patch) for _, h, w in grid.tolist()] == [(i.height, i.width) for i in images]


def test_crop_and_answer_have_their_tokens_masks_and_record(model, picture):
    output = play(model, compose_config(), prompt_of(picture), [call(), "<answer>red</answer>"])
    assert_consistent(model, output)
    trajectory = output.extra_fields[TRAJECTORY]
    zoom, answer = trajectory.turns
    assert (zoom.status, answer.status, trajectory.end_reason) == (TurnStatus.OK, TurnStatus.ANSWER, EndReason.ANSWER)
    assert zoom.label == "red square" and zoom.box_said == (10, 10, 40, 40) and zoom.faults == []
    crop = Image.open(io.BytesIO(zoom.pixels))
    assert crop.size == (zoom.box_executed[2] - zoom.box_executed[0], zoom.box_executed[3] - zoom.box_executed[1])
    assert not zoom.computed and zoom.view.size == output.multi_modal_data["images"][1].size
    assert model.tokenizer.decode(output.response_ids[slice(*zoom.span)]) == call() + "<|im_end|>"
    assert output.response_mask[slice(*zoom.span)] == [1] * (zoom.span[1] - zoom.span[0])
    assert output.response_mask[zoom.span[1] : answer.span[0]] == [0] * (answer.span[0] - zoom.span[1])


def test_sampled_tokens_keep_their_log_probs_and_other_tokens_have_zero(model, picture):
    async def run():
        loop = make_loop(model, compose_config(), [call(), "<answer>red</answer>"])
        generate, written = loop.server_manager.generate, []

        async def generate_with_different_log_probs(*args, **kwargs):
            output = await generate(*args, **kwargs)
            output.log_probs = [-0.001 * (1 + len(written) + place) for place in range(len(output.token_ids))]
            written.extend(output.log_probs)
            return output

        loop.server_manager.generate = generate_with_different_log_probs
        return await loop.run({}, raw_prompt=prompt_of(picture), global_steps=1), written

    output, written = asyncio.run(run())
    pairs = list(zip(output.response_logprobs, output.response_mask, strict=True))
    assert [logprob for logprob, sampled in pairs if sampled] == written
    assert {logprob for logprob, sampled in pairs if not sampled} == {0.0}


def test_zoom_into_a_marked_image_is_scored_on_the_marked_pixels(model, picture):
    turns = [call((10, 10, 40, 40), None, "mark"), call((5, 5, 60, 60), img_idx=1), "<answer>red</answer>"]
    output = play(model, compose_config("visual_tool.tools=[zoom,mark]"), prompt_of(picture), turns)
    assert_consistent(model, output)
    trajectory = output.extra_fields[TRAJECTORY]
    mark, zoom, _ = trajectory.turns
    assert mark.status is zoom.status is TurnStatus.OK and mark.computed and zoom.computed
    assert not mark.described and trajectory.visual_turns == [zoom] and mark.faults == []
    assert mark.view.region == (0, 0, 448, 300) and mark.pixels and zoom.pixels
    colours = Image.open(io.BytesIO(zoom.pixels)).convert("RGB").getcolors(1 << 20)
    assert max(red - blue for _, (red, _, blue) in colours) > 200, "the red line is in the crop"
    assert len(output.multi_modal_data["images"]) == 3
    assert output.multi_modal_data["images"][1].getcolors(1 << 20) != output.multi_modal_data["images"][0].getcolors()


def test_turn_after_an_unscored_tool_needs_no_description(model, picture):
    config = compose_config("visual_tool.tools=[zoom,mark]", "visual_tool.describe=after")
    output = play(model, config, prompt_of(picture), [call((10, 10, 40, 40), None, "mark"), "<answer>red</answer>"])
    mark = output.extra_fields[TRAJECTORY].turns[0]
    assert mark.status is TurnStatus.OK and mark.faults == []


@pytest.mark.parametrize(
    ("turn", "status"),
    [
        ("<tool_call>{", TurnStatus.NO_JSON),
        (call() + call(), TurnStatus.TOO_MANY_CALLS),
        (call().replace('"zoom"', '"fly"'), TurnStatus.UNKNOWN_TOOL),
        (call(["a", 2, 3, 4]), TurnStatus.BAD_ARGUMENTS),
        (call((40, 40, 10, 10)), TurnStatus.BAD_BOX),
        (call(img_idx=7), TurnStatus.BAD_BOX),
        (call((5000, 5000, 6000, 6000)), TurnStatus.BAD_BOX),
    ],
)
def test_bad_call_is_explained_and_the_model_may_try_again(model, picture, turn, status):
    output = play(model, compose_config(), prompt_of(picture), [turn, call(), "<answer>red</answer>"])
    assert_consistent(model, output)
    first, second, _ = output.extra_fields[TRAJECTORY].turns
    assert first.status is status and first.observation and second.status is TurnStatus.OK
    assert len(output.multi_modal_data["images"]) == 2


def test_rollout_ends_when_the_retries_are_used_up(model, picture):
    output = play(model, compose_config("visual_tool.max_retries=1"), prompt_of(picture), ["<tool_call>"] * 4)
    assert_consistent(model, output)
    trajectory = output.extra_fields[TRAJECTORY]
    assert trajectory.end_reason is EndReason.BAD_CALLS and [turn.corrected for turn in trajectory.turns] == [
        True,
        False,
    ]


def test_call_in_the_last_turn_is_not_executed(model, picture):
    output = play(model, compose_config(), prompt_of(picture), [call()] * 4)
    assert_consistent(model, output)
    trajectory = output.extra_fields[TRAJECTORY]
    assert trajectory.end_reason is EndReason.TURN_LIMIT
    assert trajectory.turns[-1].status is TurnStatus.NO_TURNS_LEFT
    assert len(trajectory.visual_turns) == 3 and len(output.multi_modal_data["images"]) == 4


def test_missing_and_long_labels_are_faults_that_the_model_is_told(model, picture):
    config = compose_config("visual_tool.max_label_tokens=4")
    turns = [call(label=None), call(label="a very long label that goes on and on"), "<answer>red</answer>"]
    output = play(model, config, prompt_of(picture), turns)
    assert_consistent(model, output)
    missing, long, _ = output.extra_fields[TRAJECTORY].turns
    assert missing.faults == [LabelFault.NO_LABEL] and "Give a label" in missing.observation
    assert long.faults == [LabelFault.LONG_LABEL] and "within 4 tokens" in long.observation


def test_description_belongs_to_the_turn_before_it(model, picture):
    turns = [call(label=None), "<description>a square</description>" + call(label=None), call(label=None), "no word"]
    output = play(model, compose_config("visual_tool.describe=after"), prompt_of(picture), turns)
    assert_consistent(model, output)
    first, second, third, _ = output.extra_fields[TRAJECTORY].turns
    assert first.description == "a square" and first.faults == []
    assert second.faults == third.faults == [LabelFault.NO_DESCRIPTION]
    assert "Describe the region" in third.observation, "a missing description is told with the next observation"


def test_description_in_the_last_turn_belongs_to_the_turn_before_it(model, picture):
    turns = [call(label=None), "<description>a square</description><answer>red</answer>"]
    output = play(model, compose_config("visual_tool.describe=after"), prompt_of(picture), turns)
    zoom, answer = output.extra_fields[TRAJECTORY].turns
    assert answer.status is TurnStatus.ANSWER
    assert zoom.description == "a square" and zoom.faults == [] and zoom.label_tokens > 0


def test_describe_both_asks_for_label_and_description(model, picture):
    output = play(model, compose_config("visual_tool.describe=both"), prompt_of(picture), [call(label=None), "x"])
    assert output.extra_fields[TRAJECTORY].turns[0].faults == [LabelFault.NO_LABEL, LabelFault.NO_DESCRIPTION]


def test_observation_without_room_is_not_committed(model, picture):
    written = len(model.tokenizer.encode(call())) + 1
    config = compose_config(f"data.max_response_length={written + 8}")
    output = play(model, config, prompt_of(picture), [call(), "<answer>red</answer>"])
    assert_consistent(model, output)
    trajectory = output.extra_fields[TRAJECTORY]
    assert trajectory.end_reason is EndReason.RESPONSE_LENGTH and trajectory.turns[0].status is TurnStatus.NO_ROOM
    assert len(output.multi_modal_data["images"]) == 1 and len(output.response_ids) == written
    assert trajectory.visual_turns == []


def test_turn_that_reaches_the_length_limit_is_cut(model, picture):
    config = compose_config("data.max_response_length=5")
    output = play(model, config, prompt_of(picture), ["a b c d e f g h i j"])
    assert_consistent(model, output)
    trajectory = output.extra_fields[TRAJECTORY]
    assert (trajectory.end_reason, trajectory.turns[0].status) == (EndReason.RESPONSE_LENGTH, TurnStatus.CUT)


@pytest.mark.parametrize(
    ("token", "stays"), [("<|image_pad|>", 0), ("<|video_pad|>", 0), ("<|vision_start|>", 1), ("<|vision_end|>", 1)]
)
def test_vision_token_ends_the_rollout(model, picture, token, stays):
    """A placeholder is dropped, since no image belongs to it; a start or end token is kept."""
    start, vision = model.tokenizer.encode("ab"), model.tokenizer.convert_tokens_to_ids(token)
    output = play(model, compose_config(), prompt_of(picture), [[*start, vision, vision, 5]])
    assert_consistent(model, output)
    assert output.extra_fields[TRAJECTORY].end_reason is EndReason.VISION_TOKEN
    assert output.response_ids == start + [vision] * stays


@pytest.mark.parametrize("placeholder", [False, True])
def test_empty_turn_ends_the_rollout(model, picture, placeholder):
    turn = [model.processor.image_token_id] if placeholder else []
    output = play(model, compose_config(), prompt_of(picture), [turn])
    assert_consistent(model, output)
    assert output.extra_fields[TRAJECTORY].end_reason is (EndReason.VISION_TOKEN if placeholder else EndReason.EMPTY)


def test_continuation_starts_from_the_sampled_tokens(model, picture):
    config = compose_config()
    first = play(
        model, config, prompt_of(picture), [call((0, 0, 30, 30)), call((20, 20, 60, 60)), "<answer>a</answer>"]
    )
    source = first.extra_fields[TRAJECTORY]
    tag = model.tokenizer.convert_tokens_to_ids("<tool_call>")
    start, end = source.turns[1].span
    length = start + first.response_ids[start:end].index(tag) + 1

    async def resume():
        state = first.state.prefix(length)
        rest = call((30, 30, 80, 80)).split("<tool_call>")[1]
        loop = make_loop(model, config, [rest, "<answer>b</answer>"])
        output = await loop.run({"temperature": 1.0}, start=state, global_steps=1)
        return output, loop.server_manager.prompts[0]

    output, prompt = asyncio.run(resume())
    assert_consistent(model, output)
    trajectory = output.extra_fields[TRAJECTORY]
    assert prompt == first.prompt_ids + first.response_ids[:length]
    assert output.response_ids[:length] == first.response_ids[:length]
    assert output.response_mask[:length] == [0] * length and output.response_mask[length] == 1
    assert [turn.box_said for turn in trajectory.turns] == [(0, 0, 30, 30), (30, 30, 80, 80), None]
    assert len(output.multi_modal_data["images"]) == 3 and source.turns[1].box_said == (20, 20, 60, 60)


def test_rollouts_of_a_prompt_share_the_original(model, picture):
    async def run():
        loops = [make_loop(model, compose_config(), ["<answer>a</answer>"]) for _ in range(4)]
        return await asyncio.gather(*(loop.run({}, raw_prompt=prompt_of(picture), global_steps=1) for loop in loops))

    images = [output.multi_modal_data["images"][0] for output in asyncio.run(run())]
    assert all(image is images[0] for image in images)


def test_seeds_differ_by_turn_and_session_and_repeat_between_runs(model, picture):
    config = compose_config("visual_tool.seed=3")
    seen = []

    async def run(session):
        loop = make_loop(model, config, [call(), "<answer>a</answer>"])
        generate = loop.server_manager.generate

        async def spy(*args, sampling_params, **kwargs):
            seen.append(sampling_params["seed"])
            return await generate(*args, sampling_params=sampling_params, **kwargs)

        loop.server_manager.generate = spy
        await loop.run({}, raw_prompt=prompt_of(picture), global_steps=1, index=0, session_id=session)

    for session in (0, 1, 0):
        asyncio.run(run(session))
    assert seen[:2] == seen[4:] and len(set(seen)) == 4


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "I;16", "RGBA", "1", "LA", "F"])
def test_images_of_every_mode_are_shown(model, tmp_path, mode):
    path = tmp_path / "picture.tiff"
    Image.new(mode, (70, 90)).save(path)
    assert_consistent(model, play(model, compose_config(), prompt_of(str(path)), [call(), "<answer>a</answer>"]))


@pytest.mark.parametrize("size", [(1, 1), (1, 190), (3000, 20), (7, 7)])
def test_images_of_odd_sizes_are_shown(model, tmp_path, size):
    path = tmp_path / "picture.png"
    Image.new("RGB", size).save(path)
    box = (0, 0, 900, 900) if model.model_type == "qwen3_vl" else (0, 0, 20, 20)
    output = play(model, compose_config(), prompt_of(str(path)), [call(box), "<answer>a</answer>"])
    assert_consistent(model, output)
    assert output.extra_fields[TRAJECTORY].turns[0].status is TurnStatus.OK


@pytest.mark.parametrize("illustrated", [True, False])
def test_prompt_that_is_too_long_ends_its_rollout_without_an_error(model, picture, illustrated, caplog):
    prompt = prompt_of(picture) if illustrated else [{"role": "user", "content": "word " * 300}]
    output = play(model, compose_config("data.max_prompt_length=100"), prompt, [])
    assert_consistent(model, output)
    trajectory = output.extra_fields[TRAJECTORY]
    assert trajectory.end_reason is EndReason.PROMPT_LENGTH and not trajectory.turns
    assert trajectory.images == ([picture] if illustrated else [])
    assert output.response_mask == [0] and len(output.prompt_ids) <= 100 and not output.multi_modal_data
    assert "data.max_prompt_length=100: raise it" in caplog.text


def test_prompt_fits_up_to_its_last_token(model, picture):
    whole = play(model, compose_config(), prompt_of(picture), ["<answer>a</answer>"])
    for room, reason in ((0, EndReason.ANSWER), (-1, EndReason.PROMPT_LENGTH)):
        config = compose_config(f"data.max_prompt_length={len(whole.prompt_ids) + room}")
        output = play(model, config, prompt_of(picture), ["<answer>a</answer>"])
        assert output.extra_fields[TRAJECTORY].end_reason is reason


@pytest.mark.parametrize("what", ["missing", "text", "cut", "thin"])
def test_unreadable_image_ends_its_rollout_without_an_error(model, tmp_path, picture, what):
    path = tmp_path / "picture.png"
    if what == "text":
        path.write_text("not a picture")
    elif what == "cut":
        Image.effect_noise((200, 200), 50).save(path)
        path.write_bytes(path.read_bytes()[: random.Random(0).randrange(100, 2000)])
    elif what == "thin":
        Image.new("RGB", (1, 500)).save(path)
    output = play(model, compose_config(), prompt_of(str(path)), [])
    assert_consistent(model, output)
    assert output.extra_fields[TRAJECTORY].end_reason is EndReason.UNREADABLE_IMAGE
    assert output.response_mask == [0] and output.extra_fields["min_global_steps"] == 1


def test_error_in_a_tool_ends_the_rollout_which_is_not_trained_on(model, picture, monkeypatch, caplog):
    def fail(self, arguments, history):
        raise ZeroDivisionError("no angle")

    monkeypatch.setattr("verl_mapo.tools.rotate.Rotate.run", fail)
    config = compose_config("visual_tool.tools=[zoom,rotate]")
    turns = [call(), call(name="rotate", label=None).replace('"bbox_2d": [10, 10, 40, 40]', '"angle": 90'), "unseen"]
    output = play(model, config, prompt_of(picture), turns)
    assert_consistent(model, output)
    trajectory = output.extra_fields[TRAJECTORY]
    assert trajectory.end_reason is EndReason.TOOL_ERROR
    assert trajectory.error == "The tool rotate raised ZeroDivisionError: no angle."
    assert [turn.status for turn in trajectory.turns] == [TurnStatus.OK, TurnStatus.TOOL_ERROR]
    assert trajectory.turns[1].observation == "" and len(output.multi_modal_data["images"]) == 2
    assert "The tool rotate raised ZeroDivisionError" in caplog.text and "in fail" in caplog.text, "with a traceback"
    row = output.as_dict()
    assert not row["response_mask"].any() and row["responses"].tolist() == output.response_ids
    assert Trajectory.from_record(row["extra_fields"][TRAJECTORY]).error == trajectory.error


@pytest.mark.parametrize(("reply", "end"), [("It is red.", EndReason.ANSWER), (call(), EndReason.TURN_LIMIT)])
def test_without_tools_the_first_reply_is_the_last_turn_and_nothing_is_executed(model, picture, reply, end):
    one_turn = "actor_rollout_ref.rollout.multi_turn.max_assistant_turns=1"
    output = play(model, compose_config("visual_tool.tools=[]", one_turn), prompt_of(picture), [reply])
    trajectory = output.extra_fields[TRAJECTORY]
    assert trajectory.end_reason == end and trajectory.called == (end is EndReason.TURN_LIMIT)
    assert len(output.multi_modal_data["images"]) == 1 and "# Tools" not in model.tokenizer.decode(output.prompt_ids)
