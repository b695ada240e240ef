"""Answers given during training count from the next epoch on, the same for every rank, worker and resumed run."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_signals import blobs
from torch.utils.data import DataLoader, TensorDataset

from hitl_fast._common.errors import InputError, InputTypeError
from hitl_fast.ratings.collect.store import Store
from hitl_fast.ratings.live import LiveRatings, collected_priorities
from hitl_fast.ratings.signals import Signals
from hitl_fast.sampling import PrioritySampler

N = 120


@pytest.fixture(scope="module")
def signals() -> Signals:
    return Signals.of(*blobs(N, wrong=20)[:2])


def store_of(path: Path, items: int = N, question: str = "rating") -> Store:
    return Store(path, {"items": items, "question": question})


def rate(store: Store, values: dict[int, float | None], rater: str = "anna") -> None:
    for item, value in values.items():
        store.answer(rater, store.give(rater, item, None, 0).ticket, value, 1.0)


def test_answers_change_the_next_epoch(
    signals: Signals, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = store_of(tmp_path / "r.db")
    sampler = PrioritySampler(np.ones(N), seed=3)
    sampler.follow(LiveRatings(tmp_path / "r.db", signals))
    loader = DataLoader(TensorDataset(torch.arange(N)), batch_size=16, sampler=sampler)
    drawn, weights = [], []
    with caplog.at_level(logging.INFO, "hitl_fast.ratings.live"):
        for epoch in range(3):
            items: list[int] = []
            for (batch,) in loader:
                if epoch == 1 and not items:
                    rate(store, {i: 5.0 if signals.labels[i] == 0 else 1.0 for i in range(40)})
                items += batch.tolist()
            drawn.append(items)
            weights.append(sampler.epoch_weights.copy())
    assert (weights[0] == 1).all()
    assert (weights[1] == 1).all()  # what is answered during an epoch counts in the next
    liked = signals.labels == 0
    assert weights[2][liked].mean() > weights[2][~liked].mean() + 0.2
    assert len(caplog.records) == 1
    assert "40 answers" in caplog.text
    fixed = PrioritySampler(weights[2], seed=3)
    fixed.set_epoch(2)
    assert drawn[2] == list(fixed)
    store.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_one_and_two_ranks_draw_the_same_sequence(signals: Signals, tmp_path: Path, workers: int) -> None:
    path = tmp_path / "r.db"
    store = store_of(path)
    one = PrioritySampler(np.ones(N), seed=5)
    two = [PrioritySampler(np.ones(N), seed=5, rank=r, world_size=2) for r in range(2)]
    for sampler in (one, *two):
        sampler.follow(LiveRatings(path, signals, record=tmp_path / "weights"))
    data = TensorDataset(torch.arange(N))
    for epoch in range(3):
        alone = [int(i) for (batch,) in DataLoader(data, 8, sampler=one, num_workers=workers) for i in batch]
        # Answers that come between the ranks' starts must not part them.
        rate(store, {10 * epoch + i: 1.0 + (i + epoch) % 5 for i in range(10)})
        halves = [list(sampler) for sampler in two]
        assert alone[0::2] == halves[0]
        assert alone[1::2] == halves[1]
    assert not (one.epoch_weights == 1).all()
    store.close()


def test_a_resumed_epoch_is_the_same(signals: Signals, tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    store = store_of(path)
    rate(store, {i: 1.0 + i % 5 for i in range(30)})

    def made() -> PrioritySampler:
        sampler = PrioritySampler(np.ones(N), seed=7)
        sampler.follow(LiveRatings(path, signals, record=tmp_path / "weights"))
        return sampler

    first = made()
    list(first)
    iterator = iter(first)
    head = [next(iterator) for _ in range(50)]
    state = first.state_dict()
    rate(store, dict.fromkeys(range(30, 60), 5.0))
    second = made()
    second.load_state_dict(state)
    rest = list(second)
    assert rest == list(iterator)
    assert len(head) + len(rest) == N
    assert list(second) == list(first)  # and the epoch after it
    other = PrioritySampler(np.ones(N), seed=7)
    with pytest.raises(InputError, match="weights"):
        other.load_state_dict(state)
    store.close()


def test_sources_are_checked(signals: Signals, tmp_path: Path) -> None:
    sampler = PrioritySampler(np.ones(4), seed=0)
    with pytest.raises(InputTypeError, match="callable"):
        sampler.follow(3)  # type: ignore[arg-type]
    for wrong, error, named in (
        (np.ones(3), InputError, "4"), (np.array([1, np.nan, 1, 1]), InputError, "1"), (np.zeros(4), InputError, "0"),
        ("x", InputTypeError, "weights"), (([0, 9], [1.0, 1.0]), InputError, "9"),
    ):  # fmt: skip
        sampler.follow(lambda epoch, wrong=wrong: wrong)
        with pytest.raises(error, match=named):
            list(sampler)
    sampler = PrioritySampler(np.ones(4), seed=0)
    sampler.follow(lambda epoch: ([0, 1], [0.0, 0.0]) if epoch == 1 else None)
    assert set(sampler) == {0, 1, 2, 3} - (set(range(4)) - set(PrioritySampler(np.ones(4), seed=0)))
    assert set(sampler) <= {2, 3}
    assert set(sampler) <= {2, 3}  # None keeps the weights
    sampler.follow(None)
    assert set(sampler) <= {2, 3}
    with pytest.raises(InputTypeError, match="Signals"):
        LiveRatings(tmp_path / "r.db", 3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="floor"):
        LiveRatings(tmp_path / "r.db", signals, floor=2)


def test_databases_that_do_not_fit(signals: Signals, tmp_path: Path) -> None:
    assert LiveRatings(tmp_path / "absent.db", signals)(0) is None
    store_of(tmp_path / "other.db", items=7).close()
    with pytest.raises(InputError, match="7 items"):
        LiveRatings(tmp_path / "other.db", signals)(0)
    (tmp_path / "text.db").write_text("no database")
    with pytest.raises(InputError, match="SQLite"):
        LiveRatings(tmp_path / "text.db", signals)(0)
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "epoch-00000.npz").write_text("damaged")
    with pytest.raises(InputError, match="epoch-00000"):
        LiveRatings(tmp_path / "absent.db", signals, record=tmp_path / "w")(0)


@pytest.mark.parametrize("recorded", [True, False])
def test_a_database_that_is_not_there_is_named_once(
    signals: Signals, tmp_path: Path, caplog: pytest.LogCaptureFixture, recorded: bool
) -> None:
    store = store_of(tmp_path / "ratings.db")
    rate(store, {4: 1.0})
    record = tmp_path / "weights" if recorded else None
    for misspelt, named in (("rating.db", "ratings.db"), ("absent/ratings.db", "no folder")):
        caplog.clear()
        live = LiveRatings(tmp_path / misspelt, signals, record=record and record / misspelt)
        assert [live(epoch) for epoch in range(3)] == [None] * 3
        assert not live.found
        (message,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
        assert str(tmp_path / misspelt) in message
        assert named in message
        assert "ratings.db-wal" not in message
    caplog.clear()
    live = LiveRatings(tmp_path / "ratings.db", signals)
    assert live(0) is not None
    assert live.found
    assert not [r for r in caplog.records if r.levelname == "WARNING"]
    store.close()


def test_a_database_that_begins_or_goes_while_a_model_trains(
    signals: Signals, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "r.db"
    path.touch()  # a server is about to make it
    live = LiveRatings(path, signals)
    assert live(0) is None
    path.unlink()
    store = store_of(path)
    rate(store, {4: 1.0})
    found = live(1)
    assert found is not None
    store.close()
    path.unlink()
    assert live(2) is found
    assert "gone" in caplog.text
    with pytest.raises(InputError, match="prior"):
        LiveRatings(path, signals, prior="mine")  # not first at the first answer


def test_a_database_that_goes_while_it_is_looked_at(
    signals: Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "r.db"
    store = store_of(path)
    rate(store, {4: 1.0})
    live = LiveRatings(path, signals)
    found = live(0)
    store.close()

    def gone(place: Path) -> bool:
        place.unlink()
        return True

    monkeypatch.setattr("hitl_fast.ratings.live.is_begun", gone)
    assert live(1) is found
    assert "gone" in caplog.text


def test_ranks_with_one_process_id_keep_one_whole_file(
    signals: Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in containers of two machines, which write one epoch at the same time."""
    path, record = tmp_path / "r.db", tmp_path / "weights"
    store = store_of(path)
    rate(store, {4: 1.0})
    others: list[Any] = []
    save = np.savez

    def two(file: Any, weights: Any) -> None:
        file.write(b"half")
        if not others:
            others.append(None)
            others[0] = LiveRatings(path, signals, record=record)(0)
        file.seek(0)
        save(file, weights=weights)

    monkeypatch.setattr(np, "savez", two)
    mine = LiveRatings(path, signals, record=record)(0)
    assert mine is not None
    assert mine.tolist() == others[0].tolist()
    assert [file.name for file in record.iterdir()] == ["epoch-00000.npz"]
    store.close()


def test_skipped_and_undone_answers_do_not_count(signals: Signals, tmp_path: Path) -> None:
    store = store_of(tmp_path / "r.db")
    live = LiveRatings(tmp_path / "r.db", signals)
    rate(store, {3: None})
    assert live(0) is None
    rate(store, {4: 1.0})
    assert live(1) is not None
    assert live.last is not None
    assert live.last.count.sum() == 1
    found = live(1)
    store.undo("anna")
    assert live(2) is found  # what the sampler has; no answer says what else it should have
    assert live.last is None
    store.close()


@pytest.mark.parametrize("lost", ["gone", "undone"])
def test_a_resumed_run_sees_the_weights_that_stayed(signals: Signals, tmp_path: Path, lost: str) -> None:
    path, record = tmp_path / "r.db", tmp_path / "weights"
    store = store_of(path)

    def made() -> PrioritySampler:
        sampler = PrioritySampler(np.ones(N), seed=7)
        sampler.follow(LiveRatings(path, signals, record=record))
        return sampler

    first = made()
    list(first)  # epoch 0, before the first answer
    rate(store, {0: 1.0})
    list(first)
    rated = first.epoch_weights.copy()
    assert not (rated == 1).all()
    if lost == "undone":
        store.undo("anna")
    store.close()
    if lost == "gone":
        for file in tmp_path.glob("r.db*"):
            file.unlink()
    iterator = iter(first)
    head = [next(iterator) for _ in range(50)]
    second = made()
    second.load_state_dict(first.state_dict())
    rest = list(second)
    assert rest == list(iterator)
    assert len(head) + len(rest) == N
    assert list(second) == list(first)  # an epoch that was recorded by the process that read no answer
    assert second.epoch_weights.tolist() == rated.tolist()
    fresh = LiveRatings(path, signals, record=tmp_path / "none")
    assert fresh(3) is None
    assert fresh(4) is None


def test_an_answer_about_a_pair_is_one_of_both() -> None:
    from hitl_fast.ratings.collect.reading import Answer

    answers = [Answer("a", 0, 1, 0, 1.0, 1.0, ""), Answer("a", 2, 0, 0, 0.5, 1.0, "")]
    found = collected_priorities({"question": "pairs", "items": 3}, answers)
    assert found is not None
    assert found.items.tolist() == [0, 1, 2]
    assert found.score.tolist() == [0.75, 0.0, 0.5]
    assert found.count.tolist() == [2, 1, 1]
    assert found.scale == (0.0, 1.0)
