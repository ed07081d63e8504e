# Copyright 2026 The verl_mapo authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""What is watched during a run: which metrics are drawn together, and what to look for in them.

What it does not know: which of them a run has logged, or how they are drawn.
"""

from __future__ import annotations

from verl_mapo.report import findings

BLUE, VERMILION, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#AA4499", "#5f6b7a"

Plot = tuple[str, list[tuple[str, str, str]], bool, float | None, str]
"""Title, lines (name, metric, colour), whether shares, alarm limit, what to look for."""

HELD_OUT = [
    (
        "Accuracy",
        ["axpo/outcome/original", "mapo/outcome/mean"],
        "acc",
        "Held out should follow training. Training alone rising is learning by heart; both flat while alignment rises "
        "is better looking without better answering.",
    ),
    (
        "Alignment",
        ["mapo/alignment/mean"],
        "alignment",
        "How well labels fit crops. If it rises while accuracy stays, look at crop area and label length: safe, "
        "generic looks score well.",
    ),
]
"""Title, training metrics of which the first that was logged is drawn, held-out name, what to look for."""

LOOKING: list[Plot] = [
    (
        "Tool use",
        [
            ("tool rate", "rollout_visual/tool_rate", BLUE),
            ("valid calls", "rollout_visual/valid_call_rate", VERMILION),
        ],
        True,
        None,
        "A tool rate that falls towards zero is the collapse most often reported for such training, often within the "
        "first 20 steps. Valid calls should rise early and stay.",
    ),
    (
        "Spread of the advantages",
        [("outcome, A_out", "mapo/a_out/std", BLUE), ("alignment, A_sem", "mapo/a_sem/std", VERMILION)],
        False,
        None,
        "Near zero: no signal from that side. If only A_sem has spread, training follows the scorer, not the task.",
    ),
    (
        "Groups at the std floor",
        [
            ("outcome", "mapo/std_floor/outcome_share", BLUE),
            ("alignment", "mapo/std_floor/alignment_share", VERMILION),
        ],
        True,
        findings.FLOOR_SHARE,
        "Groups whose rollouts score all but the same. Above half, most of the batch teaches nothing: choose harder or "
        "easier questions, or a scorer that tells crops apart.",
    ),
    (
        "Unscored visual turns",
        [("unscored", "mapo/alignment/unscored_share", BLUE)],
        True,
        findings.UNSCORED_SHARE,
        "Turns whose scorer failed or timed out. They count as missing, not as zero; many of them bias what is left.",
    ),
    (
        "Crop area, share of the image",
        [("crop area", "rollout_visual/crop_area", BLUE)],
        True,
        findings.CROP_AREA,
        "Large crops with generic labels are reward hacking: everything fits. It should fall or stay as the model "
        "learns where to look.",
    ),
    (
        "Label length in tokens",
        [("tokens", "rollout_visual/label_tokens", BLUE)],
        False,
        None,
        "Shrinking to one generic word, or growing to the cap, means labels are written for the scorer.",
    ),
    (
        "Overlap of repeated boxes, IoU",
        [("IoU", "rollout_visual/repeat_iou", BLUE)],
        True,
        findings.REPEAT_IOU,
        "Near 1, one good box is shown again and again to collect its score.",
    ),
    (
        "Turns per rollout",
        [("turns", "rollout_visual/turns", BLUE)],
        False,
        None,
        "Falling to one: the model stopped looking. Stuck at two: one safe look, then out. Rising to the limit: it "
        "does not stop.",
    ),
]
EXPLORING: list[Plot] = [
    (
        "Triggered and recovered",
        [("triggered", "axpo/trigger_rate", BLUE), ("recovered", "axpo/recovery_rate", VERMILION)],
        True,
        None,
        "Triggered: questions whose tool users are all wrong, of those with tool users. Recovered: resampled prefixes "
        "of which a continuation is right. Without recovery there is nothing to learn from resampling.",
    ),
    (
        "Slots of a step, in prefixes",
        [("offered", "axpo/slots/offered", GREY), ("used", "axpo/slots/used", BLUE)],
        False,
        None,
        "Used below offered: too few tool calls to resample, and nothing is lost. Always all of them: some are passed "
        "over, and a larger algorithm.axpo.ratio would reach them.",
    ),
    (
        "Confidence of tool calls",
        [("selected", "axpo/confidence/selected", BLUE), ("passed over", "axpo/confidence/passed_over", VERMILION)],
        False,
        None,
        "Mean probability of the tokens of a call, in triggered questions. Where the lines meet, calls are alike and "
        "the ranking chooses nothing.",
    ),
    (
        "Extra tokens, share of the rollouts'",
        [("extra", "axpo/extra_tokens", BLUE)],
        True,
        None,
        "What continuations wrote behind their prefixes. Above algorithm.axpo.ratio they are longer than rollouts.",
    ),
    (
        "Extra seconds of a question",
        [("mean", "axpo/seconds/mean", BLUE), ("longest", "axpo/seconds/max", VERMILION)],
        False,
        None,
        "From its last rollout to its last continuation, waiting for slots included; the mean is over all questions. "
        "The step grows by less, for other questions are still rolling out.",
    ),
    (
        "Tool users of a question",
        [("rollouts", "axpo/subgroup_size", BLUE)],
        False,
        None,
        "Rollouts that called a tool, in questions that have any. Near one, a single wrong rollout is a trigger.",
    ),
]
LEARNING: list[Plot] = [
    (
        "Response length in tokens",
        [("tokens", "response_length/mean", BLUE)],
        False,
        None,
        "A sudden fall comes with the end of tool use; a climb to the limit comes with rollouts cut short.",
    ),
    (
        "Entropy of the policy",
        [("entropy", "actor/entropy", BLUE)],
        False,
        None,
        "A slow fall is learning; a fall to zero in a few steps ends it; a rise is drift towards noise.",
    ),
    (
        "Gradient norm",
        [("gradient norm", "actor/grad_norm", BLUE)],
        False,
        None,
        "Single spikes are clipped. A growing level comes before collapse: lower the learning rate.",
    ),
    (
        "Rollout and trainer, difference",
        [("difference", "training/rollout_probs_diff_max", BLUE)],
        False,
        None,
        "Largest difference in a token's probability between the two engines. They should agree: a jump towards 1 "
        "means that tokens or images differ.",
    ),
    (
        "Time of a step in seconds",
        [("seconds", "timing_s/step", BLUE)],
        False,
        None,
        "Growth without longer responses is the scorer, the tools or memory; peaks every few steps are validation.",
    ),
]

KINDS = [
    (
        "Bad calls, share of all calls",
        "rollout_visual/bad_call/",
        "What was wrong with calls. A kind that stays means the model was not told, or does not understand, how to put "
        "it right: read the observations it got.",
    ),
    (
        "Faults of labels, share of visual turns",
        "rollout_visual/faults/",
        "Turns whose alignment is zero without asking the scorer. If these rise with the tool rate, the model calls "
        "tools for their own sake.",
    ),
]
"""Title, prefix of the metrics, what to look for."""
