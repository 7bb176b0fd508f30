from __future__ import annotations

from pathlib import Path

import pytest

from pinxit.data.folders import FolderDataset
from pinxit.data.shard_writer import write_shards
from tests.recipes.squares import write_squares


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight squares in four shards of two, of 16 pixels."""
    place = tmp_path_factory.mktemp("tars")
    write_shards(FolderDataset(write_squares(place / "squares"), 16), place / "shards", per_shard=2, workers=1)
    return place / "shards"
