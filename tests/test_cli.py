"""The command line as a whole: front page, help and its examples, completion, doctor, and errors as one line."""

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hitl_fast import __version__, cli, doctor
from hitl_fast._common import extras
from hitl_fast._common.errors import InputError, InputTypeError, MissingExtraError


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parser itself and those of all its sub-commands, at any depth."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from parsers(child)


def examples(text: str) -> list[list[str]]:
    """The arguments of each line ``  hitl-fast ...`` or ``example: hitl-fast ...``; a backslash continues a line."""
    found = re.findall(r"^(?:  |examples?: )hitl-fast (.*)", text.replace("\\\n", " "), re.MULTILINE)
    return [shlex.split(line, comments=True) for line in found]


ALL = {parser.prog: parser for parser in parsers(cli.build_parser(*cli.COMMANDS))}


def test_without_arguments_three_tasks_each_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    text = capsys.readouterr().out
    assert {words[0] for words in examples(text)} == {"preindex", "ratings", "energy"}
    for words in examples(text):
        assert cli.build_parser(*cli.COMMANDS).parse_args(words).command == words[0]


@pytest.mark.parametrize("name", sorted(ALL))
def test_help_has_an_example_that_parses(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([*name.split()[1:], "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    found = examples(text)
    assert found, f"give the epilog of {name!r} a line '  {name} ...'"
    for words in found:
        if "--help" not in words:
            assert cli.build_parser(*cli.COMMANDS).parse_args(words).command == words[0]
            assert ["hitl-fast", *words][: len(name.split())] == name.split()


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    listed = {line.split()[0] for line in lines if line.startswith("    ") and line[4] != " "}
    assert set(cli.COMMANDS) <= listed


def test_version_and_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert __version__ in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        cli.main(["dcotor"])
    assert stop.value.code == 2
    assert "doctor" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("hitl-fast ene", {"energy"}),
        ("hitl-fast preindex --arith", {"--arithmetic"}),
        ("hitl-fast 'x", set()),
    ],
)
def test_completion(line: str, expected: set[str], tmp_path: Path) -> None:
    answer = tmp_path / "answer"
    environment = os.environ | {
        "_ARGCOMPLETE": "1", "_ARGCOMPLETE_STDOUT_FILENAME": str(answer), "_ARGCOMPLETE_IFS": "\n",
        "COMP_LINE": line, "COMP_POINT": str(len(line)), "PYTHONPATH": os.pathsep.join(sys.path),
    }  # fmt: skip
    command = [sys.executable, "-m", "hitl_fast"]
    subprocess.run(command, env=environment, capture_output=True, check=True, timeout=120)
    assert {word.strip() for word in answer.read_text().split("\n")} - {""} == expected


def test_doctor_prints_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = {line.split()[0] for line in lines}
    assert {"python", "torch", "triton", "numba", "gpu", "[plots]"} <= names
    assert all(line[13:16].strip() in ("yes", "no") for line in lines)


def test_doctor_survives_a_broken_part(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise OSError("libcudart.so is missing")

    monkeypatch.setitem(doctor.CHECKS, "torch", broken)
    found = {finding.name: finding for finding in doctor.findings()}
    assert found["torch"] == ("torch", False, "OSError: libcudart.so is missing")
    assert found["python"].present


def raising(problem: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(arguments: object) -> int:
        raise problem

    monkeypatch.setattr(doctor, "run", run)


def test_a_missing_file_is_named_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(FileNotFoundError(2, "No such file", "a.json"), monkeypatch)
    assert cli.main(["doctor"]) == 2
    assert capsys.readouterr().err == "hitl-fast doctor: a.json: No such file\n"


@pytest.mark.parametrize(
    ("problem", "status"),
    [
        (InputError("bins must rise"), 2),
        (InputTypeError("bins must be integers"), 2),
        (MissingExtraError("plots need matplotlib"), 2),
        (FileNotFoundError(2, "No such file", "a.json"), 2),
        (ModuleNotFoundError("No module named 'torch'", name="torch._C"), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_what_a_user_can_repair_is_one_line(
    problem: BaseException, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(problem, monkeypatch)
    assert cli.main(["doctor"]) == status
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    "problem",
    [ValueError("of ours"), TypeError("of ours"), KeyError("of ours"), ImportError("of ours"),
     ModuleNotFoundError("No module named 'hitl_fast.absent'", name="hitl_fast.absent")],
    ids=lambda problem: type(problem).__name__,
)  # fmt: skip
def test_a_defect_keeps_its_traceback(problem: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(problem, monkeypatch)
    with pytest.raises(type(problem), match="of ours|absent"):
        cli.main(["doctor"])


@pytest.mark.parametrize("command", sorted(cli.EXTRAS))
def test_a_missing_extra_is_named_before_anything_runs(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "missing", lambda extra: ["mlxtend"])
    words = next(words for words in examples(ALL[f"hitl-fast {command}"].format_help()))
    assert cli.main(words) == 2
    printed = capsys.readouterr()
    assert not printed.out
    assert len(printed.err.splitlines()) == 1
    assert f"pip install 'hitl-fast[{cli.EXTRAS[command]}]'" in printed.err


def test_missing_distributions_follow_extras_of_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    requires = [
        "torch>=2.6", 'no-such-thing>=1; extra == "plots"', "hitl-fast[plots,other]; extra == 'all'",
        'nor_this[more]>=2,<3; (python_version >= "3.11") and extra == "other"', 'pytest; extra == "all"',
    ]  # fmt: skip
    monkeypatch.setattr(extras.importlib.metadata, "requires", lambda name: requires)
    assert extras.missing("all") == ["no-such-thing", "nor_this"]
    assert extras.missing("plots") == ["no-such-thing"]
    assert extras.missing("torch") == []
