# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The visual focus score: by hand, against a loop over tokens, whole against packed, padded and sharded."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from verl_mapo.advantages import focus
from verl_mapo.advantages.focus import FocusPlan, focus_scores, image_runs, image_sums, plan_focus

IDS = {"p": 1, "o": 2, "r": 3, "i": 90, "v": 91, "I": 90}
"""A row as letters: prompt, observation and response text, image, video; I: an image token the policy wrote."""
VISUAL = (90, 91)
NAN = float("nan")
PROTOTYPES, POSITIONS = ("all_seen", "latest", "prompt_only"), ("own", "predictor")


def pack(rows: list[str]) -> dict[str, Any]:
    text = "".join(rows)
    return {
        "input_ids": torch.tensor([IDS[letter] for letter in text], dtype=torch.int64),
        "policy": torch.tensor([letter in "rI" for letter in text], dtype=torch.bool),
        "offsets": torch.tensor([0, *map(len, rows)]).cumsum(0),
        "visual_token_ids": VISUAL,
    }


def states(rows: list[str], dim: int = 16, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    """(N, dim) states that share a direction, as those of language models do."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(sum(map(len, rows)), dim, generator=generator) + 0.5).to(dtype)


def score(hidden: torch.Tensor, plan: FocusPlan) -> torch.Tensor:
    return focus_scores(hidden, image_sums(hidden, plan), plan)


def score_rows(rows: list[str], hidden: torch.Tensor, **options: Any) -> torch.Tensor:
    return score(hidden, plan_focus(**pack(rows), **options))


def by_loop(rows: list[str], hidden: torch.Tensor, prototype: str, position: str) -> torch.Tensor:
    """The same, one token at a time, in float64; each token's images are gathered from its row's letters."""
    hidden, scores, at = hidden.double(), torch.full((len(hidden),), NAN, dtype=torch.float64), 0
    for row in rows:
        for t, letter in enumerate(row):
            if letter not in "rI":
                continue
            before = min(row.find(policy) for policy in "rI" if policy in row) if prototype == "prompt_only" else t
            seen = [i for i in range(before) if row[i] in "iv"]
            if prototype == "latest":
                seen = [i for i in seen if all(row[j] in "iv" for j in range(i, seen[-1]))]
            if seen:
                mean = hidden[[at + i for i in seen]].mean(dim=0)
                state = at + t - (position == "predictor")
                scores[state] = (torch.cosine_similarity(hidden[state], mean, dim=0) + 1) / 2
        at += len(row)
    return scores


def assert_same(one: torch.Tensor, other: torch.Tensor, atol: float = 1e-6) -> None:
    torch.testing.assert_close(one.double(), other.double(), rtol=0, atol=atol, equal_nan=True)


# ------------------------------------------------------------------------------------------------------------ by hand


def test_sums_and_scores_record_no_gradient() -> None:
    rows = ["piir"]
    hidden, plan = states(rows).requires_grad_(), plan_focus(**pack(rows))
    sums = image_sums(hidden, plan)
    assert not sums.requires_grad and not focus_scores(hidden, sums, plan).requires_grad


def test_score_by_hand() -> None:
    hidden = torch.tensor([[9.0, 9.0], [1.0, 0.0], [3.0, 0.0], [5.0, 5.0], [2.0, 0.0], [0.0, 7.0], [-1.0, 0.0], [1, 1]])
    found = score_rows(["piiprrrr"], hidden)
    assert found.dtype == torch.float32
    assert found[:4].isnan().all()
    assert found[4:].tolist() == pytest.approx([1, 0.5, 0, (math.sqrt(0.5) + 1) / 2])


def test_prototypes_of_two_images_by_hand() -> None:
    rows = ["iiriorr"]
    hidden = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 5.0], [0.0, 2.0], [9.0, 9.0], [3.0, 0.0], [3.0, 0.0]])
    assert score_rows(rows, hidden, prototype="all_seen")[[2, 5]].tolist() == pytest.approx([0.5, 0.5 + 0.5**1.5])
    assert score_rows(rows, hidden, prototype="latest")[[2, 5]].tolist() == pytest.approx([0.5, 0.5])
    assert score_rows(rows, hidden, prototype="prompt_only")[[2, 5]].tolist() == pytest.approx([0.5, 1.0])


def test_predictor_scores_the_state_a_token_was_sampled_from() -> None:
    hidden = states(["piprrr"])
    own = score_rows(["piprrr"], hidden)
    predictor = score_rows(["piprrr"], hidden, position="predictor")
    assert own.isnan().tolist() == [True] * 3 + [False] * 3
    assert predictor.isnan().tolist() == [True] * 2 + [False] * 3 + [True]
    assert torch.equal(own[3:5], predictor[3:5])


# --------------------------------------------------------------------------------------------------- which sees which


def test_images_are_the_stretches_of_placeholders_within_a_row() -> None:
    batch = pack(["ppii", "iipvvviri", "rr", "ivI"])
    runs = image_runs(**batch)
    assert list(zip(*(part.tolist() for part in runs), strict=True)) == [
        (2, 4, 0),
        (4, 6, 1),
        (7, 11, 1),
        (12, 13, 1),
        (15, 17, 3),
    ]


def test_token_is_compared_only_with_earlier_images_of_its_row() -> None:
    rows = ["prrirr", "prr", "iprr"]
    for prototype in PROTOTYPES:
        found = score_rows(rows, states(rows), prototype=prototype)
        later = [4, 5] if prototype != "prompt_only" else []
        assert (~found.isnan()).nonzero().squeeze(1).tolist() == [*later, 11, 12]


def test_placeholder_that_the_policy_wrote_counts_as_text() -> None:
    rows = ["piirIrr"]
    batch = pack(rows)
    assert len(image_runs(**batch).row) == 1
    assert (~score_rows(rows, states(rows)).isnan()).nonzero().squeeze(1).tolist() == [3, 4, 5, 6]


def test_video_placeholders_count_as_visual() -> None:
    assert_same(score_rows(["pvvrr"], states(["pvvrr"])), score_rows(["piirr"], states(["piirr"])))


@pytest.mark.parametrize("rows", [["prr", "rr"], ["pii", "iip"], ["", "pirr", ""], [""]])
def test_batches_without_images_responses_or_tokens_are_handled(rows: list[str]) -> None:
    for prototype in PROTOTYPES:
        for position in POSITIONS:
            hidden = states(rows)
            assert_same(
                score_rows(rows, hidden, prototype=prototype, position=position),
                by_loop(rows, hidden, prototype, position),
            )


def test_states_with_one_prototype_are_read_as_one_span() -> None:
    rows = ["ii" + "ro" * 50, "irorooro"]
    assert [span[:2] for span in plan_focus(**pack(rows)).spans] == [(2, 101), (103, 109)]


# ---------------------------------------------------------------------------------------------------------- properties

texts = st.text("poriv", max_size=14) | st.text("riv", max_size=10) | st.text("poI", max_size=4)
batches = st.lists(texts, min_size=1, max_size=5)


@given(batches, st.sampled_from(PROTOTYPES), st.sampled_from(POSITIONS), st.sampled_from([16, 48, 2**18]))
def test_scores_equal_a_loop_over_tokens(rows: list[str], prototype: str, position: str, chunk: int) -> None:
    hidden = states(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(focus._CHUNK, "cpu", chunk)
        found = score_rows(rows, hidden, prototype=prototype, position=position)
    assert_same(found, by_loop(rows, hidden, prototype, position))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_every_float_dtype_is_reduced_in_float32(dtype: torch.dtype) -> None:
    rows = ["p" + "i" * 40 + "r" * 30, "iirroiiirrr"]
    hidden = states(rows, dim=64, dtype=dtype)
    found = score_rows(rows, hidden)
    assert found.dtype == torch.float32
    assert_same(found, by_loop(rows, hidden, "all_seen", "own"))


@given(batches, st.sampled_from(PROTOTYPES), st.sampled_from(POSITIONS), st.randoms(use_true_random=False))
def test_scores_of_a_row_do_not_depend_on_batch_order_or_padding(
    rows: list[str], prototype: str, position: str, random: Any
) -> None:
    options = {"prototype": prototype, "position": position}
    hidden = states(rows).split([len(row) for row in rows])
    alone = [score_rows([row], part, **options) for row, part in zip(rows, hidden, strict=True)]
    assert_same(score_rows(rows, torch.cat(hidden), **options), torch.cat(alone))

    order = random.sample(range(len(rows)), len(rows))
    shuffled = score_rows([rows[i] for i in order], torch.cat([hidden[i] for i in order]), **options)
    assert_same(shuffled, torch.cat([alone[i] for i in order]))

    width = max(map(len, rows)) + 1
    filled = [torch.cat([part, torch.full((width - len(part), 16), 77.0)]) for part in hidden]
    padded = score_rows([row.ljust(width, "p") for row in rows], torch.cat(filled), **options).view(len(rows), width)
    for row, one in zip(padded, alone, strict=True):
        assert_same(row[: len(one)], one)
        assert row[len(one) :].isnan().all()


@given(batches, st.sampled_from(PROTOTYPES), st.sampled_from(POSITIONS), st.integers(1, 5))
def test_shards_of_the_states_give_the_scores_of_the_whole_batch(
    rows: list[str], prototype: str, position: str, ranks: int
) -> None:
    hidden = states(rows)
    plan = plan_focus(**pack(rows), prototype=prototype, position=position)
    width = -(-len(hidden) // ranks)
    padded = torch.cat([hidden, torch.full((width * ranks - len(hidden), 16), 77.0)])
    shards = [plan.shard(rank * width, (rank + 1) * width) for rank in range(ranks)]
    parts = padded.split(width) if width else [padded] * ranks
    sums = torch.stack([image_sums(part, shard) for part, shard in zip(parts, shards, strict=True)]).sum(dim=0)
    found = [focus_scores(part, sums.clone(), shard) for part, shard in zip(parts, shards, strict=True)]
    assert_same(torch.cat(found)[: len(hidden)], score(hidden, plan))
    assert torch.cat(found)[len(hidden) :].isnan().all()


def test_image_sum_is_exact_after_large_states_in_earlier_rows() -> None:
    rows = ["i" * 300 + "r"] * 20 + ["iirr"]
    hidden = states(rows)
    hidden[:-4] *= 1e4
    assert_same(score_rows(rows, hidden), by_loop(rows, hidden, "all_seen", "own"))


def test_score_does_not_depend_on_the_norm_of_a_state_and_lies_in_range() -> None:
    rows = ["iii" + "r" * 60]
    hidden = states(rows, dim=7)
    hidden[3:33] = hidden[:3].mean(dim=0) * torch.logspace(-3, 3, 30).unsqueeze(1)
    hidden[33:] = -hidden[3:33]
    found = score_rows(rows, hidden)[3:]
    assert found[:30].tolist() == pytest.approx([1] * 30)
    assert found[30:].tolist() == pytest.approx([0] * 30, abs=1e-6)
    assert found.min() >= 0 and found.max() <= 1


def test_zero_state_or_zero_image_has_score_one_half() -> None:
    hidden = states(["irr", "irr"])
    hidden[1], hidden[3] = 0, 0
    assert score_rows(["irr", "irr"], hidden)[[1, 4, 5]].tolist() == [0.5, 0.5, 0.5]


def test_no_gradient_is_recorded_and_states_are_not_changed() -> None:
    hidden = states(["piirr"]).requires_grad_()
    before = hidden.detach().clone()
    assert not score_rows(["piirr"], hidden).requires_grad
    assert torch.equal(hidden, before)
