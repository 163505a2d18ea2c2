"""The lists of several small data sets as one, for a network that starts a run on another set.

    python benchmarks/other_sets.py DATA TARGET --out lists.csv

DATA holds weizmann, ut_interaction and surveillance_fight, each a folder ``videos`` and the list
``annotations.csv`` with groups, and videos of UCF101 in ``ucf101/videos``; each is named by its
path below DATA. TARGET is left out, so that nothing of it is learned before its folds are. Every
video is one to train on.
"""

import argparse
import csv
import io
import re
import sys
from pathlib import Path

from flow.errors import InputError
from flow.files import write_atomically

LISTED = ("weizmann", "ut_interaction", "surveillance_fight")
UCF101_GROUP = re.compile(r"v_\w+_(g\d+)_c\d+\.avi")

Row = tuple[str, str, str]
"""The video's path below DATA, its label and its group."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("target", choices=LISTED)
    parser.add_argument("--out", type=Path, required=True, help="CSV file for the list")
    arguments = parser.parse_args()
    try:
        rows = others(arguments.data, arguments.target)
    except InputError as problem:
        print(problem, file=sys.stderr)
        return 2
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("video", "label", "group", "split"))
    writer.writerows((*row, "train") for row in rows)
    write_atomically(arguments.out, text.getvalue().encode())
    classes = {label for _, label, _ in rows}
    print(f"{len(rows)} videos of {len(classes)} classes; {arguments.out}")
    return 0


def others(data: Path, target: str) -> list[Row]:
    """All videos but those of ``target``; labels and groups with their data set before them."""
    rows = [row for name in LISTED if name != target for row in _listed(data, name)]
    return rows + _ucf101(data)


def _listed(data: Path, name: str) -> list[Row]:
    lists = data / name / "annotations.csv"
    if not lists.is_file():
        raise InputError(f"{lists} is not there; put the data set into {data}.")
    with lists.open(newline="") as file:
        return [
            (f"{name}/videos/{row['video']}", f"{name} {row['label']}", f"{name} {row['group']}")
            for row in csv.DictReader(file)
        ]


def _ucf101(data: Path) -> list[Row]:
    rows = []
    for path in sorted((data / "ucf101" / "videos").glob("*/*.avi")):
        group = UCF101_GROUP.fullmatch(path.name)
        if group is None:
            raise InputError(f"{path} is not named as a video of UCF101; take it away.")
        label = path.parent.name
        rows.append((str(path.relative_to(data)), f"ucf101 {label}", f"ucf101 {label} {group[1]}"))
    return rows


if __name__ == "__main__":
    sys.exit(main())
