"""`pinxit eval sweep`: the same exam under several settings of a painter, with costs and measures of each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinxit.cli.eval.options import JudgeName, Language, PainterName, Seed, Split, Words
from pinxit.cli.eval.report import identity_of, origin, show_table
from pinxit.cli.options import Device
from pinxit.cli.painter_settings import Changes, settings_of, split_setting, value_of
from pinxit.cli.progress import bar
from pinxit.errors import UsageError
from pinxit.files import check_file
from pinxit.texts import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pinxit.cli.eval.sweep_setup import SweepSetup
    from pinxit.evaluation.measures import Measures
    from pinxit.evaluation.sweep import Trial
    from pinxit.evaluation.variations import Settings


def sweep(
    vary: Annotated[
        list[str],
        typer.Option(
            help="NAME=V1,V2,...: a setting and the values to try; may be repeated: all combinations, the last varying "
            "fastest. Values that hold commas are written as a JSON list."
        ),
    ],
    changes: Changes = None,
    split: Split = "unseen",
    prompts: Annotated[int, typer.Option(min=2, help="How many prompts; each gets one picture per combination.")] = 100,
    checkpoint: PainterName = "tiny",
    judge: JudgeName = "judge",
    seed: Seed = 0,
    language: Language = "en",
    words: Words = "plain",
    upscale: Annotated[
        bool,
        typer.Option(
            "--upscale",
            help="Enlarge the pictures by the painter's upsampler and measure the large ones; augmentation, "
            "upsampler_steps and upsampler_guidance can then be varied or set too.",
        ),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write a JSON report; an interrupted sweep resumes.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Write a picture: alignment against distance, and saturation.")
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Write a picture of the first 8 prompts, a row per setting.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Paint the same prompts with the same noise under several settings, and show costs and measures of each.

    [bold]What is measured[/bold]

      judge: share of pictures that the judge finds right, and its 95 % interval
      alignment: mean cosine of picture and prompt, by the painter's own CLIP,
          or the shipped one if it has none
      distance: CMMD from true renders, by the shipped CLIP
      saturated: share of colour values that are 0 or 255
      sharpness: difference of neighbouring pixels; 1 is that of true renders
      evaluations: of the network per picture, then of the upsampler's, if any
      s/picture: seconds per picture, on this machine

    [bold]Examples[/bold]

      pinxit eval sweep --vary guidance=1,1.5,2,4 --vary top_k=16,64 \\
          --out sweep.json --plot sweep.png
      pinxit eval sweep --checkpoint imagen-tiny --vary guidance=1,2,4,8,16 \\
          --vary percentile=0,0.995
      pinxit eval sweep --checkpoint imagen-tiny --vary sampler=ddim,ancestral \\
          --vary steps=25,250
      pinxit eval sweep --checkpoint imagen-tiny \\
          --vary augmentation=0,0.1,0.2,0.3 --upscale
    """
    from pinxit.cli.eval.sweep_setup import set_up
    from pinxit.evaluation.partial_results import report_lock
    from pinxit.evaluation.sweep_report import cells, plot_of, sheet_of
    from pinxit.evaluation.variations import combinations
    from pinxit.pictures import check_picture, write_picture

    check_file(out, plot, sheet)
    check_picture(plot, sheet)
    varied = _varied(vary)
    planned = combinations(varied, settings_of(changes))
    asking = {"split": split, "prompts": prompts, "language": language, "words": words, "seed": seed}
    setup = set_up(checkpoint, planned, upscale, judge, asking, device)
    with report_lock(out):
        tried, about = _run(setup, planned, out)
        true = setup.truth.own_measures()
        title = f"{checkpoint}: world:{setup.exam.preset}, {split}, {counted(prompts, 'prompt')}"
        if plot:
            write_picture(plot, plot_of(title, tried, true, varied), about)
        if sheet:
            write_picture(sheet, sheet_of(tried, list(varied), setup.asked), about)
        if out:
            _write(out, about | {"vary": varied}, tried, true)
        show_table(title, *cells(tried, true, list(varied)), left=len(varied))  # last: the terminal may be gone


def _varied(vary: Sequence[str]) -> dict[str, list[Any]]:
    """ "guidance=1,2" as {"guidance": [1, 2]}, in the order given."""
    varied: dict[str, list[Any]] = {}
    for text in vary:
        name, values = split_setting(text, "--vary", "V1,V2,...")
        if name in varied:
            raise UsageError(f"--vary {name} is given twice: write all its values in one.")
        varied[name] = _values(values)
        if not varied[name]:
            raise UsageError(f"--vary {text}: a value is missing; write {name}=V1,V2,...")
    return varied


def _values(text: str) -> list[Any]:
    """The values of "1,2" or of a JSON list; none where one is missing."""
    listed = value_of(text) if text.startswith("[") else None
    if isinstance(listed, list):
        return listed
    parts = text.split(",")
    return [value_of(part) for part in parts] if all(parts) else []


def _run(setup: SweepSetup, planned: list[Settings], out: Path | None) -> tuple[list[Trial], dict[str, Any]]:
    """The measured combinations, and everything that their results depend on."""
    from pinxit.evaluation.partial_results import partial_path
    from pinxit.evaluation.sweep import sweep as run

    about = origin(setup.exam, setup.device) | setup.about
    count = len(setup.asked)
    with bar("sweeping", len(planned) * count, "pictures") as show:
        tried = run(
            setup.asked,
            planned,
            setup.painter,
            setup.truth,
            part=partial_path(out),
            identity=identity_of(setup.exam, setup.device) | setup.about,
            watch=lambda done: show(done * count),
        )
    return tried, about


def _write(out: Path, about: dict[str, Any], tried: Sequence[Trial], true: Measures) -> None:
    from dataclasses import asdict

    from pinxit.evaluation.partial_results import partial_path
    from pinxit.evaluation.sweep import as_row
    from pinxit.files import write_json

    rows = [as_row(one) for one in tried]
    write_json(out, about | {"rows": rows, "true renders": asdict(true)})
    if part := partial_path(out):
        part.unlink(missing_ok=True)
