# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Collects the gradients of a policy's rollouts in a run that trains nothing, and measures the estimators on them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from verl_mapo import names
from verl_mapo.advantages.mapo import MapoSettings
from verl_mapo.columns import SCORED
from verl_mapo.lens.collection import MANIFEST, PART, Collection
from verl_mapo.lens.comparison import Comparison, Plan, by_halves, compare, where_it_comes_from
from verl_mapo.lens.estimators import Estimator, with_placebo
from verl_mapo.lens.steps import Steps, compare_steps
from verl_mapo.overrides import path_override
from verl_mapo.run_command import launch_run, primary_file
from verl_mapo.run_folder import RunFolder
from verl_mapo.settings import ConfigError, select

DISCOUNTS = (0.25, 0.5, 0.75, 1.0)
"""Values of MAPO's lambda that are compared."""

QUESTIONS_A_STEP = 32
"""Questions whose rollouts are in the queue at once; more of them need more memory and no less time. A step of AXPO has
those of a batch, because its continuations are chosen among them."""

FOLDER = f"{names.LENS_NODE}.folder"
"""The setting that every run of the lens has."""

FEW_STEPS = 8
"""With fewer steps in a half than this, the intervals of a bootstrap over steps are too narrow [ours]."""


@dataclass(frozen=True)
class Measured:
    """What the lens measured.

    Attributes:
        collection: the rollouts, without continuations.
        plan: the batches of ``table``.
        table: one row an estimator; the first is the base.
        by_batch: number of questions of a batch to the same, of the first estimator, MAPO and its placebo.
        by_group: number of rollouts of a question to the same three.
        turns: share of the scored rollouts with two scored turns or more, whose alignment lambda acts on.
        by_discount: MAPO's lambda to the first estimator, MAPO with that lambda, and its placebo; empty without such
            rollouts.
        sources: name of an estimator to where its projection comes from, see
            :func:`verl_mapo.lens.comparison.where_it_comes_from`.
        steps: the comparison on whole steps, of a collection of a run of AXPO; else None.
        left_out: the estimators that weigh tokens, and whose gradients were not taken.
    """

    collection: Collection
    plan: Plan
    table: list[Comparison]
    by_batch: dict[int, list[Comparison]]
    by_group: dict[int, list[Comparison]]
    turns: float
    by_discount: dict[float, list[Comparison]]
    sources: dict[str, dict[str, tuple[float, float]]]
    steps: Steps | None
    left_out: list[str]

    @property
    def notes(self) -> list[str]:
        """What a reader of the tables has to know of this collection, a sentence or two each."""
        notes = []
        if lacking := self.collection.manifest.get("left_out"):
            notes.append(
                f"{lacking} collected questions are left out, because a rollout of them has no outcome or no finite "
                "gradient."
            )
        if math.isnan(self.table[0].snr.value):
            notes.append(
                "SNR, worth and variance are not measured: they need two batches in each half of the questions. Give a "
                f"smaller --batch, or collect {4 * self.plan.questions} questions."
            )
        if self.left_out:
            notes.append(
                f"Not measured: {', '.join(self.left_out)}, which weigh tokens; no gradients with their weights were "
                f"collected. Collect into another folder with 'lens.token_weights=[{','.join(self.left_out)}]'."
            )
        if self.steps is None:
            notes.append(
                "Not measured: axpo; the collection has no continuations. Collect into another folder with method=axpo."
            )
        elif not self.steps.continuations:
            notes.append("No prefix was resampled in any step, so axpo is grpo here.")
        if self.steps is not None and self.steps.number // 2 < FEW_STEPS:
            notes.append(
                f"There are {self.steps.number} whole steps, which are too few for the intervals of axpo: collect at "
                f"least {2 * FEW_STEPS}, with --questions {2 * FEW_STEPS * self.steps.questions}."
            )
        return notes


def collect(
    run: Path,
    config: list[str],
    overrides: list[str],
    questions: int,
    rollouts: int,
    batch: int,
    timeout_h: float | None,
    verbose: bool,
) -> int:
    """Roll out a policy with verl's pipeline, and write the gradients into the folder ``lens`` of a run.

    Args:
        run: the folder of the run.
        config: see :func:`verl_mapo.run_command.primary`.
        overrides: the overrides of the planned training.
        questions: number of questions, from the training data.
        rollouts: rollouts of each question.
        batch: questions of a batch that is measured, which are those of a step in a run of AXPO.
        timeout_h, verbose: see :func:`verl_mapo.run_command.launch_run`.

    Returns:
        the exit code of the run.

    Raises:
        ConfigError: the folder is that of a run of another command, whose records this one would replace.
    """
    from verl_mapo.planning.compose import composed  # its room imports that of training, which imports the lens

    folder, about = lens_folder(run), RunFolder(run).about
    made = json.loads(about.read_text()).get("arguments", []) if about.is_file() else [FOLDER]
    if not any(FOLDER in argument for argument in made):
        raise ConfigError(
            f"--run {run} is refused: its run wrote records, which would be replaced, and no gradients of single "
            "rollouts, which the lens needs. Give --run another folder, with the overrides of that run; to measure "
            "what it has learnt, let actor_rollout_ref.model.path be the model of a checkpoint."
        )
    for part in folder.glob(PART.format("*")):  # of an interrupted run, which may have had more steps
        part.unlink()
    whole_steps = select(composed(primary_file(config), overrides), names.ADV_ESTIMATOR) == names.AXPO
    steps = math.ceil(questions / (batch if whole_steps else QUESTIONS_A_STEP))
    batch = batch if whole_steps else math.ceil(questions / steps)
    fixed = [
        path_override(FOLDER, folder.resolve()),
        f"{names.ROLLOUT_N}={rollouts}",
        f"{names.TRAIN_BATCH_SIZE}={batch}",
        f"actor_rollout_ref.actor.ppo_mini_batch_size={batch}",
        f"{names.TOTAL_STEPS}={steps}",
        f"trainer.critic_warmup={steps + 1}",  # verl updates no actor before
        f"{names.TRAINER_MODE}=sync",
        f"{names.RESUME_MODE}=disable",
        *("trainer.val_before_train=false", "trainer.test_freq=-1", "trainer.save_freq=-1"),
    ]
    code = launch_run(run, config, [*overrides, *fixed], timeout_h, verbose)
    if code == 0:
        manifest = {"questions": steps * batch, "step_questions": batch, "rollouts": rollouts, "overrides": overrides}
        Collection.of_parts(folder, rollouts, manifest).save(folder)
    return code


def lens_folder(run: Path) -> Path:
    """Where the gradients of a run are."""
    return run / "lens"


def is_collected(run: Path) -> bool:
    """Whether a run's gradients are all there."""
    return (lens_folder(run) / MANIFEST).is_file()


def measure(run: Path, plan: Plan, estimators: list[Estimator], overrides: Sequence[str] = ()) -> Measured:
    """Measure the estimators on the gradients of a run.

    Args:
        run: the folder of the run.
        plan: the batches of the table.
        estimators: the rows of the table; the first is the base, and MAPO with its placebo is among them.
        overrides: those that the gradients have to be collected with, if there are any.

    Raises:
        ConfigError: there are no gradients, they were collected with other overrides, or there are fewer questions or
            rollouts than the plan asks for.
    """
    whole = Collection.load(lens_folder(run))
    collected = whole.manifest.get("overrides", overrides)
    if overrides and sorted(overrides) != sorted(collected):
        raise ConfigError(
            f"--run {run} is refused: its gradients were collected with other settings, {' '.join(collected)}. Leave "
            "the settings out to measure them again, or give --run another folder."
        )
    on_steps = [estimators[0], *(each for each in estimators if each.continuations)]
    steps = compare_steps(whole, on_steps, plan) if whole.has(names.AXPO) else None
    collection = by_halves(whole.originals(), plan)
    estimators = [each for each in estimators if not each.continuations]
    left_out = [each.name for each in estimators if not collection.has(each.tokens) and not each.placebo]
    estimators = [each for each in estimators if collection.has(each.tokens)]
    few = replace(plan, draws=min(plan.draws, 50))
    questions = int(collection.question.max()) + 1
    sizes = [size for size in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512) if size <= max(1, questions // 4)]
    groups = [size for size in (2, 4, 8, 16, 32) if size <= len(collection.outcome) // questions]
    main = chosen(estimators)
    scored = (collection.turn_status == SCORED).sum(dim=1)
    turns = float((scored[scored > 0] > 1).double().mean()) if scored.any() else 0.0
    return Measured(
        collection=collection,
        plan=plan,
        table=compare(collection, estimators, plan),
        by_batch={size: compare(collection, main, replace(few, questions=size)) for size in sizes},
        by_group={size: compare(collection, main, of_group(few, size)) for size in groups},
        turns=turns,
        by_discount={
            value: compare(collection, [estimators[0], *with_placebo(MapoSettings(discount=value))], few)
            for value in (DISCOUNTS if turns else ())
        },
        sources={each.name: where_it_comes_from(collection, each, plan) for each in main},
        steps=steps,
        left_out=left_out,
    )


def of_group(plan: Plan, size: int) -> Plan:
    """The plan with another number of rollouts of a question; so few passes that its cost does not grow with it."""
    return replace(plan, rollouts=size, passes=max(2, round(plan.passes * min(1.0, (8 / size) ** 2))))


def chosen(estimators: list[Estimator]) -> list[Estimator]:
    """The base, MAPO with its default beta, or else the first that has a placebo, and that placebo."""
    placebos = [each for each in estimators if each.placebo and each.placebo != names.MAPO]
    placebo = next((each for each in placebos if each.options.get("beta") == MapoSettings.beta), placebos[0])
    return [estimators[0], next(each for each in estimators if each.name == placebo.placebo), placebo]
