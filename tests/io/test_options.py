"""`--read KEY=VALUE`: what is allowed, what a slip is answered with, and the way into a model and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.core.errors import UsageError
from medseg.io import ReadOptions

pairs = st.fixed_dictionaries(
    {},
    optional={
        "geometry": st.sampled_from(["auto", "sform", "qform"]),
        "channels": st.sampled_from(["auto", "last"]),
        "space": st.sampled_from(["auto", "lps", "ras"]),
        "volume": st.integers(0, 99).map(str),
        "series": st.from_regex(r"[0-9][0-9.]{0,20}", fullmatch=True),
    },
)


@given(pairs)
def test_options_come_back_from_their_pairs(given_pairs):
    options = ReadOptions.parse(given_pairs)
    assert ReadOptions.parse(options.to_pairs()) == options
    assert set(options.to_pairs()) == {key for key, value in given_pairs.items() if value != "auto"}


def test_the_defaults_need_no_pairs():
    assert ReadOptions().to_pairs() == {}
    assert ReadOptions.parse({}) == ReadOptions()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"geometri": "sform"}, "'geometri' is no key .* did you mean 'geometry'"),
        ({"xyz": "1"}, "known are geometry, channels, volume, space, series"),
        ({"geometry": "pform"}, "geometry is one of auto, sform, qform"),
        ({"volume": "-1"}, "whole number, counted from 0"),
        ({"volume": "²"}, "whole number, counted from 0"),
        ({"series": " "}, "give a SeriesInstanceUID"),
    ],
)
def test_a_wrong_key_or_value_is_answered_with_what_is_allowed(wrong, sentence):
    with pytest.raises(UsageError, match=sentence):
        ReadOptions.parse(wrong)
