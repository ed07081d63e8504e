# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The limits that scripts/house.py holds the package to, and what the script finds in a small package."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from support.script_modules import script_module

house = script_module("house")

FILES = {
    "__init__.py": "",
    "alone.py": "import os\nfrom package.tools import base\n",
    "tools/__init__.py": "",
    "tools/base.py": "from package.tools.zoom import Zoom\n\n\nclass Base:\n    def run(self):\n        return 1\n",
    "tools/zoom.py": "import package.tools.base\n",
    "loop/__init__.py": "from package import alone\n",
    "loop/late.py": "def f():\n    import package.loop.first\n    from package.alone import os\n",
    "loop/first.py": "from package.loop import late\nif TYPE_CHECKING:\n    import package.report\n",
    "report.py": "from package.loop.first import late\n",
}


@pytest.fixture
def modules(tmp_path):
    for name, text in FILES.items():
        file = tmp_path / "package" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return house.read_package(tmp_path / "package")


@pytest.fixture(scope="module")
def package():
    return house.read_package(house.PACKAGE)


def test_modules_of_the_package_import_each_other_in_no_cycle(package):
    assert house.cycles({module.name: module.imports for module in package.values()}) == []


def test_rooms_of_the_package_import_each_other_in_no_cycle(package):
    assert house.cycles(house.room_imports(package)) == []


def test_files_and_functions_of_the_package_are_short(package):
    assert house.longer_than_allowed(package) == []


def test_no_room_of_the_package_is_missing(package):
    folders = {path.parent.name for path in house.PACKAGE.glob("*/__init__.py")}
    assert folders <= set(house.room_imports(package))


def test_script_prints_the_package_and_succeeds(capsys):
    assert house.main() == 0
    shown = capsys.readouterr().out
    assert "rollout" in shown and "largest functions" in shown


def test_imports_are_those_of_modules_of_the_package(modules):
    assert modules["package.alone"].imports == {"package.tools.base"}
    assert modules["package.loop"].imports == {"package.alone"}
    assert modules["package.report"].imports == {"package.loop.first"}


def test_imports_for_type_checkers_are_left_out(modules):
    assert modules["package.loop.first"].imports == {"package.loop.late"}


def test_imports_inside_functions_are_kept_apart(modules):
    late = modules["package.loop.late"]
    assert late.imports == set()
    assert late.late_imports == {"package.loop.first", "package.alone"}
    assert house.room_imports(modules, late=True)["loop"] == set()  # the room imports alone at once, too


def test_cycle_of_modules_is_found(modules):
    imports = {module.name: module.imports for module in modules.values()}
    assert house.cycles(imports) == [["package.tools.base", "package.tools.zoom"]]
    assert house.faults(modules) == ["These modules import each other: package.tools.base, package.tools.zoom."]


def test_cycle_of_rooms_is_found_where_no_modules_form_one(modules):
    assert house.cycles(house.room_imports(modules)) == []
    modules["package.tools"].imports.add("package.report")
    assert house.cycles(house.room_imports(modules)) == [["alone", "loop", "report", "tools"]]
    assert "package.report" not in str(house.cycles({name: module.imports for name, module in modules.items()}))


def test_long_files_and_functions_are_faults(modules):
    modules["package.report"].lines = house.MAX_FILE + 1
    modules["package.tools.base"].functions["Base.run"] = house.MAX_FUNCTION + 1
    assert house.longer_than_allowed(modules) == [
        "package.report has 401 lines, more than 400.",
        "package.tools.base.Base.run has 71 lines, more than 70.",
    ]


def test_functions_are_named_with_their_class(modules):
    assert modules["package.tools.base"].functions == {"Base.run": 2}


def test_tables_fit_a_terminal_of_120_columns(package):
    console = Console(width=120, file=io.StringIO())
    house.print_house(package, console)
    shown = console.file.getvalue()
    assert max(map(len, shown.splitlines())) <= 120
    assert "…" not in shown


def test_every_python_file_begins_with_the_spdx_header():
    root = house.PACKAGE.parent
    header = ["# SPDX-FileCopyrightText: 2026 The verl_mapo authors", "# SPDX-License-Identifier: Apache-2.0"]
    files = [file for room in ("verl_mapo", "tests", "scripts", "docs") for file in (root / room).rglob("*.py")]
    lines = {file: file.read_text().splitlines() for file in files if file.stat().st_size}
    without = [file for file, text in lines.items() if text[text[0].startswith("#!") :][:2] != header]
    assert not without
