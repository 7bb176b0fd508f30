"""A rank that is left alone says so in a sentence; what is wrong with itself is no other's end."""

from __future__ import annotations

import pytest

from pinxit import cli as commands
from tests.cli.helpers import Cli


def test_a_rank_whose_peer_has_ended_says_so(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def ends() -> None:
        raise RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:24683")

    monkeypatch.setattr(commands, "app", ends)
    with pytest.raises(RuntimeError, match="closed by peer"):
        cli("train")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match="closed by peer"):
        cli("train")
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    done = cli("train")
    assert (done.code, done.out) == (1, "")
    assert done.err == "pinxit: another rank has ended, and says why; the same command goes on from the last save.\n"
    monkeypatch.setattr(commands, "app", lambda: [][0])
    with pytest.raises(IndexError):
        cli("train")
