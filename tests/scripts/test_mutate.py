"""The sampler of mutants: what it changes, which tests it runs, and that it tells the noticed from the unnoticed."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from scripts.map_tests import MAP, OF_EVERYTHING, Coverage, mapped
from scripts.mutants import mutants
from scripts.mutate import noticed, survivors

from scripts import mutate

SOURCE = '''"""Numbers: 1."""

from math import pi as π


def area(radius: float = 2, *, exact: bool = True) -> float:
    """π r^2."""
    assert radius >= 0, f"{radius + 1}"
    return round(π * radius**2, ndigits=3) if exact else 3 * radius
'''


def test_every_expression_that_matters_is_changed_and_no_other() -> None:
    found = mutants(SOURCE)
    assert {(one.old, one.new) for one in found} == {
        ("2", "4"),
        ("True", "False"),
        ("round(π * radius**2, ndigits=3) if exact else 3 * radius", "round(π * radius ** 2, ndigits=3)"),
        ("round(π * radius**2, ndigits=3) if exact else 3 * radius", "3 * radius"),
        ("round(π * radius**2, ndigits=3)", "round(π * radius ** 2)"),
        ("π * radius**2", "π / radius ** 2"),
        ("3", "6"),
        ("3 * radius", "3 / radius"),
    }
    texts = {one.source for one in found}
    assert len(texts) == len(found) and SOURCE not in texts
    for one in found:
        ast.parse(one.source)
        changed = [a != b for a, b in zip(SOURCE.splitlines(), one.source.splitlines(), strict=True)]
        assert sum(changed) == 1 and changed[one.line - 1]


def test_a_mutant_knows_the_statement_it_stands_in() -> None:
    text = (
        "def sign(x,\n         y=1):\n    if (x\n            > y):\n        return [\n            3]\n    return -1\n"
    )
    found = {(one.old, one.line): one.statement for one in mutants(text)}
    assert found[("1", 2)] == range(1, 3)
    assert {found[("x\n            > y", 3)]} == {range(3, 5)}
    assert found[("3", 6)] == range(5, 7) and found[("-1", 7)] == range(7, 8)


SOURCES = {
    "src/toy/__init__.py": "",
    "src/toy/double.py": "SIGN = 1\n\n\ndef double(x):\n    return SIGN * (x + x)\n\n\n"
    "def unseen(x):\n    return x - x\n",
    "tests/test_double.py": "from toy.double import double\n\n\ndef test_it():\n    assert double(3) == 6\n",
    "tests/test_made.py": "import pytest\nfrom toy.double import double\n\n\n@pytest.fixture(scope='module')\n"
    "def made():\n    return double(2)\n\n\ndef test_first(made):\n    pass\n\n\n"
    "def test_second(made):\n    assert made == 4\n",
    "tests/test_defaults.py": "def test_them():\n    pass\n",
    "tests/test_none.py": "def test_none():\n    pass\n",
}


@pytest.fixture(scope="module", autouse=True)
def _few_plugins() -> Iterator[None]:
    """Every pytest that is started here would otherwise import all plugins there are, for two seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        patch.setenv("PYTEST_PLUGINS", "xdist.plugin,pytest_cov.plugin")
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package, and which of its tests run what."""
    root = tmp_path_factory.mktemp("toy")
    for name, text in SOURCES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(root / "src"))
        mapped(root)
    return root


def test_a_line_is_tried_by_the_tests_that_run_it(root: Path) -> None:
    coverage, file = Coverage(root / MAP), root / "src/toy/double.py"
    both = ["tests/test_double.py::test_it", "tests/test_made.py"]
    assert sorted(coverage.tests_of(file, [5])) == both, "what a fixture makes is for all tests of its file"
    reads_all = ["tests/test_defaults.py", *both]
    assert sorted(coverage.tests_of(file, [1])) == sorted(reads_all), "and what is run on import for all that use it"
    assert coverage.tests_of(file, [1])[0] == "tests/test_defaults.py"
    assert not set(coverage.tests_of(file, [5])) & set(OF_EVERYTHING)
    assert coverage.tests_of(file, [9]) == [] and coverage.tests_of(root / "src/toy/other.py", [1]) == []


def test_the_map_is_made_again_when_a_file_has_changed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(root / "src"))
    before, test = (root / MAP).stat().st_mtime_ns, root / "tests/test_none.py"
    assert mapped(root).file == root / MAP and (root / MAP).stat().st_mtime_ns == before
    test.write_text("def test_none():\n    assert False\n")
    with pytest.raises(SystemExit, match="fail as it is"):
        mapped(root)
    test.write_text("from toy.double import unseen\n\n\ndef test_none():\n    unseen(1)\n")
    assert mapped(root).tests_of(root / "src/toy/double.py", [9]) == ["tests/test_none.py::test_none"]


def test_what_no_test_notices_survives_and_files_stay_as_they_are(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def judged(root: Path, source: Path, tests: Sequence[str]) -> bool:
        known: dict[str, Any] = {}
        exec((source / "toy/double.py").read_text(), known)
        return bool(known["double"](3) != 6)

    monkeypatch.setattr(mutate, "noticed", judged)
    file = root / "src/toy/double.py"
    before = file.read_text()
    assert survivors(root, [file], 9, 0, Coverage(root / MAP)) == ["src/toy/double.py:9: x - x → x + x"]
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in told] == ["noticed"] * 3 + ["SURVIVED", "1"]
    assert "5: x + x → x - x (2 tests run it)" in "".join(told) and told[-1] == "1 of 4 survived"
    assert file.read_text() == before


def test_tests_run_against_the_source_that_is_given(root: Path, tmp_path: Path) -> None:
    other = shutil.copytree(root / "src", tmp_path / "src")
    (other / "toy/double.py").write_text("def double(x):\n    return x - x\n")
    tests = ["tests/test_double.py::test_it"]
    assert [noticed(root, source, tests) for source in (root / "src", other)] == [False, True]
    with pytest.raises(SystemExit, match=r"remove \.mutate"):
        noticed(root, root / "src", ["tests/test_double.py::test_that_was"])
