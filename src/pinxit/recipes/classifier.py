"""A supervised classifier: the network that a zero-shot CLIP is measured against (Radford et al. 2021, section 3.1.5).

It sees the same labelled pictures as CLIP and no captions. Shapes: B pictures, S side, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pinxit.config import to_dict
from pinxit.data.bank import Bank
from pinxit.data.labels import label_in
from pinxit.data.sources import open_labelled
from pinxit.data.transforms import square_crop, to_tensor
from pinxit.errors import UsageError
from pinxit.models.resnet import ResNet, ResNetConfig
from pinxit.models.torch_defaults import torch_defaults, torch_defaults_for_loading, torch_defaults_for_training
from pinxit.pipelines.rank import encode_fixed
from pinxit.recipes.batches import Augment, augmented, unit_range
from pinxit.recipes.staging import Run, RunOutcome, fit_stage, run_in_order, store_bank
from pinxit.schema import Count, Depth, Seed, Whole
from pinxit.training import state as states
from pinxit.training.draws import key, uniforms
from pinxit.training.initial import network
from pinxit.training.loop import Batch
from pinxit.training.plan import Plan
from pinxit.training.precision import pick_device
from pinxit.training.rows import Rows
from pinxit.training.runs import enter
from pinxit.training.stop import Stop
from pinxit.weights.checkpoint import Checkpoint, Part, save_checkpoint

if TYPE_CHECKING:
    from pinxit.types import Picture

RECIPE, PART = "classifier", "resnet"
STAGES = ("pictures", "classifier", "checkpoint")
BATCH = 64  # pictures classified together


@dataclass(frozen=True, slots=True)
class ClassifierConfig:
    """Everything that a run of `pinxit train classifier` depends on."""

    source: str = "fashion-mnist"
    size: Count = 32
    pictures: Count = 60_000
    held_out: Whole = 2_000  # at the end, never trained on
    width: Count = 64
    blocks: tuple[Depth, ...] = (2, 2, 2, 2)  # ResNet-18
    augment: Augment = field(default_factory=lambda: Augment(1 / 16, mirror=True))
    plan: Plan = field(
        default_factory=lambda: Plan(
            360_000, 128, lr=1e-3, warmup=12_800, decay=0.05, clip=1.0, ema=0.998, channels_last=True
        )
    )
    seed: Seed = 0

    def __post_init__(self) -> None:
        if self.held_out >= self.pictures:
            raise UsageError(f"held_out={self.held_out} must be below pictures={self.pictures}: set both.")


class ClassifierTask:
    """Predict the label of a picture, by cross-entropy."""

    name = "classifier"
    pieces = "settled"  # batch norm's statistics depend on how a batch is split

    def __init__(self, config: ClassifierConfig, labels: Sequence[str], bank: Bank | None = None) -> None:
        self.config, self.labels = config, tuple(labels)
        if bank is not None and len(bank) <= config.held_out:
            raise UsageError(f"of {len(bank)} pictures {config.held_out} are held out (held_out): none are left.")
        self.bank = None if bank is None else bank.holding_out(config.held_out)
        shape = ResNetConfig(len(self.labels), config.size, config.width, config.blocks)
        self.resnet = network(lambda: ResNet(shape), config.seed, "classifier")
        places = {label: place for place, label in enumerate(self.labels)}
        known = (
            [] if bank is None else [places[label_in(bank.facts(row), f"picture {row}")] for row in range(len(bank))]
        )
        self.classes = np.array(known, dtype=np.int64)

    def modules(self) -> dict[str, nn.Module]:
        return {PART: self.resnet}

    def batch(self, rows: Rows) -> Batch:
        """Pictures uint8 [B, S, S, 3] and classes int64 [B]."""
        assert self.bank is not None
        found = self.bank.order(rows, key(self.config.seed, "classifier order"))
        chances = uniforms(self.config.seed, "classifier augment", rows, 3)
        pictures = augmented(np.asarray(self.bank.pictures[found]), self.config.augment, chances)
        return {
            "pictures": torch.from_numpy(np.ascontiguousarray(pictures)),
            "classes": torch.from_numpy(self.classes[found]),
        }

    def loss(self, batch: Batch, rows: Rows) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """Cross-entropy in nats."""
        logits_BK = self.resnet(unit_range(batch["pictures"])).float()
        loss = F.cross_entropy(logits_BK, batch["classes"])
        return loss, {"right": (logits_BK.detach().argmax(1) == batch["classes"]).float().mean()}

    def scores(self) -> dict[str, float]:
        """Accuracy on the pictures held out."""
        if not self.config.held_out or self.bank is None:
            return {}
        rows = np.arange(len(self.bank) - self.config.held_out, len(self.bank))
        device = next(self.resnet.parameters()).device
        parts = (self.bank.pictures[some] for some in np.array_split(rows, -(-len(rows) // 256)))
        predicted = torch.cat([self.resnet(to_tensor(part).to(device)).argmax(1).cpu() for part in parts]).numpy()
        return {"held_out": float((predicted == self.classes[rows]).mean())}

    def preview(self) -> Picture | None:
        """None: the log has the accuracy, and there is no picture to show."""
        return None


class ClassifierRun(Run[ClassifierConfig]):
    """One run folder and how this process works on it."""

    def enter(self) -> None:
        """Store the config, or raise UsageError for one that differs from what finished or running stages have used."""
        begun, trained = (lambda: self.path("pictures").exists()), (lambda: self.started("classifier"))
        used = dict.fromkeys(("source", "size", "pictures"), begun)
        used |= dict.fromkeys(("held_out", "width", "blocks", "augment", "plan", "seed"), trained)
        enter(self.folder, RECIPE, self.config, used)


@torch_defaults_for_training()
def train(run: ClassifierRun, stages: Sequence[str] = STAGES, stop: Stop | None = None) -> RunOutcome:
    """Run `stages` in their order until `stop` says to end.

    Raises UsageError for an unknown stage or a changed config.
    """
    config = run.config
    source = open_labelled(config.source, config.size, "train")

    def step(name: str, stop: Stop) -> None:
        if name == "pictures":
            store_bank(run, "pictures", source, config.pictures, stop)
        elif name == "classifier":
            fit_stage(run, name, lambda: ClassifierTask(config, source.labels, run.bank()), stop)
        else:
            _checkpoint(run, source.labels)

    return run_in_order(run, STAGES, stages, step, lambda name: name != "checkpoint" and run.finished(name), stop)


def _checkpoint(run: ClassifierRun, labels: Sequence[str]) -> None:
    config, progress = run.config, states.read_progress(run.path("classifier"))
    shape = ResNetConfig(len(labels), config.size, config.width, config.blocks)
    facts = {"data": config.source, "images": progress.images, "hours": round(progress.seconds / 3600, 3)}
    card = f"""# A ResNet-18 for {config.source}

Tells {len(labels)} labels apart. Trained by `pinxit train classifier` on
{config.pictures - config.held_out:,} pictures, {progress.images:,} seen, seed {config.seed}.
"""
    part = Part(shape, states.read_weights(run.path("classifier"), PART))
    settings = {"labels": list(labels)}
    facts |= {"plan": to_dict(config.plan), "seed": config.seed}
    save_checkpoint(run.path("checkpoint"), RECIPE, {PART: part}, provenance=facts, settings=settings, card=card)


class Classifier:
    """A trained classifier, for inference."""

    @torch_defaults_for_loading()
    def __init__(self, checkpoint: Checkpoint, device: str = "auto") -> None:
        self.device, self.name = pick_device(device), str(checkpoint.folder)
        model = ResNet(checkpoint.config(PART, ResNetConfig))
        checkpoint.load_into(PART, model)
        self.model = model.to(self.device).eval().requires_grad_(False)
        self.labels, self.size = tuple(checkpoint.settings["labels"]), model.config.size

    @torch_defaults()
    @torch.inference_mode()
    def names(self, pictures: Sequence[Picture]) -> list[str]:
        """The likeliest label of each picture."""
        fitting = np.stack([square_crop(picture, self.size, "bicubic") for picture in pictures])
        logits_NK = encode_fixed(lambda x: self.model(x.to(self.device)).cpu(), to_tensor(fitting), BATCH)
        return [self.labels[place] for place in logits_NK.argmax(1).tolist()]
