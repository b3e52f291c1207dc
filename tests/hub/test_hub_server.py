"""The Hub of these tests, asked by huggingface_hub's own client."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.hub_server import HubServer, Move, Slow

_CLIENT = """
import sys
from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_download, hf_hub_url
api = HfApi()
info = api.model_info("org/name", revision="main", files_metadata=True)
lfs = next(sibling for sibling in info.siblings if sibling.rfilename == "model.safetensors").lfs
print(info.sha, info.likes, info.gated, lfs.sha256)
print(*sorted(entry.path for entry in api.list_repo_tree("org/name", recursive=True)))
print(*(entry.path for entry in api.get_paths_info("org/name", ["config.json", "onnx", "no"])))
few = api.model_info("org/name", expand=["downloads", "safetensors"])
print(few.downloads, few.safetensors.total, few.siblings)
found = api.list_models(search="ORG", filter="safetensors", sort="likes", expand=["likes"])
print(*(f"{model.id}={model.likes}" for model in found))
print(api.whoami(token="hf_good")["name"], api.list_repo_refs("org/name").branches[0].name)
print(get_hf_file_metadata(hf_hub_url("org/name", "model.safetensors")).size)
print(hf_hub_download("org/name", "model.safetensors", local_dir=sys.argv[1]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "repos" / "org" / "name"
    (folder / "onnx").mkdir(parents=True)
    (folder / "onnx/model.onnx").write_bytes(b"no")
    (folder / "config.json").write_text("{}")
    header = b'{"x": {"dtype": "F32", "shape": [3, 2], "data_offsets": [0, 24]}}'
    data = len(header).to_bytes(8, "little") + header + bytes(24)
    (folder / "model.safetensors").write_bytes(data)
    return folder


def test_it_satisfies_the_official_client(folder: Path, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HOME": str(tmp_path / "hf"),
        "NO_PROXY": "127.0.0.1",
    }
    with HubServer(page_size=1) as hub:
        repo = hub.add_repo("org/name", folder)
        hub.add_repo("org/other", folder).facts = {"likes": 7}
        hub.add_repo("else/name", folder)
        hub.tokens = {"hf_good"}
        result = subprocess.run(
            [sys.executable, "-c", _CLIENT, str(tmp_path / "here")],
            env={**environment, "HF_ENDPOINT": hub.url},
            capture_output=True,
            text=True,
            check=True,
        )
    sha256 = repo.entry("model.safetensors")["lfs"]["oid"]
    *lines, path = result.stdout.splitlines()
    assert lines == [
        f"{repo.commit} 0 False {sha256}",
        "config.json model.safetensors onnx onnx/model.onnx",
        "config.json onnx",
        "0 6 None",
        "org/other=7 org/name=0",
        "tester main",
        str(len(repo.files["model.safetensors"])),
    ]
    assert Path(path).read_bytes() == repo.files["model.safetensors"]


def test_as_a_program_it_serves_a_folder_of_repositories(folder: Path) -> None:
    command = [sys.executable, "-m", "tests.hub_server", str(folder.parents[1])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        url = program.stdout.readline().strip()
        with urllib.request.urlopen(f"{url}/org/name/resolve/main/config.json") as answer:
            assert answer.read() == b"{}"
        program.terminate()


def test_large_files_stay_on_disk_and_are_served_in_parts(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(bytes(5 << 20) + b"end")
    with HubServer() as hub:
        repo = hub.add_repo("org/big", tmp_path)
        assert repo.files.contents["model.gguf"].data is None
        address = f"{hub.url}/org/big/resolve/main/model.gguf"
        request = urllib.request.Request(address, headers={"Range": f"bytes={5 << 20}-"})
        with urllib.request.urlopen(request) as answer:
            assert (answer.status, answer.read()) == (206, b"end")
        with urllib.request.urlopen(address) as answer:
            assert len(answer.read()) == (5 << 20) + 3
        assert hub.sent["model.gguf"] == (5 << 20) + 6


def test_a_branch_can_move_and_an_answer_can_be_slow(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "config.json").write_text("[]")
    with HubServer() as hub:
        old = hub.add_repo("org/name", folder)
        address = f"{hub.url}/org/name/resolve/{{}}/config.json"
        hub.faults += [Move("config.json", folder=tmp_path / "new"), Slow(bytes_per_second=20)]
        began = time.monotonic()
        for revision, expected in (("main", b"{}"), ("main", b"[]"), (old.commit, b"{}")):
            with urllib.request.urlopen(address.format(revision)) as answer:
                assert answer.read() == expected
        assert time.monotonic() - began >= 0.04
