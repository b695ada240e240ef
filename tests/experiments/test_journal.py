import fcntl
import json
import os

import pytest

from hitl_fast.experiments.common.journal import Journal, deterministic, machine, read

A = {"key": "a", "x": 0.1, "measured": {"seconds": 1.0}}
B = {"key": "b", "x": [1, None, "ü"], "measured": {"seconds": 2.0}}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "results.jsonl"


def write(path, *records, settings=None):
    with Journal(
        path, "test", {"seed": 0} if settings is None else settings, command="hitl-fast test"
    ) as journal:
        for record in records:
            journal.append(record)


def test_what_was_written_is_read(path):
    write(path, A, B)
    header, records = read(path)
    assert records == [A, B]
    assert header["experiment"] == "test"
    assert header["settings"] == {"seed": 0}
    assert header["command"] == "hitl-fast test"
    assert header["machine"] == machine()
    assert "torch" in header["versions"]


def test_a_journal_is_resumed(path):
    write(path, A)
    with Journal(path, "test", {"seed": 0}) as journal:
        assert journal.done == {"a": A}
        assert journal.header["command"] == "hitl-fast test"  # as it was begun
        journal.append(B)
    assert read(path)[1] == [A, B]


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_line_cut_by_a_kill_is_dropped(path, cut):
    write(path, A, B)
    os.truncate(path, path.stat().st_size - cut)
    kept = [A] if cut < len(json.dumps(B, ensure_ascii=False).encode()) else read(path)[1]
    assert read(path)[1] == kept
    with Journal(path, "test", {"seed": 0}) as journal:
        assert list(journal.done.values()) == kept
        if "b" not in journal.done:
            journal.append(B)
    assert read(path)[1] == [A, B]


def test_a_header_cut_by_a_kill_is_written_again(path):
    write(path)
    os.truncate(path, 30)
    write(path, A)
    assert read(path)[1] == [A]


def test_a_foreign_file_is_left_alone(path):
    path.parent.mkdir()
    for content in ("not a journal", "not a journal\n", '{"key": "a"}\n', "[]\n", '{"a": 1}\n{"b": 2}'):
        path.write_text(content)
        with pytest.raises(ValueError, match=r"journal|not JSON"):
            Journal(path, "test", {})
        assert path.read_text() == content


@pytest.mark.parametrize(
    ("experiment", "settings", "message"),
    [
        ("other", {"seed": 0}, "differs in experiment: 'test' there, 'other' now"),
        ("test", {"seed": 1}, "differs in settings: seed is 0 there and 1 now"),
        ("test", {"seed": 0, "grid": 3}, "grid is None there and 3 now"),
    ],
)
def test_another_run_is_refused_and_named(path, experiment, settings, message):
    write(path, A, B)
    os.truncate(path, path.stat().st_size - 3)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=message):
        Journal(path, experiment, settings)
    assert path.read_bytes() == before


def test_other_versions_are_refused(path):
    write(path, A)
    content = path.read_text().replace('"python": "', '"python": "1.')
    path.write_text(content)
    with pytest.raises(ValueError, match=r"differs in versions: python is '1\."):
        Journal(path, "test", {"seed": 0})


def test_two_writers_are_refused(path):
    with Journal(path, "test", {}), pytest.raises(BlockingIOError, match="being written by another process"):
        Journal(path, "test", {})
    write(path, A, settings={})  # free again


@pytest.mark.parametrize("then", ["goes on", "ends", "is removed"])
def test_a_file_that_is_replaced_while_it_is_opened_is_not_written(path, monkeypatch, then):
    """The other writer puts the finished file in place between the opening and the lock."""
    other = Journal(path, "test", {"seed": 0})
    other.append(A)
    lock = fcntl.flock
    moments = iter([True])

    def late(file, kind):
        if kind & fcntl.LOCK_NB and next(moments, False):
            other.finish(["a"])
            if then != "goes on":
                other.close()
            if then == "is removed":
                path.unlink()
        return lock(file, kind)

    monkeypatch.setattr(fcntl, "flock", late)
    if then == "goes on":
        with pytest.raises(BlockingIOError, match="being written by another process"):
            Journal(path, "test", {"seed": 0})
        other.append(B)
        other.close()
    else:
        write(path, B)
    assert read(path)[1] == ([B] if then == "is removed" else [A, B])


@pytest.mark.parametrize(
    "record",
    [
        {"x": 1},
        {"key": 3},
        {"key": "a", "x": float("nan")},
        {"key": "a", "x": float("inf")},
        {"key": "a", "x": {1}},
    ],
)
def test_what_is_not_fit_is_refused_and_nothing_written(path, record):
    with Journal(path, "test", {}) as journal:
        before = path.read_bytes()
        with pytest.raises(ValueError, match=r"key|not fit for a journal"):
            journal.append(record)
        assert path.read_bytes() == before


def test_a_key_counts_once(path):
    with Journal(path, "test", {}) as journal:
        journal.append(A)
        with pytest.raises(ValueError, match="'a' is in .* already"):
            journal.append(A)
    path.write_text(path.read_text() + json.dumps(A) + "\n")
    with pytest.raises(ValueError, match=r"line 3: the job 'a' is there twice"):
        read(path)


def test_a_full_disk_leaves_no_half_line(path, monkeypatch):
    with Journal(path, "test", {}) as journal:
        journal.append(A)
        whole = path.read_bytes()
        true_write = os.write
        answers = iter(
            [lambda f, b: true_write(f, b[:5]), lambda f, b: exec("raise OSError(28, 'no space')")]
        )
        monkeypatch.setattr(os, "write", lambda file, content: next(answers)(file, content))
        with pytest.raises(OSError, match="no space"):
            journal.append(B)
        monkeypatch.undo()
        assert path.read_bytes() == whole
        journal.append(B)
    assert read(path)[1] == [A, B]


def test_finish_orders_the_lines_and_goes_on(path):
    with Journal(path, "test", {}) as journal:
        journal.append(B)
        journal.append(A)
        journal.finish(["a", "b"])
        assert list(journal.done) == ["a", "b"]
        with pytest.raises(BlockingIOError):
            Journal(path, "test", {})
        journal.append({"key": "c"})
    assert [record["key"] for record in read(path)[1]] == ["a", "b", "c"]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("order", [["a"], ["a", "b", "c"], ["a", "b", "b"]])
def test_finish_wants_each_job_once(path, order):
    with Journal(path, "test", {}) as journal:
        journal.append(A)
        journal.append(B)
        with pytest.raises(ValueError, match="each finished job once"):
            journal.finish(order)
    assert read(path)[1] == [A, B]


def test_finish_that_fails_leaves_the_file(path, monkeypatch):
    with Journal(path, "test", {}) as journal:
        journal.append(A)
        monkeypatch.setattr(os, "replace", lambda *_: exec("raise OSError('no')"))
        with pytest.raises(OSError, match="no"):
            journal.finish(["a"])
        monkeypatch.undo()
        journal.append(B)
    assert read(path)[1] == [A, B]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_deterministic_leaves_out_clocks_and_nothing_else(path, tmp_path):
    write(path, A)
    other = tmp_path / "other.jsonl"
    write(other, {**A, "measured": {"seconds": 9.0}})
    assert deterministic(path) == deterministic(other)
    third = tmp_path / "third.jsonl"
    write(third, {**A, "x": 0.2})
    assert deterministic(path) != deterministic(third)


def test_a_closed_journal_says_so(path):
    journal = Journal(path, "test", {})
    journal.close()
    journal.close()
    with pytest.raises(ValueError, match="is closed"):
        journal.append(A)


def test_reading_wants_a_journal(path, tmp_path):
    with pytest.raises(FileNotFoundError):
        read(path)
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    with pytest.raises(ValueError, match="no header"):
        read(empty)
    write(path)
    path.write_text(path.read_text() + "[1]\n")
    with pytest.raises(ValueError, match="line 2, is not a job"):
        read(path)
