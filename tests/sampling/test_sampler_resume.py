"""Resuming anywhere in an epoch, and states that are refused."""

import copy
import itertools
import json

import numpy as np
import pytest
from samplers import METHODS, sampler_of

from hitl_fast import PrioritySampler
from hitl_fast.sampling import state
from hitl_fast.sampling.state import STATE_VERSION


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cut", [0, 1, 20, 36, 37])
def test_resume_anywhere(method: str, cut: int) -> None:
    sampler = sampler_of(method)
    first, second = list(sampler), list(sampler)
    sampler.set_epoch(0)
    iterator = iter(sampler)
    assert list(itertools.islice(iterator, cut)) == first[:cut]
    state = json.loads(json.dumps(sampler.state_dict()))
    fresh = sampler_of(method)
    fresh.load_state_dict(state)
    assert list(fresh) == first[cut:]
    assert list(fresh) == second
    # The usual loop calls set_epoch with the epoch it resumes.
    fresh.load_state_dict(state)
    fresh.set_epoch(0)
    assert list(fresh) == first[cut:]
    fresh.set_epoch(1)
    assert list(fresh) == second
    # And the sampler that was asked goes on undisturbed.
    assert list(iterator) == first[cut:]


@pytest.mark.parametrize("method", METHODS)
def test_resume_twice_in_one_epoch(method: str) -> None:
    first = list(sampler_of(method))
    taken: list[int] = []
    state = None
    for steps in (5, 0, 17, 15):
        sampler = sampler_of(method)
        if state is not None:
            sampler.load_state_dict(state)
        taken += itertools.islice(iter(sampler), steps)
        state = sampler.state_dict()
    assert taken == first
    last = sampler_of(method)
    last.load_state_dict(state)
    assert list(last) == []
    assert len(list(last)) == 37


def test_rewinding_to_an_earlier_state() -> None:
    sampler = sampler_of("independent")
    iterator = iter(sampler)
    head = list(itertools.islice(iterator, 10))
    state = sampler.state_dict()
    tail = list(iterator)
    sampler.load_state_dict(state)
    assert list(sampler) == tail
    sampler.set_epoch(0)
    assert list(sampler) == head + tail


def test_resume_with_another_number_of_ranks() -> None:
    whole = list(sampler_of("independent", num_samples=36))
    sampler = sampler_of("independent", num_samples=36, rank=1, world_size=3)
    list(itertools.islice(iter(sampler), 4))
    found = np.full(24, -1)
    for rank in range(4):
        other = sampler_of("independent", num_samples=36, rank=rank, world_size=4)
        other.load_state_dict(sampler.state_dict())
        found[rank::4] = list(other)
    assert found.tolist() == whole[12:]


def test_a_state_is_small_and_says_what_was_consumed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hitl_fast.sampling.sequence.CHUNK", 64)
    sampler = PrioritySampler(np.ones(300), seed=1)
    iterator = iter(sampler)
    list(itertools.islice(iterator, 70))
    assert len(json.dumps(sampler.state_dict())) < 300
    assert sampler.state_dict()["position"] == 70
    assert sampler.state_dict(consumed=60)["position"] == 60
    with pytest.raises(ValueError, match="consumed is 71, expected 0 to 70"):
        sampler.state_dict(consumed=71)
    rest = PrioritySampler(np.ones(300), seed=1)
    rest.load_state_dict(sampler.state_dict(consumed=60))
    assert list(itertools.islice(iter(rest), 50))[10:] == list(itertools.islice(iterator, 40))
    assert rest.state_dict(consumed=100)["position"] == 100
    with pytest.raises(ValueError, match="consumed is 59, expected 60 to 110"):
        rest.state_dict(consumed=59)


def test_iterators_that_are_not_drawn_from_count_for_nothing() -> None:
    """Loaders with workers ask twice for an iterator at the start of each epoch."""
    sampler = sampler_of("independent")
    first, second = list(sampler), list(sampler)
    sampler = sampler_of("independent")
    iter(sampler)
    kept, dropped = iter(sampler), iter(sampler)
    assert list(kept) == first
    assert list(dropped) == first
    iter(sampler)
    assert sampler.state_dict()["epoch"] == 1
    assert list(sampler) == second


def test_a_copy_goes_on_where_the_original_is() -> None:
    sampler = sampler_of("independent")
    iterator = iter(sampler)
    next(iterator)
    twin = sampler_of("independent")
    twin.load_state_dict(copy.deepcopy(sampler).state_dict())
    assert list(twin) == list(iterator)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 12}, "seed 12.*11"),
        ({"version": STATE_VERSION + 1}, f"version {STATE_VERSION + 1}.*up to {STATE_VERSION}.*newer"),
        ({"version": 0}, "version 0"),
        ({"version": "1"}, "version '1'"),
        ({"method": "systematic"}, "method 'systematic'"),
        ({"num_items": 61}, "num_items 61.*60"),
        ({"num_samples": 36}, "num_samples 36"),
        ({"weights": "0" * 16}, "other weights"),
        ({"position": -1}, "position is -1"),
        ({"epoch": 2**32}, "epoch is 4294967296"),
    ],
)
def test_a_state_of_something_else_is_refused(change: dict[str, object], message: str) -> None:
    sampler = sampler_of("independent")
    list(itertools.islice(iter(sampler), 5))
    before = sampler.state_dict()
    with pytest.raises(ValueError, match=message):
        sampler.load_state_dict({**before, **change})
    assert sampler.state_dict() == before


def test_a_state_of_an_older_version_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler, twin = sampler_of("systematic"), sampler_of("systematic")
    expected = list(sampler)
    twin_iterator = iter(twin)
    head = list(itertools.islice(twin_iterator, 5))
    # As if the next version added a field: a state of today lacks it.
    old = {name: value for name, value in twin.state_dict().items() if name != "live"}
    monkeypatch.setattr(state, "ADDED", {"live": (STATE_VERSION + 1, False)})
    again = sampler_of("systematic")
    again.load_state_dict(old)
    assert head + list(again) == expected


def test_a_state_that_is_none_is_refused() -> None:
    sampler = sampler_of("independent")
    with pytest.raises(ValueError, match="version None.*state_dict"):
        sampler.load_state_dict({"yielded": 3})
    with pytest.raises(ValueError, match="'method'.*state_dict"):
        sampler.load_state_dict({"version": 1})
    with pytest.raises(TypeError, match="state must be a dictionary"):
        sampler.load_state_dict([1])  # type: ignore[arg-type]
