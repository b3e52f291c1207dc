"""What the engine makes of llama.cpp's answers that no model at hand gives."""

from __future__ import annotations

from typing import Any

import pytest

from localq.engine import llama_context
from localq.engine.llama_context import Interrupted, LlamaContext, OutOfCells, Part
from localq.engine.llama_log import LogTail
from localq.engine.llama_model import LlamaError
from localq.engine.measuring import measure
from localq.engine.memory_report import BufferMemory
from localq.engine.protocol import Measure
from tests.engine.fake_llama import CONTINUED, ERROR, INFO, FakeLlama, load


@pytest.fixture
def llama() -> FakeLlama:
    return FakeLlama()


def never() -> bool:
    return False


def test_the_context_is_the_trained_one_up_to_4096(llama: FakeLlama) -> None:
    assert load(llama)[1].n_ctx == 32
    llama.n_ctx_train = 1 << 20
    assert load(llama)[1].n_ctx == 4096
    assert load(llama, n_ctx=8192)[1].n_ctx == 8192
    llama.n_ctx_train = 0
    assert load(llama)[1].n_ctx == 4096


def test_threads_and_layers_are_explicit(llama: FakeLlama) -> None:
    load(llama, n_threads=3)
    assert (llama.opened[-1].n_threads, llama.opened[-1].n_threads_batch) == (3, 3)
    load(llama, n_threads=3, n_threads_batch=5)
    assert (llama.opened[-1].n_threads, llama.opened[-1].n_threads_batch) == (3, 5)
    assert load(llama)[1].n_threads >= 1


def test_threads_can_change(llama: FakeLlama) -> None:
    _, context = load(llama, n_threads=3)
    for _ in range(2):
        context.set_threads(1, 2)
    assert llama.threads == [(1, 2)]
    assert (context.n_threads, context.n_threads_batch) == (1, 2)


def test_a_measurement_is_llama_benchs(llama: FakeLlama) -> None:
    model, context = load(llama, n_ctx=100, n_batch=16, n_threads=2)
    measured = measure(model, context, Measure(40, 3, n_threads=4), never)
    assert [len(batch) for batch in llama.batches] == [16, 16, 8, 1, 1, 1]
    assert len(measured.token_seconds) == 3
    assert llama.threads == [(4, 2), (2, 2)]
    assert llama.waited == 4
    assert llama.cells == []
    with pytest.raises(Interrupted):
        measure(model, context, Measure(0, 3), lambda: True)
    assert (context.n_threads, context.n_threads_batch) == (2, 2)


def test_settings_reach_llama_cpp(llama: FakeLlama) -> None:
    _, context = load(
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
    assert opened.n_outputs_max == 2
    assert context.flash_attn
    assert load(llama, n_batch=64, n_ctx=100)[1].n_ubatch == 64
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
    model, context = load(llama)
    mib = 1 << 20
    assert context.memory == (
        BufferMemory("CPU_Mapped", model_bytes=round(606.54 * mib)),
        BufferMemory("CUDA0", 2001 * mib, 104 * mib, round(66.5 * mib)),
        BufferMemory("CUDA_Host", output_bytes=mib // 2),
    )
    assert context.memory[1].total_bytes == round(2171.5 * mib)
    assert model.n_gpu_layers == 17
    assert context.flash_attn
    llama.context_log = [b"resolve_fused_ops: Flash Attention not supported, set to disabled\n"]
    assert not load(llama)[1].flash_attn


def test_a_context_that_no_machine_holds(llama: FakeLlama, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama_context, "total_memory", lambda api: 64 * 10**9)
    words = "16,777,216 tokens takes 8.8 TB beside the model's 5.0 GB; this machine has 64.0 GB"
    with pytest.raises(LlamaError, match=words):
        load(llama, n_ctx=1 << 24)
    assert llama.opened == []
    load(llama, n_ctx=100_000)
    load(llama, n_ctx=1 << 18, type_k="q4_0", type_v="q4_0")
    llama.window = 512  # holds less than all of it: only llama.cpp can tell
    load(llama, n_ctx=1 << 24)


def read(context: LlamaContext, sequence: int, tokens: range) -> None:
    context.decode([Part(sequence, tokens.start, tokens, outputs=1)])


def test_a_sequence_is_cut_and_shared(llama: FakeLlama) -> None:
    _, context = load(llama, n_seq_max=2)
    read(context, 0, range(10))
    assert context.copy(0, 1, 6)
    assert context.cut(0, 8)
    assert (llama.tokens(0), llama.tokens(1)) == (list(range(8)), list(range(6)))
    assert len(llama.cells) == 8
    read(context, 1, range(6, 9))
    context.forget(0)
    assert llama.tokens(1) == list(range(9))
    assert context.cut(1, 0)
    assert llama.cells == []


def test_recurrent_memory_is_not_cut(llama: FakeLlama) -> None:
    llama.recurrent = True
    _, context = load(llama)
    read(context, 0, range(10))
    assert context.cut(0, 10)  # a mere continuation needs no forgetting
    assert not context.cut(0, 5)


def test_a_sliding_window_that_moved_on_is_not_cut(llama: FakeLlama) -> None:
    llama.window = 8
    _, context = load(llama, n_seq_max=3)
    read(context, 0, range(20))
    assert context.copy(0, 1, 20)
    assert not context.copy(0, 2, 10)  # needs positions 2 to 9
    assert llama.tokens(2) == []
    assert not context.cut(1, 18)


def test_a_batch_that_fails_is_forgotten(llama: FakeLlama) -> None:
    _, context = load(llama)
    read(context, 0, range(5))
    llama.status = -3
    with pytest.raises(LlamaError, match="status -3"):
        read(context, 0, range(5, 6))
    llama.status = 2
    with pytest.raises(Interrupted) as caught:
        read(context, 0, range(5, 6))
    assert not caught.value.lost
    assert llama.tokens(0) == list(range(5))
    llama.status = 0
    with pytest.raises(OutOfCells):
        read(context, 0, range(5, 33))
    read(context, 0, range(5, 6))


def test_an_aborted_recurrent_sequence_is_lost(llama: FakeLlama) -> None:
    llama.recurrent = True
    _, context = load(llama)
    read(context, 0, range(5))

    def abort() -> int:
        llama.cells[-1].position = 6  # whatever it is, it is not what it was
        return 2

    llama.during = abort
    with pytest.raises(Interrupted) as caught:
        read(context, 0, range(5, 7))
    assert caught.value.lost == {0}
    assert llama.cells == []


def test_a_context_that_does_not_fit(llama: FakeLlama) -> None:
    llama.status = -100
    with pytest.raises(LlamaError, match="no context of 32 tokens"):
        load(llama)


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
    model, _ = load(llama)
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
