"""What is said of llama.cpp's converter before it is there, and what it is given to read."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from localq.convert import convert_checkpoint, open_checkpoint
from localq.convert.external import environment
from localq.convert.external.environment import _ask, _Plan
from localq.convert.external.older_transformers import readable_by_transformers_4
from localq.convert.external.pip import Package, _remote_size
from localq.convert.external.requirements import Release, Requirements
from localq.convert.families import ARCHITECTURES
from localq.convert.llama_cpp_knows import knows_architecture
from localq.errors import UnsupportedError
from tests.checkpoints import SMOLLM2_CONFIG, write_llama_checkpoint
from tests.hub_server import HubServer, Refuse

TORCH = ("torch==2.11.0", "transformers==4.57.6")
CPU = ("https://download.pytorch.org/whl/cpu",)


def question(tmp_path: Path, plan: _Plan) -> str:
    asked: list[str] = []
    release = Release("0.3.36", 76_600_000, plan.requirements)

    def consent(text: str) -> bool:
        asked.append(text)
        return True

    _ask(tmp_path, release, plan, release.archive_bytes, consent)
    return asked[0]


def test_torch_for_graphics_cards_is_not_called_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(
        environment.shutil,  # type: ignore[attr-defined]
        "disk_usage",
        lambda path: type("Usage", (), {"free": 10**12}),
    )
    assert "needs a download of 377 MB" in question(tmp_path, _Plan(Requirements(TORCH, CPU), None))
    said = question(tmp_path, _Plan(Requirements(TORCH), None))
    assert "needs a download of 3.3 GB" in said
    monkeypatch.setattr(sys, "platform", "darwin")
    assert "377 MB" in question(tmp_path, _Plan(Requirements(TORCH), None))


def test_what_nobody_says_the_size_of_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = [
        Package("torch", "2.11.0", None),
        Package("nvidia-cublas", "13.0", None),
        Package("numpy", "2.2.6", 16_000_000),
        Package("filelock", "3.2", 20_000),
    ]
    said = question(tmp_path, _Plan(Requirements(TORCH), packages))
    assert "needs a download of at least 92.6 MB" in said
    assert "torch, nvidia-cublas, whose size the package index does not say" in said
    assert "1 smaller packages (20.0 kB)" in said
    assert "takes at least" in said


def test_an_index_that_does_not_answer_head(hub: HubServer, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    folder.mkdir()
    (folder / "x.bin").write_bytes(bytes(5000))
    repo = hub.add_repo("org/index", folder)
    address = f"{hub.url}/org/index/resolve/{repo.commit}/x.bin"
    assert _remote_size(address) == 5000
    hub.faults.append(Refuse("x.bin", status=405))
    assert _remote_size(address) == 5000
    hub.faults.append(Refuse("x.bin", 2, status=404))
    assert _remote_size(address) is None


def test_llama_cpp_is_offered_only_where_it_knows_the_architecture(tmp_path: Path) -> None:
    def refused(architecture: str) -> UnsupportedError:
        config = {**SMOLLM2_CONFIG, "architectures": [architecture], "vocab_size": 64}
        folder = write_llama_checkpoint(tmp_path / architecture, config=config)
        with pytest.raises(UnsupportedError) as caught:
            convert_checkpoint(open_checkpoint(folder))
        return caught.value

    assert "--with llama.cpp" in str(refused("XverseForCausalLM").hint)
    nobody = refused("NobodyKnowsItForCausalLM")
    assert "neither localq nor llama.cpp" in nobody.message
    assert "--with" not in str(nobody.hint)


def test_the_list_of_architectures_is_that_of_the_installed_release() -> None:
    assert knows_architecture("LlamaForCausalLM")
    assert not knows_architecture("")
    assert sum(map(knows_architecture, ARCHITECTURES)) >= 50


def test_a_checkpoint_that_transformers_5_saved(tmp_path: Path) -> None:
    folder = tmp_path / "My-Model"
    (folder / "sub").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "tokenizer.json").write_text("{}")
    config = {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0}}
    (folder / "config.json").write_text(json.dumps(config | {"text_config": config}))
    saved = {"tokenizer_class": "TokenizersBackend", "extra_special_tokens": ["<a>"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(saved))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with readable_by_transformers_4(folder, tmp_path / "scratch") as seen:
        assert seen != folder
        assert seen.name == folder.name
        assert {p.name for p in seen.iterdir()} == {p.name for p in folder.iterdir()}
        assert (seen / "model.safetensors").read_bytes() == b"weights"
        assert json.loads((seen / "tokenizer_config.json").read_text()) == {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "additional_special_tokens": ["<a>"],
        }
        new = json.loads((seen / "config.json").read_text())
        assert new["rope_theta"] == new["text_config"]["rope_theta"] == 1e6
        assert new["rope_scaling"] == {"rope_type": "yarn", "factor": 4.0}
    assert list((tmp_path / "scratch").iterdir()) == []
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_an_older_checkpoint_is_read_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"rope_theta": 10000.0, "architectures": ["X"]}')
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
    with readable_by_transformers_4(tmp_path, tmp_path / "scratch") as seen:
        assert seen == tmp_path
    assert not (tmp_path / "scratch").exists()
