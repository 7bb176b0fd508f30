"""Make src/pinxit/text/clip_merges.txt.gz: the merges of the published CLIP models, out of the open_clip_torch package.

python scripts/build_clip_merges.py
"""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

from pinxit.text.clip_tokenizer import MERGES, SHIPPED

FILE = "bpe_simple_vocab_16e6.txt.gz"


def main() -> None:
    package = importlib.util.find_spec("open_clip")  # found, not imported: its imports are not needed
    assert package is not None and package.submodule_search_locations, "pip install --no-deps open_clip_torch"
    source = Path(package.submodule_search_locations[0]) / FILE
    lines = gzip.decompress(source.read_bytes()).decode().split("\n")[: MERGES + 1]
    SHIPPED.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
    print(f"{SHIPPED}: {len(lines) - 1} merges, {SHIPPED.stat().st_size} bytes")


if __name__ == "__main__":
    main()
