"""For every option of every command: words that change it, and what must then be asked of whom (`doors`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pinxit.data.order import order
from pinxit.recipes.diffusion.config import SamplingConfig


class Holds:
    """Equal to whatever holds a part."""

    def __init__(self, part: Any) -> None:
        self.part = part

    def __eq__(self, other: object) -> bool:
        if isinstance(self.part, dict):
            return isinstance(other, dict) and all(_at(other, name) == value for name, value in self.part.items())
        return isinstance(other, str | list) and self.part in other

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"something with {self.part!r}"


def _at(config: Any, path: str) -> Any:
    for name in path.split("."):
        config = config[int(name)] if isinstance(config, list | tuple) else config[name]
    return config


@dataclass(frozen=True)
class Row:
    """`arguments` follow the command's usual ones, or stand `instead` of them."""

    option: str
    arguments: tuple[str, ...]
    expected: dict[str, Any]
    instead: bool = False


@dataclass(frozen=True)
class Command:
    """A command's usual arguments and its options."""

    usual: tuple[str, ...]
    rows: tuple[Row, ...]
    ends: tuple[str, ...] = ()  # exit codes besides 0, as text


def row(words: str, **expected: Any) -> Row:
    """ "--seed 7", and what must be asked, "__" for a dot; words before the option stand instead of the usual ones."""
    arguments = tuple(part.replace("_", " ") if part.endswith("_") else part for part in words.split())
    named = [part for part in arguments if part.startswith("--")]
    asked = {name.replace("__", "."): value for name, value in expected.items()}
    return Row(named[-1], arguments, asked, instead=not arguments[0].startswith("--"))


def config(**fields: Any) -> Holds:
    return Holds({name.replace("__", "."): value for name, value in fields.items()})


DEVICE = {"load": row("--device cpu", load__device="cpu"), "encoder": row("--device cpu", encoder__device="cpu")}
DEVICE |= {"judge": row("--device cpu", judge__device="cpu"), "train": row("--device cpu", train__device="cpu")}
DRAWN = (
    row("--candidates 5", paint__candidates=5),
    row("--keep 2", paint__keep=2),
    row("--guidance 2.5", paint__guidance=2.5),
    row("--temperature 0.5", paint__temperature=0.5),
    row("--set top_k=3", paint__top_k=3),
    row("--set top_p=0.5", paint__top_p=0.5),
    row("--set agreement=3", paint__agreement=3.0),
    row("--set guidance=4 --set temperature=0.5", paint__guidance=4.0, paint__temperature=0.5),
)
WRITTEN = (
    row("--out there", files=Holds("there/a-cat-")),
    row("--json", stdout=Holds('"candidate": 1, "score": 0.02')),
    row("--checkpoint other", load__checkpoint="other"),
    row("--int8", load__int8=True),
    DEVICE["load"],
)
LONG = "1 2 3 4 5 6 7".replace(" ", "_") + "_"
PAINT = Command(
    ("a cat", "--candidates", "2"),
    (
        *DRAWN,
        Row("--prompts", ("--prompts", "lines.txt"), {"paint.prompts": [("A red car", 0), ("b", 0)]}, instead=True),
        row("--seed 7", paint__prompts=[("a cat", 7)]),
        row("--recipe imagen", load__recipe="imagen", load__checkpoint="imagen-tiny"),
        row("--steps 3", paint__steps=3),
        row("--set steps=3", paint__steps=3),
        row("--set sampler=heun", paint__sampler="heun"),
        row("--set grid=karras", paint__grid="karras"),
        row("--set percentile=0.9", paint__percentile=0.9),
        row("--set spacing=smart50", paint__spacing="smart50"),
        row("--set spacing=10,10,3", paint__spacing="10,10,3"),
        row("--upscale 256 --set augmentation=0.3", tune__sampling=SamplingConfig(augmentation=0.3)),
        row("--ranker clip", load__ranker="clip"),
        row("--upscale 256", making__size=256, upsampler__checkpoint="imagen-tiny"),
        row("--upscale 256 --upsampler large", upsampler__checkpoint="large"),
        row("--compare", loaded=Holds("imagen-tiny"), load__ranker="tiny"),
        row("--engine ray", ray__workers="one a GPU"),
        row("--engine ray --workers 3", ray__workers=3),
        row(f"{LONG} --strict", error=Holds("1 token over the limit")),
        *WRITTEN,
    ),
)
COMPLETE = Command(
    ("p.png", "a cat", "--keep-rows", "2"),
    (
        *(
            Row(r.option, r.arguments, {k.replace("paint", "complete"): v for k, v in r.expected.items()})
            for r in DRAWN
        ),
        row("p.png a --keep-rows 3", hole__keep_rows=3),
        row("p.png a --box 1,2,3,4", hole__box=(1, 2, 3, 4)),
        row("--seed 7", complete__seed=7),
        row(f"p.png {LONG} --keep-rows 2 --strict", error=Holds("1 token over the limit")),
        *WRITTEN,
    ),
)


def manipulates(
    verb: str, *more: Row, seeded: bool = True, steps: str = "--ddim-steps 7", drawn: str = ""
) -> tuple[Row, ...]:
    """What the verbs that draw a picture anew have in common.

    `verb`: the door that they come to; `drawn`: what makes them draw by the painter's settings.
    """
    asked = [row("--seed 7", **{f"{verb}__seed": 7}), row(f"{drawn} --set guidance=4", **{f"{verb}__guidance": 4.0})]
    return (
        *(asked if seeded else ()),
        *([row(steps, **{f"{verb}__ddim_steps": 7})] if steps else ()),
        row("--checkpoint cascade --upscale 32", making__size=32),
        row("--out there", files=Holds("there/")),
        row("--json", stdout=Holds('"pictures": [')),
        row("--checkpoint other", load__checkpoint="other"),
        DEVICE["load"],
        *more,
    )


VARY = Command(
    ("p.png",),
    manipulates(
        "vary",
        row("--ddim-steps 7", error=Holds("--ddim-steps changes nothing without --eta")),
        row("--count 2", vary__count=2),
        row("--candidates 6", vary__candidates=6),
        row("--eta 0.3", vary__eta=0.3),
        steps="--eta 0.3 --ddim-steps 7",
    ),
)
BLEND = Command(
    ("p.png", "p.png"),
    manipulates("blend", row("--steps 3", blend__count=3), row("--fresh", blend__fresh=True), drawn="--fresh"),
)
SHIFT = Command(
    ("p.png", "a cat", "a dog"),
    manipulates("shift", row("--theta 0.3", shift__most=0.3), row("--steps 3", shift__count=3), seeded=False),
)
RECONSTRUCT = Command(
    ("p.png",),
    manipulates("reconstruct", row("--components 2,4", reconstruct__components=[2, 4]), drawn="--components 2,4"),
)
EDIT = Command(
    ("p.png", "a cat", "--mask", "m.png"),
    (
        *(one for one in manipulates("edit", steps="") if one.option != "--json"),
        row("--mask n.png", edit__painted=64),
        row("p.png a --outpaint 1,2,3,4", edit__size=(16 + 6, 16 + 4, 3)),
        row("--candidates 5", edit__candidates=5),
        row("--keep 2", edit__keep=2),
        row("--guidance 2.5", edit__guidance=2.5),
        row("--json", stdout=Holds('"candidate": 1, "score": 0.02')),
        row(f"p.png {LONG} --mask m.png --strict", error=Holds("1 token over the limit")),
    ),
)
CLIP = (
    row("--checkpoint other", encoders=["other"]),
    row("--activation gelu", encoder__activation="gelu"),
    DEVICE["encoder"],
)
BF16 = row("--bf16", encoder__precision="bf16")
CLASSIFY = Command(
    ("p.png", "--labels", "a,b"),
    (
        row("--labels C,d", classify__labels=["C", "d"]),
        row("p.png --labels-file lines.txt", classify__labels=["A red car", "b"]),
        row("--templates label", classify__templates="label"),
        row("--top 2", classify__top=2),
        row("--json", stdout=Holds('"share": 0.9')),
        BF16,
        *CLIP,
    ),
)
PROBE = Command(
    ("train", "test"), (row("--json", stdout=Holds('"accuracy": 1.0')), row("--seed 3", probe__seed=3), *CLIP)
)
AUDIT = Command(
    (".", "--labels", "a,b", "--group-by", "age"),
    (
        row("--labels C,d", audit__labels=["C", "d"]),
        row("--group-by place", audit__group_by="place"),
        row("--table t.csv", audit__table=Path("t.csv")),
        row("--add fox", audit__add=["fox"]),
        row("--templates label", audit__templates="label"),
        row("--json", stdout=Holds('"share": 0.5')),
        *CLIP,
    ),
)
INDEX = Command(("p.png", "--out", "i"), (row("--out j", index__folder=Path("j")), BF16, *CLIP))
FIND = Command(
    ("i", "fox"),
    (
        row("i --like p.png", search__like=Path("p.png")),
        row("--top 3", search__top=3),
        row("--out s.png", files="s.png"),
        row("--json", stdout=Holds('"score": 0.5')),
        *CLIP,
    ),
)
TRAIN = (
    row("--out there", train__folder=Path("there")),
    row("--set seed=7", train__config=config(seed=7)),
    DEVICE["train"],
    row("--engine ray", ray__most=0, train__config=None),
    row("--engine ray --workers 2-4", ray__least=2, ray__most=4),
)
TIMED = (*TRAIN, row("--minutes 5", train__minutes=5), row("--quiet", train__progress=False))
STAGED = (*TIMED, row("--stages clip,checkpoint", train__stages=["clip", "checkpoint"]))
RUN = ("--out", "run")
TRAIN_JUDGE = Command(
    RUN,
    (
        *TRAIN,
        row("--data world:full", train__config=config(world="full")),
        row("--images 64", train__config=config(plan__images=64)),
        row("--seed 3", train__config=config(seed=3)),
        row("--init-from judge", train__init="judge"),
    ),
)
TRAIN_CLIP = Command(
    RUN,
    (
        *STAGED,
        row("--preset nano", train__config=config(clip__text__layers=1)),
        row("--data folder", train__config=config(data__source="folder")),
        row("--pictures 9000", train__config=config(data__pictures=9000)),
        row("--init-from tiny", train__init="dalle"),
        row("--lora 4", train__config=config(plan__lora=4)),
        row("--init-from tiny --activation gelu", start__activation="gelu"),
    ),
)
COSTS = row("--dry-run", stdout="so many hours\n", train__config=None)
TRAIN_IMAGEN = Command(
    RUN,
    (
        *STAGED,
        row("--preset nano", train__config=config(stages__0__size=16)),
        row("--data folder", train__config=config(data__source="folder")),
        row("--pictures 9000", train__config=config(stages__0__pictures=9000)),
        row("--text-encoder learned", train__config=config(text__encoder="learned")),
        row("--init-from imagen-tiny", train__init="imagen"),
        row("--lora 4", train__config=config(stages__0__plan__lora=4, stages__1__plan__lora=4)),
        COSTS,
    ),
)
TRAIN_UNCLIP = Command(
    RUN,
    (
        *STAGED,
        row("--preset nano", train__config=config(decoder__size=16)),
        row("--data folder", train__config=config(data__source="folder")),
        row("--pictures 9000", train__config=config(decoder__pictures=9000)),
        row("--clip other", train__config=config(clip="other")),
        row("--init-from imagen-tiny", train__init="imagen"),
        row(
            "--preset nano --lora 4",
            train__config=config(decoder__plan__lora=4, priors__0__plan__lora=4, upsamplers__0__plan__lora=4),
        ),
        COSTS,
    ),
)
TRAIN_CLASSIFIER = Command(
    RUN,
    (
        *TIMED,
        row("--data drawings:small", train__config=config(source="drawings:small")),
        row("--pictures 9000", train__config=config(pictures=9000)),
    ),
)
TRAIN_DALLE = Command(
    RUN,
    (
        *STAGED,
        row("--preset nano", train__config=config(transformer__depth=2)),
        row("--data folder", train__config=config(data__source="folder")),
        row("--pictures 9000", train__config=config(data__pictures=9000)),
        row("--init-from tiny", train__init="dalle"),
        row("--lora 4", train__config=config(plans__dvae__lora=4, plans__transformer__lora=4, plans__clip__lora=4)),
        row("--preset nano --init-from tiny", train__config=config(transformer__depth=10, data__pictures=64)),
        row("--preset nano --init-from tiny --grow", train__config=config(transformer__depth=2)),
        COSTS,
    ),
)
EXAM = (
    row("--checkpoint other", load__checkpoint="other"),
    row("--judge other", judge__name="other"),
    row("--language zh", exam__language="zh"),
    row("--out r.json", files="r.json"),
    row("--sheet s.png", files="s.png"),
    DEVICE["judge"],
)
WORLD = (
    *EXAM,
    row("--seed 3", exam__seed=3, paint__seeds=[3, 4]),
    row("--split seen", exam__split="seen"),
    row("--prompts 3", exam__prompts=3),
    row("--words in-vocabulary", exam__words="in-vocabulary"),
)
SET = row("--set guidance=7", paint__guidance=7, rank__guidance=7)
EVAL_WORLD = Command(
    ("--prompts", "2"),
    (
        *WORLD,
        SET,
        row("--candidates 6", paint__candidates=6),
        row("--world gallery", exam__preset="gallery", judge__name="judge-gallery"),
        row("--judge-only", paint__candidates=None),
    ),
)
EVAL_FAMOUS = Command(
    ("--seeds", "1", "--candidates", "5", "--judge", "gallery"),
    (
        *(
            one if one.option != "--judge" else row("--judge gallery-other", judge__name="gallery-other")
            for one in EXAM
        ),
        SET,
        row("--candidates 6", paint__candidates=6),
        row("--seeds 2", exam__seeds=2, paint__seeds=[0, 1]),
        row("--seed 3", exam__seed=3, paint__seeds=[3, 3]),
    ),
)
EVAL_SWEEP = Command(
    ("--vary", "guidance=1,2", "--prompts", "2"),
    (
        *WORLD,
        row("--vary top_k=3", painted=[{"guidance": 1, "top_k": 3}, {"guidance": 2, "top_k": 3}]),
        row("--set steps=3", painted=[{"guidance": 1, "steps": 3}, {"guidance": 2, "steps": 3}]),
        row("--checkpoint cascade --upscale", enlarge__prompt=Holds("a")),
        row("--plot p2.png", files="p2.png"),
    ),
)
LABELLED = (
    row("--templates label", zero_shot__templates=("{}",)),
    row("--pictures 7", accuracy__count=7),
    row("--json", stdout=Holds('"data": ')),
    DEVICE["encoder"],
)
EVAL_LABELS = Command(
    ("fashion-mnist", "--checkpoint", "one"),
    (*LABELLED, row("--checkpoint two", encoders=["one", "two"]), row("--split train", source__split="train")),
)
EVAL_SHIFT = Command(
    ("--clip", "one", "--classifier", "two"),
    (
        *LABELLED,
        row("--clip three", encoders=["two", "two", "three", "three"]),
        row("--classifier three", encoders=["three", "three", "one", "one"]),
        row("--data drawings:small", source__spec="drawings:small"),
    ),
)
EVAL_RETRIEVAL = Command(
    ("world:small", "--pictures", "10"),
    (
        row("--checkpoint other", encoders=["other"]),
        row("--split unseen", source__split="unseen"),
        row("--pictures 12", recalls__count=12),
        row("--json", stdout=Holds('"pictures": 10')),
        DEVICE["encoder"],
    ),
)
SOURCE = (
    row("--size 32", source__size=32),
    row("--split unseen", source__split="unseen"),
    row("--language zh", source__language="zh"),
    row("--names many", source__names="many"),
    row("--seed 3", source__seed=3),
)
PREVIEW = Command(
    ("world:small",),
    (
        *SOURCE,
        row("--count 3", sheet__count=3),
        row("--out s.png", files="s.png"),
        row("--captions 2", sheet__texts=Holds("picture 3\nonce more")),
        row("--columns 5", sheet__columns=5),
        row("folder --seed 3", sheet__texts=[f"picture {order(place, 20, 3)}" for place in range(20)]),
    ),
)
BUILD = Command(
    ("world:small", "--out", "o"),
    (
        *SOURCE,
        row("--out there", write__out=Path("there")),
        row("--count 9", write__count=9),
        row("--per-shard 9", write__per_shard=9),
        row("--format webp", write__form="webp"),
        row("--workers 3", write__workers=3),
    ),
)
CHECK = Command((".",), (row("--workers 3", check__workers=3), row("--all", stderr=Holds("item29"))), ends=("1",))
RECIPES = Command(
    (),
    (
        row("--graph imagen", stdout="its stages\n", load__checkpoint="imagen-tiny"),
        row("--settings dalle", stdout=Holds("top_k=0\n"), load__checkpoint="tiny"),
        row("--graph other --device cpu", load__device="cpu"),
    ),
)
PLAN = Command(
    ("clip/nano",),
    (
        row("--gpus 2", stdout=Holds("on 2 x h100")),
        row("--kind a100", stdout=Holds("8 x a100 ")),
        row("--share 0.5", stdout=Holds("at 50% of the peak")),
        row("--set plan.images=77", stdout=Holds(" 77 ")),
    ),
)
ENCODE = Command(
    ("shards", "--with", "text", "--model", "minilm", "--out", "here"),
    (
        row("shards --model tiny --out here --with clip", row_encoder__by="clip"),
        row("shards --with text --out here --model my-t5", row_encoder__model="my-t5"),
        row("shards --with text --model minilm --out there", encode__out=Path("there")),
        row("--length 20", row_encoder__length=20),
        row("--padded", row_encoder__padded=True),
        row("--spell", row_encoder__spell=True),
        row("--script all", row_encoder__script="all"),
        row("--device cpu", row_encoder__device="cpu"),
        row("--script all --engine ray", ray__workers="one a GPU", ray__script="all", row_encoder__by=None),
        row("--engine ray --workers 3", ray__workers=3, row_encoder__by=None),
    ),
)
INDEX_SHARDS = Command(
    ("shards", "--out", "here"),
    (row("others --out here", index__spec="others"), row("--out there", index__out=Path("there"))),
)
EXPORT = Command(
    ("tiny", "--to", "onnx"),
    (
        row("other --to onnx", export__out=Path("other-onnx"), export__checkpoint="other"),
        row("runs/v1.5 --to onnx", export__out=Path("v1.5-onnx"), export__checkpoint="runs/v1.5"),
        row("--out there", export__out=Path("there")),
        Row(
            "--to", ("runs/clip", "--to", "peft"), {"export.to": "peft", "export.out": Path("clip-peft")}, instead=True
        ),
    ),
)
SERVE = Command(
    (),
    (
        row("--recipes imagen,dalle", run__settings=config(recipes=["imagen", "dalle"])),
        row("--host 0.0.0.0", run__settings=config(host="0.0.0.0")),
        row("--port 9", run__settings=config(port=9)),
        row("--api-keys lines.txt", run__settings=config(api_keys="lines.txt")),
        row("--api-keys keys --new-key alice", files=Holds("keys"), stdout=Holds("pinxit-"), run__settings=None),
        row("--data here", run__settings=config(data="here")),
        row("--device cpu", run__settings=config(device="cpu")),
        row("--fetch-from a.example,*.b.example", run__settings=config(fetch_from=["a.example", "*.b.example"])),
        row("--engine ray", run__settings=config(engine="ray")),
        row("--config lines.txt", error=Holds("lines.txt is not a TOML file")),
        row("--set budget_seconds=5", run__settings=config(budget_seconds=5.0)),
        row("--check", check__settings=config(port=8000), stdout='{"pinxit": "checked"}\n', run__settings=None),
        row("--show-config", stdout=Holds("port = 8000\n"), run__settings=None),
    ),
)
COMMANDS = {
    "paint": PAINT,
    "complete": COMPLETE,
    "edit": EDIT,
    "vary": VARY,
    "blend": BLEND,
    "shift": SHIFT,
    "reconstruct": RECONSTRUCT,
    "recipes": RECIPES,
    "plan": PLAN,
    "export": EXPORT,
    "serve": SERVE,
    "classify": CLASSIFY,
    "probe": PROBE,
    "audit": AUDIT,
    "search index": INDEX,
    "search find": FIND,
    "train judge": TRAIN_JUDGE,
    "train clip": TRAIN_CLIP,
    "train imagen": TRAIN_IMAGEN,
    "train classifier": TRAIN_CLASSIFIER,
    "train dalle": TRAIN_DALLE,
    "train unclip": TRAIN_UNCLIP,
    "eval world": EVAL_WORLD,
    "eval famous": EVAL_FAMOUS,
    "eval sweep": EVAL_SWEEP,
    "eval labels": EVAL_LABELS,
    "eval shift": EVAL_SHIFT,
    "eval retrieval": EVAL_RETRIEVAL,
    "data encode": ENCODE,
    "data index": INDEX_SHARDS,
    "data preview": PREVIEW,
    "data build": BUILD,
    "data check": CHECK,
}
