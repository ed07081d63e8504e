# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Collects the gradients of a policy's rollouts in a run that trains nothing, and measures the estimators on them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from verl_mapo import names
from verl_mapo.advantages.mapo import MapoSettings
from verl_mapo.lens.collection import MANIFEST, PART, Collection
from verl_mapo.lens.comparison import Comparison, Plan, compare, where_it_comes_from
from verl_mapo.lens.estimators import Estimator
from verl_mapo.overrides import path_override
from verl_mapo.run_command import launch_run

QUESTIONS_A_STEP = 32
"""Questions whose rollouts are in the queue at once; more of them need more memory and no less time."""


@dataclass(frozen=True)
class Measured:
    """What the lens measured.

    Attributes:
        collection: the rollouts.
        plan: the batches of ``table``.
        table: one row an estimator; the first is the base.
        by_batch: number of questions of a batch to the same, of the first estimator, MAPO and its placebo.
        sources: name of an estimator to where its projection comes from, see
            :func:`verl_mapo.lens.comparison.where_it_comes_from`.
        left_out: the estimators that weigh tokens, and whose gradients were not taken.
    """

    collection: Collection
    plan: Plan
    table: list[Comparison]
    by_batch: dict[int, list[Comparison]]
    sources: dict[str, dict[str, tuple[float, float]]]
    left_out: list[str]


def collect(
    run: Path,
    config: list[str],
    overrides: list[str],
    questions: int,
    rollouts: int,
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
        timeout_h, verbose: see :func:`verl_mapo.run_command.launch_run`.

    Returns:
        the exit code of the run.
    """
    folder = lens_folder(run)
    for part in folder.glob(PART.format("*")):  # of an interrupted run, which may have had more steps
        part.unlink()
    steps = math.ceil(questions / QUESTIONS_A_STEP)
    batch = math.ceil(questions / steps)
    fixed = [
        path_override(f"{names.LENS_NODE}.folder", folder.resolve()),
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
        manifest = {"questions": steps * batch, "rollouts": rollouts, "overrides": overrides}
        Collection.of_parts(folder, rollouts, manifest).save(folder)
    return code


def lens_folder(run: Path) -> Path:
    """Where the gradients of a run are."""
    return run / "lens"


def is_collected(run: Path) -> bool:
    """Whether a run's gradients are all there."""
    return (lens_folder(run) / MANIFEST).is_file()


def measure(run: Path, plan: Plan, estimators: list[Estimator]) -> Measured:
    """Measure the estimators on the gradients of a run.

    Args:
        run: the folder of the run.
        plan: the batches of the table.
        estimators: the rows of the table; the first is the base, and MAPO with its placebo is among them.

    Raises:
        ConfigError: there are no gradients, or fewer questions or rollouts than the plan asks for.
    """
    collection = Collection.load(lens_folder(run))
    left_out = [each.name for each in estimators if not collection.has(each.tokens) and not each.placebo]
    estimators = [each for each in estimators if collection.has(each.tokens)]
    few = replace(plan, draws=min(plan.draws, 50))
    half = int(collection.question.max() + 1) // 2
    sizes = [size for size in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512) if size <= half // 2]
    main = chosen(estimators)
    return Measured(
        collection=collection,
        plan=plan,
        table=compare(collection, estimators, plan),
        by_batch={size: compare(collection, main, replace(few, questions=size)) for size in sizes},
        sources={each.name: where_it_comes_from(collection, each, plan) for each in main},
        left_out=left_out,
    )


def chosen(estimators: list[Estimator]) -> list[Estimator]:
    """The base, MAPO with its default beta, or else the first that has a placebo, and that placebo."""
    placebos = [each for each in estimators if each.placebo and each.placebo != names.MAPO]
    placebo = next((each for each in placebos if each.options.get("beta") == MapoSettings.beta), placebos[0])
    return [estimators[0], next(each for each in estimators if each.name == placebo.placebo), placebo]
