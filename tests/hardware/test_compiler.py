"""What the compiler has to be told, with compilers that are played and the one that is here."""

from __future__ import annotations

import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from localq.hardware.advice import engine_problem, findings
from localq.hardware.compiler import WITHOUT_AMX, compiler_flags, compilers
from localq.hardware.installation import Installer
from localq.hardware.profile import CpuProfile, EngineBuild, HardwareProfile, System
from tests.machines import RecordedMachine

# Keeps a configuration, asks the processor for it, and compares.
_ORACLE = r"""
#include <immintrin.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
__attribute__((noinline)) void load()
{
    unsigned char wanted[64] = {1};
    wanted[16] = 8;
    wanted[48] = 4;
    _tile_loadconfig(wanted);  // nobody else reads it
}
__attribute__((noinline)) void spoil_the_stack()
{
    unsigned char bytes[512];
    memset(bytes, 0x55, sizeof bytes);
    asm volatile("" : : "r"(bytes) : "memory");
}
int main()
{
    if (syscall(SYS_arch_prctl, 0x1023, 18)) return 7;  // ARCH_REQ_XCOMP_PERM, tile data
    unsigned char got[64];
    spoil_the_stack();
    load();
    asm volatile("sttilecfg %0" : "=m"(got));
    return !(got[0] == 1 && got[16] == 8 && got[48] == 4);
}
"""


def compiler(folder: Path, prints: str, code: int = 0) -> Mapping[str, str]:
    """An environment whose C++ compiler answers everything so."""
    script = folder / "compiler.py"
    script.write_text(f"import sys; sys.stdin.read(); print({prints!r}); sys.exit({code})")
    return {"CXX": shlex.join((sys.executable, str(script)))}


@pytest.mark.parametrize(
    ("assembly", "code", "flags"),
    [
        ("vmovdqu8 %zmm0, -64(%rsp)\nldtilecfg -64(%rsp)", 0, WITHOUT_AMX),
        ("movl $1515870810, -16(%rsp)\nldtilecfg -64(%rsp)", 0, ()),
        ("the processor has no AMX", 0, ()),
        ("ldtilecfg -64(%rsp)", 1, ()),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="paths with backslashes")
def test_a_compiler_is_tried(
    assembly: str, code: int, flags: tuple[str, ...], tmp_path: Path
) -> None:
    assert compiler_flags(compiler(tmp_path, assembly, code)) == flags


def test_where_there_is_no_compiler_nothing_is_needed(tmp_path: Path) -> None:
    assert compilers({"PATH": str(tmp_path)}) == ((), ())
    assert compiler_flags({"PATH": str(tmp_path)}) == ()
    assert compiler_flags({"CXX": "/is/not/there"}) == ()
    assert compiler_flags({"CXX": '"'}) == ()


@pytest.mark.skipif(shutil.which("c++") is None, reason="no compiler")
def test_the_compiler_here_does_what_it_is_said_to(tmp_path: Path) -> None:
    (tmp_path / "oracle.cpp").write_text(_ORACLE)
    command = ["c++", "-O2", "-march=native", "-o", "oracle", "oracle.cpp"]
    compiled = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    if compiled.returncode or platform.machine() != "x86_64":
        assert compiler_flags() == ()  # no AMX here, or a compiler that does not know it
        return
    code = subprocess.run([tmp_path / "oracle"], check=False).returncode
    if code == 7:
        pytest.skip("the system does not let programs use AMX")
    assert bool(compiler_flags()) == (code != 0)


@pytest.mark.skipif(sys.platform == "win32", reason="paths with backslashes")
def test_another_processor_may_be_asked_about(tmp_path: Path) -> None:
    script = tmp_path / "compiler.py"
    script.write_text(
        "import sys\nsys.stdin.read()\nprint('-march=sapphirerapids' in sys.argv and 'ldtilecfg')"
    )
    environ = {"CXX": shlex.join((sys.executable, str(script)))}
    assert compiler_flags(environ) == ()
    assert compiler_flags(environ, "sapphirerapids") == WITHOUT_AMX


def breaks_amx() -> tuple[str, ...]:
    return WITHOUT_AMX


def test_the_advice_to_compile_takes_the_flags_along() -> None:
    flags = " ".join(WITHOUT_AMX)
    command = Installer("python", compiler_flags=breaks_amx).build("-DGGML_CUDA=on")
    assert command.startswith(
        f'CMAKE_ARGS="-DGGML_CUDA=on" CFLAGS="{flags}" CXXFLAGS="{flags}" python -m pip install'
    )
    windows = Installer("python", os="windows", compiler_flags=breaks_amx).build()
    assert windows.startswith(f'$env:CFLAGS="{flags}"; $env:CXXFLAGS="{flags}"; python -m pip')
    broken = Installer("python", compiler_flags=breaks_amx)
    assert flags in str(engine_problem("crashed", broken).command)


def test_nobody_is_told_to_compile_for_what_the_compiler_breaks() -> None:
    def notes(missing: tuple[str, ...], installer: Installer) -> list[str]:
        engine = EngineBuild("0.3.36", ("CPU",), ("AVX2",), False)
        cpu = CpuProfile(1, 1, instruction_sets=("AVX2", *missing))
        profile = HardwareProfile(System("linux"), cpu, engine=engine)
        return [note.text for note in findings(RecordedMachine(), profile, installer)]

    good = Installer("python")
    bad = Installer("python", compiler_flags=breaks_amx)
    assert "has AMX_INT8, which" in notes(("AMX_INT8",), good)[0]
    assert notes(("AMX_INT8",), bad) == []
    assert "has AVX512, which" in notes(("AVX512", "AMX_INT8"), bad)[0]
