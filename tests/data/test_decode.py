"""Hostile pictures, each made here: what must be read is read right, what is broken is one sentence."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pinxit.data.decode import decode, read_picture
from pinxit.data.problems import ItemError
from tests.data.helpers import encoded, gradient


def pixels(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    image = decode(data, "key")
    assert image.mode == "RGB"
    return np.array(image)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_header(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


@pytest.mark.parametrize("form", ["PNG", "BMP", "WEBP"])
def test_lossless_formats_come_back_exactly(form: str) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    picture = gradient(20, 30)
    assert np.array_equal(pixels(encoded(picture, form, **options)), picture)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_turns_the_picture_upright(orientation: int, form: str) -> None:
    """The file holds the pixels as the camera stored them; after turning, the gradient must run as it was."""
    upright = gradient(40, 60)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = pixels(encoded(np.ascontiguousarray(stored), form, exif=exif.tobytes()))
    assert found.shape == upright.shape
    assert np.abs(found.astype(int) - upright).mean() < 4


def test_broken_exif_does_not_cost_the_picture() -> None:
    assert pixels(encoded(gradient(8, 8), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")).shape == (8, 8, 3)


def test_cmyk_becomes_rgb() -> None:
    image = Image.new("CMYK", (8, 8), (255, 0, 0, 0))  # cyan
    found = pixels(encoded(image, "JPEG"))
    assert np.abs(found.astype(int) - (0, 255, 255)).max() < 12


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    levels = np.array([[0, 257, 128 * 257, 65535]], dtype=np.uint16)
    found = pixels(encoded(Image.fromarray(levels), "PNG"))
    assert found[0, :, 0].tolist() == [0, 1, 128, 255]
    assert (found == found[:, :, :1]).all()


def test_sixteen_bit_colour_is_read() -> None:
    row = b"\0" + struct.pack(">6H", 65535, 0, 32896, 0, 65535, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
    data += chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    assert pixels(data).tolist() == [[[255, 0, 128], [0, 255, 0]]]


def test_transparency_is_laid_over_white() -> None:
    picture = np.zeros((1, 3, 4), dtype=np.uint8)
    picture[0, :, 3] = 0, 128, 255  # black, more and more opaque
    found = pixels(encoded(Image.fromarray(picture), "PNG"))
    assert found[0, :, 0].tolist() == [255, 127, 0]
    grey = Image.merge("LA", (Image.new("L", (1, 1), 0), Image.new("L", (1, 1), 0)))
    assert pixels(encoded(grey, "PNG")).tolist() == [[[255, 255, 255]]]


@pytest.mark.parametrize(("depth", "kind"), [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (8, 2), (16, 2)])
def test_a_transparent_level_is_laid_over_white_at_any_depth(depth: int, kind: int) -> None:
    """Smaller files for tools that shrink PNGs: grey of few bits, one level of which is transparent."""
    top, channels = 2**depth - 1, 3 if kind else 1
    pixel = [[0] * channels, [0x1234 & top or 1] * channels]
    bits = "".join(f"{level:0{depth}b}" for levels in pixel for level in levels)
    bits += "0" * (-len(bits) % 8)
    row = bytes(int(bits[place : place + 8], 2) for place in range(0, len(bits), 8))
    head = struct.pack(">IIBBBBB", 2, 1, depth, kind, 0, 0, 0)
    clear = struct.pack(f">{channels}H", *pixel[1])
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"tRNS", clear)
    data += chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    assert pixels(data).tolist() == [[[0] * 3, [255] * 3]]


def test_transparent_palettes_and_colours_are_laid_over_white() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 0, 0])
    palette.putdata([0, 1])
    assert pixels(encoded(palette, "PNG", transparency=1)).tolist() == [[[10, 20, 30], [255, 255, 255]]]
    assert pixels(encoded(palette, "GIF", transparency=0)).tolist() == [[[255, 255, 255], [200, 0, 0]]]
    keyed = encoded(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG", transparency=(1, 2, 3))
    assert pixels(keyed).tolist() == [[[255, 255, 255]]]


def test_one_bit_and_grey_pictures_become_rgb() -> None:
    assert pixels(encoded(Image.new("1", (2, 2), 1), "PNG")).tolist() == [[[255] * 3] * 2] * 2
    assert pixels(encoded(Image.new("L", (1, 1), 77), "PNG")).tolist() == [[[77] * 3]]


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_an_animation_shows_its_first_frame(form: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    found = pixels(encoded(frames[0], form, save_all=True, append_images=frames[1:]))
    assert np.abs(found.astype(int) - (255, 0, 0)).max() < 12


def test_a_jpeg_may_come_reduced_but_never_below_twice_the_need() -> None:
    data = encoded(gradient(800, 1200), "JPEG")
    assert decode(data, "key").size == (1200, 800)
    assert decode(data, "key", least=64).size == (300, 200)
    assert decode(data, "key", least=500).size == (1200, 800)


TRUNCATED = [
    ("JPEG", 0.5),
    ("PNG", 0.5),
    ("BMP", 0.5),
    ("GIF", 0.5),
    ("WEBP", 0.5),
    ("JPEG", 0.95),
    ("PNG", 0.9),
]


@pytest.mark.parametrize(("form", "share"), TRUNCATED)
def test_truncated_files_are_refused_by_name(form: str, share: float) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = encoded(picture, form)
    with pytest.raises(ItemError, match=r"^holiday/cat: is (truncated|damaged)"):
        decode(whole[: int(len(whole) * share)], "holiday/cat")


@pytest.mark.parametrize("cut", range(1, 60, 3))
def test_a_cut_anywhere_is_an_item_error_or_loses_nothing(cut: int) -> None:
    """A file that lacks only its end mark still holds every pixel."""
    whole = encoded(gradient(32, 32), "PNG")
    try:
        found = decode(whole[: len(whole) * cut // 61], "key")
    except ItemError as error:
        assert error.reason
    else:
        assert np.array_equal(np.array(found), gradient(32, 32))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "not a picture"),
        (b"hello" * 100, r"is not a picture of a known format \(JPEG, PNG, WEBP, BMP, GIF\)"),
        (png_header(30_000, 30_000) + chunk(b"IDAT", b""), "too large"),
        (png_header(9_000, 9_000) + chunk(b"IDAT", b""), r"too large \(9000 x 9000 pixels\)"),
        (png_header(8, 8) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b""), "truncated|damaged"),
        (b"BM" + b"\xff" * 60, "damaged|not a picture|too large|truncated"),
    ],
)
def test_what_is_no_picture_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ItemError, match=reason):
        decode(data, "key")


def test_other_formats_are_never_decoded() -> None:
    """Pillow would run thirty more readers on a stranger's file; a TIFF stands for them."""
    with pytest.raises(ItemError, match="not a picture"):
        decode(encoded(gradient(4, 4), "TIFF"), "key")


@pytest.mark.parametrize("seed", range(60))
def test_random_damage_is_an_item_error_or_a_picture(seed: int) -> None:
    """Whatever a decoder raises on flipped bytes, training must only ever meet ItemError."""
    draw = np.random.default_rng(seed)
    form = ["PNG", "JPEG", "GIF", "WEBP", "BMP"][seed % 5]
    data = bytearray(encoded(gradient(24, 24), form))
    for place in draw.integers(0, len(data), 8):
        data[place] = int(draw.integers(0, 256))
    try:
        assert decode(bytes(data), "key").mode == "RGB"
    except ItemError as error:
        assert error.key == "key" and str(error).startswith("key: ") and "\n" not in str(error)


def test_read_picture_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(gradient(3, 5), "PNG"))
    assert np.array_equal(read_picture(path), gradient(3, 5)) and np.array_equal(
        read_picture(str(path)), gradient(3, 5)
    )
    with pytest.raises(ItemError, match=r"missing\.png: cannot be read"):
        read_picture(tmp_path / "missing.png")


def test_an_item_error_survives_the_way_between_processes() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(ItemError("key", "is empty")))
    assert (error.key, error.reason, str(error)) == ("key", "is empty", "key: is empty.")


@pytest.mark.parametrize("size", [10, 2_000_000])
@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt", b"tEXt", b"iTXt"])
def test_notes_of_any_length_do_not_cost_the_picture(kind: bytes, size: int) -> None:
    """A camera's profile or a program's comment above a megabyte is no damage; a caption of the picture neither."""
    plain = gradient(8, 16)
    data = encoded(plain, "PNG")
    text = {
        b"iCCP": b"name\0\0" + zlib.compress(bytes(size)),
        b"zTXt": b"Comment\0\0" + zlib.compress(b"x" * size),
        b"tEXt": b"Comment\0" + b"x" * size,
        b"iTXt": b"Comment\0\1\0\0\0" + zlib.compress(b"x" * size),
    }[kind]
    noted = data[:33] + chunk(kind, text) + data[33:]  # behind the signature and IHDR
    assert np.array_equal(pixels(noted), plain)
    with pytest.raises(ItemError):
        decode(noted[: len(noted) // 2], "cut")
