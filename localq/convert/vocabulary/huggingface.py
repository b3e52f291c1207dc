"""tokenizer.json through the tokenizers library, whose failures become localq's errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from localq.convert.vocabulary.files import TokenizerFiles
from localq.convert.vocabulary.pre_tokenizer import SlowTokenizerError
from localq.convert.vocabulary.token import MAX_VOCABULARY, vocabulary_size
from localq.errors import BadFileError, LocalqError, NotFoundError
from localq.messages import msg

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

__all__ = ["library_failures", "load_tokenizer", "texts_by_id"]

_NATURAL_CAUSES = (LocalqError, OSError, MemoryError, KeyboardInterrupt, SystemExit, GeneratorExit)


@contextmanager
def library_failures(path: Path) -> Iterator[None]:
    """Whatever the library makes of a damaged file becomes a BadFileError.

    It raises bare Exception for what it cannot parse, and where its Rust code panics a
    PanicException, which derives from BaseException and has no public name.
    """
    try:
        yield
    except _NATURAL_CAUSES:
        raise
    except SlowTokenizerError:
        raise BadFileError(path, msg("its regular expressions take unreasonably long")) from None
    except BaseException as error:
        panicked = type(error).__name__ == "PanicException"
        if not panicked and type(error) is not Exception:
            raise
        reason = " ".join(str(error).split())[:300]
        raise BadFileError(path, msg("not a usable tokenizer: {reason}", reason=reason)) from None


def load_tokenizer(files: TokenizerFiles) -> Tokenizer:
    """tokenizer.json, with the added tokens that only tokenizer_config.json knows; NotFoundError
    where there is none."""
    from tokenizers import AddedToken, Tokenizer

    path = files.tokenizer_json_path
    if files.tokenizer_json is None:
        raise NotFoundError(
            msg("{root}: no tokenizer.json in it", root=files.root),
            hint=msg("pull the model again"),
        )
    text = files.tokenizer_text()
    with library_failures(path):
        tokenizer = Tokenizer.from_str(text)
        # A checkpoint saved after a training run may carry the run's truncation and padding.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        known = tokenizer.get_added_tokens_decoder()
        missing: list[AddedToken] = [
            AddedToken(
                entry["content"],
                special=bool(entry.get("special")),
                normalized=bool(entry.get("normalized", not entry.get("special"))),
                lstrip=bool(entry.get("lstrip")),
                rstrip=bool(entry.get("rstrip")),
            )
            for i, entry in sorted(files.added_tokens.items())
            if i not in known and tokenizer.token_to_id(entry["content"]) in (None, i)
        ]
        if missing:
            tokenizer.add_tokens(missing)
    return tokenizer


def texts_by_id(files: TokenizerFiles, tokenizer: Tokenizer) -> list[str | None]:
    """Every token's text, as many as the model has rows for them; None where no token is.

    Raises BadFileError for a token beyond the config's `vocab_size`.
    """
    by_id = {i: text for text, i in tokenizer.get_vocab(with_added_tokens=True).items()}
    last = max(by_id, default=-1)
    size = vocabulary_size(files) or last + 1
    # Added tokens may have no row, as Gemma 3 1b's for pictures: no text can become one then.
    added = tokenizer.get_added_tokens_decoder()
    last = max((i for i in by_id if i < size or i not in added), default=-1)
    if last >= size or size > MAX_VOCABULARY:
        raise BadFileError(
            files.tokenizer_json_path,
            msg(
                "token {last:,} is beyond the model's vocabulary of {size:,} (vocab_size)",
                last=last,
                size=size,
            ),
            hint=msg(
                "the tokenizer is of another model, or tokens were added and the embeddings"
                " never resized: pull the model again"
            ),
        )
    return [by_id.get(i) for i in range(size)]
