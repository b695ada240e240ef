import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from energy_fakes import Gpus, S, Tree, build_nvml

from hitl_fast.energy.measuring import channel, windows


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """Its counters stand still while a slow machine does something else, and are believed all the same."""
    for module in (channel, windows):
        monkeypatch.setattr(module, "STILL", 600 * S)
    root = tmp_path / "powercap"
    root.mkdir()
    return Tree(root)


@pytest.fixture(scope="session")
def nvml_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a libnvidia-ml.so.1 of ours."""
    return build_nvml(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def gpus(nvml_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Gpus]]:
    """Puts GPUs into this process's NVML: the loader finds a library that is loaded already by its soname."""
    import pynvml

    library = ctypes.CDLL(str(nvml_folder / "libnvidia-ml.so.1"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("FAKE_NVML", str(tmp_path / "gpus"))
    started = library.fakeStarted()
    yield lambda *devices: Gpus(tmp_path / "gpus", *devices)
    assert library.fakeStarted() == started  # every nvmlInit has had its nvmlShutdown
    pynvml.nvmlLib = None
    pynvml._nvmlGetFunctionPointer_cache.clear()
