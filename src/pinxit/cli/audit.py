"""`pinxit audit`: how often each group of pictures gets each label."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pinxit.cli.console import plain, print_json, print_rich
from pinxit.cli.open_clip import clip_with_bar
from pinxit.cli.options import ActivationName, ClipName, Device
from pinxit.errors import UsageError

if TYPE_CHECKING:
    from pinxit.recipes.clip.audit import Rates


def audit(
    folder: Annotated[Path, typer.Argument(help="Folder of pictures.")],
    labels: Annotated[str, typer.Option(help='Labels with commas between them: "doctor,thief,animal".')],
    group_by: Annotated[str, typer.Option(help="Column of the table whose values make the groups.")],
    table: Annotated[
        Path | None, typer.Option(help="CSV file with a column 'file'.", show_default="FOLDER/metadata.csv")
    ] = None,
    add: Annotated[str | None, typer.Option(help='Labels to add in a second round: "child".')] = None,
    templates: Annotated[
        str,
        typer.Option(help="Sentences around a label: simple, imagenet80, label (none), or a file of them."),
    ] = "simple",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    checkpoint: ClipName = "tiny",
    activation: ActivationName = None,
    device: Device = "auto",
) -> None:
    """Show how often each group of pictures gets each label, and how that changes when labels are added.

    Every picture counts for its likeliest label. Shares come with 95 % intervals.

    [bold]Example[/bold]

      pinxit audit faces/ --labels "a person,a thief,an animal" \\
          --group-by age --add "a child" --checkpoint ViT-B-32.pt
    """
    first = [label.strip() for label in labels.split(",") if label.strip()]
    more = [label.strip() for label in (add or "").split(",") if label.strip()]
    if add is not None and not more:
        raise UsageError("--add names no label.")
    with clip_with_bar(checkpoint, device, "audit", activation=activation) as clip:
        audit_result = clip.audit(folder, first, group_by, table=table, add=more, templates=templates)
    if as_json:
        rounds = {"rates": audit_result.before} | ({"with_added": audit_result.after} if audit_result.after else {})
        print_json({name: _plain(rates) for name, rates in rounds.items()})
        return
    _show(audit_result.before, f"{folder} by {group_by}", None)
    if audit_result.after:
        _show(audit_result.after, f"with {', '.join(more)}", audit_result.before)


def _plain(rates: Rates) -> dict[str, object]:
    return {
        group: {label: {"share": rate.share, "of": rate.of, "interval": rate.interval} for label, rate in row.items()}
        for group, row in rates.items()
    }


def _show(rates: Rates, title: str, before: Rates | None) -> None:
    from rich.console import Console
    from rich.table import Column, Table

    labels = list(next(iter(rates.values())))
    table = Table("group", "pictures", *(Column(plain(label)) for label in labels), title=plain(title))
    for group, row in rates.items():
        cells = []
        for label, rate in row.items():
            low, high = rate.interval
            moved = ""
            if before and label in before[group]:
                moved = f" {rate.share - before[group][label].share:+.1%}"
            cells.append(f"{rate.share:.1%}{moved}\n({low:.1%} to {high:.1%})")
        table.add_row(plain(group), str(next(iter(row.values())).of), *cells)
    print_rich(Console(), table)
