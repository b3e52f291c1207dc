"""Which files a pull brings, and what each is called in the library."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from localq.events import Emit, Note
from localq.formats.gguf_split import shard_paths
from localq.hub.choose import choose_checkpoint
from localq.hub.choose_gguf import choose_gguf, choose_mmproj, is_quant
from localq.hub.selection import Selection
from localq.hub.source import RemoteFile, Source
from localq.hub.spec import ModelSpec, is_commit
from localq.hub.weight_index import index_reader
from localq.library import Library, Model, ModelFormat, ModelSource
from localq.messages import msg
from localq.services.library.int4_folder import int4_model, is_int4_folder
from localq.services.pull.names import refuse_unsafe_names
from localq.services.pull.remote import kept_folder

__all__ = ["Plan", "plan_checkpoint", "plan_gguf", "size_of"]

_ENCODER = "-mmproj"


@dataclass(frozen=True, slots=True)
class Plan:
    """Which file becomes which: `files` by their places in the library, all under `root`.

    `place` is the model's path; `shards` are the files of a GGUF's language model, none for a
    checkpoint, of which `weights` are the files with its tensors. Some files of a checkpoint may
    lie in the folder `kept`, since it was looked at. `trashed` are files in the trash, by the
    places they had.
    """

    name: str
    root: Path
    place: Path
    origin: ModelSource
    files: Mapping[Path, RemoteFile]
    shards: tuple[Path, ...] = ()
    weights: tuple[Path, ...] = ()
    kept: Path | None = None
    trashed: Mapping[Path, Sequence[Path]] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        return sum(file.size for file in self.files.values())

    def staged(self, folder: Path, final: Path) -> Path:
        """Where the file that is to be `final` waits in the staging folder."""
        return folder / final.relative_to(self.root)

    def kept_copy(self, final: Path, file: RemoteFile) -> Path | None:
        """What is probably `file`, by its size, in the folder `kept`."""
        copy = self.kept / final.relative_to(self.root) if self.kept else None
        return copy if copy is not None and size_of(copy) == file.size else None

    def earlier(self, library: Library) -> Model | None:
        """The same model of the same revision, as it was entered; files of it may be lost."""
        for model in library.models():
            if model.name == self.name and model.source == self.origin and model.path == self.place:
                return model
        return None

    def is_whole(self) -> bool:
        """Whether all its files are in their places, by their sizes."""
        return all(size_of(path) == file.size for path, file in self.files.items())

    def twins(self, final: Path) -> Iterator[Path]:
        """Files of the library that may be `final` already: an older revision's, one in the trash,
        or the same picture encoder beside another quantization."""
        yield final
        yield from self.trashed.get(final, ())
        if _ENCODER in final.name:
            yield from sorted(self.root.glob(f"*{_ENCODER}*.gguf"))

    def describe(self, folder: Path) -> Model:
        """The library's entry, from what the files themselves say. They lie in `folder`."""
        if self.shards:
            format_ = ModelFormat.GGUF
            shards = [self.staged(folder, path) for path in self.shards]
            architecture, parameters, said = _describe_gguf(shards)
            label = self.name.rpartition(":")[2]
            quant = label if is_quant(label) else said
        elif is_int4_folder(folder):
            return int4_model(
                folder, self.name, self.place, size_bytes=self.size_bytes, source=self.origin
            )
        else:
            from localq.convert import open_checkpoint

            checkpoint = open_checkpoint(folder, name=self.name.rpartition("/")[2])
            format_ = ModelFormat.SAFETENSORS
            architecture, parameters = checkpoint.architecture, checkpoint.parameters
            quant = checkpoint.dtype
        return Model.new(
            self.name,
            format_,
            quant,
            self.place,
            architecture=architecture,
            parameters=parameters,
            size_bytes=self.size_bytes,
            source=self.origin,
        )


def plan_checkpoint(
    library: Library, source: Source, selection: Selection, emit: Emit, cancel: threading.Event
) -> Plan:
    """The plan for the checkpoint of `source`, its files under their own names."""
    folder = library.checkpoint_folder(source.repo)
    read_index = index_reader(source, emit, cancel)
    chosen = choose_checkpoint(source.repo, source.files, selection, read_index=read_index)
    refuse_unsafe_names(source.repo, [file.path for file in chosen.files])
    files = {folder / file.path: file for file in chosen.files}
    kept = kept_folder(library.paths, source.repo, source.revision)
    return Plan(
        source.repo,
        folder,
        folder,
        _origin(source),
        files,
        weights=tuple(folder / file.path for file in chosen.weight_files),
        kept=kept,
        trashed=library.trash.by_home(),
    )


def plan_gguf(
    library: Library, source: Source, spec: ModelSpec, *, mmproj: bool, emit: Emit
) -> Plan:
    """The plan for the GGUF that `spec` means, in the library's names."""
    chosen = choose_gguf(spec, source.files)
    single = library.gguf_path(source.repo, chosen.label)
    files = _shard_names(single, chosen.files)
    shards = tuple(files)
    if mmproj:
        encoder = choose_mmproj(source.repo, source.files)
        if encoder.of > 1:
            emit(
                Note(msg("of {of} picture encoders: {path}", of=encoder.of, path=encoder.file.path))
            )
        ending = f"-{encoder.type}" if encoder.type else ""
        files[single.with_name(f"{single.stem}{_ENCODER}{ending}.gguf")] = encoder.file
    refuse_unsafe_names(source.repo, [file.path for file in files.values()])
    name = f"{source.repo}:{chosen.label}"
    return Plan(
        name,
        single.parent,
        shards[0],
        _origin(source),
        files,
        shards,
        trashed=library.trash.by_home(),
    )


def size_of(path: Path) -> int | None:
    """The bytes of a file; None where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return None


def _origin(source: Source) -> ModelSource:
    return ModelSource(source.repo, source.revision if is_commit(source.revision) else None)


def _describe_gguf(paths: Sequence[Path]) -> tuple[str, int, str]:
    """Architecture, number of weights, quantization."""
    from localq.formats.gguf import read_gguf

    shards = [read_gguf(path) for path in paths]
    return shards[0].architecture, sum(shard.parameters for shard in shards), shards[0].quant


def _shard_names(single: Path, chosen: Sequence[RemoteFile]) -> dict[Path, RemoteFile]:
    """The library's names; llama.cpp finds the shards of a model by the numbers in theirs."""
    return dict(zip(shard_paths(single, len(chosen)), chosen, strict=True))
