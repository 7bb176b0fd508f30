"""Odd input of the kinds that users report: one sentence that says what to do, before the work and not after it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file

from pinxit.cli.manipulation import InputPicture
from pinxit.pictures import read_metadata
from tests.cli.helpers import Cli
from tests.pipes import pipe
from tests.recipes.painters import save_random_checkpoint
from tests.recipes.squares import write_squares

pytest.importorskip("usearch")


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A painter `p`, pictures `sq`, a picture, folders and files that are none of what is asked for."""
    folder = tmp_path_factory.mktemp("odd")
    save_random_checkpoint(folder / "p")
    write_squares(folder / "sq")
    Image.fromarray(np.full((40, 50, 3), 90, np.uint8)).save(folder / "a.png")
    (folder / "empty").mkdir()
    (folder / "utf16.txt").write_text("a cat\n", encoding="utf-16")
    (folder / "sq" / "metadata.csv").write_text("file,x\n", encoding="utf-16")
    (folder / "two.csv").write_text("file,x,x\n0.png,old,new\n")
    (folder / "r.json.part").write_text('{"identity": {}, "answers": 7}')
    (folder / "unplugged").symlink_to("no/such/disk")
    (folder / "run").mkdir()
    (folder / "run" / "run.json").write_text('{"recipe": "dalle", "config": {"plans": []}}')
    return folder


PAINT = ("paint", "a cat", "--candidates", "2", "--keep", "1", "--checkpoint", "p", "--out", "o")
EXAM = ("eval", "world", "--checkpoint", "p", "--prompts", "6", "--candidates", "1")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((*PAINT, "--set", "temperature=1e400"), "temperature must be at least 0 and finite, not inf."),
        ((*PAINT, "--set", "agreement=true"), "agreement must be a number, not True."),
        ((*PAINT, "--set", "=1"), "there is no setting '' here"),
        ((*PAINT, "--prompts", "utf16.txt"), "give a prompt, or a file of prompts"),
        (("paint", "--prompts", "utf16.txt", "--checkpoint", "p"), "utf16.txt is not UTF-8 (byte 0): save it as"),
        (("complete", "a.png", "a cat", "--box", "1e3,0,5,5", "--checkpoint", "p"), "--box must be four whole numbers"),
        (("complete", "a.png", "a cat", "--box", "5,5,1,1", "--checkpoint", "p"), "inside the picture of 50x40 pixels"),
        (("audit", "sq", "--labels", "a,b", "--group-by", "x", "--checkpoint", "p"), "metadata.csv is not UTF-8"),
        (("data", "check", "x{000000..99999999}.tar"), "names more than 1,000,000 files"),
        (("data", "preview", "sq", "--out", "empty"), "cannot write empty: it is a folder; name a file in it."),
        (("data", "build", "world:small", "--out", "sh", "--language", "fr"), "must be one of mixed, en, zh, not 'fr'"),
        (("train", "dalle", "--preset", "nano", "--out", "a.png"), "a.png is a file; choose another place."),
        (("train", "dalle", "--out", "run"), "run.json: config.plans must be a section of fields, not []."),
        ((*EXAM, "--out", "empty"), "cannot write empty: it is a folder"),
        (("data", "preview", "", "--out", "x.png"), "the source of the data is empty: name world:small"),
        (("train", "dalle", "--preset", "", "--out", "o"), "preset ''"),
        (("train", "clip", "--preset", "", "--out", "o"), "preset ''"),
        (("data", "preview", "sq", "--size", "1000000"), "need a size from 1 to 8192 pixels, not 1000000."),
        (("data", "preview", "sq", "--out=~/empty"), "/empty: it is a folder; name a file in it."),
        (("paint", "a cat", "--checkpoint", ""), "there is no checkpoint '': give a folder"),
        ((*PAINT, "--upscale", "64", "--upsampler", ""), "there is no checkpoint '': give a folder"),
        ((*PAINT, "--ranker", ""), "there is no CLIP '': give a file, a folder"),
        ((*PAINT, "--out="), "--out is empty: name a file or a folder; the current folder is '.'."),
        ((*EXAM, "--sheet", ""), "--sheet is empty: name a file"),
        (("classify", "", "sq", "--labels", "a,b"), "PICTURES is empty: name a file"),
        ((*EXAM, "--world", ""), "there is no world called ''; choose small, gallery or full."),
        ((*EXAM, "--judge", ""), "there is no checkpoint '': give a folder"),
        ((*PAINT[:-1], "unplugged/o"), "unplugged is a link to what is not there; choose another place."),
        ((*EXAM, "--sheet", "a.png/s.png"), "a.png is a file; choose another place."),
        ((*EXAM, "--out", "r.json"), "r.json.part: answers must be a list, not 7; remove it to start the exam again."),
        (("eval", "famous", "--out", "empty"), "cannot write empty: it is a folder"),
        (("eval", "sweep", "--vary", "guidance=1,2", "--plot", "empty"), "cannot write empty: it is a folder"),
        (("eval", "sweep", "--vary", "guidance", "--checkpoint", "p"), "--vary guidance: write NAME=V1,V2,...\n"),
        ((*EXAM, "--out", "r.json", "--sheet", "./r.json"), "r.json cannot hold two results: name a file for each."),
        (("eval", "sweep", "--vary", "top_k=1", "--plot", "x", "--sheet", "x"), "x cannot hold two results"),
        (("data", "build", "sq", "--out", "sh", "--seed", "3"), "--seed changes nothing for your own data, which are"),
        (
            ("train", "clip", "--stages", "checkpoint", "--out", "o", "--activation", "gelu"),
            "--activation is of the weights that training star",
        ),
        (("search", "find", "ix", "a cat", "--out", "empty"), "cannot write empty: it is a folder"),
        (("search", "find", "ix", "a cat", "--out", "x"), "x names no format of pictures: let it end in .png, "),
        (("data", "preview", "sq", "--out", "x.txt"), "x.txt names no format of pictures: let it end in .png, .jpg or"),
        ((*EXAM, "--sheet", "x.gif"), "x.gif names no format"),
        (("eval", "famous", "--sheet", "x.json"), "x.json names no format"),
        (("eval", "sweep", "--vary", "top_k=1", "--plot", "x.svg"), "x.svg names no format"),
        (("eval", "sweep", "--vary", "top_k=1", "--sheet", "x.svg"), "x.svg names no format"),
        (
            ("train", "clip", "--out", "o", "--data", "sq", "--set", "data.source=a.png"),
            "--set data.source=a.png contradicts the option that sets data.source to sq: leave one out.",
        ),
        (
            ("train", "clip", "--out", "o", "--init-from", "tiny", "--activation", "quickgelu"),
            "states its activation, gelu: it cannot be run with --activation quickgelu.",
        ),
        (("classify", "sq", "--labels", "a,b", "--activation", "quickgelu"), "tiny states its activation, gelu"),
        ((*EXAM, "--seed", f"{2**63 - 1}"), "seed=9223372036854775807 is too large for "),
        (("eval", "famous", "--seeds", "2", "--seed", f"{2**63 - 1}"), "is too large for 2 seeds from it on"),
        (("paint", "a cat", "--checkpoint", "x" * 300), "cannot use xxx"),
        (("data", "preview", "world:small", "--out", "x" * 300 + ".png"), "File name too long."),
        (
            ("train", "clip", "--preset", "nano", "--data", "world:small", "--out", "x" * 300 + ".png"),
            "File name too long.",
        ),
        (("data", "check", "~no-one/x.tar"), "there is no file or folder ~no-one/x.tar"),
        (
            ("plan", "dalle/nano", "--set", "transformer.depth=100000000"),
            "transformer.depth must be from 1 to 256, not",
        ),
        ((PAINT[0], "x" * 100_001, *PAINT[2:]), "the prompt has 100,001 characters: shorten it to 100,000."),
        (
            ("audit", "sq", "--labels", "a", "--group-by", "x", "--table", "two.csv", "--checkpoint", "p"),
            "2 columns 'x'",
        ),
    ],
)
def test_odd_input_is_one_sentence(
    words: tuple[str, ...], told: str, given: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(given)
    monkeypatch.setenv("HOME", str(given))
    before = sorted(given.rglob("*"))
    done = cli(*words)
    assert done.code in (1, 2) and done.out == "" and told in done.err, done.err
    assert len(done.err.strip().splitlines()) == 1 and "Traceback" not in done.err
    assert sorted(given.rglob("*")) == before, "nothing is left half-begun"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_picture_from_a_pipe_is_read_once(given: Path, tmp_path: Path, cli: Cli) -> None:
    content = (given / "a.png").read_bytes()
    words = ("a cat", "--keep-rows", 1, *PAINT[2:6], "--checkpoint", given / "p", "--out", tmp_path / "o", "--json")
    done = cli("complete", pipe(tmp_path / "a.png", content), *words)
    about = read_metadata(Path(json.loads(done.out)["pictures"][0]["path"]))
    assert about["completes_sha256"] == hashlib.sha256(content).hexdigest()
    one = InputPicture.read(pipe(tmp_path / "b.png", content))
    assert one.picture.shape == (40, 50, 3) and one.facts["of_sha256"] == about["completes_sha256"]


def as_int(chunk: Path) -> None:
    with safe_open(chunk, framework="np") as file:
        about, vectors = file.metadata(), file.get_tensor("vectors")
    save_file({"vectors": vectors.astype(np.int32)}, chunk, metadata=about)


def change(name: str, value: Any) -> Callable[[Path], object]:
    def changed(index: Path) -> None:
        told = json.loads((index / "index.json").read_text())
        (index / "index.json").write_text(json.dumps(told | {name: value}))

    return changed


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (change("width", 3), "holds vectors of shape [8, 64], but the index is of width 3: delete the index"),
        (lambda index: as_int(index / "chunk-000000.safetensors"), "is damaged (its vectors are I32, not F16)"),
        (change("fingerprint", 3), "fingerprint must be text, not 3; delete the index"),
        (lambda index: (index / "gone.json").write_text("[-1]"), "must be at least 0, not -1; delete the index"),
        (lambda index: (index / "chunk-000000.safetensors").write_bytes(b""), "is damaged"),
    ],
)
def test_damaged_indexes_are_one_sentence(
    spoil: Callable[[Path], object], told: str, given: Path, tmp_path: Path, cli: Cli
) -> None:
    index = tmp_path / "ix"
    assert cli("search", "index", given / "sq", "--out", index, "--checkpoint", given / "p").code == 0
    spoil(index)
    done = cli("search", "find", index, "a cat", "--out", tmp_path / "s.png")
    assert done.code == 1 and told in done.err and len(done.err.strip().splitlines()) == 1, done.err


def test_strange_words_are_shown_short(given: Path, tmp_path: Path, cli: Cli) -> None:
    done = cli("paint", "x" * 100_000, "--candidates", 1, "--keep", 1, "--checkpoint", given / "p", "--out", tmp_path)
    assert done.code == 0 and "has never met 'xxx" in done.err and len(done.err) < 1000


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (MemoryError(), 1, "needs more memory"),
        (KeyboardInterrupt(), 130, ""),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), 1, "needs more memory"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
            1,
            "than it may use",
        ),
        (RuntimeError("Storage size calculation overflowed with sizes=[3000000000000]"), 1, "needs more memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."), 1, "needs more memory"),
    ],
)
def test_what_no_command_foresees_is_one_sentence_on_stderr(
    error: BaseException, code: int, told: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def app() -> None:
        raise error

    monkeypatch.setattr("pinxit.cli.app", app)
    done = cli("paint", "a cat")
    assert (done.code, done.out) == (code, "") and told in done.err and len(done.err.splitlines()) == bool(told)
