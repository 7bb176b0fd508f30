from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from pinxit.errors import UsageError
from pinxit.serve.settings import Settings, gathered, shown


def test_the_command_line_beats_the_environment_beats_the_file(tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    file.write_text('port = 1\nhost = "a"\ndevice = "cpu"\nrecipes = ["imagen"]\n[aliases]\nsdxl = "imagen"\n')
    environment = {"PINXIT_SERVE_PORT": "2", "PINXIT_SERVE_HOST": "b", "PINXIT_SERVE_HOSTS": "x, y", "PATH": "/"}
    found = gathered(file, environment, {"port": 3, "data": None})
    assert (found.port, found.host, found.device, found.recipes) == (3, "b", "cpu", ("imagen",))
    assert found.hosts == ("x", "y") and found.aliases == {"sdxl": "imagen"} and found.data == Settings().data


def test_what_is_shown_says_the_same(tmp_path: Path) -> None:
    settings = Settings(port=9, recipes=("a=b", "imagen"), aliases={"x y": "imagen"}, budget_seconds=1.5)
    (tmp_path / "again.toml").write_text(shown(settings))
    assert gathered(tmp_path / "again.toml", {}, {}) == settings
    assert tomllib.loads(shown(Settings()))["port"] == 8000


@pytest.mark.parametrize(
    ("text", "said"),
    [("prot = 1", "no field 'prot'"), ("port = 70000", "from 0 to 65535"), ("port = ", "not a TOML file"),
     ("port = 'x'", "whole number")],
)  # fmt: skip
def test_bad_settings_are_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "serve.toml").write_text(text)
    with pytest.raises(UsageError, match=said):
        gathered(tmp_path / "serve.toml", {}, {})


def test_a_bad_environment_is_named() -> None:
    with pytest.raises(UsageError, match=r"the environment.*prot"):
        gathered(None, {"PINXIT_SERVE_PROT": "1"}, {})
    with pytest.raises(UsageError, match="cannot read settings"):
        gathered(Path("/nowhere.toml"), {}, {})
