"""What guessing ahead brings, and what it costs where it does not help, in one run.

    python -m benchmarks.speculate MODEL.gguf [--draft DRAFT.gguf] [--rounds 5] [--tokens 96]

Two engines have the model, one of them without guesses, and take turns in an order that changes.
Rewriting: the reply is scripted, by a grammar of token after token, to be a paragraph of the prompt
with a few words changed, which is what an editor asks for; the model's own words count for
nothing, so that random weights will do. New text: the reply is scripted to be other words. With
DRAFT: free greedy text, without guesses and with those of the draft. Printed are medians of the
rounds' ratios, and how many guesses were right.

    python -m benchmarks.speculate --make FOLDER --source CHECKPOINT

makes a pair for DRAFT: CHECKPOINT, a small Llama in bf16, and the same widened by zeros.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.widened import widen
from localq.engine import Engine, LoadSettings, SamplingParams
from localq.engine.client import Generation

__all__ = ["main"]

_N_DRAFT = 15
_TEXT = (
    "river stone window garden letter morning captain yellow station market village bridge paper"
    " engine winter summer silver kitchen mountain forest doctor teacher island harbour"
)
_WORDS = _TEXT.split()
_OPENINGS = (
    "The old house stood",
    "In the spring of 1914",
    "Scientists have found",
    "He said that",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--draft", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--make", type=Path)
    parser.add_argument("--source", type=Path)
    args = parser.parse_args()
    if args.make:
        count = widen(args.source, args.make, hidden=4096, intermediate=11008)
        print(f"{args.make}: {count:,} parameters")
        return
    plain = LoadSettings(args.model, n_ctx=1024, n_threads=args.threads)
    guessing = replace(plain, n_draft=_N_DRAFT, draft=args.draft)
    with Engine() as without, Engine() as with_guesses:
        without.load(plain)
        with_guesses.load(guessing)
        engines = (without, with_guesses)
        if args.draft:
            _compare(
                "greedy text, draft", engines, [_free(args.tokens, n) for n in range(args.rounds)]
            )
            return
        rounds = range(args.rounds)
        _compare("rewriting", engines, [_rewriting(without, number) for number in rounds])
        _compare("new text", engines, [_new_text(without, number) for number in rounds])
        _compare("free text", engines, [_free(args.tokens, number) for number in rounds])


Task = tuple[str, SamplingParams]


def _compare(what: str, engines: Sequence[Engine], tasks: Sequence[Task]) -> None:
    ratios, speeds, right, guessed = [], [], 0, 0
    for number, (prompt, sampling) in enumerate(tasks):
        done: dict[int, Generation] = {}
        for index in random.sample(range(2), 2):
            done[index] = engines[index].generate(prompt, sampling, on_text=lambda _: None)
        plain, quick = done[0], done[1]
        if number == 0 and len(tasks) > 1:
            continue  # what batches cost has only been learnt
        speeds.append(_speed(quick))
        ratios.append(_speed(quick) / _speed(plain))
        right, guessed = right + quick.accepted_tokens, guessed + quick.draft_tokens
    print(
        f"{what}: {statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f}),"
        f" {statistics.median(speeds):.1f} tok/s, {right} of {guessed} guesses right",
        flush=True,
    )


def _speed(done: Generation) -> float:
    return done.generated_tokens / done.generate_seconds


def _rewriting(engine: Engine, seed: int) -> Task:
    choose = random.Random(seed)
    words = choose.choices(_WORDS, k=70)
    prompt = f"Write this again with small corrections:\n{' '.join(words)}\nCorrected:\n"
    for place in (20, 45):
        words[place] = choose.choice(_WORDS)
    return prompt, _scripted(engine, " ".join(words))


def _new_text(engine: Engine, seed: int) -> Task:
    choose = random.Random(seed)
    prompt = f"Go on:\n{' '.join(choose.choices(_WORDS[:12], k=60))}\n"
    letters = "abcdefghijklmnopqrstuvwxyz"
    text = " ".join("".join(choose.choices(letters, k=choose.randint(3, 8))) for _ in range(30))
    return prompt, _scripted(engine, text)


def _free(tokens: int, seed: int) -> Task:
    opening = _OPENINGS[seed % len(_OPENINGS)]
    return opening, SamplingParams(max_tokens=tokens, temperature=0, ignore_eos=True)


def _scripted(engine: Engine, text: str) -> SamplingParams:
    tokens = engine.tokenize(text, add_special=False)
    grammar = "root ::= " + " ".join(f"<[{token}]>" for token in tokens)
    return SamplingParams(max_tokens=len(tokens), temperature=0, grammar=grammar)


if __name__ == "__main__":
    main()
