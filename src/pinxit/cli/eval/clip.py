"""`pinxit eval labels`, `shift` and `retrieval`: the accuracy of a CLIP, compared with a supervised classifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from pinxit.cli.console import print_json, print_lines
from pinxit.cli.options import Device
from pinxit.cli.progress import bar
from pinxit.errors import UsageError

if TYPE_CHECKING:
    from pinxit.data.labels import LabelledDataset
    from pinxit.evaluation.accuracy import DistributionShift, Namer

Model = Annotated[
    list[str], typer.Option("--checkpoint", help="A CLIP (zero-shot) or a trained classifier; may be repeated.")
]
Templates = Annotated[
    str, typer.Option(help="Sentences around a label for CLIPs: data (its own), simple, imagenet80, label, or a file.")
]
Count = Annotated[int | None, typer.Option(min=1, help="How many pictures.", show_default="all, at most 10,000")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
MOST = 10_000
DATA = "data"


def labels(
    data: Annotated[str, typer.Argument(help="Labelled pictures: fashion-mnist[:FOLDER], drawings:small or :full.")],
    checkpoint: Model,
    split: Annotated[str, typer.Option(help="test of fashion-mnist; seen or unseen of drawings.")] = "test",
    templates: Templates = DATA,
    pictures: Count = None,
    as_json: AsJson = False,
    device: Device = "auto",
) -> None:
    """Accuracy on labelled pictures that were never trained on: zero-shot for CLIPs, top-1 for classifiers.

    [bold]Example[/bold]

      pinxit eval labels fashion-mnist --checkpoint runs/clip/checkpoint \\
          --checkpoint runs/resnet/checkpoint
    """
    if templates != DATA and all(_is_classifier(name) for name in checkpoint):
        raise UsageError("--templates is of CLIPs, and no --checkpoint is one: leave it out.")
    accuracies = {name: _score(data, split, name, templates, pictures, device) for name in checkpoint}
    if as_json:
        print_json({"data": data, "split": split, "accuracy": accuracies})
        return
    for name, share in accuracies.items():
        print_lines(f"{share:7.2%}  {name}")


def shift(
    clip: Annotated[str, typer.Option(help="A CLIP trained on some artists' drawings.")],
    classifier: Annotated[str, typer.Option(help="A classifier trained on the same drawings.")],
    data: Annotated[str, typer.Option(help="drawings:small or drawings:full.")] = "drawings:full",
    templates: Templates = DATA,
    pictures: Annotated[int, typer.Option(min=1, help="How many pictures of each kind.")] = 4000,
    as_json: AsJson = False,
    device: Device = "auto",
) -> None:
    """Accuracy under a distribution shift: known artists' drawings, then the same things drawn by other artists.

    Both models should have been trained on the data's train split; the last column is the share of the classifier's
    lost accuracy that CLIP does not lose.

    [bold]Example[/bold]

      pinxit eval shift --clip runs/clip/checkpoint \\
          --classifier runs/resnet/checkpoint
    """
    from pinxit.evaluation.accuracy import DistributionShift, gap_closed

    if _is_classifier(clip):
        raise UsageError(f"--clip {clip} holds a classifier: name a CLIP.")

    def measure(name: str) -> DistributionShift:
        seen, unseen = (_score(data, split, name, templates, pictures, device) for split in ("seen", "unseen"))
        return DistributionShift(seen, unseen)

    peer, ours = measure(classifier), measure(clip)
    share = gap_closed(peer, ours)
    rows = {"classifier": peer, "clip": ours}
    if as_json:
        summary = {name: {"seen": one.seen, "unseen": one.unseen, "gap": one.gap} for name, one in rows.items()}
        print_json({"data": data, "pictures": pictures, **summary, "closed": share})
        return
    print_lines(f"{'':<12}{'same artists':>14}{'other artists':>15}{'lost':>8}{'gap closed':>12}")
    for name, one in rows.items():
        last = f"{share:>12.0%}" if name == "clip" and share is not None else ""
        print_lines(f"{name:<12}{one.seen:>14.1%}{one.unseen:>15.1%}{one.gap:>8.1%}{last}")


def retrieval(
    data: Annotated[str, typer.Argument(help="A world: world:small, :gallery or :full.")] = "world:small",
    checkpoint: Annotated[str, typer.Option(help="A CLIP: a shipped name, a checkpoint folder, weights.")] = "tiny",
    split: Annotated[str, typer.Option(help="seen: fresh scenes; unseen: combinations never trained on.")] = "seen",
    pictures: Annotated[int, typer.Option(min=10, help="How many pictures, each with its plainest caption.")] = 1000,
    as_json: AsJson = False,
    device: Device = "auto",
) -> None:
    """Recall at 1, 5 and 10: the picture of a caption, the caption of a picture, in English and in Chinese.

    [bold]Example[/bold]

      pinxit eval retrieval world:small --checkpoint tiny --pictures 1000
    """
    from pinxit.data.sources import WORLD, open_source
    from pinxit.evaluation.retrieval import KS, recalls
    from pinxit.recipes.clip.encoder import ClipEncoder

    if not data.startswith(WORLD):
        raise UsageError(f"retrieval asks for captions in two languages, which only worlds have, not {data}.")
    encoder = ClipEncoder.open(checkpoint, device)
    recall = {}
    for language in ("en", "zh"):
        source = open_source(data, encoder.size, split, language=language)
        with bar(f"{language}", pictures) as watch:
            examples = []
            for index in range(pictures):
                examples.append(source[index])
                watch(index + 1)
        captions = [one.captions[0] for one in examples]
        different = sorted(set(captions))
        places = {caption: place for place, caption in enumerate(different)}
        vectors = encoder.pictures([one.picture for one in examples])
        recall[language] = recalls(vectors, encoder.texts(different, cut=True), [places[one] for one in captions])
    if as_json:
        print_json({"data": data, "split": split, "pictures": pictures, **recall})
        return
    names = [f"{kind}@{k}" for kind in ("picture", "caption") for k in KS]
    print_lines("".join([" " * 4, *(f"{name:>12}" for name in names)]))
    for language, scores in recall.items():
        print_lines("".join([f"{language:<4}", *(f"{scores[name]:>12.1%}" for name in names)]))


def _score(data: str, split: str, checkpoint: str, templates: str, pictures: int | None, device: str) -> float:
    from pinxit.data.sources import open_labelled
    from pinxit.evaluation.accuracy import accuracy

    size, opened = _open(checkpoint, templates, device)
    source = open_labelled(data, size, split)
    count = min(len(source), pictures or MOST)
    with bar(f"{split}, {checkpoint}", count) as watch:
        return accuracy(source, count, opened(source), watch)


def _is_classifier(checkpoint: str) -> bool:
    from pathlib import Path

    from pinxit.recipes.classifier import RECIPE
    from pinxit.weights.checkpoint import open_checkpoint
    from pinxit.weights.manifest import MANIFEST

    return (Path(checkpoint) / MANIFEST).is_file() and open_checkpoint(Path(checkpoint)).recipe == RECIPE


def _open(checkpoint: str, templates: str, device: str) -> tuple[int, Callable[[LabelledDataset], Namer]]:
    """The size of pictures that a model takes, and a function that names those of a dataset."""
    from pathlib import Path

    from pinxit.recipes.classifier import Classifier
    from pinxit.recipes.clip.encoder import ClipEncoder
    from pinxit.recipes.clip.templates import templates as sentences
    from pinxit.recipes.clip.zero_shot import ZeroShot
    from pinxit.weights.checkpoint import open_checkpoint

    if _is_classifier(checkpoint):
        classifier = Classifier(open_checkpoint(Path(checkpoint)), device)
        return classifier.size, lambda source: classifier.names
    encoder, asked = ClipEncoder.open(checkpoint, device), None if templates == DATA else sentences(templates)

    def namer(source: LabelledDataset) -> Namer:
        around = asked or source.templates
        zero_shot = ZeroShot(encoder, source.labels, around)
        return lambda pictures: [guesses[0].label for guesses in zero_shot.classify(pictures, 1)]

    return encoder.size, namer
