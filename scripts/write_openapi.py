"""Write docs/openapi.json: what the server takes and gives, from which clients in other languages are made.

python -m scripts.write_openapi
"""

from __future__ import annotations

from pathlib import Path

from pinxit.files import write_json
from pinxit.serve.app import openapi

PLACE = Path(__file__).parents[1] / "docs" / "openapi.json"

if __name__ == "__main__":
    write_json(PLACE, openapi())
