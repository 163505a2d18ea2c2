"""The page: known answers, whole HTML, hostile names escaped, nothing fetched from outside."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flow.errors import InputError
from twostream.data.annotations import Annotations, Video
from twostream.fusion_study import Curve, Row, Study
from twostream.report import ONE_GROUP, TABLES, Report, text_splits, text_summary, write_report
from twostream.report.results import Result, judge
from twostream.scores import Scores, Source

HOSTILE = "<script>alert(1)</script>|&_%"
QUOTED = """it's "v0" <b>"""
VOID = {"meta", "img", "br", "hr", "input"}


def make(stream: str, right: int, reverse: bool = False, groups: int = 4) -> Result:
    """Of eight videos of two classes (and one without a video) the first ``right`` are right."""
    classes = ("walk & run", HOSTILE, "never")
    test = [Video(QUOTED if k == 0 else f"v{k}", k % 2, f"g{k * groups // 8}") for k in range(8)]
    logits = np.zeros((8, 3), np.float32)
    for k in range(8):
        logits[k, k % 2 if k < right else 1 - k % 2] = 1 + k / 8
    order = slice(None, None, -1 if reverse else 1)
    ids = tuple(video.id for video in test[order])
    source = Source("mine", "column", stream, "p & q", "c", "s")
    scores = Scores(ids, classes, logits[order], logits[order, None], source)
    return judge([scores], Annotations("mine", "column", classes, (), tuple(test)))[0]


def study() -> Study:
    rows = (
        Row("rgb", "", (), (), 0.25, True),
        Row("equal, softmax", "softmax", (0.5, 0.5), ((1.0, 1.0), (1.0, 1.0)), 0.5, True),
        Row("chosen, softmax", "softmax", (0.25, 0.75), ((1.0, 2.0), (1.0, 4.0)), 0.75, True),
        Row("best on the test list, softmax", "softmax", (1.0, 1.0), (), 0.875, False),
    )
    curve = Curve("softmax", (0.0, 0.5, 1.0), (0.25, 0.75, 0.5), (0.25, 0.5, 0.875))
    return Study(("rgb", "flow"), (curve,), rows, "chosen, softmax", 8, 20)


class Page(HTMLParser):
    """Collects tags and texts, and complains about what is not closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.cells: dict[str, list[list[str]]] = {}
        self.table: list[list[str]] | None = None
        self.feed(path.read_text())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        assert len(attributes) == len(attrs), f"an attribute twice in {tag}"
        self.tags.append((tag, attributes))
        if tag not in VOID and not (self.get_starttag_text() or "").endswith("/>"):
            self.open.append(tag)
        if tag == "table":
            self.table = self.cells.setdefault(str(attributes["id"]).removeprefix("table-"), [])
        if self.table is not None and tag == "tr":
            self.table.append([])
        if self.table is not None and tag in ("td", "th"):
            self.table[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "table":
            self.table = None

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.table is not None and self.table and self.open[-1] not in ("table", "tbody"):
            self.table[-1][-1:] = [self.table[-1][-1] + data] if self.table[-1] else []

    def rows(self, table: str) -> list[list[str]]:
        return [[" ".join(cell.split()) for cell in row] for row in self.cells[table]]


@pytest.fixture
def report() -> Report:
    results = (make("rgb", 4), make("flow", 6), make("rgb+flow", 7))
    return Report(HOSTILE, results, study())


@pytest.fixture
def page(report: Report, tmp_path: Path) -> Page:
    return Page(write_report(tmp_path / "new", report))


def test_names_are_escaped(page: Page, tmp_path: Path) -> None:
    assert [tag for tag, _ in page.tags].count("script") == 1  # the page's own
    assert {HOSTILE, "v7"} <= {text.strip() for text in page.texts}
    assert not any(tag == "b" for tag, _ in page.tags)
    assert "alert(1)" not in (tmp_path / "new" / "index.html").read_text().split("<script>")[1]
    videos = pd.read_csv(tmp_path / "new" / "videos.csv", index_col=0)
    assert videos.index[0] == QUOTED


def test_a_video_of_any_name_can_be_the_worst(tmp_path: Path) -> None:
    page = Page(write_report(tmp_path, Report("t", (make("rgb", 0),))))
    assert QUOTED in [row[0] for row in page.rows("worst")]
    assert QUOTED in [text.strip() for text in page.texts]


def test_nothing_is_fetched(page: Page) -> None:
    inside = {f"#{attributes['id']}" for _, attributes in page.tags if attributes.get("id")}
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form", "video")
        for name in ("src", "srcset", "href", "xlink:href", "data", "action"):
            value = attributes.get(name)
            assert value is None or value in inside or value.startswith("data:image/jpeg")
        assert not any(name.startswith("on") for name in attributes)
        assert "url(" not in (attributes.get("style") or "")
    text = "".join(page.texts)
    assert not any(word in text for word in ("url(", "@import", "http:", "https:", "fetch("))


def test_every_video_is_in_the_confusion_matrix(page: Page) -> None:
    squares = [a for tag, a in page.tags if tag == "rect" and "square" in (a["class"] or "")]
    assert {attributes["class"] for attributes in squares} == {"square right", "square wrong"}
    titles = [text for text in page.texts if " taken for " in text and text.endswith(" %)")]
    assert sum(int(title.split(": ")[-1].split(" ")[0]) for title in titles) == 8


def test_the_tables_of_the_page_have_the_numbers(page: Page, report: Report) -> None:
    intervals = [result.interval for result in report.results]
    top1 = page.rows("summary")[1]
    assert top1[0] == "top-1 by video"
    for cell, value, interval in zip(top1[1:], ("50.0", "75.0", "87.5"), intervals, strict=True):
        assert interval is not None
        low, high = (f"{100 * end:.1f}" for end in interval)
        assert cell == f"{value} % ({low} to {high})"
    assert [row[1].split(" ")[0] for row in page.rows("comparisons")[1:]] == ["+37.5", "+12.5"]
    assert [row[2:4] for row in page.rows("comparisons")[1:]] == [["3", "0"], ["1", "0"]]
    classes = page.rows("classes")[1:]  # without the class that has no video
    assert [row[:6] for row in classes] == [
        ["walk & run", "4", "50.0 %", "75.0 %", "100.0 %", "+25.0"],
        [HOSTILE, "4", "50.0 %", "75.0 %", "75.0 %", "+0.0"],
    ]
    assert page.rows("worst")[1][:3] == ["v7", HOSTILE, "walk & run"]


def test_the_study_is_drawn_where_its_numbers_are(page: Page) -> None:
    lines = {
        str(a["class"]).split()[-1]: [
            tuple(float(each) for each in pair.split(","))
            for pair in str(a.get("points", "")).split()
        ]
        for tag, a in page.tags
        if tag == "polyline"
    }
    assert set(lines) == {"test", "heldout"}
    # The axis goes from 20 % at 168 to 100 % at 12; the shares from 38 to 290.
    for name, values in (("test", (0.25, 0.5, 0.875)), ("heldout", (0.25, 0.75, 0.5))):
        wanted = [
            (38 + 252 * x, 168 - 156 * (y - 0.2) / 0.8)
            for x, y in zip((0, 0.5, 1), values, strict=True)
        ]
        np.testing.assert_allclose(lines[name], wanted, atol=0.06)
    told = [text for text in page.texts if ": " in text and text.split(": ")[1][:4] in "75.0 87.5"]
    assert "chosen, softmax: 75.0 % at 0.50" in told
    assert "best on the test list, softmax: 87.5 % at 1.00, not to be reported" in told
    rows = {row[0]: row[1:] for row in page.rows("fusion")[1:]}
    assert rows["chosen, softmax"] == ["75.0 %", "0.25 to 0.75", "1, 2 to 4", "yes", "yes"]
    assert rows["best on the test list, softmax"][3] == "no: chosen on the test list"


def test_files_beside_the_page(page: Page, report: Report, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    for name in TABLES:
        forms = {path.suffix for path in folder.glob(f"{name}.*")}
        assert forms == (set() if name in ("splits", "means") else {".csv", ".md", ".tex"})
    summary = pd.read_csv(folder / "summary.csv", index_col=0)
    assert summary.loc["top-1 by video", "flow"] == 0.75
    assert summary.loc["top-1 by video", "flow low"] == pytest.approx(
        (report.results[1].interval or (0, 0))[0]
    )
    classes = pd.read_csv(folder / "classes.csv", index_col=0)
    assert classes["flow"].tolist()[:2] == [0.75, 0.75]
    assert np.isnan(classes["flow"].iloc[2])
    videos = pd.read_csv(folder / "videos.csv", index_col=0)
    assert videos.loc["v7", ["class", "rgb", "flow"]].tolist() == [HOSTILE, *["walk & run"] * 2]


def test_tables_of_an_earlier_report_do_not_stay(report: Report, tmp_path: Path) -> None:
    write_report(tmp_path, report)
    write_report(tmp_path, Report("t", (make("rgb", 8),)))
    left = {path.stem for path in tmp_path.glob("*.csv")}
    assert left == {"summary", "classes", "confusion", "videos"}


def test_streams_are_joined_by_video(tmp_path: Path) -> None:
    for name, reverse in (("a", False), ("b", True)):
        results = (make("flow", 6, reverse), make("rgb+flow", 4))
        write_report(tmp_path / name, Report("t", results))
    for table in ("videos", "comparisons", "worst"):
        one, two = ((tmp_path / name / f"{table}.csv").read_text() for name in "ab")
        assert one == two


@pytest.mark.parametrize("right", [0, 8])
def test_all_right_and_all_wrong(right: int, tmp_path: Path) -> None:
    page = Page(write_report(tmp_path, Report("t", (make("rgb", right), make("flow", right)))))
    assert page.rows("summary")[1][1] == f"{12.5 * right:.1f} % (no spread)"
    assert ("flow has every video right." in page.texts) == (right == 8)


def test_one_group_has_no_interval(tmp_path: Path) -> None:
    results = (make("rgb", 4, groups=1), make("flow", 6, groups=1))
    page = Page(write_report(tmp_path, Report("t", results)))
    assert page.rows("summary")[1][1:] == ["50.0 %", "75.0 %"]
    assert any(ONE_GROUP in text for text in page.texts)
    assert ONE_GROUP in text_summary(results)


def test_the_text_names_every_accuracy_and_every_comparison() -> None:
    text = text_summary([make("rgb", 4), make("flow", 6)])
    lines = text.splitlines()
    assert [line.rsplit("  ", 2)[0].strip() for line in lines[1:7]] == [
        *("top-1 by video", "top-5 by video", "mean-class by video"),
        *("top-1 by clip", "top-5 by clip", "mean-class by clip"),
    ]
    assert lines[1].split()[-2:] == ["50.0%", "75.0%"]
    assert "over 4 groups: rgb" in text
    assert "flow less rgb: +25.0 points" in text
    assert "alone right on 2 of 8 videos against 0, McNemar's p 0.5" in text


def test_a_page_of_splits_has_their_mean_and_leads_to_theirs(tmp_path: Path) -> None:
    splits = {str(k): (make("rgb", k), make("flow", k + 2)) for k in (2, 4, 6)}
    pages = {split: f"split-{split}/index.html" for split in splits}
    page = Page(write_report(tmp_path, Report("t", (), splits=splits, pages=pages)))
    assert page.rows("splits")[4] == ["mean over the splits", "50.0 %", "75.0 %"]
    assert page.rows("splits")[5] == ["standard deviation", "25.0 %", "25.0 %"]
    links = [a["href"] for tag, a in page.tags if tag == "a" and str(a["href"])[0] != "#"]
    assert links == list(pages.values())
    lines = text_splits(splits).splitlines()
    assert lines[4].split() == ["mean", "over", "the", "splits", "50.0%", "75.0%"]
    assert "50.0% ± 25.0%" in text_splits(splits)


def test_what_cannot_be_reported_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to report"):
        Report("t", ())
    with pytest.raises(InputError, match="the same streams of each split"):
        Report("t", (), splits={"1": (make("rgb", 1),), "2": (make("flow", 1),)})
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_report(tmp_path / "file", Report("t", (make("rgb", 1),)))


def test_a_hundred_classes_make_a_small_page(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    classes = tuple(f"ClassOfLongName{k}" for k in range(101))
    test = tuple(Video(f"v{k}", k % 101, f"g{k % 50}") for k in range(1000))
    logits = rng.normal(size=(1000, 101)).astype(np.float32)
    source = Source("mine", "column", "rgb", "p", "c", "s")
    scores = Scores(tuple(v.id for v in test), classes, logits, logits[:, None], source)
    lists = Annotations("mine", "column", classes, (), test)
    results = judge([scores, replace(scores, source=replace(source, stream="flow"))], lists)
    path = write_report(tmp_path, Report("t", results))
    assert path.stat().st_size < 1_000_000
    page = Page(path)
    svg = next(a for tag, a in page.tags if tag == "svg" and a.get("class") == "squares")
    assert int(svg["width"] or 0) == 101 * 14  # letters of 11 pixels fit
    assert len(page.rows("classes")) == 102
