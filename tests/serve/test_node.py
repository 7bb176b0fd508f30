"""The OpenAI client for JavaScript: npm install openai, and say with PINXIT_NODE_MODULES where its folder is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.serve.running import Running

MODULES = os.environ.get("PINXIT_NODE_MODULES", "")


@pytest.mark.skipif(not MODULES or shutil.which("node") is None, reason="no Node with the openai package here")
def test_the_javascript_client_gets_what_it_is_promised(server: Running) -> None:
    command = ["node", str(Path(__file__).with_name("client.mjs")), MODULES, server.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["generated"]) == 2 and found["linked"] == found["generated"][0]
    kinds = [kind for kind, _ in found["streamed"]]
    assert kinds[-2:] == ["image_generation.completed"] * 2 and kinds[0] == "image_generation.partial_image"
    assert [picture for _, picture in found["streamed"][-2:]] == found["generated"]
    assert found["models"] == ["dalle", "other", "clip"]
    assert found["wrong"] == ["BadRequestError", 400, "invalid_value", "n"]
    assert found["unable"] == ["BadRequestError", 400, "unsupported", "model"]
    assert found["masked"][:2] == ["BadRequestError", 400]
    assert found["late"][0] in ("APIConnectionTimeoutError", "RateLimitError")
    for _ in range(100):
        if not server.context.dispatcher.handles:
            break
        time.sleep(0.05)
    assert not server.context.dispatcher.handles
