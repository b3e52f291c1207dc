"""Measure every cell of the parity table, and write it to docs/parity.md.

    python -m tests.reference.parity_table [--case NAME ...]

With cases, the others' rows stay as they are. Wants torch and transformers (the extra `torch`) and
the test material. The bytes and the metadata are compared with the recorded work of llama.cpp's own
tools, token ids with the tokenizers library, logits with transformers.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from localq.convert import ConvertedModel, convert_checkpoint, open_checkpoint
from localq.engine.client import Engine
from localq.formats.types import QuantType
from tests.convert import (
    test_family_logits,
    test_tekken,
    test_tiktoken_ranks,
    test_token_ids,
)
from tests.convert.test_parity import KNOWN_DIFFERENCES, reference, write
from tests.families import FAMILIES, read_family
from tests.reference.make_reference import CASES, Case
from tests.reference.summary import summarize
from tests.tekken_tokenizer import make_tekken
from tests.token_texts import make_texts
from tests.vocabulary_files import tokenizer_files

__all__ = ["main"]

_ROOT = Path(__file__).parents[2]
_OUT = _ROOT / "docs" / "parity.md"
_HEAD = """# Parity with llama.cpp

Made by `python -m tests.reference.parity_table`; every cell was measured. Each case is a checkpoint
with the true config of its family in small sizes and random weights (stories260K is trained).

- **files**: whole GGUF files equal, byte for byte, to those of llama.cpp's converter (F32, F16,
  BF16) and of `llama-quantize` (the others), of those compared.
- **tensors**: whether all tensors' names, types, shapes and bytes are equal in the files compared.
- **metadata**: keys and values equal; otherwise the keys that differ, explained below.
- **ids**: of the texts compared, how many become the same ids in llama.cpp, reading localq's
  vocabulary, as in the tokenizers library. Differences are llama.cpp's own and named in
  `tests/convert/test_token_ids.py`.
- **logits**: largest difference from transformers' float32 logits over 64 tokens, beside the
  largest logit.

| case | architecture | files | tensors | metadata | ids | logits |
| --- | --- | --- | --- | --- | --- | --- |
"""


_NOT_IN_A_CASE = """
Not in one of these cases, and also on purpose:

- GPT-NeoX, Falcon and StableLM with a rope base or scaling that is not llama.cpp's default:
  localq writes it, llama.cpp's converter drops it, which makes another model.
- A Unigram `tokenizer.model` of a decoder is written as "t5", whose rules are Unigram's;
  llama.cpp writes "llama", which merges as BPE does and gives other ids.
- A `tokenizer.model` or SentencePiece-like tokenizer.json that puts no space before a text gets
  `add_space_prefix` false; where there is only the tokenizer.json, scores are the merges' ranks
  and added special tokens are control tokens, without which llama.cpp gives other ids.

Not on purpose: the rope factors of Llama 3.1's scaling are torch's float32 arithmetic; of random
settings some 6 % have a factor whose last bit is another, since torch rounds powers its own way.
So are the decays of Mamba-1 and Jamba, which are -exp of what the checkpoint holds: about 1 % of
values differ in their last bit from torch's. The cases here have weights of which that is exact.

Logits that the engine computes otherwise, whoever converts:

- Gemma 3n: its graph knows by heart that the first 10 layers leave most of their neurons out, and
  that those from the 20th on have no keys of their own. Which neurons stay it chooses by the
  deviation of a sample (divided by n - 1), transformers by that of all (n): nothing of the 16,384
  that published models have, but of 128 it changes a random model's logits by up to 3.7 of 4.6. The
  case is true to the first two, and compared with transformers' choice made as llama.cpp makes it.
- Phi-3.5-MoE: its graph weighs the experts by a softmax, transformers by its own SparseMixer, which
  masks by a threshold before each of its two choices.

Projectors are in [families.md](families.md): whole files of ten checkpoints are llama.cpp's in
F32, F16 and BF16, and llama-quantize's in Q8_0 and Q4_0 (`tests/convert/test_projectors.py`). The
converter of this release drops the language model's tensors before it looks for the one row of
them that Pixtral's projector needs, without which llama.cpp does not load the file; localq writes
it."""


@dataclass(frozen=True, slots=True)
class _Files:
    compared: int
    equal: int
    tensors_equal: bool
    different_keys: tuple[str, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--case", action="append", choices=[case.name for case in CASES])
    wanted = parser.parse_args().case
    measured = _OUT.read_text("utf-8").partition("\n## ")[0]
    known = {line.split(" | ")[0][2:]: line for line in measured.splitlines()}
    material = Path(os.environ.get("LOCALQ_MATERIAL", _ROOT.parent / "shared" / "material"))
    texts = make_texts(material)
    ids: dict[str, str] = {}
    rows: list[str] = []
    with tempfile.TemporaryDirectory() as folder, Engine() as engine:
        for case in CASES:
            if wanted is not None and case.name not in wanted:
                rows += [known[case.name]] if case.name in known else []
                continue
            work = Path(folder) / case.name
            checkpoint = work / case.name
            work.mkdir()
            case.make(checkpoint, material)
            model = convert_checkpoint(open_checkpoint(checkpoint))
            tokenizer = _tokenizer(case)
            if tokenizer not in ids:
                ids[tokenizer] = _ids(engine, material / tokenizer, texts, work, material)
            architecture = str(open_checkpoint(checkpoint).config["architectures"][0])
            files = _compare(case, model, work)
            keys = ", ".join(f"`{key}`" for key in files.different_keys) or "equal"
            cells = (
                case.name,
                architecture,
                f"{files.equal} of {files.compared}",
                "equal" if files.tensors_equal else "**different**",
                keys,
                ids[tokenizer],
                _logits(case, checkpoint, architecture, work),
            )
            rows.append(f"| {' | '.join(cells)} |")
            print(rows[-1], flush=True)
    _OUT.parent.mkdir(exist_ok=True)
    _OUT.write_text(_HEAD + "\n".join([*rows, "", *_reasons()]) + "\n", encoding="utf-8")


def _tokenizer(case: Case) -> str:
    path = FAMILIES / f"{case.name}.json"
    if path.is_file():
        tokenizer = read_family(case.name).tokenizer or "none"
        return tokenizer if "/" in tokenizer else f"tokenizers/{tokenizer}"
    prefix = case.name.partition("-")[0]
    return {
        "stories260K": "models/stories260K-hf",
        "smollm2": "tokenizers/smollm2",
        "llama32": "tokenizers/llama3",
        "llama2": "tokenizers/llama2",
    }[prefix]


def _compare(case: Case, model: ConvertedModel, work: Path) -> _Files:
    outputs = reference(case.name)["outputs"]
    equal, tensors_equal, keys = 0, True, set[str]()
    for name, expected in outputs.items():
        path = write(model, QuantType.parse(name), work)
        mine = summarize(path)
        path.unlink()
        if mine.sha256 == expected["sha256"]:
            equal += 1
            continue
        tensors_equal &= expected.get("tensors_sha256", mine.tensors_sha256) == mine.tensors_sha256
        if "metadata" in expected:
            theirs = {key: rest for key, *rest in expected["metadata"]}
            ours = {key: rest for key, *rest in mine.metadata}
            keys |= {key for key in theirs.keys() | ours.keys() if theirs.get(key) != ours.get(key)}
    return _Files(len(outputs), equal, tensors_equal, tuple(sorted(keys)))


def _ids(engine: Engine, folder: Path, texts: dict[str, str], work: Path, material: Path) -> str:
    if folder.name == "tekken":
        theirs = test_tekken.as_tokenizer(make_tekken(material))
        ours = test_tekken.llama_cpp(engine, make_tekken(material), work)
        found = test_token_ids.different(texts, ours, lambda text: [1, *theirs.encode(text).ids])
        return f"{len(texts) - len(found)} of {len(texts)}"
    if folder.name == "kimi":
        root = test_tiktoken_ranks.write_kimi(work / "kimi-tokenizer", material)
        encode = test_tiktoken_ranks.as_tokenizer(root)
        of_engine = test_tiktoken_ranks.llama_cpp(engine, root, work)
        begin = of_engine("")
        found = test_token_ids.different(
            texts, of_engine, lambda text: [*begin, *encode.encode(text).ids]
        )
        return f"{len(texts) - len(found)} of {len(texts)}"
    files = tokenizer_files(folder)
    reference_ids = test_token_ids.reference(files)
    ours = test_token_ids.llama_cpp(engine, files, work)
    found = test_token_ids.different(texts, ours, reference_ids)
    if folder.name == "bert":
        separator = reference_ids("")[-1]
        found = test_token_ids.different(
            texts, lambda text: [*ours(text), separator], reference_ids
        )
    return f"{len(texts) - len(found)} of {len(texts)}"


def _logits(case: Case, checkpoint: Path, architecture: str, work: Path) -> str:
    if reason := test_family_logits.WITHOUT_LOGITS.get(case.name):
        return reason
    words = np.random.default_rng(7).integers(3, 500, test_family_logits.TOKENS - 1)
    ids = [1, *(int(word) for word in words)]
    expected, _ = test_family_logits.reference_logits(checkpoint, architecture, ids)
    logits = test_family_logits.engine_logits(checkpoint, ids, work)
    few = test_family_logits.POSITIONS.get(case.name)
    logits, expected = logits[:few], expected[:few]
    found = f"{np.abs(logits - expected).max():.1e} of {np.abs(expected).max():.1f}"
    return f"{found} in the first {few} positions" if few else found


def _reasons() -> Iterator[str]:
    if not KNOWN_DIFFERENCES:
        yield "No metadata differs."
        return
    yield "## Metadata that differs on purpose\n"
    yield "| case | key | why |\n| --- | --- | --- |"
    for case, keys in sorted(KNOWN_DIFFERENCES.items()):
        for key, why in keys.items():
            yield f"| {case} | `{key}` | {why} |"
    yield _NOT_IN_A_CASE


if __name__ == "__main__":
    main()
