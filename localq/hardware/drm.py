"""Graphics cards as the Linux kernel lists them: AMD's and Intel's, and NVIDIA's without a driver.

Files: docs.kernel.org/gpu/amdgpu/driver-misc.html (mem_info_*), and of ROCm's topology
/sys/class/kfd/kfd/topology/nodes/N/properties. A kernel does not know a card's trade name; the
list pci.ids does, where the system has one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from localq.hardware.machine import Machine
from localq.hardware.profile import Accelerator

__all__ = ["drm_accelerators"]

_DRM = "/sys/class/drm"
_KFD = "/sys/class/kfd/kfd/topology/nodes"
_CARD = re.compile(r"card\d{1,3}")
_VENDORS = {"0x1002": "AMD", "0x8086": "Intel", "0x10de": "NVIDIA"}
_PCI_IDS = ("/usr/share/hwdata/pci.ids", "/usr/share/misc/pci.ids")
_MAX_CARDS = 64
_CARVED_OUT = 1 << 30
# The processors with graphics among AMD's architectures (llama.cpp and ROCm call them so).
_APUS = frozenset(
    {"gfx902", "gfx909", "gfx90c", "gfx1013", "gfx1033", "gfx1035", "gfx1036"}
    | {"gfx1103", "gfx1150", "gfx1151", "gfx1152", "gfx1153"}
)


def drm_accelerators(machine: Machine) -> tuple[Accelerator, ...]:
    """The cards of known makers."""
    found: list[Accelerator] = []
    cards = [name for name in machine.names(_DRM) if _CARD.fullmatch(name)]
    for card in cards[:_MAX_CARDS]:
        folder = f"{_DRM}/{card}/device"
        vendor = _VENDORS.get(machine.text(f"{folder}/vendor") or "")
        if vendor == "AMD":
            found.append(_amd(machine, folder))
        elif vendor == "Intel":
            found.append(_intel(machine, card))
        elif vendor == "NVIDIA":
            name = _name(machine, folder) or "NVIDIA graphics"
            found.append(Accelerator(name, vendor, "sysfs", driver=_driver(machine, folder)))
    return tuple(found)


def _amd(machine: Machine, folder: str) -> Accelerator:
    gfx = _gfx(machine, machine.text(f"{folder}/device"))
    total = machine.integer(f"{folder}/mem_info_vram_total")
    used = machine.integer(f"{folder}/mem_info_vram_used")
    shared = machine.integer(f"{folder}/mem_info_gtt_total")
    unified = gfx in _APUS or (
        # Without ROCm's driver: no card worth the name has so little.
        gfx is None and total is not None and total <= _CARVED_OUT < (shared or 0)
    )
    if unified:
        # An APU uses the machine's memory (GTT) as readily as the part set aside for it.
        total = total + shared if total is not None and shared is not None else total
        taken = machine.integer(f"{folder}/mem_info_gtt_used")
        used = used + taken if used is not None and taken is not None else used
    known = total is not None and used is not None
    return Accelerator(
        name=machine.text(f"{folder}/product_name")
        or _name(machine, folder)
        or ("AMD graphics" + (f" ({gfx})" if gfx else "")),
        vendor="AMD",
        source="sysfs",
        total_bytes=total or None,
        free_bytes=max(total - used, 0) if known and total and used is not None else None,
        unified=unified,
        driver=_driver(machine, folder),
        gfx=gfx,
    )


def _intel(machine: Machine, card: str) -> Accelerator:
    folder = f"{_DRM}/{card}/device"
    integrated = _uevent(machine, folder).get("PCI_SLOT_NAME") == "0000:00:02.0"
    total = machine.integer(f"{folder}/tile0/physical_vram_size_bytes") or machine.integer(
        f"{_DRM}/{card}/lmem_total_bytes"
    )
    return Accelerator(
        name=_name(machine, folder) or ("Intel graphics" if integrated else "Intel Arc graphics"),
        vendor="Intel",
        source="sysfs",
        total_bytes=None if integrated else total,
        unified=integrated,
        driver=_driver(machine, folder),
    )


def _gfx(machine: Machine, device: str | None) -> str | None:
    """The architecture that ROCm's topology gives for a PCI device id such as "0x744c"."""
    wanted = _hexadecimal(device)
    for node in machine.names(_KFD)[:_MAX_CARDS]:
        text = machine.text(f"{_KFD}/{node}/properties") or ""
        fields: Mapping[str, str] = {
            words[0]: words[1] for line in text.splitlines() if len(words := line.split()) == 2
        }
        version = fields.get("gfx_target_version", "")
        if wanted is None or fields.get("device_id") != str(wanted):
            continue
        if version.isascii() and version.isdecimal() and 0 < int(version[:9]) < 10_000_000:
            major, rest = divmod(int(version[:9]), 10_000)
            minor, stepping = divmod(rest, 100)
            return f"gfx{major}{minor:x}{stepping:x}"
    return None


def _name(machine: Machine, folder: str) -> str | None:
    """The name in the system's pci.ids: lines "vendor  name", then tab "device  name"."""
    vendor = _hexadecimal(machine.text(f"{folder}/vendor"))
    device = _hexadecimal(machine.text(f"{folder}/device"))
    if vendor is None or device is None:
        return None
    for path in _PCI_IDS:
        _, found, rest = ("\n" + (machine.text(path) or "")).partition(f"\n{vendor:04x}  ")
        if not found:
            continue
        maker = rest.partition("\n")[0].split("[")[-1].rstrip("]").split("/")[0].split()[0:1]
        for line in rest.splitlines()[1:]:
            if line[:1] not in ("\t", "#", ""):
                break
            if line.startswith(f"\t{device:04x}  "):
                return " ".join([*maker, line[7:].strip()])
    return None


def _driver(machine: Machine, folder: str) -> str | None:
    return _uevent(machine, folder).get("DRIVER")


def _uevent(machine: Machine, folder: str) -> dict[str, str]:
    text = machine.text(f"{folder}/uevent") or ""
    return dict(line.partition("=")[::2] for line in text.splitlines())


def _hexadecimal(text: str | None) -> int | None:
    try:
        return int(text, 16) if text is not None and len(text) <= 6 else None
    except ValueError:
        return None
