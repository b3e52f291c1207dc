"""Files that are still being made: how they are named, finished and cleared away.

A file is written under a name of its own beside the final one and renamed when it is whole, so
whoever sees the final name sees a whole file. The partial name says which process writes it:

    .SmolLM2-135M-Instruct-Q4_0.gguf.1f0c33d2-4711-9b2e61d08c55f3aa.partial
                                     machine  pid  process + file
"""

from __future__ import annotations

import errno
import os
import re
import sys
import time
import zlib
from pathlib import Path

from localq.errors import LibraryError, storage_errors
from localq.messages import msg

__all__ = [
    "finish",
    "is_unfinished",
    "journal_path",
    "partial_path",
    "resumable_path",
    "stale_partials",
    "sweep_partials",
    "sync_folder",
    "write_whole",
]

# Process numbers repeat (a container always starts at 1), so a run is told by this as well.
_RUN = os.urandom(4).hex()

# SQLite puts its own endings behind a database's name.
_PARTIAL = re.compile(
    r"\..+\.(?P<machine>[0-9a-f]{8})-(?P<pid>[0-9]{1,10})-(?P<run>[0-9a-f]{8})[0-9a-f]{8}"
    r"\.partial(?:-journal|-wal|-shm)?"
)
_RESUMABLE = re.compile(r"\..+\.[0-9a-f]{16}\.resumable(?:\.journal)?")
_NAME_BYTES = 180
"""How much of the final name the partial one keeps: the rest must fit 255 bytes too."""
_ABANDONED_SECONDS = 7 * 24 * 3600.0


def partial_path(final: Path) -> Path:
    """A fresh name beside `final` to write it under; nobody else uses it. Touches no disk."""
    kept = final.name.encode(errors="surrogateescape")[:_NAME_BYTES].decode(errors="ignore")
    ours = f"{_machine()}-{os.getpid()}-{_RUN}{os.urandom(4).hex()}"
    return final.with_name(f".{kept}.{ours}.partial")


def resumable_path(final: Path, key: str) -> Path:
    """A name beside `final` for work that a later process may go on with.

    `key` is of hexadecimal digits and stands for all that the file's content depends on.
    """
    kept = final.name.encode(errors="surrogateescape")[:_NAME_BYTES].decode(errors="ignore")
    return final.with_name(f".{kept}.{key[:16]}.resumable")


def journal_path(resumable: Path) -> Path:
    """Where it is noted what of a resumable file is finished."""
    return resumable.with_name(f"{resumable.name}.journal")


def finish(partial: Path, final: Path, *, replace: bool) -> None:
    """Give the whole file `partial` its `final` name, so that it survives a power cut.

    Without `replace` a file that is there, or appears at the last moment, is never touched:
    LibraryError. StorageError where the disk refuses. After an error `partial` is still there.
    """
    with storage_errors(final):
        _sync_file(partial)
        if replace:
            partial.replace(final)
        else:
            try:
                _rename_to_new(partial, final)
            except FileExistsError:
                raise LibraryError(
                    msg("{final}: is there already", final=final),
                    hint=msg("replace it with --force"),
                ) from None
        sync_folder(final.parent)


def write_whole(path: Path, content: bytes | str, *, replace: bool = True) -> None:
    """Write a small file whole or not at all; texts in UTF-8. Errors as `finish`, and OSError."""
    partial = partial_path(path)
    try:
        if isinstance(content, str):
            partial.write_text(content, encoding="utf-8")
        else:
            partial.write_bytes(content)
        finish(partial, path, replace=replace)
    finally:
        partial.unlink(missing_ok=True)


def sweep_partials(folder: Path) -> list[Path]:
    """Delete what `stale_partials` finds in `folder`, and say what that was."""
    swept: list[Path] = []
    for path in stale_partials(folder):
        try:
            path.unlink()
        except OSError:
            continue  # another process swept it first, or Windows still has it open
        swept.append(path)
    return swept


def stale_partials(folder: Path) -> list[Path]:
    """What dead processes left half-made in `folder`.

    Files of running processes are not, nor for a week what may be gone on with. Whether a process
    of another machine (a shared disk, a container) runs cannot be seen: its files are stale when
    nothing was written to them for a week.
    """
    stale: list[Path] = []
    try:
        entries = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return stale
    for path in entries:
        match = _PARTIAL.fullmatch(path.name)
        if match is None and _RESUMABLE.fullmatch(path.name) is None:
            continue
        try:
            if path.is_symlink() or not path.is_file():
                continue
            if _in_use(path, match) if match else not _is_abandoned(path):
                continue
        except OSError:
            continue
        stale.append(path)
    return stale


def is_unfinished(path: Path) -> bool:
    """Whether the name is one that this module gives to a file still being made."""
    return bool(_PARTIAL.fullmatch(path.name) or _RESUMABLE.fullmatch(path.name))


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut, where the system lets one ask for that."""
    if sys.platform == "win32":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        # Some network filesystems know no such thing; a folder may also be closed to reading.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES):
            raise


def _sync_file(path: Path) -> None:
    # Windows flushes only what is open for writing; elsewhere reading is enough, and a file
    # without write permission can be finished too.
    descriptor = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rename_to_new(partial: Path, final: Path) -> None:
    """Rename, or FileExistsError; the check and the rename are one step for everyone else."""
    if sys.platform == "win32":
        partial.rename(final)  # refuses an existing name there
        return
    try:
        final.hardlink_to(partial)
    except FileExistsError:
        raise
    except OSError:
        _reserve_and_rename(partial, final)  # exFAT, some network and phone filesystems
    else:
        partial.unlink()


def _reserve_and_rename(partial: Path, final: Path) -> None:
    """The way without hard links: take the name with an empty file, then rename over that."""
    os.close(os.open(final, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    try:
        partial.replace(final)
    except BaseException:
        final.unlink()
        raise


def _is_abandoned(path: Path) -> bool:
    return time.time() - path.stat().st_mtime >= _ABANDONED_SECONDS


def _in_use(path: Path, match: re.Match[str]) -> bool:
    if match["machine"] != _machine():
        return not _is_abandoned(path)
    pid = int(match["pid"])
    if pid == os.getpid():
        return match["run"] == _RUN
    return _is_running(pid)


def _machine() -> str:
    import platform

    return f"{zlib.crc32(platform.node().encode(errors='replace')):08x}"


if sys.platform == "win32":

    def _is_running(pid: int) -> bool:
        """os.kill(pid, 0) is no question on Windows: it would send Ctrl-C."""
        import ctypes
        from ctypes import wintypes

        query_limited_information, access_denied, still_active = 0x1000, 5, 259
        kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel32.OpenProcess.restype = wintypes.HANDLE
        kernel32.GetExitCodeProcess.argtypes = (wintypes.HANDLE, ctypes.POINTER(wintypes.DWORD))
        kernel32.CloseHandle.argtypes = (wintypes.HANDLE,)
        handle = kernel32.OpenProcess(query_limited_information, False, pid)
        if not handle:
            return ctypes.get_last_error() == access_denied
        try:
            code = wintypes.DWORD()
            kernel32.GetExitCodeProcess(handle, ctypes.byref(code))
            return code.value == still_active
        finally:
            kernel32.CloseHandle(handle)

else:

    def _is_running(pid: int) -> bool:
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, OverflowError):
            return False
        except PermissionError:
            return True
        return True
