# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Plant small mistakes in the package, one at a time, and report those that its quick tests do not notice.

    pip install -e ".[dev,mutation]"
    python scripts/mutate.py                             # an hour over all rooms below
    python scripts/mutate.py advantages tools --minutes 20 --seed 1

cosmic-ray makes the mistakes, called mutants: another operator, another number, a condition negated, a decorator
removed. At each place of the code where it can make one, a single mutant is drawn; the places are visited in random
order until the time is up. The seed determines both.

The tests of a mutant are the test files that mirror the changed file, then the other test files of the room that import
the changed module; tests marked e2e are left out. A mutant is *killed* if a test fails, and *timeout* if the tests take
far longer than usual. It *survives* if all tests pass. Some mutants compute the same as the original: those that
``scripts/equivalent_mutants.yaml`` names with a reason are counted apart. The score is the share of killed and timeout
among the others.

The working tree is not changed. Every job changes its own copy, in a temporary folder, of the files that git tracks or
would track. OUT gets ``mutants.jsonl``, a line per mutant as it is finished, and ``survivors.txt``, the place and the
diff of each survivor.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, dataclass
from difflib import unified_diff
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

ROOT = Path(__file__).parents[1]
PACKAGE = "verl_mapo"
ROOMS = ("advantages", "relatives", "tools", "rollout", "rewards/answers.py", "training")
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.yaml")

PYTEST = ["-q", "-x", "-m", "not e2e", "-p", "no:cacheprovider", "-p", "no:warnings", "--hypothesis-profile=mutation"]
"""Stops at the first failure; the profile, in tests/conftest.py, does not look for a smaller example."""

PRELOADED = (
    *("pytest", "hypothesis", "torch.distributed.fsdp", "torchvision", "transformers", "datasets", "tensordict", "ray"),
    *("transfer_queue", "hydra", "fastapi", "uvicorn", "aiohttp", "networkx"),
)
"""Modules of other packages that take long to import. verl is not among them, because it imports the package."""

LONGEST = 900
"""Seconds that the tests of one file may take without a mutant."""


@dataclass(frozen=True)
class Result:
    """What became of one mutant.

    Attributes:
        file: the changed file, relative to the repository.
        line: the number of the changed line.
        operator: cosmic-ray's name of the change.
        function: the innermost function or class around it.
        outcome: ``killed``, ``timeout``, ``survived`` or ``equivalent``.
        seconds: how long the tests took.
        diff: the change as a unified diff.
    """

    file: str
    line: int
    operator: str
    function: str
    outcome: str
    seconds: float
    diff: str


def source_files(rooms: Iterable[str], root: Path = ROOT) -> list[str]:
    """The Python files of some rooms, relative to the repository."""
    found = []
    for room in rooms:
        path = root / PACKAGE / room
        if not path.exists():
            raise SystemExit(f"There is no {PACKAGE}/{room}; the rooms are: {', '.join(ROOMS)}.")
        found += [path] if path.is_file() else sorted(path.rglob("*.py"))
    return [str(path.relative_to(root)) for path in found]


def tests_of(file: str, root: Path = ROOT) -> list[str]:
    """The test files that mirror a source file, then those of the same room that import its module.

    ``loop.py`` is mirrored by ``test_loop.py``, ``test_loop_calls.py`` and so on, in the folder of the same name.
    """
    source = Path(file)
    module = ".".join(source.with_suffix("").parts).removesuffix(".__init__")
    folder = Path("tests", *source.parts[1:-1])
    room = root / Path("tests", *source.parts[1:2]) if len(source.parts) > 2 else root / folder
    importing = [str(test.relative_to(root)) for test in sorted(room.rglob("test_*.py")) if module in _imports(test)]
    mirrors = [str(folder / f"test_{source.name}")] * (root / folder / f"test_{source.name}").exists()
    mirrors += sorted(str(test.relative_to(root)) for test in (root / folder).glob(f"test_{source.stem}_*.py"))
    return mirrors + [test for test in importing if test not in mirrors]


def _imports(test: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(test.read_text())))
    return {node.module for node in nodes if isinstance(node, ast.ImportFrom)} | {
        name.name for node in nodes if isinstance(node, ast.Import) for name in node.names
    }


def draw(files: Iterable[str], seed: int, root: Path = ROOT) -> list[Any]:
    """One of cosmic-ray's mutants for every place of the files, in random order; their paths are relative to ``root``.

    Annotations of functions, unions in annotations and ``if TYPE_CHECKING`` are left out, because nothing evaluates
    them; and ``strict`` of zip and ``frozen`` of dataclasses, which are assertions about our own code.
    """
    import attrs
    from cosmic_ray.commands.init import init
    from cosmic_ray.work_db import WorkDB

    with tempfile.TemporaryDirectory() as folder:
        database = WorkDB(f"{folder}/mutants.sqlite", WorkDB.Mode.create)
        init([root / file for file in files], database, {})
        mutants = [item.mutations[0] for item in database.work_items]
        database.close()
    mutants = [attrs.evolve(mutant, module_path=mutant.module_path.relative_to(root)) for mutant in mutants]
    skipped = {Path(file): list(_left_out(ast.parse((root / file).read_text()))) for file in files}
    places = defaultdict(list)
    for mutant in sorted(mutants, key=lambda it: (it.module_path, it.start_pos, it.operator_name, it.occurrence)):
        place = (mutant.start_pos, mutant.end_pos)
        if not any(start <= place[0] and place[1] <= end for start, end in skipped[mutant.module_path]):
            places[mutant.module_path, place].append(mutant)
    chance = random.Random(seed)
    drawn = [chance.choice(place) for place in places.values()]
    chance.shuffle(drawn)
    return drawn


def _left_out(tree: ast.AST) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """First and last positions of the code that :func:`draw` leaves out."""
    for node in ast.walk(tree):
        found: list[ast.AST | None] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = node.args
            every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
            found = [node.returns, *(argument.annotation for argument in every if argument)]
        elif isinstance(node, ast.AnnAssign):
            found = [part for part in ast.walk(node.annotation) if isinstance(part, ast.BinOp)]
        elif isinstance(node, ast.Call):
            found = [keyword.value for keyword in node.keywords if keyword.arg in ("strict", "frozen")]
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            found = [node.test]
        for part in found:
            if part is not None:
                yield (part.lineno, part.col_offset), (part.end_lineno, part.end_col_offset)


def copy_tree(target: Path, root: Path = ROOT) -> None:
    """Copy the files that git tracks, or would track, as they are now."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=root, check=True, capture_output=True).stdout.decode().split("\0")
    for name in filter(None, names):
        if (root / name).is_file():  # a tracked file may have been deleted
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, target / name)


def _enter(copies: Any) -> None:
    """Make a new process work in a copy of its own, with everything but the package imported.

    Its tests run in processes that are forked from it, so that a mutant does not pay for these imports.
    """
    copy = copies.get()
    os.chdir(copy)
    sys.path.insert(0, copy)
    sys.dont_write_bytecode = True
    os.environ.update(PYTHONPATH=copy, PYTHONDONTWRITEBYTECODE="1", OMP_NUM_THREADS="1")
    for name in PRELOADED:
        importlib.import_module(name)
    if PACKAGE in sys.modules:
        raise RuntimeError(f"One of {', '.join(PRELOADED)} imports {PACKAGE}: leave it out of PRELOADED.")


def _run(tests: Sequence[str], limit: float) -> tuple[str, str]:
    """Run tests in a forked process.

    Args:
        tests: test files.
        limit: seconds after which the process, and those that it has started, are killed.

    Returns:
        ``survived`` if all tests pass, ``killed`` if not, ``timeout`` at the limit; and the end of their output.
    """
    with tempfile.TemporaryFile() as log:
        child = get_context("fork").Process(target=_pytest, args=(tests, log.fileno()))
        child.start()
        try:
            child.join(limit)
            outcome = "timeout" if child.is_alive() else "killed" if child.exitcode else "survived"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.join()
        log.seek(0)
        return outcome, log.read().decode(errors="replace")[-2000:]


def _pytest(tests: Sequence[str], log: int) -> None:
    import pytest

    os.setsid()
    os.dup2(log, 1)
    os.dup2(log, 2)
    found = importlib.util.find_spec(PACKAGE).origin
    if not Path(found).is_relative_to(Path.cwd()):
        raise RuntimeError(f"Python imports {PACKAGE} from {found} and not from the copy.")
    sys.exit(pytest.main([*PYTEST, *tests]))


def _try(mutant: Any, tests: Sequence[str], usual: float | None) -> tuple[float, str, Result | None]:
    """Run the tests of one mutant, in the copy in which this process works.

    Args:
        mutant: what is changed.
        tests: its test files.
        usual: the seconds that they take without a mutant; None if they have to be measured first.

    Returns:
        These seconds; the output of the tests if they fail without a mutant, else an empty text; and the result, None
        if they fail.
    """
    from cosmic_ray.mutating import use_mutation
    from cosmic_ray.plugins import get_operator

    if usual is None:
        began = time.monotonic()
        outcome, output = _run(tests, LONGEST)
        usual = time.monotonic() - began
        if outcome != "survived":
            return usual, f"{outcome}: {output}", None
    began = time.monotonic()
    operator = get_operator(mutant.operator_name)(**mutant.operator_args)
    with use_mutation(mutant.module_path, operator, mutant.occurrence) as (before, after):
        outcome, _ = _run(tests, 5 * usual + 60)
    result = Result(
        str(mutant.module_path),
        mutant.start_pos[0],
        mutant.operator_name.removeprefix("core/"),
        mutant.definition_name or "",
        outcome,
        round(time.monotonic() - began, 1),
        "\n".join(list(unified_diff(before.splitlines(), after.splitlines(), n=2, lineterm=""))[2:]),
    )
    return usual, "", result


def explained(result: Result, equivalent: Iterable[dict[str, str]]) -> bool:
    """Whether a mutant is one of the known equivalents: same file, line before and line after; spaces do not count."""
    lines = result.diff.splitlines()
    before, after = ("".join("".join(line[1:].split()) for line in lines if line[:1] == sign) for sign in "-+")

    def matches(one: dict[str, str]) -> bool:
        known = ["".join(one.get(key, line).split()) for key, line in (("before", before), ("after", after))]
        return one["file"] == result.file and known == [before, after]

    return any(map(matches, equivalent))


def table_of(results: Iterable[Result], rooms: Iterable[str]) -> Table:
    """The outcomes by room; a room is a part of the path of its files."""
    table = Table(
        Column("room", no_wrap=True), "mutants", "killed", "timeout", "equivalent", "survived", "score", title="Mutants"
    )
    counts = {
        room: Counter(result.outcome for result in results if result.file.startswith(f"{PACKAGE}/{room}"))
        for room in rooms
    }
    for room, count in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        noticed, total = count["killed"] + count["timeout"], count.total()
        score = f"{noticed / (total - count['equivalent']):.1%}" if total > count["equivalent"] else "-"
        outcomes = (str(count[name]) for name in ("killed", "timeout", "equivalent", "survived"))
        table.add_row(room, str(total), *outcomes, score, end_section=room == [*counts][-1])
    return table


class Hunt:
    """Runs mutants until the time is up, and writes each result when it is there.

    Args:
        console: where survivors are printed as they are found.
        out: the folder of the results.
        jobs: how many mutants are tried at a time.
        ends: the time, on the monotonic clock, after which no further mutant is started.
    """

    def __init__(self, console: Console, out: Path, jobs: int, ends: float):
        self.console, self.out, self.jobs, self.ends = console, out, jobs, ends
        self.equivalent = yaml.safe_load(EQUIVALENT.read_text()) if EQUIVALENT.exists() else []
        self.results: list[Result] = []
        for name in ("mutants.jsonl", "survivors.txt"):
            (out / name).write_text("")

    def run(self, pool: ProcessPoolExecutor, mutants: Sequence[Any]) -> None:
        """Try the mutants in order; the tests of a file are measured without a mutant before its first one."""
        usual: dict[str, float] = {}
        failing: set[str] = set()
        ahead = deque(mutants)
        running: dict[Future[Any], str] = {}
        while running or (ahead and time.monotonic() < self.ends):
            while ahead and len(running) < self.jobs and time.monotonic() < self.ends:
                mutant = ahead.popleft()
                file = str(mutant.module_path)
                if file not in failing:
                    running[pool.submit(_try, mutant, tests_of(file), usual.get(file))] = file
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                file = running.pop(future)
                usual[file], output, result = future.result()
                if result:
                    self._keep(result)
                elif file not in failing:
                    failing.add(file)
                    self.console.print(f"[red]The tests of {file} fail without a mutant, so it is left out:[/]")
                    self.console.print(escape(output))

    def _keep(self, result: Result) -> None:
        if result.outcome == "survived" and explained(result, self.equivalent):
            result = Result(**{**asdict(result), "outcome": "equivalent"})
        self.results.append(result)
        with (self.out / "mutants.jsonl").open("a") as lines:
            lines.write(json.dumps(asdict(result)) + "\n")
        if result.outcome == "survived":
            text = f"{result.file}:{result.line} {result.operator} in {result.function}\n{result.diff}\n"
            with (self.out / "survivors.txt").open("a") as survivors:
                survivors.write(text + "\n")
            self.console.print(escape(text))


def main() -> int:
    """Try mutants and print the table; return the exit code, 0 whatever survived."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rooms", nargs="*", default=list(ROOMS), metavar="ROOM", help=f"default: {' '.join(ROOMS)}")
    parser.add_argument("--minutes", type=float, default=60, help="time until no further mutant is started")
    parser.add_argument("--seed", type=int, default=0, help="draws one mutant for every place, and their order")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants at a time; default: the cores")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "mutation", help="folder of the results")
    asked = parser.parse_args()
    if importlib.util.find_spec("cosmic_ray") is None:
        parser.error('cosmic-ray is not installed: pip install -e ".[dev,mutation]"')
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the temporary folder is removed
    console, began = Console(), time.monotonic()
    mutants = draw(source_files(asked.rooms), asked.seed)
    asked.out.mkdir(parents=True, exist_ok=True)
    hunt = Hunt(console, asked.out, asked.jobs, began + 60 * asked.minutes)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        spawn = get_context("spawn")
        copies = spawn.Queue()
        for job in range(asked.jobs):
            copy_tree(Path(folder, str(job)))
            copies.put(str(Path(folder, str(job))))
        pool = ProcessPoolExecutor(asked.jobs, spawn, _enter, (copies,))
        try:
            hunt.run(pool, mutants)
        except (KeyboardInterrupt, BrokenProcessPool):
            console.print("Stopped early; the table has the mutants that were finished.")
        finally:
            pool.shutdown(cancel_futures=True)
    console.print(table_of(hunt.results, asked.rooms))
    minutes = (time.monotonic() - began) / 60
    console.print(
        f"{len(hunt.results)} of {len(mutants)} places, drawn with seed {asked.seed}, in {minutes:.0f} minutes. "
        f"Survivors: {asked.out / 'survivors.txt'}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
