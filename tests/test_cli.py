"""The command line as a whole: help, unknown commands, doctor, and errors as one line."""

import pytest

from hitl_fast import __version__, cli, doctor


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert all(name in text for name in cli.COMMANDS)


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([name, "--help"])
    assert stop.value.code == 0
    assert f"hitl-fast {name}" in capsys.readouterr().out


def test_version_and_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert __version__ in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        cli.main(["dcotor"])
    assert stop.value.code == 2
    assert "doctor" in capsys.readouterr().err


def test_doctor_prints_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = {line.split()[0] for line in lines}
    assert {"python", "torch", "triton", "numba", "gpu"} <= names
    assert all(line.split()[1] in ("yes", "no") or line.split()[2] in ("yes", "no") for line in lines)


def test_doctor_survives_a_broken_part(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise OSError("libcudart.so is missing")

    monkeypatch.setitem(doctor.LOOKS, "torch", broken)
    found = {finding.name: finding for finding in doctor.findings()}
    assert found["torch"] == ("torch", False, "OSError: libcudart.so is missing")
    assert found["python"].present


@pytest.mark.parametrize(
    ("problem", "status"), [(ValueError("bins must rise"), 2), (KeyboardInterrupt(), 130)]
)
def test_problems_are_one_line(
    problem: BaseException, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(arguments: object) -> int:
        raise problem

    monkeypatch.setattr(doctor, "run", run)
    assert cli.main(["doctor"]) == status
    assert len(capsys.readouterr().err.splitlines()) == 1
