from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pinxit.data.decode import read_picture
from pinxit.pictures import read_metadata, write_png
from tests.cli.helpers import Cli
from tests.recipes.painters import save_random_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "nano"
    save_random_checkpoint(folder)
    return folder


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_paint_writes_a_sheet_and_pictures_that_know_their_making(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    done = cli("paint", "a red square", "--candidates", 5, "--keep", 2, "--checkpoint", checkpoint, "--out", tmp_path)
    assert done.code == 0, done.err
    sheet = Path(done.out.strip())
    assert sheet.name == "sheet.png" and read_picture(sheet).ndim == 3
    pictures = sorted(sheet.parent.glob("0*.png"))
    assert len(pictures) == 2 and len(files(tmp_path)) == 3
    facts = read_metadata(pictures[0])
    assert facts["prompt"] == "a red square" and facts["recipe"] == "dalle" and facts["seed"] == 0
    assert {"candidate", "score", "checkpoint_hash", "pinxit", "guidance", "temperature"} <= facts.keys()


def test_json_is_one_object_a_prompt_best_first(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red square\n\n三个绿色的三角形\n", encoding="utf-8")
    done = cli("paint", "--prompts", prompts, "--candidates", 3, "--keep", 2, "--json", "--seed", 4,
               "--checkpoint", checkpoint, "--out", tmp_path / "out")  # fmt: skip
    assert done.code == 0, done.err
    objects = [json.loads(line) for line in done.out.splitlines()]
    assert [one["prompt"] for one in objects] == ["a red square", "三个绿色的三角形"]
    for one in objects:
        scores = [picture["score"] for picture in one["pictures"]]
        assert scores == sorted(scores, reverse=True) and len(scores) == 2
        for picture in one["pictures"]:
            assert Path(picture["path"]).is_file() and picture["seed"] == 4 and 0 <= picture["candidate"] < 3


def test_same_command_same_files(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert cli("paint", "a cat", "--candidates", 3, "--checkpoint", checkpoint, "--out", tmp_path / name).code == 0
    a, b = files(tmp_path / "a"), files(tmp_path / "b")
    assert a == b
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in a)


def run(cli: Cli, *arguments: object) -> Path:
    """The folder of the pictures that this command painted."""
    done = cli(*arguments)
    assert done.code == 0, done.err
    return Path(done.out.strip()).parent


def test_a_folder_holds_one_run_and_no_run_replaces_another(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    """Once --keep 4 after --keep 8 left pictures 5 to 8, and more candidates a second first picture."""
    command = ("paint", "a cat", "--checkpoint", checkpoint, "--out", tmp_path)
    counts = [(6, 4), (6, 2), (9, 4)]
    folders = [run(cli, *command, "--candidates", one, "--keep", keep) for one, keep in counts]
    assert [len(list(folder.glob("*candidate*.png"))) for folder in folders] == [4, 2, 4]
    before = files(tmp_path)
    (folders[0] / "01-seed0-candidate77.png").touch()  # as another device may have ranked
    (folders[0] / "notes.txt").touch()
    assert run(cli, *command, "--candidates", 6, "--keep", 4) == folders[0]
    (folders[0] / "notes.txt").unlink()
    assert files(tmp_path) == before


def test_completions_of_two_pictures_of_one_name_lie_apart(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    def completed(level: int) -> Path:
        write_png(tmp_path / "known.png", np.full((32, 32, 3), level, np.uint8))
        return run(cli, "complete", tmp_path / "known.png", "a cat", "--keep-rows", 2, "--candidates", 1,
                   "--checkpoint", checkpoint, "--out", tmp_path / "out")  # fmt: skip

    assert completed(7) != completed(200)
    assert completed(7) == completed(7)


def test_what_the_checkpoint_cuts_off_can_be_drawn_again(cli: Cli, tmp_path: Path) -> None:
    """Top-k 0 and top-p 1 are all codes: what is set goes before what the checkpoint says."""
    save_random_checkpoint(tmp_path / "free", {"top_k": 0})
    save_random_checkpoint(tmp_path / "narrow", {"top_k": 1, "top_p": 0.5})

    def pictures(checkpoint: str, *options: object) -> list[bytes]:
        folder = run(cli, "paint", "a cat", "--candidates", 2, "--guidance", 1, "--checkpoint", tmp_path / checkpoint,
                     "--out", tmp_path / "out", *options)  # fmt: skip
        return [read_picture(path).tobytes() for path in sorted(folder.glob("0*.png"))]

    everything, most = ("--set", "top_k=0", "--set", "top_p=1"), ("--set", "top_k=256", "--set", "top_p=1")
    assert pictures("narrow", *everything) == pictures("free") == pictures("narrow", *most)
    assert len(set(pictures("narrow"))) == 1 < len(set(pictures("free")))


def test_int8_decoding_is_an_option_and_recorded(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    command = ("paint", "a cat", "--candidates", 1, "--checkpoint", checkpoint, "--out", tmp_path)
    usual, packed = run(cli, *command), run(cli, *command, "--int8")
    assert usual != packed
    assert [read_metadata(folder / "sheet.png").get("int8") for folder in (usual, packed)] == [None, True]


def test_complete_keeps_the_rest(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    known = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    write_png(tmp_path / "known.png", known)
    done = cli("complete", tmp_path / "known.png", "a cat", "--keep-rows", 2, "--candidates", 2, "--json",
               "--checkpoint", checkpoint, "--out", tmp_path / "out")  # fmt: skip
    assert done.code == 0, done.err
    for picture in json.loads(done.out)["pictures"]:
        assert (read_picture(Path(picture["path"]))[:16] == known[:16]).all()


def test_said_on_stderr_but_painted(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    common = ("--candidates", 1, "--checkpoint", checkpoint, "--out", tmp_path)
    done = cli("paint", "a red zebra", *common)
    assert done.code == 0 and "'zebra'" in done.err
    long = "a red square and two blue stars " * 4
    done = cli("paint", long, *common)
    assert done.code == 0 and "over the limit of 14" in done.err and "dropped" in done.err
    done = cli("paint", long, "--strict", *common)
    assert done.code == 2 and "over the limit of 14" in done.err  # CLIP's; the transformer reads 16


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["paint", ""], 2, "empty"),
        (["paint", "   "], 2, "empty"),
        (["paint"], 2, "give a prompt"),
        (["paint", "a", "--prompts", "b"], 2, "not both"),
        (["paint", "--prompts", "no-such-file"], 2, "no-such-file"),
        (["paint", "a cat", "--candidates", "0"], 2, "candidates"),
        (["paint", "a cat", "--candidates", "many"], 2, "candidates"),
        (["paint", "a cat", "--set", "top_p=1.5"], 2, "top_p must be above 0 and at most 1, not 1.5."),
        (["paint", "a cat", "--set", "top_p=0"], 2, "top_p must be above 0 and at most 1, not 0."),
        (["paint", "a cat", "--set", "top_k=-1"], 2, "top_k must be at least 0, not -1."),
        (["paint", "a cat", "--set", "top_k=2.5"], 2, "top_k must be a whole number, not 2.5."),
        (["paint", "a cat", "--set", "temperature=hot"], 2, "temperature must be a number, not 'hot'."),
        (["paint", "a cat", "--temperature", "1e7"], 2, "temperature must be at least 0 and at most 1e6, not 10000000"),
        (["paint", "a cat", "--set", "agreement=NaN"], 2, "agreement must be at least 0 and finite, not nan."),
        (["paint", "a cat", "--set", "agreement=null"], 2, "agreement must be a number, not 'null'."),
        (
            ["paint", "a cat", "--set", "magic=1"],
            2,
            "no setting 'magic' here: choose from guidance, temperature, ",
        ),
        (["paint", "a cat", "--set", "augmentation=0.1"], 2, "augmentation is a setting of the upsampler: only `eval "),
        (["paint", "a cat", "--set", "guidance"], 2, "--set guidance: write NAME=VALUE."),
        (["paint", "a cat", "--set", "top_k=1", "--set", "top_k=2"], 2, "top_k is given twice: leave out one --set or"),
        (["paint", "a cat", "--guidance", "1", "--set", "guidance=2"], 2, "twice: leave out --guidance or --set guid"),
        (["paint", "a cat", "--checkpoint", "no-such-checkpoint"], 1, "no-such-checkpoint"),
        (["paint", "a cat", "--device", "abacus"], 2, "abacus"),
        (["complete", "no-such.png", "a cat", "--keep-rows", "1"], 1, "no-such.png"),
        (["complete", "x.png", "a cat"], 2, "exactly one"),
        (["complete", "x.png", "a cat", "--keep-rows", "1", "--box", "0,0,1,1"], 2, "exactly one"),
        (["fly"], 2, "fly"),
    ],
)
def test_bad_input_is_one_sentence(
    cli: Cli,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if "--checkpoint" not in arguments and arguments[0] in ("paint", "complete"):
        arguments = [*arguments, "--checkpoint", str(checkpoint)]
    done = cli(*arguments)
    assert done.code == code and told in done.err and "Traceback" not in done.err
    assert files(tmp_path) == []


def test_prompt_file_that_is_not_utf8(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_bytes("café".encode("latin-1"))
    done = cli("paint", "--prompts", tmp_path / "prompts.txt", "--checkpoint", checkpoint)
    assert done.code == 2 and "not UTF-8" in done.err


def test_box_must_be_four_numbers(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    write_png(tmp_path / "x.png", np.zeros((32, 32, 3), np.uint8))
    done = cli("complete", tmp_path / "x.png", "a cat", "--box", "1,2,3", "--checkpoint", checkpoint)
    assert done.code == 2 and "four whole numbers" in done.err


def test_damaged_checkpoint(cli: Cli, tmp_path: Path) -> None:
    save_random_checkpoint(tmp_path / "c")
    weights = tmp_path / "c" / "dvae.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    done = cli("paint", "a cat", "--checkpoint", tmp_path / "c", "--out", tmp_path / "out")
    assert done.code == 1 and "cut short" in done.err and not (tmp_path / "out").exists()


def test_full_disk_is_one_sentence_and_leaves_nothing_half(
    cli: Cli, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    done = cli("paint", "a cat", "--candidates", 1, "--checkpoint", checkpoint, "--out", tmp_path / "out")
    assert done.code == 1 and "No space left" in done.err
    assert files(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
def test_interrupt_exits_130_and_leaves_nothing_half(checkpoint: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pinxit", "paint", "a cat", "--candidates", "100000", "--checkpoint",
               str(checkpoint), "--out", str(tmp_path / "out")]  # fmt: skip
    # A background job starts with SIGINT ignored, and its children inherit that.
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    )
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "out").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)  # the preview file shows that painting is under way
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, error
    assert files(tmp_path) == [] and b"Traceback" not in error
