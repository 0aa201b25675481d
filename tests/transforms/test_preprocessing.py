"""Preprocessing as a value: what is incomplete is refused where it is stated."""

import pytest
from pydantic import ValidationError

from medseg.transforms.preprocessing import ChannelNormalisation, Preprocessing


@pytest.mark.parametrize(
    ("stated", "missing"),
    [
        ({"scheme": "ct", "low": -100, "high": 200, "mean": 40}, "sd"),
        ({"scheme": "ct"}, "low, high, mean, sd"),
        ({"scheme": "rescale", "high": 255}, "low"),
    ],
)
def test_a_scheme_without_its_numbers_is_refused_by_their_names(stated, missing):
    with pytest.raises(ValidationError, match=f'the scheme "{stated["scheme"]}" needs {missing}'):
        ChannelNormalisation(**stated)


def test_a_range_that_descends_is_refused_with_both_numbers():
    with pytest.raises(ValidationError, match=r"low is 255.0 and high 0.0"):
        ChannelNormalisation(scheme="rescale", low=255, high=0)


@pytest.mark.parametrize("scheme", ["zscore", "percentile", "none"])
def test_schemes_that_measure_on_the_case_need_no_numbers(scheme):
    assert ChannelNormalisation(scheme=scheme).low is None


def test_it_comes_back_from_json_as_it_was():
    how = Preprocessing(
        spacing_mm=(0.8, 0.8, None),
        thick_axis=2,
        normalisation=(
            ChannelNormalisation(scheme="ct", low=-1, high=2, mean=0.5, sd=1),
            ChannelNormalisation(scheme="none"),
        ),
    )
    assert Preprocessing.model_validate_json(how.model_dump_json()) == how
