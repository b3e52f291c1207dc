"""Kills localq at random moments and looks at what it leaves behind.

    python -m tests.crash [--seed N] [--rounds 30] [--verbs pull,quantize,rm]

Each round begins with a fresh home and a Hub on the loopback interface, starts the real program
and kills it without a warning: half of the times at a random moment, half right before a random
one of the steps that change what is on the disk. Then it asks that

- `localq list` names only models whose every file is there with the right bytes;
- `localq doctor` finds nothing, or nothing any more after `localq doctor --repair`;
- the same command, given again, or `localq jobs resume` of the job that was interrupted, succeeds
  with the bytes of a run that nobody disturbed;
- nothing half-made is left then, and no job is unfinished.

A round depends on its own seed, which is printed when it fails: `--seed THAT --rounds 1` draws the
same moment again, though not on a machine of another speed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

import localq
from localq.events import ignore
from localq.jobs import JobState, JobStore
from localq.library import Library
from localq.paths import Paths
from localq.services.doctor.doctor import doctor
from localq.services.jobs.jobs import interrupted_jobs
from tests.checkpoints import write_llama_checkpoint
from tests.hub_server import HubServer

__all__ = ["SCENARIOS", "Lab", "Scenario", "opened_lab"]

_REPO = "org/big"
_SOURCE = "source"
"""The folder in each home that holds the checkpoint, as it would come from elsewhere."""
_DEMO = Path(localq.__file__).parent / "demo" / "stories260K"
_CONFIG: Mapping[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 512,
    "intermediate_size": 1536,
    "max_position_embeddings": 512,
    "model_type": "llama",
    "num_attention_heads": 8,
    "num_hidden_layers": 4,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": True,
    "vocab_size": 512,
}
# Run before the program: counts what is about to change on the disk, and dies at the wanted step.
_STEPPING = """
import os, sys, threading
wanted, tally, lock, count = int(sys.argv[1]), sys.argv[2], threading.Lock(), 0
changes = {"os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir", "os.truncate",
           "os.utime", "os.chmod", "sqlite3.connect"}
home = os.environ["LOCALQ_HOME"]
def look(event, arguments):
    global count
    if event == "open":
        path, flags = arguments[0], arguments[2]
        if not isinstance(path, (str, bytes)) or not os.fsdecode(path).startswith(home):
            return
        if not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND):
            return
    elif event not in changes:
        return
    with lock:
        count += 1
        if count == wanted:
            os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
import signal
from localq.cli.main import main
sys.addaudithook(look)
code = main(sys.argv[3:])
open(tally, "w").write(str(count))
sys.exit(code)
"""
_AGAIN = 0.3
"""The share of rounds in which the second run is killed too."""
_UNFINISHED = ("*.partial", "*.partial-*", "*.resumable", "*.resumable.journal", "*.incomplete")
_TIMEOUT = 120.0

Contents = dict[str, dict[str, str]]
"""For each model the hashes of its files, by their paths below the home."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A command to be killed. `before` are commands that prepare its home; `{source}` is
    a folder with a checkpoint outside the library. `moot`: given once more, the command may find
    nothing to do, and says so in one of these ways. `then` is given instead of the same command
    after the kill, and brings about what it always does, however far the killed one came."""

    verb: str
    command: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()
    moot: tuple[str, ...] = ()
    then: tuple[str, ...] = ()


_PULL = ("pull", _REPO)
_RM = ("rm", "--yes", _REPO)
SCENARIOS: Mapping[str, Scenario] = {
    scenario.verb: scenario
    for scenario in (
        Scenario("pull", ("pull", _REPO)),
        Scenario("pull-as", ("pull", _REPO, "--as", "q4_0")),
        Scenario("quantize", ("quantize", "q4_k_m", _REPO), (("pull", _REPO),)),
        Scenario("import", ("import", "{source}/big")),
        Scenario("import-copy", ("import", "--copy", "{source}/big")),
        Scenario(
            "import-move", ("import", "--move", "{source}/big"), moot=("no such", "no checkpoint")
        ),
        Scenario("rm", _RM, (_PULL,), moot=("no model",)),
        Scenario("rm-now", (*_RM, "--now"), (_PULL,), moot=("no model",)),
        Scenario("rm-pull", _RM, (_PULL,), then=_PULL),
        Scenario("restore", ("restore", _REPO), (_PULL, _RM), moot=("in the trash",)),
        Scenario("restore-pull", ("restore", _REPO), (_PULL, _RM), then=_PULL),
        Scenario("restore-rm", ("restore", _REPO), (_PULL, _RM), then=_RM, moot=("no model",)),
        Scenario("trash-empty", ("trash", "empty", "--yes"), (_PULL, _RM)),
    )
}


class Found(Exception):
    """What is not as it should be after a kill."""


@dataclass(frozen=True, slots=True)
class Usual:
    """A run that nobody disturbed: its seconds and steps, and the models before and after it."""

    home: Path
    seconds: float
    steps: int
    before: Contents
    during: Contents
    """The models after the command that is to be killed, `after` those after `then` too."""
    after: Contents
    trash: tuple[str, ...]
    """The models in the trash after it."""


class Lab:
    """A folder to work in, a Hub, and the checkpoint it serves."""

    def __init__(self, folder: Path, hub: HubServer, checkpoint: Path) -> None:
        self._folder = folder
        self._url = hub.url
        self._checkpoint = checkpoint
        self._idle = self._seconds_to_start()

    def usual(self, scenario: Scenario, *, runs: int = 3) -> Usual:
        """Prepare a home for the scenario, and run it there undisturbed, `runs` times."""
        prepared = self._folder / f"{scenario.verb}-before"
        shutil.copytree(self._checkpoint.parent, prepared / _SOURCE)
        for command in scenario.before:
            self._succeed(prepared, command)
        before = self._contents(prepared)
        seconds = []
        for number in range(runs):
            home = self._copy(prepared, f"{scenario.verb}-usual-{number}")
            began = time.monotonic()
            self._succeed(home, scenario.command)
            seconds.append(time.monotonic() - began)
            during = self._contents(home)
            if scenario.then:
                self._succeed(home, scenario.then)
            after = self._contents(home)
            trash = self._trash(home)
            self._look_for_remains(home)
            shutil.rmtree(home)
        home = self._copy(prepared, f"{scenario.verb}-usual-steps")
        steps = self._step(home, scenario.command, 0)
        shutil.rmtree(home)
        return Usual(prepared, sorted(seconds)[runs // 2], steps, before, during, after, trash)

    def round(self, scenario: Scenario, usual: Usual, seed: str) -> list[str]:
        """Kill the command once or twice and look at what is there; the moments of the kills.

        Raises Found.
        """
        chance = random.Random(seed)
        home = self._copy(usual.home, f"{scenario.verb}-round")
        kills = []
        try:
            for _ in range(2 if chance.random() < _AGAIN else 1):
                if chance.random() < 0.5:
                    moment = self._moment(chance, usual.seconds)
                    kills.append(f"after {moment:.3f} s")
                    self._start_and_kill(home, scenario.command, moment)
                else:
                    step = chance.randint(1, usual.steps)
                    kills.append(f"at step {step} of {usual.steps}")
                    self._step(home, scenario.command, step)
                self._look_at_models(home, usual)
                if chance.random() < 0.5:  # else the next command itself has to cope
                    self._look_at_health(home)
                    self._look_at_models(home, usual)
            resume = chance.random() < 0.5
            self._finish(home, scenario, usual, resume=resume)
        except Found as found:
            raise Found(f"{found} (killed {', '.join(kills)}; left in {home})") from None
        shutil.rmtree(home)
        return kills

    def _moment(self, chance: random.Random, seconds: float) -> float:
        """Seconds after which to kill: mostly while the program works, also at both its ends."""
        kind = chance.random()
        if kind < 0.1:
            return chance.uniform(0, self._idle)
        if kind < 0.25:
            return seconds + chance.uniform(-0.1, 0.05)
        return chance.uniform(min(0.8 * self._idle, seconds), seconds)

    def _finish(self, home: Path, scenario: Scenario, usual: Usual, *, resume: bool) -> None:
        """The same command once more; then everything is as if nothing had happened."""
        interrupted = interrupted_jobs(_paths(home))
        if resume and interrupted:
            command: tuple[str, ...] = ("jobs", "resume", str(interrupted[-1].id))
        else:
            command = scenario.then or scenario.command
        done = self._run(home, command)
        if done.returncode and not any(words in done.stderr for words in scenario.moot):
            raise Found(f"localq {' '.join(command)} fails then: {done.stderr.strip()}")
        if (contents := self._contents(home)) != usual.after:
            raise Found(f"the second run made {_differences(contents, usual.after)}")
        if (trash := self._trash(home)) != usual.trash and not scenario.then:
            raise Found(f"in the trash: {trash} instead of {usual.trash}")
        self._look_for_remains(home, jobs=done.returncode == 0)
        self._look_at_health(home, repair=False)

    def _start_and_kill(self, home: Path, command: Sequence[str], moment: float) -> None:
        process = subprocess.Popen(
            self._program(home, command),
            env=self._environment(home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        process.kill()
        process.wait()

    def _step(self, home: Path, command: Sequence[str], wanted: int) -> int:
        """Run until right before the step `wanted`; 0: to the end, and say how many steps it is."""
        tally = self._folder / "steps"
        tally.write_text("0")
        program = self._program(home, command)[3:]
        subprocess.run(
            [sys.executable, "-c", _STEPPING, str(wanted), str(tally), *program],
            env=self._environment(home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_TIMEOUT,
        )
        return int(tally.read_text())

    def _look_at_models(self, home: Path, usual: Usual) -> None:
        for name, files in self._contents(home).items():
            whole = [models.get(name) for models in (usual.before, usual.during, usual.after)]
            if files not in whole:
                wanted = usual.after.get(name) or usual.before.get(name) or {}
                difference = _differences({name: files}, {name: wanted})
                raise Found(f"the library lists a model that is not whole: {difference}")

    def _look_at_health(self, home: Path, *, repair: bool = True) -> None:
        library = Library(_paths(home))
        # Nobody else is at work here, so no file can be one that is just being entered.
        with patch("localq.services.doctor.orphans._SETTLE_SECONDS", 0.0):
            result = doctor(library, ignore, threading.Event())
            if repair and not result.healthy:
                doctor(library, ignore, threading.Event(), repair=True)
                result = doctor(library, ignore, threading.Event())
        # That a job was interrupted is so, and no damage.
        problems = [f.problem for f in result.findings if f.check != "interrupted jobs"]
        if problems:
            raise Found(f"doctor finds: {'; '.join(problems)}")

    def _look_for_remains(self, home: Path, *, jobs: bool = True) -> None:
        data = home / "data"
        remains = [path for pattern in _UNFINISHED for path in data.rglob(pattern)]
        remains += [path for path in (data / "partial").rglob("*") if path.is_file()]
        if remains:
            names = ", ".join(str(path.relative_to(home)) for path in remains)
            raise Found(f"left behind: {names}")
        states = {job.title: job.state for job in JobStore(_paths(home)).jobs()}
        unfinished = [title for title, state in states.items() if state is not JobState.FINISHED]
        if jobs and unfinished:
            raise Found(f"unfinished jobs: {', '.join(unfinished)}")

    def _contents(self, home: Path) -> Contents:
        done = self._run(home, ("list", "--json"))
        if done.returncode:
            raise Found(f"localq list fails: {done.stderr.strip()}")
        listed = json.loads(done.stdout)
        return {model["name"]: _hashes(home, Path(model["path"])) for model in listed}

    def _trash(self, home: Path) -> tuple[str, ...]:
        entries = Library(_paths(home)).trash.entries()
        if unsettled := [f"{e.model.name} is {e.state}" for e in entries if e.state != "kept"]:
            raise Found(f"in the trash: {', '.join(unsettled)}")
        return tuple(entry.model.name for entry in entries)

    def _succeed(self, home: Path, command: Sequence[str]) -> None:
        done = self._run(home, command)
        if done.returncode:
            raise Found(f"localq {' '.join(command)} fails undisturbed: {done.stderr.strip()}")

    def _run(self, home: Path, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._program(home, command),
            env=self._environment(home),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=_TIMEOUT,
        )

    def _program(self, home: Path, command: Sequence[str]) -> list[str]:
        words = [word.format(source=home / _SOURCE) for word in command]
        return [sys.executable, "-m", "localq", *words]

    def _environment(self, home: Path) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "LOCALQ_"))}
        return kept | {
            "LOCALQ_HOME": str(home),
            "HF_ENDPOINT": self._url,
            "HF_HOME": str(self._folder / "hf"),
            "NO_PROXY": "127.0.0.1",
        }

    def _copy(self, prepared: Path, name: str) -> Path:
        home = self._folder / name
        shutil.rmtree(home, ignore_errors=True)
        return shutil.copytree(prepared, home, symlinks=True)

    def _seconds_to_start(self) -> float:
        began = time.monotonic()
        self._run(self._folder / "nothing", ("list",))
        return time.monotonic() - began


@contextmanager
def opened_lab() -> Iterator[Lab]:
    """A lab in a temporary folder, which goes afterwards unless something was found."""
    folder = Path(tempfile.mkdtemp(prefix="localq-crash-"))
    checkpoint = write_llama_checkpoint(
        folder / "source" / "big", config=_CONFIG, tokenizer_from=_DEMO
    )
    with HubServer() as hub:
        hub.add_repo(_REPO, checkpoint)
        yield Lab(folder, hub, checkpoint)
    shutil.rmtree(folder)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seed", default=str(random.SystemRandom().randrange(10**6)))
    parser.add_argument("--rounds", type=int, default=30, help="for each verb")
    parser.add_argument("--verbs", default=",".join(SCENARIOS))
    arguments = parser.parse_args()
    unknown = set(verbs := arguments.verbs.split(",")) - set(SCENARIOS)
    if unknown:
        parser.error(f"no such verb here: {', '.join(sorted(unknown))}")
    _say(f"seed {arguments.seed}")
    try:
        with opened_lab() as lab:
            for verb in verbs:
                _try(lab, SCENARIOS[verb], arguments.seed, arguments.rounds)
    except Found as found:
        _say(str(found))
        return 1
    return 0


def _try(lab: Lab, scenario: Scenario, seed: str, rounds: int) -> None:
    usual = lab.usual(scenario)
    _say(f"{scenario.verb}: undisturbed in {usual.seconds:.2f} s, {usual.steps} steps")
    kills = 0
    for number in range(rounds):
        own_seed = f"{seed}.{number}" if rounds > 1 else seed
        try:
            kills += len(lab.round(scenario, usual, own_seed))
        except Found as found:
            again = f"--verbs {scenario.verb} --rounds 1 --seed {own_seed}"
            raise Found(f"{scenario.verb}: {found}\nonce more: {again}") from None
    _say(f"{scenario.verb}: {kills} kills in {rounds} rounds, nothing lost, nothing half-made")


def _hashes(home: Path, path: Path) -> dict[str, str]:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {
        file.relative_to(home).as_posix(): sha256(file.read_bytes()).hexdigest()
        for file in files
        # A model's folder may hold another model of its own, and what is still being made.
        if file.is_file() and (file == path or file.suffix != ".gguf") and file.name[0] != "."
    }


def _differences(found: Contents, wanted: Contents) -> str:
    return f"{_brief(found)} instead of {_brief(wanted)}"


def _brief(contents: Contents) -> str:
    return "; ".join(
        f"{name}: " + ", ".join(f"{Path(file).name} {digest[:8]}" for file, digest in files.items())
        for name, files in contents.items()
    )


def _paths(home: Path) -> Paths:
    return Paths.from_environment({"LOCALQ_HOME": str(home)})


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
