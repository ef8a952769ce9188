"""A model card says what is known, and a folder comes to the hub in one commit."""

from __future__ import annotations

import base64
import json
import shutil
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import yaml

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.registry.ancestry import read_ancestry
from lidr.pipelines.cli.export import _publish, export_command
from lidr.pipelines.model_card import model_card
from tests.chains import Chain, make_chain
from tests.json_server import serving


@pytest.fixture(scope="module")
def chain(tmp_path_factory) -> Chain:
    return make_chain(str(tmp_path_factory.mktemp("chain") / "store"))


def test_a_card_says_what_is_known_and_what_is_not(chain):
    card = model_card(read_ancestry(None, chain.version(2), chain.store))
    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front)["tags"][0] == "lidr"
    assert "# tiny, version 3" in body and "M_2 of a run" in body
    assert "evaluation is not on the store any more" in body
    assert "nothing is known of other languages" in body
    assert chain.tags(2)["lidr.model_digest"] in body


def test_a_card_outlives_the_run_s_recipe(chain, tmp_path):
    shutil.copytree(chain.store, tmp_path / "store")
    shutil.rmtree(tmp_path / "store/runs")
    version = Chain(str(tmp_path / "store"), rounds=chain.rounds).version(1)
    card = model_card(read_ancestry(None, version, str(tmp_path / "store")))
    assert "Not known any more." in card and "## Recipe" not in card


@pytest.mark.parametrize("named", ["tiny", "tiny@", "tiny/x", "a/b@c", ""])
def test_an_export_needs_a_version(named):
    with pytest.raises(BadInput, match="names no version"):
        export_command(named, "folder")


def test_an_export_goes_to_a_folder_or_the_hub():
    with pytest.raises(BadInput, match="is not a folder"):
        export_command("tiny@champion", "s3://bucket/model")


def test_a_folder_comes_to_the_hub_in_one_commit(tmp_path: Path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "README.md").write_text("# card")
    asked: list[str] = []
    uploaded: dict[str, bytes] = {}

    def answer(request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, object]:
        path = request.path.partition("?")[0]
        asked.append(f"{request.command} {path} {request.headers['Authorization']}")
        if path == "/api/repos/create":
            return 200, {"url": f"{url}/org/name", "name": "org/name"}
        if path.endswith("/preupload/main"):
            files = [each["path"] for each in json.loads(body)["files"]]
            modes = [{"path": name, "uploadMode": "regular"} for name in files]
            return 200, {"files": [mode | {"shouldIgnore": False} for mode in modes]}
        if path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    value = line["value"]
                    uploaded[value["path"]] = base64.b64decode(value["content"])
            oid = "c" * 40
            return 200, {"commitUrl": f"{url}/org/name/commit/{oid}", "commitOid": oid}
        return 200, {}

    with serving(answer) as url:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        _publish(tmp_path, "org/name")
    assert uploaded == {"config.json": b"{}", "README.md": b"# card"}
    commits = [line for line in asked if "/commit/" in line]
    assert commits == ["POST /api/models/org/name/commit/main Bearer hf_secret"]
