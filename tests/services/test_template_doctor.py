"""`localq doctor --template`: what localq writes against the checkpoint's own tokenizer."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import pytest

from localq.chat_format.template import ChatTemplate
from localq.cli.main import main
from localq.errors import NotFoundError, UnsupportedError
from localq.library import Library
from localq.paths import Paths
from localq.services.doctor.template import Comparison, TemplateReport, compare_templates
from localq.services.doctor.template.conversations import conversations
from localq.services.doctor.template.installed_transformers import ask_transformers, is_installed
from tests.engine.test_engine import DEMO, make_gguf

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
INSTALLED = "localq.services.doctor.template.compare"
# What differs for each tokenizer, and why. They are llama.cpp's ways, which localq follows.
NFC = "does not bring a text into its composed form, NFC"
CONTROL = "takes '</s>' in a text for a control token"
KNOWN: dict[str, dict[str, str]] = {
    "qwen3": {"text 1": NFC, "text 3": CONTROL},
    "qwen2.5": {"text 1": NFC, "text 3": CONTROL},
    "llama3": {},
    "mistral-v0.3": {},
    "phi3": {},
    "smollm2": {},
    "gpt2": {},
    "llama2": {"text 3": "29871 '▁', 2 '</s>'"},  # spaces beside a control token
    "bert": {},
}


@pytest.fixture(autouse=True)
def without_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it writes changes from release to release (its fifth puts a space after Phi-3's control
    tokens); tests of the rest do not hang on that."""
    monkeypatch.setattr(f"{INSTALLED}.is_installed", lambda: False)


def compare(model: Path | str, against: Path | None = None) -> TemplateReport:
    with Library() as library:
        return compare_templates(
            library, str(model), str(against) if against else None, threading.Event()
        )


def differences(report: TemplateReport) -> list[Comparison]:
    return [comparison for comparison in report.comparisons if comparison.difference]


@pytest.mark.parametrize(
    "name",
    [name if name == "phi3" else pytest.param(name, marks=pytest.mark.slow) for name in KNOWN],
)
def test_published_tokenizers(name: str, material: Path, home: Paths) -> None:
    report = compare(material / "tokenizers" / name)
    assert report.checkpoint == material / "tokenizers" / name
    known = KNOWN[name]
    for comparison in differences(report):
        texts = [text for text in known if comparison.what.endswith(text)]
        assert texts, comparison
        assert known[texts[0]] in f"{comparison.cause} {comparison.difference}", comparison
        assert "matter" in str(comparison.advice)
    assert report.clean == (not known)
    rendered = {"llama3", "mistral-v0.3", "phi3", "qwen2.5", "qwen3"}
    assert (len(report.comparisons) > 10) == (name in rendered)
    assert ("the model has no chat template" in report.not_compared) == (name not in rendered)


@pytest.fixture(scope="module")
def chatty(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The demo checkpoint, taught ChatML, and its GGUF."""
    folder = tmp_path_factory.mktemp("chatty") / "chatty"
    shutil.copytree(DEMO, folder)
    teach(folder, CHATML)
    return folder, make_gguf(folder, folder.parent)


def teach(folder: Path, template: str) -> None:
    path = folder / "tokenizer_config.json"
    path.chmod(0o644)
    path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": template}))


def test_a_gguf_and_its_checkpoint(chatty: tuple[Path, Path], home: Paths) -> None:
    folder, gguf = chatty
    report = compare(gguf, folder)
    assert report.clean
    assert len(report.comparisons) == 8
    assert report.not_compared == (f"token ids: {folder} has no tokenizer.json",)
    alone = compare(gguf)
    assert alone.clean
    assert alone.checkpoint is None
    assert alone.not_compared == ("token ids: the checkpoint is not here (--against FOLDER)",)


def test_a_template_that_is_another_or_broken(
    chatty: tuple[Path, Path], tmp_path: Path, home: Paths
) -> None:
    other = tmp_path / "other"
    shutil.copytree(chatty[0], other)
    teach(other, CHATML.replace("im_end", "end"))
    (difference,) = differences(compare(chatty[1], other))
    assert difference.what == "the template itself"
    assert "'im_end|>" in str(difference.difference)
    teach(other, "a\n{% if %}")
    report = compare(other)
    assert [c.what for c in report.comparisons] == ["the template itself"] * 2
    assert "does not work (line 2)" in str(report.comparisons[-1].difference)


def test_the_token_that_llama_cpp_begins_with(
    material: Path, home: Paths, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """ChatML has no BOS; a tokenizer that wants one differs from what transformers encodes."""
    folder = tmp_path / "phi3"
    shutil.copytree(material / "tokenizers" / "phi3", folder)
    for path in folder.iterdir():
        path.chmod(0o644)
    teach(folder, CHATML)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "add_bos_token": True}))
    found = [c for c in differences(compare(folder)) if not c.what.startswith("plain")]
    assert len(found) >= 5
    assert all("begins every text with '<s>'" in str(c.cause) for c in found)
    assert main(["doctor", "--template", str(folder)]) == 1
    said = capsys.readouterr().out
    assert said.count("begins every text with") == said.count("matters little") == 1
    assert "a question, a system message, several turns, difficult text 1" in said


def test_what_is_not_there(home: Paths, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        compare(tmp_path / "nothing")
    with pytest.raises((NotFoundError, UnsupportedError)):
        compare("nothing/at-all")


def test_a_form_that_a_template_refuses() -> None:
    source = CHATML + "{{ raise_exception('No system') if messages[0].role == 'system' }}"
    names = [conversation.name for conversation in conversations(ChatTemplate(source))]
    assert "a system message" in names
    assert "tools" not in names
    assert "documents" not in names
    source += "{{ tools }}{{ documents }}{{ enable_thinking }}{{ reasoning_effort }}"
    names = [conversation.name for conversation in conversations(ChatTemplate(source))]
    assert {"tools", "documents", "enable_thinking=false", "high effort"} <= set(names)


def test_transformers_that_cannot_be_asked(tmp_path: Path) -> None:
    assert "No such file" in str(ask_transformers(tmp_path, [], python=str(tmp_path / "python")))
    if find_spec("transformers") is None:
        why = ask_transformers(tmp_path, [], python=sys.executable)
        assert why == "ModuleNotFoundError: No module named 'transformers'"


@pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not installed")
def test_transformers_own_result(
    material: Path, home: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{INSTALLED}.is_installed", is_installed)
    report = compare(material / "tokenizers" / "llama3")
    assert report.clean
    assert sum(c.what.endswith("by transformers") for c in report.comparisons) >= 8
