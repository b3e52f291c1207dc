"""What the engine makes of llama.cpp's answers that no model at hand gives."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localq.engine.llama_log import LogTail
from localq.engine.llama_model import Interrupted, LlamaError, LlamaModel
from localq.engine.protocol import LoadSettings

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

    def __getattr__(self, name: str) -> Any:
        answers: dict[str, Any] = {
            "llama_model_has_encoder": False,
            "llama_model_has_decoder": True,
            "llama_model_is_diffusion": False,
            "llama_model_get_vocab": 1,
            "llama_vocab_n_tokens": 99,
            "llama_get_memory": 1,
            "llama_set_abort_callback": None,
        }
        if name in answers:
            return lambda *_: answers[name]
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
        if self.error:
            self.log(ERROR, self.error, None)
        return 0 if self.error else 1

    def llama_model_n_ctx_train(self, _: int) -> int:
        return self.n_ctx_train

    def llama_init_from_model(self, _: int, params: Params) -> int:
        self.opened.append(params)
        self.positions = []
        return len(self.opened) if self.status != -100 else 0

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
