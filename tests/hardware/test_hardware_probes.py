"""Accelerators probe by probe, and the advice that follows from what they find."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from localq.hardware.accelerators import accelerators
from localq.hardware.advice import engine_problem, findings
from localq.hardware.detect import detect
from localq.hardware.installation import Installer, cuda_wheels
from localq.hardware.machine import LocalMachine, Output
from localq.hardware.nvidia import driver_cuda, int4_suitability, parse_nvidia_smi
from localq.hardware.profile import (
    Accelerator,
    CpuProfile,
    Device,
    EngineBuild,
    HardwareProfile,
    System,
)
from localq.hardware.windows import Adapter, WindowsAnswers
from tests.machines import RecordedMachine

MIB = 1 << 20
QUERY = "--query-gpu=name,driver_version,memory.total,memory.free,compute_cap"
OLD_QUERY = "--query-gpu=name,driver_version,memory.total,memory.free"
FORMAT = "--format=csv,noheader,nounits"
CPU_ONLY = EngineBuild("0.3.36", ("CPU",), ("AVX2",), False)
RTX = Accelerator(
    "NVIDIA GeForce RTX 4090",
    "NVIDIA",
    "nvidia-smi",
    driver="550.54.14",
    driver_cuda=(12, 4),
    compute_capability=(8, 9),
)


def profile(
    *gpus: Accelerator,
    engine: EngineBuild | None = CPU_ONLY,
    devices: tuple[Device, ...] = (),
    sets: tuple[str, ...] = (),
) -> HardwareProfile:
    cpu = CpuProfile(4, 4, instruction_sets=sets)
    return HardwareProfile(System("linux"), cpu, accelerators=gpus, engine=engine, devices=devices)


def notes(
    found: HardwareProfile,
    machine: RecordedMachine | None = None,
    installer: Installer | None = None,
) -> list[str]:
    given = findings(machine or RecordedMachine(), found, installer or Installer("python"))
    return [" | ".join(filter(None, (n.text, n.command, n.otherwise))) for n in given]


def test_nvidia_smi() -> None:
    a100, t4 = parse_nvidia_smi(
        "NVIDIA A100-SXM4-80GB, 535.183.01, 81920, 81152, 8.0\n"
        "Tesla T4, 535.183.01, 15360, 15105, 7.5"
    )
    assert (a100.name, a100.total_bytes, a100.free_bytes) == (
        "NVIDIA A100-SXM4-80GB",
        81920 * MIB,
        81152 * MIB,
    )
    assert (a100.int4, t4.int4) == ("good", "works")
    assert (a100.driver_cuda, t4.compute_capability) == ((12, 2), (7, 5))


def test_nvidia_smi_does_not_know_everything() -> None:
    (spark,) = parse_nvidia_smi("NVIDIA GB10, 580.95.05, [N/A], [N/A], 12.1")
    assert (spark.total_bytes, spark.free_bytes) == (None, None)
    assert spark.unified
    assert spark.int4 == "good"
    well, ill = parse_nvidia_smi(
        "NVIDIA GeForce RTX 3090, 550.54, 24576, 24000, 8.6\nERR!, 550.54, ERR!, ERR!, ERR!\n"
        "[Unknown Error], [Unknown Error], [Unknown Error], ERR!, ERR!"
    )
    assert (well.total_bytes, well.unified) == (24576 * MIB, False)
    assert (ill.name, ill.total_bytes, ill.unified) == ("NVIDIA graphics", None, False)
    (slices,) = parse_nvidia_smi("NVIDIA A100, 535.1, 81920, [Insufficient Permissions], 8.0")
    assert (slices.total_bytes, slices.free_bytes) == (81920 * MIB, None)


@pytest.mark.parametrize(
    "text",
    [
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
        "No devices were found",
        'Field "compute_cap" is not a valid field to query.',
        "Failed to initialize NVML: Driver/library version mismatch",
        "",
    ],
)
def test_a_failing_nvidia_smi_finds_nothing(text: str) -> None:
    assert parse_nvidia_smi(text) == ()


def test_an_old_driver_is_asked_less() -> None:
    machine = RecordedMachine(
        commands={
            f"nvidia-smi {QUERY} {FORMAT}": Output('Field "compute_cap" is not valid.', 2),
            f"nvidia-smi {OLD_QUERY} {FORMAT}": Output("Tesla K80, 470.256.02, 11441, 11441", 0),
        }
    )
    (gpu,) = accelerators(machine)
    assert (gpu.name, gpu.driver_cuda, gpu.compute_capability) == ("Tesla K80", (11, 4), None)
    assert gpu.int4 is None


def test_proc_tells_of_nvidia_where_the_program_is_missing() -> None:
    machine = RecordedMachine(
        files={
            "/proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64"
            "  565.57.01  Release Build  (dvs-builder@U16)\nGCC version:  gcc 13",
            "/proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t\t NVIDIA L4\nIRQ: 12",
        }
    )
    (gpu,) = accelerators(machine)
    assert (gpu.name, gpu.driver, gpu.driver_cuda) == ("NVIDIA L4", "565.57.01", (12, 7))
    assert gpu.source == "/proc/driver/nvidia"


@pytest.mark.parametrize(
    ("driver", "cuda"),
    [("525.60.13", (12, 0)), ("549.1", (12, 3)), ("999.1", (13, 2)), ("390.1", None), ("x", None)],
)
def test_the_cuda_of_a_driver(driver: str, cuda: tuple[int, int] | None) -> None:
    assert driver_cuda(driver) == cuda


@pytest.mark.parametrize(
    ("capability", "int4"),
    [((7, 0), "no"), ((7, 5), "works"), ((8, 0), "good"), ((12, 0), "good"), (None, None)],
)
def test_int4(capability: tuple[int, int] | None, int4: str | None) -> None:
    assert int4_suitability(capability) == int4


def test_a_card_without_its_driver() -> None:
    device = "/sys/class/drm/card0/device"
    machine = RecordedMachine(
        files={
            f"{device}/vendor": "0x10de",
            f"{device}/device": "0x2684",
            f"{device}/uevent": "DRIVER=nouveau\nPCI_ID=10DE:2684",
            "/usr/share/hwdata/pci.ids": "10de  NVIDIA Corporation\n\t2684  AD102 [RTX 4090]\n",
        }
    )
    (gpu,) = accelerators(machine)
    assert (gpu.name, gpu.driver) == ("NVIDIA AD102 [RTX 4090]", "nouveau")
    (note,) = notes(profile(gpu), machine)
    assert "NVIDIA's driver is not loaded" in note


def test_an_intel_mac() -> None:
    displays = [
        {
            "_name": "Intel UHD Graphics 630",
            "sppci_model": "Intel UHD Graphics 630",
            "spdisplays_vendor": "Intel",
            "spdisplays_vram_shared": "1536 MB",
        },
        {
            "sppci_model": "AMD Radeon Pro 5500M",
            "spdisplays_vendor": "sppci_vendor_amd",
            "spdisplays_vram": "8 GB",
        },
    ]
    command = "/usr/sbin/system_profiler SPDisplaysDataType -json"
    machine = RecordedMachine(
        os="macos",
        commands={command: Output(json.dumps({"SPDisplaysDataType": displays}), 0)},
    )
    intel, amd = accelerators(machine)
    assert (intel.vendor, intel.unified, intel.total_bytes) == ("Intel", True, None)
    assert (amd.vendor, amd.unified, amd.total_bytes) == ("AMD", False, 8 << 30)


def test_a_mac_without_system_profiler() -> None:
    sysctls = {
        "machdep.cpu.brand_string": b"Apple M4 Max\0",
        "hw.memsize": (128 << 30).to_bytes(8, "little"),
    }
    (gpu,) = accelerators(RecordedMachine(os="macos", sysctls=sysctls))
    assert (gpu.name, gpu.total_bytes) == ("Apple M4 Max", 96 << 30)
    sysctls["iogpu.wired_limit_mb"] = (120 << 10).to_bytes(4, "little")
    (gpu,) = accelerators(RecordedMachine(os="macos", sysctls=sysctls))
    assert gpu.total_bytes == 120 << 30


def test_windows_adapters_are_told_apart() -> None:
    adapters = (
        Adapter("Intel(R) Arc(TM) A770 Graphics", "Intel Corporation", "32.0", 16 << 30),
        Adapter("Intel(R) Arc(TM) Graphics", "Intel Corporation", "32.0", 128 << 20),
        Adapter("AMD Radeon RX 6800", "Advanced Micro Devices, Inc.", "31.0", 16 << 30),
        Adapter("AMD Radeon(TM) 780M Graphics", "Advanced Micro Devices, Inc.", "31.0", 512 << 20),
        Adapter("Qualcomm(R) Adreno(TM) X1-85 GPU", "Qualcomm Technologies, Inc.", "31.0"),
    )
    found = accelerators(RecordedMachine(os="windows", answers=WindowsAnswers(adapters=adapters)))
    assert [(g.vendor, g.unified, g.total_bytes) for g in found] == [
        ("Intel", False, 16 << 30),
        ("Intel", True, None),
        ("AMD", False, 16 << 30),
        ("AMD", True, None),
        ("Qualcomm", True, None),
    ]


@pytest.mark.parametrize(
    ("driver", "capabilities", "windows", "tag"),
    [
        ((12, 4), [(8, 9)], False, "cu124"),
        ((12, 2), [(8, 6)], True, "cu118"),  # Windows has no wheels of 12.1 to 12.3
        ((12, 2), [(9, 0)], True, None),
        ((13, 0), [(8, 6), (6, 1)], False, "cu125"),
        ((13, 1), [(12, 0)], False, "cu130"),
        ((12, 0), [(7, 5)], False, "cu118"),
        ((13, 2), [], False, "cu125"),
        ((11, 4), [(3, 7)], False, None),
        ((13, 0), [(5, 2)], False, None),
    ],
)
def test_which_cuda_wheel(
    driver: tuple[int, int], capabilities: list[tuple[int, int]], windows: bool, tag: str | None
) -> None:
    assert next(iter(cuda_wheels(driver, capabilities, windows=windows)), None) == tag


def test_commands_name_this_environment() -> None:
    here = Installer("/opt/my env/bin/python", engine_version="0.3.36+cu124")
    assert here.wheel("metal") == (
        '"/opt/my env/bin/python" -m pip install --force-reinstall --no-deps --only-binary'
        " llama-cpp-python llama-cpp-python==0.3.36 --extra-index-url"
        " https://abetlen.github.io/llama-cpp-python/whl/metal"
    )
    uv = Installer("/v/bin/python", has_pip=False, engine_version="; rm -rf /")
    assert uv.build("-DGGML_CUDA=on") == (
        'CMAKE_ARGS="-DGGML_CUDA=on" uv pip install --python /v/bin/python --reinstall-package'
        " llama-cpp-python --no-deps --no-cache --no-binary llama-cpp-python"
        ' "llama-cpp-python>=0.3.36,<0.4"'
    )
    windows = Installer(r"C:\Program Files\py\python.exe", os="windows", engine_version="0.3.36")
    assert windows.build("-DGGML_VULKAN=on").startswith(
        '$env:CMAKE_ARGS="-DGGML_VULKAN=on"; & "C:\\Program Files\\py\\python.exe" -m pip install'
    )


def test_no_wheels_for_an_arm_with_cuda() -> None:
    (note,) = notes(profile(RTX), installer=Installer("python", architecture="aarch64"))
    assert "whl/" not in note
    assert "-DGGML_CUDA=on" in note


def test_adrenos_have_a_backend_of_their_own() -> None:
    adreno = Accelerator("Qualcomm(R) Adreno(TM) X1-85 GPU", "Qualcomm", "registry", unified=True)
    installer = Installer("python", os="windows", architecture="ARM64")
    (note,) = findings(RecordedMachine(os="windows"), profile(adreno), installer)
    assert "-DGGML_OPENCL=on" in str(note.command)
    assert "-DGGML_VULKAN=on" in str(note.otherwise)


def test_no_command_is_given_twice() -> None:
    radeon = Accelerator("AMD Radeon RX 7600", "AMD", "sysfs")
    compiled_anyway = profile(radeon, sets=("AVX512",))
    for architecture in ("x86_64", "aarch64"):
        installer = Installer("python", architecture=architecture)
        gpu, cpu = findings(RecordedMachine(), compiled_anyway, installer)
        assert gpu.command is not None
        assert gpu.command != gpu.otherwise
        assert cpu.command is None


def test_graphics_without_a_name() -> None:
    (note,) = notes(profile(Accelerator("AMD graphics (gfx1103)", "AMD", "sysfs", unified=True)))
    assert note.startswith("This machine has AMD graphics (gfx1103), but")


def test_an_apu_without_rocms_driver() -> None:
    folder = "/sys/class/drm/card0/device"
    files = {
        f"{folder}/vendor": "0x1002",
        f"{folder}/device": "0x15bf",
        f"{folder}/mem_info_vram_total": str(512 << 20),
        f"{folder}/mem_info_vram_used": str(100 << 20),
        f"{folder}/mem_info_gtt_total": str(16 << 30),
        f"{folder}/mem_info_gtt_used": str(1 << 30),
    }
    (apu,) = accelerators(RecordedMachine(files=files))
    assert (apu.unified, apu.total_bytes) == (True, (16 << 30) + (512 << 20))
    card = {**files, f"{folder}/mem_info_vram_total": str(8 << 30)}
    (radeon,) = accelerators(RecordedMachine(files=card))
    assert (radeon.unified, radeon.total_bytes) == (False, 8 << 30)


def test_several_gpus_of_a_kind_are_counted() -> None:
    (note,) = notes(profile(RTX, RTX))
    assert note.startswith("This machine has 2 x NVIDIA GeForce RTX 4090, but")


def test_nothing_to_say_where_the_engine_drives_the_gpu() -> None:
    device = Device("Vulkan0", "RTX 4090", "Vulkan", "gpu")
    engine = EngineBuild("0.3.36", ("Vulkan", "CPU"), ("AVX2",), True)
    assert notes(profile(RTX, engine=engine, devices=(device,))) == []


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"CUDA_VISIBLE_DEVICES": "-1"}, 'CUDA_VISIBLE_DEVICES is set to "-1".'),
        ({}, "the driver 550.54.14 may be too old for this build."),
    ],
)
def test_a_gpu_the_engine_does_not_see(variables: dict[str, str], reason: str) -> None:
    engine = EngineBuild("0.3.36", ("CUDA", "CPU"), ("AVX2",), True)
    (note,) = notes(profile(RTX, engine=engine), RecordedMachine(variables=variables))
    assert note.startswith("The engine is built for CUDA, but does not see an NVIDIA GeForce")
    assert note.endswith(reason)


def test_some_gpus_are_hidden_from_the_engine() -> None:
    engine = EngineBuild("0.3.36", ("CUDA", "CPU"), ("AVX2",), True)
    one = Device("CUDA0", "RTX 4090", "CUDA", "gpu")
    found = profile(RTX, RTX, engine=engine, devices=(one,))
    (note,) = notes(found, RecordedMachine(variables={"CUDA_VISIBLE_DEVICES": "1"}))
    assert note.startswith("The engine sees only 1 of 2 x NVIDIA GeForce RTX 4090: CUDA_VIS")
    assert notes(found) == []


def test_a_python_that_apples_processor_translates() -> None:
    machine = RecordedMachine(os="macos", sysctls={"sysctl.proc_translated": b"\1\0\0\0"})
    (note,) = notes(profile(), machine)
    assert "for arm64" in note


def test_a_mac_whose_engine_has_no_metal() -> None:
    gpu = Accelerator("Apple M3", "Apple", "sysctl", unified=True)
    machine = RecordedMachine(os="macos", architecture="arm64")
    (note,) = notes(profile(gpu), machine, Installer("python", os="macos", architecture="arm64"))
    assert "/whl/metal" in note
    assert "-DGGML_METAL=on" in note


def test_an_engine_that_leaves_the_processor_unused() -> None:
    sets = ("SSE3", "AVX2", "FMA", "AVX512", "BMI2", "SME")
    cuda = EngineBuild("0.3.36", ("CUDA", "CPU"), ("SSE3", "AVX2", "FMA"), True)
    (note,) = notes(profile(engine=cuda, sets=sets))
    assert note.startswith("The processor has AVX512, which")
    assert "somewhat faster" in note
    assert 'CMAKE_ARGS="-DGGML_CUDA=on" python -m pip' in note  # and keeps CUDA
    (note,) = notes(profile(engine=replace(cuda, cpu_features=("SSE3",)), sets=sets))
    assert "much faster" in note


def test_an_engine_that_was_not_asked_gets_no_advice() -> None:
    assert notes(profile(RTX, engine=None, sets=("AVX2",))) == []


def test_libraries_of_cuda_that_are_missing() -> None:
    message = "libcudart.so.12: cannot open shared object file"
    note = engine_problem(message, Installer("python"))
    assert "runtime libraries" in note.text
    assert note.command is None
    assert "--no-binary" in str(engine_problem("crashed", Installer("python")).command)


@dataclass
class Tools:
    """Programs of a test, in a folder of PATH."""

    folder: Path

    def add(self, name: str, script: str) -> Sequence[str]:
        path = self.folder / name
        path.write_text(f"#!{sys.executable}\n{script}\n")
        path.chmod(0o755)
        return (name, "argument")


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    monkeypatch.setenv("PATH", str(tmp_path))
    return Tools(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="needs scripts as programs")
def test_programs_are_run_within_bounds(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = LocalMachine()
    monkeypatch.setattr("localq.hardware.machine._TIMEOUT_SECONDS", 60.0)
    speaks = tools.add("speaks", "import sys; print(' hello '); sys.exit(3)")
    assert machine.run(speaks) == Output("hello", 3)
    assert machine.run(("is-not-there",)) is None
    babbles = machine.run(tools.add("babbles", "while True: print('x' * 100000)"))
    assert babbles is not None
    assert len(babbles.text) <= 4 << 20
    monkeypatch.setattr("localq.hardware.machine._TIMEOUT_SECONDS", 0.2)
    started = time.monotonic()
    assert machine.run(tools.add("hangs", "import time; time.sleep(600)")) is None
    assert time.monotonic() - started < 300


def test_files_are_read_within_bounds(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"7" * (5 << 20))
    (tmp_path / "odd").write_bytes(b"\xff12\0\n")
    machine = LocalMachine(tmp_path)
    assert len(machine.text("/large") or "") == 4 << 20
    assert machine.integer("/large") is None
    assert machine.text("/odd") == "\N{REPLACEMENT CHARACTER}12\0"
    assert machine.text("/a\0b") is None
    assert machine.names("/") == ("large", "odd")
    assert machine.names("/large") == ()


def test_this_machine_can_be_asked_everything() -> None:
    found = detect(LocalMachine())
    assert found.system.os == LocalMachine().os
    assert found.cpu.threads >= 1
