# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Where a turn ends: at its own end token, at a call, or at the limit of its tokens."""

from __future__ import annotations

import asyncio

import pytest
from support.scripted import assert_consistent, call, compose_config, make_loop, play, prompt_of

from verl_mapo.names import TRAJECTORY
from verl_mapo.rollout.axpo.first_call import FirstCallFinder
from verl_mapo.rollout.parser import CLOSE
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.rollout.statuses import EndReason, TurnStatus
from verl_mapo.rollout.tag_tokens import stop_token
from verl_mapo.rollout.trajectory import Trajectory
from verl_mapo.settings import ConfigError, parse_node

INVENTED = "\n<tool_response>I see a red square.</tool_response>\n<answer>red</answer>"
ANSWER = "<answer>red</answer>"


def stopping(*overrides):
    return compose_config("visual_tool.stop_at_call=true", *overrides)


def roll_out(model, config, picture, turns, **row):
    """The output of a script, and the sampling parameters and prompts of every generation."""

    async def run():
        loop = make_loop(model, config, turns)
        generate, asked = loop.server_manager.generate, []

        async def spy(*args, sampling_params, **kwargs):
            asked.append(sampling_params)
            return await generate(*args, sampling_params=sampling_params, **kwargs)

        loop.server_manager.generate = spy
        row.setdefault("raw_prompt", prompt_of(picture))
        output = await loop.run({}, global_steps=1, **row)
        return output, asked, loop.server_manager.prompts

    return asyncio.run(run())


def test_context_after_a_stop_is_that_of_a_model_that_ends_its_turn_itself(model, picture):
    own = play(model, compose_config(), prompt_of(picture), [call(), call((5, 5, 60, 60)), ANSWER])
    stopped = play(model, stopping(), prompt_of(picture), [call() + INVENTED, call((5, 5, 60, 60)) + "\n", ANSWER])
    assert_consistent(model, stopped)
    assert stopped.prompt_ids == own.prompt_ids and stopped.response_ids == own.response_ids
    eos, close = model.tokenizer.eos_token_id, model.tokenizer.convert_tokens_to_ids(CLOSE)
    first, second, answer = stopped.extra_fields[TRAJECTORY].turns
    for turn in (first, second):
        end = turn.span[1]
        assert stopped.response_ids[end - 1 : end + 1] == [close, eos]
        assert stopped.response_mask[end - 1 : end + 1] == [1, 0]
        assert stopped.response_logprobs[end - 1 : end + 1] == [-0.5, 0.0]
    assert stopped.response_ids[answer.span[1] - 1] == eos and stopped.response_mask[-1] == 1
    assert "tool_response" not in first.text and first.after_call == 0


def test_only_a_run_that_stops_at_calls_asks_the_engine_to(model, picture):
    close = model.tokenizer.convert_tokens_to_ids(CLOSE)
    for config, expected in ((stopping(), [close]), (compose_config(), None)):
        _, asked, _ = roll_out(model, config, picture, [call(), ANSWER])
        assert [given.get("stop_token_ids") for given in asked] == [expected] * 2


def test_call_in_a_thought_is_a_draft_after_which_the_turn_goes_on(model, picture):
    draft = f"<think>Perhaps {call((0, 0, 9, 9)).removeprefix('<think>hm</think>')}"
    pieces = [draft, ", or" + draft.removeprefix("<think>"), f", no.</think>{call().removeprefix('<think>hm</think>')}"]
    output, asked, prompts = roll_out(
        model, stopping("visual_tool.seed=3", "visual_tool.max_turn_tokens=900"), picture, [*pieces, ANSWER]
    )
    assert_consistent(model, output)
    zoom, answer = output.extra_fields[TRAJECTORY].turns
    assert zoom.text == "".join(pieces) and zoom.box_said == (10, 10, 40, 40) and zoom.status is TurnStatus.OK
    assert zoom.span[0] == 0 and answer.status is TurnStatus.ANSWER
    assert (
        len(prompts) == 4 and prompts[1] == output.prompt_ids + output.response_ids[: len(prompts[1]) - len(prompts[0])]
    )
    assert len({given["seed"] for given in asked}) == 4, "the engine does not draw the same numbers again"
    assert [given["max_tokens"] for given in asked[:3]] == [900 - len(p) + len(prompts[0]) for p in prompts[:3]]


def test_many_drafts_cost_no_more_than_a_few_generations(model, picture):
    close = model.tokenizer.convert_tokens_to_ids(CLOSE)
    output, asked, _ = roll_out(model, stopping(), picture, [*[f"<think>{CLOSE}"] * 8, "</think>" + ANSWER])
    assert_consistent(model, output)
    assert [given.get("stop_token_ids") for given in asked] == [*[[close]] * 8, None]
    assert output.extra_fields[TRAJECTORY].end_reason is EndReason.ANSWER


def test_image_token_in_a_draft_reaches_the_engine_no_more(model, picture):
    close = model.tokenizer.convert_tokens_to_ids(CLOSE)
    output, asked, _ = roll_out(model, stopping(), picture, [[model.processor.image_token_id, close], "unseen"])
    assert_consistent(model, output)
    assert output.extra_fields[TRAJECTORY].end_reason is EndReason.VISION_TOKEN and len(asked) == 1


@pytest.mark.parametrize(
    ("room", "stop", "reason"),
    [(0, True, "answer"), (0, False, "turn_length"), (-1, True, "turn_length"), (1, False, "answer")],
)
def test_turn_ends_at_the_limit_of_its_tokens(model, picture, room, stop, reason):
    """A turn whose last possible token is its end, or the end of its call, is whole."""
    size = len(model.tokenizer.encode(call()))
    config = compose_config(f"visual_tool.max_turn_tokens={size + room}", f"visual_tool.stop_at_call={stop}")
    output, asked, _ = roll_out(model, config, picture, [call(), ANSWER])
    assert_consistent(model, output)
    trajectory = output.extra_fields[TRAJECTORY]
    assert trajectory.end_reason == reason and asked[0]["max_tokens"] == size + room
    assert trajectory.turns[0].status is (TurnStatus.OK if reason == "answer" else TurnStatus.CUT)
    assert len(output.response_ids) > size + room or reason == "turn_length", "an observation is no part of a turn"


def test_response_length_is_named_where_it_is_the_narrower_limit(model, picture):
    config = compose_config("data.max_response_length=20", "visual_tool.max_turn_tokens=21")
    output = play(model, config, prompt_of(picture), ["word " * 40])
    assert output.extra_fields[TRAJECTORY].end_reason is EndReason.RESPONSE_LENGTH and len(output.response_ids) == 20


def test_given_tokens_of_a_continuation_count_in_its_turn(model, picture):
    config = stopping("visual_tool.max_turn_tokens=100")
    source = play(model, config, prompt_of(picture), [call() + INVENTED, ANSWER])
    found = FirstCallFinder(model.tokenizer).first_call(source.state)
    unstopped = play(model, compose_config(), prompt_of(picture), [call(), ANSWER])
    assert found == FirstCallFinder(model.tokenizer).first_call(unstopped.state), "prefix and confidence are the same"
    rest = call((5, 5, 60, 60)).split("<tool_call>")[1]
    output, asked, prompts = roll_out(
        model, config, picture, [rest + INVENTED, ANSWER], start=source.state.prefix(found.prefix_length)
    )
    assert_consistent(model, output)
    assert prompts[0] == source.prompt_ids + source.response_ids[: found.prefix_length]
    assert [given["max_tokens"] for given in asked] == [100 - found.prefix_length, 100]
    assert output.extra_fields[TRAJECTORY].turns[0].box_said == (5, 5, 60, 60)
    assert output.extra_fields[TRAJECTORY].end_reason is EndReason.ANSWER


@pytest.mark.parametrize(
    ("turn", "text"),
    [
        (call() + INVENTED, INVENTED),
        (call(), ""),
        (call() + " \n\n", ""),
        (call() + call() + " x", " x"),
        ("<tool_call>{ x", ""),
    ],
)
def test_what_is_written_after_a_call_is_counted_and_stays_in_the_context(model, picture, turn, text):
    output = play(model, compose_config(), prompt_of(picture), [turn, ANSWER])
    assert_consistent(model, output)
    trajectory = Trajectory.from_record(output.as_dict()["extra_fields"][TRAJECTORY])
    assert [part.after_call for part in trajectory.turns] == [len(model.tokenizer.encode(text)), 0]
    assert text in model.tokenizer.decode(output.response_ids[slice(*trajectory.turns[0].span)])


def test_what_is_written_after_several_calls_is_counted_once(model, picture):
    config = compose_config("visual_tool.calls_per_turn=2")
    output = play(model, config, prompt_of(picture), [f"{call()} and {call()} so", ANSWER])
    assert [turn.after_call for turn in output.extra_fields[TRAJECTORY].turns] == [
        0,
        len(model.tokenizer.encode(" so")),
        0,
    ]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"max_turn_tokens": 15},
            "visual_tool.max_turn_tokens=15 is refused: it should be greater than or equal to 16",
        ),
        (
            {"stop_at_call": True, "calls_per_turn": 2},
            "visual_tool.stop_at_call=True is refused: it ends a turn at its first call, and "
            "visual_tool.calls_per_turn=2 allows several: set one of them back, to false or to 1.",
        ),
    ],
)
def test_settings_that_leave_no_turn_are_refused(settings, sentence):
    with pytest.raises(ConfigError) as error:
        parse_node(VisualToolSettings, settings, "visual_tool")
    assert sentence in str(error.value)


def test_tokenizer_without_the_tag_is_refused_where_generation_stops_at_it(tiny_models):
    class Letters:
        def encode(self, text, add_special_tokens):
            return list(range(len(text)))

        def convert_ids_to_tokens(self, ids):
            return list(CLOSE)

    assert stop_token(VisualToolSettings(), Letters()) is None
    with pytest.raises(
        ConfigError, match="visual_tool.stop_at_call=true stops generation at </tool_call>, which is 12"
    ):
        stop_token(VisualToolSettings(stop_at_call=True), Letters())
