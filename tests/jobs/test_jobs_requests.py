"""Requests that are recorded mean the same when they are read back, anywhere and later."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localq.errors import LibraryError
from localq.formats.types import QuantType, TensorType
from localq.gpu_quant.options import Method
from localq.jobs import Draft, Job, JobProgress, JobState
from localq.jobs.request_json import decode, encode
from localq.library import Library
from localq.paths import Paths
from localq.planning.offload_plan import PlanOptions
from localq.quantize.options import TypeRule
from localq.services.backends.install import BackendInstallRequest
from localq.services.int4.request import Int4Request
from localq.services.jobs.kinds import Request, draft_of, kind_of, kinds, request_of
from localq.services.jobs.kinds.verify import VerifyRequest
from localq.services.library.import_models import ImportRequest
from localq.services.make.convert import ConvertRequest, ConvertWith
from localq.services.make.imatrix import ImatrixRequest
from localq.services.make.quantize import QuantizeRequest
from localq.services.measure.bench import BenchRequest
from localq.services.measure.tune import TuneRequest
from localq.services.pull.pull import PullRequest
from localq.services.pull.stream import PullAsRequest
from localq.services.quality.evaluate import EvaluateRequest
from localq.services.recipes.run import RecipeRequest

PATH = Path("/data/x.gguf").absolute()
REQUESTS: list[Request] = [
    PullRequest("org/model@main:Q4_K_M"),
    PullAsRequest("org/model", QuantType.Q4_0, imatrix=PATH),
    QuantizeRequest(
        QuantType.Q4_K_M,
        "org/model",
        PATH,
        force=True,
        imatrix=PATH,
        rules=(TypeRule("attn_v", TensorType.Q6_K), TypeRule("\\.0\\.", TensorType.F16)),
        output_type=TensorType.Q8_0,
        split_bytes=10**9,
        with_llama_cpp=True,
    ),
    ConvertRequest(QuantType.F16, "org/model", converter=ConvertWith.LLAMA_CPP),
    ImatrixRequest(PATH, "org/model:F16", PATH, chunks=3, n_ctx=256),
    ImportRequest((PATH, PATH), name="org/model", copy=True),
    ImportRequest(tool="ollama", everything=True),
    VerifyRequest(),
    BenchRequest("org/model:Q4_0", n_prompt=64, plan_options=PlanOptions(n_threads=2)),
    TuneRequest("org/model:Q4_0", budget=30.0),
    Int4Request(Method.AWQ, "org/model", calib=str(PATH), keep=("self_attn",)),
    RecipeRequest(PATH, PATH, locked=True),
    BackendInstallRequest("gptqmodel", "cpu", PATH),
    EvaluateRequest(("org/model:Q4_0", "org/model:Q8_0"), PATH, "org/model:F16", 256, 9, 0.01),
]


def recorded(draft: Draft) -> Job:
    return Job(
        *(1, draft.kind, draft.title, draft.request, JobState.FAILED, JobProgress(), 0.0, None),
        *(0.0, None, None, False, False, None, None, None),
    )


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: type(request).__name__)
def test_there_and_back(home: Paths, request_: Request) -> None:
    assert request_of(recorded(draft_of(Library(home), request_))) == request_


def test_what_depends_on_the_folder_and_the_day_is_settled(
    home: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    library = Library(home)

    def settled(request: Request) -> Request:
        return request_of(recorded(draft_of(library, request)))

    quantize = QuantizeRequest(QuantType.Q4_0, "folder", Path("out.gguf"))
    assert settled(quantize) == replace(
        quantize, model=str(tmp_path / "folder"), output=tmp_path / "out.gguf"
    )
    imatrix = settled(ImatrixRequest(Path("text.txt"), "org/model"))
    assert imatrix == ImatrixRequest(tmp_path / "text.txt", "org/model", tmp_path)
    (tmp_path / "localq.toml").write_text('[model]\nrepo = "org/recipe"\nrevision = "v1"\n')
    assert settled(PullRequest()) == PullRequest("org/recipe@v1")
    (tmp_path / "localq.toml").unlink()
    recommended = settled(PullRequest())
    assert isinstance(recommended, PullRequest)
    assert recommended.spec
    assert "/" in recommended.spec


def test_titles_are_short(home: Paths) -> None:
    titles = [draft_of(Library(home), request).title for request in REQUESTS]
    assert titles == [
        "pull org/model@main:Q4_K_M",
        "pull org/model as Q4_0",
        "quantize org/model to Q4_K_M",
        "convert org/model",
        "imatrix of org/model:F16",
        "import x.gguf and 1 more",
        "import from ollama",
        "verify all models",
        "bench org/model:Q4_0",
        "tune org/model:Q4_0",
        "quantize org/model to AWQ-INT4-MIXED",
        "recipe x.gguf",
        "install the backend gptqmodel",
        "eval org/model:Q4_0, org/model:Q8_0",
    ]


def test_who_may_ask() -> None:
    asking = [kind_of(request).may_ask(request) for request in REQUESTS]
    assert asking == [False, False, True, True] + 8 * [False] + [True, False]


def test_every_kind_is_among_these_requests() -> None:
    assert {kind_of(request) for request in REQUESTS} == set(kinds())
    for request in REQUESTS:
        assert type(request) is kind_of(request).request
    assert len({kind.name for kind in kinds()}) == len(kinds())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"spec": 3}',
        '{"type": "Q4_0"}',
        '{"spec": "a/b", "type": "Q99"}',
        '{"spec": "a/b", "type": "Q4_0", "force": 1}',
        '{"spec": "a/b", "type": "Q4_0", "later": true}',
        '{"spec": "a/b", "type": "Q4_0", "imatrix": ["x"]}',
        "[" * 100_000,
    ],
)
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(LibraryError, match="cannot be read"):
        decode(PullAsRequest, text)


def test_a_kind_of_another_version_is_refused() -> None:
    with pytest.raises(LibraryError, match="does not know"):
        request_of(recorded(Draft("dream", "dream", "{}")))


@given(
    st.builds(
        QuantizeRequest,
        type=st.sampled_from(QuantType),
        model=st.none() | st.text(),
        force=st.booleans(),
        rules=st.lists(
            st.builds(TypeRule, pattern=st.text(), type=st.sampled_from(TensorType))
        ).map(tuple),
        output_type=st.none() | st.sampled_from(TensorType),
        split_bytes=st.none() | st.integers(1, 2**60),
    )
)
def test_any_request_survives(request_: QuantizeRequest) -> None:
    text = encode(request_)
    assert decode(QuantizeRequest, text) == request_
    assert encode(request_) == text
    assert json.loads(text)
