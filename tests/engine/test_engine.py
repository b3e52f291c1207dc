"""The engine with llama.cpp in it, from the client's side."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import localq
from localq.engine.client import Engine, LoadSettings, SamplingParams
from localq.engine.sampling import LogitBias
from localq.errors import Cancelled, EngineError, StorageError
from localq.events import ignore
from localq.formats.types import QuantType
from localq.hardware import memory
from localq.library import Library
from localq.paths import Paths
from localq.services.make.quantize import QuantizeRequest, quantize

DEMO = Path(localq.__file__).parent / "demo" / "stories260K"
VOCABULARY = 512
ONCE = "Once upon a time"
GREEDY = SamplingParams(max_tokens=24, temperature=0)
ENDLESS = SamplingParams(max_tokens=10**6, temperature=0)
LONG_CONTEXT = 1 << 16
"""Room for a generation that is still going on when the test is done with it."""


def make_gguf(checkpoint: Path, folder: Path, type_: QuantType = QuantType.Q8_0) -> Path:
    output = folder / f"{checkpoint.name}-{type_.name}.gguf"
    library = Library(Paths.from_environment({"LOCALQ_HOME": str(folder / "home")}))
    request = QuantizeRequest(type_, model=str(checkpoint), output=output)
    quantize(library, request, ignore, threading.Event())
    return output


@pytest.fixture(scope="module")
def story_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_gguf(DEMO, tmp_path_factory.mktemp("story"))


@pytest.fixture
def engine(story_gguf: Path, tmp_path: Path) -> Iterator[Engine]:
    with Engine(log=tmp_path / "engine.log") as engine:
        engine.load(LoadSettings(story_gguf, n_threads=1))
        yield engine


def unheard(text: str) -> None:
    pass


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat")
        return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 60
    while is_running(pid):
        assert time.monotonic() < deadline, f"process {pid} is still running"
        time.sleep(0.02)


def test_loading_says_what_was_loaded(story_gguf: Path, tmp_path: Path) -> None:
    with Engine(log=tmp_path / "logs" / "engine.log") as engine:
        assert engine.pid is None
        loaded = engine.load(LoadSettings(story_gguf, n_threads=2))
        assert (loaded.n_ctx, loaded.n_ctx_train, loaded.n_vocab) == (512, 512, VOCABULARY)
        assert loaded.n_threads == 2
        assert "llama" in loaded.description
        assert loaded.load_seconds > 0
        assert engine.load(LoadSettings(story_gguf, n_ctx=100)).n_ctx == 100
    assert "llama_model_loader" in (tmp_path / "logs" / "engine.log").read_text()


def test_loading_says_what_it_took(story_gguf: Path) -> None:
    with Engine() as engine:
        loaded = engine.load(
            LoadSettings(story_gguf, n_ctx=1024, n_batch=64, n_ubatch=32, type_k="f32")
        )
        resident = engine.memory()
        assert engine.generate(ONCE, GREEDY, on_text=unheard).text
    assert (loaded.n_batch, loaded.n_ubatch, loaded.n_gpu_layers) == (64, 32, 0)
    assert (loaded.type_k, loaded.type_v, loaded.flash_attn) == ("f32", "f16", False)
    assert loaded.build.startswith("llama-cpp-python ")
    # 5 layers x 1024 cells x 32 numbers, one as f32 and one as f16
    cache = 5 * 1024 * 32 * (4 + 2)
    assert sum(m.context_bytes for m in loaded.memory) == pytest.approx(cache, abs=1 << 13)
    weights = sum(m.model_bytes for m in loaded.memory)
    assert weights == pytest.approx(story_gguf.stat().st_size, rel=0.1)
    assert sum(m.compute_bytes for m in loaded.memory) > 0
    if sys.platform == "linux":
        assert resident.resident_bytes
        assert resident.anonymous_bytes
        assert resident.resident_bytes > resident.anonymous_bytes > cache


@pytest.mark.parametrize("type_", ["bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"])
def test_every_type_of_cache_works(type_: str, material: Path, tmp_path: Path) -> None:
    gguf = make_gguf(material / "models" / "tiny-wiki-llama", tmp_path)
    with Engine() as engine:
        engine.load(LoadSettings(gguf, n_ctx=64, n_threads=1, type_k=type_, type_v=type_))
        assert engine.generate(ONCE, GREEDY, on_text=unheard).generated_tokens == 24


def test_the_memory_that_a_context_is_held_against() -> None:
    script = (
        "from localq.engine.bindings import llama_cpp\n"
        "from localq.engine.backends import total_memory\n"
        "print(total_memory(llama_cpp()))"
    )
    answer = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True)
    if (there_is := memory()) is not None:
        assert int(answer.stdout) >= there_is.total


def test_threads_that_adapt_change_no_text(story_gguf: Path, engine: Engine) -> None:
    sampling = SamplingParams(max_tokens=200, temperature=0)
    fixed = engine.generate(ONCE, sampling, on_text=unheard)
    assert fixed.n_threads == 1
    for _ in range(2):
        # Loaded anew: from 512 cells in use on, llama.cpp's flash attention gives each thread its
        # part of them, and the sum of the parts is rounded otherwise.
        engine.load(LoadSettings(story_gguf, n_threads=2, adapt_threads=True))
        adapted = engine.generate(ONCE, sampling, on_text=unheard)
        assert adapted.text == fixed.text
        assert adapted.n_threads in (1, 2)


def test_text_streams_in_pieces(engine: Engine) -> None:
    pieces: list[str] = []
    generation = engine.generate(ONCE, GREEDY, on_text=pieces.append)
    assert generation.text == "".join(pieces)
    assert len(pieces) > 10
    assert generation.text.startswith(", there was a little")
    assert generation.stop == "length"
    assert generation.generated_tokens == GREEDY.max_tokens
    assert generation.prompt_tokens == len(engine.tokenize(ONCE)) == 5
    assert generation.prompt_seconds > 0 < generation.generate_seconds


def test_temperature_0_and_seeds_repeat_themselves(engine: Engine) -> None:
    def text(sampling: SamplingParams) -> str:
        return engine.generate(ONCE, sampling, on_text=unheard).text

    assert text(GREEDY) == text(GREEDY)
    seeded = SamplingParams(max_tokens=40, temperature=1.5, min_p=0, seed=7)
    assert text(seeded) == text(seeded)
    other = SamplingParams(max_tokens=40, temperature=1.5, min_p=0, seed=8)
    assert text(seeded) != text(other)
    free = SamplingParams(max_tokens=40, temperature=1.5, min_p=0)
    assert text(free) != text(free)


def test_the_repeat_penalty_counts(engine: Engine) -> None:
    penalised = SamplingParams(max_tokens=200, temperature=0, repeat_penalty=1.3)
    plain = SamplingParams(max_tokens=200, temperature=0)

    def variety(sampling: SamplingParams) -> int:
        return len(set(engine.generate(ONCE, sampling, on_text=unheard).text.split()))

    assert variety(penalised) > variety(plain)


def test_a_full_context_ends_the_text(story_gguf: Path, engine: Engine) -> None:
    engine.load(LoadSettings(story_gguf, n_ctx=32))
    generation = engine.generate(ONCE, ENDLESS, on_text=unheard)
    assert generation.stop == "context"
    # The last token needs no place: nothing is read after it.
    assert generation.prompt_tokens + generation.generated_tokens == 32 + 1


def test_no_tokens_at_all(engine: Engine) -> None:
    generation = engine.generate(ONCE, SamplingParams(max_tokens=0), on_text=unheard)
    assert (generation.text, generation.generated_tokens, generation.stop) == ("", 0, "length")


def test_cancel_stops_at_once(engine: Engine, story_gguf: Path) -> None:
    engine.load(LoadSettings(story_gguf, n_ctx=LONG_CONTEXT, n_threads=1))
    cancel = threading.Event()
    pieces: list[str] = []

    def on_text(text: str) -> None:
        pieces.append(text)
        if len(pieces) == 3:
            cancel.set()

    generation = engine.generate(ONCE, ENDLESS, cancel=cancel, on_text=on_text)
    assert generation.stop == "cancelled"
    assert len(pieces) == 3
    assert generation.text == "".join(pieces)
    assert generation.generated_tokens < LONG_CONTEXT // 4
    assert engine.generate(ONCE, GREEDY, on_text=unheard).stop == "length"


def test_cancel_stops_the_reading_of_a_prompt(engine: Engine, story_gguf: Path) -> None:
    engine.load(LoadSettings(story_gguf, n_ctx=LONG_CONTEXT, n_threads=1))
    prompt = (ONCE + " ") * 12_000
    cancel = threading.Event()
    timer = threading.Timer(0.3, cancel.set)
    timer.start()
    generation = engine.generate(prompt, ENDLESS, cancel=cancel, on_text=unheard)
    timer.join()
    assert (generation.stop, generation.text) == ("cancelled", "")
    assert generation.generated_tokens == 0
    assert engine.generate(ONCE, GREEDY, on_text=unheard).text.startswith(", there was")


def test_what_on_text_raises_comes_out(engine: Engine) -> None:
    def on_text(text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.generate(ONCE, SamplingParams(temperature=0), on_text=on_text)
    assert engine.generate(ONCE, GREEDY, on_text=unheard).text.startswith(", there was")


def test_a_prompt_too_long_for_the_context(engine: Engine) -> None:
    tokens = engine.tokenize("word " * 600)
    with pytest.raises(EngineError, match=f"{len(tokens):,} tokens long.* 512") as caught:
        engine.generate("word " * 600, GREEDY, on_text=unheard)
    assert caught.value.hint
    with pytest.raises(EngineError, match="512 tokens long"):
        engine.generate(tokens[:512], GREEDY, on_text=unheard)
    assert engine.generate(tokens[:511], GREEDY, on_text=unheard).stop == "context"


def test_an_empty_or_impossible_prompt(engine: Engine) -> None:
    with pytest.raises(EngineError, match="prompt is empty"):
        engine.generate([], GREEDY, on_text=unheard)
    with pytest.raises(EngineError, match="invalid token"):
        engine.generate([1, VOCABULARY], GREEDY, on_text=unheard)
    assert engine.generate("", GREEDY, on_text=unheard).prompt_tokens == 1


def test_a_common_beginning_is_not_read_again(engine: Engine, story_gguf: Path) -> None:
    first = engine.generate(ONCE, GREEDY, on_text=unheard)
    assert first.reused_tokens == 0
    prompt = engine.tokenize(ONCE + first.text + " The dog")
    second = engine.generate(prompt, GREEDY, on_text=unheard)
    assert second.reused_tokens >= first.prompt_tokens + first.generated_tokens - 3
    with Engine() as fresh:
        fresh.load(LoadSettings(story_gguf, n_threads=1))
        alone = fresh.generate(prompt, GREEDY, on_text=unheard)
    assert alone.reused_tokens == 0
    assert alone.text == second.text
    unrelated = engine.generate(prompt[1:], GREEDY, on_text=unheard)
    assert unrelated.reused_tokens == 0


def test_tokens_of_a_text(engine: Engine) -> None:
    bos = engine.tokenize("")
    assert len(bos) == 1
    tokens = engine.tokenize(ONCE)
    assert tokens[:1] == bos
    assert engine.tokenize(ONCE, add_special=False) == tokens[1:]
    assert engine.tokenize("</s>", add_special=False) == [2]
    assert len(engine.tokenize("</s>", add_special=False, parse_special=False)) > 1
    assert engine.tokenize("你好 \ud800 \0", add_special=False)


def test_text_of_tokens(engine: Engine) -> None:
    tokens = engine.tokenize("Once 你好")
    assert engine.detokenize(tokens) == "<s> Once 你好"
    assert engine.detokenize(()) == ""
    with pytest.raises(EngineError, match="invalid token 99999"):
        engine.detokenize([99999])


def test_control_tokens_are_text_where_they_are_asked_for(engine: Engine) -> None:
    again = SamplingParams(max_tokens=2, temperature=0, logit_bias=(LogitBias(1, 1000.0),))
    assert engine.generate(ONCE, again, on_text=unheard).text == ""
    shown = replace(again, markers=("<s>", "no token"))
    assert engine.generate(ONCE, shown, on_text=unheard).text == "<s><s>"


@pytest.mark.parametrize("n_batch", [7, 512])
def test_logits_have_a_row_for_each_token(
    n_batch: int, engine: Engine, story_gguf: Path, tmp_path: Path
) -> None:
    np = pytest.importorskip("numpy")
    engine.load(LoadSettings(story_gguf, n_threads=1, n_batch=n_batch))
    tokens = engine.tokenize(ONCE + " there was a little girl")
    engine.logits(tokens, tmp_path / "logits")
    logits = np.fromfile(tmp_path / "logits", "<f4").reshape(len(tokens), VOCABULARY)
    assert np.isfinite(logits).all()
    likeliest = int(logits[-1].argmax())
    greedy = engine.generate(tokens, SamplingParams(max_tokens=1, temperature=0), on_text=unheard)
    assert engine.tokenize("girl" + greedy.text, add_special=False)[-1] == likeliest


def test_logits_that_cannot_be_written(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        engine.logits([1], tmp_path / "missing" / "logits")
    with pytest.raises(EngineError, match="513 tokens"):
        engine.logits([1] * 513, tmp_path / "logits")


@pytest.mark.parametrize(
    ("size", "reason"), [(0, "magic"), (3000, "read"), (200_000, "not within the file bounds")]
)
def test_a_truncated_gguf(size: int, reason: str, story_gguf: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(story_gguf.read_bytes()[:size])
    with Engine() as engine, pytest.raises(EngineError, match=f"broken.gguf.*{reason}"):
        engine.load(LoadSettings(broken))


def test_files_that_are_no_gguf(story_gguf: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.gguf"
    text.write_text("Once upon a time there was a file. " * 10)
    with Engine() as engine:
        with pytest.raises(EngineError, match="invalid magic"):
            engine.load(LoadSettings(text))
        with pytest.raises(EngineError, match="No such file"):
            engine.load(LoadSettings(tmp_path / "missing.gguf"))
        with pytest.raises(EngineError, match="no model is loaded"):
            engine.generate(ONCE, GREEDY, on_text=unheard)
        engine.load(LoadSettings(story_gguf))  # the same process goes on


def test_nothing_is_loaded() -> None:
    with Engine() as engine, pytest.raises(EngineError, match="no model is loaded"):
        engine.tokenize(ONCE)


def test_loading_can_be_cancelled(story_gguf: Path) -> None:
    cancel = threading.Event()
    cancel.set()
    with Engine() as engine:
        with pytest.raises(Cancelled):
            engine.load(LoadSettings(story_gguf), cancel=cancel)
        assert engine.pid is None
        cancel.clear()
        engine.load(LoadSettings(story_gguf), cancel=cancel)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(
    ("number", "words"), [(9, "signal 9, SIGKILL"), (11, "signal 11, SIGSEGV")]
)
def test_a_crash_is_one_clear_error(
    number: int, words: str, engine: Engine, story_gguf: Path, tmp_path: Path
) -> None:
    pid = engine.pid
    assert pid

    def crash(text: str) -> None:
        os.kill(pid, number)

    with pytest.raises(EngineError, match=f"stopped unexpectedly.*{words}.*generating") as caught:
        engine.generate(ONCE, SamplingParams(temperature=0), on_text=crash)
    hint = caught.value.hint or ""
    assert str(tmp_path / "engine.log") in hint
    assert "it ends with: " in hint
    assert "\n" not in hint + caught.value.message
    with pytest.raises(EngineError, match="no model is loaded"):
        engine.generate(ONCE, GREEDY, on_text=unheard)
    engine.load(LoadSettings(story_gguf))
    assert engine.generate(ONCE, GREEDY, on_text=unheard).text


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_in_the_terminal_does_not_reach_the_engine(engine: Engine) -> None:
    pid = engine.pid
    assert pid
    assert os.getpgid(pid) != os.getpgid(0)

    def interrupt(text: str) -> None:
        os.kill(pid, signal.SIGINT)

    assert engine.generate(ONCE, GREEDY, on_text=interrupt).stop == "length"


def test_close_ends_the_process(engine: Engine) -> None:
    pid = engine.pid
    assert pid
    engine.close()
    assert not is_running(pid)
    engine.close()


def test_close_from_another_thread(engine: Engine, story_gguf: Path) -> None:
    engine.load(LoadSettings(story_gguf, n_ctx=LONG_CONTEXT, n_threads=1))
    closers: list[threading.Thread] = []

    def on_text(text: str) -> None:
        if not closers:
            closers.append(threading.Thread(target=engine.close))
            closers[0].start()

    with pytest.raises(EngineError, match="closed while generating"):
        engine.generate(ONCE, ENDLESS, on_text=on_text)
    closers[0].join()


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_the_engine_dies_with_its_parent(story_gguf: Path, tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from localq.engine.client import Engine, LoadSettings, SamplingParams
with Engine(log=Path({str(tmp_path / "engine.log")!r})) as engine:
    engine.load(LoadSettings(Path({str(story_gguf)!r}), n_ctx={LONG_CONTEXT}, n_threads=1))
    print(engine.pid, flush=True)
    engine.generate("Once", SamplingParams(max_tokens=10**6, temperature=0),
                    on_text=lambda text: print("text", flush=True))
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        assert parent.stdout.readline() == "text\n"
        assert is_running(pid)
        parent.kill()
    wait_until_gone(pid)
