"""The collection page in a real browser: by keyboard, two people at once, over a killed server; accessibility."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from axe_core_python.selenium import Axe
from collecting import WAIT, Page, ended, running, started
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait
from torch.utils.data import DataLoader, TensorDataset

from hitl_fast import LiveRatings, PrioritySampler, Signals
from hitl_fast.ratings.collect.items import png
from hitl_fast.ratings.collect.reading import read_collection

SIZES = ((1400, 900), (390, 800))
SCHEMES = ("light", "dark")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for i in range(50):
        (folder / f"{i:02}.png").write_bytes(png(np.full((8, 8, 3), 5 * i, np.uint8)))
    return folder


@pytest.fixture
def fresh(browser: Any) -> Iterator[Any]:
    """The browser without what an earlier page left in it."""
    browser.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": "*", "storageTypes": "all"})
    browser.get_log("browser")
    yield browser
    browser.get("about:blank")


def ticket(driver: Any) -> str | None:
    found: str | None = driver.execute_script("return document.body.dataset.ticket || null")
    return found


def entered(driver: Any, page: Page, name: str) -> None:
    driver.get(page.url)
    WebDriverWait(driver, WAIT).until(lambda d: d.find_element("id", "name").is_displayed())
    driver.find_element("id", "name").send_keys(name + Keys.ENTER)
    WebDriverWait(driver, WAIT).until(ticket)


def press(driver: Any, key: str, wait: bool = True) -> None:
    before = ticket(driver)
    driver.find_element("tag name", "body").send_keys(key)
    if wait:
        WebDriverWait(driver, WAIT, 0.02).until(lambda d: ticket(d) != before)


@pytest.mark.jit  # the same in every pass
def test_fifty_answers_of_two_people_over_a_killed_server(
    open_browser: Callable[[], Any], browser: Any, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "ratings.db"
    arguments = (str(images), "--out", str(out), "--repeats", "0")
    people = {"anna": browser, "ben": open_browser()}
    pressed: dict[str, list[float]] = {name: [] for name in people}
    server, page = started(*arguments)
    try:
        for name, driver in people.items():
            entered(driver, page, name)
        for turn in range(25):
            if turn == 12:
                ended(server)
            for i, (name, driver) in enumerate(people.items()):
                value = 1 + (turn + 2 * i) % 5
                pressed[name].append(float(value))
                press(driver, str(value), wait=turn != 12)
            if turn == 12:
                before = {name: ticket(driver) for name, driver in people.items()}
                server, again = started(*arguments)
                assert again == page
                for name, driver in people.items():
                    WebDriverWait(driver, WAIT).until(lambda d, old=before[name]: ticket(d) != old)
        assert [ticket(driver) for driver in people.values()] == ["done", "done"]
        assert "50 of 50" in people["ben"].find_element("id", "count").text  # who was last
    finally:
        ended(server)
    answers = read_collection(out)[1]
    assert sorted(a.item for a in answers) == list(range(50))
    for name in people:
        mine = [a for a in answers if a.rater == name]
        assert [a.value for a in mine] == pressed[name]
        assert all(a.seconds is not None and 0 < a.seconds < 60 for a in mine)


@pytest.mark.jit
def test_undo_skip_and_coming_back(fresh: Any, images: Path, tmp_path: Path) -> None:
    with running(images, tmp_path / "r.db", repeats=0) as page:
        entered(fresh, page, "anna")
        press(fresh, "4")
        press(fresh, "s")
        press(fresh, "2")
        press(fresh, "u")
        press(fresh, "5")
        for ignored in ("7", "0", "x", Keys.ARROW_LEFT):
            press(fresh, ignored, wait=False)
        open_ticket = ticket(fresh)
        fresh.get(page.url)  # a reload goes on where it was, without asking for the name
        WebDriverWait(fresh, WAIT).until(lambda d: ticket(d) == open_ticket)
        fresh.find_elements("css selector", "#choices button")[0].click()
        WebDriverWait(fresh, WAIT).until(lambda d: ticket(d) != open_ticket)
    assert [a.value for a in read_collection(tmp_path / "r.db")[1]] == [4.0, None, 5.0, 1.0]
    assert fresh.get_log("browser") == []


@pytest.mark.jit
def test_hidden_and_idle_time_is_left_out(fresh: Any, images: Path, tmp_path: Path) -> None:
    with running(images, tmp_path / "r.db") as page:
        entered(fresh, page, "anna")
        # The page's own clock, on a time that the test moves on.
        found = fresh.execute_script(
            """
            let now = 0, hidden = false;
            performance.now = () => now;
            Object.defineProperty(document, "hidden", {get: () => hidden});
            const event = name => document.dispatchEvent(new Event(name));
            clock.start();
            now += 5000; const seen = clock.read();
            now += 1000; hidden = true; event("visibilitychange");
            now += 600000; hidden = false; event("visibilitychange");
            now += 2000; const away = clock.read();
            now += 900000; const idle = clock.read();
            return [seen, away, idle];
            """
        )
    assert found == [5.0, 8.0, 38.0]


@pytest.mark.jit
@pytest.mark.parametrize(("question", "kind"), [("rating", "text"), ("yesno", "row"), ("pairs", "image")])
def test_no_accessibility_issue_and_nothing_wider_than_the_screen(
    fresh: Any, images: Path, tmp_path: Path, question: str, kind: str
) -> None:
    data = images
    if kind == "text":
        data = tmp_path / "t.jsonl"
        text = "word " * 400 + "lo" * 40
        data.write_text(f'{{"text": "{text}", "label": "yes"}}\n' * 3)
    elif kind == "row":
        data = tmp_path / "r.csv"
        data.write_text("age,a_very_long_name_of_a_column_without_any_break,label\n" + "31,Ulm,no\n" * 4)
    axe = Axe()
    with running(data, tmp_path / "r.db", question=question) as page:
        entered(fresh, page, "Somebody with a name of sixty characters, which is the most.")
        for scheme in SCHEMES:
            for width, height in SIZES:
                look(fresh, scheme, width, height)
                assert overflow(fresh) == 0
                found = axe.run(fresh)
                assert found["passes"]
                issues = [(v["id"], v["impact"], v["nodes"][0]["html"][:90]) for v in found["violations"]]
                assert not issues
    assert fresh.get_log("browser") == []


@pytest.mark.jit
def test_the_first_and_last_screen_are_accessible(fresh: Any, images: Path, tmp_path: Path) -> None:
    axe = Axe()
    with running(images, tmp_path / "r.db", limit=1) as page:
        fresh.get(page.url)
        WebDriverWait(fresh, WAIT).until(lambda d: d.find_element("id", "name").is_displayed())
        look(fresh, "light", *SIZES[1])
        assert not axe.run(fresh)["violations"]
        fresh.find_element("id", "name").send_keys("anna" + Keys.ENTER)
        WebDriverWait(fresh, WAIT).until(ticket)
        press(fresh, "3")
        assert ticket(fresh) == "done"
        look(fresh, "dark", *SIZES[0])
        assert not axe.run(fresh)["violations"]


def look(driver: Any, scheme: str, width: int, height: int) -> None:
    settings = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", settings)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def overflow(driver: Any) -> int:
    wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    return int(driver.execute_script(wide))


@pytest.mark.jit
def test_answers_during_training_change_the_next_epoch(fresh: Any, images: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], 25)
    features = generator.normal(0, 1, (50, 4)) + 3 * labels[:, None]
    signals = Signals.of(features, labels)
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    x, y = torch.tensor(features, dtype=torch.float32), torch.tensor(labels)
    with running(images, tmp_path / "r.db", repeats=0) as page:
        entered(fresh, page, "anna")
        sampler = PrioritySampler(np.ones(50), seed=2)
        sampler.follow(LiveRatings(tmp_path / "r.db", signals))
        weights = []
        for epoch in range(3):
            for step, (rows, classes) in enumerate(DataLoader(TensorDataset(x, y), 10, sampler=sampler)):
                if epoch == 0 and step == 2:
                    for turn in range(12):
                        press(fresh, "15"[turn % 2])
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(rows), classes).backward()
                optimizer.step()
            weights.append(sampler.epoch_weights.copy())
    answers = read_collection(tmp_path / "r.db")[1]
    assert [a.value for a in answers] == [1.0, 5.0] * 6
    assert (weights[0] == 1).all()
    low, high = ([a.item for a in answers if a.value == value] for value in (1.0, 5.0))
    assert weights[1][low].mean() < weights[1][high].mean()
    assert (weights[2] == weights[1]).all()  # nobody answered in between
