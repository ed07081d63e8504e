# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The list of verl's symbols that this package uses, compared with what its code uses.

:class:`Uses` reads the code of a module and finds two kinds of uses. *Exact* uses have a full path: imports from verl,
attributes of imported classes, what a class overrides or uses of its base class in verl, what an import hook uses of
the module that it waits for, and names of modules in strings. *Named* uses have only the name of an attribute, because
the code does not tell the type of the object: private attributes, attributes of objects that verl's base classes hold,
and attributes that are replaced.
"""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

import verl_mapo
from verl_mapo.platforms import cpu
from verl_mapo.verl_symbols import BY_NAME, CPU_PLATFORM, VERL_SYMBOLS, has_symbol, own_instance_attributes, resolve

PACKAGE = Path(verl_mapo.__file__).parent

LISTED = {symbol for symbols in VERL_SYMBOLS.values() for symbol in symbols}

NOT_OF_VERL = {"config", "extra_fields", "module", "processor", "tokenizer"}
"""Attributes of verl's base classes that hold dicts or objects of omegaconf, torch and transformers."""

NOT_SYMBOLS = {"verl.plugins"}
"""Strings that look like a module of verl: the group of its entry points."""

PRIVATE_ELSEWHERE = {"_exit", "_new", "_replace"}
"""Private names of other packages: a function of os, methods of Pillow's images and of named tuples."""

GIVEN_A_NAME = {"delattr", "getattr", "hasattr", "patched_attribute", "setattr"}
"""Functions whose second argument is the name of an attribute."""

EXTERNAL = re.compile(r"(verl|vllm)(\.\w+)*")


class Uses(ast.NodeVisitor):
    """What a module uses of verl.

    Args:
        tree: the code of the module.
        module: the module itself; None for code that defines no class that derives from one of verl's.

    Attributes:
        exact: full paths.
        named: names of attributes that may be verl's.
        attributes: the name of every attribute that occurs.
        defined: names of the functions, classes and attributes that the module defines.
    """

    def __init__(self, tree: ast.Module, module: ModuleType | None = None):
        self.module = module
        self.cls: type | None = None
        self.known: dict[str, str] = {}
        self.hooks = dict(_import_hooks(tree))
        self.exact: set[str] = set()
        self.named: set[str] = set()
        self.attributes: set[str] = set()
        self.defined: set[str] = set()
        self.visit(tree)

    def visit_Import(self, node: ast.Import) -> None:
        self.exact |= {name.name for name in node.names if name.name != "verl" and EXTERNAL.fullmatch(name.name)}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if EXTERNAL.fullmatch(node.module or ""):
            paths = {name.asname or name.name: f"{node.module}.{name.name}" for name in node.names}
            self.known |= paths
            self.exact |= set(paths.values())

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and "." in node.value and EXTERNAL.fullmatch(node.value):
            self.exact.add(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        if _called(node) in GIVEN_A_NAME and isinstance(node.args[1], ast.Constant):
            self._add_named(node.args[1].value, node.args[0])
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._add_chain(node)
        if _is_self(node.value):
            self._add_inherited(node.attr)
        else:
            self._add_named(node.attr, node.value)
        if isinstance(node.ctx, ast.Store):
            self.defined.add(node.attr)
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.defined.add(node.name)
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        typed = {each.arg: self.known.get(getattr(each.annotation, "id", None)) for each in arguments}
        if node.name in self.hooks:
            typed[arguments[0].arg] = self.hooks[node.name]
        with self._knowing({name: path for name, path in typed.items() if path}):
            self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.defined.add(node.name)
        before, self.cls = self.cls, getattr(self.module, node.name, None)
        for line in node.body:
            targets = getattr(line, "targets", [getattr(line, "target", None)])
            for name in (getattr(line, "name", None), *(getattr(target, "id", None) for target in targets)):
                if name:
                    self.defined.add(name)
                    self._add_inherited(name)
        self.generic_visit(node)
        self.cls = before

    @contextmanager
    def _knowing(self, names: dict[str, str]) -> Iterator[None]:
        before, self.known = self.known, self.known | names
        try:
            yield
        finally:
            self.known = before

    def _add_chain(self, node: ast.expr) -> None:
        """Add the path of a chain such as ``EngineRegistry.register`` whose beginning is known."""
        names: list[str] = []
        while isinstance(node, ast.Attribute):
            names.insert(0, node.attr)
            node = node.value
        path = self.known.get(node.id) if isinstance(node, ast.Name) else None
        if isinstance(node, ast.Call) and _called(node) == "import_module" and isinstance(node.args[0], ast.Constant):
            path = node.args[0].value
        for name in names if path else ():
            if _is_value(path):
                return
            path = f"{path}.{name}"
            self.exact.add(path)

    def _add_inherited(self, name: str) -> None:
        """Add an attribute of the class under way, if it is verl's."""
        if self.cls is not None and not name.startswith("__") and (owner := owner_of(name, self.cls)):
            self.exact.add(f"{path_of(owner)}.{name}")

    def _add_named(self, name: str, value: ast.expr) -> None:
        """Add an attribute of an object of unknown type, if it is private or the object is held by verl."""
        self.attributes.add(name)
        private = name.startswith("_") and not name.startswith("__")
        if private or self._held_by_verl(value):
            self.named.add(name)

    def _held_by_verl(self, value: ast.expr) -> bool:
        return (
            self.cls is not None
            and isinstance(value, ast.Attribute)
            and _is_self(value.value)
            and value.attr not in NOT_OF_VERL
            and owner_of(value.attr, self.cls) is not None
        )


def uses_of_file(file: Path) -> Uses:
    """What a file of the package uses; it is imported only where it may define a class that derives from verl's."""
    tree = ast.parse(file.read_text())
    nodes = list(ast.walk(tree))
    imports = any(isinstance(node, ast.ImportFrom) and EXTERNAL.fullmatch(node.module or "") for node in nodes)
    derives = any(isinstance(node, ast.ClassDef) and node.bases for node in nodes)
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return Uses(tree, importlib.import_module(".".join(parts)) if imports and derives else None)


def owner_of(name: str, cls: type) -> type | None:
    """The class of verl from which a class has an attribute; None where it has it from nowhere or from elsewhere."""
    for base in cls.__mro__[1:]:
        if EXTERNAL.fullmatch(base.__module__) and (name in base.__dict__ or name in own_instance_attributes(base)):
            return base
    return None


def path_of(cls: type) -> str:
    """The dotted path of a class; ray's decorator hides a class under the name that it had."""
    path = f"{cls.__module__}.{cls.__name__}"
    return path if resolve(path) is cls else f"{path}.__ray_metadata__.modified_class"


def _is_self(node: ast.expr) -> bool:
    return (isinstance(node, ast.Name) and node.id in ("self", "cls")) or (
        isinstance(node, ast.Call) and _called(node) == "super"
    )


def _is_value(path: str) -> bool:
    """Whether a path leads to a value, whose attributes are not verl's, rather than to a module or a class."""
    try:
        found = resolve(path)
    except (ImportError, ValueError):  # the CPU platform's modules cannot be imported on another platform
        return False
    return found is None or isinstance(found, dict | list | tuple)


def _called(node: ast.Call) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def _import_hooks(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Name of a function and name of the module that it is given when that is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _called(node) == "register_post_import_hook":
            hook, module = node.args
            if isinstance(hook, ast.Name) and isinstance(module, ast.Constant):
                yield hook.id, module.value


@pytest.fixture(scope="module")
def uses() -> Uses:
    """The uses of the whole package."""
    files = [file for file in PACKAGE.rglob("*.py") if file.name != "verl_symbols.py"]
    total = Uses(ast.Module([], []))
    for found in map(uses_of_file, files):
        total.exact |= found.exact
        total.named |= found.named
        total.attributes |= found.attributes
        total.defined |= found.defined
    return total


def unlisted(uses: Uses, listed: set[str]) -> list[str]:
    """Uses that no listed symbol covers. A symbol covers its modules and classes, and every use of its last name."""
    owners = {symbol[: dot.start()] for symbol in listed for dot in re.finditer(r"\.", symbol)}
    names = {symbol.rpartition(".")[2] for symbol in listed}
    return sorted(uses.exact - listed - owners - NOT_SYMBOLS) + sorted(
        f"?.{name}" for name in uses.named - names - uses.defined - PRIVATE_ELSEWHERE
    )


def test_every_use_of_verl_is_listed(uses):
    missing = unlisted(uses, LISTED)
    lines = "\n".join(f'        "{symbol}",' for symbol in missing)
    assert not missing, f"add these lines to VERL_SYMBOLS (replace a ? by the class of verl):\n{lines}"


def test_every_listed_symbol_is_used(uses):
    by_name = VERL_SYMBOLS[BY_NAME]
    unused = [symbol for symbol in by_name if symbol.rpartition(".")[2] not in uses.attributes]
    unused += sorted(LISTED - uses.exact - set(by_name))
    assert not unused, "remove these from VERL_SYMBOLS: " + ", ".join(unused)


@pytest.mark.parametrize("symbol", sorted(LISTED - set(VERL_SYMBOLS[CPU_PLATFORM])))
def test_installed_verl_has_the_symbol(symbol):
    assert has_symbol(symbol)


def test_installed_verl_and_vllm_have_the_symbols_of_the_cpu_platform():
    pytest.importorskip("vllm", reason="some of them are vLLM's")
    code = "from verl_mapo.doctor import missing_symbols; print('MISSING', missing_symbols())"
    env = {**os.environ, **cpu.environment()}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "MISSING []"


MODULE = """
from typing import TYPE_CHECKING
from verl.protocol import DataProtoItem
from verl.trainer.ppo.v1 import PPOTrainer
if TYPE_CHECKING:
    from verl.workers.engine.base import EngineRegistry

class Trainer(PPOTrainer):
    own = 1

    def _validate(self):
        self.note = self.own
        patched_attribute(self.actor_rollout_wg, "update_actor", self.note)
        return super()._save_checkpoint(self.replay_buffer.sample, self.config.trainer)

def hook(padding):
    padding.response_to_nested

def read(row: DataProtoItem, group):
    from verl.utils import tensordict_utils as tu
    tu.get(row.meta_info.keys(), group._secret, EngineRegistry._engines["a"].b)
    importlib.import_module("verl.workers.engine.base").EngineRegistry.register

register_post_import_hook(hook, "verl.workers.utils.padding")
"""


def test_scan_finds_each_kind_of_use():
    from verl.trainer.ppo.v1 import PPOTrainer

    module = ModuleType("synthetic")
    module.Trainer = type("Trainer", (PPOTrainer,), {})
    found = Uses(ast.parse(MODULE), module)
    trainer = "verl.trainer.ppo.v1.trainer_base.PPOTrainer"
    used_of_trainer = ("_validate", "_save_checkpoint", "actor_rollout_wg", "config", "replay_buffer")
    assert found.exact == {
        "verl.trainer.ppo.v1.PPOTrainer",
        *(f"{trainer}.{name}" for name in used_of_trainer),
        "verl.protocol.DataProtoItem",
        "verl.protocol.DataProtoItem.meta_info",
        "verl.utils.tensordict_utils",
        "verl.utils.tensordict_utils.get",
        "verl.workers.engine.base",
        "verl.workers.engine.base.EngineRegistry",
        "verl.workers.engine.base.EngineRegistry._engines",
        "verl.workers.engine.base.EngineRegistry.register",
        "verl.workers.utils.padding",
        "verl.workers.utils.padding.response_to_nested",
    }
    assert found.named - found.defined == {"update_actor", "sample", "_secret"} | {"_engines"}


def test_scan_reports_a_new_override_and_a_new_private_attribute():
    from verl.trainer.ppo.v1 import PPOTrainer

    module = ModuleType("synthetic")
    module.Trainer = type("Trainer", (PPOTrainer,), {})
    found = Uses(ast.parse("class Trainer(PPOTrainer):\n    def _compute_values(self): return other._hidden"), module)
    assert unlisted(found, LISTED) == ["verl.trainer.ppo.v1.trainer_base.PPOTrainer._compute_values", "?._hidden"]
