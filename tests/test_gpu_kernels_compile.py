"""Every Triton kernel of the project compiles for sm_80 and sm_90 where there is no GPU, and spills nothing.

An operation's ``gpu.py`` declares what to compile: ``KERNELS = {name: (kernel, signature, constexprs, options)}`` with
Triton's type names, e.g. ``{"x": "*fp32", "n": "i32", "BLOCK": "constexpr"}``, ``{"BLOCK": 1024}`` and the options of
its launch, ``enable_fp_fusion`` among them: its default differs between Triton's versions.
"""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from triton.compiler import ASTSource

KERNELS_ROOT = Path(__file__).parent.parent / "kernels" / "hitl_kernels"
OPERATIONS = sorted(path.parent.name for path in KERNELS_ROOT.glob("*/gpu.py"))


def declared() -> list[tuple[str, str]]:
    names = []
    for operation in OPERATIONS:
        module = importlib.import_module(f"hitl_kernels.{operation}.gpu")
        names += [(operation, name) for name in module.KERNELS]
    return names


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_kernel_is_declared(operation: str) -> None:
    source = (KERNELS_ROOT / operation / "gpu.py").read_text()
    launched = set(re.findall(r"(\w+)\[[^\]\n]+\]\(", source))
    module = importlib.import_module(f"hitl_kernels.{operation}.gpu")
    declared_kernels = {entry[0].__name__ for entry in module.KERNELS.values()}
    assert launched <= declared_kernels, f"launched but not in KERNELS: {sorted(launched - declared_kernels)}"


# Sizes and strides that are multiples of 16 in common use: a launch then tells Triton so, as it does of the addresses
# of tensors, and a load of neighbouring values becomes one of 128 bits.
SIZES = {
    "classes", "clusters", "columns", "count", "n", "n_columns", "row_stride", "rows", "samples", "size",
    "target_row_stride", "width",
}  # fmt: skip
UNIT_STRIDES = {
    "class_stride",
    "target_class_stride",
}  # 1 for contiguous tensors: a launch makes it a constant


def launched(kernel: Any, signature: dict[str, str], constants: dict[str, Any], aligned: bool) -> ASTSource:
    """What a launch compiles: with tensors of any address and odd sizes, or with aligned ones."""
    from triton.compiler import ASTSource

    if not aligned:
        return ASTSource(kernel, signature, constants)
    fixed = {parameter.name for parameter in kernel.params if parameter.do_not_specialize}
    units = UNIT_STRIDES & set(signature) - fixed
    signature = {name: "constexpr" if name in units else kind for name, kind in signature.items()}
    attributes = {
        (kernel.arg_names.index(name),): [["tt.divisibility", 16]]
        for name, kind in signature.items()
        if name not in fixed and (kind.startswith("*") or (name in SIZES and kind[0] == "i"))
    }
    return ASTSource(kernel, signature, {**constants, **dict.fromkeys(units, 1)}, attributes)


@pytest.mark.parametrize(("capability", "aligned"), [(80, False), (80, True), (90, True)])
@pytest.mark.parametrize(("operation", "name"), declared())
def test_kernel_compiles(operation: str, name: str, capability: int, aligned: bool, tmp_path: Path) -> None:
    built = compiled(operation, name, capability, aligned)
    registers, stack = usage(built.asm["cubin"], tmp_path)
    assert registers <= 255
    assert stack == 0, f"{name} spills or indexes registers: {stack} bytes of stack"
    loads = global_loads(built.asm["ptx"])
    # The table of `pytest -s`: what there is to know of a kernel without a device.
    print(
        f"\n{operation:<24} {name:<24} sm_{capability} {'aligned' if aligned else 'any':<8}"
        f" {registers:>3} registers {stack:>3} B spilled  loads: {loads[128]} of 128 bits,"
        f" {sum(loads.values()) - loads[128]} narrower",
        end="",
    )


# Kernels that move rows of neighbouring values: their loads of rows must be of 128 bits where tensors are aligned.
STREAMING = [
    ("shift_distances", "extremes fp32"),
    ("shift_distances", "counts fp32 True"),
    ("weighted_cross_entropy", "float32"),
    ("weighted_cross_entropy", "bfloat16"),
    ("weighted_cross_entropy", "scale"),
]


@pytest.mark.parametrize(("operation", "name"), STREAMING)
def test_rows_are_loaded_128_bits_at_a_time(operation: str, name: str) -> None:
    assert global_loads(compiled(operation, name, 90, True).asm["ptx"])[128] > 0


def test_the_counts_of_a_row_are_read_in_one_loop() -> None:
    """Bytes read per value of a row: 4 for its extremes and 4 for its counts, whatever the number of bin sizes."""
    wide = {}
    for name in ("extremes fp32", "counts fp32 True"):
        ptx = compiled("shift_distances", name, 90, True).asm["ptx"]
        wide[name] = global_loads(ptx)[128]
    # A block of 1,024 values over 128 threads is two loads of four values.
    assert wide == {"extremes fp32": 2, "counts fp32 True": 2}


def compiled(operation: str, name: str, capability: int, aligned: bool) -> Any:
    import triton
    from triton.backends.compiler import GPUTarget

    kernel, signature, constants, options = importlib.import_module(f"hitl_kernels.{operation}.gpu").KERNELS[
        name
    ]
    source = launched(kernel, signature, constants, aligned)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def usage(cubin: bytes, folder: Path) -> tuple[int, int]:
    """Registers of a thread, and bytes of stack, which is where registers are spilled to."""
    assert cubin[:4] == b"\x7fELF"
    path = folder / "kernel.cubin"
    path.write_bytes(cubin)
    run = subprocess.run([cuobjdump(), "-res-usage", path], capture_output=True, text=True, check=True)
    found = re.search(r"REG:(\d+) STACK:(\d+)", run.stdout + run.stderr)
    assert found is not None, run.stdout + run.stderr
    return int(found.group(1)), int(found.group(2))


def global_loads(ptx: str) -> Counter[int]:
    """How many loads from global memory there are of each width in bits."""
    found = re.findall(r"\bld\.global(?:\.\w+)*?(?:\.v(\d))?\.[bsuf](\d+)", ptx)
    return Counter(int(lanes or 1) * int(bits) for lanes, bits in found)


def cuobjdump() -> str:
    """The tool that Triton carries, else the one on the path."""
    import triton

    carried = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    found = str(carried) if carried.exists() else shutil.which("cuobjdump")
    assert found, "neither Triton's package nor the path has cuobjdump"
    return found
