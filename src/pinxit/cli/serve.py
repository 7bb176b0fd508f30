"""`pinxit serve`: an HTTP server with the OpenAI images API, and a web page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinxit import cluster
from pinxit.cli.console import print_json, print_lines
from pinxit.cli.options import EngineChoice
from pinxit.cli.painter_settings import split_setting, value_of
from pinxit.errors import PinxitError, UsageError, install

if TYPE_CHECKING:
    from pinxit.serve.settings import Settings


def serve(
    recipes: Annotated[
        str | None,
        typer.Option(
            help="Painters with commas between: recipes, or NAME=CHECKPOINT; the first is the default.",
            show_default="all that are shipped",
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen at; 0.0.0.0 is all.", show_default="127.0.0.1")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen at.", show_default="8000")] = None,
    api_keys: Annotated[
        Path | None, typer.Option(help="File of hashed keys; without one nobody needs a key.", show_default=False)
    ] = None,
    new_key: Annotated[
        str | None, typer.Option(help="Add a key of this name to the file of keys, print it once, and exit.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of jobs and pictures.", show_default="pinxit-serve")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.", show_default="auto")] = None,
    fetch_from: Annotated[
        str | None,
        typer.Option(
            help="Hosts with commas between, such as *.example.org, from which pictures are fetched for clients.",
            show_default="none",
        ),
    ] = None,
    engine: Annotated[
        EngineChoice | None,
        typer.Option(help="local, or ray: replicas by Ray Serve (--set replicas=2).", show_default="local"),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file of settings.", show_default=False)] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other setting, e.g. budget_seconds=120; may be repeated."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Load everything, paint once, tell versions and memory, and exit.")
    ] = False,
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Print all settings as a TOML file, and exit.")
    ] = False,
) -> None:
    """Serve pictures to programs that use the OpenAI images API, and a web page to people.

    Settings come from --config, then from the environment (PINXIT_SERVE_PORT=9000), then from options; the last one
    wins. Needs the extra: pip install -c constraints.txt ".\\[serve]" in a clone of pinxit.

    [bold]Examples[/bold]

      pinxit serve
      pinxit serve --recipes imagen --port 9000
      pinxit serve --api-keys keys.txt --new-key alice
      pinxit serve --config serve.toml --show-config
    """
    settings = _settings(config, changes, recipes=recipes and recipes.split(","), host=host, port=port, device=device,
                         api_keys=api_keys and str(api_keys), data=data and str(data), engine=engine and engine.value,
                         fetch_from=fetch_from and fetch_from.split(","))  # fmt: skip
    if settings.engine == "ray" and not show_config:
        cluster.check_installed()
    if new_key is not None:
        print_lines(_new_key(settings, new_key))
        return
    if show_config:
        from pinxit.serve.settings import as_toml

        print_lines(*as_toml(settings).splitlines())
        return
    try:
        from pinxit.serve import server
    except ImportError as error:
        raise PinxitError(f"{error.name} is missing: {install('serve')}.") from error
    if check:
        print_json(server.check(settings))
        return
    raise typer.Exit(server.run(settings))


def _settings(config: Path | None, changes: list[str] | None, **options: Any) -> Settings:
    from pinxit.serve.settings import environment, load_settings

    found = {name: value for name, value in options.items() if value is not None}
    for change in changes or ():
        name, text = split_setting(change, "--set", "VALUE")
        if name in found:
            raise UsageError(f"{name} is given twice: leave out one of them.")
        found[name] = value_of(text)
    return load_settings(config, environment(), found)


def _new_key(settings: Settings, name: str) -> str:
    from pinxit.serve.keys import add_key

    if not settings.api_keys:
        raise UsageError("say with --api-keys which file the key goes into.")
    return add_key(Path(settings.api_keys), name)
