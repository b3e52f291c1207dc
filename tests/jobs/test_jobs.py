"""Jobs as records: what is noted of work that runs, ends, stops or is killed."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import pytest

from localq.errors import Cancelled, HubError, LibraryError, NotFoundError, StorageError, UsageError
from localq.events import Emit, JobEvent, Note, Progress, Started, Unit, ignore
from localq.jobs import CancelEvent, Draft, Job, JobRunning, JobState, JobStore, Recorder
from localq.jobs.job import JobProgress
from localq.library import Library
from localq.paths import Paths
from localq.services.consent import Consent
from localq.services.jobs.jobs import cancel_job, clear_jobs, interrupted_jobs, recorded, resumable
from localq.services.jobs.kinds.pull import PullKind
from localq.services.pull.pull import PullRequest, PullResult
from tests.streams import eventually
from tests.tui_support import gguf

DRAFT = Draft("pull", "pull org/model", '{"spec": "org/model"}')
OTHER = Draft("pull", "pull org/other", '{"spec": "org/other"}')

_RUNNER = """
import sys, threading, time
from localq.events import Progress, Started, ignore
from localq.jobs import Draft, JobStore, Recorder
from localq.paths import Paths
store = JobStore(Paths.from_environment())
with Recorder(store, Draft(*sys.argv[1:4]), ignore, threading.Event()) as say:
    say(Started("it"))
    say(Progress("working", 30, 100))
    while not any(job.progress.done for job in store.jobs()):
        time.sleep(0.02)
    print("running", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def store(home: Paths) -> JobStore:
    return JobStore(home)


def run(
    store: JobStore,
    draft: Draft = DRAFT,
    work: Callable[[Emit], object] = ignore,  # type: ignore[assignment]
    cancel: threading.Event | None = None,
    events: list[JobEvent] | None = None,
) -> Job:
    """Do `work` as a job, whatever comes of it, and return the newest record."""
    heard = events.append if events is not None else ignore
    with suppress(Exception), Recorder(store, draft, heard, cancel or threading.Event()) as say:
        say(Started("it"))
        work(say)
        say.result = "made"
    return store.jobs()[-1]


@contextmanager
def runner(draft: Draft = DRAFT) -> Iterator[subprocess.Popen[str]]:
    """A process that runs the job until its stdin is closed."""
    with subprocess.Popen(
        [sys.executable, "-c", _RUNNER, draft.kind, draft.title, draft.request],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "running\n"
            yield process
        finally:
            process.kill()


def test_a_home_without_jobs(home: Paths, store: JobStore) -> None:
    assert store.jobs() == []
    with pytest.raises(NotFoundError, match="no job 1"):
        store.job(1)
    assert not home.data.exists()


def test_work_that_ends_well(home: Paths, store: JobStore) -> None:
    def work(emit: Emit) -> None:
        emit(Progress("reading", 5, 10, Unit.TOKENS))
        (job,) = store.jobs()
        assert (job.state, job.pid is not None, job.ended_at) == (JobState.RUNNING, True, None)

    job = run(store, work=work)
    assert (job.id, job.kind, job.title, job.request) == (1, DRAFT.kind, DRAFT.title, DRAFT.request)
    assert (job.state, job.result, job.error) == (JobState.FINISHED, "made", None)
    progress = job.progress
    assert (progress.stage, progress.done, progress.total) == ("reading", 5, 10)
    assert progress.unit is Unit.TOKENS
    assert job.started_at is not None
    assert job.ended_at is not None
    assert job.created_at <= job.started_at <= job.ended_at
    assert list((home.data / "jobs").iterdir()) == []


def test_what_has_not_begun_leaves_no_record(home: Paths, store: JobStore) -> None:
    with Recorder(store, DRAFT, ignore, threading.Event()) as say:
        say(Note("there already"))
    with (
        pytest.raises(HubError),
        Recorder(store, DRAFT, ignore, threading.Event()),
    ):
        raise HubError("no such model")
    assert not home.data.exists()


def fail(error: BaseException) -> Callable[[Emit], object]:
    def work(emit: Emit) -> object:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "state", "said"),
    [
        (HubError("no way", hint="try harder"), JobState.FAILED, ("no way", "try harder")),
        (RuntimeError("a bug"), JobState.FAILED, ("RuntimeError: a bug", None)),
        (Cancelled(), JobState.CANCELLED, (None, None)),
    ],
)
def test_work_that_ends_badly(
    store: JobStore, error: Exception, state: JobState, said: tuple[str | None, str | None]
) -> None:
    job = run(store, work=fail(error))
    assert (job.state, (job.error, job.hint), job.result) == (state, said, None)
    assert job.state.is_resumable


def test_a_stop_by_the_system_counts_as_interrupted(store: JobStore) -> None:
    cancel = CancelEvent()
    cancel.by_system = True
    stopped = Cancelled()
    job = run(store, work=fail(stopped), cancel=cancel)
    assert job.state is JobState.INTERRUPTED
    assert stopped.hint == "localq jobs resume 1"


def test_the_same_again_takes_the_place_of_what_did_not_finish(store: JobStore) -> None:
    assert run(store, work=fail(HubError("no"))).id == 1
    assert run(store, OTHER).id == 2
    assert run(store).id == 2  # the newest record is the other's
    assert [(job.id, job.state) for job in store.jobs()] == [
        (1, JobState.FINISHED),
        (2, JobState.FINISHED),
    ]
    assert store.job(1).error is None
    assert run(store).id == 3  # what finished stays


def test_what_turns_out_to_be_there_is_finished(store: JobStore) -> None:
    run(store, work=fail(Cancelled()))
    with Recorder(store, DRAFT, ignore, threading.Event()) as say:
        say.result = "org/model"
    job = store.job(1)
    assert (job.state, job.result) == (JobState.FINISHED, "org/model")


def test_a_killed_process_is_an_interrupted_job(home: Paths, store: JobStore) -> None:
    with runner() as process:
        (job,) = store.jobs()
        assert (job.state, job.progress.done, job.pid) == (JobState.RUNNING, 30, process.pid)
        assert interrupted_jobs(home) == []
        with pytest.raises(JobRunning, match="job 1 does that already: pull org/model"):
            store.begin(DRAFT)
        with pytest.raises(UsageError, match="job 1 is running"):
            resumable(home, 1)
        with pytest.raises(UsageError, match="job 1 is running"):
            clear_jobs(Library(home), [1])
        assert clear_jobs(Library(home), [], every=True).job_ids == ()
        process.kill()
        process.wait()
        (job,) = interrupted_jobs(home)
    assert (job.state, job.progress.done) == (JobState.INTERRUPTED, 30)
    assert resumable(home, 1) == job
    assert list((home.data / "jobs").iterdir()) == []  # no lock left behind
    assert cancel_job(home, 1).state is JobState.CANCELLED


def test_readers_do_not_take_each_other_for_the_runner(store: JobStore) -> None:
    with runner() as process:
        process.kill()
        process.wait()
    states: list[JobState] = []
    threads = [
        threading.Thread(target=lambda: states.extend(store.job(1).state for _ in range(20)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(states) == {JobState.INTERRUPTED}


def test_a_job_asked_to_stop_stops(home: Paths, store: JobStore) -> None:
    cancel = threading.Event()

    def work(emit: Emit) -> None:
        assert cancel_job(home, 1).state is JobState.RUNNING
        assert cancel.wait(60)
        raise Cancelled

    job = run(store, work=work, cancel=cancel)
    assert job.state is JobState.CANCELLED
    with pytest.raises(UsageError, match="is cancelled already"):
        cancel_job(home, 1)
    taken, lock = store.take(1, detached=False)  # resumed: it is not to stop again at once
    assert not store.is_asked_to_stop(1)
    assert taken.title == DRAFT.title
    lock.release()


def test_a_queued_job_waits_for_its_process(home: Paths) -> None:
    now = 1000.0
    store = JobStore(home, clock=lambda: now)
    job_id = store.queue(DRAFT)
    assert store.job(job_id).state is JobState.QUEUED
    with pytest.raises(JobRunning):
        store.queue(DRAFT)
    store.ask_to_stop(job_id)
    now += 60
    assert store.job(job_id).state is JobState.INTERRUPTED  # it never came
    now -= 60
    _, lock = store.take(job_id, detached=True)
    assert store.is_asked_to_stop(job_id)  # even if that was before it began
    with pytest.raises(JobRunning):
        store.take(job_id, detached=True)
    lock.release()


def test_a_record_that_cannot_be_made_stops_nobody(
    home: Paths, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise StorageError("the disk is full")

    events: list[JobEvent] = []
    with monkeypatch.context() as patched:
        patched.setattr(JobStore, "begin", full)
        with Recorder(store, DRAFT, events.append, threading.Event()) as say:
            say(Started("it"))
    assert Note("this job is not recorded: the disk is full", warning=True) in events
    with monkeypatch.context() as patched:
        patched.setattr(JobStore, "end", full)
        job = run(store, events=events)
    assert job.state is JobState.INTERRUPTED
    assert Note("how job 1 ended is not recorded: the disk is full", warning=True) in events


def test_only_so_many_are_kept(
    home: Paths, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localq.jobs.store._KEPT", 3)
    store.log(1).parent.mkdir(parents=True)
    store.log(1).write_text("it began")
    for number in range(6):
        run(store, Draft("pull", f"pull {number}", str(number)))
    assert [job.id for job in store.jobs()] == [3, 4, 5, 6]
    assert not store.log(1).exists()
    assert store.forget([6]) == [6]
    assert run(store).id == 7  # no number is given twice


def test_clearing(home: Paths, store: JobStore) -> None:
    run(store)
    run(store, OTHER, fail(HubError("no")))
    library = Library(home)
    assert clear_jobs(library, []).job_ids == (1,)
    assert clear_jobs(library, []).job_ids == ()
    assert clear_jobs(library, [], every=True).job_ids == (2,)
    with pytest.raises(NotFoundError, match="no job 2"):
        clear_jobs(library, [2])


def test_clearing_with_what_was_half_made(home: Paths, store: JobStore) -> None:
    half = home.partial / "org" / "model" / "abc" / "model.safetensors"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"12345")
    run(store, work=fail(HubError("no")))
    assert clear_jobs(Library(home), [1], partials=True).freed_bytes == 5
    assert not half.exists()


def test_texts_that_are_none(store: JobStore) -> None:
    job = run(store, Draft("pull", "pull \udcff\x1b", "{}"), fail(HubError("x" * 9999)))
    assert job.title == "pull ?\x1b"  # whoever prints it makes it plain
    assert job.error is not None
    assert len(job.error) == 2000


def test_a_damaged_record_says_so(home: Paths, store: JobStore) -> None:
    run(store)
    connection = sqlite3.connect(home.database)
    connection.execute("UPDATE jobs SET state = 'dreaming'")
    connection.commit()
    connection.close()
    with pytest.raises(LibraryError, match="job 1"):
        store.jobs()


def test_services_run_under_a_record(home: Paths) -> None:
    library, request = Library(home), PullRequest("org/model")
    entry = gguf("org/model")

    class Pull(PullKind):
        def work(
            self,
            library: Library,
            request: PullRequest,
            emit: Emit,
            cancel: threading.Event,
            consent: Consent,
        ) -> PullResult:
            emit(Started("it"))
            with pytest.raises(JobRunning):
                recorded(self, library, request, ignore, cancel)
            return PullResult(entry, 0, already_there=False)

    assert recorded(Pull(), library, request, ignore, threading.Event()).model is entry
    (job,) = JobStore(home).jobs()
    assert (job.title, job.result) == ("pull org/model", entry.name)


def test_speed_is_that_of_the_last_seconds(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("localq.jobs.recorder.time", SimpleNamespace(monotonic=lambda: now))

    def work(emit: Emit) -> None:
        nonlocal now

        def recorded(done: int) -> JobProgress:
            emit(Progress("working", done, 10**6))
            assert eventually(lambda: store.job(1).progress.done == done)
            return store.job(1).progress

        assert recorded(1000).speed is None
        now += 5
        assert recorded(501_000).speed == 100_000
        now += 10
        progress = recorded(601_000)
        assert (progress.speed, progress.seconds_left) == (10_000, 39.9)

    assert run(store, work=work).state is JobState.FINISHED
