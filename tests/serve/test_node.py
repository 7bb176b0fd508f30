"""The OpenAI client for JavaScript: npm install openai, and say with PINXIT_NODE_MODULES where its folder is.

Of the page what needs no browser.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from pinxit.pictures import encode_picture
from pinxit.serve.page import WEB
from pinxit.serve.records import MAX_JOBS_PER_REQUEST
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


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node here")
def test_the_page_reads_the_settings_of_every_format_and_of_no_other_file(tmp_path: Path) -> None:
    facts = {"prompt": "三个绿色的三角形 <b>", "seed": 2**62 + 1, "recipe": "dalle"}
    grey, files = np.full((9, 7, 3), 90, np.uint8), []
    for form in ("png", "jpeg", "webp"):
        whole = encode_picture(grey, facts, form)
        files += [whole, encode_picture(grey, None, form), whole[:70], whole[:12]]
    files += [b"", b"a text that is no picture", b"RIFF\4\0\0\0WEBP"]
    for number, data in enumerate(files):
        (tmp_path / f"{number:02d}").write_bytes(data)
    code = (
        (WEB / "metadata.js").read_text(encoding="utf-8")
        + """
        const { readFileSync } = await import("node:fs");
        const read = (path) => readSettings(new Uint8Array(readFileSync(path)).buffer);
        console.log(JSON.stringify(process.argv.slice(1).map(read)));"""
    )
    command = ["node", "--input-type=module", "-e", code, *map(str, sorted(tmp_path.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    told = facts | {"seed": str(facts["seed"])}
    assert json.loads(done.stdout) == [told, None, None, None] * 3 + [None] * 3


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node here")
def test_a_comparison_of_more_painters_than_a_request_may_have_is_several_with_one_seed(tmp_path: Path) -> None:
    for path in WEB.glob("*.js"):
        shutil.copy(path, tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "run.js").write_text("""
        globalThis.document = { querySelectorAll: () => [], getElementById: () => ({}) };
        const sent = [];
        globalThis.fetch = async (path, { body, headers }) => {
          const asked = JSON.parse(body);
          sent.push([asked.recipes.length, asked.seed ?? null, headers["idempotency-key"]]);
          return { status: 202, ok: true, json: async () => ({ jobs: asked.recipes.map((id) => ({ id, seed: 7 })) }) };
        };
        const { paint } = await import("./form.js");
        const recipes = [...Array(9).keys()].map(String);
        const jobs = await paint({ prompt: "a cat", recipes });
        console.log(JSON.stringify([sent, jobs.map((one) => one.id)]));
        process.exit(0);""")
    done = subprocess.run(["node", "run.js"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    sent, jobs = json.loads(done.stdout)
    assert [one[:2] for one in sent] == [[MAX_JOBS_PER_REQUEST, None], [1, 7]] and sent[0][2] != sent[1][2]
    assert jobs == [str(number) for number in range(9)]
