"""Reproducing a table: what is done is not done again, what fails and what is small is told.

Known answers: a small table whose commands write known scores. Round trip: a killed run goes on.
Refusals in a sentence. One row of the real table, dry, on real videos.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import reproduce
from reproduce_published import load
from reproduce_steps import running_in

ROOT = Path(__file__).resolve().parents[2]

WHERE = 'source = "s", where = "table 1"'
CLAIM = 'tolerance = 1.5, because = "rounded", ' + WHERE
PUBLISHED = """
[sources.s]
title = "A paper"
year = 2020
url = "https://example.org"
[reasons]
rounded = "Rounding."
[needs.csv]
what = "A set"
get = "make it"
[needs.net]
what = "A network"
get = "train it"
[plans.extract_csv]
steps = ["stand_in note extract {data[csv]} {store[csv]}"]
[plans.first]
steps = ["stand_in note first {store[csv]} {lists[csv]}"]
[plans.good]
after = ["first"]
steps = ["stand_in pause {runs}", "stand_in score {runs}/good.npz"]
[plans.bad]
after = ["first"]
steps = ["stand_in fail {lists[csv]}"]
[plans.far]
steps = ["stand_in note far {weights[net]}"]
[tables.small]
title = "A table"
about = "For tests."
rows = [
    { name = "right", plan = "good", result = "{runs}/good.npz", published = 76, CLAIM },
    { name = "off", plan = "good", result = "{runs}/good.npz", published = 80, CLAIM },
    { name = "new", plan = "good", result = "{runs}/good.npz" },
    { name = "fails", plan = "bad", result = "{runs}/bad.npz", published = 1, CLAIM },
    { name = "fails, too", plan = "bad", result = "{runs}/bad.npz" },
    { name = "far", plan = "far", result = "{runs}/far.npz" },
]
context = [{ name = "theirs", metric = "video_top1", published = 90, WHERE, note = "another set" }]
[tables.small.common_rows]
metric = "video_top1"
dataset = "csv"
split = "column"
unit = "%"
""".replace("CLAIM", CLAIM).replace("WHERE", WHERE)

# Each command adds a line to the log of calls.
STAND_IN = """
import os, sys, time
from pathlib import Path
what, *rest = sys.argv[1:]
with open(os.environ["CALLS"], "a") as calls:
    print(what, rest[0] if what == "note" else "", file=calls)
if what == "fail":
    sys.exit("the disk is full")
if what == "pause" and "PAUSE" in os.environ:
    print("waiting", os.getpid(), flush=True)
    time.sleep(60)
if what == "score":
    import numpy as np
    from twostream.scores import Scores, Source
    right = np.arange(40) % 4 != 0
    logits = np.eye(2, dtype=np.float32)[(np.arange(40) + ~right) % 2]
    source = Source(os.environ["LIST_NAME"], "column", "rgb", "p", "c", "s")
    ids = tuple(f"v{video}" for video in range(40))
    Scores(ids, ("a", "b"), logits, logits[:, None], source).save(Path(rest[0]))
"""

DRIVER = """
import sys
from pathlib import Path
import reproduce
from reproduce_published import load
reproduce.load = lambda: load(Path(sys.argv[1]))
sys.exit(reproduce.main(sys.argv[2:]))
"""


class Project:
    """A table, its list and its commands in a folder."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.folder, self.capsys = folder, capsys
        self.published = folder / "published.toml"
        self.published.write_text(PUBLISHED)
        (folder / "stand_in.py").write_text(STAND_IN)
        (folder / "store").mkdir()
        rows = [f"v{v}.avi,{'ab'[v % 2]},g{v // 2},test\n" for v in range(40)]
        rows += ["t0.avi,a,t0,train\n", "t1.avi,b,t1,train\n"]
        self.lists = folder / "list.csv"
        self.lists.write_text("video,label,group,split\n" + "".join(rows))
        self.calls = folder / "calls"
        path = os.pathsep.join(map(str, (folder, ROOT / "benchmarks", ROOT)))
        monkeypatch.setenv("PYTHONPATH", path)
        monkeypatch.setenv("CALLS", str(self.calls))
        monkeypatch.setenv("LIST_NAME", f"{folder.name}/list")
        monkeypatch.setattr(reproduce, "load", lambda: load(self.published))
        self.out = folder / "out"

    def words(self) -> list[str]:
        given = ["--store", f"csv={self.folder / 'store'}", "--lists", f"csv={self.lists}"]
        return ["small", *given, "--out", str(self.out)]

    def start(self) -> "subprocess.Popen[str]":
        """In another process, with a command that takes a minute."""
        command = [sys.executable, "-c", DRIVER, str(self.published), *self.words()]
        pipe = subprocess.PIPE
        environment = os.environ | {"PAUSE": "yes"}
        return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)

    def run(self, *more: str) -> tuple[int, str, str]:
        """Status, output and error of a run."""
        status = reproduce.main([*self.words(), *more])
        return status, *self.capsys.readouterr()

    def called(self) -> list[str]:
        return [line.strip() for line in self.calls.read_text().splitlines()]

    def log(self, step: str) -> Path:
        return self.out / "small" / "steps" / f"{step}.log"

    @property
    def card(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.out / "small" / "card.json").read_text())
        return found


@pytest.fixture
def project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Project:
    return Project(tmp_path, monkeypatch, capsys)


def verdicts(printed: str) -> dict[str, str]:
    """The last column of the printed table, by the first."""
    lines = [line for line in printed.splitlines() if not line.startswith((" ", "python"))]
    cells = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]
    return {line[0]: line[-1] for line in cells if len(line) > 1}


def test_verdicts_of_a_table(project: Project) -> None:
    status, printed, error = project.run()
    assert status == 1, error  # a command failed
    assert verdicts(printed) == {
        "row": "verdict",
        "right": "reproduced",
        "off": "not reproduced",
        "new": "nothing published to compare with",
        "fails": f"not run: bad-1 ended with 1 (the disk is full); see {project.log('bad-1')}",
        "fails, too": f"not run: bad-1 ended with 1 (the disk is full); see {project.log('bad-1')}",
        "far": "not run: needs --weights net=PATH",
        "theirs": "context, not run: another set",
    }
    assert "75.0 [" in printed
    assert "net: A network; train it." in printed
    assert project.called() == ["note first", "pause", "score", "fail"]


def test_what_is_done_is_not_done_again(project: Project) -> None:
    project.run()
    before = (project.out / "small/rows/right.json").read_bytes()
    status, printed, _ = project.run()
    assert status == 1
    assert verdicts(printed)["right"] == "reproduced"
    assert project.called() == ["note first", "pause", "score", "fail", "fail"]
    assert (project.out / "small/rows/right.json").read_bytes() == before


def test_another_number_is_compared_anew_without_its_commands(project: Project) -> None:
    project.run()
    text = project.published.read_text()
    project.published.write_text(text.replace("published = 76", "published = 79"))
    _, printed, _ = project.run()
    assert verdicts(printed)["right"] == "not reproduced"
    assert project.called().count("score") == 1


def test_another_command_runs(project: Project) -> None:
    project.run()
    text = project.published.read_text()
    project.published.write_text(text.replace("note first", "note second"))
    project.run()
    assert project.called().count("note second") == 1
    assert project.called().count("score") == 1


def waiting(project: Project) -> int:
    """The process of the command that takes a minute, once it is there."""
    log = project.log("good-1")
    end = time.monotonic() + 100
    while not (log.is_file() and "waiting" in log.read_text()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return int(log.read_text().split()[-1])


def test_a_killed_run_goes_on(project: Project) -> None:
    process = project.start()
    command = waiting(project)
    process.kill()
    process.communicate()
    status, _, error = project.run()
    assert status == 2, "its command is still at work"
    assert error.strip().endswith("wait for its end or stop it.")
    assert len(error.strip().splitlines()) == 1
    os.kill(command, signal.SIGKILL)
    end = time.monotonic() + 20
    while status == 2 and time.monotonic() < end:
        time.sleep(0.1)
        status, printed, _ = project.run()
    assert verdicts(printed)["right"] == "reproduced"
    assert project.called().count("note first") == 1
    assert not list(project.out.rglob("*.partial*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_takes_its_command_along(project: Project, number: int) -> None:
    process = project.start()
    waiting(project)
    process.send_signal(number)
    _, error = process.communicate(timeout=100)
    assert process.returncode == 130
    assert error.strip() == "interrupted; the same command goes on"
    with running_in(project.out / "small" / "steps"):  # nothing holds the folder any more
        assert "KeyboardInterrupt" in project.log("good-1").read_text()


def test_a_dry_run_is_called_so_and_is_kept_apart(project: Project) -> None:
    _, printed, _ = project.run("--dry-run")
    said = verdicts(printed)
    assert (said["right"], said["new"]) == ("dry run, not comparable",) * 2
    assert [path.name for path in project.out.iterdir()] == ["small-dry-run"]
    _, printed, _ = project.run()
    assert verdicts(printed)["right"] == "reproduced"
    assert project.called().count("score") == 2


def test_the_card_tells_everything(project: Project) -> None:
    project.run()
    card = project.card
    rows = {row["published"]["name"]: row for row in card["rows"]}
    assert rows["right"]["verdict"] == "reproduced"
    assert rows["right"]["published"]["source"] == "A paper, table 1 (https://example.org)"
    assert rows["right"]["published"]["because"] == "Rounding."
    assert rows["right"]["measured"]["value"] == pytest.approx(75)
    steps = {each["step"]: each for each in card["commands"]}
    assert steps["good-2"]["command"].startswith("python -m stand_in score ")
    assert steps["good-2"]["seconds"] > 0
    assert steps["bad-1"]["seconds"] is None
    assert steps["bad-1"]["log_tail"][-1] == "the disk is full"
    assert {"processor", "python", "torch"} <= set(card["machine"])
    page = (project.out / "small" / "card.md").read_text()
    assert "| right | 76 | 1.5 | 75.0 [" in page
    assert "the disk is full" in page


def test_weights_and_stores_are_told_by_their_hashes(project: Project) -> None:
    weights = project.folder / "net.bin"
    weights.write_bytes(b"weights")
    (project.folder / "store" / "manifest.csv").write_text("video\n")
    project.run("--weights", str(weights))
    known = hashlib.sha256(b"weights").hexdigest()
    assert project.card["weights"]["net"] == {"path": str(weights), "sha256": known}
    assert list(project.card["stores"]) == [str(project.folder / "store")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing"], "There is no table nothing; give one of p3d_sizes"),
        (["p3d_sizes", "--store", "x"], "this table takes nothing"),
        (["p3d_ucf101", "--weights", "other=x"], "this table takes resnet50=PATH"),
        (["p3d_ucf101", "--lists", "/nowhere"], "given as --lists ucf101, is not there"),
    ],
)
def test_wrong_usage_is_one_sentence_and_status_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduce.main(words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1


def test_steps_are_of_a_dry_run(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["p3d_ucf101", "--steps", "2"], ["p3d_ucf101", "--dry-run", "--steps", "0"]):
        with pytest.raises(SystemExit, match="2"):
            reproduce.main(words)
        assert "--steps takes a number from 1, of a --dry-run" in capsys.readouterr().err


def test_the_listing_tells_what_to_bring(capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce.main([]) == 0
    printed = capsys.readouterr().out
    for name, table in load().tables.items():
        assert f"{name}: {table.title[:40]}" in printed
    assert "--weights sports1m=PATH" in printed
    assert "About 0.5 GPU hours" in printed
    assert max(map(len, printed.splitlines())) <= 100


def test_nothing_is_run_without_what_it_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduce.main(["two_stream", "--out", str(tmp_path)]) == 0
    said = verdicts(capsys.readouterr().out)
    ours = {name: each for name, each in said.items() if name.startswith("P3D")}
    assert len(ours) == 9
    assert all(each.startswith("not run: needs --lists ") for each in ours.values())
    assert not list(tmp_path.rglob("*.log"))
