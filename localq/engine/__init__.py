"""Running a model: llama.cpp in a process of its own, and the object that speaks to it."""

from __future__ import annotations

from localq.engine.client import Engine, Generation
from localq.engine.memory_report import BufferMemory
from localq.engine.protocol import LoadedModel, Stop
from localq.engine.resident import ResidentMemory
from localq.engine.sampling import SamplingParams
from localq.engine.settings import LoadSettings

__all__ = [
    "BufferMemory",
    "Engine",
    "Generation",
    "LoadSettings",
    "LoadedModel",
    "ResidentMemory",
    "SamplingParams",
    "Stop",
]
