"""Record what llama.cpp's own converter and quantizer make of the test checkpoints.

Run it from the project's root, whenever the llama.cpp release inside llama-cpp-python changes:

    python -m tests.reference.make_reference --llama-cpp TREE --python PYTHON \\
        --llama-quantize BIN --material DIR --release TEXT --out tests/data/reference

TREE is an unpacked llama.cpp of that release, PYTHON an interpreter with the packages its
converter asks for, BIN the llama-quantize built from TREE, DIR the test material. Each case ends
as <case>.json; nothing is kept of the checkpoints and the models. The cases are those below and
one for every file of `tests/data/families`, whose records are short: hashes, and one type in full.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.checkpoints import (
    LLAMA2_CONFIG,
    LLAMA32_CONFIG,
    LLAMA32_GENERATION_CONFIG,
    SMOLLM2_CONFIG,
    to_bf16_checkpoint,
    write_llama_checkpoint,
)
from tests.families import FAMILIES, read_family, write_family
from tests.reference.summary import summarize

__all__ = ["CASES", "CONVERTED", "Case", "as_json", "convert_with_llama_cpp", "main"]

CONVERTED = ("f32", "bf16", "f16")
FAMILY_QUANTIZED = ("Q8_0", "Q4_0", "Q5_1", "Q4_K_M")
QUANTIZED = ("Q8_0", "Q4_0", "Q5_1")
QUANTIZED_BRIEFLY = (
    *("Q1_0", "Q2_0", "Q4_1", "Q5_0"),
    *("Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K"),
    *("IQ3_XS", "IQ3_S", "IQ3_M", "IQ4_NL", "IQ4_XS"),
    *("TQ1_0", "TQ2_0", "MXFP4_MOE"),
)

MENDED: Mapping[str, str] = {
    "baichuan-tiny": """
from conversion.base import ModelBase
from conversion.baichuan import BaichuanModel as Baichuan
theirs = Baichuan.modify_tensors
def mended(self, data, name, layer):
    of = theirs if "W_pack" in name else ModelBase.modify_tensors
    yield from of(self, data, name, layer)
Baichuan.modify_tensors = mended
""",
    "deepseek-v32": """
from conversion.base import TextModel
from conversion.deepseek import DeepseekV32Model
DeepseekV32Model.set_vocab = TextModel._set_vocab_gpt2
""",
    "hunyuan-moe": """
from conversion.base import TextModel
from conversion.hunyuan import HunYuanMoEModel
HunYuanMoEModel.set_vocab = TextModel._set_vocab_gpt2
""",
    "kimi-k2": """
import base64, json, transformers
from conversion.deepseek import DeepseekV2Model
def tokenizer(folder, **more):
    made = type('Tokenizer', (), {})()
    made.model = made
    lines = [line.split() for line in open(f'{folder}/tiktoken.model', 'rb')]
    made._mergeable_ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    added = json.load(open(f'{folder}/tokenizer_config.json'))['added_tokens_decoder']
    first = len(lines)
    names = {int(key): token['content'] for key, token in added.items()}
    ids = range(first, first + 256)
    made.special_tokens = {names.get(i, f'<|reserved_token_{i}|>'): i for i in ids}
    return made
def none(self):
    raise FileNotFoundError
transformers.AutoTokenizer.from_pretrained = tokenizer
DeepseekV2Model._set_vocab_gpt2 = none
DeepseekV2Model.get_vocab_base_pre = lambda self, tokenizer: 'kimi-k2'
""",
}
"""Case -> what mends the converter of this release, which calls itself without end there, or
takes the place of the checkpoint's own tokenizer: the published one, or Python code."""

_CONVERTER_PACKAGES = ("torch", "transformers", "tokenizers", "sentencepiece", "numpy")


@dataclass(frozen=True)
class Case:
    """A checkpoint by name; `lossless` is the output type that holds its weights exactly.

    `make` takes the folder to write and the folder of the test material. The folder must bear
    the case's name: the converter derives metadata from it. `family` marks the cases of
    `tests/data/families`.
    """

    name: str
    lossless: str
    make: Callable[[Path, Path], object]
    family: bool = False


def _stories260k(root: Path, material: Path) -> Path:
    return to_bf16_checkpoint(material / "models" / "stories260K-hf", root)


def _smollm2_tiny(root: Path, material: Path) -> Path:
    tokenizer = material / "tokenizers" / "smollm2"
    return write_llama_checkpoint(root, config=SMOLLM2_CONFIG, tokenizer_from=tokenizer)


def _smollm2_f32(root: Path, material: Path) -> Path:
    tokenizer = material / "tokenizers" / "smollm2"
    config = {**SMOLLM2_CONFIG, "torch_dtype": "float32"}
    return write_llama_checkpoint(root, config=config, dtype="F32", tokenizer_from=tokenizer)


def _llama32_tiny(root: Path, material: Path) -> Path:
    return write_llama_checkpoint(
        root,
        config=LLAMA32_CONFIG,
        shards=2,
        tokenizer_from=material / "tokenizers" / "llama3",
        generation_config=LLAMA32_GENERATION_CONFIG,
    )


def _llama2_tiny(root: Path, material: Path) -> Path:
    tokenizer = material / "tokenizers" / "llama2"
    return write_llama_checkpoint(root, config=LLAMA2_CONFIG, dtype="F16", tokenizer_from=tokenizer)


def _family_case(name: str) -> Case:
    dtype = read_family(name).dtype
    lossless = {"F32": "f32", "F16": "f16"}.get(dtype, "bf16")
    return Case(name, lossless, partial(_write_family, name), family=True)


def _write_family(name: str, root: Path, material: Path) -> Path:
    return write_family(root, name, material)


CASES = (
    Case("stories260K", "bf16", _stories260k),
    Case("smollm2-tiny", "bf16", _smollm2_tiny),
    Case("smollm2-f32", "f32", _smollm2_f32),
    Case("llama32-tiny", "bf16", _llama32_tiny),
    Case("llama2-tiny", "f16", _llama2_tiny),
    *(_family_case(path.stem) for path in sorted(FAMILIES.glob("*.json"))),
)


@dataclass(frozen=True)
class _Tools:
    """The reference programs, and a short text that says which release they are of."""

    llama_cpp: Path
    python: Path
    llama_quantize: Path
    release: str

    def convert(self, checkpoint: Path, work: Path, mend: str = "") -> None:
        """All types, each into `work` under its name."""
        options = ("--mistral-format",) if (checkpoint / "params.json").is_file() else ()
        convert_with_llama_cpp(
            self.llama_cpp, self.python, checkpoint, work, options=options, mend=mend
        )

    def quantize(self, source: Path, quant_type: str, out: Path) -> None:
        _run([self.llama_quantize, source, out, quant_type])

    def package_versions(self) -> dict[str, str]:
        names = ",".join(_CONVERTER_PACKAGES)
        code = (
            "import json,sys;from importlib.metadata import version;"
            "print(json.dumps({n:version(n) for n in sys.argv[1].split(',')}))"
        )
        versions: dict[str, str] = json.loads(_run([self.python, "-c", code, names]))
        return versions


def convert_with_llama_cpp(
    tree: Path,
    python: Path,
    checkpoint: Path,
    work: Path,
    *,
    options: Sequence[str] = (),
    mend: str = "",
) -> None:
    """All types, each into `work` under its name, by children of one process.

    The children begin as copies of a process that has only imported the converter, which
    takes it longer than converting these checkpoints. `mend` is run before each converts.
    """
    code = (
        "import os,sys;tree,checkpoint,work,options,*types=sys.argv[1:];sys.path.insert(0,tree);"
        "import convert_hf_to_gguf as c\n"
        "for t in types:\n"
        "  if os.fork()==0:\n"
        "    exec(os.environ.get('MEND',''))\n"
        "    sys.argv=['convert',checkpoint,*options.split(),'--outtype',t]\n"
        "    sys.argv+=['--outfile',work+'/'+t]\n"
        "    c.main();sys.stdout.flush();os._exit(0)\n"
        "  if os.wait()[1]: sys.exit('failed: '+t)\n"
    )
    _run(
        [python, "-c", code, tree, checkpoint, work, " ".join(options), *CONVERTED], {"MEND": mend}
    )


def main() -> None:
    """Parse the command line and write one file per case."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    for option in ("--llama-cpp", "--python", "--llama-quantize", "--material", "--out"):
        parser.add_argument(option, type=Path, required=True)
    parser.add_argument("--release", required=True, help="recorded as it is")
    parser.add_argument("--case", action="append", choices=[case.name for case in CASES])
    args = parser.parse_args()
    tools = _Tools(args.llama_cpp, args.python, args.llama_quantize, args.release)
    args.out.mkdir(parents=True, exist_ok=True)
    for case in CASES:
        if args.case is None or case.name in args.case:
            record = _record(case, tools, args.material)
            (args.out / f"{case.name}.json").write_text(as_json(record) + "\n", encoding="utf-8")
            print(case.name, flush=True)


def _record(case: Case, tools: _Tools, material: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        checkpoint = work / case.name
        case.make(checkpoint, material)
        converted = _convert(case, tools, checkpoint, work)
        quantized, refused = _quantize(case, tools, work)
        return {
            "case": case.name,
            "llama_cpp": tools.release,
            "packages": tools.package_versions(),
            "commands": [
                f"convert_hf_to_gguf.py {case.name} --outtype TYPE --outfile OUT",
                f"llama-quantize {case.lossless} OUT TYPE",
            ],
            "lossless": case.lossless,
            "checkpoint": {
                path.relative_to(checkpoint).as_posix(): sha256(path.read_bytes()).hexdigest()
                for path in sorted(checkpoint.rglob("*"))
                if path.is_file()
            },
            "outputs": converted | quantized,
            "refused": refused,
        }


def _convert(case: Case, tools: _Tools, checkpoint: Path, work: Path) -> dict[str, Any]:
    """Leaves the files in `work`, each under the name of its type."""
    tools.convert(checkpoint, work, MENDED.get(case.name, ""))
    outputs: dict[str, Any] = {}
    for name in CONVERTED:
        summary = summarize(work / name)
        full = not case.family or name == case.lossless
        outputs[name] = summary.in_full() if full else summary.hashes()
    return outputs


def _quantize(case: Case, tools: _Tools, work: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The outputs, and for each type that llama-quantize refuses its reason."""
    outputs: dict[str, Any] = {}
    refused: dict[str, str] = {}
    quantized = work / "quantized"
    for name in FAMILY_QUANTIZED if case.family else QUANTIZED + QUANTIZED_BRIEFLY:
        try:
            tools.quantize(work / case.lossless, name, quantized)
        except subprocess.CalledProcessError as error:
            refused[name] = _reason(error)
        else:
            summary = summarize(quantized)
            if case.family:
                outputs[name] = summary.hashes()
            else:
                outputs[name] = summary.in_full() if name in QUANTIZED else summary.in_brief()
    return outputs, refused


def _reason(error: subprocess.CalledProcessError) -> str:
    """What llama-quantize says on refusing; raises the error again if it failed otherwise."""
    for line in error.stderr.splitlines():
        _, mark, reason = line.partition("failed to quantize: ")
        if mark:
            return str(reason)
    raise error


def _run(command: Sequence[str | Path], more: Mapping[str, str] | None = None) -> str:
    """Standard output of a program; CalledProcessError if it fails."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", **(more or {})}
    try:
        return subprocess.run(
            [str(part) for part in command],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    except subprocess.CalledProcessError as error:
        error.add_note(error.stderr[-2000:])
        raise


def as_json(value: Any, indent: str = "") -> str:
    """JSON with one line per metadata pair and per tensor: short files, readable differences."""
    inner = indent + " "
    if isinstance(value, dict):
        lines = [f"{inner}{json.dumps(key)}: {as_json(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(item, list) for item in value):
        lines = [inner + json.dumps(item, ensure_ascii=False) for item in value]
        return "[\n" + ",\n".join(lines) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    main()
