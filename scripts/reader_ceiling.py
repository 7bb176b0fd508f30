"""How many sentences of held-out nouns a frozen reader's vectors tell the things of: what a painter's art can't mend.

    python -m scripts.reader_ceiling minilm --prompts 480 --noise 2

A small classifier learns from captions, read by a frozen text encoder, which of the world's things they name: with the
usual names, or with many (`data.names`), and with noise on the vectors as in `text.noise`. Then it reads the exam's
sentences, in their usual nouns (`in-vocabulary`) and in nouns that no caption holds (`held-out`). One counts as
understood when all its things are the likeliest, as many as it names. Another reader of the same vectors may find a
little more.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from statistics import mean

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pinxit.evaluation.questions import Exam, Question, Words, questions
from pinxit.functional.draws import OneStream
from pinxit.recipes.diffusion.inputs import blurred
from pinxit.text.encoders import TextEncoder, open_text_encoder
from pinxit.world.plan import meaning
from pinxit.world.scene import Scene
from pinxit.world.tasks import TASKS
from pinxit.world.vocabulary import lexicon
from pinxit.world.world import World

LENGTH = 48  # tokens read, as in preset `tiny`
AT_ONCE = 64
WORDS: tuple[Words, ...] = ("in-vocabulary", "held-out")
NOUNS = sorted(lexicon("small").nouns)


def main() -> None:
    """Print a line for each kind of names and of words."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", help='"minilm", a folder or hub:OWNER/NAME')
    parser.add_argument("--prompts", type=int, default=480)
    parser.add_argument("--captions", type=int, default=8_000, help="to learn from")
    parser.add_argument("--steps", type=int, default=1_500, help="of 256 captions")
    parser.add_argument("--noise", type=float, default=2.0, help="on the vectors, most of it in times their size")
    options = parser.parse_args()
    reader = open_text_encoder(options.encoder, length=LENGTH)
    exams = {words: asked_in(words, options.prompts) for words in WORDS}
    texts = {words: read(reader, [one.prompt for one in asked]) for words, asked in exams.items()}
    print(f"{options.encoder}: sentences of {options.prompts} `unseen` prompts whose things are all understood")
    for names in ("usual", "many"):
        world = World("small", language="en", names=names)
        said = read(reader, [world.captions(index)[1 + index % 3] for index in range(options.captions)])
        named = named_in([world.scene(index) for index in range(options.captions)])
        net = learned(*said, named, options.steps, options.noise)
        for words in WORDS:
            by_task = understood(net, exams[words], *texts[words])
            told = ", ".join(f"{task} {share:.2f}" for task, share in by_task.items())
            print(f"{names} names, {words} nouns: {mean(by_task.values()):.2f} ({told})", flush=True)


class Namer(nn.Module):
    """Which things a sentence names: what each token says, and of a thing what the token that says most of it says."""

    def __init__(self, width: int, hidden: int = 256) -> None:
        super().__init__()
        self.says = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, len(NOUNS))
        )

    def forward(self, sequence_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        """Logits [B, N] of the `NOUNS`."""
        found: Tensor = self.says(sequence_BLD).masked_fill(~mask_BL[:, :, None], -1e4).logsumexp(1)
        return found


def asked_in(words: Words, prompts: int) -> list[Question]:
    """The exam's questions of GenEval's six tasks, in usual nouns or in others."""
    return questions(Exam(words=words, prompts=prompts, tasks=TASKS))


@torch.inference_mode()
def read(reader: TextEncoder, sentences: Sequence[str]) -> tuple[Tensor, Tensor]:
    """The encoder's vectors float16 [T, L, D] and mask [T, L]."""
    found = reader.encode(sentences, AT_ONCE)
    return found.sequence.half(), found.mask


def named_in(scenes: Sequence[Scene]) -> Tensor:
    """float32 [T, N]: 1 where the scene has the noun's thing."""
    held = [{part.name for part in meaning(scene).parts} for scene in scenes]
    return torch.tensor([[float(noun in names) for noun in NOUNS] for names in held])


def learned(sequence_TLD: Tensor, mask_TL: Tensor, named_TN: Tensor, steps: int, noise: float) -> Namer:
    """A classifier that has learned from the captions; the same one every time."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    net = Namer(sequence_TLD.shape[2])
    optimiser = torch.optim.AdamW(net.parameters(), 1e-3)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        rows = torch.randint(len(sequence_TLD), (256,), generator=generator)
        mask_BL = mask_TL[rows]
        noisy = blurred(sequence_TLD[rows].float(), mask_BL, noise, OneStream(generator))
        loss = F.binary_cross_entropy_with_logits(net(noisy, mask_BL), named_TN[rows])
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        falling.step()
    return net.eval()


@torch.inference_mode()
def understood(net: Namer, asked: Sequence[Question], sequence_TLD: Tensor, mask_TL: Tensor) -> dict[str, float]:
    """By task, the share of the exam's sentences whose things are all among the likeliest, as many as there are."""
    logits_TN = net(sequence_TLD.float(), mask_TL)
    right = defaultdict(list)
    for one, logits_N, named_N in zip(asked, logits_TN, named_in([one.scene for one in asked]), strict=True):
        likeliest = logits_N.topk(int(named_N.sum())).indices
        right[one.task].append(bool(named_N[likeliest].all()))
    return {task: mean(found) for task, found in right.items()}


if __name__ == "__main__":
    main()
