"""``hitl-fast energy -- CMD``: the command notices nothing, and the one who called it gets joules."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from energy_fakes import Tree

from hitl_fast import cli, doctor
from hitl_fast.energy import EnergyReport, command

ROOT = Path(__file__).parents[2]
PATH = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")])}

# A job in the background inherits ignored signals, and whoever runs these tests may be one.
AS_FROM_A_TERMINAL = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


def launched(*arguments: str, **options: object) -> "subprocess.Popen[str]":
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    line = [sys.executable, "-c", AS_FROM_A_TERMINAL, sys.executable, "-m", "hitl_fast", "energy"]
    line += ["--rapl-root", "/none", "--gpus", "none", *arguments]
    return subprocess.Popen(line, env=PATH, **pipes, **options)  # type: ignore[call-overload,no-any-return]


def energy(tree: Tree, *arguments: str) -> int:
    return cli.main(["energy", "--rapl-root", str(tree.root), "--gpus", "none", *arguments])


def python(code: str) -> list[str]:
    return ["--", sys.executable, "-c", code]


def moving(tree: Tree) -> str:
    """A command that uses 3 J, by the counter."""
    file = tree.files["intel-rapl:0"]
    return f"open({str(file)!r}, 'r+b').write(b'%020d' % 3001000)"


@pytest.mark.parametrize("status", [0, 1, 3, 255])
def test_exit_status(status: int, tree: Tree, capfd: pytest.CaptureFixture[str]) -> None:
    tree.socket(0)
    assert energy(tree, *python(f"raise SystemExit({status})")) == status
    out, err = capfd.readouterr()
    assert out == ""
    assert "package-0" in err


def test_joules_of_a_command_and_every_output(
    tree: Tree, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tree.socket(0)
    names = {name: tmp_path / f"out.{name}" for name in ("json", "csv", "parquet", "trace", "openmetrics")}
    names["plot"] = tmp_path / "out.png"
    options = [word for name, path in names.items() for word in (f"--{name}", str(path))]
    assert energy(tree, *options, "--carbon", "100", "--country", "FRA", *python(moving(tree))) == 0
    report = EnergyReport.from_json(names["json"])
    (window,) = report.windows
    assert window.name == Path(sys.executable).name
    assert window.total_joules == 3.0
    assert all(path.stat().st_size for path in names.values())
    err = capfd.readouterr().err
    assert "3.000" in err
    assert "gCO2e at 100 g/kWh (given by the user)" in err
    assert len(list(tmp_path.glob("out.*"))) == 6


def test_quiet_and_nothing_measured(tree: Tree, capfd: pytest.CaptureFixture[str]) -> None:
    assert energy(tree, "--quiet", "--", "true") == 0
    assert capfd.readouterr() == ("", "")
    assert energy(tree, "--country", "DEU", "--cpu-watts", "15", "--rate", "50", "true") == 0
    err = capfd.readouterr().err
    assert "carbon: nothing was measured" in err
    assert "not in the total, estimated, cpu time x 15 W per busy core" in err
    assert "no RAPL zone" in err


def test_the_commands_own_options_are_its_own(tree: Tree, capfd: pytest.CaptureFixture[str]) -> None:
    assert (
        energy(
            tree, "--quiet", "--", sys.executable, "-c", "import sys; print(sys.argv)", "--json", "--", "-x"
        )
        == 0
    )
    assert capfd.readouterr().out == "['-c', '--json', '--', '-x']\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give a command to measure"),
        (["--rate", "0", "--", "true"], "rate_hz must be above 0"),
        (["--json", "/no/such/folder/x.json", "--", "true"], "cannot write into /no/such/folder"),
        (["--country", "ATL", "--", "true"], "'ATL' is not in the table"),
        (["--cpu-watts", "-1", "--", "true"], "cpu_watts must be"),
        (["--run-dir", "/proc/nothing", "--", "true"], "/proc/nothing"),
    ],
)
def test_wrong_use_is_told_before_anything_runs(
    arguments: list[str], said: str, tree: Tree, capfd: pytest.CaptureFixture[str]
) -> None:
    assert energy(tree, *arguments) == 2
    assert said in capfd.readouterr().err


def test_missing_extra_is_told_before_anything_runs(
    tree: Tree, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_installed", lambda package: False)
    assert energy(tree, "--plot", "x.png", "--", "true") == 2
    assert "matplotlib is not installed" in capfd.readouterr().err


@pytest.mark.parametrize(("program", "status"), [("no-such-program-anywhere", 127), ("/", 126)])
def test_what_cannot_be_run(program: str, status: int, tree: Tree, capfd: pytest.CaptureFixture[str]) -> None:
    assert energy(tree, "--", program) == status
    assert f"hitl-fast energy: {program}: " in capfd.readouterr().err


def test_output_that_fails_keeps_the_status_and_the_others(
    tree: Tree, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    written = tmp_path / "out.csv"
    options = ["--json", str(tmp_path / "folder"), "--csv", str(written)]
    assert energy(tree, "--quiet", *options, *python("raise SystemExit(7)")) == 7
    assert written.exists()
    assert "Is a directory" in capfd.readouterr().err


def test_standard_streams_are_the_commands() -> None:
    code = "import sys; print(sys.stdin.read().upper(), end=''); print('err', file=sys.stderr)"
    with launched("--quiet", *python(code)) as process:
        assert process.communicate("words\n", timeout=60) == ("WORDS\n", "err\n")
    assert process.returncode == 0


READY = "import signal, sys, time; {}; print('ready', flush=True); time.sleep(60)"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGQUIT"])
def test_signals_reach_the_command_and_its_death_is_ours(name: str) -> None:
    number = getattr(signal, name)
    code = READY.format("signal.signal(signal.SIGINT, signal.SIG_DFL)")
    with launched("--quiet", *python(code)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (out, err) == ("", "")
    assert process.returncode == -number


def test_command_that_handles_a_signal_chooses_its_status() -> None:
    code = (
        "import signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}); print('ready', flush=True);"
        " signal.sigwait({signal.SIGTERM}); sys.exit(5)"
    )
    with launched(*python(code)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 5
    assert "not measured" in err  # the summary comes all the same


def test_command_has_the_signal_mask_and_handlers_of_its_caller() -> None:
    code = (
        "import signal; print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),"
        " int(open('/proc/self/status').read().split('SigIgn:')[1].split()[0], 16) & 0x7FFFFFFF)"
    )
    with launched("--quiet", *python(code)) as process:
        measured, _ = process.communicate(timeout=60)
    line = [sys.executable, "-c", AS_FROM_A_TERMINAL, sys.executable, "-c", code]
    assert measured == subprocess.run(line, capture_output=True, text=True, check=True).stdout


def test_killed_command() -> None:
    with launched("--quiet", *python("import os; os.kill(os.getpid(), 9)")) as process:
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL


TERMINAL = """
import os, pty, sys
pid, master = pty.fork()
if pid == 0:
    os.execv(sys.executable, [sys.executable, "-m", "hitl_fast", "energy", "--quiet", "--rapl-root", "/none", "--gpus",
                              "none", "--", sys.executable, "-c", sys.argv[1]])
seen = b""
while True:
    try:
        seen += os.read(master, 1000)
    except OSError:
        break
    if b"ready" in seen:
        seen = seen.replace(b"ready", b"")
        os.write(master, b"\\x03")
print(seen.count(b"once"), seen.count(b"twice"), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""

# Signals are blocked and waited for: a handler in Python would not run between its last look at signals and a system
# call that blocks. The wrapper is stopped meanwhile, so that one that it passes on is not the same pending signal, and
# SIGUSR1 comes back when it has dealt with SIGINT.
COUNTS_INTERRUPTS = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGUSR1})
os.kill(os.getppid(), signal.SIGSTOP)
print("ready", flush=True)
signal.sigwait({signal.SIGINT})
print("once", flush=True)
os.kill(os.getppid(), signal.SIGUSR1)
os.kill(os.getppid(), signal.SIGCONT)
signal.sigwait({signal.SIGUSR1})
if signal.SIGINT in signal.sigpending():
    print("twice", flush=True)
sys.exit(4)
"""


def test_ctrl_c_arrives_once() -> None:
    """The terminal sends it to the command, too; passed on as well it would come twice."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TERMINAL, COUNTS_INTERRUPTS],
        capture_output=True,
        text=True,
        env=PATH,
        timeout=120,
    )
    assert (run.stdout, run.stderr) == ("1 0 4\n", "")


@pytest.mark.parametrize(("code", "group", "sent"), [(0x80, 0, []), (0x80, 1, [2]), (0, 0, [2]), (0, 1, [2])])
def test_only_what_the_command_has_already_is_kept_from_it(
    code: int, group: int, sent: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal of the kernel reaches the whole foreground group; one of another process, or another group, does not."""
    passed: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: passed.append(number))
    monkeypatch.setattr(os, "getpgid", lambda pid: os.getpgrp() + group)
    info = SimpleNamespace(si_signo=signal.SIGINT, si_code=code)
    command.Child(["true"])._pass_on(info)
    assert passed == sent


def test_ctrl_z_stops_both_and_fg_wakes_both() -> None:
    code = "import time; print('ready', flush=True); input(); print('awake', flush=True)"
    with launched("--quiet", *python(code), preexec_fn=os.setpgrp) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGTSTP)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        os.killpg(process.pid, signal.SIGCONT)
        out, _ = process.communicate("\n", timeout=60)
    assert out == "awake\n"
    assert process.returncode == 0


def test_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `test_signals_...` sees from outside, here without dying."""
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    before = signal.getsignal(signal.SIGUSR2)
    try:
        assert command.leave(signal.SIGUSR2) == 128 + signal.SIGUSR2
        assert command.leave(signal.SIGKILL) == 137
        assert command.leave(3 << 8) == 3
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert sent == [(os.getpid(), signal.SIGUSR2), (os.getpid(), signal.SIGKILL)]


def test_signals_are_passed_on_in_this_process(capfd: pytest.CaptureFixture[str]) -> None:
    with command.Child([sys.executable, "-c", "import signal; signal.pause(); print('never')"]) as child:
        signal.raise_signal(signal.SIGUSR1)  # waits until the command is there
        signal.raise_signal(signal.SIGWINCH)
        status = child.run()
    assert os.WTERMSIG(status) == signal.SIGUSR1
    assert capfd.readouterr().out == ""


def test_doctor_tells_each_sensor_and_the_command(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    from hitl_fast.energy import Domain

    command_line = "sudo chmod a+r /sys/class/powercap/intel-rapl:0/energy_uj"
    found = [
        Domain(
            "package-0", "package", "unavailable", reason="only root may read its counter", fix=command_line
        ),
        Domain("GPU-1", "gpu", "measured", "counter"),
    ]
    monkeypatch.setattr("hitl_fast.energy.find_sensors", lambda: found)
    lines = list(doctor.CHECKS["energy"]())
    assert [finding.present for finding in lines] == [False, False, True]
    assert lines[1].text.endswith(command_line)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams_do_not_matter(closed: str, tmp_path: Path) -> None:
    """As under cron or a daemon: the command runs, and its status is ours."""
    ran = tmp_path / "ran"
    line = f'"$0" -m hitl_fast energy --rapl-root /none --gpus none -- sh -c \'echo ran > "$0"; exit 3\' "$1" {closed}'
    shell = ["sh", "-c", line, sys.executable, str(ran)]
    done = subprocess.run(shell, env=PATH, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert ran.exists()
    assert done.stdout == ""  # the summary does not move to standard output


def test_summary_that_nobody_reads_leaves_the_status_alone() -> None:
    with launched(*python("import sys; sys.stdin.read(); sys.exit(3)")) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stderr.close()
        process.stdin.close()
        assert process.wait(60) == 3


def test_second_ctrl_c_that_comes_too_late_for_the_command() -> None:
    with command.Child(["true"]) as child:
        assert child.run() == 0
        signal.raise_signal(signal.SIGINT)
    assert signal.SIGINT not in signal.sigpending()


def test_output_to_a_device_or_a_pipe(tree: Tree, capfd: pytest.CaptureFixture[str]) -> None:
    inward, outward = os.pipe()
    options = ["--quiet", "--csv", f"/dev/fd/{outward}", "--openmetrics", "/dev/null"]
    assert energy(tree, *options, "--", "true") == 0
    os.close(outward)
    with open(inward) as pipe:
        assert pipe.readline().startswith("window,start,seconds")
    assert os.path.realpath(os.devnull) == "/dev/null"
    assert not os.path.isfile("/dev/null")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["json", "csv", "openmetrics", "trace"])
def test_output_to_standard_output(name: str, tree: Tree) -> None:
    tree.socket(0)
    line = [
        sys.executable,
        "-m",
        "hitl_fast",
        "energy",
        "--quiet",
        "--rapl-root",
        str(tree.root),
        "--gpus",
        "none",
    ]
    run = subprocess.run(
        [*line, f"--{name}", "-", "--", "true"], env=PATH, capture_output=True, text=True, timeout=60
    )
    assert (run.returncode, run.stderr) == (0, "")
    start = {"json": "{", "csv": "window,", "openmetrics": "# TYPE", "trace": "{"}[name]
    assert run.stdout.startswith(start)


def test_binary_output_is_refused_on_standard_output(tree: Tree, capfd: pytest.CaptureFixture[str]) -> None:
    assert energy(tree, "--plot", "-", "--", "true") == 2
    assert "--plot -" in capfd.readouterr().err
