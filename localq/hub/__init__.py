"""The Hugging Face Hub: find out what a repository holds, and fetch it verified.

Only `repository` and `session` import huggingface_hub, so this package itself costs nothing.
"""

from localq.hub.choose import Chosen, Weights, choose_checkpoint, choose_gguf, gguf_quants
from localq.hub.fetch import fetch_all
from localq.hub.folder import FolderSource
from localq.hub.patience import RetryPolicy
from localq.hub.source import Digest, RemoteFile, Source
from localq.hub.spec import ModelSpec, parse_spec
from localq.hub.staging import staging_folder

__all__ = [
    "Chosen",
    "Digest",
    "FolderSource",
    "ModelSpec",
    "RemoteFile",
    "RetryPolicy",
    "Source",
    "Weights",
    "choose_checkpoint",
    "choose_gguf",
    "fetch_all",
    "gguf_quants",
    "parse_spec",
    "staging_folder",
]
