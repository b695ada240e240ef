"""Every Triton kernel of the project compiles for sm_80 and sm_90 where there is no GPU, and spills nothing.

An operation's ``gpu.py`` declares what to compile: ``KERNELS = {name: (kernel, signature, constexprs, options)}`` with
Triton's type names, e.g. ``{"x": "*fp32", "n": "i32", "BLOCK": "constexpr"}``, ``{"BLOCK": 1024}`` and the options of
its launch, ``enable_fp_fusion`` among them: its default differs between Triton's versions.
"""

import importlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

KERNELS_ROOT = Path(__file__).parent.parent / "kernels" / "hitl_kernels"
OPERATIONS = sorted(path.parent.name for path in KERNELS_ROOT.glob("*/gpu.py"))
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def declared() -> list[tuple[str, str]]:
    if INTERPRETED:
        return []  # the decorator then makes interpreter objects, which cannot be compiled
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


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize(("operation", "name"), declared())
def test_kernel_compiles(operation: str, name: str, capability: int, tmp_path: Path) -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernels = importlib.import_module(f"hitl_kernels.{operation}.gpu").KERNELS
    kernel, signature, constants, options = kernels[name]
    target = GPUTarget("cuda", capability, 32)
    built = triton.compile(ASTSource(kernel, signature, constants), target=target, options=options)
    cubin = built.asm["cubin"]
    assert cubin[:4] == b"\x7fELF"
    dump = cuobjdump()
    path = tmp_path / "kernel.cubin"
    path.write_bytes(cubin)
    usage = subprocess.run([dump, "-res-usage", path], capture_output=True, text=True, check=True)
    stack = re.search(r"STACK:(\d+)", usage.stdout + usage.stderr)
    assert stack is not None
    assert int(stack.group(1)) == 0, f"{name} spills or indexes registers: {stack.group(0)} bytes of stack"


def cuobjdump() -> str:
    """The tool that Triton carries, else the one on the path."""
    import triton

    carried = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    found = str(carried) if carried.exists() else shutil.which("cuobjdump")
    assert found, "neither Triton's package nor the path has cuobjdump"
    return found
