# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The chat form of the agent loop against a server in this process, compared with the loop on tokens."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from omegaconf import OmegaConf
from support.chat_server import STALL, ChatServer, images_of, text_of
from support.rewards import served
from support.scripted import call, compose_config, play, prompt_of
from verl.experimental.agent_loop.agent_loop import DictConfigWrap
from verl.utils.dataset.rl_dataset import RLHFDataset

from verl_mapo.endpoint import ChatClient, ChatReply, NoReply
from verl_mapo.names import TRAJECTORY
from verl_mapo.rollout.chat_loop import ChatLoop, ChatState
from verl_mapo.rollout.statuses import EndReason, TurnStatus

ANSWER = "<answer>red</answer>"


@dataclass
class Case:
    """A dialogue that both loops run: what the model writes, and the settings."""

    turns: list[str]
    settings: dict[str, Any] = field(default_factory=dict)


SEVERAL = {"visual_tool.calls_per_turn": 3}
CASES = {
    "answer": Case([ANSWER]),
    "call": Case([call(), ANSWER]),
    "calls": Case([call(), call((0, 0, 90, 90), img_idx=1), ANSWER]),
    "several calls in a turn": Case([f"{call()}\n{call((5, 5, 60, 60))}\n{call((9, 9, 5, 5))} more", ANSWER], SEVERAL),
    "too many calls": Case([call() + call(), call(), ANSWER]),
    "no JSON": Case(["<tool_call>{", call(), ANSWER]),
    "unknown tool": Case([call(name="fly"), ANSWER]),
    "no box": Case([call((40, 40, 10, 10)), call(), ANSWER]),
    "another spelling": Case([call().replace('"', "'"), ANSWER]),
    "no label": Case([call(label=None), call(label="many words " * 30), ANSWER]),
    "description": Case([call(), "<description>a square</description>" + ANSWER], {"visual_tool.describe": "both"}),
    "marks": Case([call(name="mark", label=None), call(img_idx=1), ANSWER], {"visual_tool.tools": ["zoom", "mark"]}),
    "retries used up": Case(["<tool_call>"] * 4, {"visual_tool.max_retries": 1}),
    "turns used up": Case([call()] * 4),
    "turn cut": Case(["word " * 100], {"visual_tool.max_turn_tokens": 16}),
    "response cut": Case(["a b c d e f g h i j"], {"data.max_response_length": 5}),
    "no room": Case([call(), ANSWER], {"data.max_response_length": 70}),
    "vision token": Case(["I see <|vision_start|> here"]),
    "special tokens in a label": Case([call(label="<|image_pad|> red"), ANSWER]),
    "stop at the call": Case([call() + " and more", ANSWER], {"visual_tool.stop_at_call": True}),
    "prompt too long": Case([ANSWER], {"data.max_prompt_length": 100}),
}


def chat(model, config, prompt, server: ChatServer, times: int = 1, **limits) -> list[ChatState]:
    """Roll out with the chat loop."""

    async def run() -> list[ChatState]:
        client = ChatClient(server.url, "teacher", "none", **{"timeout_s": 120.0, "retries": 0, **limits})
        loop = make_loop(model, config, client)
        rollouts = (loop.roll_out({"temperature": 0.7}, raw_prompt=prompt, global_steps=1) for _ in range(times))
        return await asyncio.gather(*rollouts)

    return asyncio.run(run())


def make_loop(model, config, client) -> ChatLoop:
    return ChatLoop(
        trainer_config=DictConfigWrap(config),
        server_manager=client,
        tokenizer=model.tokenizer,
        processor=model.processor,
        dataset_cls=RLHFDataset,
        data_config=DictConfigWrap(config.data),
        hf_model_type=model.model_type,
    )


@pytest.fixture
def server():
    app = ChatServer(lambda question, before: [call(), ANSWER][before])
    with served(app) as app.url:
        yield app


def test_both_forms_make_the_same_record_of_the_same_texts(model, picture, server):
    for name, case in CASES.items():
        server.script = lambda question, before, turns=case.turns: turns[before]
        config = compose_config()
        for setting, value in case.settings.items():
            OmegaConf.update(config, setting, value)
        by_tokens = play(model, config, prompt_of(picture), case.turns)
        (state,) = chat(model, config, prompt_of(picture), server)
        assert state.trajectory.to_record() == by_tokens.extra_fields[TRAJECTORY].to_record(), name
        assert state.token_ids == by_tokens.prompt_ids + by_tokens.response_ids or not state.response_ids, name
        assert [image.size for image in state.history.images] == [
            image.size for image in by_tokens.multi_modal_data.get("images", [])
        ], name


def test_server_is_sent_prompt_images_and_observations_as_the_policy_sees_them(model, picture, server):
    (state,) = chat(model, compose_config(), prompt_of(picture), server)
    first, second = server.seen
    system, user = first["messages"]
    assert "<tools>" in text_of(system) and user["content"][0]["type"] == "image_url"
    assert text_of(user) == "What colour is the square?"
    assert [message["role"] for message in second["messages"]] == ["system", "user", "assistant", "user"]
    assert second["messages"][:2] == first["messages"] and second["messages"][2]["content"] == call()
    assert state.trajectory.turns[0].observation in text_of(second["messages"][3])
    assert text_of(second["messages"][3]).startswith("<tool_response>\n")
    for sent, seen in zip(images_of(second), state.history.images, strict=True):
        assert sent.size == seen.size and sent.tobytes() == seen.tobytes()
    assert first["temperature"] == 0.7 and first["model"] == "teacher" and "stop_token_ids" not in first
    assert second["max_tokens"] < first["max_tokens"] <= 1024


def test_reply_that_the_server_cut_is_a_cut_turn(model, picture, server):
    server.finish_reason = "length"
    (state,) = chat(model, compose_config(), prompt_of(picture), server)
    assert state.trajectory.turns[0].status is TurnStatus.CUT
    assert state.trajectory.end_reason is EndReason.RESPONSE_LENGTH


def test_what_follows_an_end_token_is_not_part_of_a_reply(model, picture, server):
    server.script = lambda question, before: f"{ANSWER}<|im_end|>{call()}"
    (state,) = chat(model, compose_config(), prompt_of(picture), server)
    assert [turn.text for turn in state.trajectory.turns] == [ANSWER]
    assert state.response_ids.count(model.tokenizer.eos_token_id) == 1


def test_reply_without_text_ends_the_rollout_as_empty(model, picture, server):
    for nothing in ("", None):
        server.script = lambda question, before, nothing=nothing: nothing
        (state,) = chat(model, compose_config(), prompt_of(picture), server)
        assert state.trajectory.end_reason is EndReason.EMPTY


FAULTS = [
    (500, "InternalServerError"),
    (404, "NotFoundError"),
    (STALL, "timed out|no reply within 0.3 s"),
    ("{", "JSONDecodeError"),
    ('{"choices": []}', "no chat completion"),
    ("[1]", "no chat completion"),
    ('{"choices": [{"message": null}]}', "no chat completion"),
]


def test_every_failure_of_the_server_is_a_sentence(tiny_models, picture, server):
    for fault, words in FAULTS:
        server.faults = [fault]
        limit = {"timeout_s": 0.3} if fault == STALL else {}
        with pytest.raises(NoReply, match=words) as error:
            chat(tiny_models["qwen2_5_vl"], compose_config(), prompt_of(picture), server, **limit)
        assert error.value.status == (fault if isinstance(fault, int) else None)


def test_failed_request_is_sent_again(tiny_models, picture, server):
    server.faults = [503, 429]
    (state,) = chat(tiny_models["qwen2_5_vl"], compose_config(), prompt_of(picture), server, retries=2)
    assert state.trajectory.end_reason is EndReason.ANSWER and len(server.seen) == 4


@pytest.mark.parametrize(
    ("reply", "thinking", "text"),
    [
        (ChatReply("b", "a"), False, "<think>\na\n</think>\n\nb"),
        (ChatReply("b", "a"), True, "a\n</think>\n\nb"),
        (ChatReply("<think>\na\n</think>\n\nb"), True, "a\n</think>\n\nb"),
        (ChatReply("a\n</think>\n\nb"), True, "a\n</think>\n\nb"),
        (ChatReply("b"), False, "b"),
    ],
)
def test_thought_is_written_as_the_trained_models_template_has_it(tiny_models, reply, thinking, text):
    model = tiny_models["qwen3_vl"]

    async def tokens() -> list[int]:
        return make_loop(model, compose_config(), None)._tokens(reply, thinking)[0]

    ids = asyncio.run(tokens())
    assert model.tokenizer.decode(ids) == f"{text}<|im_end|>"


def test_rollouts_of_one_loop_do_not_mix(model, picture, server):
    server.script = lambda question, before: [call((before, 0, 90, 90)), call((8, 8, 80, 80)), ANSWER][before]
    states = chat(model, compose_config(), prompt_of(picture), server, times=4)
    records = [state.trajectory.to_record() for state in states]
    assert all(record == records[0] for record in records) and len(records[0]["turns"]) == 3
