"""The command line as a program: what it prints where, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from localq.cli.main import main
from localq.engine.client import Generation
from localq.formats.gguf import Field, TensorLayout, ValueType, encode_header
from localq.formats.types import QuantType, TensorType
from localq.library import Model
from localq.paths import Paths
from localq.services.make.quantize import QuantizeResult
from tests.services.test_quantize import DEMO

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def quantized(home: Paths, capsys: Capture) -> str:
    """The demo, pulled and quantized: the name of its GGUF."""
    assert main(["pull", "demo"]) == 0
    assert main(["quantize", "q4_0"]) == 0
    name = capsys.readouterr().out.splitlines()[-1]
    assert name == "demo/stories260K:Q4_0"
    return name


def test_a_day_with_localq(quantized: str, capsys: Capture) -> None:
    assert main(["run", "-p", "Once upon a time", "--max-tokens", "20", "--seed", "1"]) == 0
    said = capsys.readouterr()
    assert len(said.out.split()) > 5
    assert main(["path"]) == 0
    path = Path(capsys.readouterr().out.rstrip("\n"))
    assert path.is_absolute()
    assert path.read_bytes()[:4] == b"GGUF"
    assert main(["rm", quantized]) == 0
    assert not path.exists()
    assert main(["path"]) == 0  # the checkpoint is left
    assert Path(capsys.readouterr().out.rstrip("\n")).is_dir()


def test_the_json_of_list_and_show(quantized: str, capsys: Capture) -> None:
    assert main(["list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in listed] == ["demo/stories260K", quantized]
    assert set(listed[0]) == {field.name for field in fields(Model)}
    assert set(listed[0]["source"]) == {"repo", "revision"}
    assert main(["show", quantized, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert {key: shown[key] for key in listed[1] if key != "used_at"} == {
        key: value for key, value in listed[1].items() if key != "used_at"
    }
    assert shown["metadata"]["general.architecture"] == "llama"
    assert shown["tensors"][0].keys() == {"name", "type", "shape", "nbytes"}
    assert sum(tensor["nbytes"] for tensor in shown["tensors"]) < shown["size_bytes"]


def test_the_json_of_quantize_and_run(quantized: str, capsys: Capture) -> None:
    assert main(["quantize", "Q8_0", "stories260k", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert set(made) == {field.name for field in fields(QuantizeResult)}
    assert made["quant"] == "Q8_0"
    arguments = ["run", "stories260k:q8_0", "-p", "Once", "--max-tokens", "5", "--json"]
    assert main([*arguments, "--temperature", "0"]) == 0
    reply = json.loads(capsys.readouterr().out)
    lists = {"tokens", "logprobs"}  # which are for programs that ask the engine themselves
    assert set(reply) == {field.name for field in fields(Generation)} - lists
    assert (reply["generated_tokens"], reply["stop"]) == (5, "length")


def test_show_for_people(quantized: str, capsys: Capture) -> None:
    assert main(["show", quantized, "--tensors"]) == 0
    text = capsys.readouterr().out
    assert "blk.4.ffn_down.weight" in text
    assert "512 items" in text


def test_an_empty_library(home: Paths, capsys: Capture) -> None:
    assert main(["list"]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "no models yet; get one with: localq pull\n")
    assert main(["list", "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"
    for arguments in (["path"], ["run", "-p", "x"], ["quantize", "q4_0"], ["rm", "x"]):
        assert main(arguments) == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("error: ")
        assert "localq pull" in said.err
    assert not home.data.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["quantize", "q9", "."], 2, "unknown quantization type 'q9'"),
        (["quantize", "q4_0", "/no/such/folder"], 1, "no such file or folder"),
        (["show", "nothing-like-it"], 1, "nothing-like-it"),
        (["frobnicate"], 2, "No such command 'frobnicate'"),
        (["list", "--bogus"], 2, "No such option"),
        (["run", "-p", "", "x"], 2, "nothing to say"),
        (["run", "-p", "x", "--max-tokens", "0"], 2, "--max-tokens"),
        (["rm", "/etc/passwd"], 1, "'/etc/passwd' is a path"),
        ([], 2, "needs a terminal"),
        (["pull", "a/b/c/d"], 2, "a/b/c/d"),
        (["pull", "../../etc"], 2, "etc"),
    ],
)
def test_errors_are_one_line_and_a_code(
    home: Paths, capsys: Capture, arguments: list[str], code: int, message: str
) -> None:
    assert main(arguments) == code
    said = capsys.readouterr()
    assert said.out == ""
    first, *rest = said.err.splitlines()
    assert first.startswith("error: ")
    assert message in first
    assert len(rest) <= 1
    assert not home.data.exists()


def test_what_the_system_refuses_is_one_line_too(home: Paths, capsys: Capture) -> None:
    name = "a" * 300
    assert main(["quantize", "q4_0", str(DEMO), "-o", f"{name}.gguf"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert name in line


def test_help_names_every_verb(capsys: Capture) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for verb in ("pull", "quantize", "list", "show", "path", "run", "rm"):
        assert f"\n  {verb} " in text
        assert main([verb, "--help"]) == 0
        assert capsys.readouterr().out.startswith(f"Usage: localq {verb}")


def test_names_cannot_drive_the_terminal(home: Paths, capsys: Capture, tmp_path: Path) -> None:
    evil = tmp_path / "a\x1b]0;owned\x07\n.gguf"
    evil.write_bytes(b"nonsense")
    assert main(["show", str(evil)]) == 1
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert len(said.splitlines()) == 2


def program(home: Paths, *arguments: str, **options: object) -> subprocess.Popen[bytes]:
    started: subprocess.Popen[bytes] = subprocess.Popen(
        [sys.executable, "-m", "localq", *arguments],
        env={**os.environ, "LOCALQ_HOME": str(home.data.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,  # type: ignore[call-overload]
    )
    return started


def test_stdin_as_the_prompt(quantized: str, home: Paths) -> None:
    arguments = ("run", "-p", "-", "--max-tokens", "5", "--temperature", "0")
    with program(home, *arguments, stdin=subprocess.PIPE) as process:
        out, _ = process.communicate(b"Once upon a time")
    assert process.returncode == 0
    assert out.startswith(b", there was")


def test_a_reader_that_leaves_hears_nothing(quantized: str, home: Paths) -> None:
    with program(home, "show", quantized, "--tensors") as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        said = process.stderr.read()
    assert said == b""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_stops_a_reply(quantized: str, home: Paths) -> None:
    arguments = ("run", "-p", "Once upon a time", "--max-tokens", "1000000", "--ctx", "500000")
    with program(home, *arguments) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.read(20)  # it speaks
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        said = process.stderr.read().decode()
    assert process.returncode == 130
    assert "Traceback" not in said


def test_every_type_has_a_name_for_the_command_line() -> None:
    assert [QuantType.parse(type_.name.lower()) for type_ in QuantType] == list(QuantType)


def test_the_demo_is_untouched() -> None:
    assert sorted(path.name for path in DEMO.iterdir())[0] == "LICENSE"


def test_a_dry_run_reads_no_weight_and_writes_nothing(home: Paths, capsys: Capture) -> None:
    assert main(["quantize", "q4_k_m", str(DEMO), "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "281,728 bytes" in text
    assert main(["quantize", "q4_k_m", str(DEMO), "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["size_bytes"] == 281_728
    assert found["problems"] == []
    assert not home.data.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tensor-type", "attn_v"], "not PATTERN=TYPE"),
        (["--tensor-type", "(=q8_0"], "no regular expression"),
        (["--tensor-type", "attn_v=q99"], "unknown tensor type 'q99'"),
        (["--output-type", "huge"], "unknown tensor type 'huge'"),
        (["--imatrix", "/no/such.gguf"], "/no/such.gguf"),
    ],
)
def test_options_that_make_no_sense(
    home: Paths, capsys: Capture, options: list[str], message: str
) -> None:
    assert main(["quantize", "q4_0", str(DEMO), *options]) in (1, 2)
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err.splitlines()[0]


def test_a_recipe_says_how(
    quantized: str,
    home: Paths,
    capsys: Capture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert main(["quantize"]) == 2
    assert "localq.toml" in capsys.readouterr().err
    recipe = folder / "localq.toml"
    recipe.write_text('[model]\nrepo = "demo/stories260K"\n[quantize]\ntype = "q8_0"\n')
    assert main(["quantize", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "demo/stories260K:Q8_0"
    recipe.write_text(
        '[model]\nrepo = "demo/stories260K"\n[quantize]\ntype = "q4_0"\nembedding_type = "f16"\n'
        'tensor_types = { "blk\\\\.0\\\\.attn_v" = "q5_1", attn_v = "q8_0" }\n'
    )
    assert main(["quantize", "-o", "made.gguf"]) == 0
    assert main(["show", "made.gguf", "--json"]) == 0
    said = capsys.readouterr().out
    shown = json.loads(said[said.index("{") :])
    types = {tensor["name"]: tensor["type"] for tensor in shown["tensors"]}
    assert types["token_embd.weight"] == "F16"
    assert types["blk.0.attn_v.weight"] == "Q5_1"
    assert types["blk.1.attn_v.weight"] == "Q8_0"
    assert types["blk.1.attn_k.weight"] == "Q4_0"


def test_show_reads_like_json(home: Paths, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "model.gguf"
    fields = {
        "general.architecture": Field(ValueType.STRING, "llama"),
        "general.file_type": Field(ValueType.UINT32, 2),
        "general.flag": Field(ValueType.BOOL, True),
        "general.epsilon": Field(ValueType.FLOAT32, 1e-5),
        "general.languages": Field(ValueType.ARRAY, ["en", "zh"], ValueType.STRING),
        "tokenizer.ggml.tokens": Field(ValueType.ARRAY, list("abcdefghij"), ValueType.STRING),
    }
    tensor = TensorLayout("token_embd.weight", TensorType.Q4_0, (32,), 0)
    path.write_bytes(encode_header(fields.items(), [tensor]) + bytes(18))
    assert main(["show", str(path)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "general.flag true" in shown
    assert "general.epsilon 1e-05" in shown
    assert "general.languages en, zh" in shown
    assert "tokenizer.ggml.tokens 10 items: a, b, c, …" in shown
    assert main(["show", str(path), "--json"]) == 0
    metadata = json.loads(capsys.readouterr().out)["metadata"]
    assert metadata["general.flag"] is True
    assert metadata["tokenizer.ggml.tokens"] == {"items": 10}
    assert main(["show", str(path), "--json", "--vocabulary"]) == 0
    metadata = json.loads(capsys.readouterr().out)["metadata"]
    assert metadata["tokenizer.ggml.tokens"] == list("abcdefghij")


@pytest.mark.parametrize("arguments", [["run", "-p", "Hi"], ["bench"], ["tune"], ["imatrix"]])
@pytest.mark.parametrize("architecture", ["bert", "llada", "new"])
def test_a_model_that_writes_no_text(
    arguments: list[str], architecture: str, home: Paths, tmp_path: Path, capsys: Capture
) -> None:
    """llama.cpp aborts where an embedding model is told to write."""
    fields = {
        "general.architecture": Field(ValueType.STRING, architecture),
        "general.file_type": Field(ValueType.UINT32, 2),
        f"{architecture}.attention.causal": Field(ValueType.BOOL, False),
    }
    tensor = TensorLayout("token_embd.weight", TensorType.Q4_0, (32,), 0)
    path = tmp_path / "embedder.gguf"
    path.write_bytes(encode_header(fields.items(), [tensor]) + bytes(18))
    verb, *options = arguments
    (tmp_path / "text").write_text("words " * 10_000)
    given = [str(path), *(["--text", str(tmp_path / "text")] if verb == "imatrix" else [])]
    assert main([verb, *given, *options]) == 1
    said = capsys.readouterr().err
    assert "embedder.gguf: " in said
    assert ("diffusion model" if architecture == "llada" else "embedding model") in said


def test_a_reply_cut_by_the_context_says_so(quantized: str, capsys: Capture) -> None:
    assert main(["run", quantized, "-p", "Once", "--ctx", "32", "--max-tokens", "100"]) == 0
    assert "cut off: the context of" in capsys.readouterr().err
