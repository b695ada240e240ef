"""Which GPUs a meter counts: those asked for, or those that CUDA or ROCm show this process, without either."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from hitl_fast._common.errors import InputError


def wanted(
    gpus: str | Iterable[str | int],
    names: Sequence[str],
    shown: Callable[[], tuple[list[str], str]],
    find: Callable[[str], str | None],
) -> tuple[list[str], str]:
    """Names of the GPUs to count, each once, and what to know of the choice ("" if nothing).

    Args:
        gpus: ``"visible"``, ``"all"``, or what names some.
        names: of all GPUs.
        shown: those that are visible to this process.
        find: the GPU that an index or a beginning of a name stands for; None for no GPU.

    Raises:
        ValueError: an entry names no GPU.
    """
    if gpus == "visible":
        return shown()
    if gpus == "all":
        return list(names), ""
    chosen: list[str] = []
    for position, entry in enumerate(gpus.split(",") if isinstance(gpus, str) else gpus):
        name = find(str(entry).strip())
        if name is None:
            raise InputError(
                f"gpus[{position}]: {entry!r} is none of this machine's GPUs ({', '.join(names) or 'it has none'})"
            )
        if name not in chosen:
            chosen.append(name)
    return chosen, ""


def visible(
    uuids: Sequence[str],
    environment: Mapping[str, str],
    parents: Mapping[str, str] | None = None,
    *,
    alike: bool = True,
) -> tuple[list[str], str]:
    """UUIDs of the visible GPUs in CUDA's order, and what to know of the choice ("" if nothing).

    Unset shows all; an empty value none. Entries are indices, UUIDs or unique beginnings of them, or MIG devices;
    the first entry that is none of these ends the list, and naming a device twice leaves none.

    Args:
        uuids: of all GPUs, in PCI order, as NVML lists them.
        environment: where CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER are looked up.
        parents: UUID of a MIG device -> UUID of its GPU.
        alike: whether all GPUs are of one model; else CUDA counts the fastest first, unless told otherwise.

    >>> visible(["GPU-a1", "GPU-b2"], {"CUDA_VISIBLE_DEVICES": "1,7,0"})[0]
    ['GPU-b2']
    >>> visible(["GPU-a1", "GPU-b2"], {"CUDA_VISIBLE_DEVICES": "0,0"})
    ([], 'CUDA_VISIBLE_DEVICES=0,0 names a device twice, and CUDA then shows none')
    """
    value = environment.get("CUDA_VISIBLE_DEVICES")
    if value is None:
        return list(uuids), ""
    named = f"CUDA_VISIBLE_DEVICES={value}"
    chosen: list[str] = []
    slices: list[str] = []
    by_index = False
    for entry in value.split(","):
        text = entry.strip()
        found = device(text, uuids, parents or {})
        if found is None:
            break
        identity = text if text.startswith("MIG-") else found
        if identity in slices:
            return [], f"{named} names a device twice, and CUDA then shows none"
        slices.append(identity)
        by_index = by_index or text.isdigit()
        if found not in chosen:
            chosen.append(found)
    if not chosen:
        return [], f"{named} shows no GPU"
    if by_index and not alike and environment.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        return chosen, "index taken in PCI order; set CUDA_DEVICE_ORDER=PCI_BUS_ID for CUDA to do the same"
    return chosen, ""


def device(entry: str, uuids: Sequence[str], parents: Mapping[str, str]) -> str | None:
    """The GPU that an entry names, None where it names none."""
    if entry.isascii() and entry.isdigit():
        return uuids[int(entry)] if int(entry) < len(uuids) else None
    if entry.startswith("MIG-GPU-"):  # up to driver 450: MIG-GPU-<uuid>/<instance>/<compute instance>
        return _unique(entry[4:].partition("/")[0], uuids)
    if entry.startswith("MIG-"):
        slice_ = _unique(entry, list(parents))
        return None if slice_ is None else parents[slice_]
    return _unique(entry, uuids) if entry.startswith("GPU-") else None


# ROCm's own list, and that of HIP, which looks for the second name where there is none of the first.
ROCM_LISTS = (("ROCR_VISIBLE_DEVICES",), ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"))


def visible_to_rocm(names: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Those that ROCR_VISIBLE_DEVICES leaves, and of these those that HIP's list leaves, whose indices count them.

    Source: AMD, "GPU isolation techniques", and the HIP runtime's environment variables.

    >>> visible_to_rocm(["GPU-a", "GPU-b", "GPU-c"], {"ROCR_VISIBLE_DEVICES": "1,2", "HIP_VISIBLE_DEVICES": "0"})
    ['GPU-b']
    """
    left = list(names)
    for variables in ROCM_LISTS:
        value = next((environment[name] for name in variables if name in environment), None)
        if value is None:
            continue
        chosen: list[str] = []
        for entry in value.split(","):
            name = device(entry.strip(), left, {})
            if name is None:
                break  # the first that is none ends the list
            if name not in chosen:
                chosen.append(name)
        left = chosen
    return left


def _unique(beginning: str, uuids: Sequence[str]) -> str | None:
    matches = [uuid for uuid in uuids if uuid.startswith(beginning)]
    return matches[0] if len(matches) == 1 else None
