"""Fashion-MNIST: 70,000 product photographs of ten kinds of clothes (Xiao et al. 2017, arXiv 1708.07747), MIT licence.

Its four files are read from any folder; Debian's package `dataset-fashion-mnist` installs them.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from pinxit.data.labels import Labelled
from pinxit.data.transforms import square_crop
from pinxit.errors import DataError, UsageError
from pinxit.types import Example

FOLDER = Path("/usr/share/datasets/fashion-mnist")
FILES = {"train": "train", "test": "t10k"}
MAGIC = {1: 0x00000801, 3: 0x00000803}  # unsigned bytes in one and in three dimensions
LABELS = (
    "t-shirt", "pair of trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
CAPTIONS = (
    "a photo of a {}.",
    "a {}.",
    "a product photo of a {}.",
    "a black and white photo of a {}.",
    "a small picture of one {}.",
    "this {} is for sale.",
)
"""The captions of a picture, made of its label, as the dataset has none."""


class FashionMnist:
    """Split "train" (60,000) or "test" (10,000) with pictures enlarged to `size`.

    Raises DataError when the files are missing or damaged, UsageError for another split.
    """

    labels, templates = LABELS, CAPTIONS

    def __init__(self, size: int, split: str = "train", folder: Path | str | None = None) -> None:
        if split not in FILES:
            raise UsageError(f"fashion-mnist has no split '{split}'; choose train or test.")
        self.size, self.split, self.folder = size, split, Path(folder or FOLDER)
        self._pictures = self._read("images-idx3", 3)
        self._classes = self._read("labels-idx1", 1)
        if len(self._pictures) != len(self._classes) or self._classes.max(initial=0) >= len(LABELS):
            raise DataError(f"the files of Fashion-MNIST in {self.folder} do not belong together; install them again.")

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"item {index} of {len(self)}.")
        label = LABELS[int(self._classes[index])]
        picture = square_crop(np.repeat(self._pictures[index][:, :, None], 3, 2), self.size, "bicubic")
        captions = tuple(caption.format(label) for caption in CAPTIONS)
        return Example(picture, captions, f"fashion-mnist-{self.split}-{index:05d}", Labelled(label))

    def identity(self) -> dict[str, Any]:
        """What identifies this dataset, wherever its files are."""
        checksum = zlib.crc32(self._classes.tobytes(), zlib.crc32(self._pictures.tobytes()))
        return {"kind": "fashion-mnist", "split": self.split, "size": self.size, "checksum": checksum}

    def _read(self, what: str, dimensions: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        path = self.folder / f"{FILES[self.split]}-{what}-ubyte.gz"
        try:
            data = gzip.decompress(path.read_bytes())
        except FileNotFoundError as error:
            fix = "apt-get install dataset-fashion-mnist, or name their folder as fashion-mnist:FOLDER"
            raise DataError(f"there is no {path}: {fix}.") from error
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path} cannot be read ({error}); install it again.") from error
        head = np.frombuffer(data, ">u4", min(len(data) // 4, dimensions + 1))
        shape = tuple(int(side) for side in head[1:])
        start = 4 * (dimensions + 1)
        if len(head) <= dimensions or head[0] != MAGIC[dimensions] or len(data) - start != int(np.prod(shape)):
            raise DataError(f"{path} is not a file of Fashion-MNIST; install it again.")
        return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
