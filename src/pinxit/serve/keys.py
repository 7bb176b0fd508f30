"""API keys: stored as hashes, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from pinxit.errors import UsageError
from pinxit.files import read_lines, read_text, write_text
from pinxit.locks import file_lock

LINE = re.compile(r"(?P<name>[\w.@-]{1,64}) sha256:(?P<hash>[0-9a-f]{64})(?: weight=(?P<weight>[1-9]\d{0,3}))?")


@dataclass(frozen=True)
class Caller:
    """Who sends a request, and the weight of its share of the machine."""

    name: str
    weight: float = 1.0


class Keys:
    """The keys of a file, one a line: `NAME sha256:HASH`, optionally followed by ` weight=4`."""

    def __init__(self, known: list[tuple[bytes, Caller]]) -> None:
        self.known = known

    @classmethod
    def read(cls, file: Path) -> Keys:
        """Raises UsageError for a file that cannot be read, or a line that is no key."""
        known = []
        for number, line in enumerate(read_lines(file, "keys"), 1):
            if line.startswith("#"):
                continue
            found = LINE.fullmatch(line)
            if found is None:
                raise UsageError(f"{file}, key {number}: write NAME sha256:HASH; --new-key NAME makes one.")
            caller = Caller(f"key:{found['name']}", float(found["weight"] or 1))
            known.append((bytes.fromhex(found["hash"]), caller))
        if not known:
            raise UsageError(f"{file} holds no keys: --new-key NAME makes one.")
        return cls(known)

    def caller(self, key: str) -> Caller | None:
        """The owner of a key, or None. All hashes are compared, so that the time says nothing."""
        asked, found = hash_key(key), None
        for one, caller in self.known:
            if hmac.compare_digest(one, asked):
                found = caller
        return found


def hash_key(key: str) -> bytes:
    """SHA-256 of a key. Keys are long and random, so no slow hash is needed."""
    return hashlib.sha256(key.encode(errors="surrogateescape")).digest()


def add_key(file: Path, name: str) -> str:
    """Make a key for `name`, add its hash to the file, and return it.

    Raises UsageError for a name that cannot be one, and for a file that exists and is not text.
    """
    key = f"pinxit-{secrets.token_urlsafe(32)}"
    line = f"{name} sha256:{hash_key(key).hex()}"
    if LINE.fullmatch(line) is None:
        raise UsageError(f"'{name}' is no name for a key: use letters, digits and . @ - _, at most 64.")
    with file_lock(file.with_name(f".{file.name}.lock"), f"the keys {file}", waiting=lambda: None):
        before = read_text(file, "keys") if file.is_file() else ""
        write_text(file, before + ("\n" if before and not before.endswith("\n") else "") + line + "\n")
        file.chmod(0o600)
    return key
