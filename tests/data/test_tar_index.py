from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from pinxit.data.tar_index import Member, TarDamage, members
from pinxit.errors import DataError
from tests.data.helpers import write_tar

FILES = {
    "000.jpg": b"picture",
    "000.txt": b"",
    "folder/" + "long" * 20 + "/" + "name" * 20 + ".txt": b"x" * 513,
    "企鹅.txt": "一只企鹅".encode(),
    "b" * 150 + ".json": b"{}",
    "c.bin": bytes(range(256)) * 4,
}


def by_tarfile(path: Path) -> list[Member]:
    with tarfile.open(path) as tar:
        return [Member(m.name, m.offset_data, m.size) for m in tar if m.isfile()]


@pytest.mark.parametrize("mtime", [0, 1234567.875])  # webdataset's fractional times make pax headers
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_equal_those_of_tarfile(tmp_path: Path, form: int, mtime: float) -> None:
    path = tmp_path / "a.tar"
    write_tar(path, FILES, form, mtime if form == tarfile.PAX_FORMAT else int(mtime))
    found = list(members(path))
    assert found == by_tarfile(path)
    data = path.read_bytes()
    assert {m.name: data[m.start : m.start + m.size] for m in found} == FILES


def test_ustar_prefixes_join_the_name(tmp_path: Path) -> None:
    name = "folder" * 15 + "/" + "x" * 60 + ".txt"
    write_tar(tmp_path / "a.tar", {name: b"1"}, tarfile.USTAR_FORMAT)
    assert [m.name for m in members(tmp_path / "a.tar")] == [name]


def test_what_cannot_be_read_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            member = tarfile.TarInfo(f"other{kind.decode()}")
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
        last = tarfile.TarInfo("a.txt")
        last.size = 3
        tar.addfile(last, io.BytesIO(b"abc"))
    found = {m.name: m.problem for m in members(path)}
    beyond = "is a link to a file that does not come before it"
    assert found == {"other2": beyond, "other1": beyond, "other6": "is no plain file", "a.txt": ""}


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("deep", ["", "sub/", "long" * 22 + "/"])
def test_links_have_the_bytes_of_what_they_name(tmp_path: Path, form: int, deep: str) -> None:
    if form == tarfile.USTAR_FORMAT and len(deep) > 80:
        pytest.skip("a name that long does not fit")
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=form) as tar:
        first = tarfile.TarInfo(f"{deep}a.txt")
        first.size = 700
        tar.addfile(first, io.BytesIO(b"x" * 700))
        for name, kind, target in (("hard", tarfile.LNKTYPE, f"{deep}a.txt"), ("soft", tarfile.SYMTYPE, "./a.txt")):
            link = tarfile.TarInfo(f"{deep}{name}.txt")
            link.type, link.linkname, link.size = kind, target, 0
            tar.addfile(link)
        up = tarfile.TarInfo("up.txt")
        up.type, up.linkname = tarfile.SYMTYPE, f"nowhere/../{deep}a.txt"
        tar.addfile(up)
    found = list(members(path))
    assert [(m.start, m.size, m.problem) for m in found] == [(found[0].start, 700, "")] * 4


def test_old_tars_without_a_magic_word_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    write_tar(path, {"a.txt": b"abc"})
    data = bytearray(path.read_bytes())
    data[257:265] = bytes(8)
    data[148:156] = b" " * 8
    data[148:156] = f"{sum(data[:512]):06o}\0 ".encode()
    path.write_bytes(data)
    assert [m.name for m in members(path)] == ["a.txt"]


def drain(path: Path) -> tuple[list[str], str]:
    """The names that come before the damage, and its sentence."""
    names = []
    with pytest.raises(TarDamage) as caught:
        for member in members(path):
            names.append(member.name)
    return names, str(caught.value)


def test_a_truncated_tar_keeps_what_came_before(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    write_tar(path, {"a.txt": b"a" * 600, "b.txt": b"b" * 600})
    path.write_bytes(path.read_bytes()[: 512 + 1024 + 512 + 100])
    names, told = drain(path)
    assert names == ["a.txt"] and "truncated" in told and str(path) in told


def test_a_tar_without_its_end_mark_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    write_tar(path, {"a.txt": b"a"})
    path.write_bytes(path.read_bytes()[:1024])
    names, told = drain(path)
    assert names == ["a.txt"] and "end mark is missing" in told


def test_a_damaged_header_ends_the_reading(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    write_tar(path, {"a.txt": b"a", "b.txt": b"b"})
    data = bytearray(path.read_bytes())
    data[1024 : 1024 + 512] = b"?" * 512
    path.write_bytes(data)
    names, told = drain(path)
    assert names == ["a.txt"] and "damaged header at byte 1024" in told


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello" * 300, "not a tar"),
        (gzip.compress(b"x" * 2000, mtime=0), "compressed with gzip; unpack"),
        (b"\x28\xb5\x2f\xfd" + b"x" * 600, "compressed with zstd; unpack"),
    ],
)
def test_what_is_no_tar_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(members(path))
    with pytest.raises(DataError, match="cannot be read"):
        list(members(tmp_path / "missing.tar"))


@pytest.mark.parametrize("size", [b"-5", b"x", b""])
def test_a_size_that_is_none_is_damage(tmp_path: Path, size: bytes) -> None:
    """As an extension's record, and as the header's own."""
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        first, second = tarfile.TarInfo("0.txt"), tarfile.TarInfo("1.txt")
        first.size = second.size = 3
        tar.addfile(first, io.BytesIO(b"abc"))
        second.pax_headers = {"size": size.decode()}
        tar.addfile(second, io.BytesIO(b"abc"))
    found = []
    with pytest.raises(TarDamage, match="has a damaged header at byte"):
        for member in members(path):
            found.append(member.name)
    assert found == ["0.txt"]


def test_a_header_of_fewer_bytes_than_none_is_damage(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {"0.txt": b"abc", "1.txt": b"abc"}, tarfile.USTAR_FORMAT)
    data = bytearray((tmp_path / "a.tar").read_bytes())
    data[1024 + 124 : 1024 + 136] = b"-0000000003\0"
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(TarDamage, match="has a damaged header at byte 1024"):
        list(members(tmp_path / "a.tar"))
