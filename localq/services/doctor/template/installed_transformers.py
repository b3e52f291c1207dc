"""What transformers itself writes, where it is installed. It runs in a process of its own: it takes
long to load, and localq imports nothing of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from localq.chat_format.reference_rendering import as_transformers_takes
from localq.services.doctor.template.conversations import Conversation

__all__ = ["TransformersReply", "ask_transformers", "is_installed"]

_SECONDS = 300
_SCRIPT = """
import json, sys
from transformers import AutoTokenizer
asked = json.load(sys.stdin)
tokenizer = AutoTokenizer.from_pretrained(asked["root"], local_files_only=True)
answers = []
for one in asked["conversations"]:
    options = {"tools": one["tools"] or None, "documents": one["documents"] or None}
    try:
        text = tokenizer.apply_chat_template(
            one["messages"], chat_template=one["template"], add_generation_prompt=True,
            tokenize=False, **options, **one["variables"],
        )
        answers.append({"text": text, "ids": tokenizer.encode(text, add_special_tokens=False)})
    except Exception as error:
        answers.append({"error": " ".join(str(error).split())[:200]})
sys.stdout.write("\\n" + json.dumps(answers))
"""


@dataclass(frozen=True, slots=True)
class TransformersReply:
    text: str = ""
    ids: tuple[int, ...] = ()
    error: str = ""
    """Why it renders nothing."""


def is_installed() -> bool:
    return find_spec("transformers") is not None


def ask_transformers(
    root: Path, asked: Sequence[tuple[str, Conversation]], python: str = sys.executable
) -> list[TransformersReply] | str:
    """A reply for each template and conversation, with the tokenizer in `root`; or why there is
    none."""
    conversations = [
        {
            "template": template,
            "messages": as_transformers_takes(conversation.messages),
            "tools": conversation.tools,
            "documents": conversation.documents,
            "variables": dict(conversation.variables),
        }
        for template, conversation in asked
    ]
    request = json.dumps({"root": str(root), "conversations": conversations})
    try:
        done = subprocess.run(
            [python, "-c", _SCRIPT],
            input=request,
            capture_output=True,
            encoding="utf-8",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)[:200]
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return lines[-1][:200] if lines else f"exit code {done.returncode}"
    answers = json.loads(done.stdout.splitlines()[-1])
    return [
        TransformersReply(one.get("text", ""), tuple(one.get("ids", ())), one.get("error", ""))
        for one in answers
    ]
