from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("fastapi")

from tests.cli.helpers import cli as cli
from tests.serve.running import Running, running


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One for all tests that change nothing in it."""
    with running(tmp_path_factory.mktemp("serve")) as found:
        yield found
