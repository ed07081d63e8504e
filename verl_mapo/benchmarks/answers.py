# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The answers of a run to the questions of benchmarks, one line for each question, and what they amount to."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq
from omegaconf import OmegaConf
from pydantic import ConfigDict, TypeAdapter, ValidationError
from tqdm import tqdm

from verl_mapo.benchmarks.audits import JudgedAudit, judged_audit
from verl_mapo.benchmarks.base import Benchmark, Reported
from verl_mapo.benchmarks.grouping import Answer
from verl_mapo.benchmarks.official import best_iou
from verl_mapo.benchmarks.scoring import Scored, score, target_of_row
from verl_mapo.benchmarks.statistics import Estimate, avg_at_k, interval, majority, pass_at_k
from verl_mapo.made_rollouts import failure_of
from verl_mapo.names import ALIGNMENT_NODE, VISUAL_TOOL_NODE
from verl_mapo.rewards.answers import JUDGE
from verl_mapo.rollout.statuses import EndReason
from verl_mapo.rollout.trajectory import Trajectory
from verl_mapo.run_folder import RunFolder, read_records
from verl_mapo.settings import STRICT, ConfigError, plain_reason, select
from verl_mapo.tools.coordinates import Box

Place = tuple[str, Any]
"""``data_source`` and ``extra_info.index`` of a question."""


@dataclass(frozen=True)
class QuestionAnswers:
    """The samples of one question, in the order of their numbers.

    Attributes:
        benchmark, id: the question.
        category: its category; empty without one.
        truth: the accepted answer.
        replies: the text of the last turn of each sample.
        said: what each says, equal texts for equal answers; None for no answer.
        ours, official: the verdicts, see :class:`verl_mapo.benchmarks.scoring.Scored`.
        called: whether each called a tool.
        error: why there is no answer although the model is not to blame, such as an error in the code of a tool, an
            image that cannot be read, or a server that gave no reply; empty where there is one.
        iou: the mean best IoU of the executed boxes with the true ones; None where the question has no boxes, or the
            model had no tool to look with.
        group: questions with the same value are one unit of the intervals; the question itself by default.
        tokens: number of tokens that the model wrote in each.
        turns: number of assistant turns of each.
        seconds: what each waited for the model and for tools, beside other rollouts; None where it was not measured.
        alignment: the mean alignment of label and image over the scored looks of each; None without one.
        audit: what each answers when it is shown something else; None for one that was not audited.
    """

    benchmark: str
    id: str
    category: str
    truth: str
    replies: list[str]
    said: list[str | None]
    ours: list[bool | None]
    official: list[bool | None]
    called: list[bool]
    error: list[str]
    iou: list[float | None]
    group: str
    tokens: list[int] = field(default_factory=list)
    turns: list[int] = field(default_factory=list)
    seconds: list[float | None] = field(default_factory=list)
    alignment: list[float | None] = field(default_factory=list)
    audit: list[JudgedAudit | None] = field(default_factory=list)

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    def right(self, rule: str = "ours") -> float:
        """The share of right samples; one without a verdict is not right."""
        return float(np.mean([verdict is True for verdict in getattr(self, rule)]))


TOO_LONG = "its prompt is longer than data.max_prompt_length"
LOST = "its agent loop ended with an exception, which the log has"


@dataclass(frozen=True)
class Sample:
    """One recorded rollout, or the reason why there is none.

    Attributes:
        trajectory: empty where there is none.
        error: see :class:`QuestionAnswers`.
        truth: the right answer when it was made; None where that was not recorded.
        outcome: its reward.
        seconds: see :class:`QuestionAnswers`.
    """

    trajectory: Trajectory
    error: str = ""
    truth: str | None = None
    outcome: float = 0.0
    seconds: float | None = None

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Sample:
        """The sample of a line of a run's trajectories."""
        written = record["trajectory"]
        trajectory = Trajectory.from_record(written) if written else Trajectory([])
        error = failure_of(record) or (TOO_LONG if trajectory.end_reason is EndReason.PROMPT_LENGTH else "")
        return cls(trajectory, error, record.get("ground_truth"), record.get("outcome", 0.0), record.get("seconds"))


def answers_of_run(
    run: Path, questions: Iterable[Path], benchmarks: Mapping[str, Benchmark], samples: int | None = None
) -> Iterator[QuestionAnswers]:
    """Judge the last validation of a run.

    A reply that only a judge can score has the verdict of the run's own judge, where it had one.

    Args:
        run: the folder of a run, which recorded all rollouts of its validation (``records.share=1``).
        questions: the parquet files of the benchmarks that the run was validated on.
        benchmarks: by the ``data_source`` of their rows.
        samples: number of rollouts of a question; those that were lost are counted with the reason. None: as many as
            there are, and none may be missing.

    Raises:
        ConfigError: the run has no recorded validation; a question has no rollout, fewer than another, or another truth
            than when it was asked; or a row belongs to no benchmark.
    """
    folder = RunFolder(run)
    files = folder.rollouts("val")
    if not files and samples is None:
        raise ConfigError(f"RUN {run} has no recorded validation: evaluate it with 'verl-mapo eval' first.")
    found = _samples(files[max(files)]) if files else {}
    rows = [row for file in questions for row in pq.read_table(file).to_pylist()]
    places = [(row["data_source"], row["extra_info"]["index"]) for row in rows]
    if samples is None:
        _check_whole(run, places, found)
        samples = len(next(iter(found.values())))
    lost, judge, tools = _lost(folder), judge_of(folder) is not None, _has_tools(folder)
    for place, row in zip(places, tqdm(rows, desc="judged", unit="question"), strict=True):
        if place[0] not in benchmarks:
            raise ConfigError(f"a row has data_source={place[0]!r}, which is no benchmark of 'verl-mapo bench list'.")
        made = found.get(place, {})
        _check_truth(run, place, str(row["reward_model"]["ground_truth"]), made.values())
        reasons = (lost.get((place, session), LOST) for session in range(samples))
        taken = [made.get(session) or Sample(Trajectory([]), reason) for session, reason in enumerate(reasons)]
        boxes = row["extra_info"]["boxes"] if tools else None
        yield _judged(benchmarks[place[0]], row, boxes, taken, judge)


def _check_whole(run: Path, places: Sequence[Place], replies: Mapping[Place, Mapping[int, Sample]]) -> None:
    missing = [place for place in places if place not in replies]
    if missing:
        raise ConfigError(
            f"RUN {run} has no rollout of {len(missing)} of {len(places)} questions, of which {missing[0][0]} "
            f"{missing[0][1]} is the first: give the files of data.val_files, and evaluate with records.share=1."
        )
    counts = {len(replies[place]) for place in places}
    if len(counts) > 1:
        raise ConfigError(
            f"RUN {run} has from {min(counts)} to {max(counts)} rollouts for a question: evaluate it again."
        )


def _check_truth(run: Path, place: Place, truth: str, made: Iterable[Sample]) -> None:
    """Refuse other questions, or another order of options, under the places of those that were asked."""
    other = next((sample.truth for sample in made if sample.truth not in (None, truth)), None)
    if other is not None:
        raise ConfigError(
            f"RUN {run} was asked other questions: the right answer of {place[0]} {place[1]} was {other!r:.60}, and in "
            f"the given files it is {truth!r:.60}. Give the files of data.val_files."
        )


def _samples(file: Path) -> dict[Place, dict[int, Sample]]:
    """The samples of each question by the place of its row and by their number."""
    found: dict[Place, dict[int, Sample]] = defaultdict(dict)
    for record in read_records(file):
        found[record["data_source"], record.get("index")].setdefault(record["session"], Sample.of(record))
    return found


def _lost(folder: RunFolder) -> dict[tuple[Place, int], str]:
    """Why a server gave no reply to a rollout, the last time."""
    failed = read_records(folder.failures)
    return {((one.get("data_source"), one.get("index")), one["session"]): one["reason"] for one in failed}


def judge_of(folder: RunFolder) -> dict[str, Any] | None:
    """The settings of the judge that scored the rollouts of a run; None without one."""
    judge = _setting(folder, f"{ALIGNMENT_NODE}.judge")
    return None if judge is None else OmegaConf.to_container(judge, resolve=True)


def _has_tools(folder: RunFolder) -> bool:
    """Whether the model could look: all but runs with an empty list of tools, as the direct pass has."""
    return _setting(folder, f"{VISUAL_TOOL_NODE}.tools") != []


def _setting(folder: RunFolder, path: str) -> Any:
    """A value of the configuration of a run; None where it is absent, or no configuration was recorded."""
    return select(OmegaConf.load(folder.config), path) if folder.config.is_file() else None


def _judged(
    benchmark: Benchmark, row: Mapping[str, Any], boxes: Sequence[Box] | None, samples: Sequence[Sample], judge: bool
) -> QuestionAnswers:
    """The judged samples of a question; ``boxes`` are those that a look can meet, and ``judge``: the run had one."""
    target = target_of_row(row)
    paths = [sample.trajectory for sample in samples]
    replies = [path.turns[-1].text if path.turns else "" for path in paths]
    scored = [score(benchmark, reply, target) for reply in replies]
    looked = [[turn.box_executed for turn in path.turns if turn.box_executed] for path in paths]

    def ours_of(one: Scored, outcome: float) -> bool | None:
        """Our verdict, which is that of the run's judge where only a judge can tell."""
        return outcome == 1 if judge and one.ours is None and target.style == JUDGE else one.ours

    def verdicts(reply: str, outcome: float) -> dict[str, bool | None]:
        one = score(benchmark, reply, target)
        return {"ours": ours_of(one, outcome), "official": one.official}

    ours = [ours_of(one, sample.outcome) for sample, one in zip(samples, scored, strict=True)]
    name = row["extra_info"]["id"]
    return QuestionAnswers(
        benchmark=benchmark.name,
        id=name,
        category=str(target.more.get("category") or ""),
        truth=target.truth,
        replies=replies,
        said=[one.said for one in scored],
        ours=[None if sample.error else verdict for sample, verdict in zip(samples, ours, strict=True)],
        official=[None if sample.error else one.official for sample, one in zip(samples, scored, strict=True)],
        called=[path.called for path in paths],
        error=[sample.error for sample in samples],
        iou=[best_iou(seen, boxes) if boxes else None for seen in looked],
        group=str(target.more.get("group", name)),
        tokens=[sum(end - begin for begin, end in (turn.span for turn in path.turns)) for path in paths],
        turns=[len(path.assistant_turns) for path in paths],
        seconds=[sample.seconds for sample in samples],
        alignment=[path.alignment for path in paths],
        audit=[judged_audit(path, verdicts) for path in paths],
    )


def write_answers(answers: Iterable[QuestionAnswers], file: Path) -> int:
    """Write one JSON line for each question; a file that exists is replaced when all are judged.

    Returns:
        the number of questions.
    """
    draft, count = file.with_name(f".{file.name}"), 0
    with draft.open("w", encoding="utf-8") as lines:
        for count, answer in enumerate(answers, 1):
            lines.write(json.dumps(asdict(answer), ensure_ascii=False) + "\n")
    draft.replace(file)
    return count


def read_answers(file: Path) -> list[QuestionAnswers]:
    """Read what :func:`write_answers` wrote, or an earlier version of it, which noted less of each sample.

    Raises:
        ConfigError: there is no such file, it holds no line, or a line is something else, with line and key.
    """
    if not file.is_file():
        raise ConfigError(f"{file} is no file: give the answers.jsonl that 'verl-mapo bench score' writes.")
    found: dict[Place, QuestionAnswers] = {}
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                answer = _LINE.validate_json(line, strict=True)
            except ValidationError as error:
                fault = _fault(error.errors()[0])
            else:
                fault = _fault_of_samples(answer)
                if (answer.benchmark, answer.id) in found:
                    fault = f"{answer.benchmark} {answer.id} is in an earlier line, too"
                found[answer.benchmark, answer.id] = answer
            if fault:
                raise ConfigError(f"line {number} of {file} is no judged question, because {fault}: {AGAIN}.")
    if not found:
        raise ConfigError(f"{file} holds no judged questions: {AGAIN}.")
    return list(found.values())


AGAIN = "score the run again, with 'verl-mapo bench score'"

_LINE = TypeAdapter(QuestionAnswers)
_OF_SAMPLES = ("said", "ours", "official", "called", "error", "iou")
_OF_LATER_VERSIONS = ("tokens", "turns", "seconds", "alignment", "audit")
"""What older files do not have."""


def _fault(fault: Mapping[str, Any]) -> str:
    """What pydantic finds in a line, as a clause."""
    key = ".".join(map(str, fault["loc"]))
    if fault["type"] == "missing":
        return f"it has no {key}"
    return f"{key}={fault['input']!r:.60} is refused, {plain_reason(fault)}" if key else plain_reason(fault)


def _fault_of_samples(answer: QuestionAnswers) -> str:
    """A clause about a list that does not have one value for each sample; empty without such a fault."""
    samples = len(answer.replies)
    if not samples:
        return "replies has no sample"
    for key in (*_OF_SAMPLES, *_OF_LATER_VERSIONS):
        count = len(getattr(answer, key))
        if count != samples and (count or key in _OF_SAMPLES):
            return f"{key} has {count} values for {samples} samples"
    return ""


@dataclass(frozen=True)
class Result:
    """What the answers to one benchmark amount to.

    Attributes:
        ours, official: accuracy by either rule, with its interval over questions; unjudged samples are not right.
        unjudged: number of samples without verdict, by our rule and by the official one: only a judge could decide.
        failed: number of samples without an answer by the reason, see :attr:`QuestionAnswers.error`; they are among the
            unjudged ones.
        differ: number of samples on which both rules have a verdict, and not the same.
        samples: number of samples of a question.
        pass_at_k: Pass@k by k, for 1, 2, 4, ... and the number of samples.
        majority: the share of questions whose most frequent answer is right.
        tool_rate: the share of samples that called a tool.
        tokens, turns, seconds: means over the samples; None where they were not recorded.
        iou: the mean box IoU of the looks; None where the benchmark has no boxes, or the model had no tool.
        reported: what the benchmark reports, see :meth:`verl_mapo.benchmarks.base.Benchmark.summary`, as far as these
            questions define it; a rule that reads yes and no reads those of the first sample.
    """

    ours: Estimate
    official: Estimate
    unjudged: tuple[int, int]
    failed: dict[str, int]
    differ: int
    samples: int
    pass_at_k: dict[int, float]
    majority: float
    tool_rate: float
    tokens: float | None
    turns: float | None
    seconds: float | None
    iou: float | None
    reported: Reported


def result_of(
    benchmark: Benchmark, answers: Sequence[QuestionAnswers], facts: Mapping[str, Mapping[str, Any]]
) -> Result:
    """What the answers to one benchmark amount to.

    Args:
        benchmark: the benchmark.
        answers: of all its questions.
        facts: ``extra_info.more`` of each question by its id.
    """
    groups = [answer.group for answer in answers]
    right = np.array([[verdict is True for verdict in answer.ours] for answer in answers])
    pairs = [pair for answer in answers for pair in zip(answer.ours, answer.official, strict=True)]
    said = [
        Answer(answer.id, answer.right(), facts[answer.id], answer.truth, answer.said[0] if answer.said else None)
        for answer in answers
    ]
    k = right.shape[1]
    return Result(
        ours=interval([answer.right() for answer in answers], groups),
        official=interval([answer.right("official") for answer in answers], groups),
        unjudged=(sum(one is None for one, _ in pairs), sum(other is None for _, other in pairs)),
        failed=dict(Counter(error for answer in answers for error in answer.error if error).most_common()),
        differ=sum(None not in pair and pair[0] != pair[1] for pair in pairs),
        samples=k,
        pass_at_k={draws: float(pass_at_k(k, right.sum(1), draws).mean()) for draws in _draws(k)},
        majority=float(np.mean([majority(answer.said, row) for answer, row in zip(answers, right, strict=True)])),
        tool_rate=avg_at_k(np.array([answer.called for answer in answers])),
        **{name: _mean(answers, name) for name in ("tokens", "turns", "seconds", "iou")},
        reported={name: share for name, share in benchmark.summary(said).items() if not np.isnan(share)},
    )


def _mean(answers: Iterable[QuestionAnswers], name: str) -> float | None:
    """The mean of what is known of each sample."""
    known = [value for answer in answers for value in getattr(answer, name) if value is not None]
    return float(np.mean(known)) if known else None


def _draws(samples: int) -> list[int]:
    """1, 2, 4, ... and the number of samples."""
    return sorted({2**power for power in range(samples.bit_length())} | {samples})
