"""What is found where a model's file should be: a pointer, a web page, a piece, an older format."""

from __future__ import annotations

import re
from dataclasses import dataclass

from localq.messages import msg

__all__ = ["LOOKED_AT", "StandIn", "gguf_stand_in", "piece", "stand_in", "version_problem"]

LOOKED_AT = 256
"""Bytes from a file's beginning that tell."""

_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/\S{1,20}\n")
_POINTER_SIZE = re.compile(rb"\nsize (\d{1,18})\n")
_PAGE = re.compile(rb"\s*<(?:!doctype html|html)\b", re.IGNORECASE)
_OLD_MAGICS = (b"lmgg", b"fmgg", b"tjgg", b"algg")
"""ggml, ggmf, ggjt and ggla, as little-endian numbers."""
_PIECE = re.compile(
    r"(?P<whole>.+)(?:\.part(?P<number>\d{1,3})of(?P<count>\d{1,3})|-split-(?P<letter>[a-z]{1,2}))",
    re.IGNORECASE,
)
_NEWEST = 3
_GREATEST_LIKELY = 1000


@dataclass(frozen=True, slots=True)
class StandIn:
    """What the file is, to follow its name, and what to do about it."""

    problem: str
    hint: str


def stand_in(beginning: bytes) -> StandIn | None:
    """What is not a model's file at all, by its first LOOKED_AT bytes."""
    if _POINTER.match(beginning):
        size = _POINTER_SIZE.search(beginning)
        of = f" of {int(size[1]):,} bytes" if size else ""
        return StandIn(
            msg("is a Git LFS pointer, which stands for a file{of}, not that file", of=of),
            msg("get the file itself: git lfs pull in its folder, or localq pull OWNER/NAME"),
        )
    if _PAGE.match(beginning):
        return StandIn(
            msg("is a web page, such as the login or error page of a site, not a model"),
            msg("get the file again, with localq pull for instance"),
        )
    return None


def gguf_stand_in(beginning: bytes) -> StandIn | None:
    """As `stand_in`, for what is no GGUF."""
    if found := stand_in(beginning):
        return found
    if beginning[:4] in _OLD_MAGICS:
        return StandIn(
            msg(
                "is a GGML file from before GGUF (August 2023), which llama.cpp reads no"
                " more either"
            ),
            msg("take a GGUF of the model, or its original checkpoint: localq search"),
        )
    if len(beginning) >= 24 and not any(beginning):
        return StandIn(
            msg("begins with nothing but zeros: room for a download that did not finish"),
            msg("get the file again"),
        )
    return None


def version_problem(raw: bytes) -> StandIn | None:
    """What keeps a GGUF of this version, the four bytes behind the magic, from being read."""
    version, swapped = int.from_bytes(raw, "little"), int.from_bytes(raw, "big")
    if version in (2, _NEWEST):
        return None
    if version > _GREATEST_LIKELY and 0 < swapped <= _GREATEST_LIKELY:
        return StandIn(
            msg("is a big-endian GGUF, made for machines such as IBM Z"),
            msg("take the usual file; llama.cpp's gguf_convert_endian.py turns one into the other"),
        )
    if version == 1:
        return StandIn(
            msg("is GGUF version 1 (August 2023), which llama.cpp reads no more either"),
            msg("take a newer GGUF of the model, or its original checkpoint: localq search"),
        )
    if _NEWEST < version <= _GREATEST_LIKELY:
        return StandIn(
            msg(
                "is GGUF version {version}, newer than the {newest} that this localq reads",
                version=version,
                newest=_NEWEST,
            ),
            msg("pip install --upgrade localq"),
        )
    return StandIn(
        msg("claims GGUF version {version}", version=version),
        msg("the file is damaged; get it again"),
    )


def piece(name: str) -> StandIn | None:
    """Whether the name is that of a piece of a file that was cut by bytes, to be joined first."""
    match = _PIECE.fullmatch(name)
    if match is None:
        return None
    whole = match["whole"]
    if match["letter"]:
        return StandIn(
            msg("is a piece of {whole}, which was cut in pieces", whole=whole),
            msg("join all of them first: cat {whole}-split-* > {whole}", whole=whole),
        )
    count = int(match["count"])
    names = " ".join(f"{whole}.part{number}of{count}" for number in range(1, min(count, 9) + 1))
    return StandIn(
        msg(
            "is piece {match} of {count} of {whole}, which was cut in pieces",
            match=match["number"],
            count=count,
            whole=whole,
        ),
        msg("join them first: cat {names} > {whole}", names=names, whole=whole),
    )
