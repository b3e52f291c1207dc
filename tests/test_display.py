"""Numbers in few digits, and foreign text that cannot drive a terminal."""

from __future__ import annotations

import ast
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import localq
from localq.display import age, byte_size, duration, printable, printable_lines, short_count

NOW = 1_800_000_000.0
SOURCES = sorted(Path(localq.__file__).parent.rglob("*.py"))


class TestNumbers:
    @pytest.mark.parametrize(
        ("size", "text"),
        [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (76_300_000, "76.3 MB"),
            (999_400_000, "999 MB"),
            (999_600_000, "1.0 GB"),
            (17_179_869_184, "17.2 GB"),
            (123_400_000_000, "123 GB"),
            (5e18, "5000000 TB"),
            (-1_500_000, "-1.5 MB"),
        ],
    )
    def test_byte_size(self, size: float, text: str) -> None:
        assert byte_size(size) == text

    @pytest.mark.parametrize(
        ("number", "text"),
        [
            (0, "0"),
            (999, "999"),
            (260_032, "260K"),
            (134_515_008, "135M"),
            (1_543_714_304, "1.5B"),
            (7_000_000_000, "7B"),
            (46_702_792_704, "46.7B"),
            (1_000_000_000_000, "1T"),
        ],
    )
    def test_short_count(self, number: int, text: str) -> None:
        assert short_count(number) == text

    @given(st.integers(1, 10**15))
    def test_three_digits_or_fewer_and_true_to_half_of_the_last(self, number: int) -> None:
        for text, space in ((byte_size(number), " "), (short_count(number), "")):
            match = re.fullmatch(rf"(\d{{1,4}}(?:\.\d)?){space}([a-zA-Z]*)", text)
            assert match
            unit = {"": 1, "B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12} if space else {}
            scale = unit.get(match[2]) or {"": 1, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}[match[2]]
            assert len(match[1].replace(".", "")) <= 4 - (number < 999.5e12)
            assert abs(float(match[1]) * scale - number) <= 0.0527 * number

    @pytest.mark.parametrize(
        ("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (3723, "1:02:03"), (-1, "0:00")]
    )
    def test_duration(self, seconds: float, text: str) -> None:
        assert duration(seconds) == text

    @pytest.mark.parametrize(
        ("passed", "text"),
        [
            (-5, "just now"),
            (59, "just now"),
            (61, "1 min ago"),
            (3599, "59 min ago"),
            (7200, "2 h ago"),
            (86400 * 29, "29 d ago"),
        ],
    )
    def test_age(self, passed: float, text: str) -> None:
        assert age(NOW - passed, NOW) == text

    def test_old_age_is_a_date(self) -> None:
        then = NOW - 86400 * 40
        assert age(then, NOW) == time.strftime("%Y-%m-%d", time.localtime(then))
        assert age(0, NOW) == "never"


class TestText:
    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("plain", "plain"),
            ("a\tb\r\nc", "a b c"),
            ("\x1b[31mred\x9b0m", "\ufffd[31mred\ufffd0m"),
            ("\u202egnp.exe\u2066", "\ufffdgnp.exe\ufffd"),
            ("half \ud800 pair", "half \ufffd pair"),
            ("a\u200eb\ufeffc\U000e0041d", "abcd"),
            ("中文 👩\u200d💻", "中文 👩\u200d💻"),
        ],
    )
    def test_printable(self, text: str, shown: str) -> None:
        assert printable(text) == shown

    def test_printable_lines(self) -> None:
        assert printable_lines("a\r\n\tb\x07\n\x1bc") == "a\n\tb\ufffd\n\ufffdc"

    @given(st.text())
    def test_nothing_that_drives_a_terminal_is_left(self, text: str) -> None:
        driving = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
        assert not driving.search(printable(text))
        assert not driving.search(re.sub(r"[\n\t]", "", printable_lines(text)))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: "/".join(path.parts[-2:]))
def test_no_message_counts_bytes_on_its_own(path: Path) -> None:
    """`{size / 1e9:.1f} GB` in an f-string is a number that display.py would write otherwise."""
    if path.name == "display.py":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            for value, after in zip(node.values, node.values[1:], strict=False):
                text = after.value if isinstance(after, ast.Constant) else ""
                assert not (
                    isinstance(value, ast.FormattedValue)
                    and re.match(r" ?([kKMGT]i?B)\b", str(text))
                ), f"{path}:{node.lineno}"
