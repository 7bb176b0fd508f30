"""The sampler of mutants: what it changes, which tests it runs, and that it tells the noticed from the unnoticed."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from scripts.mutate import further, mirrored, mutants, noticed, survivors

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


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files = {
        "src/toy/__init__.py": "",
        "src/toy/room/__init__.py": "",
        "src/toy/room/double.py": "def double(x):\n    return x + x\n\n\ndef unseen(x):\n    return x - x\n",
        "src/toy/room/quiet.py": "",
        "tests/room/test_double.py": "from toy.room.double import double\ndef test_it():\n    assert double(3) == 6\n",
        "tests/room/test_other.py": "def test_it():\n    import toy.room.doubles\n",
        "tests/test_far.py": "",
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_module_is_tried_by_the_tests_that_name_it(root: Path) -> None:
    room = root / "tests/room"
    assert mirrored(root, root / "src/toy/room/double.py") == [room / "test_double.py"]
    assert mirrored(root, root / "src/toy/room/quiet.py") == [room]
    (root / "tests/test_far.py").write_text("import toy.room.quiet")
    assert mirrored(root, root / "src/toy/room/quiet.py") == [root / "tests/test_far.py"]
    (room / "test_quiet.py").write_text("")
    assert mirrored(root, root / "src/toy/room/quiet.py") == [room / "test_quiet.py"]


def test_what_those_let_pass_meets_the_tests_of_its_users(root: Path) -> None:
    (root / "src/toy/cli").mkdir()
    (root / "src/toy/cli/twice.py").write_text("from toy.room.double import double\n")
    (root / "src/toy/room/user.py").write_text("def late():\n    from toy.room import double\n")
    texts = {
        "room/test_user.py": "import toy.room.user\n",
        "test_command.py": 'def test_it(cli):\n    cli("twice", 3)\n',
        "test_room.py": "from toy.room import double\n",
        "test_all.py": "from pkgutil import walk_packages\n",
        "test_none.py": 'import toy.room.users, doubled\nx = ("twice as much", "once")\n',
    }
    for name, text in texts.items():
        (root / "tests" / name).write_text(text)
    file, tests = root / "src/toy/room/double.py", root / "tests"
    tried = mirrored(root, file)
    users = [tests / name for name in ("room/test_user.py", "test_all.py", "test_room.py")]
    assert further(root, file, tried) == users
    assert further(root, root / "src/toy/cli/twice.py", []) == [tests / "test_all.py", tests / "test_command.py"]
    (tests / "room/test_double.py").unlink()
    assert mirrored(root, file) == further(root, file, []) == users


def test_what_no_test_notices_survives_and_files_stay_as_they_are(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def judged(root: Path, source: Path, tests: Sequence[Path], limit: float | None = None) -> bool:
        known: dict[str, Any] = {}
        exec((source / "toy/room/double.py").read_text(), known)
        return bool(known["double"](3) != expected)

    monkeypatch.setattr(mutate, "noticed", judged)
    expected, file = 6, root / "src/toy/room/double.py"
    before = file.read_text()
    assert survivors(root, [file], 9) == ["src/toy/room/double.py:6: x - x → x + x"]
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("noticed ") and "2: x + x → x - x" in told[0] and told[-1] == "1 of 2 survived"
    assert file.read_text() == before
    expected = 7
    with pytest.raises(SystemExit, match=r"fail as it is, one of .*test_double\.py"):
        survivors(root, [file], 1)


def test_a_mutant_survives_both_rounds_or_none(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "tests/test_all.py").write_text("walk_packages")
    asked: list[list[str]] = []

    def judged(root: Path, source: Path, tests: Sequence[Path], limit: float | None = None) -> bool:
        asked.append([path.name for path in tests])
        return tests[0].name == "test_all.py" and "return (x - x)" in (source / "toy/room/double.py").read_text()

    monkeypatch.setattr(mutate, "noticed", judged)
    assert survivors(root, [root / "src/toy/room/double.py"], 9) == ["src/toy/room/double.py:6: x - x → x + x"]
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("noticed further on src/toy/room/double.py:2:") and told[1].startswith("SURVIVED")
    near, far = ["test_double.py"], ["test_all.py"]
    assert asked == [near, near, far, far, near, far], "as it is once, then each mutant"


def test_tests_run_against_the_source_that_is_given(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = shutil.copytree(root / "src", tmp_path_factory.mktemp("other") / "src")
    (other / "toy/room/double.py").write_text("def double(x):\n    return x - x\n")
    tests = [root / "tests/room/test_double.py"]
    assert [noticed(root, source, tests) for source in (root / "src", other)] == [False, True]
