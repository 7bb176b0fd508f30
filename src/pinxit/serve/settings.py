"""What a server is told: defaults, then a TOML file, then the environment, then the command line; the last one wins."""

from __future__ import annotations

import dataclasses
import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from pinxit.config import from_dict
from pinxit.errors import UsageError
from pinxit.recipes.placing import Placing
from pinxit.schema import Count, NotNegative, Positive, Share, Whole

PREFIX = "PINXIT_SERVE_"
Port = Annotated[int, Meta(ge=0, le=65535)]


@dataclass(frozen=True)
class Settings:
    """Everything that can be said to `pinxit serve`."""

    recipes: tuple[str, ...] = ()  # RECIPE or NAME=CHECKPOINT, the first is the default; none: all that are shipped
    clip: str = "tiny"  # of embeddings, classify and search; "": none
    device: str = "auto"
    engine: Literal["local", "ray"] = "local"  # ray: whole engines as replicas that Ray Serve places
    replicas: Whole = 0  # of them; 0: one a GPU, else one a machine
    host: str = "127.0.0.1"
    port: Port = 8000
    root_path: str = ""  # behind a proxy that serves us below a path
    proxies: tuple[str, ...] = ("127.0.0.1", "::1")  # whose X-Forwarded-For and -Proto are believed
    hosts: tuple[str, ...] = ()  # names by which we are called, besides localhost and addresses
    origins: tuple[str, ...] = ()  # of other pages that may call us
    api_keys: str = ""  # file of hashed keys; "": nobody needs one
    data: str = "pinxit-serve"  # folder of jobs and pictures
    body_mb: Positive = 64.0  # a request may hold at most
    candidates: Count = 16  # drawn where quality is not said
    most_candidates: Count = 256  # that a request may ask for
    budget_seconds: Positive = 600.0  # of work that may wait
    client_share: Share = 0.5  # of it, for one client, while others wait
    url_minutes: Positive = 60.0  # that a picture's URL lives
    most_tries: Count = 3  # of a job that the process did not outlive
    content_hook: str = ""  # module:function that says what may be painted; "": everything
    content_seconds: Positive = 10.0  # that it may take
    fetch_from: tuple[str, ...] = ()  # hosts whose pictures are fetched for clients; none: nothing is fetched
    c2pa_certificate: str = ""  # PEM file of a certificate and those that vouch for it; "": pictures are not signed
    c2pa_key: str = ""  # PEM file of its private key
    c2pa_algorithm: Literal["es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519"] = "es256"
    connections: Count = 512  # at a time
    drain_seconds: NotNegative = 30.0  # for pictures under way when we are told to end
    stages: dict[str, Placing] = field(default_factory=dict)  # NAME/STAGE, or clip: device, precision, compile
    aliases: dict[str, str] = field(default_factory=dict)  # further names of models


def gathered(file: Path | None, environment: Mapping[str, str], flags: Mapping[str, Any]) -> Settings:
    """The settings. Raises UsageError for one that is unknown or out of range, naming where it was said."""
    found: dict[str, Any] = {}
    if file is not None:
        found |= _checked(_of_file(file), str(file))
    found |= _checked(_of_environment(environment), "the environment")
    found |= {name: value for name, value in flags.items() if value is not None}
    return _build(found, "serve")


def shown(settings: Settings) -> str:
    """As a TOML file that says the same."""
    lines = []
    for name, value in dataclasses.asdict(settings).items():
        if isinstance(value, dict) and value and isinstance(next(iter(value.values())), dict):
            for stage, about in value.items():
                lines += [f"[{name}.{_toml(stage)}]", *(f"{one} = {_toml(other)}" for one, other in about.items())]
        elif isinstance(value, dict):
            lines += [f"[{name}]", *(f"{_toml(one)} = {_toml(other)}" for one, other in value.items())]
        else:
            lines.append(f"{name} = {_toml(value)}")
    return "\n".join(lines)


def _toml(value: Any) -> str:
    """As JSON writes it, but without its escapes for surrogate pairs, which TOML does not know."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _build(found: Mapping[str, Any], where: str) -> Settings:
    return from_dict(Settings, dict(found), where)


def _checked(found: dict[str, Any], where: str) -> dict[str, Any]:
    _build(found, where)
    return found


def _of_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read settings from {file}: {error.strerror or error}.") from error
    except ValueError as error:  # not UTF-8, or not TOML
        raise UsageError(f"{file} is not a TOML file: {error}.") from error


def _of_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """PINXIT_SERVE_PORT=8000; lists have commas, and `aliases` are JSON."""
    fields = {one.name: one.default for one in dataclasses.fields(Settings)}
    found: dict[str, Any] = {}
    for name, text in environment.items():
        if name.startswith(PREFIX):
            key = name.removeprefix(PREFIX).lower()
            found[key] = _read(fields.get(key, ""), text)
    return found


def _read(default: Any, text: str) -> Any:
    if isinstance(default, str):
        return text
    if isinstance(default, tuple):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return json.loads(text)
    except ValueError:
        return text


def environment() -> Mapping[str, str]:
    """The process's."""
    return os.environ
