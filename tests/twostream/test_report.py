"""The report: known numbers in it, hostile names escaped, nothing fetched from outside."""

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from twostream.data.annotations import Annotations, Video
from twostream.evaluation import Evaluation, evaluate
from twostream.report import summary, text_summary, write_report
from twostream.scores import Scores, Source

HOSTILE = '<script>alert("x")</script>'


def make(stream: str, right: int) -> Evaluation:
    """Of eight videos of two classes (and one without a video) the first ``right`` are right."""
    classes = ("walk & run", HOSTILE, "never")
    test = tuple(Video(f"v{k}", k % 2, f"g{k}") for k in range(8))
    logits = np.zeros((8, 3), np.float32)
    for k in range(8):
        logits[k, k % 2 if k < right else 1 - k % 2] = 1
    source = Source("mine", "column", stream, "p", "c", "s")
    scores = Scores(tuple(v.id for v in test), classes, logits, logits[:, None], source)
    return evaluate(scores, Annotations("mine", "column", classes, (), test))


class Tags(HTMLParser):
    """Collects tags, their attributes, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture
def page(tmp_path: Path) -> Tags:
    path = write_report(tmp_path / "new", [make("rgb", 4), make("flow", 6)], HOSTILE, "p & q")
    tags = Tags()
    tags.feed(path.read_text())
    return tags


def test_names_are_escaped(page: Tags) -> None:
    assert "script" not in [tag for tag, _ in page.tags]
    assert HOSTILE in page.text
    assert "walk & run" in page.text


def test_nothing_is_fetched(page: Tags) -> None:
    for tag, attributes in page.tags:
        assert tag not in ("link", "img", "iframe")
        assert not {"src", "href"} & set(attributes)


def test_every_video_is_in_the_confusion_matrix(page: Tags) -> None:
    squares = [attributes for tag, attributes in page.tags if tag == "rect"]
    assert {attributes["class"] for attributes in squares} == {"right", "wrong"}
    titles = [text for text in page.text if " taken for " in text and text.endswith(" %)")]
    assert sum(int(title.split(": ")[-1].split(" ")[0]) for title in titles) == 8


def test_the_numbers_are_those_of_the_evaluations(page: Tags, tmp_path: Path) -> None:
    assert {"50.0 %", "75.0 %"} <= set(page.text)
    table = pd.read_csv(tmp_path / "new" / "summary.csv", index_col=0)
    assert table.loc["top-1 by video"].to_dict() == {"rgb": 0.5, "flow": 0.75}
    classes = pd.read_csv(tmp_path / "new" / "classes.csv", index_col=0)
    assert classes["flow"].tolist()[:2] == [0.75, 0.75]
    assert np.isnan(classes["flow"].iloc[2])
    videos = pd.read_csv(tmp_path / "new" / "videos.csv", index_col=0)
    assert videos.loc["v7"].to_dict() == {
        "class": HOSTILE,
        "rgb": "walk & run",
        "flow": "walk & run",
    }


def test_streams_are_joined_by_video(tmp_path: Path) -> None:
    flow = make("flow", 6)
    order = np.arange(8)[::-1]
    backwards = Evaluation(
        "flow",
        flow.classes,
        tuple(flow.video_ids[k] for k in order),
        flow.labels[order],
        flow.predictions[order],
        flow.video,
        flow.clip,
        flow.confusion,
    )
    write_report(tmp_path / "a", [make("rgb", 4), flow], "t", "p")
    write_report(tmp_path / "b", [make("rgb", 4), backwards], "t", "p")
    one, two = ((tmp_path / name / "videos.csv").read_text() for name in "ab")
    assert one == two


def test_the_text_names_every_accuracy() -> None:
    text = text_summary([make("rgb", 4)])
    for row in summary([make("rgb", 4)]).index:
        assert str(row) in text
    assert "50.0%" in text
