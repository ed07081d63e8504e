# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Print how the package is laid out: its rooms, what they import from each other, and its largest files and functions.

    python scripts/house.py

A room is a module or a sub-package at the top of the package. Exits with code 1 when a file or a function is longer
than the limits below, or when modules or rooms import each other in a cycle.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

PACKAGE = Path(__file__).parents[1] / "verl_mapo"

MAX_FILE = 400
"""Lines of a file."""

MAX_FUNCTION = 70
"""Lines of a function."""


@dataclass
class Module:
    """One module of a package.

    Attributes:
        name: its dotted name.
        lines: the number of lines of its file.
        imports: names of the modules of the package that it imports when it is imported itself.
        late_imports: names of those that it imports inside functions.
        functions: lines of each function and method, by qualified name.
    """

    name: str
    lines: int
    imports: set[str] = field(default_factory=set)
    late_imports: set[str] = field(default_factory=set)
    functions: dict[str, int] = field(default_factory=dict)

    @property
    def room(self) -> str:
        """The part of its name after the package's; the package's name for the package itself."""
        package, *rest = self.name.split(".")
        return rest[0] if rest else package


def read_package(folder: Path) -> dict[str, Module]:
    """Read all modules of the package in a folder, by name."""
    files = {_module_name(file, folder): file for file in sorted(folder.rglob("*.py"))}
    modules = {}
    for name, file in files.items():
        text = file.read_text()
        modules[name] = module = Module(name, len(text.splitlines()))
        _visit(ast.parse(text), module, files.keys(), scope=(), late=False)
        module.late_imports -= module.imports
    return modules


def room_imports(modules: Mapping[str, Module], late: bool = False) -> dict[str, set[str]]:
    """Each room and the other rooms that it imports; with ``late``, those that it imports inside functions only."""
    found: dict[str, set[str]] = {module.room: set() for module in modules.values()}
    for module in modules.values():
        found[module.room] |= {modules[name].room for name in module.imports} - {module.room}
    if not late:
        return found
    inside: dict[str, set[str]] = {room: set() for room in found}
    for module in modules.values():
        inside[module.room] |= {modules[name].room for name in module.late_imports} - {module.room}
    return {room: rooms - found[room] for room, rooms in inside.items()}


def cycles(imports: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules or rooms that import each other, directly or through others; each one sorted."""
    reached = {name: _reachable(name, imports) for name in imports}
    groups = {frozenset(other for other in reached[name] if name in reached[other]) for name in imports}
    return sorted(sorted(group) for group in groups if group)


def longer_than_allowed(modules: Mapping[str, Module]) -> list[str]:
    """A sentence for every file and function that is longer than the limits."""
    found = []
    for module in modules.values():
        if module.lines > MAX_FILE:
            found.append(f"{module.name} has {module.lines} lines, more than {MAX_FILE}.")
        for function, lines in module.functions.items():
            if lines > MAX_FUNCTION:
                found.append(f"{module.name}.{function} has {lines} lines, more than {MAX_FUNCTION}.")
    return found


def faults(modules: Mapping[str, Module]) -> list[str]:
    """A sentence for everything that makes this script fail."""
    graphs = {
        "modules": {module.name: module.imports for module in modules.values()},
        "rooms": room_imports(modules),
    }
    found = longer_than_allowed(modules)
    for kind, imports in graphs.items():
        found += [f"These {kind} import each other: {', '.join(group)}." for group in cycles(imports)]
    return found


def print_house(modules: Mapping[str, Module], console: Console, largest: int = 5) -> None:
    """Print the tables.

    Args:
        modules: the package, as :func:`read_package` returns it.
        console: where to print.
        largest: how many of the largest files and functions to print.
    """
    rooms: dict[str, list[Module]] = defaultdict(list)
    for module in modules.values():
        rooms[module.room].append(module)
    now, late = room_imports(modules), room_imports(modules, late=True)
    table = Table("room", "modules", "lines", "imports", "imports inside functions only", title="Rooms")
    for name, members in sorted(rooms.items()):
        lines = sum(module.lines for module in members)
        table.add_row(name, str(len(members)), str(lines), " ".join(sorted(now[name])), " ".join(sorted(late[name])))
    console.print(table)

    files = sorted(modules.values(), key=lambda module: -module.lines)
    functions = [
        (lines, f"{module.name}.{name}") for module in modules.values() for name, lines in module.functions.items()
    ]
    table = Table("lines", "largest files", "lines", "largest functions", title="Sizes")
    for module, (lines, name) in zip(files[:largest], sorted(functions, reverse=True), strict=False):
        table.add_row(str(module.lines), module.name, str(lines), name)
    console.print(table)
    sizes = [module.lines for module in files]
    total = f"{len(sizes)} modules of {sum(sizes)} lines, median {median(sizes):.0f}"
    console.print(f"{total}; {len(functions)} functions, median {median(lines for lines, _ in functions):.0f} lines.")


def _module_name(file: Path, package: Path) -> str:
    parts = file.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _visit(node: ast.AST, module: Module, names: set[str], scope: tuple[str, ...], late: bool) -> None:
    """Add the imports and functions below a node to a module."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            (module.late_imports if late else module.imports).update(_imported(child, names))
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            name = (*scope, child.name)
            module.functions[".".join(name)] = child.end_lineno - child.lineno + 1
            _visit(child, module, names, name, late=True)
        elif isinstance(child, ast.ClassDef):
            _visit(child, module, names, (*scope, child.name), late)
        else:
            _visit(child, module, names, scope, late)


def _imported(node: ast.Import | ast.ImportFrom, names: set[str]) -> Iterator[str]:
    """The modules of the package that a statement imports; ``from package import name`` may import ``package.name``."""
    if isinstance(node, ast.Import):
        yield from (name.name for name in node.names if name.name in names)
        return
    for name in node.names:
        inner = f"{node.module}.{name.name}"
        if inner in names:
            yield inner
        elif node.module in names:
            yield node.module


def _reachable(start: str, imports: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    ahead = [start]
    while ahead:
        new = imports[ahead.pop()] - found
        found |= new
        ahead += new
    return found


def main() -> int:
    """Print the house; return the exit code."""
    console = Console()
    modules = read_package(PACKAGE)
    print_house(modules, console)
    found = faults(modules)
    for fault in found:
        console.print(f"[red]{fault}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
