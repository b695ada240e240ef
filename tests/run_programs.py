"""Runs programs one after the other, each in a process of its own that has PyTorch and scikit-learn imported already.

It is started with the programs' environment. Every line of the standard input is a JSON object with ``program``,
``arguments`` and ``folder`` (the working directory, which gets ``stdout.txt`` and ``stderr.txt``); every line of the
output is an exit status, negative for a signal: SIGALRM ends what takes longer than ``seconds``. The programs see what
``python program arguments`` would give them. hitl_fast is not imported before the fork: its kernels run on one thread
in a forked child. A program is a process group of its own: what it has started and left behind ends with it.
"""

import atexit
import contextlib
import json
import os
import runpy
import signal
import sys
import traceback
import warnings
from pathlib import Path

import numba  # noqa: F401
import sklearn.datasets  # noqa: F401
import torch._dynamo  # noqa: F401 - what optimizers import


def run(program: str, arguments: list[str], folder: str, seconds: int = 280) -> int:
    child = os.fork()
    if child:
        ended = os.waitpid(child, 0)[1]
        with contextlib.suppress(ProcessLookupError):  # nobody is left
            os.killpg(child, signal.SIGKILL)
        return os.waitstatus_to_exitcode(ended)
    os.setpgrp()
    status = 1
    signal.alarm(seconds)
    try:
        os.chdir(folder)
        for stream, name in ((1, "stdout.txt"), (2, "stderr.txt")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.argv = [program, *arguments]
        sys.path[0] = str(Path(program).parent)
        runpy.run_path(program, run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else bool(end.code)
    except BaseException:
        traceback.print_exc()
    finally:
        # As at the end of a process: whatever programs register to be closed is closed.
        sys.stdout.flush()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        os._exit(status)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        print(run(**json.loads(line)), flush=True)
