# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The visual focus score of VGPO (arXiv 2604.09349): how alike each response token's state and the image's states are.

The first two equations of the method; the others are in :mod:`verl_mapo.advantages.visual_credit`:

    Eq. 1   mu_v  = mean of the hidden states at the image tokens
    Eq. 2   rho_t = (cos(h_t, mu_v) + 1) / 2

PEPO (arXiv 2603.22847, :mod:`verl_mapo.relatives.pepo`) compares with every image token instead: cos(h_t, mu_v) is then
the mean over them of cos(h_t, h_v), which is the product of h_t / |h_t| and the mean of h_v / |h_v|.

The states are *packed*, (N, d): the rows of a batch one after the other, as a forward pass without padding gives them.
A padded (B, S, d) is flattened; its rows begin every S positions. Only stretches of consecutive positions are read.
:func:`plan_focus` finds them before the forward pass, from token ids on the CPU, as plain integers. So the pass does
not synchronise with the device, gathers nothing, and reads each image state and each scored state once:

    sums = image_sums(hidden, plan)             # states, summed over each image
                                                # sequence parallel: add up ``sums`` over the ranks here
    scores = focus_scores(hidden, sums, plan)

Extra memory: one (d,) float32 sum per image and one chunk of states. Nothing loops over tokens.

Functions take states, token ids and the offsets of rows; they know nothing of verl, modules, hooks or of how a rank
gets its shard.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Prototype = Literal["all_seen", "latest", "prompt_only"]
Position = Literal["own", "predictor"]
Similarity = Literal["mean_state", "every_state"]

_CHUNK = {"cpu": 2**18}
"""Number of floats of states processed at a time, by device type: on a CPU as many as fit a core's cache."""

_DEVICE_CHUNK = 2**24
"""The same on any other device: 64 MiB."""

_EPS = 1e-8
"""Smallest norm that a cosine divides by, as in :func:`torch.nn.functional.cosine_similarity`."""


class ImageRuns(NamedTuple):
    """The images of a packed batch in order of position; all (M,) int64.

    Attributes:
        start: the first position of each image.
        stop: the position after its last one.
        row: the row that it is in.
    """

    start: Tensor
    stop: Tensor
    row: Tensor


class FocusPlan(NamedTuple):
    """Which packed states are read; plain integers, M images.

    Attributes:
        runs: M pairs [start, stop), the positions of each image; empty where a shard has none of it.
        joined: whether the prototype of image m also covers image m - 1 and, with it, all earlier images of the row.
        spans: [start, stop) of states and the number of the latest image that they are compared with; disjoint and in
            order. States between two scored states of a span are read too.
        wanted: (N,) bool, the states whose score is wanted.
        sizes: M numbers, the tokens of each whole image.
        similarity: a score is the cosine with the mean of the images' states (VGPO), or the mean of the cosines with
            every one of them (PEPO).
    """

    runs: list[tuple[int, int]]
    joined: list[bool]
    spans: list[tuple[int, int, int]]
    wanted: Tensor
    sizes: list[int]
    similarity: Similarity

    def shard(self, start: int, stop: int) -> FocusPlan:
        """The plan of a rank that holds the states [start, stop); padding may follow the last state.

        Every rank keeps an entry for every image, so that the sums of the ranks can be added.
        """
        runs = [_cut(run, start, stop) for run in self.runs]
        spans = [(*_cut(span[:2], start, stop), span[2]) for span in self.spans]
        wanted, part = self.wanted.new_zeros(stop - start), self.wanted[start:stop]
        wanted[: len(part)] = part
        return self._replace(runs=runs, spans=[span for span in spans if span[0] < span[1]], wanted=wanted)


def image_runs(input_ids: Tensor, policy: Tensor, offsets: Tensor, visual_token_ids: Sequence[int]) -> ImageRuns:
    """Find the images: the longest stretches of placeholder tokens within a row.

    Placeholders that the policy itself wrote count as text. A video whose frames are separated by other tokens gives
    one run per frame.

    Args:
        input_ids: (N,) integer.
        policy: (N,) bool, the policy's own tokens.
        offsets: (B + 1,) int64, where each row starts, and N.
        visual_token_ids: the placeholders of images and videos.
    """
    visual = torch.isin(input_ids, torch.as_tensor(visual_token_ids, device=input_ids.device)) & ~policy
    row = _row_of_positions(offsets)
    goes_on = visual[1:] & visual[:-1] & (row[1:] == row[:-1])
    first, last = visual.clone(), visual.clone()
    first[1:] &= ~goes_on
    last[:-1] &= ~goes_on
    start = first.nonzero().squeeze(1)
    return ImageRuns(start, last.nonzero().squeeze(1) + 1, row[start])


def plan_focus(
    input_ids: Tensor,
    policy: Tensor,
    offsets: Tensor,
    visual_token_ids: Sequence[int],
    prototype: Prototype = "all_seen",
    position: Position = "own",
    similarity: Similarity = "mean_state",
) -> FocusPlan:
    """Decide which states are compared with which images: each token only with images before it.

    Args:
        input_ids: (N,) integer; on the CPU, since other devices would have to synchronise.
        policy: (N,) bool, the response tokens the policy sampled.
        offsets: (B + 1,) int64, where each row starts, and N.
        visual_token_ids: the placeholders of images and videos.
        prototype: mu_v of a token. ``all_seen``: over the tokens of all images before it; ``latest``: of the last image
            before it; ``prompt_only``: of all images before the row's first policy token.
        position: h_t of a token. ``own``: the state at the token; ``predictor``: the state that it was sampled from,
            one position before.
        similarity: see :class:`FocusPlan`.
    """
    runs = image_runs(input_ids, policy, offsets, visual_token_ids)
    token = policy.nonzero().squeeze(1)
    token_row = _row_of_positions(offsets)[token]
    looks_at = token[torch.searchsorted(token_row, token_row)] if prototype == "prompt_only" else token
    run = torch.searchsorted(runs.start, looks_at) - 1
    row_of_run = torch.cat([runs.row, runs.row.new_tensor([-1])])  # of run -1, before the first: no row
    seen = row_of_run[run] == token_row
    token, run = token[seen] - int(position == "predictor"), run[seen]

    changes = run.diff() != 0
    edge = torch.ones_like(run[:1], dtype=torch.bool)
    first, last = torch.cat([edge, changes]), torch.cat([changes, edge])
    joined = torch.zeros_like(runs.row, dtype=torch.bool)
    if prototype != "latest":
        joined[1:] = runs.row[1:] == runs.row[:-1]
    wanted = torch.zeros_like(policy)
    wanted[token] = True
    return FocusPlan(
        runs=list(zip(runs.start.tolist(), runs.stop.tolist(), strict=True)),
        joined=joined.tolist(),
        spans=list(zip(token[first].tolist(), (token[last] + 1).tolist(), run[first].tolist(), strict=True)),
        wanted=wanted,
        sizes=(runs.stop - runs.start).tolist(),
        similarity=similarity,
    )


@torch.no_grad()
def image_sums(hidden: Tensor, plan: FocusPlan) -> Tensor:
    """Eq. 1 without the division by the number of tokens; under ``every_state``, of states of length 1.

    Args:
        hidden: (N, d) of any float dtype, the states, or a rank's shard of them.
        plan: the plan of those states.

    Returns:
        (M, d) float32. The sums of all shards add up to those of the whole.
    """
    sums = hidden.new_zeros(len(plan.runs), hidden.shape[1], dtype=torch.float32)
    for image, _, states in _chunks(hidden, plan.runs):
        if plan.similarity == "every_state":
            states = torch.nn.functional.normalize(states, dim=1, eps=_EPS)
        sums[image] += states.sum(dim=0)
    return sums


@torch.no_grad()
def focus_scores(hidden: Tensor, sums: Tensor, plan: FocusPlan) -> Tensor:
    """Eq. 2: the score of each state that the plan wants.

    Args:
        hidden: (N, d) of any float dtype, the states, or a rank's shard of them.
        sums: (M, d) float32, the result of :func:`image_sums` over all states; overwritten.
        plan: the plan of those states.

    Returns:
        (N,) float32, rho in [0, 1] at each wanted state and NaN at all others. Under ``position: predictor`` the score
        of a token is thus one position before the token, where its log-prob is too.
    """
    sizes = list(plan.sizes)
    for image, joined in enumerate(plan.joined):
        if joined:
            sums[image] += sums[image - 1]
            sizes[image] += sizes[image - 1]
    if plan.similarity == "every_state":
        prototypes = sums / sums.new_tensor(sizes).unsqueeze(1)
    else:
        prototypes = torch.nn.functional.normalize(sums, dim=1, eps=_EPS)
    dots, norms = hidden.new_zeros(2, len(hidden), dtype=torch.float32)
    for span, at, states in _chunks(hidden, [span[:2] for span in plan.spans]):
        torch.mv(states, prototypes[plan.spans[span][2]], out=dots[at])
        torch.linalg.vector_norm(states, dim=1, out=norms[at])
    scores = dots.div_(norms.clamp_min_(_EPS)).add_(1).div_(2).clamp_(0, 1)
    return scores.masked_fill_(~plan.wanted.to(scores.device, non_blocking=True), torch.nan)


def _chunks(hidden: Tensor, stretches: list[tuple[int, int]]) -> Iterator[tuple[int, slice, Tensor]]:
    """Yield the number of a stretch, the position of a chunk in it, and the chunk's states in float32.

    float32 states are views of the input; other dtypes are converted into one buffer that every chunk reuses.
    """
    step = max(1, _CHUNK.get(hidden.device.type, _DEVICE_CHUNK) // hidden.shape[1])
    as_is = hidden.dtype == torch.float32
    buffer = None if as_is else hidden.new_empty(step, hidden.shape[1], dtype=torch.float32)
    for number, (start, stop) in enumerate(stretches):
        for first in range(start, stop, step):
            at = slice(first, min(first + step, stop))
            yield number, at, hidden[at] if as_is else buffer[: at.stop - first].copy_(hidden[at])


def _cut(stretch: tuple[int, int], start: int, stop: int) -> tuple[int, int]:
    """The part of a stretch that lies in [start, stop), counted from start; (0, 0) when there is none."""
    first, last = max(stretch[0], start) - start, min(stretch[1], stop) - start
    return (first, last) if first < last else (0, 0)


def _row_of_positions(offsets: Tensor) -> Tensor:
    """(N,) int64: the row each packed position is in."""
    lengths = offsets.diff()
    return torch.repeat_interleave(torch.arange(len(lengths), device=offsets.device), lengths)
