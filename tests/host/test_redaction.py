"""What leaves the device in logs and bundles holds no secret."""

from __future__ import annotations

import logging

import pytest

from agent.host.logbook import MAX_LINE_CHARACTERS, Logbook
from agent.host.redaction import HIDDEN, redacted, redacted_tree

KEY = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEI\n-----END EC PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "secret", "kept"),
    [
        ("open rtsp://admin:hunter2@10.0.0.7/1 failed", "hunter2", "10.0.0.7/1 failed"),
        ("http://tok3n@host/x", "tok3n", "host/x"),
        ("GET /a?access_token=abc123&n=5", "abc123", "&n=5"),
        ("password: hunter2, next", "hunter2", ", next"),
        ('{"api_key": "abc123", "fps": 5}', "abc123", '"fps": 5'),
        ("Authorization: Bearer abc.def", "abc.def", "Authorization"),
        (f"before {KEY} after", "MHcCAQEEI", "after"),
        ("rtsp://admin:@hunter2/ failed", "admin", "failed"),
        ("sent Authorization: basic aHVudGVyMg==", "aHVudGVyMg", "sent"),
        ("cookie vigil_session=abc123; path=/", "abc123", "path=/"),
        ("passwd=hunter2 refused", "hunter2", "refused"),
        ("--pin 'x' token_pin: 4321, so-pin=8765", "4321", "token_pin"),
        ("api_key: abc123", "abc123", "api_key"),
        ("cut -----BEGIN PRIVATE KEY-----\nMHcCAQEEI", "MHcCAQEEI", "cut"),
    ],
)
def test_a_secret_is_taken_out_and_the_rest_is_kept(text: str, secret: str, kept: str) -> None:
    clean = redacted(text)
    assert secret not in clean
    assert kept in clean


def test_what_is_no_secret_stays_as_it_is() -> None:
    text = "camera door: 5 frames/s at http://10.0.0.7:8080/a?n=5 [camera.stalled]"
    assert redacted(text) == text


def test_fields_that_are_called_secrets_are_hidden_and_paths_to_them_are_not() -> None:
    tree = {"password": "x", "token_file": "/etc/t", "list": [{"url": "rtsp://u:p@h/"}], "n": 5}
    assert redacted_tree(tree) == {
        "password": HIDDEN,
        "token_file": "/etc/t",
        "list": [{"url": f"rtsp://{HIDDEN}@h/"}],
        "n": 5,
    }


@pytest.fixture
def book() -> Logbook:
    return Logbook(max_lines=3)


def say(book: Logbook, level: int, text: str, **extra: object) -> None:
    record = logging.LogRecord("a.b", level, "f", 1, text, None, extra.get("error"))  # type: ignore[arg-type]
    book.handle(record)


def test_the_newest_lines_come_first_and_old_ones_make_room(book: Logbook) -> None:
    for number in range(5):
        say(book, logging.INFO, f"line {number}")
    assert [line.text for line in book.newest()] == ["line 4", "line 3", "line 2"]


def test_a_line_that_was_handed_in_late_stands_where_its_time_is(book: Logbook) -> None:
    first, second = (
        logging.makeLogRecord({"msg": text, "levelno": logging.INFO, "created": at_s})
        for text, at_s in (("first", 1.0), ("second", 2.0))
    )
    for record in (second, first):
        book.handle(record)
    assert [line.text for line in book.newest()] == ["second", "first"]


def test_lines_can_be_asked_for_by_level_and_time(book: Logbook) -> None:
    say(book, logging.INFO, "one")
    say(book, logging.ERROR, "two")
    assert [line.text for line in book.newest(logging.WARNING)] == ["two"]
    assert book.newest(since_ms=book.newest()[0].at_ms + 1) == []


def test_a_line_is_redacted_bounded_and_brings_its_traceback(book: Logbook) -> None:
    try:
        int("rtsp://u:hunter2@h/")
    except ValueError as error:
        caught = (ValueError, error, error.__traceback__)
    say(book, logging.ERROR, "failed", error=caught)
    say(book, logging.INFO, "x" * 10_000)
    long, trace = book.newest()
    assert len(long.text) == MAX_LINE_CHARACTERS
    assert "ValueError" in trace.text
    assert "hunter2" not in trace.text
