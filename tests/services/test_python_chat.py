"""`localq.chat` and `localq.langchain_args`, as a program uses them."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

import localq
from localq.errors import EngineError, NotFoundError, UsageError
from localq.paths import Paths
from tests.engine.test_engine import DEMO, make_gguf


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_gguf(DEMO, tmp_path_factory.mktemp("story")))


def test_a_chat(home: Paths, story: str) -> None:
    import localq.chat_format.message  # an import that must not take the function's name

    with localq.chat(story, temperature=0, max_tokens=20) as chat:
        pieces = list(chat.reply("Once upon a time"))
        assert len(pieces) > 3
        assert chat.last is not None
        assert chat.last.text == "".join(pieces)
        assert [message.content for message in chat.messages][1] == "".join(pieces)
        for _ in chat.reply(" And then", max_tokens=400):
            break
        assert len(chat.messages) == 4
        assert len(list(chat.reply(" So", max_tokens=3))) <= 3
        with pytest.raises(UsageError):
            list(chat.reply("x", temperature=-1))
        with pytest.raises(EngineError):
            list(chat.reply("x " * 2000))
    with pytest.raises(EngineError):
        list(chat.reply("Hello?"))
    assert not home.database.exists()


def test_what_cannot_be_opened(home: Paths, story: str) -> None:
    with pytest.raises(NotFoundError):
        localq.chat("nobody")
    with pytest.raises(UsageError, match="no setting"):
        localq.chat(story, warmth=1).close()


def test_warnings_are_pythons(home: Paths, story: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        localq.chat(story, n_ctx=1024).close()
    assert any("trained with" in str(one.message) for one in caught)


def test_arguments_for_langchain(home: Paths, story: str) -> None:
    arguments = localq.langchain_args(story, n_ctx=256)
    assert arguments["model_path"] == story
    assert arguments["n_ctx"] == 256
    assert Path(arguments["model_path"]).is_file()


def test_the_chain_of_the_readme(home: Paths, story: str) -> None:
    """prompt | llm, with the real package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        llms = pytest.importorskip("langchain_community.llms")
        prompts = pytest.importorskip("langchain_core.prompts")
        llm = llms.LlamaCpp(
            **localq.langchain_args(story, n_ctx=256), max_tokens=12, temperature=0, verbose=False
        )
        chain = prompts.PromptTemplate.from_template("Once upon a time, {who}") | llm
        said = chain.invoke({"who": "a girl"})
        streamed = "".join(chain.stream({"who": "a girl"}))
    assert said.strip()
    assert streamed == said
