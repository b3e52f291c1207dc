"""Pictures in the engine: tiny random projectors beside the demo model."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from localq.engine.client import Engine, Generation, LoadSettings, SamplingParams
from localq.engine.picture_tokens import is_picture, position
from localq.engine.protocol import Pictures
from localq.errors import EngineError, LocalqError, UnsupportedError, UsageError
from localq.formats.types import QuantType
from tests.engine.test_engine import DEMO, make_gguf, unheard
from tests.families import write_family
from tests.projectors import png, write_projector

MARK = "<here>"
GREEDY = SamplingParams(max_tokens=12, temperature=0)
ONCE = f"{MARK}Once upon a time"
A, B = png(seed=1), png(seed=2)
PLACES = 16
"""Tokens of a picture: 56 pixels a side, 14 a patch."""


def pictures(*files: bytes) -> Pictures:
    return Pictures(tuple(base64.b64encode(file).decode() for file in files), MARK)


def generate(engine: Engine, text: str, *files: bytes) -> Generation:
    return engine.generate(text, GREEDY, pictures=pictures(*files), on_text=unheard)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> LoadSettings:
    folder = tmp_path_factory.mktemp("sight")
    projector = write_projector(folder / "mmproj.gguf", 64)
    return LoadSettings(make_gguf(DEMO, folder), n_threads=1, n_seq_max=4, projector=projector)


@pytest.fixture(scope="module")
def engine(settings: LoadSettings) -> Iterator[Engine]:
    with Engine() as engine:
        engine.load(settings)
        yield engine


def test_what_llama_mtmd_cli_says(engine: Engine) -> None:
    # llama-mtmd-cli of the same llama.cpp: --chat-template vicuna --temp 0 -n 20
    prompt = f"USER: {MARK}Once upon a time\nASSISTANT:"
    for file, said in (
        (A, '" recheer" said An.\n"Hecares'),
        (B, ' "Iteappy and Itagens a catearg'),
    ):
        greedy = replace(GREEDY, max_tokens=20)
        done = engine.generate(prompt, greedy, pictures=pictures(file), on_text=unheard)
        assert (done.prompt_tokens, done.text) == (39, said)


def test_its_places_are_counted(engine: Engine) -> None:
    text = engine.tokenize("Once upon a time")
    with_one = engine.tokenize(ONCE, pictures=pictures(A))
    assert sum(map(is_picture, with_one)) == PLACES
    assert generate(engine, ONCE, A).prompt_tokens == len(with_one) == len(text) + PLACES
    two = engine.tokenize(f"{MARK} and {MARK} are", pictures=pictures(A, A))
    assert sum(map(is_picture, two)) == 2 * PLACES


def test_what_was_read_is_used_for_the_same_picture_alone(settings: LoadSettings) -> None:
    with Engine() as fresh:
        fresh.load(settings)
        first = {file: generate(fresh, ONCE, file) for file in (A, B)}
        assert first[A].text != first[B].text
        assert first[B].reused_tokens == 1  # BOS
        for file in (A, B, A):
            again = generate(fresh, ONCE, file)
            assert again.tokens == first[file].tokens
            assert again.reused_tokens == again.prompt_tokens - 1
            other = generate(fresh, f"{MARK}The cat", file)
            assert other.reused_tokens >= 1 + PLACES
        both = generate(fresh, f"{MARK}{MARK}Once", A, B)
        assert both.reused_tokens == 1 + PLACES  # the first of them
        assert generate(fresh, f"{MARK}{MARK}Once", A, A).tokens != both.tokens


def test_many_at_once_see_their_own(engine: Engine) -> None:
    files = [png(seed=seed) for seed in range(10, 14)]
    alone = []
    for file in files:
        alone.append(generate(engine, ONCE, file).text)
    assert len(set(alone)) > 1
    together: dict[int, str] = {}

    def ask(number: int) -> None:
        prompt = ONCE if number % 2 == 0 else f"{MARK}Once upon a time"
        together[number] = generate(engine, prompt, files[number]).text

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(files))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[number] for number in range(len(files))] == alone


@pytest.mark.parametrize("bad", [b"", b"GIF89a", A[:200], A[:60] + bytes(500), b"%PDF-1.7 " * 9])
def test_what_is_no_picture_harms_nobody(engine: Engine, bad: bytes) -> None:
    with pytest.raises(LocalqError) as refused:
        generate(engine, ONCE, bad)
    assert "\n" not in refused.value.message
    assert generate(engine, ONCE, A).text


def test_marks_and_pictures_must_agree(engine: Engine) -> None:
    with pytest.raises(UsageError, match="2 pictures, and 1 places"):
        generate(engine, ONCE, A, B)
    with pytest.raises(UsageError, match="ends with a picture"):
        generate(engine, f"Look: {MARK}", A)
    tokens = engine.tokenize(ONCE, pictures=pictures(A))
    for wrong in (tokens[:5], [*tokens[:5], *tokens[6:]], [-1, 5], [5, -99, 7]):
        with pytest.raises(UsageError, match="picture"):
            engine.generate([*wrong, 3], GREEDY, pictures=pictures(A), on_text=unheard)
    with pytest.raises(UsageError, match="no base64"):
        engine.generate(ONCE, GREEDY, pictures=Pictures(("?",), MARK), on_text=unheard)


def test_tokens_are_as_good_as_text(engine: Engine) -> None:
    tokens = engine.tokenize(ONCE, pictures=pictures(A))
    done = engine.generate(tokens, GREEDY, pictures=pictures(A), on_text=unheard)
    assert done.tokens == generate(engine, ONCE, A).tokens


def test_a_model_without_a_projector_says_so(settings: LoadSettings) -> None:
    with Engine() as blind:
        blind.load(replace(settings, projector=None))
        with pytest.raises(UnsupportedError, match="no projector"):
            generate(blind, ONCE, A)


def test_a_projector_that_does_not_fit(settings: LoadSettings, tmp_path: Path) -> None:
    bad = [
        write_projector(tmp_path / "wide-mmproj.gguf", 32),
        write_projector(tmp_path / "deaf-mmproj.gguf", 64, vision=False),
        settings.path,
        tmp_path / "absent.gguf",
    ]
    with Engine() as engine:
        for path in bad:
            engine.load(replace(settings, projector=path))
            with pytest.raises(EngineError) as refused:
                generate(engine, ONCE, A)
            assert path.name in refused.value.message
            assert engine.generate("Once", GREEDY, on_text=unheard).text


def test_all_of_a_picture_in_one_batch(settings: LoadSettings, tmp_path: Path) -> None:
    projector = write_projector(tmp_path / "mmproj.gguf", 64, kind="gemma3", image_size=224)
    with Engine() as engine:
        engine.load(replace(settings, projector=projector))
        first = generate(engine, ONCE, A)
        assert generate(engine, ONCE, A).tokens == first.tokens
        engine.load(replace(settings, projector=projector, n_batch=8, n_ubatch=8))
        with pytest.raises(EngineError, match="16 tokens that have to be read at once"):
            generate(engine, ONCE, A)


def test_a_cancel_is_heard_while_a_picture_is_computed(
    settings: LoadSettings, tmp_path: Path
) -> None:
    projector = write_projector(tmp_path / "mmproj.gguf", 64, image_size=14 * 110)
    with Engine() as engine:
        engine.load(replace(settings, projector=projector, n_ctx=1 << 15))
        cancel = threading.Event()
        timer = threading.Timer(0.3, cancel.set)
        timer.start()
        began = time.monotonic()
        done = engine.generate(ONCE, GREEDY, pictures=pictures(A), cancel=cancel, on_text=unheard)
        timer.join()
        assert done.stop == "cancelled"
        assert time.monotonic() - began < 30
        assert engine.generate("Once", GREEDY, on_text=unheard).text


def test_a_text_grows_while_a_picture_is_computed(settings: LoadSettings, tmp_path: Path) -> None:
    projector = write_projector(tmp_path / "mmproj.gguf", 64, image_size=14 * 40)
    with Engine() as engine:
        engine.load(replace(settings, projector=projector, n_ctx=1 << 15))
        seen = threading.Event()
        pieces_before_seen = 0
        begun = threading.Event()

        def look() -> None:
            begun.wait(60)
            generate(engine, ONCE, A)
            seen.set()

        def grown(piece: str) -> None:
            nonlocal pieces_before_seen
            begun.set()
            pieces_before_seen += not seen.is_set()

        thread = threading.Thread(target=look)
        thread.start()
        cancel = threading.Event()
        endless = SamplingParams(max_tokens=20_000, temperature=1, seed=1)

        def piece(text: str) -> None:
            grown(text)
            if seen.is_set():
                cancel.set()

        engine.generate("Once", endless, cancel=cancel, on_text=piece)
        thread.join()
        assert pieces_before_seen > 10


def test_places_that_share_positions(material: Path, tmp_path: Path) -> None:
    """M-RoPE: a picture of 4 x 3 takes twelve places at four positions."""
    root = write_family(tmp_path / "checkpoint", "qwen3-vl", material)
    path = make_gguf(root, tmp_path, QuantType.F16)
    data = bytearray(path.read_bytes())
    layers = data.index(b"qwen3vl.n_deepstack_layers") + len("qwen3vl.n_deepstack_layers") + 4
    data[layers : layers + 4] = bytes(4)  # else it wants views of several layers
    path.write_bytes(data)
    projector = write_projector(tmp_path / "mmproj.gguf", 64, kind="qwen2vl_merger")
    picture = pictures(png(80, 60, seed=3))
    prompt = f"USER: {MARK}Once upon a time\nASSISTANT:"
    asked = SamplingParams(max_tokens=4, temperature=0, logprobs=0)
    with Engine() as engine:
        engine.load(LoadSettings(path, n_threads=1, n_ctx=2048, projector=projector))
        tokens = engine.tokenize(prompt, pictures=picture)
        assert sum(map(is_picture, tokens)) == 12
        assert position(tokens, len(tokens)) == len(tokens) - 8
        for reused in (0, 58):
            done = engine.generate(prompt, asked, pictures=picture, on_text=unheard)
            assert (done.prompt_tokens, done.reused_tokens) == (59, reused)
            # llama-server of the same llama.cpp says so.
            found = [one.logprob for one in done.logprobs]
            assert found == pytest.approx([-3.8522, -3.4546, -3.2703, -3.2307], abs=0.02)
