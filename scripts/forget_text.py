"""Write an Imagen checkpoint whose base has forgotten its text: networks that draw and know no language yet.

    python -m scripts.forget_text imagen-tiny build/wordless
    pinxit train imagen --init-from build/wordless ... --out runs/frozen
    pinxit train imagen --init-from build/wordless --text-encoder learned ... --out runs/learned

What is left out begins anew in both runs (all that the base computes from text alone), so that a frozen language model
and a text encoder trained from scratch start level, and with a painter that need not be trained first.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from pinxit.recipes.diffusion.config import StageConfig
from pinxit.weights.checkpoint import Part, open_checkpoint, save_checkpoint
from pinxit.weights.zoo import find

OF_TEXT = re.compile(r"^conditioning\.(pooled|caption|context|context_norm|reading)\.|\.text_(kv|norm)\.")


def main() -> None:
    """Copy the checkpoint without the weights that read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="a shipped name or a folder")
    parser.add_argument("out", type=Path, help="the folder to write")
    options = parser.parse_args()
    checkpoint = open_checkpoint(find(options.checkpoint), "imagen")
    parts = {name: Part(checkpoint.config(name, StageConfig), checkpoint.state(name)) for name in checkpoint.parts}
    base = parts["base"]
    kept = {name: tensor for name, tensor in base.state.items() if not OF_TEXT.search(name)}
    parts["base"] = Part(base.config, kept)
    save_checkpoint(
        options.out, "imagen", parts, settings=checkpoint.settings, provenance=checkpoint.provenance, store="bf16"
    )
    print(f"{len(base.state) - len(kept)} of {len(base.state)} weights of the base left out; {options.out}")


if __name__ == "__main__":
    main()
