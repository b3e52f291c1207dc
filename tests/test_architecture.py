"""What each part may import, seen in a fresh interpreter; import-linter checks the rest."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
