"""The wheel's build hook: compiles the fast codecs where there is a C compiler.

With them the wheel is of this platform (py3-none-PLATFORM: the library knows nothing of Python);
without, or where LOCALQ_PURE is set, it is pure Python and the engine's codecs do the work.
LOCALQ_CODECS_REQUIRED makes it an error that they cannot be compiled.
"""

from __future__ import annotations

import importlib.util
import os
import sysconfig
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_FOLDER = "localq/quantize/codecs"


class CodecsHook(BuildHookInterface):  # type: ignore[type-arg,misc]
    """Named by pyproject.toml."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if os.environ.get("LOCALQ_PURE"):
            return
        codecs = _build_module(Path(self.root))
        editable = version == "editable"
        if editable:
            folder = Path(self.root, _FOLDER)  # where the package is then imported from
        else:
            self._folder = tempfile.TemporaryDirectory()
            folder = Path(self._folder.name)
        try:
            library = codecs.build(folder / codecs.FILE_NAME)
        except codecs.CannotCompile as error:
            if os.environ.get("LOCALQ_CODECS_REQUIRED"):
                raise
            self.app.display_warning(f"the fast codecs were not compiled: {error}")
            return
        if not editable:
            build_data["force_include"][str(library)] = f"{_FOLDER}/{library.name}"
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["tag"] = f"py3-none-{platform}"
            build_data["pure_python"] = False

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if hasattr(self, "_folder"):
            self._folder.cleanup()


def _build_module(root: Path) -> ModuleType:
    """localq.quantize.codecs.build, without the package, whose dependencies are not here yet."""
    spec = importlib.util.spec_from_file_location("codecs_build", root / _FOLDER / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
