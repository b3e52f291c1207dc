"""Many texts at once over a pretended llama.cpp, which would notice every token out of place."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from localq.engine import generations, sequence_memory
from localq.engine.generations import Generations
from localq.engine.llama_context import LlamaContext
from localq.engine.llama_model import LlamaModel
from localq.engine.llama_sampler import TokenSampler
from localq.engine.prompt_lookup import PromptLookup
from localq.engine.protocol import Failed, Generated, Piece, Reply
from localq.engine.sampling import SamplingParams
from localq.engine.sequence import Sequence
from localq.engine.stop_strings import StopStrings
from tests.engine.fake_llama import FakeLlama, load, next_token


class Texts:
    """Generations with their requests and replies."""

    def __init__(self, llama: FakeLlama, *, adapt: bool = False, **loading: Any) -> None:
        self.llama = llama
        self.model: LlamaModel
        self.context: LlamaContext
        self.model, self.context = load(llama, **loading)
        self.generations = Generations(
            self.model, self.context, self.send, adapt=adapt, checkpoint_bytes=1 << 16
        )
        self.replies: dict[int, list[Reply]] = {}
        self.sequences: dict[int, Sequence] = {}

    def send(self, id_: int, reply: Reply) -> None:
        self.replies.setdefault(id_, []).append(reply)

    def add(self, prompt: list[int], max_tokens: int = 8, **sampling: Any) -> int:
        id_ = len(self.sequences)
        params = SamplingParams(max_tokens=max_tokens, temperature=0, **sampling)
        sampler = TokenSampler(self.model, params, seed=0, n_ctx=self.context.n_ctx)
        sequence = Sequence(
            *(id_, len(prompt), list(prompt), params, sampler),
            *(threading.Event(), StopStrings(params.stop)),
        )
        n_draft = self.context.n_draft
        if n_draft and self.model.recall == "any":
            sequence.lookup = PromptLookup(prompt)
        self.sequences[id_] = sequence
        self.generations.add(sequence)
        return id_

    def cancel(self, id_: int) -> None:
        self.sequences[id_].cancelled.set()
        self.generations.hurry(id_)

    def finish(self) -> None:
        for _ in range(10_000):
            if not self.generations.busy:
                return
            self.generations.step()
        raise AssertionError("no end")

    def run(self, prompt: list[int], max_tokens: int = 8, **sampling: Any) -> Generated:
        id_ = self.add(prompt, max_tokens, **sampling)
        self.finish()
        return self.result(id_)

    def result(self, id_: int) -> Generated:
        done = self.replies[id_][-1]
        assert isinstance(done, Generated), done
        return done


def alone(
    prompt: list[int], count: int, choose: Callable[[list[int]], int] = next_token
) -> list[int]:
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(choose(tokens))
    return tokens[len(prompt) :]


def repeating(tokens: list[int]) -> int:
    """Mostly the same few tokens again and again, whatever stands before."""
    surprise = next_token(tokens)
    return surprise if surprise < 12 else 20 + len(tokens) % 5


def prompt_of(length: int, seed: int = 0) -> list[int]:
    choose = random.Random(seed)
    return [choose.randrange(1, 90) for _ in range(length)]


@pytest.fixture
def llama() -> FakeLlama:
    llama = FakeLlama()
    llama.n_ctx_train = 4096
    return llama


def test_one_text_alone_is_read_as_ever(llama: FakeLlama) -> None:
    texts = Texts(llama, n_batch=16, n_ubatch=16)
    done = texts.run(prompt_of(40), 5)
    assert [len(batch) for batch in llama.batches] == [16, 16, 8, 1, 1, 1, 1]
    assert list(done.tokens) == alone(prompt_of(40), 5)
    assert (done.stop, done.prompt_tokens, done.reused_tokens) == ("length", 40, 0)


def test_texts_grow_together_and_a_long_prompt_holds_up_nobody(llama: FakeLlama) -> None:
    texts = Texts(llama, n_seq_max=4, n_batch=512, n_ubatch=64)
    for seed in range(3):
        texts.add(prompt_of(5, seed), 60)
    while not all(one.generated > 2 for one in texts.sequences.values()):
        texts.generations.step()
    before = len(llama.batches)
    late = texts.add(prompt_of(500, 9), 3)
    texts.finish()
    during = llama.batches[before : before + 8]
    assert all(len({s for s, _ in batch}) == 4 for batch in during)  # nobody is left out
    assert all(len(batch) <= 64 for batch in during)
    for id_, prompt in enumerate([prompt_of(5, seed) for seed in range(3)]):
        assert list(texts.result(id_).tokens) == alone(prompt, 60)
    assert list(texts.result(late).tokens) == alone(prompt_of(500, 9), 3)


def test_more_texts_than_slots_wait_in_order(llama: FakeLlama) -> None:
    texts = Texts(llama, n_seq_max=2)
    for seed in range(5):
        texts.add(prompt_of(4, seed), 4 + seed)
    texts.finish()
    assert [list(texts.result(i).tokens) for i in range(5)] == [
        alone(prompt_of(4, i), 4 + i) for i in range(5)
    ]
    assert list(texts.replies) == sorted(texts.replies)


@pytest.mark.parametrize("others", [0, 2])
def test_nothing_is_read_twice(others: int, llama: FakeLlama) -> None:
    texts = Texts(llama, n_seq_max=1 + others)
    prompt = prompt_of(50)
    for seed in range(others):
        texts.add(prompt_of(20, seed + 1), 200)
    first = texts.add(prompt, 10)
    while first not in texts.replies or not isinstance(texts.replies[first][-1], Generated):
        texts.generations.step()
    reply = list(texts.result(first).tokens)
    follow_up = [*prompt, *reply, 7, 8]
    cases = [
        (follow_up, 59),  # the last token of the reply was never read
        (prompt, 49),  # again: the last token is read for what follows it
        ([*prompt[:30], 91, 92], 30),  # another branch
        (follow_up, 61),  # and back
        ([*prompt, *reply[:4], 93], 54),  # an edited reply
        ([3, *prompt], 0),
    ]
    for tokens, reused in cases:
        id_ = texts.add(tokens, 6)
        while not isinstance(texts.replies.get(id_, [None])[-1], Generated):
            texts.generations.step()
        done = texts.result(id_)
        assert (done.reused_tokens, list(done.tokens)) == (reused, alone(tokens, 6))
    texts.finish()


def test_what_is_being_read_is_shared(llama: FakeLlama) -> None:
    texts = Texts(llama, n_seq_max=8, n_batch=64, n_ubatch=64)
    system = prompt_of(300)
    for seed in range(8):
        texts.add([*system, *prompt_of(5, seed + 1)], 4)
    texts.finish()
    assert sum(len(batch) for batch in llama.batches) == 300 + 8 * (5 + 3)
    for seed in range(8):
        done = texts.result(seed)
        assert list(done.tokens) == alone([*system, *prompt_of(5, seed + 1)], 4)
        assert done.reused_tokens == (300 if seed else 0)


def test_recurrent_texts_go_back_to_checkpoints(llama: FakeLlama) -> None:
    llama.recurrent = True
    texts = Texts(llama)
    prompt = prompt_of(600)
    reply = list(texts.run(prompt, 5).tokens)
    again = texts.run(prompt, 5)
    assert (again.reused_tokens, list(again.tokens)) == (599, reply)
    follow_up = [*prompt, *reply, 1, 2]
    assert texts.run(follow_up, 5).reused_tokens == 604
    edited = texts.run([*prompt, *reply[:4], 9, 9], 5)  # from the end of the turn before
    assert edited.reused_tokens == 604
    branch = texts.run([*prompt[:550], 3], 5)
    assert branch.reused_tokens == 512
    assert list(branch.tokens) == alone([*prompt[:550], 3], 5)


def test_sliding_windows_go_back_to_checkpoints(llama: FakeLlama) -> None:
    llama.window = 20
    llama.choose = lambda tokens: next_token(tokens[-20:])
    texts = Texts(llama)
    prompt = prompt_of(600)
    texts.run(prompt, 50)
    assert texts.run([*prompt[:550], 3], 5).reused_tokens == 512


def one_second_each(patch: pytest.MonkeyPatch, llama: FakeLlama) -> Callable[[], int]:
    """Let each computation take a second, and nothing else any time."""
    now = 0.0
    patch.setattr(generations, "time", SimpleNamespace(perf_counter=lambda: now))

    def compute() -> int:
        nonlocal now
        now += 1
        return 0

    llama.during = compute
    return compute


def test_right_guesses_save_batches_and_wrong_ones_harm_nothing(
    llama: FakeLlama, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_second_each(monkeypatch, llama)
    llama.choose = repeating
    texts = Texts(llama, n_draft=8, n_seq_max=2)
    done = texts.run(prompt_of(5), 200)
    assert list(done.tokens) == alone(prompt_of(5), 200, repeating)
    assert len(llama.batches) < 140
    assert 50 < done.accepted_tokens <= done.draft_tokens
    for seed in (1, 2):
        texts.add(prompt_of(5, seed), 100, stop=())
    texts.finish()
    for id_ in (1, 2):
        assert list(texts.result(id_).tokens) == alone(prompt_of(5, id_), 100, repeating)
    follow_up = [*prompt_of(5), *done.tokens, 4]
    assert texts.run(follow_up, 5).reused_tokens == 204


def test_memory_is_bounded_and_the_oldest_goes_first(llama: FakeLlama) -> None:
    texts = Texts(llama, n_ctx=100)
    prompts = [prompt_of(40, seed) for seed in range(3)]
    for prompt in prompts[:2]:
        texts.run(prompt, 5)
    texts.run(prompts[0], 5)  # used again: the other one is the oldest
    texts.run(prompts[2], 5)
    assert len(llama.cells) <= 100
    assert texts.run(prompts[0], 5).reused_tokens == 39
    assert texts.run(prompts[1], 5).reused_tokens == 0


def test_texts_that_outgrow_the_memory_take_turns(llama: FakeLlama) -> None:
    texts = Texts(llama, n_ctx=100, n_seq_max=4)
    for seed in range(4):
        texts.add(prompt_of(5, seed), 80)
    texts.finish()
    for seed in range(4):
        assert list(texts.result(seed).tokens) == alone(prompt_of(5, seed), 80)


def test_a_full_context_ends_a_text(llama: FakeLlama) -> None:
    texts = Texts(llama, n_ctx=32, n_seq_max=2)
    texts.add(prompt_of(5), 100)
    texts.add(prompt_of(5, 1), 100)
    texts.finish()
    assert [texts.result(i).stop for i in (0, 1)] == ["context", "context"]
    assert [texts.result(i).generated_tokens for i in (0, 1)] == [28, 28]


def test_one_batch_that_fails_ends_its_texts_only(llama: FakeLlama) -> None:
    texts = Texts(llama)
    id_ = texts.add(prompt_of(5))
    llama.status = -3
    texts.generations.step()
    assert isinstance(texts.replies[id_][-1], Failed)
    llama.status = 0
    assert list(texts.run(prompt_of(5)).tokens) == alone(prompt_of(5), 8)


def test_a_cancel_is_heard_while_a_prompt_is_read(llama: FakeLlama) -> None:
    texts = Texts(llama)
    id_ = texts.add(prompt_of(300))
    flag = texts.context._flag

    def cancelled_meanwhile() -> int:
        texts.cancel(id_)
        return 2 if flag._text.raw[:1] != b"\0" else 0

    llama.during = cancelled_meanwhile
    texts.finish()
    assert texts.result(id_).stop == "cancelled"
    assert llama.batches == []


def test_the_adapter_chooses_the_threads(llama: FakeLlama, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    choose = random.Random(0)
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    texts = Texts(llama, adapt=True, n_ctx=512, n_threads=2)

    def compute() -> int:
        nonlocal now
        # Another program keeps one core.
        now += choose.uniform(4, 6) if texts.context.n_threads == 2 else 1.0
        return 0

    llama.during = compute
    done = texts.run([1, 2], 60)
    assert (done.generated_tokens, done.n_threads) == (60, 1)
    assert (1, 2) in llama.threads
    assert done.generate_seconds < 60 * 3


class Conversations(RuleBasedStateMachine):
    """Requests come, go on from one another, and are cancelled at any moment."""

    @initialize(
        kind=st.sampled_from(["any", "window", "whole"]),
        n_seq_max=st.integers(1, 4),
        n_ctx=st.sampled_from([24, 64, 200]),
        n_ubatch=st.sampled_from([4, 16]),
        n_draft=st.sampled_from([0, 5]),
        aborts=st.booleans(),
    )
    def begin(
        self, kind: str, n_seq_max: int, n_ctx: int, n_ubatch: int, n_draft: int, aborts: bool
    ) -> None:
        self.next: Callable[[list[int]], int] = next_token
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(sequence_memory, "EVERY", 8)
        self.llama = FakeLlama()
        self.llama.recurrent = kind == "whole"
        self.llama.window = 9 if kind == "window" else 0
        if kind == "window":
            # What is outside of the window is not seen: nor may the fake model see it.
            self.llama.choose = lambda tokens: next_token(tokens[-9:])
        choose = random.Random(n_ctx)

        tick = one_second_each(self.patch, self.llama)

        def sometimes_abort() -> int:
            tick()
            if aborts and choose.random() < 0.1:
                if kind == "whole":
                    self.spoil()
                return 2
            return 0

        self.llama.during = sometimes_abort
        if n_draft and kind == "any":
            # A text that repeats itself, with a surprise now and then.
            self.next = repeating
        self.llama.choose = self.llama.choose if kind == "window" else self.next
        self.texts = Texts(
            self.llama,
            n_seq_max=n_seq_max,
            n_ctx=n_ctx,
            n_batch=2 * n_ubatch,
            n_ubatch=n_ubatch,
            n_draft=n_draft,
        )
        self.prompts: dict[int, list[int]] = {}
        self.n_ctx = n_ctx

    def spoil(self) -> None:
        """An ended computation leaves recurrent states behind that are of no position."""
        for slot in self.llama.computing:
            if positions := self.llama.positions(slot):
                for cell in self.llama.cells:
                    if slot in cell.sequences and cell.position == positions[-1]:
                        cell.position += 1

    def add(self, prompt: list[int], max_tokens: int) -> None:
        prompt = prompt[: self.n_ctx - 1] or [1]
        self.prompts[self.texts.add(prompt, max_tokens)] = prompt

    @rule(seed=st.integers(0, 3), length=st.integers(1, 40), max_tokens=st.integers(0, 30))
    def a_new_one(self, seed: int, length: int, max_tokens: int) -> None:
        self.add(prompt_of(length, seed), max_tokens)

    @precondition(lambda self: self.prompts)
    @rule(data=st.data(), max_tokens=st.integers(1, 20))
    def goes_on(self, data: st.DataObject, max_tokens: int) -> None:
        id_ = data.draw(st.sampled_from(sorted(self.prompts)))
        tokens = self.texts.sequences[id_].tokens
        cut = data.draw(st.integers(0, len(tokens)))
        self.add([*tokens[:cut], *data.draw(st.lists(st.integers(1, 9), max_size=5))], max_tokens)

    @precondition(lambda self: self.prompts)
    @rule(data=st.data())
    def is_cancelled(self, data: st.DataObject) -> None:
        self.texts.cancel(data.draw(st.sampled_from(sorted(self.prompts))))

    @rule(count=st.integers(1, 12))
    def time_passes(self, count: int) -> None:
        for _ in range(count):
            if self.texts.generations.busy:
                self.texts.generations.step()

    @invariant()
    def replies_are_their_own(self) -> None:
        for id_, prompt in getattr(self, "prompts", {}).items():
            replies = self.texts.replies.get(id_, [])
            if not replies:
                continue
            assert all(isinstance(one, Piece) for one in replies[:-1])
            tokens = self.texts.sequences[id_].tokens[len(prompt) :]
            if self.llama.window:
                grown = list(prompt)
                for _ in tokens:
                    grown.append(next_token(grown[-9:]))
                assert tokens == grown[len(prompt) :]
            else:
                assert tokens == alone(prompt, len(tokens), self.next)

    def teardown(self) -> None:
        if not hasattr(self, "texts"):
            return
        self.patch.undo()
        self.texts.finish()
        self.replies_are_their_own()
        for id_, sequence in self.texts.sequences.items():
            done = self.texts.result(id_)
            assert done.tokens == tuple(sequence.tokens[sequence.prompt_tokens :])
            if done.stop == "length":
                assert done.generated_tokens == sequence.params.max_tokens
            assert done.stop in ("length", "context", "cancelled")
            assert done.stop != "cancelled" or sequence.is_cancelled
            assert sequence.slot is None
        self.texts.generations.memory.forget_all()
        assert self.llama.cells == []


TestConversations = Conversations.TestCase
TestConversations.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


@given(st.integers(1, 6), st.integers(1, 40))
@settings(deadline=None, max_examples=20)
def test_slots_and_shelves_come_back(n_seq_max: int, rounds: int) -> None:
    llama = FakeLlama()
    texts = Texts(llama, n_seq_max=n_seq_max, n_ctx=64)
    for seed in range(rounds):
        texts.add(prompt_of(6, seed), 3)
    texts.finish()
    memory = texts.generations.memory
    memory.forget_all()
    assert sorted(memory._slots) == list(range(n_seq_max))
    assert sorted(memory._shelves) == list(range(n_seq_max, 256))
