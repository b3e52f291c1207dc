"""`localq show MODEL`"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from localq.cli import output
from localq.cli.options import json_option
from localq.display import byte_size
from localq.library import Library
from localq.messages import listed, msg
from localq.services.quality.in_words import quality_in_words

if TYPE_CHECKING:
    from localq.services.library.inspect import Int4Details

__all__ = ["command"]

_LONG_VALUE = 90
_FEW_ITEMS = 8


@click.command()
@click.argument("model")
@click.option("--tensors", is_flag=True, help="List every tensor too.")
@click.option("--vocabulary", is_flag=True, help="Give the tokenizer's lists in full (--json).")
@json_option
def command(model: str, tensors: bool, vocabulary: bool, as_json: bool) -> None:
    """Show all that is known of MODEL (a name, a .gguf file or a checkpoint folder)."""
    from localq.services.library.inspect import show

    with Library() as library:
        details = show(library, model)
    if as_json:
        document = output.to_json(details.model)
        document["int4"] = output.to_json(details.int4)
        document["sampling"] = details.sampling
        document["quality"] = output.to_json(details.cards)
        document["metadata"] = details.metadata if vocabulary else _brief(details.metadata)
        document["tensors"] = details.tensors
        output.json_document(document)
        return
    found = details.model
    source = found.source.repo or "a folder on this machine"
    revision = (
        msg(" at {revision}", revision=found.source.revision) if found.source.revision else ""
    )
    labels = [
        (msg("also called"), ", ".join(found.aliases)),
        (msg("tags"), ", ".join(found.tags)),
        (msg("note"), found.note),
    ]
    for label, value in (
        (msg("name"), found.name),
        *((label, value) for label, value in labels if value),
        (msg("format"), f"{found.format.value}, {found.quant}"),
        (msg("architecture"), found.architecture),
        (msg("parameters"), f"{found.parameters:,}"),
        (
            msg("size"),
            msg(
                "{size_bytes:,} bytes ({size_bytes2})",
                size_bytes=found.size_bytes,
                size_bytes2=byte_size(found.size_bytes),
            ),
        ),
        *(_int4(details.int4, found.parameters) if details.int4 else ()),
        (msg("source"), source + revision),
        *(((msg("quality"), quality_in_words(details.cards[0])),) if details.cards else ()),
        *((("sampling", _sampling(details.sampling)),) if details.sampling else ()),
        (
            msg("path"),
            msg("{path} (not localq's own)", path=found.path)
            if found.external
            else str(found.path),
        ),
    ):
        output.field(label, value, 13)
    output.line("")
    for key, value in details.metadata.items():
        output.line(f"{key:<42} {_short(value)}")
    if tensors:
        output.line("")
        output.table(
            (msg("TENSOR"), msg("TYPE"), msg("SHAPE"), msg("BYTES")),
            (
                (t.name, t.type, " x ".join(map(str, t.shape)), f"{t.nbytes:,}")
                for t in details.tensors
            ),
        )
    else:
        output.line(f"\n{len(details.tensors)} tensors (--tensors lists them)".strip())


def _int4(details: Int4Details, parameters: int) -> list[tuple[str, str]]:
    """What is really quantized, and how."""
    shape = msg("groups of {size}", size=details.group_size)
    if details.group_size < 0:
        shape = msg("a scale for each row")
    words = [
        f"{details.method.upper()} {details.bits}-bit",
        shape,
        msg("symmetric") if details.symmetric else msg("with zero points"),
        *([msg("columns by activity")] if details.desc_act else []),
    ]
    share = details.quantized_parameters / max(parameters, 1)
    rows: list[tuple[str, str]] = [
        (msg("quantized"), listed(words)),
        (
            msg("of it"),
            msg(
                "{packed} matrices, {share:.0%} of the parameters",
                packed=details.packed,
                share=share,
            ),
        ),
        (
            msg("dtypes"),
            ", ".join(f"{name} {byte_size(size)}" for name, size in details.dtypes.items()),
        ),
    ]
    if details.kept:
        few = ", ".join(details.kept[:3])
        rows.append(
            (
                msg("kept"),
                msg("{count} modules in float: {few}, …", count=len(details.kept), few=few),
            )
        )
    versions = details.provenance.get("versions")
    if isinstance(versions, dict):
        made = ", ".join(f"{name} {version}" for name, version in versions.items())
        rows.append((msg("made with"), made[:200]))
    return rows


def _sampling(values: Mapping[str, float]) -> str:
    """Such as "temperature 0.6, top-k 20, as its makers recommend"."""
    pairs = (f"{name.replace('_', '-')} {value:g}" for name, value in values.items())
    return msg("{pairs}, as its makers recommend", pairs=", ".join(pairs))


def _brief(metadata: Mapping[str, object]) -> dict[str, object]:
    """Without the lists of the tokenizer, which are megabytes: their lengths instead."""
    return {
        key: {"items": len(value)}
        if key.startswith("tokenizer.") and isinstance(value, list) and len(value) > _FEW_ITEMS
        else value
        for key, value in metadata.items()
    }


def _short(value: object) -> str:
    if isinstance(value, list) and len(value) > _FEW_ITEMS:
        return msg(
            "{value:,} items: {map}, …", value=len(value), map=", ".join(map(_text, value[:3]))
        )
    text = _text(value)
    return (
        text
        if len(text) <= _LONG_VALUE
        else msg("{text}… ({text2:,} characters)", text=text[:_LONG_VALUE], text2=len(text))
    )


def _text(value: object) -> str:
    """As JSON writes it, but texts and lists without their marks, and numbers in few digits."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    if isinstance(value, float):
        return f"{value:.7g}"  # as many digits as a float32 has
    return json.dumps(value, ensure_ascii=False, default=str)
