"""JSON beside published weights: what is read, and one sentence for what is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pinxit.errors import CheckpointError
from pinxit.weights.json_files import json_object, json_objects, shards
from pinxit.weights.tensor_files import first_of, read_tensors, write_tensors

INDEX = '{"weight_map": {"x": "b.safetensors", "y": "a.safetensors", "z": "b.safetensors"}}'


def test_objects_and_lists_of_them(tmp_path: Path) -> None:
    one, many = tmp_path / "one.json", tmp_path / "many.json"
    one.write_text('{"a": 1}')
    many.write_text('[{"a": 1}, {}]')
    assert json_object(one) == {"a": 1} and json_objects(many) == [{"a": 1}, {}]


def test_an_index_names_each_file_once(tmp_path: Path) -> None:
    index = tmp_path / "index.json"
    index.write_text(INDEX)
    for name in "ab":
        (tmp_path / f"{name}.safetensors").touch()
    assert [path.name for path in shards(index)] == ["a.safetensors", "b.safetensors"]


def test_the_first_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "c").touch()
    (tmp_path / "b").touch()
    assert first_of(tmp_path, ("a", "b", "c")) == tmp_path / "b"
    with pytest.raises(CheckpointError, match="has none of a, d"):
        first_of(tmp_path, ("a", "d"))


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    """One of them is left over from other weights."""
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}')
    x, y = torch.zeros(2), torch.ones(3)
    write_tensors(tmp_path / "a.safetensors", {"x": x})
    write_tensors(tmp_path / "b.safetensors", {"y": y})
    assert {name: tensor.tolist() for name, tensor in read_tensors(index).items()} == {"x": [0, 0], "y": [1, 1, 1]}
    write_tensors(tmp_path / "b.safetensors", {"y": y, "x": x + 1})
    with pytest.raises(CheckpointError, match=r"b\.safetensors has x, and so has a shard before it"):
        read_tensors(index)


@pytest.mark.parametrize(
    ("read", "content", "told"),
    [
        (json_object, "{", "is not readable JSON"),
        (json_object, None, "cannot be read"),
        (json_object, "[]", "must be a section of fields"),
        (json_objects, "{}", "must be"),
        (json_objects, '["a"]', "must be"),
        (shards, "{}", "names no file"),
        (shards, INDEX, r"names a\.safetensors, which is not in the folder"),
        (shards, '{"weight_map": {"x": ""}}', "names a file without a name, which is not in the folder"),
        (shards, '{"weight_map": {"x": "../secret"}}', r"names \.\./secret, which is not in the folder"),
    ],
)
def test_what_is_refused(tmp_path: Path, read: Callable[[Path], Any], content: str | None, told: str) -> None:
    path = tmp_path / "inner" / "file.json"
    path.parent.mkdir()
    (tmp_path / "secret").touch()
    if content is not None:
        path.write_text(content)
    with pytest.raises(CheckpointError, match=told) as caught:
        read(path)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
