"""Run one fuzz target under atheris; see the README beside this file."""

from __future__ import annotations

import sys
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["localq"]):
    from localq.chat_format.message import ChatMessage
    from localq.chat_format.template import ChatTemplate
    from localq.convert import convert_checkpoint, open_checkpoint
    from localq.errors import LocalqError
    from localq.formats.gguf import Field, TensorLayout, ValueType, encode_header, read_gguf
    from localq.formats.safetensors import read_safetensors_header
    from localq.formats.torch_pickle import PickleError, read_pickle
    from localq.formats.torch_zip import read_torch_header
    from localq.formats.types import TensorType

_DEMO = Path(__file__).parents[1] / "localq" / "demo" / "stories260K"
_LIMITS = ["-timeout=10", "-rss_limit_mb=2048", "-max_len=65536"]


def _file(work: Path, read: Callable[[Path], object]) -> Callable[[bytes], None]:
    path = work / "input"

    def target(data: bytes) -> None:
        path.write_bytes(data)
        read(path)

    return target


def _in_checkpoint(
    work: Path, name: str, *, without: tuple[str, ...] = ()
) -> Callable[[bytes], None]:
    """The demo checkpoint with the input for the file `name`."""
    for path in _DEMO.iterdir():
        if path.name not in without:
            (work / path.name).write_bytes(path.read_bytes())

    def target(data: bytes) -> None:
        (work / name).write_bytes(data)
        convert_checkpoint(open_checkpoint(work))

    return target


def _template(data: bytes) -> None:
    template = ChatTemplate(data.decode("utf-8", "replace"))
    template.render([ChatMessage("user", "Hello")])


def _pickle(data: bytes) -> None:
    with suppress(PickleError):
        read_pickle(data)


def _targets(work: Path) -> dict[str, Callable[[], Callable[[bytes], None]]]:
    return {
        "safetensors": lambda: _file(work, read_safetensors_header),
        "gguf": lambda: _file(work, read_gguf),
        "config": lambda: _in_checkpoint(work, "config.json"),
        "tokenizer": lambda: _in_checkpoint(work, "tokenizer.json", without=("tokenizer.model",)),
        "sentencepiece": lambda: _in_checkpoint(work, "tokenizer.model"),
        "template": lambda: _template,
        "pickle": lambda: _pickle,
        "torch": lambda: _file(work, read_torch_header),
    }


def _seeds(name: str, folder: Path) -> None:
    """Something whole to begin with."""
    folder.mkdir()
    match name:
        case "safetensors":
            (folder / "demo").write_bytes((_DEMO / "model.safetensors").read_bytes()[:20_000])
        case "config":
            (folder / "demo").write_bytes((_DEMO / "config.json").read_bytes())
        case "sentencepiece":
            (folder / "demo").write_bytes((_DEMO / "tokenizer.model").read_bytes())
        case "gguf":
            fields = {
                "general.architecture": Field(ValueType.STRING, "llama"),
                "tokens": Field(ValueType.ARRAY, ["a", "b"], ValueType.STRING),
                "scores": Field(ValueType.ARRAY, [0.5, 1.0], ValueType.FLOAT32),
                "layers": Field(ValueType.UINT32, 2),
            }
            table = [TensorLayout("a.weight", TensorType.Q4_0, (64, 2), 0)]
            (folder / "small").write_bytes(encode_header(fields.items(), table) + bytes(96))
        case "tokenizer":
            (folder / "bpe").write_text('{"model": {"type": "BPE", "vocab": {}, "merges": []}}')
        case "torch":
            with zipfile.ZipFile(folder / "small", "w") as archive:
                archive.writestr("a/data.pkl", b"\x80\x02}.")
                archive.writestr("a/data/0", bytes(8))
        case "template":
            (folder / "loop").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "work"
        work.mkdir()
        targets = _targets(work)
        name = sys.argv[1] if len(sys.argv) > 1 else ""
        if name not in targets:
            sys.exit(f"usage: fuzz.py {{{','.join(targets)}}} [libFuzzer options]")
        target = targets[name]()

        def one(data: bytes) -> None:
            try:
                target(data)
            except LocalqError:
                pass

        seeds = Path(folder) / "seeds"
        _seeds(name, seeds)
        atheris.Setup([sys.argv[0], *_LIMITS, *sys.argv[2:], str(seeds)], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
