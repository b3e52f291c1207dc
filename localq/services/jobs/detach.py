"""Jobs without a terminal: a process of its own that outlives the one that starts it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from localq.errors import LocalqError, UsageError, storage_errors
from localq.jobs import Job, JobProgress, JobState, JobStore
from localq.library import Library
from localq.messages import msg
from localq.services.jobs.kinds import Request, draft_of, kind_of

__all__ = ["resume_detached", "start_detached"]

_START_SECONDS = 20.0
_LOOK_SECONDS = 0.02


def start_detached(library: Library, request: Request, *, agreed: bool = False) -> Job:
    """Let a new process do the work; the job as it stands when that has begun.

    UsageError where the work may have to ask something that is not `agreed` to. JobRunning where
    a job does the same already. LocalqError, with what went wrong, if it fails within moments.
    """
    _refuse_questions(request, agreed=agreed)
    kind_of(request).check(library, request)
    draft = draft_of(library, request, agreed=agreed)
    store = JobStore(library.paths)
    return _start(store, store.queue(draft))


def resume_detached(library: Library, job: Job, request: Request) -> Job:
    """Let a new process go on with a job; as `start_detached`."""
    _refuse_questions(request, agreed=job.agreed)
    store = JobStore(library.paths)
    store.queue_again(job.id)
    return _start(store, job.id)


def _refuse_questions(request: Request, *, agreed: bool) -> None:
    if kind_of(request).may_ask(request) and not agreed:
        raise UsageError(
            msg("this may need your consent, and a job without a terminal cannot ask"),
            hint=msg("agree beforehand with --yes"),
        )


def _start(store: JobStore, job_id: int) -> Job:
    try:
        return _started(store, job_id)
    except LocalqError as error:
        if store.job(job_id).state.is_active:  # it never came to say so itself
            store.end(job_id, JobState.FAILED, JobProgress(), error=error.message, hint=error.hint)
        raise


def _started(store: JobStore, job_id: int) -> Job:
    log = store.log(job_id)
    with storage_errors(log, hint=msg("let LOCALQ_HOME name another folder")):
        log.parent.mkdir(parents=True, exist_ok=True)
        process = _spawn(job_id, log)
    threading.Thread(target=process.wait, daemon=True).start()  # nobody else asks how it ended
    deadline = time.monotonic() + _START_SECONDS
    while True:
        ended = process.poll() is not None  # before the look, which then sees its last word
        job = store.job(job_id)
        if job.state is JobState.FAILED:
            raise LocalqError(job.error or msg("job {job_id} failed", job_id=job_id), job.hint)
        if job.state is not JobState.QUEUED:
            return job
        if ended or time.monotonic() > deadline:
            process.kill()
            raise LocalqError(
                msg(
                    "job {job_id} did not start: {last_line}",
                    job_id=job_id,
                    last_line=_last_line(log),
                ),
                hint=msg("localq jobs log {job_id}", job_id=job_id),
            )
        time.sleep(_LOOK_SECONDS)


def _spawn(job_id: int, log: Path) -> subprocess.Popen[bytes]:
    # -P: the folder the user happens to be in must not lend the job its modules.
    command = [sys.executable, "-P", "-m", "localq", "jobs", "run", str(job_id)]
    with log.open("ab") as output:
        output.write(time.strftime("--- started %Y-%m-%d %H:%M:%S\n").encode())
        output.flush()
        if sys.platform == "win32":
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                creationflags=subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP,
            )
        # A session of its own has no terminal whose end could end it.
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )


def _last_line(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except OSError:
        lines = []
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
