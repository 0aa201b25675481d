import pytest

from medseg.config.units import parse_bytes, parse_seconds
from medseg.core.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("2h", 7200), ("1h30m", 5400), ("0.5h", 1800), (" 3 M ", 180)]
)
def test_durations_are_written_as_people_write_them(text, seconds):
    assert parse_seconds(text, "--budget") == seconds


@pytest.mark.parametrize("text", ["", "15", "m", "15x", "-3m", "0s", "1h nonsense"])
def test_what_is_no_duration_is_refused_with_examples(text):
    with pytest.raises(UsageError, match=r"--budget .* is no duration: write 90s, 15m, 2h or 1h30m"):
        parse_seconds(text, "--budget")


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [("8G", 8 * 2**30), ("500M", 500 * 2**20), ("1.5g", 3 * 2**29), ("2GiB", 2**31), ("4096", 4096)],
)
def test_amounts_of_memory_are_read(text, n_bytes):
    assert parse_bytes(text, "--max-memory") == n_bytes


@pytest.mark.parametrize("text", ["9" * 400 + "s", "9" * 30 + "d", "1" * 5000 + "h", "11000d"])
def test_a_duration_beyond_ten_years_is_a_slip(text):
    with pytest.raises(UsageError, match="is longer than ten years") as caught:
        parse_seconds(text, "--budget")
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize("text", ["9" * 400, "9" * 400 + "G", "9" * 5000 + "T", "2000000T", "0.4"])
def test_more_memory_than_any_machine_has_is_a_slip(text):
    with pytest.raises(UsageError, match="more than any machine has") as caught:
        parse_bytes(text, "--max-memory")
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize("text", ["", "G", "8X", "-1G", "0"])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(UsageError, match="is no amount of memory"):
        parse_bytes(text, "--max-memory")
