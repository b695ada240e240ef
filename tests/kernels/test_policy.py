"""How kernels are compiled, cached and given threads."""

import gc
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import hitl_kernels
import numba
import pytest
from hitl_kernels import _warm, policy
from numba.core import event

KERNELS = Path(hitl_kernels.__file__).parent
# Compiles a kernel of every kind where nothing beside the source and no HOME can be written.
UNWRITABLE = """
import tempfile
import numpy as np
from hitl_kernels import policy
from hitl_kernels.rand_index import rand_index
assert policy.__file__.startswith(ROOT), policy.__file__
print(policy.cache_folder())
print(rand_index(np.array([0, 0, 1]), np.array([5, 5, 7])))
"""


@pytest.fixture
def unwritable(tmp_path: Path) -> dict[str, str]:
    """A copy of the package with files where Numba would make its cache folders: root too cannot write there."""
    copy = tmp_path / "site" / "hitl_kernels"
    shutil.copytree(KERNELS, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in [copy, *(path for path in copy.iterdir() if path.is_dir())]:
        (folder / "__pycache__").touch()
    (tmp_path / "temporary").mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "XDG_"))}
    return kept | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), *sys.path]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": "/dev/null/nowhere",
        "XDG_CACHE_HOME": "/dev/null/nowhere",
        "TMPDIR": str(tmp_path / "temporary"),
    }


def output(environment: dict[str, str]) -> list[str]:
    root = environment["PYTHONPATH"].split(os.pathsep)[0]
    run = subprocess.run(
        [sys.executable, "-c", f"ROOT = {root!r}\n" + UNWRITABLE],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return run.stdout.split()


@pytest.mark.jit
def test_without_a_writable_folder_the_cache_is_a_private_one(
    unwritable: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "temporary" / f"hitl-kernels-{os.geteuid()}"
    assert output(unwritable) == [str(folder), "1.0"]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert list(folder.rglob("*.nbc"))


@pytest.mark.jit
@pytest.mark.parametrize("other", ["open to others", "a link", "a file"])
def test_a_folder_that_others_could_write_to_is_not_used(
    unwritable: dict[str, str], tmp_path: Path, other: str
) -> None:
    folder = tmp_path / "temporary" / f"hitl-kernels-{os.geteuid()}"
    if other == "open to others":
        folder.mkdir()
        folder.chmod(0o777)
    elif other == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        folder.touch()
    assert output(unwritable) == ["None", "1.0"]
    assert not list(tmp_path.rglob("*.nbc"))


def test_threads_follow_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba, "get_num_threads", lambda: 4)
    unit = policy.WORK_PER_THREAD
    assert [policy.threads_for(work) for work in (0, unit, 2 * unit, 3.5 * unit, 1e12)] == [1, 1, 2, 3, 4]
    with policy.forced_threads(2):
        assert policy.threads_for(0) == 2
    monkeypatch.setattr(policy, "_PID", -1)
    assert policy.threads_for(1e12) == 1


# Numba's threads start once in a process, with the first large call.
FIRST_LARGE_CALL = """
import numba, numpy as np, torch
torch.set_num_threads(1)
assert torch.get_num_threads() == 1  # PyTorch has set it in OpenMP now, once in this thread
from hitl_kernels import policy
from hitl_kernels.shift_distances import shift_distances
if FORCED:
    with policy.forced_threads(2):
        shift_distances(np.ones((8, 4), np.float32), np.zeros((8, 4), np.float32))
else:
    print(policy.threads_for(1e12))
print(torch.get_num_threads())
"""


@pytest.mark.jit
@pytest.mark.parametrize("forced", [False, True])
def test_pytorch_keeps_its_number_of_threads(forced: bool) -> None:
    """OpenMP has one number for both; a small network on two threads was fifteen times as slow as on one."""
    run = subprocess.run(
        [sys.executable, "-c", FIRST_LARGE_CALL.replace("FORCED", str(forced))],
        env={**os.environ, "NUMBA_NUM_THREADS": "3"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout.split() == ([] if forced else ["3"]) + ["1"]


def test_threads_are_given_back_after_an_error() -> None:
    def failing(i: int) -> None:
        raise ValueError(i)

    kernel = policy.BySize(failing, {})
    kernel.several = failing
    before = numba.get_num_threads()
    with policy.forced_threads(2), pytest.raises(ValueError, match="7"):
        kernel(1, 7)
    assert numba.get_num_threads() == before


def test_every_operation_is_warmed() -> None:
    operations = {path.parent.name for path in KERNELS.glob("*/cpu.py")}
    assert operations <= set(_warm.OPERATIONS)


@pytest.mark.jit
def test_after_warming_usual_calls_compile_nothing() -> None:
    import numpy as np
    from hitl_kernels.lloyd import lloyd
    from hitl_kernels.shift_distances import shift_distances
    from numba.core import event

    assert {name for name, _ in hitl_kernels.warm()} <= set(_warm.OPERATIONS)
    rows = np.random.default_rng(0).random((4000, 64), dtype=np.float32)
    with event.install_recorder("numba:compile") as recorder:
        shift_distances(rows, rows[::-1].copy())
        shift_distances(rows[:5], rows[5:10], arithmetic="reference")
        lloyd(rows, rows[:100])
    assert [entry[1].data for entry in recorder.buffer] == []


class Collection(event.Listener):
    """Whether garbage is collected, at every begin and end of a compilation; a listener added later is called later."""

    def __init__(self, at_start: Callable[[], object] = lambda: None) -> None:
        self.seen: list[bool] = []
        self.at_start = at_start

    def on_start(self, event: event.Event) -> None:
        self.seen.append(gc.isenabled())
        self.at_start()

    def on_end(self, event: event.Event) -> None:
        self.seen.append(gc.isenabled())


def compile_kernels(module: str, listener: event.Listener) -> None:
    """A kernel that calls another one, which is compiled within its caller, in a module of this name."""

    def inner(x: int) -> int:
        return x + 1

    inner.__module__ = module
    called = numba.njit(inner)

    def outer(x: int) -> int:
        return called(x) + 1

    outer.__module__ = module
    with event.install_listener("numba:compile", listener):
        assert numba.njit(outer)(1) == 3


@pytest.fixture(params=[True, False])
def collecting(request: pytest.FixtureRequest) -> Iterator[bool]:
    was = gc.isenabled()
    (gc.enable if request.param else gc.disable)()
    yield request.param
    (gc.enable if was else gc.disable)()


@pytest.mark.jit
def test_garbage_waits_while_a_kernel_is_compiled_and_only_then(collecting: bool) -> None:
    ours, theirs = Collection(), Collection()
    compile_kernels(policy.__name__, ours)
    assert ours.seen == [False, False, False, collecting]
    assert gc.isenabled() == collecting
    compile_kernels(__name__, theirs)
    assert theirs.seen == [collecting] * 4


@pytest.mark.jit
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_forked_during_a_compilation_collects_garbage(collecting: bool) -> None:
    """By another thread: the compilation never ends in the child, which has no other threads."""
    statuses = []

    def fork() -> None:
        child = os.fork()
        if child == 0:
            os._exit(gc.isenabled())
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    def fork_in_another_thread() -> None:
        thread = threading.Thread(target=fork)
        thread.start()
        thread.join()

    compile_kernels(policy.__name__, Collection(fork_in_another_thread))
    assert statuses == [collecting] * 2
    assert gc.isenabled() == collecting
