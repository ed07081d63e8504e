# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Why are fewer calls valid for a while in a training on the toy? What a run shows of it (docs/dip.md).

    python scripts/dip.py records RUN                   # faults of calls and entropy by step, of the records alone
    python scripts/dip.py models RUN [--scenes 32]      # what the models of the run's checkpoints would write

``models`` reads the folders ``huggingface`` of a run with ``save_contents=[model,optimizer,extra,hf_model]``. Each
model is shown the same right demonstrations, token by token, and at each token the probability of ``<tool_call>``, that
of the demonstrated token, and the entropy (nats) of the next token are taken. They are means over :data:`PLACES`.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedModel

from verl_mapo.report.load import Rollout, RunData
from verl_mapo.rollout.statuses import TurnStatus
from verl_mapo.rollout.trajectory import Turn
from verl_mapo.toy.dialogue import Demonstration, DialogueWriter
from verl_mapo.toy.rollouts import pixels
from verl_mapo.toy.visual_search import Scene, VisualSearch
from verl_mapo.toy.warm_start import one_thread

OPEN, CLOSE = "<tool_call>", "</tool_call>"

PLACES = ("first token", "thought", "opening tag", "numbers in the call", "rest of the call", "after the crop")
"""The parts of a demonstration: the first token of the response; the rest before the call; the tag that opens the call;
the numbers of the box; everything else up to the end of the turn; the turn that follows the crop."""

FAULTS = (
    "a tag inside the call",
    "an answer or a thought inside the call",
    "not closed",
    "without its opening tag",
    *(status.value for status in TurnStatus if status.is_call and status != TurnStatus.OK),
)
"""Kinds of faults, see :func:`fault_of`."""


def fault_of(turn: Turn) -> str | None:
    """The kind of fault of a turn, one of :data:`FAULTS`; None for an executed call and for a turn without any call.

    A closing tag without an opening one is no call for the loop, so ``valid_call_rate`` does not count it.
    """
    if not turn.called:
        return "without its opening tag" if CLOSE in turn.text and OPEN not in turn.text else None
    if turn.status == TurnStatus.OK:
        return None
    inside = turn.text.partition(OPEN)[2].partition(CLOSE)[0]
    if OPEN in inside:
        return "a tag inside the call"
    if any(tag in inside for tag in ("<answer>", "</answer>", "<think>", "</think>")):
        return "an answer or a thought inside the call"
    if CLOSE not in turn.text:
        return "not closed"
    return turn.status.value


def fault_shares(rollouts: list[Rollout]) -> dict[str, float]:
    """Faulty calls by kind, divided by the number of calls; a call without its opening tag is among both."""
    turns = [turn for rollout in rollouts for turn in rollout.trajectory.turns]
    faults = [fault_of(turn) for turn in turns]
    tried = sum(turn.called or fault is not None for turn, fault in zip(turns, faults, strict=True))
    return {name: count / max(tried, 1) for name, count in Counter(filter(None, faults)).items()}


def records_table(run: RunData) -> str:
    """The markdown table of a run by step: rates and faults in percent, the entropy in nats."""
    by_step = {step: fault_shares(run.rollouts(step, "train")) for step in sorted(run.files["train"])}
    kinds = [name for name in FAULTS if any(name in shares for shares in by_step.values())]
    rates = {"tool rate": "rollout_visual/tool_rate", "valid calls": "rollout_visual/valid_call_rate"}
    lines = [f"| {' | '.join(['step', 'accuracy', *rates, 'entropy', *kinds])} |", "|---" * (len(kinds) + 5) + "|"]
    for step, shares in by_step.items():
        metrics = run.metrics.get(step, {})
        percents = [metrics.get("critic/score/mean"), *(metrics.get(metric) for metric in rates.values())]
        cells = [str(step), *("" if value is None else f"{100 * value:.0f}" for value in percents)]
        entropy = metrics.get("actor/entropy")
        cells += ["" if entropy is None else f"{entropy:.3f}", *(f"{100 * shares.get(name, 0):.1f}" for name in kinds)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def places(trained: list[bool], tokens: list[str]) -> list[str | None]:
    """The place of each token of a demonstration with a call, one of :data:`PLACES`; None for a token of the prompt.

    Args:
        trained: whether the model writes the token.
        tokens: the text of each token.
    """
    written = [number for number, one in enumerate(trained) if one]
    opening = next(number for number in written if tokens[number].strip() == OPEN)
    end = next(number for number in range(opening, len(trained)) if not any(trained[number + 1 : number + 2]))

    def place(number: int) -> str:
        if number > end:
            return "after the crop"
        if number > opening:
            return "numbers in the call" if tokens[number].strip().isdigit() else "rest of the call"
        if number == opening:
            return "opening tag"
        return "first token" if number == written[0] else "thought"

    return [place(number) if one else None for number, one in enumerate(trained)]


def read(logits: Tensor, ids: list[int], where: list[str | None], tag: int) -> dict[str, Tensor]:
    """What a model expects at each place.

    Args:
        logits: (L, V), of the token after each position.
        ids: (L,) token ids.
        where: (L,) see :func:`places`; the first is None.
        tag: id of the tag that opens a call.

    Returns:
        place to (3,): the means of the tag's probability, of the demonstrated token's, and of the entropy in nats.
    """
    log_probs = logits[:-1].double().log_softmax(dim=-1)
    probs = log_probs.exp()
    demonstrated = probs.gather(1, torch.tensor(ids[1:]).unsqueeze(1)).squeeze(1)
    entropy = -(probs * log_probs).nan_to_num(0).sum(dim=-1)
    found = torch.stack([probs[:, tag], demonstrated, entropy], dim=1)
    rows = {name: [number for number, place in enumerate(where[1:]) if place == name] for name in PLACES}
    return {name: found[numbers].mean(dim=0) for name, numbers in rows.items() if numbers}


@torch.no_grad()
def expectations(model: PreTrainedModel, writer: DialogueWriter, scenes: list[Scene]) -> dict[str, Tensor]:
    """The means of :func:`read` over right demonstrations of scenes whose question is about an object's letter."""
    tag = writer.processor.tokenizer.convert_tokens_to_ids(OPEN)
    found: dict[str, list[Tensor]] = {name: [] for name in PLACES}
    for scene in scenes:
        history = writer.image_history(scene.image)
        target = scene.question.target
        history.add(writer.zoom_at(history, target.cell))
        images = [(number, image.size) for number, image in enumerate(history.images)]
        shown = Demonstration(scene.question, target.letter, target.name, target.cell)
        written = writer.dialogue(shown, *images)
        ids = torch.tensor([written.ids])
        logits = model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            mm_token_type_ids=(ids == writer.image_token).int(),
            **pixels(writer, history.images),
        ).logits[0]
        tokens = [writer.processor.tokenizer.decode([token]) for token in written.ids]
        for name, values in read(logits, written.ids, places(written.trained, tokens), tag).items():
            found[name].append(values)
    return {name: torch.stack(values).mean(dim=0) for name, values in found.items() if values}


def models_table(models: dict[int, Path], scenes: list[Scene]) -> str:
    """The markdown table of the models by step: at each place the three means of :func:`read`."""
    lines = [f"| {' | '.join(['step', *PLACES])} |", "|---" * (len(PLACES) + 1) + "|"]
    for step, folder in sorted(models.items()):
        model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
        writer = DialogueWriter(AutoProcessor.from_pretrained(folder), model.config.model_type)
        found = expectations(model, writer, scenes)
        cells = [f"{tag:.1e}, {right:.3f}, {entropy:.3f}" for tag, right, entropy in map(Tensor.tolist, found.values())]
        lines.append(f"| {' | '.join([str(step), *cells])} |")
    return "\n".join(lines)


def models_of(run: RunData) -> dict[int, Path]:
    """The model that the run began with, as step 0, and those of its checkpoints, by step."""
    # verl writes the folder with every checkpoint, and the weights into it only if they are among save_contents
    weights = (run.path / "checkpoints").glob("global_step_*/actor/huggingface/*.safetensors")
    saved = {int(file.parents[2].name.rpartition("_")[2]): file.parent for file in weights}
    return {0: Path(run.config.actor_rollout_ref.model.path)} | saved


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("records", "models"))
    parser.add_argument("run", type=Path)
    parser.add_argument("--scenes", type=int, default=32, help="number of held-out scenes that the models are shown")
    arguments = parser.parse_args()
    run = RunData.open(arguments.run)
    if arguments.command == "records":
        print(records_table(run))
        return
    models = models_of(run)
    if len(models) < 2:
        parser.error(f"{arguments.run} has no checkpoint with a whole model: put hf_model into save_contents")
    scenes = [VisualSearch().scene(0, "evaluation", number) for number in range(arguments.scenes)]
    print("At each place: probability of the tag, probability of the demonstrated token, entropy in nats.\n")
    with one_thread():
        print(models_table(models, scenes))


if __name__ == "__main__":
    main()
