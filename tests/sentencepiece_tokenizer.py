"""SentencePiece models in the tokenizers library, as transformers' fast tokenizers have them."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

__all__ = ["fast_tokenizer", "write_bpe_model", "write_unigram_tokenizer"]


def fast_tokenizer(path: Path) -> Tokenizer:
    """The BPE of a tokenizer.model (Llama 1 and 2, and what is built like them)."""
    pieces = SentencePieceProcessor(str(path))
    texts = [pieces.IdToPiece(i) for i in range(pieces.vocab_size())]
    ids = {text: i for i, text in enumerate(texts)}
    halves = [
        (-pieces.GetScore(i), ids[text[:cut]], ids[text[cut:]])
        for i, text in enumerate(texts)
        for cut in range(1, len(text))
        if text[:cut] in ids and text[cut:] in ids
    ]
    merges = [(texts[left], texts[right]) for _, left, right in sorted(halves)]
    tokenizer = Tokenizer(
        models.BPE(ids, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.add_special_tokens(
        [AddedToken(text, normalized=False) for text in ("<unk>", "<s>", "</s>")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", ids["<s>"])]
    )
    return tokenizer


def write_bpe_model(path: Path, *, user_defined: Sequence[str] = ()) -> None:
    """Train a small BPE on a few words and write it as a tokenizer.model."""
    words = ("the little river went over the hill to the town", "there was a tower in the town")
    trained = io.BytesIO()
    SentencePieceTrainer.Train(
        sentence_iterator=iter(words * 9),
        model_writer=trained,
        model_type="bpe",
        vocab_size=310,
        byte_fallback=True,
        hard_vocab_limit=False,
        user_defined_symbols=list(user_defined),
        minloglevel=2,
    )
    path.write_bytes(trained.getvalue())


def write_unigram_tokenizer(root: Path, corpus: Path) -> None:
    """Train a small Unigram model and write it to `root` as XLM-RoBERTa's tokenizer.json is."""
    trained = io.BytesIO()
    SentencePieceTrainer.Train(
        sentence_iterator=iter(corpus.read_text("utf-8")[:200_000].splitlines()),
        model_writer=trained,
        model_type="unigram",
        vocab_size=800,
        minloglevel=2,
    )
    pieces = SentencePieceProcessor(model_proto=trained.getvalue())
    special = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    learned = [(pieces.IdToPiece(i), pieces.GetScore(i)) for i in range(3, pieces.vocab_size())]
    tokenizer = Tokenizer(models.Unigram([*special, *learned, ("<mask>", 0.0)], unk_id=3))
    charsmap = _field(_field(trained.getvalue(), 3), 2)  # normalizer_spec.precompiled_charsmap
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Precompiled(charsmap), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(
        [*(text for text, _ in special), AddedToken("<mask>", lstrip=True)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(root / "tokenizer.json"))
    config = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    (root / "tokenizer_config.json").write_text(json.dumps(config))


def _field(message: bytes, wanted: int) -> bytes:
    """The first field of that number in a protobuf message, which must be bytes."""
    place = 0

    def number() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = message[place]
            place += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while place < len(message):
        tag = number()
        match tag & 7:
            case 0:
                number()
            case 1:
                place += 8
            case 2:
                length = number()
                if tag >> 3 == wanted:
                    return message[place : place + length]
                place += length
            case 5:
                place += 4
    raise ValueError(f"no field {wanted}")
