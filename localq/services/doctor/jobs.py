"""Long work that was cut off, and can be gone on with."""

from __future__ import annotations

from collections.abc import Iterator

from localq.messages import msg
from localq.services.doctor.doctor import CheckContext, Problem
from localq.services.jobs.jobs import interrupted_jobs

__all__ = ["interrupted"]


def interrupted(context: CheckContext) -> Iterator[Problem]:
    """Jobs whose process went without a word: killed, or ended by a reboot."""
    for job in interrupted_jobs(context.library.paths):
        yield Problem(
            msg("job {id} was interrupted: {title}", id=job.id, title=job.title),
            msg(
                "localq jobs resume {id} goes on with it, localq jobs clear {id} forgets it",
                id=job.id,
            ),
        )
