from __future__ import annotations

import gc
import json
import threading
import tomllib
from pathlib import Path
from typing import Any

import pytest

from pinxit.errors import PinxitError, UsageError, install
from pinxit.recipes.stage_placement import Placing
from pinxit.serve import server
from pinxit.serve.app import freeze_loaded_objects
from pinxit.serve.catalog import Catalog, Model
from pinxit.serve.errors import RefusedError
from pinxit.serve.keys import add_key
from pinxit.serve.settings import Settings, as_toml, load_settings
from tests.cli.helpers import Cli
from tests.cli.helpers import cli as cli
from tests.recipes.painters import random_painter, save_random_checkpoint
from tests.serve.running import catalog


def test_the_command_line_beats_the_environment_beats_the_file(tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    file.write_text('port = 1\nhost = "a"\ndevice = "cpu"\nrecipes = ["imagen"]\n[aliases]\nsdxl = "imagen"\n')
    environment = {"PINXIT_SERVE_PORT": "2", "PINXIT_SERVE_HOST": "b", "PINXIT_SERVE_HOSTS": "x, y", "PATH": "/"}
    found = load_settings(file, environment, {"port": 3, "data": None})
    assert (found.port, found.host, found.device, found.recipes) == (3, "b", "cpu", ("imagen",))
    assert found.hosts == ("x", "y") and found.aliases == {"sdxl": "imagen"} and found.data == Settings().data


def test_what_is_shown_says_the_same(tmp_path: Path) -> None:
    settings = Settings(
        port=9,
        recipes=("a=b", "imagen"),
        aliases={"x y": "imagen", "🦊": "imagen"},
        budget_seconds=1.5,
        stages={"imagen/denoise": Placing("cuda:1", "bf16", True), "clip": Placing("cpu")},
    )
    (tmp_path / "again.toml").write_text(as_toml(settings), encoding="utf-8")
    assert load_settings(tmp_path / "again.toml", {}, {}) == settings
    assert tomllib.loads(as_toml(Settings()))["port"] == 8000


@pytest.mark.parametrize(
    ("text", "said"),
    [("prot = 1", "no field 'prot'"), ("port = 70000", "from 0 to 65535"), ("port = ", "not a TOML file"),
     ("port = 'x'", "whole number"), ("port = " + "[" * 5000, "not a TOML file"), ("port = 1\0", "NUL characters")],
)  # fmt: skip
def test_bad_settings_are_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "serve.toml").write_text(text)
    with pytest.raises(UsageError, match=said):
        load_settings(tmp_path / "serve.toml", {}, {})


def test_files_of_windows_and_homes_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    (tmp_path / "serve.toml").write_bytes(b'\xef\xbb\xbfport = 7\r\ndata = "~/jobs"\r\n')
    found = load_settings(tmp_path / "serve.toml", {"PINXIT_SERVE_API_KEYS": "~/keys"}, {})
    assert (found.port, found.data, found.api_keys, found.c2pa_key) == (7, "/home/ann/jobs", "/home/ann/keys", "")


def test_a_bad_environment_is_named() -> None:
    with pytest.raises(UsageError, match=r"the environment.*prot"):
        load_settings(None, {"PINXIT_SERVE_PROT": "1"}, {})
    with pytest.raises(UsageError, match="cannot read settings"):
        load_settings(Path("/nowhere.toml"), {}, {})


@pytest.mark.parametrize("recipes", [("=x",), ("clip=x",)])
def test_a_painter_has_a_name_of_its_own(recipes: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="name of its own"):
        Catalog.opened(Settings(recipes=recipes))


def test_two_painters_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pinxit.serve.catalog.load", lambda checkpoint, device, stages: checkpoint)
    with pytest.raises(UsageError, match="'mine=b' needs a name of its own"):
        Catalog.opened(Settings(recipes=("mine=a", "mine=b")))


@pytest.mark.parametrize(
    ("stages", "said"),
    [({"other/denoise": {}}, "nothing that is served"), ({"clip/texts": {}}, "nothing that is served"),
     ({"dalle/denoise": {}}, "no stage 'denoise'"), ({"dalle/tokens": {"precision": "fp64"}}, "precision"),
     ({"dalle/tokens": {"wish": 1}}, "no field 'wish'"),
     ({"clip": {"compile": True}}, "clip of .*nano takes no compile"),
     ({"dalle/tokens": {"device": "cpu"}}, "stages: tokens of .*nano takes no device; what can be set there: int8")],
)  # fmt: skip
def test_stages_that_cannot_be_set_are_one_sentence(tmp_path: Path, stages: dict[str, Any], said: str) -> None:
    save_random_checkpoint(tmp_path / "nano")
    given = {"recipes": [f"dalle={tmp_path / 'nano'}"], "device": "cpu", "clip": str(tmp_path / "nano")}
    with pytest.raises(UsageError, match=said):
        Catalog.opened(load_settings(None, {"PINXIT_SERVE_STAGES": json.dumps(stages)}, given))


def test_painters_of_one_checkpoint_place_the_upsampler_that_they_share_alike() -> None:
    """Or one of them would enlarge as the other is told to."""
    given = {"recipes": ["exact=there", "other=elsewhere", "fast=there"]}
    stages = {
        "other/up64": {"device": "cpu"},
        "fast/denoise": {"precision": "bf16"},
        "fast/up64": {"precision": "bf16"},
    }
    with pytest.raises(UsageError, match="exact and fast share the upsampler of there; place exact/up64 and fast/up64"):
        Catalog.opened(load_settings(None, {"PINXIT_SERVE_STAGES": json.dumps(stages)}, given))
    stages["exact/up64"] = stages["fast/up64"]
    with pytest.raises(PinxitError, match="there"):  # is no checkpoint
        Catalog.opened(load_settings(None, {"PINXIT_SERVE_STAGES": json.dumps(stages)}, given))


def test_an_alias_is_no_name_that_is_served() -> None:
    models, clip = [Model("dalle", random_painter())], catalog().clip
    for alias in ("dalle", "clip"):
        with pytest.raises(UsageError, match=f"aliases: '{alias}' is served itself"):
            Catalog(models, clip, {alias: "dalle"})
    assert Catalog(models, None, {"clip": "dalle"}).model("clip").name == "dalle"


def test_stages_are_set_as_the_file_says(tmp_path: Path) -> None:
    save_random_checkpoint(tmp_path / "nano")
    told = f'recipes = ["dalle={tmp_path / "nano"}"]\nclip = "{tmp_path / "nano"}"\ndevice = "cpu"\n'
    told += '[stages."dalle/tokens"]\nprecision = "int8"\n[stages.clip]\nprecision = "bf16"\n'
    (tmp_path / "serve.toml").write_text(told)
    settings = load_settings(tmp_path / "serve.toml", {}, {})
    assert load_settings(None, {}, {}).stages == {} and '[stages."dalle/tokens"]' in as_toml(settings)
    opened = Catalog.opened(settings)
    assert opened.models["dalle"].painter.int8  # type: ignore[attr-defined]
    assert opened.clip is not None and opened.clip.precision == "bf16"


def test_names_of_openai_mean_the_default_painter_unless_one_is_served_under_them() -> None:
    painter = random_painter()
    models = [Model("dalle", painter), Model("dall-e-3", painter), Model("mine", painter)]
    served = Catalog(models, aliases={"gpt-image-1": "mine", "sdxl": "mine"})
    wanted = {None: "dalle", "": "dalle", "dall-e-2": "dalle", "dall-e-3": "dall-e-3", "gpt-image-1": "mine",
              "sdxl": "mine", "mine": "mine"}  # fmt: skip
    assert {name: served.model(name).name for name in wanted} == wanted
    with pytest.raises(RefusedError, match="no such model") as unknown:
        served.model("nobody")
    assert unknown.value.status == 404


def test_ray_is_asked_for_where_it_is_the_engine_alone(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pinxit.cluster.find_spec", lambda name: None)
    checked: list[str] = []
    monkeypatch.setattr(server, "check", lambda settings: checked.append(settings.engine))
    done = cli("serve", "--check", "--engine", "ray")
    assert done.code == 2 and done.err == f"pinxit: --engine ray needs Ray: {install('ray')}.\n"
    assert cli("serve", "--show-config", "--engine", "ray").code == 0
    assert cli("serve", "--check").code == 0 and checked == ["local"]


def test_a_server_needs_a_painter() -> None:
    with pytest.raises(UsageError, match="no painter came with this installation"):
        Catalog([])


@pytest.mark.parametrize(
    ("given", "said"),
    [({"api_keys": "none.txt"}, "cannot read keys from none.txt"), ({"api_keys": "bad.txt"}, "bad.txt, key 1: write"),
     ({"data": "bad.txt"}, "bad.txt is a file; choose another place"), ({"data": "bad.txt/x"}, "bad.txt is a file"),
     ({"content_hook": "nowhere:hook"}, "content_hook: the module nowhere"), ({"fetch_from": ("a b",)}, "is no host"),
     ({"proxies": ("172.17.0.1/16",)}, "'172.17.0.1/16' is no address or network"),
     ({"host": ""}, "host is empty: leave it out for 127.0.0.1"), ({"hosts": ("*",)}, "hosts: '\\*' is no name"),
     ({"hosts": ("a.example", "https://b.example")}, "'https://b.example' is no name of a host"),
     ({"origins": ("https://a.example/", "b.example")}, "'b.example' is no origin of pages"),
     ({"c2pa_key": "bad.txt"}, "go together"), ({"recipes": ("dalle=bad.txt",)}, "bad.txt")],
)  # fmt: skip
def test_a_check_refuses_what_a_server_would(
    given: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.txt").write_text("no key\n")
    save_random_checkpoint(tmp_path / "nano")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(PinxitError, match=said):
        server.check(Settings(**{"recipes": ("dalle=nano",), "clip": "", "device": "cpu"} | given))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_check_paints_with_all_and_leaves_nothing(tmp_path: Path) -> None:
    save_random_checkpoint(tmp_path / "nano")
    add_key(tmp_path / "keys.txt", "alice")
    given: dict[str, Any] = {"clip": str(tmp_path / "nano"), "device": "cpu", "data": str(tmp_path / "data")}
    found = server.check(
        Settings(
            recipes=tuple(f"{name}={tmp_path / 'nano'}" for name in ("one", "other")),
            api_keys=str(tmp_path / "keys.txt"),
            **given,
        )
    )
    assert found["painters"].keys() == found["first_picture_seconds"].keys() == {"one", "other"}
    assert all(seconds > 0 for seconds in found["first_picture_seconds"].values())
    assert found["painters"]["one"] == {"checkpoint": found["painters"]["other"]["checkpoint"], "sizes": [32]}
    assert found["painters"]["one"]["checkpoint"] and found["device"] == "cpu" and found["pinxit"]
    assert not (tmp_path / "data").exists()


def test_garbage_of_requests_is_looked_for_apart_from_what_was_loaded() -> None:
    """In the thread of a server's own process; beside others' objects everything stays as it is."""
    gc.unfreeze()  # what the tests imported is frozen; so it is at the end, too
    beside = threading.Thread(target=freeze_loaded_objects)
    beside.start()
    beside.join()
    assert gc.get_freeze_count() == 0
    freeze_loaded_objects()
    assert gc.get_freeze_count() > 10_000
