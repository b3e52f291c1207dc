"""Where localq keeps things. Nothing here creates a folder: those who write do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Paths"]

_APP = "localq"


@dataclass(frozen=True, slots=True)
class Paths:
    """The folders of one localq home."""

    data: Path
    """The catalogue and the models: what must not be lost."""
    config: Path
    cache: Path
    """What can be made again."""
    log: Path

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Paths:
        """The platform's own folders, or subfolders of LOCALQ_HOME where that is set."""
        if home := environ.get("LOCALQ_HOME"):
            root = Path(home).expanduser().absolute()
            return cls(root / "data", root / "config", root / "cache", root / "log")
        import platformdirs

        return cls(
            data=platformdirs.user_data_path(_APP, appauthor=False),
            config=platformdirs.user_config_path(_APP, appauthor=False),
            cache=platformdirs.user_cache_path(_APP, appauthor=False),
            log=platformdirs.user_log_path(_APP, appauthor=False),
        )

    @property
    def database(self) -> Path:
        return self.data / "localq.db"

    @property
    def models(self) -> Path:
        """Finished models, as <org>/<name>/<file>."""
        return self.data / "models"

    @property
    def partial(self) -> Path:
        """Downloads under way; on the same filesystem as `models`, so finishing is a rename."""
        return self.data / "partial"
