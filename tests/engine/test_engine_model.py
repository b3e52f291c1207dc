"""What the engine makes of llama.cpp's answers that no model at hand gives."""

from __future__ import annotations

import ctypes
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localq.engine import llama_model
from localq.engine.adapt import ThreadAdapter
from localq.engine.generation import continue_prompt
from localq.engine.llama_log import LogTail
from localq.engine.llama_model import Interrupted, LlamaError, LlamaModel
from localq.engine.measuring import measure
from localq.engine.memory_report import BufferMemory
from localq.engine.protocol import Failed, Measure, Measured
from localq.engine.sampling import SamplingParams
from localq.engine.settings import LoadSettings

INFO, ERROR, CONTINUED = 2, 4, 5


class Params:
    """A struct that takes any field."""


class FakeLlama:
    """llama.cpp's functions over a memory of positions."""

    def __init__(self) -> None:
        self.log: Callable[[int, bytes, None], None] = lambda level, text, _: None
        self.positions: list[int] = []
        self.can_forget = True
        self.window = 0
        self.status = 0
        self.n_ctx_train = 32
        self.opened: list[Any] = []
        self.freed: list[str] = []
        self.error = b""
        self.model_log: list[bytes] = []
        self.context_log: list[bytes] = []
        self.loaded: list[Any] = []
        self.threads: list[tuple[int, int]] = []
        self.waited = 0
        self.sampled = 0

    def __getattr__(self, name: str) -> Any:
        answers: dict[str, Any] = {
            "llama_model_has_encoder": False,
            "llama_model_has_decoder": True,
            "llama_model_is_diffusion": False,
            "llama_model_get_vocab": 1,
            "llama_vocab_n_tokens": 99,
            "llama_get_memory": 1,
            "llama_set_abort_callback": None,
            "llama_vocab_get_add_bos": True,
            "llama_vocab_bos": 5,
            "llama_vocab_is_eog": False,
            "llama_vocab_get_suppress_tokens": None,
            "llama_sampler_chain_default_params": None,
            "llama_sampler_chain_init": 1,
            "llama_sampler_chain_add": None,
            "llama_sampler_init_greedy": 1,
            "llama_sampler_accept": None,
            "llama_sampler_free": None,
            "llama_token_to_piece": 0,
            "llama_model_is_recurrent": False,
            "llama_model_is_hybrid": False,
            "llama_model_size": 5 * 10**9,
            "llama_model_n_head": 8,
            "llama_model_n_head_kv": 8,
            "llama_model_n_embd": 4096,
            "llama_model_n_layer": 32,
            "llama_model_meta_val_str": -1,
            "LLAMA_FLASH_ATTN_TYPE_DISABLED": 0,
            "LLAMA_FLASH_ATTN_TYPE_ENABLED": 1,
            "LLAMA_LOAD_MODE_NONE": 10,
            "LLAMA_LOAD_MODE_MLOCK": 12,
            "LLAMA_LOAD_MODE_MMAP_MLOCK": 13,
        }
        if name in answers:
            return answers[name] if name.isupper() else lambda *_: answers[name]
        raise AttributeError(name)

    def llama_log_callback(self, function: Any) -> Any:
        return function

    def llama_log_set(self, function: Any, _: None) -> None:
        self.log = function

    def ggml_abort_callback(self, function: Any = None) -> Any:
        return function

    def llama_model_default_params(self) -> Params:
        return Params()

    llama_context_default_params = llama_model_default_params

    def llama_model_load_from_file(self, path: bytes, params: Params) -> int:
        self.loaded.append(params)
        for line in self.model_log:
            self.log(INFO, line, None)
        if self.error:
            self.log(ERROR, self.error, None)
        return 0 if self.error else 1

    def llama_model_n_ctx_train(self, _: int) -> int:
        return self.n_ctx_train

    def llama_init_from_model(self, _: int, params: Params) -> int:
        self.opened.append(params)
        for line in self.context_log:
            self.log(INFO, line, None)
        self.positions = []
        return len(self.opened) if self.status != -100 else 0

    def llama_set_n_threads(self, _: int, threads: int, batch: int) -> None:
        self.threads.append((threads, batch))

    def llama_synchronize(self, _: int) -> None:
        self.waited += 1

    def llama_sampler_sample(self, *_: int) -> int:
        return self.sampled

    def llama_free(self, _: int) -> None:
        self.freed.append("context")

    def llama_model_free(self, _: int) -> None:
        self.freed.append("model")

    def llama_batch_get_one(self, tokens: Any, count: int) -> Any:
        batch = Params()
        batch.logits = ctypes.POINTER(ctypes.c_int8)()  # type: ignore[attr-defined]
        batch.count = count  # type: ignore[attr-defined]
        return batch

    def llama_decode(self, _: int, batch: Any) -> int:
        start = self.positions[-1] + 1 if self.positions else 0
        self.positions += range(start, start + batch.count)
        if self.window:
            self.positions = self.positions[-self.window :]
        return self.status

    def llama_memory_seq_rm(self, _: int, sequence: int, start: int, end: int) -> bool:
        if self.can_forget:
            self.positions = [p for p in self.positions if p < start]
        return self.can_forget or self.positions[-1] < start

    def llama_memory_clear(self, _: int, data: bool) -> None:
        self.positions = []

    def llama_model_n_swa(self, _: int) -> int:
        return self.window

    def llama_memory_seq_pos_min(self, *_: int) -> int:
        return self.positions[0] if self.positions else -1

    def llama_memory_seq_pos_max(self, *_: int) -> int:
        return self.positions[-1] if self.positions else -1


@pytest.fixture
def llama() -> FakeLlama:
    return FakeLlama()


def load(llama: FakeLlama, **settings: Any) -> LlamaModel:
    return LlamaModel(llama, LoadSettings(Path("model.gguf"), **settings), LogTail(llama))


def never() -> bool:
    return False


def test_the_context_is_the_trained_one_up_to_4096(llama: FakeLlama) -> None:
    assert load(llama).n_ctx == 32
    llama.n_ctx_train = 1 << 20
    assert load(llama).n_ctx == 4096
    assert load(llama, n_ctx=8192).n_ctx == 8192
    llama.n_ctx_train = 0
    assert load(llama).n_ctx == 4096


def test_threads_and_layers_are_explicit(llama: FakeLlama) -> None:
    load(llama, n_threads=3)
    assert (llama.opened[-1].n_threads, llama.opened[-1].n_threads_batch) == (3, 3)
    load(llama, n_threads=3, n_threads_batch=5)
    assert (llama.opened[-1].n_threads, llama.opened[-1].n_threads_batch) == (3, 5)
    assert load(llama).n_threads >= 1


def test_threads_can_change(llama: FakeLlama) -> None:
    model = load(llama, n_threads=3)
    model.set_threads(1, 2)
    assert llama.threads == [(1, 2)]
    assert (model.n_threads, model.n_threads_batch) == (1, 2)


def test_the_adapter_chooses_the_threads(llama: FakeLlama, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    choose = random.Random(0)
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    model = load(llama, n_ctx=512, n_threads=2)

    def compute(_: int, batch: Any) -> int:
        nonlocal now
        # Another program keeps one core, for a while now, for a while not.
        now += choose.uniform(4, 6) if model.n_threads == 2 else 1.0
        return 0

    llama.llama_decode = compute  # type: ignore[method-assign]
    llama.sampled = 7
    adapter = ThreadAdapter(2, 2)
    done = continue_prompt(
        model,
        [1, 2],
        SamplingParams(max_tokens=60, temperature=0),
        1,
        adapter=adapter,
        on_text=lambda text: None,
        cancelled=never,
    )
    assert (done.generated_tokens, done.n_threads) == (60, 1)
    assert (1, 2) in llama.threads
    assert done.generate_seconds < 60 * 3


def test_a_measurement_is_llama_benchs(llama: FakeLlama) -> None:
    model = load(llama, n_ctx=100, n_batch=16, n_threads=2)
    batches: list[int] = []

    def compute(_: int, batch: Any) -> int:
        batches.append(batch.count)
        return 0

    llama.llama_decode = compute  # type: ignore[method-assign]
    measured = measure(model, Measure(40, 3, n_threads=4), never)
    assert isinstance(measured, Measured)
    assert batches == [16, 16, 8, 1, 1, 1]
    assert len(measured.token_seconds) == 3
    assert llama.threads == [(4, 2), (2, 2)]
    assert llama.waited == 4
    assert model.length == 0
    assert isinstance(measure(model, Measure(0, 3), lambda: True), Failed)
    assert llama.threads[-1] == (2, 2)


def test_settings_reach_llama_cpp(llama: FakeLlama) -> None:
    model = load(
        llama,
        n_ctx=3000,
        n_batch=2048,
        n_ubatch=128,
        n_gpu_layers=7,
        tensor_split=(3.0, 1.0),
        type_k="q8_0",
        type_v="iq4_nl",
        flash_attn="on",
        use_mmap=False,
        use_mlock=True,
        n_seq_max=2,
    )
    loaded, opened = llama.loaded[-1], llama.opened[-1]
    assert (loaded.n_gpu_layers, loaded.load_mode) == (7, 12)
    assert list(loaded.tensor_split) == [3.0, 1.0] + [0.0] * 14
    assert (opened.n_ctx, opened.n_batch, opened.n_ubatch) == (3000, 2048, 128)
    assert (opened.type_k, opened.type_v, opened.flash_attn_type) == (8, 20, 1)
    assert (opened.n_seq_max, opened.kv_unified) == (2, True)
    assert model.flash_attn
    assert load(llama, n_batch=64, n_ctx=100).n_ubatch == 64
    load(llama, use_mlock=True)
    assert llama.loaded[-1].load_mode == 13
    load(llama)
    assert not hasattr(llama.loaded[-1], "load_mode")
    assert not hasattr(llama.opened[-1], "flash_attn_type")


def test_exact_keys_go_without_flash_attention(llama: FakeLlama) -> None:
    for settings in ({"type_k": "f32"}, {"type_v": "f32"}, {"flash_attn": "off"}):
        load(llama, **settings)
        assert llama.opened[-1].flash_attn_type == 0
    load(llama, type_k="f32", flash_attn="on")
    assert llama.opened[-1].flash_attn_type == 1


def test_llama_cpps_own_account_of_memory(llama: FakeLlama) -> None:
    llama.model_log = [
        b"load_tensors: offloading output layer to GPU\n",
        b"load_tensors: offloaded 17/33 layers to GPU\n",
        b"load_tensors:   CPU_Mapped model buffer size =   606.54 MiB\n",
        b"load_tensors:        CUDA0 model buffer size =  2000.00 MiB\n",
        b"load_tensors:        CUDA0 model buffer size =     1.00 MiB\n",
    ]
    llama.context_log = [
        b"llama_context:  CUDA_Host  output buffer size =     0.50 MiB\n",
        b"llama_kv_cache:      CUDA0 KV buffer size =    88.00 MiB\n",
        b"llama_kv_cache:      CUDA0 KV buffer size =    12.00 MiB\n",
        b"llama_memory_recurrent:      CUDA0 RS buffer size =     4.00 MiB\n",
        b"resolve_fused_ops: Flash Attention enabled\n",
        b"sched_reserve:      CUDA0 compute buffer size =    70.00 MiB\n",
        b"sched_reserve:      CUDA0 compute buffer size =    66.50 MiB\n",
        b"a line about a buffer size = 5 MiB\n",
    ]
    model = load(llama)
    mib = 1 << 20
    assert model.memory == (
        BufferMemory("CPU_Mapped", model_bytes=round(606.54 * mib)),
        BufferMemory("CUDA0", 2001 * mib, 104 * mib, round(66.5 * mib)),
        BufferMemory("CUDA_Host", output_bytes=mib // 2),
    )
    assert model.memory[1].total_bytes == round(2171.5 * mib)
    assert model.n_gpu_layers == 17
    assert model.flash_attn
    llama.context_log = [b"resolve_fused_ops: Flash Attention not supported, set to disabled\n"]
    assert not load(llama).flash_attn
    model.close()


def test_a_context_that_no_machine_holds(llama: FakeLlama, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama_model, "total_memory", lambda api: 64 * 10**9)
    words = "16,777,216 tokens takes 8,796.1 GB beside the model's 5.0; this machine has 64.0 GB"
    with pytest.raises(LlamaError, match=words):
        load(llama, n_ctx=1 << 24)
    assert (llama.opened, llama.freed) == ([], ["model"])
    load(llama, n_ctx=100_000)
    load(llama, n_ctx=1 << 18, type_k="q4_0", type_v="q4_0")
    llama.window = 512  # holds less than all of it: only llama.cpp can tell
    load(llama, n_ctx=1 << 24)


def test_a_prefix_is_kept(llama: FakeLlama) -> None:
    model = load(llama, n_batch=4)
    assert model.read_prompt(range(10), never) == 0
    assert llama.positions == list(range(10))
    assert model.read_prompt([*range(8), 50, 51], never) == 8
    assert model.read_prompt([*range(8), 50, 51], never) == 9  # the last is read for its logits
    assert model.read_prompt([9, 9], never) == 0
    assert llama.positions == [0, 1]


def test_a_model_that_cannot_forget_starts_anew(llama: FakeLlama) -> None:
    llama.can_forget = False
    model = load(llama)
    model.read_prompt(range(10), never)
    assert model.read_prompt(range(12), never) == 10  # a mere continuation needs no forgetting
    assert model.read_prompt([*range(5), 50], never) == 0
    assert llama.positions == list(range(6))


def test_a_sliding_window_that_moved_on_starts_anew(llama: FakeLlama) -> None:
    llama.window = 8
    model = load(llama)
    model.read_prompt(range(20), never)
    assert model.read_prompt(range(22), never) == 20
    assert model.read_prompt([*range(10), 50], never) == 0  # needs positions 2 to 9


def test_a_batch_that_fails_is_forgotten(llama: FakeLlama) -> None:
    model = load(llama)
    model.read_prompt(range(5), never)
    llama.status = -3
    with pytest.raises(LlamaError, match="status -3"):
        model.read(7)
    assert model.length == len(llama.positions) == 5
    llama.status = 2
    with pytest.raises(Interrupted):
        model.read(7)
    assert model.length == 5


def test_cancel_between_two_batches(llama: FakeLlama) -> None:
    model = load(llama, n_batch=4)
    with pytest.raises(Interrupted):
        model.read_prompt(range(20), lambda: len(llama.positions) >= 8)
    assert model.length == 8
    assert model.read_prompt(range(20), never) == 8


def test_a_context_that_does_not_fit(llama: FakeLlama) -> None:
    llama.status = -100
    with pytest.raises(LlamaError, match="no context of 32 tokens"):
        load(llama)
    assert llama.freed == ["model"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"llama_model_has_encoder": lambda _: True}, "encoder"),
        ({"llama_model_has_decoder": lambda _: False}, "encoder"),
        ({"llama_model_is_diffusion": lambda _: True}, "diffusion"),
    ],
)
def test_models_that_do_not_continue_text(
    llama: FakeLlama, wrong: dict[str, Any], words: str
) -> None:
    model = load(llama)
    model.check_generates()
    vars(llama).update(wrong)
    with pytest.raises(LlamaError, match=words) as caught:
        model.check_generates()
    assert caught.value.unsupported


def test_the_reason_is_llama_cpps_first_error(
    llama: FakeLlama, capsys: pytest.CaptureFixture[str]
) -> None:
    llama.error = b"llama_model_load: error loading model: the tensors are tired\n"
    with pytest.raises(LlamaError, match=r"^error loading model: the tensors are tired$"):
        load(llama)
    tail = LogTail(llama)
    llama.log(INFO, b"all is well\n", None)
    llama.log(1, b"a detail\n", None)
    llama.log(ERROR, b"something with spaces: broke", None)
    llama.log(CONTINUED, b" badly\n", None)
    llama.log(ERROR, b"llama_x: failed\n", None)
    assert tail.reason("?") == "something with spaces: broke"
    tail.clear()
    assert tail.reason("?") == "?"
    logged = capsys.readouterr().err
    assert "all is well\nsomething with spaces: broke badly\n" in logged
    assert "a detail" not in logged
