"""A plan as other programs take it."""

from __future__ import annotations

from pathlib import Path

from localq.planning.offload_plan import OffloadPlan

__all__ = ["langchain_arguments", "llama_cpp_flags"]

_LOAD_MODES = {
    (True, True): "mmap+mlock",
    (False, True): "mlock",
    (False, False): "none",
}


def llama_cpp_flags(path: Path, plan: OffloadPlan, projector: Path | None = None) -> list[str]:
    """Arguments of llama.cpp's own tools (llama-server, llama-cli). `--fit off` keeps them from
    choosing for themselves."""
    flags = ["-m", str(path)]
    if projector is not None:
        flags += ["--mmproj", str(projector)]
    flags += ["-c", str(plan.n_ctx), "-b", str(plan.n_batch), "-ub", str(plan.n_ubatch)]
    flags += ["-t", str(plan.n_threads), "-tb", str(plan.n_threads_batch)]
    flags += ["-ngl", str(plan.n_gpu_layers)]
    if plan.tensor_split:
        flags += ["-ts", ",".join(f"{share:g}" for share in plan.tensor_split)]
    if plan.n_cpu_moe:
        flags += ["-ncmoe", str(plan.n_cpu_moe)]
    flags += ["-ctk", plan.type_k, "-ctv", plan.type_v, "-fa", plan.flash_attn]
    if mode := _LOAD_MODES.get((plan.use_mmap, plan.use_mlock)):
        flags += ["--load-mode", mode]
    if plan.adapters:
        flags += ["--lora-scaled", ",".join(f"{one.path}:{one.scale:g}" for one in plan.adapters)]
    if plan.draft:
        flags += ["-md", str(plan.draft), "-ngld", "0"]
    return [*flags, "--fit", "off"]


def langchain_arguments(path: Path, plan: OffloadPlan) -> dict[str, object]:
    """Keyword arguments of `langchain_community.llms.LlamaCpp`.

    What it has no parameter for goes through its `model_kwargs` to llama-cpp-python. Experts in
    host memory and several adapters cannot be asked for there: they are left out.
    """
    from localq.engine.settings import KV_TYPES

    more: dict[str, object] = {
        "n_threads_batch": plan.n_threads_batch,
        "n_ubatch": plan.n_ubatch,
        "type_k": KV_TYPES[plan.type_k].ggml_id,
        "type_v": KV_TYPES[plan.type_v].ggml_id,
        "flash_attn": plan.flash_attn != "off",
    }
    if len(plan.adapters) == 1:
        more["lora_path"] = str(plan.adapters[0].path)
        more["lora_scale"] = plan.adapters[0].scale
    if plan.tensor_split:
        more["tensor_split"] = list(plan.tensor_split)
    return {
        "model_path": str(path),
        "n_ctx": plan.n_ctx,
        "n_threads": plan.n_threads,
        "n_batch": plan.n_batch,
        "n_gpu_layers": plan.n_gpu_layers,
        "use_mmap": plan.use_mmap,
        "use_mlock": plan.use_mlock,
        "model_kwargs": more,
    }
