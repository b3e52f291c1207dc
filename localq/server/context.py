"""What all endpoints share."""

from __future__ import annotations

import time
from concurrent.futures import Executor
from dataclasses import dataclass, field

from localq.server.gate import Gates
from localq.server.metrics import Metrics
from localq.server.settings import ServerSettings
from localq.services.serving.chat_prompt import ChatTemplates
from localq.services.serving.served_models import ServedModels

__all__ = ["ServerContext"]


@dataclass(frozen=True, slots=True)
class ServerContext:
    models: ServedModels
    settings: ServerSettings
    executor: Executor
    """For the threads in which requests wait for the engine."""
    gates: Gates
    metrics: Metrics = field(default_factory=Metrics)
    templates: ChatTemplates = field(default_factory=ChatTemplates)
    started: float = field(default_factory=time.time)
