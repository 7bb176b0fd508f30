"""Searching pictures: nearest vectors, files that change, kills at any moment, and the command."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from pinxit.cli import app
from pinxit.errors import DataError, PinxitError, UsageError
from pinxit.models.clip import CLIP, CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from pinxit.pictures import write_png
from pinxit.recipes.clip.encoder import ClipEncoder
from pinxit.recipes.clip.graph_files import DIGEST, read_graph, write_graph
from pinxit.recipes.clip.index import PictureIndex
from pinxit.recipes.clip.index_rows import Row
from pinxit.recipes.clip.search import by_picture, by_text, fill
from pinxit.weights.clip_export import save_transformers_clip
from tests.weights.test_public_clip import openai_state

pytest.importorskip("usearch")


def test_a_graph_does_not_hang_torchs_compiler() -> None:
    """In a process that has not imported torch yet."""
    graphs, products = (
        "pinxit.recipes.clip.graph_files import _graphs",
        "pinxit.models.graph_capture import packed_products",
    )
    script = f"from {graphs}; _graphs(); from {products}; packed_products()"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=100)


def weights(folder: Path, seed: int = 0) -> Path:
    vision = CLIPVisionConfig(size=32, patch=8, width=64, layers=1, heads=1)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = CLIP(CLIPConfig(24, vision, CLIPTextConfig(width=64, layers=1, heads=1)))
    save_transformers_clip(model, folder)
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> ClipEncoder:
    return ClipEncoder.open(weights(tmp_path_factory.mktemp("clip")), "cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(12):
        picture(tmp_path / "in" / f"{number:02d}.png", number)
    return tmp_path / "in"


def picture(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    write_png(path, rng.integers(0, 256, (4, 4, 3), dtype=np.uint8).repeat(10, 0).repeat(10, 1))


def made(folder: Path, encoder: ClipEncoder, out: Path, chunk: int = 5) -> PictureIndex:
    index = PictureIndex.create(out, encoder.name, encoder.fingerprint, encoder.width)
    assert not fill(index, encoder, sorted(folder.glob("*.png")), chunk=chunk)
    return PictureIndex.open(out)


def test_an_index_stays_where_it_was_opened_and_takes_numbers_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a change of the working directory `settle` forgot all rows, and wrote into an empty folder there."""
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "a.png", 0)
    index = PictureIndex.create("index", "m", "f", 4)
    monkeypatch.chdir(tmp_path.parent)
    index.add([Row.of(tmp_path / "a.png")], torch.eye(4)[:1])  # type: ignore[arg-type]
    index.settle()
    assert len(index) == len(index.search(np.ones(4), 3)) == 1 and not Path("index").exists()
    for number in (np.nan, 1e6):  # the latter is infinite in the float16 that are stored
        with pytest.raises(UsageError, match="must be finite numbers"):
            index.add([Row.of(tmp_path / "a.png")], np.full((1, 4), number))
    with pytest.raises(UsageError, match="width must be at least 1"):
        PictureIndex.create(tmp_path / "new", "m", "f", 0)
    assert not (tmp_path / "new").exists()


def test_finds_what_is_nearest(folder: Path, encoder: ClipEncoder, tmp_path: Path) -> None:
    index = made(folder, encoder, tmp_path / "index")
    files = sorted(folder.glob("*.png"))
    vectors = encoder.pictures([encoder.read(path) for path in files])
    hits = by_picture(index, encoder, files[7], top=4)
    assert hits[0].path == files[7] and hits[0].score == pytest.approx(1, abs=2e-3)
    cosines = vectors @ encoder.texts(["a fox"])[0]
    hits = by_text(index, encoder, "a fox", top=3)
    assert [hit.path for hit in hits] == [files[place] for place in np.argsort(-cosines)[:3]]
    assert [hit.score for hit in hits] == pytest.approx(sorted(cosines, reverse=True)[:3], abs=2e-3)
    assert len(by_text(index, encoder, "a fox", top=99)) == 12
    for top in (0, -1):
        with pytest.raises(UsageError, match=f"top must be at least 1, not {top}"):
            by_text(index, encoder, "a fox", top=top)


def test_what_is_no_vector_of_the_index_is_refused(tmp_path: Path) -> None:
    """More vectors than rows left an index that nobody could open."""
    index = PictureIndex.create(str(tmp_path / "index"), "a", "b", 4)
    for shape in ((2, 4), (1, 3)):
        with pytest.raises(UsageError, match=rf"1 rows .* need vectors \[1, 4\], not {re.escape(str(list(shape)))}"):
            index.add([Row("a", 1, 1)], np.ones(shape, np.float32))
    index.add([Row("a", 1, 1)], np.eye(1, 4))
    for vector in (np.ones(3), np.ones((1, 4)), np.full(4, np.nan)):
        with pytest.raises(UsageError, match="a vector of 4 finite numbers"):
            index.search(vector, 1)
    (hit,) = index.search(np.eye(4)[0], 5)
    assert hit.score == pytest.approx(1)
    assert pickle.loads(pickle.dumps(index)).search(np.eye(4)[0], 5) == [hit]
    assert PictureIndex.open(str(tmp_path / "index")).search(np.eye(4)[0], 5) == [hit]


def test_new_changed_and_vanished_files(folder: Path, encoder: ClipEncoder, tmp_path: Path) -> None:
    out = tmp_path / "index"
    before = {path.name: path.stat().st_mtime_ns for path in made(folder, encoder, out).folder.glob("chunk*")}
    assert len(before) == 3
    (folder / "03.png").unlink()
    picture(folder / "04.png", 104)
    os.utime(folder / "04.png", ns=(1, 1))
    picture(folder / "12.png", 12)
    index = made(folder, encoder, out)
    assert len(index) == 12 and len(index.rows) == 14
    after = {path.name: path.stat().st_mtime_ns for path in out.glob("chunk*")}
    assert len(after) == 4 and before.items() < after.items()
    found = [hit.path.name for hit in by_text(index, encoder, "a fox", top=99)]
    assert sorted(found) == [f"{n:02d}.png" for n in range(13) if n != 3]
    assert by_picture(index, encoder, folder / "04.png", 1)[0].score == pytest.approx(1, abs=2e-3)
    assert len(list(out.glob("graph-*"))) == 1


class Killed(BaseException):
    """Nothing catches it, as nothing catches kill -9."""


def test_a_kill_loses_at_most_a_chunk(folder: Path, encoder: ClipEncoder, tmp_path: Path) -> None:
    out, files = tmp_path / "index", sorted(folder.glob("*.png"))
    index = PictureIndex.create(out, encoder.name, encoder.fingerprint, encoder.width)

    def kill(done: int, total: int) -> None:
        if done >= 10:
            raise Killed

    with pytest.raises(Killed):
        fill(index, encoder, files, kill, chunk=5)
    (out / ".chunk-000002.safetensors.1.part").write_bytes(b"half")
    index = PictureIndex.open(out)
    assert len(index) == 10 and len(index.missing(files)) == 2
    assert len(by_text(index, encoder, "a fox", top=99)) == 10  # searchable as it is
    assert len(made(folder, encoder, out)) == 12


def test_a_file_whose_change_was_indexed_before_a_kill_is_found_once(tmp_path: Path) -> None:
    files, vectors = [tmp_path / f"{number}.png" for number in range(3)], np.eye(4, dtype=np.float32)
    for file in files:
        file.write_text("before")
    index = PictureIndex.create(tmp_path / "index", "model", "0", 4)
    index.add([Row.of(file) for file in files], vectors[:3])
    index.settle()
    files[0].write_text("afterwards")
    index.add([Row.of(files[0])], vectors[3:])  # and there the command is killed
    index = PictureIndex.open(tmp_path / "index")
    for asked, top in product(vectors[:2], (1, 3, 9)):  # what the graph has of the old picture is the nearest, or not
        names = [hit.path.name for hit in index.search(asked, top)]
        assert len(names) == len(set(names)) == min(top, 3)
    assert [round(hit.score, 3) for hit in index.search(vectors[3], 3) if hit.path == files[0]] == [1]
    assert [round(hit.score, 3) for hit in index.search(vectors[0], 3) if hit.path == files[0]] == [0]


def test_a_longer_or_lost_graph_equals_a_fresh_one(encoder: ClipEncoder, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(600, 24)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    files = [tmp_path / "f" / str(number) for number in range(600)]
    (tmp_path / "f").mkdir()
    for file in files:
        file.write_bytes(b"x")
    index = PictureIndex.create(tmp_path / "index", "model", "print", 24)
    for start in (0, 200, 400):
        index.add([Row.of(file) for file in files[start : start + 200]], vectors[start : start + 200])
        index.settle()
    best = np.argsort(-(vectors @ vectors[17]))[:5]
    grown = [hit.path.name for hit in PictureIndex.open(tmp_path / "index").search(vectors[17], 5)]
    assert grown == [str(place) for place in best]
    (graph,) = (tmp_path / "index").glob("graph-*")
    graph.write_bytes(graph.read_bytes()[:100])
    assert [hit.path.name for hit in PictureIndex.open(tmp_path / "index").search(vectors[17], 5)] == grown


def test_another_model_is_refused(folder: Path, encoder: ClipEncoder, tmp_path: Path) -> None:
    index = made(folder, encoder, tmp_path / "index")
    other = ClipEncoder.open(weights(tmp_path / "other", seed=1), "cpu")
    with pytest.raises(UsageError, match="was made with"):
        by_text(index, other, "a fox")
    with pytest.raises(UsageError, match="was made with"):
        PictureIndex.create(tmp_path / "index", other.name, other.fingerprint, other.width)


def test_what_is_no_index(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no index"):
        PictureIndex.open(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        PictureIndex.create(tmp_path, "model", "print", 24)


def test_the_command(folder: Path, encoder: ClipEncoder, tmp_path: Path) -> None:
    (folder / "broken.png").write_bytes(b"no picture")
    out, run = str(tmp_path / "index"), CliRunner().invoke
    told = run(app, ["search", "index", str(folder), "--out", out, "--checkpoint", encoder.name, "--device", "cpu"])
    assert told.exit_code == 0 and "12 pictures" in told.stdout and "broken.png" in told.stderr
    sheet = tmp_path / "hits.png"
    told = run(app, ["search", out, "a fox", "--json", "--top", "3", "--out", str(sheet), "--device", "cpu"])
    assert told.exit_code == 0 and sheet.exists()
    assert "graph" not in told.stderr
    scores = [json.loads(line)["score"] for line in told.stdout.splitlines()]
    assert len(scores) == 3 and scores == sorted(scores, reverse=True)
    like = str(folder / "05.png")
    told = run(app, ["search", out, "--like", like, "--top", "1", "--out", str(sheet), "--device", "cpu"])
    assert told.exit_code == 0 and "05.png" in told.stdout
    (graph,) = Path(out).glob("graph-*")
    os.truncate(graph, graph.stat().st_size - DIGEST)  # as versions without checksums wrote it
    told = run(app, ["search", out, "a fox", "--top", "3", "--out", str(sheet), "--device", "cpu"])
    assert "lacks 12 pictures, which this search added" in told.stderr and len(told.stderr.splitlines()) == 1
    assert f"'pinxit search index PICTURES --out {out}'" in told.stderr
    moved, none = str(shutil.move(like, tmp_path)), tmp_path / "none.png"
    told = run(app, ["search", out, "--like", moved, "--top", "1", "--out", str(none), "--device", "cpu"])
    assert "no longer readable" in told.stderr and "sheet" not in told.stdout and not none.exists()
    for arguments, message in (([out], "either a sentence"), ([str(tmp_path), "a fox"], "holds no index")):
        with pytest.raises(PinxitError, match=message):
            run(app, ["search", *arguments], catch_exceptions=False)


def test_an_index_remembers_the_activation_that_its_weights_do_not_tell(folder: Path, tmp_path: Path) -> None:
    """The hits are those of the API with that activation; another one is refused, though the weights are the same."""
    vision = CLIPVisionConfig(size=32, patch=8, width=64, layers=1, heads=1)
    model = CLIP(CLIPConfig(24, vision, CLIPTextConfig(width=64, layers=1, heads=1)))
    silent, out = tmp_path / "weights.safetensors", str(tmp_path / "index")
    save_file(openai_state(model), silent)

    def run(*words: str) -> Result:
        return CliRunner().invoke(app, ["search", *words, "--device", "cpu"], catch_exceptions=False)

    index = ("index", str(folder), "--out", out, "--checkpoint", str(silent))
    assert run(*index, "--activation", "gelu").exit_code == 0
    find = (out, "a fox", "--json", "--out", str(tmp_path / "hits.png"))
    told = run(*find)
    assert told.exit_code == 0
    hits = by_text(PictureIndex.open(tmp_path / "index"), ClipEncoder.open(silent, "cpu", "gelu"), "a fox")
    assert [json.loads(line)["score"] for line in told.stdout.splitlines()] == [round(hit.score, 6) for hit in hits]
    for words in (index, find):
        with pytest.raises(UsageError, match="made with --activation gelu, not quickgelu"):
            run(*words, "--activation", "quickgelu")
    manifest = tmp_path / "index" / "index.json"
    older = json.loads(manifest.read_text())
    del older["activation"]
    manifest.write_text(json.dumps(older))
    assert run(*find, "--activation", "gelu").stdout == told.stdout
    with pytest.raises(PinxitError, match=r"which cannot be opened: .* give --activation quickgelu"):
        run(*find)


def test_a_file_that_is_changed_and_changed_back_is_found_once(encoder: ClipEncoder, tmp_path: Path) -> None:
    file = tmp_path / "in" / "a.png"
    picture(file, 0)
    first, times = file.read_bytes(), (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    made(file.parent, encoder, tmp_path / "index")
    picture(file, 1)
    made(file.parent, encoder, tmp_path / "index")
    file.write_bytes(first)
    os.utime(file, ns=times)
    index = made(file.parent, encoder, tmp_path / "index")
    assert len(index) == 1
    assert [hit.path for hit in by_picture(index, encoder, file, 5)] == [file.resolve()]


def test_two_writers_leave_a_whole_index(tmp_path: Path, folder: Path, encoder: ClipEncoder) -> None:
    """Both open it empty and add what they have; neither knows of the other's rows."""
    files = sorted(folder.glob("*.png"))
    one, two = (PictureIndex.create(tmp_path / "i", "toy", "0", encoder.width) for _ in range(2))
    rng = np.random.default_rng(0)
    vectors = [rng.standard_normal((2, encoder.width)).astype(np.float32) for _ in range(2)]
    for index, part, vector in ((one, files[:2], vectors[0]), (two, files[2:4], vectors[1])):
        index.add([Row.of(path) for path in part], vector / np.linalg.norm(vector, axis=1, keepdims=True))
    two.settle()
    one.settle()
    opened = PictureIndex.open(tmp_path / "i")
    assert len(opened) == 4
    found = {hit.path.name for hit in opened.search(vectors[1][0] / np.linalg.norm(vectors[1][0]), 4)}
    assert found == {path.name for path in files[:4]}


def test_who_writes_an_index_writes_it_alone(tmp_path: Path, folder: Path, encoder: ClipEncoder) -> None:
    one, two = (PictureIndex.create(tmp_path / "i", "toy", "0", encoder.width) for _ in range(2))
    with one.writing(), pytest.raises(UsageError, match="another command writes the index"):
        two.settle()
    two.settle()


@pytest.mark.parametrize("chunk", [0, 1, 2])
@pytest.mark.parametrize("cut", [None, 0, 100, -1])
def test_lost_and_cut_chunks_are_reported(
    tmp_path: Path, folder: Path, encoder: ClipEncoder, chunk: int, cut: int
) -> None:
    index = PictureIndex.create(tmp_path / "i", "toy", "0", encoder.width)
    for path in sorted(folder.glob("*.png"))[:3]:
        index.add([Row.of(path)], np.eye(1, encoder.width, dtype=np.float32))
    index.settle()
    path = tmp_path / "i" / f"chunk-{chunk:06d}.safetensors"
    data = path.read_bytes()
    path.unlink() if cut is None else path.write_bytes(data[:cut])
    with pytest.raises(DataError, match="delete the index and make it again"):
        PictureIndex.open(tmp_path / "i")
    with pytest.raises(UsageError, match="is a file, not a folder"):
        PictureIndex.create(path if cut is not None else next((tmp_path / "i").glob("chunk*")), "toy", "0", 4)


@pytest.mark.parametrize(("width", "count"), [(8, 12), (24, 3)])
def test_a_graph_of_another_index_is_made_again(
    width: int, count: int, tmp_path: Path, folder: Path, encoder: ClipEncoder
) -> None:
    from usearch.index import Index

    index = PictureIndex.create(tmp_path / "index", "tiny", encoder.fingerprint, encoder.width)
    fill(index, encoder, sorted(folder.iterdir()))
    hits = by_text(index, encoder, "a fox", 5)
    (graph,) = index.folder.glob("graph-*")
    other = Index(ndim=width, metric="cos", dtype="f16")
    other.add(np.arange(count) + 100, np.eye(count, width, dtype=np.float32))
    write_graph(other, graph)
    assert by_text(PictureIndex.open(index.folder), encoder, "a fox", 5) == hits


def test_a_graph_that_a_full_disk_cut_is_refused_and_a_cut_one_is_made_again(
    tmp_path: Path, folder: Path, encoder: ClipEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """usearch says nothing when the disk takes but a part."""
    index = PictureIndex.create(tmp_path / "i", "toy", "0", encoder.width)
    index.add([Row.of(path) for path in sorted(folder.glob("*.png"))[:3]], np.eye(3, encoder.width, dtype=np.float32))
    save = type(index.graph()).save

    def short(graph: Any, path: str) -> None:
        save(graph, path)
        os.truncate(path, 15)

    with monkeypatch.context() as patch:
        patch.setattr(type(index.graph()), "save", short)
        with pytest.raises(PinxitError, match=r"cannot write .*\.usearch: the disk did not take all of it\."):
            index.settle()
        assert not list(index.folder.glob("*.usearch")) and not list(index.folder.glob(".*"))
    index.settle()
    (graph,) = index.folder.glob("*.usearch")
    whole = graph.stat().st_size
    os.truncate(graph, 15)
    again = PictureIndex.open(index.folder)
    again.settle()
    assert graph.stat().st_size == whole
    assert again.search(np.eye(1, encoder.width)[0], 1)[0].score == pytest.approx(1, abs=1e-3)


def test_a_graph_with_a_flipped_bit_is_made_again(tmp_path: Path) -> None:
    """usearch itself follows what it says, and ends the process."""
    rng, files = np.random.default_rng(0), [tmp_path / str(number) for number in range(64)]
    vectors = rng.normal(size=(64, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for file in files:
        file.touch()
    index = PictureIndex.create(tmp_path / "i", "toy", "0", 8)
    index.add([Row.of(file) for file in files], vectors)
    index.settle()
    (graph,), wanted = index.folder.glob("*.usearch"), [hit.path for hit in index.search(vectors[5], 3)]
    whole = graph.read_bytes()
    assert read_graph(graph, view=True) is not None
    for place in [*rng.integers(len(whole), size=8), len(whole) - 1]:
        graph.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << rng.integers(8)]) + whole[place + 1 :])
        assert read_graph(graph, view=True) is None
    again = PictureIndex.open(index.folder)
    assert [hit.path for hit in again.search(vectors[5], 3)] == wanted
    again.settle()
    assert read_graph(graph, view=True) is not None


def test_a_lost_chunk_is_told_whatever_graphs_are_there(tmp_path: Path, folder: Path, encoder: ClipEncoder) -> None:
    """A kill between writing a graph and removing the old one leaves both."""
    index = PictureIndex.create(tmp_path / "index", "toy", "0", encoder.width)
    for path in sorted(folder.glob("*.png"))[:3]:
        index.add([Row.of(path)], np.eye(1, encoder.width, dtype=np.float32))
    index.settle()
    (graph,) = index.folder.glob("graph-*")
    shutil.copyfile(graph, index.folder / "graph-1-00000000.usearch")
    PictureIndex.open(index.folder)
    max(index.folder.glob("chunk-*")).unlink()
    with pytest.raises(DataError, match="lost chunks"):
        PictureIndex.open(index.folder)
