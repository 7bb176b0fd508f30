"""The Python API of a CLIP: classify and find pictures, probe features, audit labels. `pinxit.load_clip` opens one.

The commands of the same names call these methods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pinxit.data.picture_files import picture_files
from pinxit.data.problems import ItemError, Problems
from pinxit.errors import DataError, UsageError
from pinxit.recipes.clip import audit as audits
from pinxit.recipes.clip import probe as probes
from pinxit.recipes.clip import search as searching
from pinxit.recipes.clip.encoder import ClipEncoder
from pinxit.recipes.clip.index import Hit, PictureIndex
from pinxit.recipes.clip.templates import Templates
from pinxit.recipes.clip.templates import templates as sentences
from pinxit.recipes.clip.zero_shot import Guess, ZeroShot
from pinxit.schema import Count, checked, plain_number
from pinxit.texts import check_list, check_text

if TYPE_CHECKING:
    from torch import Tensor

    from pinxit.types import Picture

CHUNK = 256  # pictures read together
Skipped = Callable[[ItemError], None]
Watch = Callable[[int, int], None]
Places = Sequence[str | Path] | str | Path
"""Files of pictures, or folders of them; or one."""
Parts = Iterator[tuple[list[Path], list["Picture"]]]


@dataclass(frozen=True)
class Audit:
    """The rates of the labels, and their rates after further labels were added (None if none were)."""

    before: audits.Rates
    after: audits.Rates | None


class Clip:
    """Uses of a CLIP. Pictures are given as files, or as folders of files.

    Files that cannot be read are left out, and reported to `skipped`, or without one to the logger "pinxit".
    `watch(done, count)` is called as files are read.
    """

    def __init__(self, encoder: ClipEncoder, skipped: Skipped | None = None, watch: Watch | None = None) -> None:
        self.encoder, self.skipped, self.watch = encoder, skipped, watch

    def classify(
        self, pictures: Places, labels: Sequence[str], *, templates: Templates = "simple", top: int = 5
    ) -> Iterator[tuple[Path, list[Guess]]]:
        """The `top` likeliest of `labels` for every picture, yielded as they are read.

        `templates`: "simple", "imagenet80", "label", a file, or the templates themselves. Raises UsageError at once for
        paths that are not there and for invalid labels, templates or `top`; at the end, when none of the pictures could
        be read, DataError.
        """
        files, top = _files(pictures), checked(Count, plain_number(top), "top")
        return self._classified(files, ZeroShot(self.encoder, labels, sentences(templates)), top)

    def _classified(self, files: list[Path], classifier: ZeroShot, top: int) -> Iterator[tuple[Path, list[Guess]]]:
        done = 0
        for paths, read in self._read(files):
            done += len(paths)
            yield from zip(paths, classifier.classify(read, top), strict=True)
        _some(done)

    def index(self, pictures: Places, folder: str | Path) -> tuple[PictureIndex, Problems]:
        """Make or update the index in `folder`; the index, and the files that could not be read."""
        files = _files(pictures)
        by = self.encoder
        picture_index = PictureIndex.create(Path(folder), by.name, by.fingerprint, by.width, by.activation)
        return picture_index, searching.fill(picture_index, self.encoder, files, self.watch)

    def search(
        self,
        index: str | Path | PictureIndex,
        sentence: str | None = None,
        *,
        like: str | Path | None = None,
        top: int = 12,
    ) -> list[Hit]:
        """The pictures of an index that match a sentence, or that are `like` another picture, best first.

        Raises UsageError unless exactly one of the two is given, or when another model made the index.
        """
        if (sentence is None or not check_text(sentence, "the sentence").strip()) == (like is None):
            raise UsageError("give either a sentence or a picture that the others should be like (--like PICTURE).")
        opened = index if isinstance(index, PictureIndex) else PictureIndex.open(Path(index))
        if like is not None:
            return searching.by_picture(opened, self.encoder, Path(like), top)
        return searching.by_text(opened, self.encoder, sentence or "", top)

    def probe(self, train: str | Path, test: str | Path, *, seed: int = 0) -> probes.ProbeResult:
        """A linear classifier on frozen features; each folder holds a sub-folder of pictures for each class."""
        for folder in (train, test):
            if not Path(folder).is_dir():
                raise UsageError(f"there is no folder {folder}.")
        train_files, test_files = probes.class_folders(Path(train)), probes.class_folders(Path(test))
        if unknown := sorted(test_files.keys() - train_files.keys()):
            raise UsageError(f"{test} has classes that {train} lacks: {', '.join(unknown)}.")
        names = list(train_files)
        return probes.probe(self._features(train_files, names), self._features(test_files, names), names, seed)

    def audit(
        self,
        folder: str | Path,
        labels: Sequence[str],
        group_by: str,
        *,
        table: str | Path | None = None,
        add: Sequence[str] = (),
        templates: Templates = "simple",
    ) -> Audit:
        """How often the pictures of each group get each label, without and with the labels of `add`.

        `table`: a CSV file with the columns `file` and `group_by`; FOLDER/metadata.csv when it is not given. Raises
        UsageError for invalid labels or a missing column, DataError for an unreadable table or no readable picture.
        """
        check_list(labels, "labels")
        check_list(add, "labels to add")
        every = [*labels, *add]
        groups = audits.groups_of(Path(folder), Path(table or Path(folder) / "metadata.csv"), group_by)
        around = sentences(templates)
        classifiers = [ZeroShot(self.encoder, some, around) for some in ([labels, every] if add else [labels])]
        answers: list[dict[Path, str]] = [{} for _ in classifiers]
        for paths, read in self._read(list(groups)):
            vectors = self.encoder.pictures(read)
            for guessed, one in zip(answers, classifiers, strict=True):
                guesses = one.guesses(vectors, top=1)
                guessed |= {path: guess[0].label for path, guess in zip(paths, guesses, strict=True)}
        _some(len(answers[0]))
        found = [audits.rates(one, groups, by.labels) for one, by in zip(answers, classifiers, strict=True)]
        return Audit(found[0], found[1] if add else None)

    def _features(self, classes: dict[str, list[Path]], names: list[str]) -> tuple[Tensor, Tensor]:
        places = {path: names.index(name) for name, files in classes.items() for path in files}
        rows: list[tuple[np.ndarray[tuple[int, int], np.dtype[np.float32]], int]] = []
        for paths, read in self._read(list(places)):
            features = self.encoder.features(read)
            rows += [(features[k : k + 1], places[path]) for k, path in enumerate(paths)]
        _some(len(rows))
        return probes.stacked(rows)

    def _read(self, files: Sequence[Path]) -> Parts:
        """The files that can be read, some hundred at a time, with their pictures at the model's size."""
        problems = Problems()
        for start in range(0, len(files), CHUNK):
            paths, pictures = [], []
            for path in files[start : start + CHUNK]:
                try:
                    pictures.append(self.encoder.read(path))
                    paths.append(path)
                except ItemError as error:
                    problems.add(error.key, error.reason)
                    if self.skipped is not None:
                        self.skipped(error)
            if self.watch is not None:
                self.watch(min(start + CHUNK, len(files)), len(files))
            if paths:
                yield paths, pictures
        if self.skipped is None:
            problems.log()


def _files(pictures: Places) -> list[Path]:
    """The picture files of a list of files and folders, or of one."""
    return picture_files([Path(one) for one in ([pictures] if isinstance(pictures, str | Path) else pictures)])


def _some(count: int) -> None:
    if not count:
        raise DataError("none of the pictures could be read.")
