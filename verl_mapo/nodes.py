# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What each node of a Ray cluster has: versions, this package's files, the plugin, the machine, and readable paths.

``verl-mapo doctor`` asks all nodes at once and compares their answers with those of the node on which it runs. The
question travels to a node as code, so that a node without this package, or with another version of it, answers too.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import platform
import socket
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import util
from pathlib import Path
from typing import Any

import ray
from ray._private.services import canonicalize_bootstrap_address
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from verl_mapo.machine import Fact
from verl_mapo.names import PACKAGE
from verl_mapo.versions import TESTED, distribution_version

TIMEOUT_S = 300.0
"""Seconds that a node has to answer; it imports torch and verl first, perhaps from a file system on the network."""

_MOST_ENTRIES = 1000
"""Number of entries of a folder up to which the sizes of its files are added up."""

Answer = tuple[str, str, str, str, bool]
"""The fields of a :class:`Seen`, as a node sends them: it may have another version of this package, or none."""


@dataclass(frozen=True)
class Seen(Fact):
    """One line about a node.

    Attributes:
        same: whether it must be the same on all nodes.
    """

    same: bool = False


@dataclass(frozen=True)
class Node:
    """A node and what it answered.

    Attributes:
        name: see :func:`node_name`.
        lines: what it has; what all nodes must have in the same way is compared with the first node.
    """

    name: str
    lines: tuple[Seen, ...]


def node_name() -> str:
    """The name of the node of this process in records and messages: its host name and the address that Ray knows."""
    return f"{socket.gethostname()} ({ray.util.get_node_ip_address()})"


def cluster_address() -> str | None:
    """The address of the Ray cluster that a run on this machine would join; None where it would start its own.

    This is ``RAY_ADDRESS``, or the cluster that ``ray start`` made this machine a part of.
    """
    return canonicalize_bootstrap_address(None)


def examine_nodes(address: str | None, paths: Sequence[str] = ()) -> list[Node]:
    """What every node of a cluster has, the node of this process first.

    Args:
        address: see :func:`cluster_address`; None looks at this node only, and only at the paths.
        paths: files and folders that every node must be able to read.

    Returns:
        Nothing without a cluster and paths. A cluster that does not answer is one node, which says so.
    """
    if address is None:
        return [Node(node_name(), tuple(Seen(*readable(path)) for path in paths))] if paths else []
    try:
        ray.init(address, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
    except Exception as error:  # ConnectionError, RuntimeError, ValueError and others of Ray
        words = (
            "A run would not start either: make this machine a node of the cluster with ray start, or, for a run on "
            "this machine alone, call ray stop and unset RAY_ADDRESS."
        )
        return [Node(f"of the Ray cluster at {address}", (Seen("answer", _first_line(error), "fails", words),))]
    try:
        with question_by_value():
            return compared(ask_nodes(look, paths, tuple(TESTED)))
    finally:
        ray.shutdown()


@contextmanager
def question_by_value() -> Iterator[None]:
    """Let :func:`look` travel with all of its code inside the ``with`` block, instead of as a name to import."""
    modules = [sys.modules[function.__module__] for function in (look, distribution_version)]
    for module in modules:
        ray.cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            ray.cloudpickle.unregister_pickle_by_value(module)


def ask_nodes(question: Callable[..., list[Answer]], *args: Any, timeout_s: float = TIMEOUT_S) -> list[Node]:
    """Ask all nodes of the connected cluster the same, each in a process of its own, the node of this process first.

    Args:
        question: a function, run on every node.
        args: its arguments.
        timeout_s: seconds after which a node that has not answered counts as not usable.
    """
    here = ray.get_runtime_context().get_node_id()
    alive = sorted((node for node in ray.nodes() if node["Alive"]), key=lambda node: node["NodeID"] != here)
    asked = ray.remote(num_cpus=0, max_retries=0)(question)
    waiting = [
        asked.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(*args)
        for node in alive
    ]
    answered, _ = ray.wait(waiting, num_returns=len(waiting), timeout=timeout_s)
    names = [f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})" for node in alive]
    twice = {name for name, count in Counter(names).items() if count > 1}
    return [
        Node(
            f"{name} {node['NodeID'][:6]}" if name in twice else name,
            _answer(future) if future in answered else (_no_answer(f"none within {timeout_s:g} s"),),
        )
        for name, node, future in zip(names, alive, waiting, strict=True)
    ]


def _answer(future: Any) -> tuple[Seen, ...]:
    try:
        return tuple(Seen(*answer) for answer in ray.get(future))
    except Exception as error:  # of the function, of its process, or of the node
        cause = getattr(error, "cause", None) or error
        return (_no_answer(f"{type(cause).__name__}: {_first_line(cause)}"),)


def _no_answer(reason: str) -> Seen:
    words = "A worker of a run would not start there either: look at the logs of Ray on that node, in /tmp/ray."
    return Seen("answer", reason, "fails", words)


def _first_line(error: object) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


def compared(nodes: Sequence[Node]) -> list[Node]:
    """The nodes, with every line that should be the same as the first node's, and is not, as a failure."""
    expected = {line.what: line.found for line in nodes[0].lines if line.same}

    def checked(line: Seen) -> Seen:
        wanted = expected.get(line.what, line.found)
        if not line.same or line.found == wanted or line.level == "fails":
            return line
        return replace(line, level="fails", words=f"It is {wanted} on {nodes[0].name}: make them the same.")

    return [replace(node, lines=tuple(map(checked, node.lines))) for node in nodes]


def faults(nodes: Sequence[Node], told: Collection[str] = ()) -> list[str]:
    """A sentence or more for every line of a node on which a run would fail.

    Args:
        nodes: see :func:`examine_nodes`.
        told: the words of what this machine's own checks have said already, which are not repeated for the first node.
    """
    return [
        f"node {node.name}, {line.what}: {line.found}. {line.words}"
        for place, node in enumerate(nodes)
        for line in node.lines
        if line.level == "fails" and not (place == 0 and line.words in told)
    ]


# The functions below run on a node. All that they use of this package at once is in this module and in versions.


def look(paths: Sequence[str], distributions: Sequence[str]) -> list[Answer]:
    """What the node of this process has.

    Args:
        paths: files and folders that it must be able to read.
        distributions: names of distributions whose versions must be the same on all nodes.
    """
    answers = [("python", platform.python_version(), "ok", "", True)]
    for name in ("verl-mapo", *distributions):
        answers.append((name, distribution_version(name) or "not installed", "ok", "", True))
    answers += [_files_of_package(), *_checks(), *(readable(path) for path in paths)]
    return answers


def _files_of_package() -> Answer:
    """The checksum of the files of this package, wherever they are installed."""
    what = f"files of {PACKAGE}"
    spec = util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return what, "not installed", "fails", "Install verl-mapo in the environment in which ray was started.", True
    return what, checksum(Path(spec.submodule_search_locations[0])), "ok", "", True


def checksum(folder: Path) -> str:
    """The first 12 digits of SHA-256 over names and contents of the files in a folder; compiled Python is left out."""
    digest = hashlib.sha256()
    for file in sorted(file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(folder).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:12]


def _checks() -> Iterator[Answer]:
    """The checks that doctor makes on one machine."""
    try:
        doctor, machine = (importlib.import_module(f"{PACKAGE}.{name}") for name in ("doctor", "machine"))
        missing = [f"{finding.what}: {finding.fault}" for finding in doctor.examine(ray_actor=False) if finding.fault]
        found = machine.facts(machine.Machine.found())
    except Exception as error:  # of an installation in any state
        yield (
            "plugin",
            f"cannot be checked: {error!r}",
            "fails",
            "Install verl-mapo there as on the other nodes.",
            False,
        )
        return
    if missing:
        yield "plugin", "verl does not find all of it", "fails", " ".join(missing), False
    else:
        yield "plugin", "verl finds all of it", "ok", "", False
    for fact in found:
        yield f"{fact.what} build" if fact.what in TESTED else fact.what, fact.found, fact.level, fact.words, False


def readable(path: str) -> Answer:
    """Whether the node of this process can read a file or a folder, and whether it is that of the other nodes.

    Two folders count as the same if they hold equally many entries, and equally many bytes if the entries are not many.
    """
    what, place = f"path {path}", Path(os.path.expanduser(path.removeprefix("file://")))
    try:
        if place.is_dir():
            entries = list(place.iterdir())
            found = f"folder, {len(entries):,} entries"
            if len(entries) <= _MOST_ENTRIES:
                found += f", {sum(entry.stat().st_size for entry in entries if entry.is_file()):,} bytes"
        else:
            with place.open("rb") as file:
                file.read(1)
            found = f"file, {place.stat().st_size:,} bytes"
    except OSError as error:
        words = "Mount it there under the same path, with the same rights."
        return what, f"cannot be read: {error.strerror or error}", "fails", words, True
    return what, found, "ok", "", True
