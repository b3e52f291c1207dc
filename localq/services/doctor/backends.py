"""Backends that do not work any more, and what is left of installations that were killed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial

from localq.display import byte_size
from localq.gpu_quant.backend_packages import PACKAGES
from localq.gpu_quant.environments import find, half_made, is_being_installed, read_record
from localq.gpu_quant.installation import folder_bytes
from localq.messages import msg
from localq.services.doctor.doctor import CheckContext, Problem

__all__ = ["amiss"]


def amiss(context: CheckContext) -> Iterator[Problem]:
    """Looks at files alone: whether a backend's libraries load, `localq backend doctor` says."""
    paths = context.library.paths
    for folder in half_made(paths):
        yield Problem(
            msg(
                "{folder}: is a backend's environment that was left half-made ({size})",
                folder=folder,
                size=byte_size(folder_bytes(folder)),
            ),
            msg("deletes it"),
            partial(shutil.rmtree, folder, ignore_errors=True),
        )
    for name in PACKAGES:
        if read_record(paths, name) is None or is_being_installed(paths, name):
            continue
        if find(name, paths) is None:
            yield Problem(
                msg("the backend {name}: its Python is gone", name=name),
                msg("localq backend install {name} --force", name=name),
            )
