"""What a user asks for, as one value; what is wrong is named, with the nearest right word."""

import pytest

from medseg.core.errors import UsageError
from medseg.core.labels import Labels
from medseg.evaluate import DEFAULT_METRICS, METRICS, EvaluateOptions, metric_of, parse_labels, parse_tolerances


def test_metrics_may_be_named_without_their_unit_and_come_in_the_order_of_tables():
    assert EvaluateOptions(metrics=("hd95", "Dice", "nsd")).metrics == ("dice", "hd95_mm", "nsd")
    # The sub-challenges of BraTS are asked for by name.
    assert EvaluateOptions(metrics=("all",)).metrics == tuple(name for name in METRICS if "brats" not in name)
    assert EvaluateOptions().metrics == DEFAULT_METRICS


def test_a_pooled_hd95_has_another_name():
    options = EvaluateOptions(hd95_definition="pooled")
    assert "hd95_pooled_mm" in options.metrics
    assert "hd95_mm" not in options.metrics


def test_figures_of_other_boundaries_have_other_names():
    options = EvaluateOptions(
        boundary="surfels", hd95_definition="pooled", metrics=("dice", "hd", "hd95", "nsd", "hd99")
    )
    assert options.metrics == ("dice", "hd_surfels_mm", "hd95_pooled_surfels_mm", "hd99_surfels_mm", "nsd_surfels")
    both = EvaluateOptions(metrics=("hd95", "hd95_voxels", "nsd"))
    assert both.metrics == ("hd95_mm", "hd95_voxels_mm", "nsd")


def test_any_percentile_is_a_metric_and_other_words_are_none():
    assert metric_of("hd99.5_mm").distance.q == 99.5
    assert metric_of("hd90_pooled_voxels_mm").title == "HD90 (pooled, voxels)"
    for wrong in ("hd0", "hd100_mm_mm", "assd_pooled_mm", "dice_surfels", "lesion_hd95_brats2023_xyz_mm"):
        with pytest.raises(UsageError, match="There is no metric"):
            metric_of(wrong)


def test_lesions_add_their_metrics():
    options = EvaluateOptions(lesions=True)
    assert {"lesion_f1", "pq", "lesions_missed", "dice"} <= set(options.metrics)


def test_an_unknown_metric_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match="no metric 'dise'. Did you mean 'dice'"):
        EvaluateOptions(metrics=("dise",))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"tolerance_mm": -1.0}, "from 0 on"),
        ({"tolerances_mm": {"liver": float("nan")}}, "'liver' is nan"),
        ({"jobs": 0}, "jobs is 0"),
        ({"level": 95}, "between 0 and 1"),
        ({"hd95_definition": "mean"}, "'max' or 'pooled'"),
        ({"boundary": "edges"}, "faces, surfels, voxels, not 'edges'"),
        ({"connectivity": 8}, "6, 18 or 26"),
    ],
)
def test_a_number_out_of_range_is_refused(wrong, words):
    with pytest.raises(UsageError, match=words):
        EvaluateOptions(**wrong)


def test_labels_are_chosen_by_name_and_an_unknown_one_is_refused():
    labels = Labels({"liver": (1,), "spleen": (2,)})
    assert EvaluateOptions().select(labels) == ("liver", "spleen")
    assert EvaluateOptions(labels=("spleen",)).select(labels) == ("spleen",)
    with pytest.raises(UsageError, match="no label 'livre'. Did you mean 'liver'"):
        EvaluateOptions(labels=("livre",)).select(labels)
    with pytest.raises(UsageError, match="no label 'kidney'"):
        EvaluateOptions(tolerances_mm={"kidney": 1.0}).select(labels)


def test_tolerances_are_for_all_or_for_one_label():
    assert parse_tolerances([]) == (1.0, {})
    assert parse_tolerances(["2", "liver=3.0"]) == (2.0, {"liver": 3.0})
    with pytest.raises(UsageError, match="not 'liver=wide'"):
        parse_tolerances(["liver=wide"])


def test_labels_are_declared_or_chosen():
    declared, chosen = parse_labels(["liver=1", "whole=1+2", "ignore=255"])
    assert (declared, chosen) == (Labels({"liver": (1,), "whole": (1, 2)}, ignore=255), ())
    assert parse_labels(["liver", "spleen"]) == (None, ("liver", "spleen"))
    with pytest.raises(UsageError, match="mixed"):
        parse_labels(["liver=1", "spleen"])
    with pytest.raises(UsageError, match="not as 'liver=one'"):
        parse_labels(["liver=one"])
