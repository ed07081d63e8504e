# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Does VGPO's focus score measure how much the model uses the image? A comparison on rollouts of the toy model.

    python scripts/study_focus.py --toy runs/quickstart/toy [--figure FILE.png]

The warm-started model makes one rollout on each of some held-out scenes, at temperature 1, and a further forward pass
computes the focus score of every token that it wrote. Three independent signs of image use are compared with it:

- attention: the attention weight on image tokens, summed over them, as the mean over all heads and layers;
- last layer: the same in the last layer alone;
- blanking: |log p(token | images) - log p(token | latest image replaced by its mean colour)|. The latest image is the
  crop for tokens after the observation, and the scene for tokens before it.

Score and attention are those of the same hidden state: the token's own, or the state that it was sampled from
(``predictor``). The tables show correlations over the tokens of all rollouts; within each rollout, as the mean over
rollouts; given t/T, as the linear partial correlation, because all measures drift with time; and given the token,
without the mean of each token id, because all measures depend on the word of the template. Brackets are 95 % intervals
of a bootstrap over rollouts.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image, ImageStat
from scipy.stats import rankdata
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedModel

from verl_mapo.advantages.focus import Position, Prototype, focus_scores, image_runs, image_sums, plan_focus
from verl_mapo.toy.dialogue import DialogueWriter, Family
from verl_mapo.toy.prepare import Scale
from verl_mapo.toy.rollouts import Rollout, pixels, roll_out
from verl_mapo.toy.visual_search import VisualSearch
from verl_mapo.toy.warm_start import one_thread

SIGNS = ("attention", "last layer", "blanking")
PROTOTYPES: tuple[Prototype, ...] = ("all_seen", "latest")
POSITIONS: tuple[Position, ...] = ("own", "predictor")
PARTS = ("all", "before the crop", "after the crop")
RESAMPLES = 1000


@dataclass(frozen=True)
class Reading:
    """The n tokens that the model wrote in one rollout; every array has the shape (n,).

    Attributes:
        time: t/T, the token's number divided by n.
        token: token ids.
        after: whether the crop comes before the token.
        measures: the scores by prototype and the signs of image use by name, each by position.
    """

    time: np.ndarray
    token: np.ndarray
    after: np.ndarray
    measures: dict[tuple[str, Position], np.ndarray]

    def columns(self, one: str, other: str, position: Position, part: str) -> np.ndarray:
        """Two measures, time and token id of the m tokens of a part, (4, m).

        Args:
            one: the first measure.
            other: the second measure.
            position: position of both.
            part: one of :data:`PARTS`.
        """
        columns = np.stack([self.measures[one, position], self.measures[other, position], self.time, self.token])
        return columns[:, (part == "all") | (self.after == (part == "after the crop"))]


@torch.no_grad()
def read(model: PreTrainedModel, writer: DialogueWriter, rollout: Rollout) -> Reading:
    """Compute the measures of a rollout: one pass for scores and attention, and one for each blanked image."""
    ids, policy, images = torch.tensor(rollout.ids), torch.tensor(rollout.policy), rollout.history.images
    packed = (ids, policy, torch.tensor([0, len(ids)]), [writer.image_token])
    token = policy.nonzero().squeeze(1)
    seen = forward(model, writer, ids, images, output_attentions=True)
    hidden = seen.last_hidden_state[0]
    latest = torch.searchsorted(image_runs(*packed).start, token) - 1
    effect = torch.zeros(len(token))
    for image in latest.unique().tolist():
        blanked = [*images[:image], blank(images[image]), *images[image + 1 :]]
        without = forward(model, writer, ids, blanked).last_hidden_state[0]
        change = log_probs(model, hidden, ids, token) - log_probs(model, without, ids, token)
        effect = torch.where(latest == image, change.abs(), effect)

    image_keys = (ids == writer.image_token) & ~policy
    mass = torch.cat(seen.attentions)[..., image_keys].sum(dim=-1).mean(dim=1)  # (layers, positions)
    measures = {}
    for position in POSITIONS:
        state = token - int(position == "predictor")
        for prototype in PROTOTYPES:
            plan = plan_focus(*packed, prototype, position)
            measures[prototype, position] = focus_scores(hidden, image_sums(hidden, plan), plan)[state].numpy()
        for sign, values in zip(SIGNS, (mass.mean(dim=0)[state], mass[-1, state], effect), strict=True):
            measures[sign, position] = values.numpy()
    time = np.arange(1, len(token) + 1) / len(token)
    return Reading(time, ids[token].numpy(), (latest > 0).numpy(), measures)


def forward(
    model: PreTrainedModel, writer: DialogueWriter, ids: Tensor, images: list[Image.Image], **outputs: bool
) -> Any:
    """The output of the model without its head for one rollout.

    Args:
        model: the model.
        writer: holds the image processor.
        ids: (length,) token ids.
        images: the images as seen.
        outputs: further outputs, such as ``output_attentions=True``.
    """
    kinds = (ids == writer.image_token).int()
    return model.model(input_ids=ids[None], mm_token_type_ids=kinds[None], **pixels(writer, images), **outputs)


def log_probs(model: PreTrainedModel, hidden: Tensor, ids: Tensor, token: Tensor) -> Tensor:
    """Log-probs of tokens, (tokens,).

    Args:
        model: the model.
        hidden: (length, width) last hidden states.
        ids: (length,) token ids.
        token: (tokens,) positions of the tokens.
    """
    return model.lm_head(hidden[token - 1]).log_softmax(dim=-1).gather(1, ids[token, None]).squeeze(1)


def blank(image: Image.Image) -> Image.Image:
    """An image of the same size in the mean colour."""
    return Image.new("RGB", image.size, tuple(round(value) for value in ImageStat.Stat(image).mean))


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's correlation; NaN if x or y does not vary."""
    return np.corrcoef(x, y)[0, 1] if len(x) > 2 and np.ptp(x) and np.ptp(y) else np.nan


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's rank correlation; NaN if x or y does not vary."""
    return pearson(rankdata(x), rankdata(y))


def partial(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> float:
    """The partial correlation of x and y given z: Pearson's of the residuals of linear fits in z."""
    xy, xz, yz = pearson(x, y), pearson(x, z), pearson(y, z)
    return (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))


def given_token(x: np.ndarray, y: np.ndarray, token: np.ndarray) -> float:
    """Pearson's correlation of x and y after subtraction of the mean of each token id."""
    which = np.unique(token, return_inverse=True)[1]
    return pearson(*(values - (np.bincount(which, values) / np.bincount(which))[which] for values in (x, y)))


class Statistic(NamedTuple):
    """A statistic over rollouts: ``together`` combines the results of ``each`` for the columns of every rollout."""

    each: Callable[[np.ndarray], Any]
    together: Callable[[list[Any]], float]

    def shown(self, rollouts: list[np.ndarray]) -> str:
        """The statistic with its bootstrap interval, as text."""
        items = [self.each(columns) for columns in rollouts]
        draws = np.random.default_rng(0).integers(len(items), size=(RESAMPLES, len(items)))
        low, high = np.nanquantile([self.together([items[i] for i in draw]) for draw in draws], [0.025, 0.975])
        return f"{self.together(items):.2f} [{low:.2f}, {high:.2f}]"


def pooled(correlation: Callable[..., float], *columns: int) -> Statistic:
    """The correlation over the tokens of all rollouts; ``columns`` are the rows of :meth:`Reading.columns` it takes."""
    return Statistic(lambda one: one, lambda items: correlation(*np.concatenate(items, axis=1)[list(columns)]))


def within(correlation: Callable[..., float]) -> Statistic:
    """The mean over rollouts of the correlation within a rollout."""
    return Statistic(lambda one: correlation(*one[:2]), np.nanmean)


STATISTICS = {
    "Pearson": pooled(pearson, 0, 1),
    "Spearman": pooled(spearman, 0, 1),
    "Pearson within": within(pearson),
    "Spearman within": within(spearman),
    "Pearson given t/T": pooled(partial, 0, 1, 2),
    "Pearson given the token": pooled(given_token, 0, 1, 3),
}


def main_table(readings: list[Reading]) -> Iterator[list[str]]:
    """Rows of the table for the default score, with every statistic."""
    yield ["sign", "tokens", *STATISTICS]
    for sign, part in itertools.product(SIGNS, PARTS):
        rollouts = [one.columns("all_seen", sign, "own", part) for one in readings]
        yield [sign, part, *(statistic.shown(rollouts) for statistic in STATISTICS.values())]


def control_table(readings: list[Reading]) -> Iterator[list[str]]:
    """Rows of the table for every prototype and position, and for attention in place of the score."""
    pairs = list(itertools.product(SIGNS, ("Pearson", "Spearman")))
    yield ["score", "position", "tokens", *(f"{sign}, {name}" for sign, name in pairs)]
    for score, position, part in itertools.product((*PROTOTYPES, "attention"), POSITIONS, ("all", "after the crop")):
        rollouts = {sign: [one.columns(score, sign, position, part) for one in readings] for sign in SIGNS}
        cells = (STATISTICS[name].shown(rollouts[sign]) if sign != score else "" for sign, name in pairs)
        yield [score, position, part, *cells]


def show(table: Iterator[list[str]]) -> None:
    """Print the rows as a markdown table."""
    for number, cells in enumerate(table):
        print("|", " | ".join(cells), "|")
        if number == 0:
            print("|---" * len(cells) + "|")


def draw(readings: list[Reading], file: Path) -> None:
    """Draw attention and the effect of blanking over the score of every token, before and after the crop."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained", sharex=True)
    labels = {"attention": "attention on image tokens", "blanking": "|change of log p| when the image is blanked"}
    for axes, (sign, label) in zip(panels, labels.items(), strict=True):
        for part, colour in zip(PARTS[1:], ("#0072B2", "#D55E00"), strict=True):
            score, value = np.concatenate([one.columns("all_seen", sign, "own", part) for one in readings], axis=1)[:2]
            axes.scatter(score, value, s=8, alpha=0.35, linewidths=0, color=colour, label=part)
        axes.set(xlabel="focus score", ylabel=label)
    panels[1].set_yscale("log")
    panels[0].legend()
    figure.savefig(file, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--toy", type=Path, required=True, help="folder of verl-mapo toy --out")
    parser.add_argument("--family", choices=get_args(Family), default="qwen2_5_vl")
    parser.add_argument("--size", choices=get_args(Scale), default="full")
    parser.add_argument("--rollouts", type=int, default=64)
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    models = [path.parent for path in arguments.toy.glob(f"{arguments.family}-{arguments.size}-*/config.json")]
    if len(models) != 1:
        parser.error(
            f"--toy {arguments.toy} holds {len(models)} models of this family and size: give a folder with exactly one."
        )
    folder = models[0]
    task = VisualSearch(**json.loads((folder / "made_by.json").read_text())["task"])
    model = AutoModelForImageTextToText.from_pretrained(folder, attn_implementation="eager").eval()
    writer = DialogueWriter(AutoProcessor.from_pretrained(folder), arguments.family)
    with one_thread():
        rollouts = roll_out(model, writer, task, arguments.rollouts, temperature=1.0)
        readings = [read(model, writer, rollout) for rollout in rollouts]
    after = np.concatenate([reading.after for reading in readings])
    called, right = sum(one.called for one in rollouts), sum(one.right for one in rollouts)
    print(f"{len(rollouts)} rollouts, {called} with a crop, {right} right; {len(after)} tokens, {after.sum()} after it")
    for table in (main_table, control_table):
        print()
        show(table(readings))
    if arguments.figure:
        draw(readings, arguments.figure)


if __name__ == "__main__":
    main()
