from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.config.schema import Config
from medseg.core.errors import PlanError
from medseg.core.labels import Labels
from medseg.data.fingerprint import CaseGrid, ChannelFacts, Fingerprint, LabelFacts
from medseg.plan.cost import step_gflop
from medseg.plan.plan import Plan
from medseg.plan.rules import SLACK, DeviceFacts, make_plan

LAPTOP = DeviceFacts("cpu", gflops=85, memory_gib=8)
GPU = DeviceFacts("cuda", gflops=20_000, memory_gib=16)
LABELS = Labels({"organ": (1,), "tumour": (2,)})


def fingerprint(
    shape=(96, 96, 64), spacing=(1.0, 1.0, 1.0), *, placed=True, label_ml=20.0, is_ct=False, zero_share=0.0
):
    numbers = dict.fromkeys(("low", "median", "whole_low", "whole_median", "whole_mean", "mean"), 0.0)
    ones = dict.fromkeys(("high", "sd", "whole_high", "whole_sd"), 1.0)
    channel = ChannelFacts(name="scan", is_ct=is_ct, ct_reason="said", zero_share=zero_share, **numbers, **ones)
    label = {"n_cases": 1, "smallest_ml": label_ml, "median_ml": label_ml, "largest_ml": label_ml, "frequency": 0.1}
    return Fingerprint(
        cases=(CaseGrid(case="a", shape=shape, spacing_mm=spacing, orientation="RAS", placed=placed, memory_mib=1.0),),
        median_shape=shape,
        median_spacing_mm=spacing,
        placed=placed,
        channels=(channel,),
        labels=(LabelFacts(name="organ", values=(1,), **label), LabelFacts(name="tumour", values=(2,), **label)),
    )


def plan(of=None, device=LAPTOP, budget_s=600.0, labels=LABELS, **sections):
    return make_plan(of or fingerprint(), Config(**sections), labels, device, budget_s)


shapes = st.tuples(*[st.integers(1, 600)] * 3)
spacings = st.tuples(*[st.floats(0.05, 8)] * 3)


@given(shape=shapes, spacing=spacings, budget=st.floats(60, 1e5), device=st.sampled_from([LAPTOP, GPU]))
@settings(max_examples=40, deadline=None)
def test_any_data_and_budget_give_a_plan_that_survives_json(shape, spacing, budget, device):
    made = plan(fingerprint(shape, spacing), device, budget)
    assert Plan.model_validate(made.to_json()) == made
    assert all(side % d == 0 for side, d in zip(made.patch, made.network.divisor, strict=True))
    assert made.reasons.keys() >= {"dimensions", "patch", "spacing", "cost"}


@given(shape=shapes, budget=st.floats(300, 1e5))
@settings(max_examples=40, deadline=None)
def test_a_step_costs_what_the_budget_pays_for_unless_the_patch_is_the_smallest(shape, budget):
    made = plan(fingerprint(shape), budget_s=budget)
    allowed = 85 * 0.85 * budget / (220 * (budget / 60) ** 0.5)
    cost = step_gflop(made.network, made.patch, made.batch)
    assert cost <= SLACK * allowed or max(made.patch) <= 64


def test_equal_inputs_make_equal_plans():
    assert plan() == plan()


def test_more_time_never_sees_less_of_a_case():
    seen = [prod(plan(budget_s=seconds).patch) for seconds in (120, 600, 3600, 36_000)]
    assert seen == sorted(seen)


def test_small_images_are_seen_whole():
    assert plan(fingerprint((35, 50, 36))).patch == (40, 56, 40)


def test_a_short_budget_makes_the_grid_of_large_scans_coarser_and_says_so():
    made = plan(fingerprint((512, 512, 120), (0.7, 0.7, 2.0), label_ml=1500), budget_s=600)
    assert 0.7 < made.preprocessing.spacing_mm[0] <= 2.1
    assert made.preprocessing.spacing_mm[2] >= 2.0
    assert "coarser" in made.reasons["spacing"]


def test_tiny_labels_keep_the_grid_fine():
    made = plan(fingerprint((512, 512, 120), (0.7, 0.7, 2.0), label_ml=0.2), budget_s=600)
    assert made.preprocessing.spacing_mm == (0.7, 0.7, 2.0)


def test_channels_on_grids_of_their_own_are_stated_in_the_plan():
    one = fingerprint()
    first, second = (one.channels[0].model_copy(update={"name": name}) for name in ("CT", "PET"))
    second = second.model_copy(update={"n_own_grid": 1})
    made = plan(one.model_copy(update={"channels": (first, second)}))
    assert made.reasons["channels on grids of their own"].startswith("PET in 1 of 1 cases: brought to the grid of CT")
    assert "channels on grids of their own" not in plan(one.model_copy(update={"channels": (first, first)})).reasons


def test_the_spacing_of_the_configuration_wins():
    assert plan(plan={"spacing_mm": (2, 2, 4)}).preprocessing.spacing_mm == (2, 2, 4)


def test_thick_slices_are_interpolated_apart():
    assert plan(fingerprint((256, 256, 20), (0.6, 0.6, 4.0))).preprocessing.thick_axis == 2
    assert plan(fingerprint((256, 256, 20), (0.6, 0.6, 1.0))).preprocessing.thick_axis is None


def test_single_slices_make_a_flat_plan_that_mirrors_and_keeps_its_pixels():
    made = plan(fingerprint((512, 512, 1), placed=False))
    assert (made.dimensions, made.slice_axis, made.network_axes) == (2, 2, (0, 1))
    assert made.preprocessing.spacing_mm == (None, None, None)
    assert made.mirror_axes == (0, 1)


def test_volumes_can_be_learnt_slice_by_slice_along_their_thickest_axis():
    made = plan(fingerprint((40, 256, 256), (3.0, 0.9, 0.9)), plan={"dimensions": 2})
    assert (made.slice_axis, made.network_axes) == (0, (1, 2))
    assert made.preprocessing.spacing_mm[0] is None
    assert len(made.patch) == 2


def test_a_three_dimensional_network_is_refused_for_pictures():
    with pytest.raises(PlanError, match="single slices of 512 × 512 × 1 voxels. Use -c unet2d"):
        plan(fingerprint((512, 512, 1), placed=False), plan={"dimensions": 3})


def test_bodies_are_not_mirrored_unless_asked():
    assert plan().mirror_axes == ()
    assert plan(augmentation={"mirror_axes": (0,)}).mirror_axes == (0,)


def test_mirroring_along_the_slice_axis_is_refused_by_number():
    with pytest.raises(PlanError, match=r"names axis 2, but this plan has the axes \[0, 1\]"):
        plan(fingerprint((64, 64, 9), (1, 1, 5)), plan={"dimensions": 2}, augmentation={"mirror_axes": (2,)})


def test_ct_is_clipped_by_the_data_set_and_all_else_scored_by_the_case():
    ct = plan(fingerprint(is_ct=True)).preprocessing.normalisation[0]
    assert (ct.scheme, ct.low, ct.high, ct.mean, ct.sd) == ("ct", 0.0, 1.0, 0.0, 1.0)
    assert plan().preprocessing.normalisation[0].scheme == "zscore"


def test_stripped_skulls_are_scored_without_their_background():
    assert plan(fingerprint(zero_share=0.6)).preprocessing.normalisation[0].nonzero
    assert not plan(fingerprint(zero_share=0.01)).preprocessing.normalisation[0].nonzero


def test_patch_and_batch_of_the_configuration_win():
    made = plan(plan={"patch": (32, 48, 16), "batch": 3})
    assert (made.patch, made.batch) == ((32, 48, 16), 3)


def test_a_patch_with_too_few_numbers_is_refused():
    with pytest.raises(PlanError, match=r"plan.patch has 2 numbers, but the network has 3 axes"):
        plan(plan={"patch": (32, 48)})


def test_asking_for_more_stages_than_a_patch_has_gives_them():
    assert len(plan(fingerprint((32, 32, 32)), network={"stages": 6}).network.features) == 6


def test_features_that_do_not_fit_the_stages_are_one_sentence():
    with pytest.raises(PlanError, match="cannot be built: .* features"):
        plan(network={"features": (8, 16), "strides": ((1, 1, 1),), "kernels": ((3, 3, 3),)})


def test_labels_travel_with_gaps_regions_and_the_ignored():
    labels = Labels({"whole": (1, 2, 4), "core": (2, 4)}, ignore=9)
    made = plan(labels=labels)
    assert made.network.n_classes == 4
    assert made.label_names == labels


def test_a_patch_that_no_machine_holds_is_refused():
    with pytest.raises(PlanError, match="no machine holds so many voxels"):
        plan(plan={"patch": (4096, 4096, 4096)})


def test_a_spacing_that_makes_cases_no_machine_holds_is_refused_before_planning():
    with pytest.raises(PlanError, match="no machine holds a case that fine"):
        plan(plan={"spacing_mm": (1e-9, 1e-9, 1e-9)})
