"""The Hugging Face Hub: find out what a repository holds, and fetch it verified.

Only `repository`, `search` and `session` import huggingface_hub: this package itself costs nothing.
"""

from localq.hub.backoff import RetryPolicy
from localq.hub.choose import Chosen, Weights, choose_checkpoint
from localq.hub.choose_gguf import ChosenGguf, choose_gguf, choose_mmproj, gguf_quants
from localq.hub.fetch import fetch_all
from localq.hub.folder import FolderSource
from localq.hub.selection import Selection
from localq.hub.source import Digest, RemoteFile, Source
from localq.hub.spec import ModelSpec, parse_spec
from localq.hub.staging import staging_folder

__all__ = [
    "Chosen",
    "ChosenGguf",
    "Digest",
    "FolderSource",
    "ModelSpec",
    "RemoteFile",
    "RetryPolicy",
    "Selection",
    "Source",
    "Weights",
    "choose_checkpoint",
    "choose_gguf",
    "choose_mmproj",
    "fetch_all",
    "gguf_quants",
    "parse_spec",
    "staging_folder",
]
