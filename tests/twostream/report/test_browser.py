"""The page in a browser: a click on a head sorts, and nothing is complained about (known answers).

Needs chromium; the tests are skipped where it is not installed.
"""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twostream.data.annotations import Annotations, Video
from twostream.report import Report, write_report
from twostream.report.results import Result, judge
from twostream.scores import Scores, Source

# As many videos are right of each class; "it's" has none, "two" more than the others.
RIGHT = {"one": 1, "<script>alert(1)</script>": 3, "two": 2, "it's": 0, "&amp;": 4}

PROBE = """
<pre id="probe"></pre>
<script>
const told = [];
window.addEventListener("error", (event) => told.push(["error", event.message]));
const table = document.getElementById("table-classes");
const heads = [...table.tHead.rows[0].cells];
const state = () => ({
  names: [...table.tBodies[0].rows].map((row) => row.cells[0].textContent.trim()),
  sorted: heads.map((head) => head.getAttribute("aria-sort")),
});
told.push(state());
for (const column of CLICKS) {
  heads[column].querySelector("button").click();
  told.push(state());
}
heads[0].querySelector("button").focus();
told.push(document.activeElement.textContent);
told.push(document.documentElement.scrollWidth <= window.innerWidth);
document.getElementById("probe").textContent = JSON.stringify(told);
</script>
"""


@pytest.fixture(scope="module")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("needs chromium, which is not installed")
    return found


def results(without: str = "") -> tuple[Result, ...]:
    """Of two streams, of which the first has not scored the videos of one class."""
    classes = (*RIGHT, "never")
    test = tuple(Video(f"v{c}_{k}", c, f"g{k}") for c in range(len(RIGHT)) for k in range(4))
    logits = np.zeros((len(test), len(classes)), np.float32)
    for row, video in enumerate(test):
        right = int(video.group[1:]) < RIGHT[classes[video.label]]
        logits[row, video.label if right else (video.label + 1) % len(RIGHT)] = 1
    ids = tuple(video.id for video in test)
    lists = Annotations("mine", "column", classes, (), test)
    fused = Scores(
        ids, classes, logits, logits[:, None], Source("mine", "column", "rgb+flow", "p", "c", "s")
    )
    kept = [row for row, video in enumerate(test) if classes[video.label] != without]
    rgb = replace(
        fused,
        video_ids=tuple(ids[row] for row in kept),
        logits=np.roll(logits, 1, axis=0)[kept],
        clip_logits=np.roll(logits, 1, axis=0)[kept, None],
        source=replace(fused.source, stream="rgb"),
    )
    return judge([rgb, fused], lists, allow_missing=True)


def visit(chromium: str, page: Path, clicks: list[int], folder: Path, width: int) -> list[Any]:
    """What the probe tells of a copy of the page, which complains of nothing."""
    copy = folder / "probed.html"
    probe = PROBE.replace("CLICKS", json.dumps(clicks))
    copy.write_text(page.read_text().replace("</body>", f"{probe}</body>"))
    done = subprocess.run(
        [
            *(chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *("--virtual-time-budget=2000", "--enable-logging=stderr", "--v=0"),
            *(f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900"),
            copy.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    told = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)
    assert told is not None, done.stderr
    found: list[Any] = json.loads(unescape(told[1]))
    return found


def test_a_click_sorts_and_another_one_turns_it_round(chromium: str, tmp_path: Path) -> None:
    page = write_report(tmp_path, Report("t", results()))
    before, down, up, names, focused, fits = visit(chromium, page, [3, 3, 0], tmp_path, 800)
    assert before == {"names": list(RIGHT), "sorted": [None] * 6}
    falling = sorted(RIGHT, key=lambda name: -RIGHT[name])
    assert down == {"names": falling, "sorted": [None, None, None, "descending", None, None]}
    assert up == {"names": falling[::-1], "sorted": [None, None, None, "ascending", None, None]}
    assert names == {
        "names": ["&amp;", "<script>alert(1)</script>", "it's", "one", "two"],
        "sorted": ["ascending", *[None] * 5],
    }
    assert str(focused).strip() == "class"
    assert fits is True


def test_what_has_no_number_stays_at_the_end(chromium: str, tmp_path: Path) -> None:
    page = write_report(tmp_path, Report("t", results(without="one")))
    _, down, up, *_ = visit(chromium, page, [2, 2], tmp_path, 800)
    assert down["sorted"][2] == "descending"
    assert up["sorted"][2] == "ascending"
    assert down["names"][-1] == up["names"][-1] == "one"
    assert down["names"][:-1] != up["names"][:-1]


def test_nothing_is_wider_than_a_phone(chromium: str, tmp_path: Path) -> None:
    page = write_report(tmp_path, Report("a_title_without_a_space_" * 6, results()))
    assert visit(chromium, page, [], tmp_path, 500)[-1] is True


def test_a_complaint_of_the_browser_is_seen(chromium: str, tmp_path: Path) -> None:
    page = write_report(tmp_path, Report("t", results()))
    page.write_text(page.read_text().replace("</body>", "<script>none.at.all</script></body>"))
    with pytest.raises(AssertionError, match="CONSOLE"):
        visit(chromium, page, [], tmp_path, 800)
