"""What the doctor prints and writes: known answers."""

import json

import pytest

from twostream.doctor.findings import Case, Diagnosis, Finding, count, printable

CASES = tuple(Case(f"{number}.avi") for number in range(5))
NOTE = Finding("note", "short", "5 videos are short.", CASES)
FAULT = Finding("fault", "unreadable", "1 video\nis not.", (Case("a\nb\udcff.avi", "is empty."),))


def test_faults_come_first_each_with_its_first_cases() -> None:
    assert Diagnosis(("summary",), (NOTE, FAULT)).text(2).splitlines() == [
        "summary",
        "fault  unreadable: 1 video\\nis not.",
        "         a\\nb\\udcff.avi: is empty.",
        "note   short: 5 videos are short.",
        "         0.avi",
        "         1.avi",
        "         and 3 more",
        "not sound: 1 fault, 1 note",
    ]


def test_notes_alone_are_sound() -> None:
    diagnosis = Diagnosis((), (NOTE, NOTE))
    assert diagnosis.sound
    assert diagnosis.text(5).count("avi") == 10
    assert "more" not in diagnosis.text(5)
    assert diagnosis.text(0).splitlines() == [
        "note   short: 5 videos are short.",
        "note   short: 5 videos are short.",
        "sound: no faults, 2 notes",
    ]


def test_json_holds_every_case() -> None:
    text = Diagnosis(("summary",), (NOTE, FAULT)).to_json()
    text.encode("ascii")  # whatever bytes a name holds
    values = json.loads(text)
    assert (values["sound"], values["summary"]) == (False, ["summary"])
    assert [case["name"] for case in values["findings"][0]["cases"]] == [
        case.name for case in CASES
    ]
    assert values["findings"][1]["cases"] == [{"name": "a\nb\udcff.avi", "detail": "is empty."}]
    assert values["findings"][1]["severity"] == "fault"


@pytest.mark.parametrize(
    ("number", "what", "words"),
    [
        (0, "fault", "no faults"),
        (1, "class", "1 class"),
        (1234, "class", "1,234 classes"),
        (2, "copy", "2 copies"),
    ],
)
def test_numbers_of_things(number: int, what: str, words: str) -> None:
    assert count(number, what) == words


def test_letters_of_any_script_stay() -> None:
    assert printable("日本 ü'&;.avi") == "日本 ü'&;.avi"
    assert printable("a\x1b[31m\r\u202e") == "a\\x1b[31m\\r\\u202e"
