# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Declarations of the report's panels and alarms that do not depend on a method.

Those of a method are on its class (:mod:`verl_mapo.training.method`). :mod:`verl_mapo.report.series` finds the metrics
of a run for them.
"""

from __future__ import annotations

from dataclasses import dataclass

from verl_mapo.charts import BLUE, VERMILION, Alarm, Curve, Panel
from verl_mapo.rollout.empty_text import EMPTY_SHARE, REPEATING_SHARE

TOOL_RATE_FALL = 1 / 3
"""Share of its first values below which the tool rate raises an alarm."""

REPEAT_IOU = 0.8
"""IoU of repeated boxes above which the report raises an alarm."""

AFTER_CALL = 0.05
"""Share of turns with a call that go on after it above which the report raises an alarm."""

OTHER_UNITS_RATE = 0.1
"""Share of boxes that look as if they were written in other units above which the report raises an alarm."""

CROP_AREA = 0.6
"""Mean share of the image in a crop above which the report raises an alarm."""


@dataclass(frozen=True)
class HeldOutPanel:
    """A panel with one training curve, and a held-out curve for every data source.

    Attributes:
        title: the heading.
        training: names of training metrics; the first of them that was logged is drawn.
        held_out: name of the validation metric, see :meth:`verl_mapo.report.load.RunData.validation`.
        look_for: the caption.
        share: whether the values are shares, written in percent, on a scale that begins at 0.
    """

    title: str
    training: tuple[str, ...]
    held_out: str
    look_for: str
    share: bool = False


@dataclass(frozen=True)
class KindsPanel:
    """A panel with a curve for every metric that begins with a prefix; the values are shares.

    Attributes:
        title: the heading.
        prefix: what the names of the metrics begin with; the rest is the curve's name.
        look_for: the caption.
        stacked: whether the shares add up to 1 and are drawn on top of each other.
        where_logged: whether a curve has the steps at which it was logged; otherwise those of the rollouts' metrics,
            with 0 where it was not logged.
    """

    title: str
    prefix: str
    look_for: str
    stacked: bool = False
    where_logged: bool = False


HELD_OUT = (
    HeldOutPanel(
        "Accuracy",
        ("axpo/outcome/original", "mapo/outcome/mean"),
        "acc",
        "Held-out accuracy should follow training accuracy. If only training accuracy rises, the model memorizes. If "
        "both stay flat while alignment rises, the model crops better without answering better.",
        share=True,
    ),
    HeldOutPanel(
        "Alignment",
        ("mapo/alignment/mean",),
        "alignment",
        "How well labels fit the crops they describe. If alignment rises while accuracy does not, check crop area and "
        "label length: generic labels on large crops score well.",
    ),
)

ROLLOUTS = (
    Panel(
        "Tool use",
        (
            Curve("tool rate", "rollout_visual/tool_rate", BLUE),
            Curve("valid calls", "rollout_visual/valid_call_rate", VERMILION),
        ),
        "Tool rate: share of rollouts that call a tool. A fall towards zero is the most frequently reported failure of "
        "such training, often within the first 20 steps. The share of valid calls should rise early and stay high.",
        share=True,
    ),
    Panel(
        "Crop area, share of the image",
        (Curve("crop area", "rollout_visual/crop_area"),),
        "Should fall or stay as the model learns where to look. Large crops with generic labels are reward hacking, "
        "because such a label fits any large crop.",
        share=True,
        limit=CROP_AREA,
    ),
    Panel(
        "Label length in tokens",
        (Curve("tokens", "rollout_visual/label_tokens"),),
        "A fall to one generic word, or a rise to the limit, means that labels are written to please the scorer.",
    ),
    Panel(
        "Overlap of repeated boxes, IoU",
        (Curve("IoU", "rollout_visual/repeat_iou"),),
        "Near 1, the model crops one good box again and again to collect its score each time.",
        share=True,
        limit=REPEAT_IOU,
    ),
    Panel(
        "Empty and repeating texts",
        (
            Curve("empty", "rollout_visual/empty/share", BLUE),
            Curve("repeating", "rollout_visual/repeating/share", VERMILION),
        ),
        "Share of rollouts whose last turn has no text, or says the same again and again. Both should stay at 0; a "
        "rise comes before the collapse of the policy.",
        share=True,
        limit=REPEATING_SHARE,
    ),
    Panel(
        "Turns per rollout",
        (Curve("turns", "rollout_visual/turns"),),
        "A fall to one: the model no longer calls tools. Constant at two: one crop, then the answer. A rise to the "
        "limit: the model does not stop calling.",
    ),
)
"""Of the rollouts of every run with this package's agent loop."""

KINDS = (
    KindsPanel(
        "End reasons",
        "rollout_visual/end/",
        "Why rollouts ended. If anything but “answer” grows, rollouts are cut short: raise the limit with that "
        "name, or read those trajectories.",
        stacked=True,
    ),
    KindsPanel(
        "Bad calls, share of all calls",
        "rollout_visual/bad_call/",
        "What was wrong with tool calls. If one kind stays, the error message does not help the model to correct the "
        "call: read the observations in those trajectories.",
    ),
    KindsPanel(
        "Faults of labels, share of visual turns",
        "rollout_visual/faults/",
        "Visual turns with alignment 0 that were not sent to the scorer. If they rise with the tool rate, the model "
        "calls tools without using what they show.",
    ),
    KindsPanel(
        "Right held-out answers that do not need the look",
        "val-audit/without_looking/",
        "Of right answers with a look, the share that stays right when something else is shown in its place. If it "
        "rises with alignment, labels get better and answers do not come from the images.",
        where_logged=True,
    ),
)

LEARNING = (
    Panel(
        "Response length in tokens",
        (Curve("tokens", "response_length/mean"),),
        "A sudden fall often marks the end of tool use. A rise to the limit means that rollouts are cut short.",
    ),
    Panel(
        "Entropy of the policy",
        (Curve("entropy", "actor/entropy"),),
        "A slow fall is normal. After a fall to zero within a few steps, nothing more is learned. A rise is drift "
        "towards random text.",
    ),
    Panel(
        "Gradient norm",
        (Curve("gradient norm", "actor/grad_norm"),),
        "Single spikes are clipped and do no harm. A level that keeps growing precedes collapse: lower the learning "
        "rate.",
    ),
    Panel(
        "Rollout and trainer, difference",
        (Curve("difference", "training/rollout_probs_diff_max"),),
        "Largest difference between the probabilities that the rollout engine and the trainer give to one token. It "
        "should be small: a jump towards 1 means that their tokens or images differ.",
    ),
    Panel(
        "Time of a step in seconds",
        (Curve("seconds", "timing_s/step"),),
        "Peaks at regular intervals are validation. If the time grows and the responses do not, check the scorer, the "
        "tools and memory.",
    ),
)
"""Of verl's trainer."""

ALARMS = (
    Alarm(
        "rollout_visual/unreadable_images/share",
        "unreadable images",
        0.0,
        "{last:.1%} of the training rollouts with images ended before their first turn, because an image cannot be "
        "shown. Nothing was learned from them: the log of the run names the images.",
        whole_run=True,
    ),
    Alarm(
        "rollout_visual/errors/share",
        "errors in code",
        0.0,
        "On {last:.1%} of the training rollouts the code of a tool, of the answer check or of the reward function "
        "failed. Nothing was learned from them: the log of the run has the tracebacks.",
        whole_run=True,
    ),
    Alarm(
        "rollout_visual/tool_rate",
        "tool rate",
        TOOL_RATE_FALL,
        "It fell from {first:.0%} to {last:.0%}: the model is giving up tool calls. Compare the advantages of rollouts "
        "with and without a tool call.",
        falls=True,
    ),
    Alarm(
        "rollout_visual/repeat_iou",
        "repeated boxes",
        REPEAT_IOU,
        "Repeated boxes overlap with an IoU of {last:.2f}: the model crops the same place again and again and is "
        "rewarded each time.",
    ),
    Alarm(
        "rollout_visual/other_units_rate",
        "units of boxes",
        OTHER_UNITS_RATE,
        "{last:.0%} of the boxes look as if they were written in other units than the run's. The log names the units: "
        "set visual_tool.coordinates to them.",
    ),
    Alarm(
        "rollout_visual/after_call/share",
        "text after a call",
        AFTER_CALL,
        "In {last:.0%} of the turns with a call the model went on after it, perhaps with an invented result, which "
        "then stands in its context: set visual_tool.stop_at_call=true.",
    ),
    Alarm(
        "rollout_visual/empty/share",
        "empty texts",
        EMPTY_SHARE,
        "The last turn of {last:.0%} of the rollouts has no text: the policy is collapsing, or its chat template ends "
        "the turn for it. Look at such rollouts, and go on from a checkpoint before the rise with a lower learning "
        "rate.",
    ),
    Alarm(
        "rollout_visual/repeating/share",
        "repeating texts",
        REPEATING_SHARE,
        "The last turn of {last:.0%} of the rollouts says the same again and again: the policy is collapsing. Go on "
        "from a checkpoint before the rise with a lower learning rate or with actor_rollout_ref.actor.use_kl_loss.",
    ),
    Alarm(
        "rollout_visual/crop_area",
        "crop area",
        CROP_AREA,
        "The mean crop covers {last:.0%} of the image. A crop of the whole image fits any label, so the model can earn "
        "alignment without looking for anything.",
    ),
)
