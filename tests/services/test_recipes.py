"""Recipes followed from a Hub on the loopback interface: what is made, and made again."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from localq.cli.main import main
from localq.database import Database
from localq.errors import BadFileError, Cancelled, LibraryError, LocalqError, NotFoundError
from localq.events import JobEvent, Note, Started
from localq.library import Library
from localq.paths import Paths
from localq.planning.saved_settings import SavedPlanOptions
from localq.recipes import load_recipe
from localq.recipes.lock import Lock, lock_path, read_lock
from localq.services.recipes.find import check_recipe, find_recipe
from localq.services.recipes.lock import lock_recipe
from localq.services.recipes.run import RecipeRequest, RecipeResult, run_recipe
from localq.sessions.preset_files import PresetFiles
from tests.engine.test_engine import DEMO
from tests.hub_server import HubServer

TEXT = "Once upon a time there was a girl who had a red ball and a small dog. " * 60
RECIPE = """
[model]
repo = "org/tale"

[[quantize]]
type = "q4_0"

[[quantize]]
type = "q8_0"
tensor_types = { ffn_down = "q5_1" }

[calibration]
text = "text.txt"
chunks = 2
n_ctx = 64

[checks]
text = "text.txt"
chunks = 2
n_ctx = 64
against = "f32"
max_kld = 5
max_perplexity = 100000
min_agreement = 0.01

[plan]
n_ctx = 128

[preset]
system = "Tell a story."
sampling = { temperature = 0.5 }
"""


@pytest.fixture
def tale(hub: HubServer) -> HubServer:
    hub.add_repo("org/tale", DEMO)
    return hub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "tales"
    folder.mkdir()
    (folder / "text.txt").write_text(TEXT)
    (folder / "localq.toml").write_text(RECIPE)
    return folder


def request_of(folder: Path, **options: bool) -> RecipeRequest:
    recipe = load_recipe(folder / "localq.toml")
    return RecipeRequest(recipe.path, lock_path(recipe, folder), **options)


def run(
    library: Library, folder: Path, events: list[JobEvent] | None = None, **options: bool
) -> RecipeResult:
    seen = [] if events is None else events
    return run_recipe(library, request_of(folder, **options), seen.append, threading.Event())


def elsewhere(tmp_path: Path, name: str) -> Library:
    return Library(Paths.from_environment({"LOCALQ_HOME": str(tmp_path / name)}))


def lock_of(folder: Path) -> Lock:
    return read_lock(folder / "localq.lock.json")


def test_a_recipe_makes_checks_and_keeps_and_its_lock_makes_the_same_bytes_elsewhere(
    tale: HubServer, library: Library, folder: Path, tmp_path: Path
) -> None:
    made = run(library, folder)
    assert [output.model for output in made.outputs] == ["org/tale:Q4_0", "org/tale:Q8_0"]
    assert made.revision == tale.repos["org/tale"].commit
    for output in made.outputs:
        assert output.measured.kld is not None
        assert output.measured.perplexity is not None
    assert made.preset == "tales"
    assert PresetFiles(library.paths).get("tales").system == "Tell a story."
    options = SavedPlanOptions(Database(library.paths.database)).of("org/tale:Q8_0")
    assert options.n_ctx == 128
    assert not list((library.paths.cache / "recipes").iterdir())

    lock = lock_of(folder)
    assert [output.type for output in lock.outputs] == ["Q4_0", "Q8_0"]
    assert "localq quantize q8_0 org/tale --imatrix localq.imatrix.gguf" in lock.commands[4]
    tale.repos["org/tale"].branches.clear()  # the commit is asked for, not what "main" is now
    with elsewhere(tmp_path, "other") as other:
        again = run(other, folder, locked=True)
        assert again.verified
        for first, second in zip(made.outputs, again.outputs, strict=True):
            assert first.path != second.path
            assert first.path.read_bytes() == second.path.read_bytes()

    events: list[JobEvent] = []
    assert run(library, folder, events, locked=True).verified
    assert not [
        event for event in events if isinstance(event, Started) and event.title.endswith("-> Q4_0")
    ]


def test_what_differs_from_the_lock_is_named(
    tale: HubServer, library: Library, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(NotFoundError, match="no such lock file"):
        run(library, folder, locked=True)
    run(library, folder)
    path = folder / "localq.lock.json"
    whole = json.loads(path.read_text())

    def refused(name: str, **changed: object) -> LocalqError:
        path.write_text(json.dumps({**whole, **changed}))
        with elsewhere(tmp_path, name) as other, pytest.raises(LocalqError) as caught:
            run(other, folder, locked=True)
        return caught.value

    outputs = [{**whole["outputs"][0], "sha256": ["0" * 64]}, whole["outputs"][1]]
    assert "Q4_0 is not what localq.lock.json says: llama-cpp-python 0.0.1 then" in str(
        refused("a", outputs=outputs, engine="0.0.1")
    )
    assert "the same" in str(refused("b", outputs=outputs))
    files = [{**file, "sha256": "0" * 64} for file in whole["files"]]
    assert "of org/tale is not what was locked" in str(refused("c", files=files))
    gone = [*whole["files"], {"name": "more.json", "size_bytes": 1, "sha256": None}]
    assert "has no more.json any more" in str(refused("d", files=gone))
    assert "is the lock of org/other" in str(refused("e", repo="org/other"))
    assert "another version" in str(refused("f", version=2))
    assert "not a lock file" in str(refused("g", outputs=7))
    assert refused("h", revision="1" * 40).message  # the Hub does not have that commit
    path.write_text(json.dumps(whole))
    (folder / "localq.toml").write_text(RECIPE.replace("q5_1", "q5_0"))
    assert "was changed after it was locked" in str(refused("i"))


def test_another_limit_is_another_check_and_not_another_build(
    tale: HubServer, library: Library, folder: Path
) -> None:
    run(library, folder)
    before = [output.sha256 for output in lock_of(folder).outputs]
    (folder / "localq.toml").write_text(RECIPE.replace("max_kld = 5", "max_kld = 1e-9"))
    events: list[JobEvent] = []
    with pytest.raises(LibraryError, match=r"KL divergence .*, at most 1e-09"):
        run(library, folder, events)
    assert not any(
        isinstance(event, Started) and event.title.endswith("-> Q4_0") for event in events[:-1]
    )
    assert any(isinstance(event, Note) and event.warning for event in events)
    assert [output.sha256 for output in lock_of(folder).outputs] == before
    assert library.find("org/tale:Q4_0")  # nothing is taken away


def test_stopped_between_two_files_it_goes_on(
    tale: HubServer, library: Library, folder: Path
) -> None:
    cancel = threading.Event()

    def stop_at_the_second(event: JobEvent) -> None:
        if isinstance(event, Started) and "Q8_0" in event.title:
            cancel.set()

    with pytest.raises(Cancelled):
        run_recipe(library, request_of(folder), stop_at_the_second, cancel)
    first = library.find("org/tale:Q4_0").path.stat().st_mtime_ns
    made = run(library, folder)
    assert len(made.outputs) == 2
    assert library.find("org/tale:Q4_0").path.stat().st_mtime_ns == first


def test_a_file_made_in_another_way_is_not_replaced_unasked(
    tale: HubServer, library: Library, folder: Path
) -> None:
    run(library, folder)
    (folder / "localq.toml").write_text(RECIPE.replace('"q4_0"\n', '"q4_0"\npure = true\n'))
    with pytest.raises(LibraryError, match="is there already"):
        run(library, folder)
    assert run(library, folder, force=True).outputs


def test_a_preset_of_the_users_own_is_not_replaced(
    tale: HubServer, library: Library, folder: Path
) -> None:
    assert main(["presets", "set", "tales", "--system", "mine"]) == 0
    with pytest.raises(LibraryError, match="there is a preset tales already"):
        run(library, folder)
    assert PresetFiles(library.paths).get("tales").system == "mine"


def test_a_lock_of_its_first_part_pins_the_commit(
    tale: HubServer, library: Library, folder: Path
) -> None:
    request = request_of(folder)
    lock = lock_recipe(library, request.recipe, request.lock, print, threading.Event())
    assert lock.revision == tale.repos["org/tale"].commit
    assert {file.name for file in lock.files} >= {"config.json", "model.safetensors"}
    assert not library.models()
    assert not run(library, folder, locked=True).verified  # nothing was there to compare with
    assert lock_of(folder).outputs


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        (('"text.txt"', '"none.txt"'), "none.txt: no such file"),
        (("n_ctx = 128", 'type_k = "q9"'), "plan.type_k: 'q9' is no type"),
        (("temperature = 0.5", "heat = 1"), "no setting 'heat'"),
        (("temperature = 0.5", "temperature = -1"), "preset tales"),
        (('against = "f32"\n', ""), "checks.max_kld: it needs the type to compare with"),
        (("max_kld = 5", "max_kld = nan"), "checks.max_kld must be at least 0"),
        (("min_agreement = 0.01", "min_agreement = 2"), "must be 0 to 1"),
        (("max_perplexity = 100000", "max_perplexity = 0.5"), "must be at least 1"),
        (("n_ctx = 64", "n_ctx = 1"), "n_ctx must be 16 to"),
        (('type = "q8_0"', 'type = "q4_0"'), "Q4_0 is made twice"),
        (("ffn_down", '"ffn_("'), "ffn_("),
        (("org/tale", "org/tale:Q4_0"), "starts from a checkpoint"),
        (("max_kld", "max_kdl"), "checks.max_kdl is not a key"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused_before_anything_is_fetched(
    hub: HubServer, library: Library, folder: Path, changed: tuple[str, str], complaint: str
) -> None:
    path = folder / "localq.toml"
    path.write_text(RECIPE.replace(*changed))
    with pytest.raises(BadFileError) as caught:
        check_recipe(load_recipe(path))
    assert complaint in str(caught.value)
    assert str(path) in str(caught.value)
    with pytest.raises(BadFileError):
        run_recipe(library, RecipeRequest(path, folder / "l"), print, threading.Event())
    assert not hub.requests


def test_the_command_line_from_a_new_recipe_to_its_list(
    library: Library,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (folder / "localq.toml").unlink()
    monkeypatch.chdir(folder)
    with pytest.raises(NotFoundError):
        find_recipe(None)
    assert main(["recipe", "new", "demo", "--type", "q4_0"]) == 0
    assert main(["recipe", "new", "demo"]) == 1  # not over the one that is there
    assert main(["recipe", "check"]) == 0
    assert main(["recipe", "check", "nobody", "localq.toml"]) == 1
    text = Path("localq.toml").read_text()
    Path("localq.toml").write_text(
        text.replace('"wikitext2"\nchunks = 20', '"text.txt"\nn_ctx = 64')
    )
    assert main(["recipe", "run", "--json"]) == 0
    capsys.readouterr()
    assert main(["recipe", "run", "--locked"]) == 0
    assert capsys.readouterr().out == "demo/stories260K:Q4_0\n"
    assert main(["recipe", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert (listed[0]["name"], listed[0]["own"]) == ("tales", True)
    assert len(listed) > 12
    assert main(["recipe", "show", "demo"]) == 0
    assert "stories260K" in capsys.readouterr().out
