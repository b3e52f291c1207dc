"""What other programs hold: their layouts, and folders that mean harm."""

from __future__ import annotations

import json
import os
import threading
from hashlib import sha256
from pathlib import Path

import pytest

from localq.errors import BadFileError, NotFoundError, UsageError
from localq.events import ignore
from localq.library import Library
from localq.library.foreign import TOOLS, ForeignModel, Skipped, find_models, folders_of
from localq.library.hashes import SaidBy
from localq.paths import Paths
from localq.services.library.import_models import ImportRequest, ImportResult, import_models
from localq.services.library.remove import plan_removal
from tests.small_models import checkpoint, gguf, split_gguf

pytestmark = pytest.mark.skipif(os.name == "nt", reason="symbolic links need a privilege")

COMMIT = "7e27bd9f95328f0f3b08261d1252705110c806f8"


@pytest.fixture
def machine(home: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home folder in which every program keeps its own."""
    user = tmp_path / "user"
    user.mkdir()
    monkeypatch.setenv("HOME", str(user))
    for name in (
        *("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "XDG_DATA_HOME"),
        *("XDG_CONFIG_HOME", "OLLAMA_MODELS", "LLAMA_CACHE", "APPDATA"),
    ):
        monkeypatch.delenv(name, raising=False)
    return user


def found(tool: str) -> list[ForeignModel | Skipped]:
    return list(find_models(tool))


def skipped(tool: str) -> Skipped:
    (only,) = found(tool)
    assert isinstance(only, Skipped)
    return only


def take(tool: str, *names: str, **options: object) -> ImportResult:
    request = ImportRequest(tool=tool, names=names, **options)  # type: ignore[arg-type]
    return import_models(Library(), request, ignore, threading.Event())


def in_hub_cache(root: Path, repo: str, source: Path, name: str) -> Path:
    """Put a file where huggingface_hub would; returns the blob."""
    folder = root / f"models--{repo.replace('/', '--')}"
    digest = sha256(source.read_bytes()).hexdigest()
    blob = folder / "blobs" / digest
    blob.parent.mkdir(parents=True, exist_ok=True)
    source.rename(blob)
    link = folder / "snapshots" / COMMIT / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(os.path.relpath(blob, link.parent))
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(COMMIT)
    return blob


def in_ollama(root: Path, source: Path, place: str = "registry.ollama.ai/library/tiny/1b") -> Path:
    digest = sha256(source.read_bytes()).hexdigest()
    blob = root / "blobs" / f"sha256-{digest}"
    blob.parent.mkdir(parents=True, exist_ok=True)
    manifest = root / "manifests" / place
    manifest.parent.mkdir(parents=True, exist_ok=True)
    layers = [
        {
            "mediaType": f"application/vnd.ollama.image.{kind}",
            "digest": f"sha256:{digest}",
            "size": source.stat().st_size,
        }
        for kind in ("model", "template")
    ]
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": layers}))
    source.rename(blob)
    return blob


def test_every_program_has_folders(machine: Path) -> None:
    for tool in TOOLS:
        assert folders_of(tool)
        assert found(tool) == []
        assert take(tool).imported == ()
    with pytest.raises(UsageError, match="unknown program"):
        folders_of("gpt4all")
    environ = {"HF_HOME": "/x", "OLLAMA_MODELS": "/y", "LLAMA_CACHE": "/z", "APPDATA": "/roaming"}
    assert folders_of("hf-cache", environ) == [Path("/x/hub")]
    assert folders_of("ollama", environ) == [Path("/y")]
    assert folders_of("llama.cpp", environ) == [Path("/z")]
    assert Path("/roaming/Jan/data") in folders_of("jan", environ)


def test_modules_in_the_hub_cache(machine: Path, tmp_path: Path) -> None:
    cache = machine / ".cache" / "huggingface" / "hub"
    made = checkpoint(tmp_path / "made")
    (made / "modules.json").write_text("[]")
    (made / "1_Pooling").mkdir()
    (made / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    for file in sorted(path for path in made.rglob("*") if path.is_file()):
        in_hub_cache(cache, "org/embedder", file, file.relative_to(made).as_posix())
    (taken,) = take("hf-cache", everything=True).imported
    assert "mean" in (taken.model.path / "1_Pooling" / "config.json").read_text()


def test_the_hub_cache(machine: Path, tmp_path: Path) -> None:
    cache = machine / ".cache" / "huggingface" / "hub"
    blob = in_hub_cache(cache, "bartowski/Tiny-GGUF", gguf(tmp_path / "a"), "Tiny-Q4_0.gguf")
    made = checkpoint(tmp_path / "made")
    for file in sorted(made.iterdir()):
        in_hub_cache(cache, "org/base", file, file.name)
    listed = take("hf-cache")
    assert [one.model.name for one in listed.imported] == ["bartowski/Tiny-GGUF:Q4_0", "org/base"]
    assert not listed.taken
    assert Library().models() == []

    assert len(take("hf-cache", everything=True).imported) == 2
    library = Library()
    model = library.find("tiny-gguf")
    assert (model.source.repo, model.source.revision) == ("bartowski/Tiny-GGUF", COMMIT)
    assert model.path.samefile(blob)
    (known,) = library.hashes.of_model(model.name).values()
    # The name of the blob says what it should be; nobody has looked yet.
    assert (known.sha256, known.said_by, known.verified_at) == (blob.name, SaidBy.NAME, None)
    assert library.find("org/base").path.joinpath("config.json").is_file()
    (plan,), _ = plan_removal(library, ["tiny-gguf"])
    assert [(sharer.who, sharer.other) for sharer in plan.sharers] == [("hf-cache", blob)]
    assert plan.frees_bytes == 0
    assert all(one.already_there for one in take("hf-cache").imported)


def test_a_snapshot_by_its_path(machine: Path, tmp_path: Path) -> None:
    cache = machine / ".cache" / "huggingface" / "hub"
    made = checkpoint(tmp_path / "made")
    for file in sorted(made.iterdir()):
        in_hub_cache(cache, "org/base", file, file.name)
    snapshot = cache / "models--org--base" / "snapshots" / COMMIT
    request = ImportRequest(paths=(snapshot,), name="org/base")
    import_models(Library(), request, ignore, threading.Event())
    assert not (Library().find("org/base").path / "config.json").is_symlink()


def test_a_file_of_the_cache_that_leads_elsewhere(machine: Path, tmp_path: Path) -> None:
    cache = machine / ".cache" / "huggingface" / "hub"
    secret = gguf(tmp_path / "secret.gguf")
    link = cache / "models--org--evil" / "snapshots" / COMMIT / "x-Q4_0.gguf"
    link.parent.mkdir(parents=True)
    link.symlink_to(secret)
    assert "leads elsewhere" in skipped("hf-cache").why
    link.unlink()
    link.symlink_to(link.name)
    assert skipped("hf-cache").label == "org/evil/x-Q4_0.gguf"
    link.unlink()
    link.symlink_to("nowhere")
    assert "No such file" in skipped("hf-cache").why
    link.unlink()
    os.mkfifo(link)
    assert "not a plain file" in skipped("hf-cache").why


def test_ollama(machine: Path, tmp_path: Path) -> None:
    root = machine / ".ollama" / "models"
    blob = in_ollama(root, gguf(tmp_path / "a"))
    (model,) = found("ollama")
    assert isinstance(model, ForeignModel)
    assert (model.label, model.repo) == ("tiny:1b", "ollama/tiny-1b")
    assert model.notes == ("Ollama keeps apart, and localq leaves: template",)
    in_ollama(root, gguf(tmp_path / "b", fill=b"\x02"), "hf.co/org/Repo-GGUF/Q4_0")
    in_ollama(root, gguf(tmp_path / "c", fill=b"\x03"), "registry.ollama.ai/me/mine/latest")
    names = [one.model.name for one in take("ollama").imported]
    assert names == ["org/Repo-GGUF:Q4_0", "ollama/tiny-1b:Q4_0", "me/mine:Q4_0"]
    with pytest.raises(NotFoundError, match="ollama has no nothing"):
        take("ollama", "nothing")
    (taken,) = take("ollama", "tiny").imported
    assert taken.saved_bytes == blob.stat().st_size
    (known,) = Library().hashes.of_model(taken.model.name).values()
    assert f"sha256-{known.sha256}" == blob.name
    with pytest.raises(UsageError, match="--move would break ollama"):
        take("ollama", "tiny", move=True)


@pytest.mark.parametrize(
    "manifest",
    [
        "",
        "null",
        "[" * 100_000,
        '{"layers": 3}',
        '{"layers": [3]}',
        '{"layers": [{"mediaType": 1, "digest": "sha256:' + "0" * 64 + '", "size": 1}]}',
        '{"layers": [{"mediaType": "application/vnd.ollama.image.model",'
        ' "digest": "sha256:../../../../secret", "size": 1}]}',
        '{"layers": [{"mediaType": "application/vnd.ollama.image.model",'
        ' "digest": "sha256:' + "0" * 64 + '", "size": -1}]}',
        '{"layers": []}',
        " " * (2 << 20),
    ],
)
def test_an_ollama_manifest_that_lies(machine: Path, manifest: str) -> None:
    path = machine / ".ollama" / "models" / "manifests" / "host" / "library" / "evil" / "1b"
    path.parent.mkdir(parents=True)
    path.write_text(manifest)
    assert skipped("ollama").label == "evil:1b"
    assert take("ollama", everything=True).imported == ()


def test_an_ollama_blob_of_another_size_or_place(machine: Path, tmp_path: Path) -> None:
    blob = in_ollama(machine / ".ollama" / "models", gguf(tmp_path / "a"))
    with blob.open("ab") as file:
        file.write(b"x")
    assert "its manifest says" in skipped("ollama").why
    blob.unlink()
    blob.symlink_to(gguf(tmp_path / "elsewhere.gguf"))
    assert "leads elsewhere" in skipped("ollama").why


def test_a_copy_is_compared_with_the_name_of_the_blob(machine: Path, tmp_path: Path) -> None:
    blob = in_ollama(machine / ".ollama" / "models", gguf(tmp_path / "a"))
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)
    result = take("ollama", everything=True, copy=True)
    assert result.imported == ()
    assert "not what its name says" in result.skipped[0].why
    assert Library().models() == []


def test_lm_studio(machine: Path, tmp_path: Path) -> None:
    gguf(machine / ".lmstudio" / "models" / "pub" / "Tiny-GGUF" / "Tiny-Q4_0.gguf")
    split_gguf(machine / ".cache" / "lm-studio" / "models" / "pub" / "Big-GGUF", "Big-Q4_0")
    checkpoint(machine / ".lmstudio" / "models" / "pub" / "mlx")
    chosen = tmp_path / "chosen"
    gguf(chosen / "pub" / "Third" / "Third-Q8_0.gguf", quant=7)
    (machine / ".lmstudio" / "settings.json").write_text(
        json.dumps({"downloadsFolder": str(chosen)})
    )
    names = [one.model.name for one in take("lm-studio", everything=True).imported]
    assert names == ["pub/Third:Q8_0", "pub/Tiny-GGUF:Q4_0", "pub/mlx", "pub/Big-GGUF:Q4_0"]


def test_lm_studio_is_pointed_elsewhere(machine: Path, tmp_path: Path) -> None:
    (machine / ".lmstudio-home-pointer").write_text(f"{tmp_path / 'lm'}\n")
    assert folders_of("lm-studio")[0] == tmp_path / "lm" / "models"
    for text in ("", "a\0b", "x" * 20_000):
        (machine / ".lmstudio-home-pointer").write_text(text)
        assert folders_of("lm-studio")[0] == machine / ".lmstudio" / "models"
    (machine / ".lmstudio").mkdir()
    for text in ("", "[", "{}", '{"downloadsFolder": 3}', '{"downloadsFolder": "relative"}'):
        (machine / ".lmstudio" / "settings.json").write_text(text)
        assert folders_of("lm-studio")[0] == machine / ".lmstudio" / "models"


def test_llama_cpp(machine: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cache = tmp_path / "llama"
    monkeypatch.setenv("LLAMA_CACHE", str(cache))
    file = gguf(cache / "ggml-org_Tiny-GGUF_tiny-q4_0.gguf")
    address = "https://huggingface.co/ggml-org/Tiny-GGUF/resolve/main/tiny-q4_0.gguf"
    Path(f"{file}.json").write_text(json.dumps({"url": address, "etag": "x"}))
    gguf(cache / "unknown.gguf", fill=b"\x02")
    Path(cache / "unknown.gguf.json").write_text('{"url": "https://x/../../../resolve"}')
    in_hub_cache(cache, "org/New-GGUF", gguf(tmp_path / "a", fill=b"\x03"), "New-Q4_0.gguf")
    (cache / "evil.gguf").symlink_to("/etc/passwd")
    result = take("llama.cpp", everything=True)
    assert [one.model.name for one in result.imported] == [
        "ggml-org/Tiny-GGUF:Q4_0",
        "local/unknown:Q4_0",
        "org/New-GGUF:Q4_0",
    ]
    assert [one.label for one in result.skipped] == ["evil.gguf"]


def test_jan(machine: Path, tmp_path: Path) -> None:
    data = machine / ".local" / "share" / "Jan" / "data"
    models = data / "llamacpp" / "models"
    gguf(models / "tiny" / "model.gguf", name="Tiny 1B")
    (models / "tiny" / "model.yml").write_text(
        "name: tiny\nmodel_path: llamacpp/models/tiny/model.gguf\nsize_bytes: 3\n"
    )
    for name, path in (
        ("out", "../../../../../outside.gguf"),
        ("far", str(gguf(tmp_path / "outside.gguf"))),
        ("none", ""),
        ("nul", "a\0b"),
    ):
        (models / name).mkdir()
        (models / name / "model.yml").write_text(f'model_path: "{path}"\n' if path else "x: 1\n")
    result = take("jan", everything=True)
    assert [one.model.name for one in result.imported] == ["local/Tiny-1B:Q4_0"]
    assert sorted(one.label for one in result.skipped) == ["far", "none", "nul", "out"]
    assert any("take it by its path" in one.why for one in result.skipped)


def test_names_that_could_drive_a_terminal_or_leave_the_library(machine: Path) -> None:
    root = machine / ".lmstudio" / "models"
    for publisher, repo in (("a\x1b]0;x\x07", "b\u202e"), ("NUL", "con"), (".trash", "1")):
        gguf(root / publisher / repo / "x-Q4_0.gguf", fill=publisher[:1].encode())
    result = take("lm-studio", everything=True)
    for one in result.imported:
        assert one.model.name.isprintable()
        assert one.model.path.resolve().is_relative_to(Library().paths.models.resolve())
    assert {one.model.name for one in result.imported} == {
        "trash/1:Q4_0",
        "local/model:Q4_0",
        "a]0;x/b:Q4_0",
    }


def test_a_folder_without_end_is_left_in_time(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from localq.library.foreign import found as module

    monkeypatch.setattr(module, "_MAX_CHILDREN", 20)
    folder = machine / ".lmstudio" / "models" / "pub" / "many"
    for number in range(50):
        gguf(folder / f"m{number:03}-Q4_0.gguf")
    assert len(found("lm-studio")) == 20


def test_damage_is_told_of(machine: Path) -> None:
    gguf(machine / ".lmstudio" / "models" / "pub" / "Tiny" / "Tiny-Q4_0.gguf").write_bytes(b"GGUF")
    result = take("lm-studio", everything=True)
    assert "the header ends beyond the file" in result.skipped[0].why
    request = ImportRequest(paths=(machine / ".lmstudio/models/pub/Tiny/Tiny-Q4_0.gguf",))
    with pytest.raises(BadFileError):
        import_models(Library(), request, ignore, threading.Event())
