"""Training from tar shards beside training from a bank: `python benchmarks/streams.py --pictures 200000 --seconds 40`.

Both hold the same pictures (a few thousand different ones of the built-in world, repeated) and train the same CLIP, a
few seconds each in turns. The last line is JSON: pictures a second of both and their `ratio`, the median over turns;
`cpu_ratio`, that of pictures per second of the process's time on all cores, which other work on the machine does not
change; and `stream_mib`, how much the process grew by streaming above what model, optimiser and bank took. With
`--folder` what was written is used again.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import statistics
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pinxit.data.bank import Bank, build_bank
from pinxit.data.sources import open_source
from pinxit.data.stream_builder import build_stream
from pinxit.data.streams import Stream
from pinxit.recipes.clip.presets import preset
from pinxit.recipes.clip.task import ClipTask
from pinxit.text.tokenizers import Tokenizer
from pinxit.training.optim import adamw
from pinxit.training.parallel import Ranks
from pinxit.training.precision import autocast, keep_freed_memory
from pinxit.training.prefetch import prefetch

PER_SHARD = 2000


def write(folder: Path, different: int, pictures: int, size: int) -> None:
    """`pictures` in shards of PER_SHARD, and a bank of the different ones."""
    if (folder / "shards/done").is_file():
        return
    bank = build_bank(open_source("world:small", size), different, folder / "bank")
    files = []
    for index in range(len(bank)):
        data = io.BytesIO()
        Image.fromarray(np.array(bank.pictures[index])).save(data, "png")
        files.append((data.getvalue(), "\n".join(bank.captions[index]).encode()))
    (folder / "shards").mkdir(exist_ok=True)
    for first in range(0, pictures, PER_SHARD):
        with tarfile.open(folder / f"shards/{first // PER_SHARD:05d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for number in range(first, min(first + PER_SHARD, pictures)):
                for kind, content in zip(("png", "txt"), files[number % len(files)], strict=True):
                    member = tarfile.TarInfo(f"{number:09d}.{kind}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    (folder / "shards/done").touch()


def training(pictures: Bank | Stream, tokenizer: Tokenizer, name: str) -> Iterator[int]:
    """Train a CLIP on them; yields how many pictures an update was."""
    config = preset(name)
    plan, about = config.plan, replace(config.training, group=1, held_out=0)
    task = ClipTask(about, pictures, tokenizer)
    optimiser, device = adamw(task.modules(), plan), torch.device("cpu")
    with prefetch(task, plan, 0, 2**40, device, Ranks()) as batches:
        for pieces in batches:
            for rows, batch in pieces:
                with autocast(plan, device):
                    loss, _ = task.loss(batch, rows)
                torch.autograd.backward(loss)
            optimiser.step()
            optimiser.zero_grad()
            yield plan.batch


def rate(run: Iterator[int], seconds: float) -> tuple[float, float]:
    """Pictures a second, and a second of the process's own time, over at least so many seconds."""
    done, start, worked = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < seconds or not done:
        done += next(run)
    return done / (time.perf_counter() - start), done / (time.process_time() - worked)


def measure(folder: Path, pictures: int, seconds: float, name: str, turns: int = 4) -> dict[str, float]:
    """All figures."""
    size = preset(name).data.size
    write(folder, min(pictures, 4000), pictures, size)
    bank = Bank.open(folder / "bank")
    start = time.perf_counter()
    stream = build_stream(str(folder / "shards"), size, None, folder / "stream")
    looked = time.perf_counter() - start
    tokenizer = Tokenizer.train((text for texts in bank.captions[:1000] for text in texts), preset(name).vocab)
    keep_freed_memory()
    ours, theirs = training(stream, tokenizer, name), training(bank, tokenizer, name)
    rate(theirs, seconds / 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    next(ours)
    pairs = [(rate(ours, seconds / turns / 2), rate(theirs, seconds / turns / 2)) for _ in range(turns)]
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    ratio, cpu = (statistics.median(one[k] / other[k] for one, other in pairs) for k in (0, 1))
    streamed, banked = (statistics.median(one[0] for one in each) for each in zip(*pairs, strict=True))
    figures = {"pictures": float(len(stream)), "look_s": looked, "stream_per_s": streamed, "bank_per_s": banked}
    return figures | {"ratio": ratio, "cpu_ratio": cpu, "stream_mib": grown}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=20.0, help="for both together")
    parser.add_argument("--preset", default="tiny", help="of pinxit train clip")
    parser.add_argument("--folder", type=Path, help="where the data are written, to be used again")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        found = measure(folder, asked.pictures, asked.seconds, asked.preset)
    for name, value in found.items():
        print(f"{name:>14}  {value:,.3f}")
    print(json.dumps({name: round(value, 4) for name, value in found.items()}))


if __name__ == "__main__":
    main()
