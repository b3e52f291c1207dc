"""What each part may import, seen in a fresh interpreter; import-linter checks the rest."""

from __future__ import annotations

import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import click
import grimp
import pytest

from localq.cli.main import cli

HEAVY = ("numpy", "textual", "llama_cpp", "huggingface_hub", "torch", "transformers", "tokenizers")


def loaded_after(code: str, home: str) -> set[str]:
    """The heavy packages that a fresh interpreter holds after running `code`."""
    script = f"{code}\nimport sys\nprint(*(m for m in {HEAVY!r} if m in sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", script],
        env={"LOCALQ_HOME": home, "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(result.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import localq; localq.Library().models()",
        "import localq.cli.main, localq.library, localq.formats.gguf",
        "import localq.services.make.quantize",
        "from localq.cli.main import main; main(['--help'])",
        "from localq.cli.main import main; main(['list'])",
        "from localq.cli.main import main; main(['list', '--json'])",
        "from localq.cli.main import main; main(['path'])",
    ],
)
def test_light_things_stay_light(code: str, tmp_path: object) -> None:
    assert loaded_after(code, str(tmp_path)) == set()


def test_the_parent_of_the_engine_never_loads_it(tmp_path: object) -> None:
    code = (
        "import localq.engine.client, localq.services.chat.conversation, localq.services.pull.pull"
    )
    assert not loaded_after(code, str(tmp_path)) & {"llama_cpp", "torch", "transformers"}


def test_no_module_imports_itself_by_a_round_trip() -> None:
    """Imports for types and inside functions count; so does a package's own `__init__`, which
    import-linter's rule against circles among siblings does not look at."""
    graph = grimp.build_graph("localq", cache_dir=None)
    TopologicalSorter(
        {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    ).prepare()  # CycleError names the circle


@pytest.mark.parametrize(
    ("arguments", "unneeded"),
    [
        (["--help"], ["localq.library", "localq.services", "localq.json_codec", "sqlite3", "json"]),
        (["list"], ["localq.services", "localq.engine", "json", "rich", "shutil", "platformdirs"]),
    ],
)
def test_the_quickest_verbs_read_nothing_they_do_not_need(
    arguments: list[str], unneeded: list[str], tmp_path: Path
) -> None:
    """So they take less than twice what `import click` does."""
    code = f"""
import sys
import click
before = set(sys.modules)
from localq.cli.main import main
assert main({arguments!r}) == 0
print("\\n", *sorted(set(sys.modules) - before))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"LOCALQ_HOME": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = done.stdout.splitlines()[-1].split()
    assert not set(loaded) & set(unneeded)
    verbs = {name for name in loaded if name.startswith("localq.cli.")}
    assert len(loaded) < 60
    assert not verbs - {
        "localq.cli.main",
        "localq.cli.output",
        "localq.cli.columns",
        "localq.cli.options",
        "localq.cli.list_models",
    }


def test_every_verb_that_help_lists_is_there() -> None:
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        assert command.help
