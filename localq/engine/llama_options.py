"""LoadSettings in llama.cpp's structs."""

from __future__ import annotations

import ctypes
from typing import Any

from localq.engine.backends import cpu_buffer_type
from localq.engine.mode import EngineMode, chosen_mode
from localq.engine.settings import KV_TYPES, LoadSettings

__all__ = ["cache_bytes_at_least", "context_params", "metadata_text", "model_params"]

_UBATCH = 512
_SPLITS = 16
"""llama_max_devices() of llama.cpp: it reads so many shares, whatever there is."""


class _Override(ctypes.Structure):
    """llama_model_tensor_buft_override of llama.h."""

    _fields_ = (("pattern", ctypes.c_char_p), ("buffer_type", ctypes.c_void_p))


def model_params(api: Any, settings: LoadSettings) -> tuple[Any, object]:
    """How to load the model, and what must live until that is done.

    OSError or AttributeError where the library does not have what `n_cpu_moe` takes.
    """
    params = api.llama_model_default_params()
    params.n_gpu_layers = settings.n_gpu_layers
    params.use_extra_bufts = (chosen_mode() or EngineMode()).repack
    if settings.use_mlock or not settings.use_mmap:
        modes = {
            (True, True): api.LLAMA_LOAD_MODE_MMAP_MLOCK,
            (False, True): api.LLAMA_LOAD_MODE_MLOCK,
            (False, False): api.LLAMA_LOAD_MODE_NONE,
        }
        params.load_mode = modes[settings.use_mmap, settings.use_mlock]
    split = overrides = None
    if settings.tensor_split is not None:
        split = (ctypes.c_float * _SPLITS)(*settings.tensor_split)
        params.tensor_split = split
    if settings.n_cpu_moe:
        host = cpu_buffer_type(api)
        # The same names of expert tensors as in llama.cpp's own --n-cpu-moe.
        patterns = [
            rf"blk\.{layer}\.ffn_(up|down|gate|gate_up)_(ch|)exps".encode()
            for layer in range(settings.n_cpu_moe)
        ]
        overrides = (_Override * (len(patterns) + 1))(*(_Override(p, host) for p in patterns))
        params.tensor_buft_overrides = ctypes.cast(overrides, ctypes.c_void_p)
    return params, (split, overrides)


def context_params(
    api: Any, settings: LoadSettings, n_ctx: int, threads: tuple[int, int], outputs: int
) -> Any:
    """A context of `n_ctx` tokens that can give the logits of `outputs` tokens of a batch."""
    params = api.llama_context_default_params()
    params.n_ctx = n_ctx
    params.n_batch = min(settings.n_batch, n_ctx)
    params.n_ubatch = min(params.n_batch, settings.n_ubatch or _UBATCH)
    params.n_outputs_max = max(outputs, settings.n_seq_max)
    params.n_seq_max = settings.n_seq_max
    params.kv_unified = True  # sequences share the context, as each needs
    params.n_threads, params.n_threads_batch = threads
    params.type_k = KV_TYPES[settings.type_k].ggml_id
    params.type_v = KV_TYPES[settings.type_v].ggml_id
    exact = "f32" in (settings.type_k, settings.type_v)
    if settings.flash_attn == "on":
        params.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_ENABLED
    elif settings.flash_attn == "off" or exact:
        # Flash attention would round what it reads of f32 to f16 all the same.
        params.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.swa_full = False  # a sliding window then holds the window, not the whole context
    return params


def cache_bytes_at_least(api: Any, model: Any, settings: LoadSettings, n_ctx: int) -> int:
    """Bytes that keys and values take in any case; 0 where that is not easily told: sliding
    windows and recurrent layers hold less than the whole context."""
    if (
        api.llama_model_n_swa(model)
        or api.llama_model_is_recurrent(model)
        or api.llama_model_is_hybrid(model)
    ):
        return 0
    heads = api.llama_model_n_head(model)
    width = api.llama_model_n_embd(model) // heads if heads > 0 else 0
    architecture = metadata_text(api, model, "general.architecture")
    key = _number(api, model, f"{architecture}.attention.key_length", width)
    # With latent attention values are read out of the keys.
    latent = _number(api, model, f"{architecture}.attention.kv_lora_rank", 0) > 0
    value = 0 if latent else _number(api, model, f"{architecture}.attention.value_length", width)
    rows = api.llama_model_n_layer(model) * api.llama_model_n_head_kv(model) * n_ctx
    return int(rows * (key * _width(settings.type_k) + value * _width(settings.type_v)))


def _width(type_: str) -> float:
    """Bytes of one number."""
    kept = KV_TYPES[type_]
    return kept.block_bytes / kept.block_elements


def _number(api: Any, model: Any, key: str, otherwise: int) -> int:
    text = metadata_text(api, model, key)
    return int(text) if text.isdecimal() and len(text) < 10 else otherwise


def metadata_text(api: Any, model: Any, key: str) -> str:
    """A value of the file's metadata; "" where it is not there."""
    buffer = ctypes.create_string_buffer(128)
    count = api.llama_model_meta_val_str(model, key.encode(), buffer, len(buffer))
    return buffer.value.decode("utf-8", "replace") if count > 0 else ""
