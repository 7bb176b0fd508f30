"""Settings of the server: defaults, a TOML file, the environment, the command line; the last one wins."""

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
from pinxit.files import read_text, user_path
from pinxit.recipes.stage_placement import Placing
from pinxit.schema import Count, NotNegative, Positive, Share, Whole

PREFIX = "PINXIT_SERVE_"
PATHS = ("api_keys", "data", "c2pa_certificate", "c2pa_key")  # settings in which ~ is the user's home
Port = Annotated[int, Meta(ge=0, le=65535)]


@dataclass(frozen=True)
class Settings:
    """All settings of `pinxit serve`."""

    recipes: tuple[str, ...] = ()  # RECIPE or NAME=CHECKPOINT, the first is the default; empty: all that are shipped
    clip: str = "tiny"  # for embeddings, classify and search; "": none
    device: str = "auto"
    engine: Literal["local", "ray"] = "local"  # ray: engines are replicas of Ray Serve
    replicas: Whole = 0  # number of replicas; 0: one a GPU, else one a machine
    host: str = "127.0.0.1"
    port: Port = 8000
    root_path: str = ""  # the path under which a proxy serves this server
    proxies: tuple[str, ...] = ("127.0.0.1", "::1")  # whose X-Forwarded-For and -Proto are trusted
    hosts: tuple[str, ...] = ()  # names that clients may use for this server, besides localhost and addresses
    origins: tuple[str, ...] = ()  # of other web pages that may call this server
    api_keys: str = ""  # file of hashed keys; "": no key is needed
    data: str = "pinxit-serve"  # folder of jobs and pictures
    body_mb: Positive = 64.0  # largest request body
    candidates: Count = 16  # if the request sets neither candidates nor quality
    most_candidates: Count = 256  # of one request
    budget_seconds: Positive = 600.0  # estimated work that may be queued
    client_share: Share = 0.5  # share of the budget for one client while others wait
    url_minutes: Positive = 60.0  # until the URL of a picture expires
    most_tries: Count = 3  # of a job during which the process died
    content_hook: str = ""  # module:function of the content policy; "": everything is allowed
    content_seconds: Positive = 10.0  # timeout of the hook
    fetch_from: tuple[str, ...] = ()  # hosts from which pictures are fetched for clients; empty: nothing is fetched
    c2pa_certificate: str = ""  # PEM file of a certificate chain; "": pictures are not signed
    c2pa_key: str = ""  # PEM file of its private key
    c2pa_algorithm: Literal["es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519"] = "es256"
    connections: Count = 512  # open at a time
    drain_seconds: NotNegative = 30.0  # for requests in progress at shutdown
    stages: dict[str, Placing] = field(default_factory=dict)  # NAME/STAGE, or clip: device, precision, compile
    aliases: dict[str, str] = field(default_factory=dict)  # other names of models


def load_settings(file: Path | None, environment: Mapping[str, str], flags: Mapping[str, Any]) -> Settings:
    """The settings. Raises UsageError for one that is unknown or out of range, and names its source."""
    found: dict[str, Any] = {}
    if file is not None:
        found |= _validated(_from_file(file), str(file))
    found |= _validated(_from_environment(environment), "the environment")
    found |= {name: value for name, value in flags.items() if value is not None}
    settings = _build(found, "serve")
    here: dict[str, Any] = {name: str(user_path(path)) for name in PATHS if (path := getattr(settings, name))}
    return dataclasses.replace(settings, **here)


def as_toml(settings: Settings) -> str:
    """A TOML file with these settings."""
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
    """A value as JSON, but without escapes for surrogate pairs, which TOML does not have."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _build(found: Mapping[str, Any], where: str) -> Settings:
    return from_dict(Settings, dict(found), where)


def _validated(found: dict[str, Any], where: str) -> dict[str, Any]:
    _build(found, where)
    return found


def _from_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(file, "settings"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file} is not a TOML file: {error}.") from error


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """PINXIT_SERVE_PORT=8000; lists are separated by commas, tables such as `aliases` are JSON."""
    fields = {one.name: one.default for one in dataclasses.fields(Settings)}
    found: dict[str, Any] = {}
    for name, text in environment.items():
        if name.startswith(PREFIX):
            key = name.removeprefix(PREFIX).lower()
            found[key] = _parse(fields.get(key, ""), text)
    return found


def _parse(default: Any, text: str) -> Any:
    if isinstance(default, str):
        return text
    if isinstance(default, tuple):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def environment() -> Mapping[str, str]:
    """The environment of the process."""
    return os.environ
