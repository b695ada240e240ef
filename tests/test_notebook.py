"""The HTML tables of notebooks: whole, escaped, and of what the text says."""

from html.parser import HTMLParser

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

import hitl_fast as hf
from hitl_fast._common.notebook import html_table


class Cells(HTMLParser):
    """Texts of the cells; fails on any tag that is not one of a table."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ("table", "caption", "tbody", "tr", "td", "th")
        assert {name for name, _ in attrs} <= {"style"}
        self.open.append(tag)
        if tag in ("td", "th", "caption"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.cells[-1] += data


@given(st.text(max_size=20), st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), max_size=4))
def test_any_text_is_a_cell(title: str, rows: list[tuple[str, str]]) -> None:
    cells = [title, *(cell for row in rows for cell in row)]
    found = Cells(html_table(title, rows)).cells
    assert [text.replace("\r", "\n") for text in found] == [text.replace("\r", "\n") for text in cells]


def test_numbers_and_nothing() -> None:
    assert Cells(html_table("t", [(0.123456, None, 7)], ("a", "b", "c"))).cells == [
        "t",
        "a",
        "b",
        "c",
        "0.1235",
        "",
        "7",
    ]


def test_report_ratings_and_meter() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    inputs, labels = torch.randn(40, 4), torch.arange(40) % 2
    report = hf.preindex(model, [(inputs, labels)], [(inputs + 1, labels)], progress=False)
    cells = Cells(report._repr_html_()).cells
    assert f"{report.index:.4g}" in cells
    assert f"{report.probe_error:.4g}" in cells
    ratings = hf.Ratings.from_arrays(
        ["<b>", "<b>", "c"], ["anna", "ben", "<script>"], np.array([1.0, 2.0, 5.0])
    )
    html = ratings._repr_html_()
    assert "<script>" not in html
    assert any("3 of 2 items" in cell for cell in Cells(html).cells)
    with hf.EnergyMeter(rapl_root="/nonexistent", gpus="none") as meter, meter.window("<i>"):
        pass
    cells = Cells(meter._repr_html_()).cells
    assert "<i>" in cells
