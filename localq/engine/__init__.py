"""Running a model: llama.cpp in a process of its own, and the object that speaks to it."""

from __future__ import annotations

from localq.engine.client import Engine, Generation
from localq.engine.protocol import LoadedModel, LoadSettings, Stop
from localq.engine.sampling import SamplingParams

__all__ = ["Engine", "Generation", "LoadSettings", "LoadedModel", "SamplingParams", "Stop"]
