"""What this machine has, and what the system and containers let this process use of it."""

from localq.hardware.cpu import cpu_threads
from localq.hardware.memory import memory
from localq.hardware.profile import Memory

__all__ = ["Memory", "cpu_threads", "memory"]
