"""Get a model into the library: from the Hub, or the demo that localq carries."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from localq.errors import (
    BadFileError,
    HubError,
    NotFoundError,
    OfflineError,
    UnsupportedError,
    UsageError,
    storage_errors,
)
from localq.events import Emit, Note, Started
from localq.hub.choose import Chosen, Weights, choose_checkpoint, choose_gguf
from localq.hub.fetch import fetch_all, matches
from localq.hub.folder import FolderSource
from localq.hub.source import RemoteFile, Source
from localq.hub.spec import ModelSpec, is_commit, parse_spec
from localq.hub.staging import refuse_full_disk, staging_folder
from localq.library import Library, Model, ModelFormat, ModelSource
from localq.library.filenames import component_problem
from localq.recipes import RECIPE_FILE, Choice, known_models, load_recipe, models_that_fit

__all__ = ["DEMO", "Choice", "PullRequest", "PullResult", "choices", "pull", "recipe_here"]

DEMO = "demo/stories260K"
"""The name of the model that localq carries."""

_DEMO_FOLDER = Path(__file__).parents[1] / "demo" / "stories260K"


@dataclass(frozen=True, slots=True)
class PullRequest:
    """`spec` is OWNER/NAME[@REVISION][:QUANT] or "demo"; None: what the recipe in the current
    folder says, else the model recommended for this machine, else (offline) the demo."""

    spec: str | None = None


@dataclass(frozen=True, slots=True)
class PullResult:
    """`downloaded_bytes` is what came over the network this time, retries included."""

    model: Model
    downloaded_bytes: int
    already_there: bool


def pull(library: Library, request: PullRequest, emit: Emit, cancel: threading.Event) -> PullResult:
    """Fetch a model, verify every byte of it and enter it into the library.

    What has arrived when it stops for any reason is kept, and continued the next time.
    """
    if request.spec is not None:
        if request.spec.strip().casefold() in ("demo", DEMO.casefold()):
            return _pull_demo(library, emit, cancel)
        return _pull_spec(library, parse_spec(request.spec), emit, cancel)
    if recipe := recipe_here():
        spec = _recipe_spec(recipe)
        emit(Note(f"{recipe} asks for {spec.repo}"))
        return _pull_spec(library, spec, emit, cancel)
    return _pull_recommended(library, emit, cancel)


def choices(library: Library) -> list[Choice]:
    """The known models that fit this machine's memory and disk, the recommended one first."""
    from localq.hardware import memory

    found = memory()
    return models_that_fit(
        known_models(),
        total_memory=found.total if found else None,
        available_memory=found.available if found else None,
        free_disk=shutil.disk_usage(_existing(library.paths.models)).free,
    )


def recipe_here() -> Path | None:
    """The recipe in the current folder, which a pull without a name follows."""
    recipe = Path.cwd() / RECIPE_FILE
    return recipe if recipe.is_file() else None


def _pull_recommended(library: Library, emit: Emit, cancel: threading.Event) -> PullResult:
    fitting = choices(library)
    if not fitting:
        emit(Note("no known model fits this machine; taking the demo instead", warning=True))
        return _pull_demo(library, emit, cancel)
    choice = fitting[0]
    spec = parse_spec(choice.repo)
    try:
        source = _resolve(library, spec, emit, cancel)
    except OfflineError as error:
        emit(Note(f"{error.message}; taking the demo instead", warning=True))
        return _pull_demo(library, emit, cancel)
    emit(Note(f"taking {choice.repo}: {choice.why}"))
    return _bring(library, source, spec.quant, emit, cancel)


def _pull_demo(library: Library, emit: Emit, cancel: threading.Event) -> PullResult:
    source = FolderSource.of(_DEMO_FOLDER, repo=DEMO, revision="embedded")
    return _bring(library, source, None, emit, cancel)


def _pull_spec(
    library: Library, spec: ModelSpec, emit: Emit, cancel: threading.Event
) -> PullResult:
    return _bring(library, _resolve(library, spec, emit, cancel), spec.quant, emit, cancel)


def _recipe_spec(path: Path) -> ModelSpec:
    recipe = load_recipe(path)
    revision = f"@{recipe.revision}" if recipe.revision else ""
    try:
        spec = parse_spec(recipe.repo + revision)
    except UsageError as error:
        raise BadFileError(path, f"model: {error.message}", hint=error.hint) from None
    if spec.quant is not None:
        raise BadFileError(path, "model.repo: a recipe starts from a checkpoint, not a GGUF")
    return spec


def _resolve(
    library: Library, spec: ModelSpec, emit: Emit, cancel: threading.Event
) -> Source | Model:
    """The source that `spec` means, or the model itself where there is nothing to ask or no one.

    A whole commit can never mean something else; and offline, what is here is good enough unless
    another revision was asked for.
    """
    held = next((m for m in library.models() if m.name.casefold() == spec.name.casefold()), None)
    if held is not None and not held.path.exists():
        held = None
    if held is not None and spec.revision and held.source.revision == spec.revision:
        return held
    from localq.hub.repository import HubSource

    try:
        source = HubSource.resolve(spec, emit=emit, cancel=cancel)
    except OfflineError as error:
        if held is None or spec.revision:
            raise
        emit(Note(f"{error.message}; {held.name} is here, perhaps not its latest", warning=True))
        return held
    if source.repo.casefold() != spec.repo.casefold():
        emit(Note(f"{spec.repo} is now called {source.repo}"))
    return source


def _bring(
    library: Library,
    source: Source | Model,
    quant: str | None,
    emit: Emit,
    cancel: threading.Event,
) -> PullResult:
    if isinstance(source, Model):
        return _already_there(library, source)
    plan = _Plan.make(library, source, quant)
    if held := plan.held(library):
        return _already_there(library, held)
    emit(Started(f"pulling {plan.name}"))
    with staging_folder(library.paths.partial, source.repo, source.revision) as folder:
        moved, kept = plan.stage(source, folder, emit, cancel)
        try:
            model = plan.describe(folder)
        except (BadFileError, UnsupportedError, NotFoundError):
            shutil.rmtree(folder, ignore_errors=True)  # verified: another try brings the same
            raise
        for final in plan.files:
            if final in kept:
                (folder / final.name).unlink()
            else:
                library.admit(folder / final.name, final, replace=True)
        return PullResult(library.add(model, list(plan.files)), moved, already_there=False)


@dataclass(frozen=True, slots=True)
class _Plan:
    """Which file becomes which: `files` by their places in the library."""

    name: str
    place: Path
    weights: Weights
    origin: ModelSource
    files: Mapping[Path, RemoteFile]

    @classmethod
    def make(cls, library: Library, source: Source, quant: str | None) -> _Plan:
        folder = library.checkpoint_folder(source.repo)
        origin = ModelSource(source.repo, source.revision if is_commit(source.revision) else None)
        if quant is None:
            chosen = choose_checkpoint(source.repo, source.files)
            weights = chosen.files[-1].path
            if chosen.weights is not Weights.PYTORCH and "/model" not in f"/{weights}":
                raise UnsupportedError(
                    f"{source.repo} has its weights in {weights}, which localq cannot read yet",
                    hint="choose a model or a revision with model*.safetensors",
                )
            _refuse_unsafe(source.repo, {file.path: [file.path] for file in chosen.files})
            files = {folder / file.path: file for file in chosen.files}
            return cls(source.repo, folder, chosen.weights, origin, files)
        spec = ModelSpec(source.repo, quant=quant)
        chosen = choose_gguf(spec, source.files)
        _refuse_unsafe(source.repo, {file.path: file.path.split("/") for file in chosen.files})
        files = _gguf_files(library.gguf_path(source.repo, quant), chosen)
        return cls(spec.name, next(iter(files)), chosen.weights, origin, files)

    def held(self, library: Library) -> Model | None:
        """The same model of the same revision, if it is in the library with all its files."""
        for model in library.models():
            if model.name == self.name and model.source == self.origin and model.path == self.place:
                sizes = {path: file.size for path, file in self.files.items()}
                return model if all(_size(path) == sizes[path] for path in sizes) else None
        return None

    def stage(
        self, source: Source, folder: Path, emit: Emit, cancel: threading.Event
    ) -> tuple[int, set[Path]]:
        """Bring all files together in `folder`: bytes downloaded, and which were there already.

        An older revision's files are taken over where their content is the same.
        """
        kept: set[Path] = set()
        for final, file in self.files.items():
            staged = folder / final.name
            if staged.exists() and staged.stat().st_nlink > 1:
                staged.unlink()  # a stopped run's link to what the library has
            if not staged.exists() and matches(final, file, cancel):
                with storage_errors(staged):
                    _link(final, staged)
                kept.add(final)
        missing = {folder / p.name: file for p, file in self.files.items() if p not in kept}
        needed = sum(file.size - (_size(path) or 0) for path, file in missing.items())
        refuse_full_disk(folder, needed)
        if isinstance(source, FolderSource):
            fetch_all(source, missing, emit=emit, cancel=cancel, stage="copying")
            return 0, kept
        return fetch_all(source, missing, emit=emit, cancel=cancel), kept

    def describe(self, folder: Path) -> Model:
        """The library's entry, from what the files themselves say. They lie in `folder`."""
        if self.weights is Weights.GGUF:
            format_ = ModelFormat.GGUF
            architecture, parameters = _describe_gguf([folder / path.name for path in self.files])
            quant = self.name.rpartition(":")[2]
        else:
            from localq.convert import open_checkpoint

            checkpoint = open_checkpoint(folder, name=self.name.rpartition("/")[2])
            format_ = ModelFormat.SAFETENSORS
            architecture, parameters = checkpoint.architecture, checkpoint.parameters
            quant = checkpoint.dtype
        now = time.time()
        return Model(
            name=self.name,
            format=format_,
            quant=quant,
            architecture=architecture,
            parameters=parameters,
            size_bytes=sum(file.size for file in self.files.values()),
            path=self.place,
            source=self.origin,
            created_at=now,
            used_at=now,
        )


def _describe_gguf(paths: list[Path]) -> tuple[str, int]:
    from localq.formats.gguf import read_gguf

    shards = [read_gguf(path) for path in paths]
    return shards[0].architecture, sum(shard.parameters for shard in shards)


def _gguf_files(single: Path, chosen: Chosen) -> dict[Path, RemoteFile]:
    """The library's names; llama.cpp finds the shards of a model by the numbers in theirs."""
    count = len(chosen.files)
    if count == 1:
        return {single: chosen.files[0]}
    return {
        single.with_name(f"{single.stem}-{number:05}-of-{count:05}.gguf"): file
        for number, file in enumerate(chosen.files, start=1)
    }


def _refuse_unsafe(repo: str, components: Mapping[str, list[str]]) -> None:
    """HubError for names that could be written elsewhere, or over each other."""
    for path, parts in components.items():
        for part in parts:
            if problem := component_problem(part):
                raise HubError(f"{repo} has a file that localq will not write: {path!r}: {problem}")
    if len({path.casefold() for path in components}) < len(components):
        raise HubError(f"{repo} has two files whose names differ only in capitals")


def _already_there(library: Library, model: Model) -> PullResult:
    library.touch(model.name)
    return PullResult(library.find(model.name), 0, already_there=True)


def _link(final: Path, staged: Path) -> None:
    try:
        staged.hardlink_to(final)
    except OSError:  # a filesystem without hard links
        shutil.copyfile(final, staged)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _existing(folder: Path) -> Path:
    """`folder` or the nearest one above it that is there: the disk it will be on."""
    return next(path for path in (folder, *folder.parents) if path.is_dir())
