"""What this machine has: processors and memory, as the operating system and containers allow."""

from localq.hardware.cpu import cpu_threads
from localq.hardware.memory import Memory, memory

__all__ = ["Memory", "cpu_threads", "memory"]
