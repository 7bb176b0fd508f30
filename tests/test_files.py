from __future__ import annotations

import errno
import stat
import sys
from pathlib import Path

import pytest

from pinxit.errors import PinxitError
from pinxit.files import replacing, write_json, write_text


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(PinxitError, match=r"cannot write .*a\.txt: No space left"),
        replacing(tmp_path / "a.txt") as part,
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
    with replacing(tmp_path / "a") as part:
        part.write_text("x")
        part.chmod(0o600)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) & 0o044 == 0o044
