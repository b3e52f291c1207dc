"""The verbs about the library, as a user types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from localq.cli.columns import lay_out, width_of
from localq.cli.main import main
from localq.library import Library
from localq.paths import Paths
from tests.small_models import checkpoint, gguf, split_gguf

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def tiny(home: Paths, tmp_path: Path, capsys: Capture) -> str:
    """A model that was imported: its name."""
    assert main(["import", str(gguf(tmp_path / "tiny.gguf"))]) == 0
    said = capsys.readouterr()
    assert "linked, it takes no more space" in said.err
    return said.out.rstrip("\n")


def test_the_path_of_what_is_gone(tiny: str, home: Paths, capsys: Capture) -> None:
    path = Library(home).find(tiny).path
    path.unlink()
    assert main(["path", tiny]) == 1
    said = capsys.readouterr()
    assert (said.out, f"its file is gone: {path}" in said.err) == ("", True)


def program(home: Paths, *arguments: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "localq", *arguments],
        env={**os.environ, "LOCALQ_HOME": os.fspath(home.data.parent), **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no text")
@pytest.mark.parametrize("variables", [{}, {"LC_ALL": "C", "PYTHONUTF8": "0"}, {"LC_ALL": "POSIX"}])
def test_a_path_is_printed_byte_for_byte(tmp_path: Path, variables: dict[str, str]) -> None:
    home = Paths.from_environment({"LOCALQ_HOME": os.fsdecode(bytes(tmp_path) + b"/h\xff\xc3\xa9")})
    done = program(home, "import", "--copy", str(gguf(tmp_path / "tiny.gguf")), **variables)
    assert done.returncode == 0, done.stderr
    done = program(home, "path", "tiny", **variables)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == os.fsencode(Library(home).find("tiny").path) + b"\n"
    assert Path(os.fsdecode(done.stdout[:-1])).read_bytes()[:4] == b"GGUF"
    done = program(home, "path", "tiny", "--json", **variables)
    assert Path(json.loads(done.stdout)["path"]) == Library(home).find("tiny").path


def test_the_path_of_a_checkpoint_that_was_quantized(
    home: Paths, tmp_path: Path, capsys: Capture
) -> None:
    base = str(checkpoint(tmp_path / "base"))
    assert main(["import", "--copy", base, "--name", "org/base"]) == 0
    made = str(gguf(tmp_path / "made.gguf"))
    assert main(["import", "--copy", made, "--name", "org/base:Q4_0"]) == 0
    capsys.readouterr()
    library = Library(home)
    for arguments, name in (
        (["org/base"], "org/base:Q4_0"),
        (["org/base", "--checkpoint"], "org/base"),
        (["base", "--checkpoint"], "org/base"),
        (["org/base:Q4_0", "--checkpoint"], "org/base"),
        (["--checkpoint"], "org/base"),
    ):
        assert main(["path", *arguments]) == 0
        assert capsys.readouterr().out == f"{library.find(name).path}\n"


def said_json(capsys: Capture) -> dict[str, object]:
    document = json.loads(capsys.readouterr().out)
    assert isinstance(document, dict)
    return document


def test_names_tags_and_notes(tiny: str, capsys: Capture) -> None:
    assert main(["alias", tiny, "t"]) == 0
    assert main(["tag", "t", "+work", "-play"]) == 0
    assert main(["note", "t", "for\x1b tests"]) == 0
    capsys.readouterr()
    for arguments, out in (
        (["alias", "t"], "t\n"),
        (["tag", "t"], "work\n"),
        (["note", "t"], "for\ufffd tests\n"),
        (["list", "--tag", "Work"], None),
        (["show", "t"], None),
    ):
        assert main(arguments) == 0
        text = capsys.readouterr().out
        assert text == out if out else "work" in text
        assert "\x1b" not in text
    assert main(["list", "--tag", "nothing"]) == 0
    assert capsys.readouterr().err == "no model is tagged nothing\n"
    assert main(["path", "t"]) == 0
    assert main(["alias", "t", "t", "--remove"]) == 0
    assert main(["show", "t"]) == 1
    for wrong in (["tag", tiny, "work"], ["tag", tiny, "--work"], ["alias", tiny, "a/b"]):
        assert main(wrong) == 2


def test_removing_and_restoring(tiny: str, home: Paths, capsys: Capture) -> None:
    assert main(["rm", tiny, "--dry-run"]) == 0
    said = capsys.readouterr()
    assert said.out == f"trashes {tiny}\n"
    assert "has it too" in said.err
    assert main(["rm", tiny, "--json"]) == 0
    document = said_json(capsys)
    assert (document["frees_bytes"], document["deleted"]) == (0, False)
    assert main(["trash"]) == 0
    assert tiny in capsys.readouterr().out
    assert main(["trash", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["state"] == "kept"
    assert main(["restore", "tiny"]) == 0
    assert capsys.readouterr().out == f"{tiny}\n"
    assert main(["rm", tiny, "--now"]) == 2  # without a terminal it must be agreed to beforehand
    assert "--yes" in capsys.readouterr().err
    assert main(["rm", tiny, "-y"]) == 0
    assert f"bring it back with: localq restore {tiny}" in capsys.readouterr().err
    assert main(["trash", "empty", "--older-than", "7d", "-y"]) == 0
    assert main(["trash", "empty"]) == 2
    assert main(["trash", "empty", "--dry-run"]) == 0
    assert main(["trash", "empty", "-y"]) == 0
    capsys.readouterr()
    assert main(["trash"]) == 0
    assert capsys.readouterr().err == "the trash is empty\n"
    assert Library(home).models() == []


def test_another_name_for_what_is_here(tiny: str, tmp_path: Path, capsys: Capture) -> None:
    assert main(["import", str(tmp_path / "tiny.gguf"), "--name", "org/other"]) == 0
    said = capsys.readouterr()
    assert said.out == f"{tiny}\n"
    assert f"localq alias {tiny} NAME" in said.err


def test_what_does_not_go_with_as(home: Paths, capsys: Capture) -> None:
    for arguments, hint in (
        (["o/m", "--as", "q4_0", "--dry-run"], "localq fit o/m: the exact size of every type"),
        (["o/m", "--as", "q4_0", "--all"], "leave out one of them"),
        (["demo", "--as", "Q4_0"], "localq pull demo && localq quantize q4_0 demo/stories260K"),
    ):
        assert main(["pull", *arguments]) == 2
        assert f"  try: {hint}\n" in capsys.readouterr().err


def test_what_imports_say(home: Paths, tmp_path: Path, capsys: Capture) -> None:
    shards = split_gguf(tmp_path / "in", "big-Q4_0")
    assert main(["import", str(shards[1]), "--dry-run", "--json"]) == 0
    document = said_json(capsys)
    assert document["taken"] is False
    assert main(["import", str(shards[1]), "--copy"]) == 0
    assert capsys.readouterr().out == "local/big:Q4_0\n"
    assert main(["import", str(shards[0])]) == 0
    assert "in the library already" in capsys.readouterr().err
    assert main(["import", str(shards[0]), "--name", "me/linked", "--json"]) == 0
    assert said_json(capsys)["saved_bytes"] == sum(shard.stat().st_size for shard in shards)
    assert main(["show", str(shards[0]), "--json"]) == 0
    shown = said_json(capsys)
    assert isinstance(shown["tensors"], list)
    assert (shown["parameters"], len(shown["tensors"])) == (64, 2)
    evil = tmp_path / "e\x1b[2Jvil.gguf"
    evil.write_bytes(b"x")
    assert main(["import", str(evil)]) == 1
    assert "\x1b" not in capsys.readouterr().err
    assert main(["import"]) == 2
    assert main(["import", "--from", "ollama", "--move", "x"]) == 2


def test_a_program_is_listed_before_it_is_taken(
    home: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("LLAMA_CACHE", str(tmp_path / "cache"))
    assert main(["import", "--from", "llama.cpp"]) == 0
    assert "holds no models" in capsys.readouterr().err
    gguf(tmp_path / "cache" / "tiny.gguf")
    (tmp_path / "cache" / "bad.gguf").write_bytes(b"x")
    assert main(["import", "--from", "llama.cpp"]) == 0
    said = capsys.readouterr()
    assert "local/tiny:Q4_0" in said.out
    assert "take them: localq import --from llama.cpp --all" in said.err
    assert "warning: bad.gguf" in said.err
    assert Library(home).models() == []
    assert main(["import", "--from", "llama.cpp", "bad.gguf"]) == 1
    assert main(["import", "--from", "llama.cpp", "--all"]) == 0
    assert "of disk saved" in capsys.readouterr().err


def test_verify_doctor_and_du(tiny: str, home: Paths, tmp_path: Path, capsys: Capture) -> None:
    assert main(["verify"]) == 2
    assert main(["verify", tiny]) == 0
    assert capsys.readouterr().out == f"ok   {tiny} (1 of 1 hashes recorded now)\n"
    assert main(["doctor"]) == 0
    assert main(["du", "--json"]) == 0
    capsys.readouterr()
    assert main(["du", "--link"]) == 2
    assert main(["du", "--duplicates"]) == 0
    with (tmp_path / "tiny.gguf").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xee")
    capsys.readouterr()
    assert main(["verify", "--all", "--json"]) == 1
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert document["good"] is False
    assert document["models"][0]["files"][0]["verdict"] == "changed"
    path = Library(home).find(tiny).path
    assert str(path) in said.err
    assert f"localq rm {tiny}" in said.err
    path.unlink()
    assert main(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["healthy"] is False
    assert main(["doctor"]) == 1
    assert "  try: localq doctor --repair" in capsys.readouterr().err
    assert main(["doctor", "--repair"]) == 0
    assert "repaired: forgets it" in capsys.readouterr().out


@pytest.mark.parametrize("sort", ["name", "size", "parameters", "used", "created"])
def test_sorting(home: Paths, tmp_path: Path, capsys: Capture, sort: str) -> None:
    for number, name in enumerate(("b", "a")):
        path = gguf(tmp_path / f"{name}-Q4_0.gguf", fill=bytes([number]), license="x" * number * 9)
        assert main(["import", str(path)]) == 0
    capsys.readouterr()
    assert main(["list", "--sort", sort, "--json"]) == 0
    names = [model["name"] for model in json.loads(capsys.readouterr().out)]
    # `a` came later, is the larger one, and has as many parameters.
    assert names == ["local/a:Q4_0", "local/b:Q4_0"]


def test_columns() -> None:
    rows = [["模型", "1 kB", "x"], ["e\u0301a", "20 kB", ""]]
    assert list(lay_out(("NAME", "SIZE", ""), rows, None)) == [
        "NAME   SIZE",
        "模型   1 kB  x",
        "e\u0301a    20 kB",
    ]
    long = [["o" * 60, "n" * 30], ["short", "s"]]
    cut = list(lay_out(("A", "B"), long, 40))
    assert max(width_of(line) for line in cut) == 40
    assert cut[1].split("  ")[0].endswith("…")
    wide = list(lay_out(("A", "B"), [["模" * 40, "x"]], 21))
    assert width_of(wide[1]) <= 21
    assert list(lay_out(("A",), [], 1)) == ["A"]


def test_what_one_types_is_cut_last_and_in_its_middle() -> None:
    name = "bartowski/Meta-Llama-3.1-8B-Instruct-GGUF:Q4_K_M"
    rows = [[name, "LlamaForCausalLM", "123 GB"]]
    (_, line) = lay_out(("NAME", "ARCHITECTURE", "SIZE"), rows, 70)
    assert line == f"{name}  LlamaForCau…  123 GB"
    (_, line) = lay_out(("NAME", "ARCHITECTURE", "SIZE"), rows, 40)
    assert line == "bartowski/…GGUF:Q4_K_M  LlamaFo…  123 GB"
    (_, line) = lay_out(("NAME",), [["模" * 20 + ":Q4_0"]], 20)
    assert line == "模模模模模…模模:Q4_0"


def test_a_models_template(
    home: Paths, capsys: Capture, material: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What transformers writes changes from release to release.
    monkeypatch.setattr("localq.services.doctor.template.compare.is_installed", lambda: False)
    phi3 = str(material / "tokenizers" / "phi3")
    assert main(["doctor", "--template", phi3]) == 0
    assert "12 of 12 comparisons are the same" in capsys.readouterr().err
    assert main(["doctor", "--template", phi3, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["clean"] is True
    assert main(["doctor", "--template", phi3, "--repair"]) == 2
    assert main(["doctor", "--against", phi3]) == 2
    assert "--against goes with --template MODEL" in capsys.readouterr().err
