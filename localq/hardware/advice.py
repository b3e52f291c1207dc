"""Where the machine and the installed engine disagree, and the command that mends it."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from localq.hardware.installation import Installer
from localq.hardware.machine import Machine
from localq.hardware.profile import Accelerator, Device, Finding, HardwareProfile
from localq.hardware.system import is_translated
from localq.messages import msg

__all__ = ["engine_fault", "engine_problem", "findings"]

# Accelerator.vendor -> the backends of ggml that drive it, the best first.
_BACKENDS = {
    "NVIDIA": ("CUDA", "Vulkan", "OpenCL"),
    "AMD": ("ROCm", "Vulkan", "OpenCL"),
    "Intel": ("SYCL", "Vulkan", "OpenCL", "OPENVINO"),
    "Apple": ("Metal",),
    "Qualcomm": ("OpenCL", "Vulkan"),
}
# Those without which arithmetic is several times slower, and those that only help. llama.cpp's
# report knows more, but not every compiler sets what it asks for (BMI2, SME).
_ESSENTIAL = frozenset({"AVX", "AVX2", "FMA", "F16C", "NEON", "DOTPROD"})
_HELPFUL = frozenset(
    {"AVX_VNNI", "AVX512", "AVX512_VBMI", "AVX512_VNNI", "AVX512_BF16", "AMX_INT8"}
    | {"FP16_VA", "MATMUL_INT8", "SVE"}
)
# AMD's oldest or smallest graphics beside a processor: no faster than that.
_SLOW_GRAPHICS = frozenset({"gfx902", "gfx909", "gfx90c", "gfx1036"})
# What hides devices from a backend.
_HIDING = {
    "CUDA": ("CUDA_VISIBLE_DEVICES",),
    "ROCm": ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"),
    "Vulkan": ("GGML_VK_VISIBLE_DEVICES",),
}
_CMAKE_OPTIONS = {
    "CUDA": "-DGGML_CUDA=on",
    "ROCm": "-DGGML_HIP=on",
    "Vulkan": "-DGGML_VULKAN=on",
    "SYCL": "-DGGML_SYCL=on",
}
_NO_DRIVER = ("nouveau", "nova_core", "vfio-pci", None)
_ROCM = "/opt/rocm/.info/version"


def findings(machine: Machine, profile: HardwareProfile, installer: Installer) -> Iterator[Finding]:
    """What the user would want to know, the most important first."""
    if profile.engine is not None:
        about_gpus = list(_gpu_findings(machine, profile, installer))
        yield from about_gpus
        compiles = any(note.command for note in about_gpus)
        yield from _cpu_findings(profile, installer, compiled_anyway=compiles)
    if is_translated(machine):
        yield Finding(
            msg(
                "This Python is an Intel program, which Apple's processor translates: slow,"
                " and without the GPU. Install localq with a Python for arm64."
            )
        )
    cpu = profile.cpu
    cores = cpu.performance_cores
    if cpu.quota_cpus is not None and cores is not None and cpu.quota_cpus < cores:
        yield Finding(
            msg(
                "This process is granted the time of {quota_cpus:g} of {logical_cores}"
                " processors: more threads than that would be stopped for part of every"
                " period.",
                quota_cpus=cpu.quota_cpus,
                logical_cores=cpu.logical_cores or cores,
            )
        )


def engine_problem(message: str, installer: Installer) -> Finding:
    """What to do where the engine cannot be asked, for the reason `message`."""
    if "libcudart" in message or "libcublas" in message:
        return Finding(
            msg(
                "{message} (the engine is built for CUDA, whose runtime libraries, cudart"
                " and cublas, are not installed or not found: LD_LIBRARY_PATH)",
                message=message,
            ),
            otherwise=installer.wheel("cpu"),
        )
    return Finding(message, installer.build(), installer.wheel("cpu"))


def engine_fault(problem: str, installer: Installer, backends: Collection[str]) -> Finding:
    """An engine, built for `backends`, that does not work on this processor as it was built."""
    options = _options(backends)
    return Finding(problem, installer.build(options), None if options else installer.wheel("cpu"))


def _gpu_findings(
    machine: Machine, profile: HardwareProfile, installer: Installer
) -> Iterator[Finding]:
    engine = profile.engine
    assert engine is not None
    done: set[str] = set()
    gpus = _worth_using(profile.accelerators)
    for gpu in gpus:
        backends = _BACKENDS.get(gpu.vendor)
        if backends is None or gpu.vendor in done:
            continue
        done.add(gpu.vendor)
        alike = [other for other in gpus if other.vendor == gpu.vendor]
        names = _names(alike)
        if gpu.vendor == "NVIDIA" and gpu.source == "sysfs" and gpu.driver in _NO_DRIVER:
            yield Finding(
                msg(
                    "This machine has {names}, but NVIDIA's driver is not loaded: install it"
                    " first, then ask again.",
                    names=names,
                )
            )
        elif not any(backend in engine.backends for backend in backends):
            built = " and ".join(engine.backends) or "nothing"
            yield Finding(
                msg(
                    "This machine has {names}, but the installed engine is built for {built} only.",
                    names=names,
                    built=built,
                )
                + _needs(gpu),
                *_commands(machine, alike, installer),
            )
        else:
            backend = next(name for name in backends if name in engine.backends)
            seen_by_engine = sum(_drives(device, backends) for device in profile.devices)
            if seen_by_engine == 0:
                text = msg(
                    "The engine is built for {backend}, but does not see {names}:",
                    backend=backend,
                    names=names,
                )
                yield Finding(f"{text} {_why_unseen(machine, gpu, backend)}")
            elif seen_by_engine < len(alike) and (why := _hidden(machine, backend)):
                yield Finding(
                    msg(
                        "The engine sees only {seen_by_engine} of {names}: {why}",
                        seen_by_engine=seen_by_engine,
                        names=names,
                        why=why,
                    )
                )


def _worth_using(gpus: tuple[Accelerator, ...]) -> list[Accelerator]:
    """Cards of their own; without any, the graphics beside a processor that are faster than it."""
    if cards := [gpu for gpu in gpus if not gpu.unified]:
        return cards
    return [gpu for gpu in gpus if gpu.vendor != "Intel" and gpu.gfx not in _SLOW_GRAPHICS]


def _drives(device: Device, backends: tuple[str, ...]) -> bool:
    return device.kind in ("gpu", "igpu") and device.backend in backends


def _hidden(machine: Machine, backend: str) -> str | None:
    for variable in _HIDING.get(backend, ()):
        value = machine.environment(variable)
        if value is not None:
            return msg('{variable} is set to "{value}".', variable=variable, value=value)
    return None


def _why_unseen(machine: Machine, gpu: Accelerator, backend: str) -> str:
    if why := _hidden(machine, backend):
        return why
    if gpu.vendor == "NVIDIA" and gpu.driver:
        return msg("the driver {driver} may be too old for this build.", driver=gpu.driver)
    if gpu.vendor == "AMD" and machine.os == "linux":
        return msg("this user may not open /dev/kfd or /dev/dri (groups render and video).")
    return msg("its driver may be missing or too old.")


def _needs(gpu: Accelerator) -> str:
    if gpu.vendor != "NVIDIA":
        return ""
    return msg(" One for CUDA also needs NVIDIA's runtime libraries, cudart and cublas.")


def _commands(
    machine: Machine, gpus: list[Accelerator], installer: Installer
) -> tuple[str, str | None]:
    """For GPUs of one maker: the quick way, a ready wheel, where there is one; and another. One of
    them compiles the engine."""
    gpu = gpus[0]
    x86 = installer.architecture in ("x86_64", "AMD64")
    vulkan = installer.wheel("vulkan") if x86 else installer.build("-DGGML_VULKAN=on")
    if gpu.vendor == "NVIDIA":
        capabilities = [g.compute_capability for g in gpus if g.compute_capability]
        index = installer.cuda_index(gpu.driver_cuda, capabilities)
        build = installer.build("-DGGML_CUDA=on")
        return (installer.wheel(index), build) if index else (build, vulkan)
    if gpu.vendor == "Apple":
        return installer.wheel("metal"), installer.build("-DGGML_METAL=on")
    if gpu.vendor == "AMD" and machine.os == "linux" and not gpu.unified:
        rocm = machine.text(_ROCM)
        build = installer.build("-DGGML_HIP=on")
        if rocm and rocm.startswith("7.2") and x86:
            return installer.wheel("rocm72"), build
        if rocm:
            return build, vulkan
    if gpu.vendor == "Qualcomm":
        return installer.build("-DGGML_OPENCL=on"), vulkan
    return vulkan, installer.build("-DGGML_VULKAN=on") if x86 else None


def _cpu_findings(
    profile: HardwareProfile, installer: Installer, *, compiled_anyway: bool
) -> Iterator[Finding]:
    """`compiled_anyway`: a command that compiles the engine has been given already."""
    engine = profile.engine
    assert engine is not None
    if not engine.cpu_features:  # it could not be asked
        return
    missing = [
        name
        for name in profile.cpu.instruction_sets
        if name in _ESSENTIAL | _HELPFUL and name not in engine.cpu_features
    ]
    if missing:  # compilers are asked only where it matters
        missing = [name for name in missing if name not in installer.leaves_out]
    if not missing:
        return
    much = "much" if _ESSENTIAL.intersection(missing) else "somewhat"
    text = msg(
        "The processor has {missing}, which the installed engine was built without:"
        " one compiled on this machine would be {much} faster where the processor"
        " does the work.",
        missing=", ".join(missing),
        much=much,
    )
    command = None if compiled_anyway else installer.build(_options(engine.backends))
    yield Finding(text, command)


def _options(backends: Collection[str]) -> str:
    """What keeps an engine's backends when it is compiled anew."""
    return " ".join(option for name, option in _CMAKE_OPTIONS.items() if name in backends)


def _names(gpus: list[Accelerator]) -> str:
    names = list(dict.fromkeys(gpu.name for gpu in gpus))
    if len(gpus) > 1 and len(names) == 1:
        return f"{len(gpus)} x {names[0]}"
    return (
        msg("{names} and {names2}", names=", ".join(names[:-1]), names2=names[-1])
        if len(names) > 1
        else _with_article(names[0])
    )


def _with_article(name: str) -> str:
    if " graphics" in name:  # a maker's, whose own name for it is not known
        return name
    return f"{'an' if name[:1] in 'AEIOU' or name.startswith('NVIDIA') else 'a'} {name}"
