from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

import pytest

from pinxit.errors import PinxitError
from pinxit.files import atomic_file, check_file, write_json, write_text


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(PinxitError, match=r"cannot write .*a\.txt: No space left"),
        atomic_file(tmp_path / "a.txt") as part,
    ):
        part.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "")
    with pytest.raises(PinxitError, match="cannot write"):
        write_json(tmp_path / "file" / "a.json", {})


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
def test_others_may_read_what_a_secretive_writer_wrote(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "a") as part:
        part.write_text("x")
        part.chmod(0o600)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) & 0o044 == 0o044


def test_a_link_to_a_file_stays_one(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link.txt").symlink_to("there/a.txt")
    for text in ("new", "newer"):  # the first time there is no such file
        write_text(tmp_path / "link.txt", text)
        assert (tmp_path / "link.txt").is_symlink() and (tmp_path / "there" / "a.txt").read_text() == text
    (tmp_path / "lost.txt").symlink_to("there/a.txt/b.txt")
    with pytest.raises(PinxitError, match=r"a\.txt is a file; choose another place"):
        check_file(tmp_path / "lost.txt")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_device_or_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    """Whose owner is root would lose /dev/null to `--out /dev/null`."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PinxitError, match="pipe: it is no plain file; name another"):
        check_file(tmp_path / "pipe")
    with pytest.raises(PinxitError, match=r"cannot write .*pipe: it is no plain file"):
        write_text(tmp_path / "pipe", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"] and (tmp_path / "pipe").is_fifo()
