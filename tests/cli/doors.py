"""Stand-ins for all that the command line calls, and what it asked of them: for tests of options.

Every stand-in notes its arguments as "door.argument"; a later call's replace an earlier one's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pinxit.config import to_dict
from pinxit.data.labels import Labelled
from pinxit.data.problems import Problem, Problems
from pinxit.evaluation import famous_exam, questions
from pinxit.functional.boxes import Detections
from pinxit.recipes.clip.audit import Rate
from pinxit.recipes.clip.index import Hit
from pinxit.recipes.clip.probe import ProbeResult
from pinxit.recipes.clip.zero_shot import Guess
from pinxit.recipes.dalle.painter import DallePainter
from pinxit.recipes.diffusion.config import SamplingConfig
from pinxit.recipes.staging import RunOutcome
from pinxit.recipes.unclip.inversion import Inversion
from pinxit.types import Example, Prompt, Ranked

if TYPE_CHECKING:
    from pinxit.types import Picture

SIDE = 16
DEFAULTS: dict[str, Any] = {"guidance": 1.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "agreement": 0.0}
DEFAULTS |= {"steps": 4, "sampler": "ddim", "grid": "even", "percentile": 0.0, "spacing": ""}
KINDS = make_dataclass("KINDS", [(name, type(value)) for name, value in DEFAULTS.items()])
ATTRIBUTES = frozenset({"outfit", "words", "shape", "view", "light", "material", "link"})


def picture(value: int = 0) -> Picture:
    return np.random.default_rng(value).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


@dataclass
class Notes:
    """What was asked for."""

    seen: dict[str, Any] = field(default_factory=dict)

    def __call__(self, door: str, **facts: Any) -> None:
        self.seen |= {f"{door}.{name}": value for name, value in facts.items()}

    def add(self, name: str, value: Any) -> None:
        """One more in a list."""
        self.seen[name] = [*self.seen.get(name, []), value]


class Painter(DallePainter):
    """Knows every setting, and paints noise."""

    name, size, text_tokens, grid = "stand-in", SIDE, 6, 4
    graph: Any = "its stages"
    kinds: Any = KINDS

    def __init__(self, notes: Notes) -> None:
        self.notes, self.defaults, self.provenance = (
            notes,
            dict(DEFAULTS),
            {"checkpoint": "stand-in", "recipe": "dalle"},
        )
        self.ranker = SimpleNamespace(ranked=lambda text, seed, shown, **_: ranked(len(shown)))  # type: ignore[assignment]

    def tokens_over_limit(self, text: str) -> int:
        return max(0, len(text.split()) - self.text_tokens)

    def unknown_words(self, text: str) -> list[str]:
        return []

    def paint_each(self, prompts: Any, *, candidates: int = 16, keep: int | None = 4, **how: Any) -> Iterator[Any]:  # type: ignore[override]
        asked = [(one.text, one.seed) if isinstance(one, Prompt) else tuple(one) for one in prompts]
        seeds = [seed for _, seed in asked]
        self.notes("paint", prompts=asked, seeds=seeds, candidates=candidates, keep=keep, **how)
        self.notes.add("painted", {name: how[name] for name in DEFAULTS if name in how})
        yield from (ranked(candidates)[:keep] for _ in asked)

    def rank(self, prompt: Prompt, pictures: Sequence[Picture], **settings: Any) -> list[Ranked]:
        self.notes("rank", **settings)
        return ranked(len(pictures))

    def hole(self, picture: Picture, *, keep_rows: int | None = None, box: Any = None) -> Any:
        self.notes("hole", keep_rows=keep_rows, box=box)
        return np.ones((4, 4), bool)

    def complete(self, picture: Picture, prompt: str, hole: Any, **how: Any) -> list[Ranked]:
        self.notes("complete", prompt=prompt, **how)
        return ranked(2)

    def check_edits(self) -> None:
        pass

    used_settings = Inversion.used_settings

    def vary(self, picture: Picture, *, count: int, **how: Any) -> list[Ranked]:
        self._made("vary", count, count=count, **how)
        return ranked(count)

    def blend(self, one: Picture, other: Picture, *, count: int, **how: Any) -> list[Picture]:
        return self._made("blend", count, count=count, **how)

    def shift(self, picture: Picture, before: str, after: str, *, count: int, **how: Any) -> list[Picture]:
        return self._made("shift", count, before=before, after=after, count=count, **how)

    def reconstruct(self, picture: Picture, *, components: Sequence[int], **how: Any) -> list[Picture]:
        return self._made("reconstruct", len(components) or 1, components=components, **how)

    def edit(self, picture: Picture, mask: Any, prompt: str, **how: Any) -> list[Ranked]:
        self.notes("edit", prompt=prompt, size=picture.shape, painted=int(mask.paint.sum()), **how)
        return ranked(2)

    def _made(self, door: str, pictures: int, **how: Any) -> list[Picture]:
        self.notes(door, **how)
        return [picture(place) for place in range(pictures)]


def ranked(count: int) -> list[Ranked]:
    """Best first, and the best was drawn last."""
    return [Ranked(picture(k), 0, k, (1 + k) / 100) for k in reversed(range(count))]


class Upsampler:
    """Enlarges by repetition."""

    size, slots = 2 * SIDE, 1
    facts: dict[str, Any] = {}  # noqa: RUF012
    defaults: dict[str, Any] = {"augmentation": 0.2}  # noqa: RUF012

    def __init__(self, notes: Notes) -> None:
        self.notes, self.sampling = notes, SamplingConfig()

    def tuned(self, given: Mapping[str, Any]) -> SamplingConfig:
        return replace(self.sampling, **{name: given[name] for name in self.defaults if name in given})

    def tune(self, given: Mapping[str, Any]) -> None:
        self.sampling = self.tuned(given)
        self.notes("tune", sampling=self.sampling)

    def for_size(self, size: int) -> Upsampler:
        self.notes("making", size=size)
        return self

    def check_size(self, width: int, height: int) -> None:
        pass

    def enlarge(self, prompt: str, shown: Sequence[Ranked], watch: Any = None, previews: float = 0) -> list[Ranked]:
        self.notes("enlarge", prompt=prompt, sampling=self.sampling)
        return [Ranked(one.picture.repeat(2, 0).repeat(2, 1), one.seed, one.candidate, one.score) for one in shown]


class Data:
    """A few pictures with labels."""

    labels, templates, problems = ("a", "b"), ("a picture of {}",), ()

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> Example:
        return Example(picture(index), (f"picture {index}", "once more", "and again"), f"{index}", Labelled("a"))


class Encoder:
    """A CLIP that sees noise."""

    size, width, fingerprint, name = SIDE, 4, "0123", "stand-in"

    def pictures(self, pictures: Sequence[Picture]) -> Any:
        return np.stack([np.resize(one.astype(np.float32), 4) for one in pictures])

    def texts(self, texts: Sequence[str], cut: bool = False) -> Any:
        return np.ones((len(texts), 4), np.float32)


def all_doors(patch: pytest.MonkeyPatch) -> Notes:
    """Put a stand-in before everything that a command calls."""
    notes = Notes()
    painters(patch, notes)
    clips(patch, notes)
    trainers(patch, notes)
    exams(patch, notes)
    servers(patch, notes)
    sources(patch, notes)
    return notes


def painters(patch: pytest.MonkeyPatch, notes: Notes) -> None:
    def load(checkpoint: str, **how: Any) -> Painter:
        notes("load", checkpoint=checkpoint, **how)
        notes.add("loaded", checkpoint)
        found = Painter(notes)
        if checkpoint == "cascade":
            found.upsampler = Upsampler(notes)  # type: ignore[attr-defined]
        return found

    def load_upsampler(checkpoint: str, *, device: str, reader: Any = None) -> Upsampler:
        notes("upsampler", checkpoint=checkpoint, device=device)
        return Upsampler(notes)

    def export(checkpoint: str, out: Path) -> list[Any]:
        notes("export", checkpoint=checkpoint, out=out)
        return [SimpleNamespace(file="clip-text.onnx", difference=0.0)]

    def by_ray(choice: Any, asked: Any, texts: Any, out: Path, as_json: bool, strict: bool, workers: Any) -> None:
        notes("ray", workers=workers or "one a GPU")

    patch.setattr("pinxit.cli.paint_ray.paint_by_ray", by_ray)
    patch.setattr("pinxit.recipes.onnx_networks.export_onnx", export)
    patch.setattr("pinxit.api.load", load)
    patch.setattr("pinxit.api.load_upsampler", load_upsampler)


def clips(patch: pytest.MonkeyPatch, notes: Notes) -> None:
    def opened(name: str, device: str = "auto", activation: Any = None, engine: str = "torch", precision: str = "fp32"
               ) -> Encoder:  # fmt: skip
        notes("encoder", device=device, precision=precision, activation=activation)
        notes.add("encoders", str(name))
        return Encoder()

    def classify(self: Any, pictures: Any, labels: Any, *, templates: str, top: int) -> list[Any]:
        notes("classify", pictures=pictures, labels=labels, templates=templates, top=top)
        return [(Path("p.png"), [Guess("a", 0.9)])]

    def probe(self: Any, train: Path, test: Path, *, seed: int = 0) -> ProbeResult:
        notes("probe", train=train, test=test, seed=seed)
        return ProbeResult(1.0, 1.0, 1.0, {"a": 1.0}, None)  # type: ignore[arg-type]

    def audit(self: Any, folder: Path, labels: Any, group_by: str, **how: Any) -> Any:
        notes("audit", labels=labels, group_by=group_by, **how)
        rates = {"all": {"a": Rate(1, 2)}}
        return SimpleNamespace(before=rates, after=rates if how.get("add") else None)

    def index(self: Any, pictures: Any, folder: Path) -> Any:
        notes("index", pictures=pictures, folder=folder)
        return [], Problems()

    def search(self: Any, index: Any, sentence: str | None = None, *, like: Path | None = None, top: int = 12) -> Any:
        notes("search", sentence=sentence, like=like, top=top)
        return [Hit(Path("p.png"), 0.5)]

    facade, home = "pinxit.recipes.clip.facade.Clip", "pinxit.recipes.clip.encoder.ClipEncoder"
    patch.setattr(f"{home}.open", opened)
    for name, made in {"classify": classify, "probe": probe, "audit": audit, "index": index, "search": search}.items():
        patch.setattr(f"{facade}.{name}", made)
    patch.setattr(
        "pinxit.recipes.clip.index.PictureIndex.open",
        lambda folder: SimpleNamespace(model="remembered", activation=None, unstored=0),
    )


def trainers(patch: pytest.MonkeyPatch, notes: Notes) -> None:
    def train(run: Any, stages: Any = None, stop: Any = None) -> RunOutcome:
        minutes = None if stop.deadline is None else round((stop.deadline - time.monotonic()) / 60)
        started = getattr(run, "init", None)
        notes("train", folder=run.folder, device=run.device, progress=run.progress, stages=stages, minutes=minutes)
        notes("train", config=to_dict(run.config), init=None if started is None else started.recipe)
        return RunOutcome((), False, False)

    def judge(config: Any, out: Path, device: str, init: Any = None) -> Any:
        told = None if init is None else init.recipe
        notes("train", folder=out, device=device, config=to_dict(config), init=told)
        return SimpleNamespace(finished=True, signalled=False), out / "judge"

    from pinxit.recipes.initial_weights import open_start

    def opened(names: Any, activation: Any = None) -> Any:
        notes("start", names=names, activation=activation)
        return open_start(names, activation)

    def export(source: str, to: str, out: Path) -> list[Path]:
        notes("export", source=source, to=to, out=out)
        return [out]

    def row_encoder(**asked: Any) -> Any:
        notes("row_encoder", **asked)

    def encode(spec: str, encoder: Any, out: Path, progress: Any) -> list[Path]:
        notes("encode", spec=spec, out=out)
        return [out]

    def encode_by_ray(spec: str, asked: Any, out: Path, workers: int | None) -> list[Path]:
        notes("ray", workers=workers or "one a GPU", **asked)
        return [out]

    patch.setattr("pinxit.recipes.sidecars.row_encoder", row_encoder)
    patch.setattr("pinxit.cli.encode_ray.encode_by_ray", encode_by_ray)

    def index(spec: str, out: Path, progress: Any) -> list[Any]:
        notes("index", spec=spec, out=out)
        return [{"items": 1}]

    patch.setattr("pinxit.data.sidecars.encode_shards", encode)
    patch.setattr("pinxit.data.stream_index.index_shards", index)
    patch.setattr("pinxit.recipes.initial_weights.open_start", opened)
    patch.setattr("pinxit.recipes.export.export", export)
    for home in ("dalle.stages", "imagen.stages", "unclip.stages", "clip.run", "classifier"):
        patch.setattr(f"pinxit.recipes.{home}.train", train)

    def by_ray(command: Any, least: int, most: int, *_: Any) -> None:
        notes("ray", least=least, most=most)

    patch.setattr("pinxit.cli.train.by_ray.train_by_ray", by_ray)
    patch.setattr("pinxit.recipes.judge.judge.train", judge)
    for recipe in ("dalle", "imagen", "unclip"):
        patch.setattr(f"pinxit.recipes.{recipe}.estimate.table", lambda run, asked: "so many hours")


def servers(patch: pytest.MonkeyPatch, notes: Notes) -> None:
    def run(settings: Any) -> int:
        notes("run", settings=to_dict(settings))
        return 0

    def check(settings: Any) -> dict[str, Any]:
        notes("check", settings=to_dict(settings))
        return {"pinxit": "checked"}

    patch.setattr("pinxit.serve.server.run", run)
    patch.setattr("pinxit.serve.server.check", check)


def exams(patch: pytest.MonkeyPatch, notes: Notes) -> None:
    asked, famous = questions.questions, famous_exam.famous_questions

    def opened(name: str, device: str = "auto") -> Any:
        notes("judge", name=name, device=device)
        world = "gallery" if "gallery" in name else "small"
        detector = SimpleNamespace(config=SimpleNamespace(size=SIDE))
        detect = lambda shown: [Detections((), attributes=ATTRIBUTES)] * len(shown)  # noqa: E731
        return SimpleNamespace(
            world=world, attributes=ATTRIBUTES, hash="4567", device="cpu", detect=detect, detector=detector
        )

    def ask(exam: Any) -> Any:
        notes("exam", **to_dict(exam))
        return asked(exam)

    def ask_famous(exam: Any) -> Any:
        notes("exam", **to_dict(exam))
        return famous(exam)[:2]

    patch.setattr("pinxit.recipes.judge.judge.Judge.open", opened)
    patch.setattr("pinxit.evaluation.questions.questions", ask)
    patch.setattr("pinxit.evaluation.famous_exam.famous_questions", ask_famous)


def sources(patch: pytest.MonkeyPatch, notes: Notes) -> None:
    def source(spec: str, size: int, split: str = "train", **options: Any) -> Data:
        notes("source", spec=spec, size=size, split=split, **options)
        return Data()

    def sheet(shown: Any, texts: Any = None, columns: int | None = None, **_: Any) -> Picture:
        notes("sheet", count=len(shown), texts=texts, columns=columns)
        return picture()

    def write(data: Any, out: Path, count: Any, per_shard: int, form: str, workers: Any, progress: Any) -> Any:
        notes("write", out=out, count=count, per_shard=per_shard, form=form, workers=workers)
        return SimpleNamespace(items=1, shards=1)

    def check(data: Any, workers: Any, progress: Any) -> Any:
        notes("check", workers=workers)
        return SimpleNamespace(
            usable=1, captions=1, problems=Problems(Problem(f"item{k}", "broken") for k in range(30))
        )

    def named(data: Any, count: int, name: Any, watch: Any = None) -> float:
        notes("accuracy", count=count)
        return 0.5

    def zero_shot(encoder: Any, labels: Any, templates: Any) -> None:
        notes("zero_shot", labels=labels, templates=templates)

    def recalls(images: Any, texts: Any, captions: Any) -> dict[str, float]:
        notes("recalls", count=len(captions))
        return {f"{way}@{k}": 0.5 for way in ("picture", "caption") for k in (1, 5, 10)}

    for place, made in {
        "data.sources.open_source": source,
        "data.sources.open_labelled": source,
        "data.sheet.sheet": sheet,
        "data.shard_writer.write_shards": write,
        "data.check.check": check,
        "evaluation.accuracy.accuracy": named,
        "recipes.clip.zero_shot.ZeroShot": zero_shot,
        "evaluation.retrieval.recalls": recalls,
    }.items():
        patch.setattr(f"pinxit.{place}", made)
