"""BIDS: which image a label map was drawn on, by name and by grid; who is a subject; what labels are called."""

import pytest

from medseg import io
from medseg.config.schema import DataConfig
from medseg.core.errors import AmbiguousError, InputError
from medseg.core.geometry import Geometry
from medseg.core.labels import Labels
from medseg.data.cases import read_case
from medseg.data.layouts import open_dataset
from tests.data.folders import GRID, put_image, put_labels

OTHER_GRID = Geometry.from_spacing((3, 4, 5), (2, 2, 2))


def opened(root, **config):
    return open_dataset(root, DataConfig(**config))


def bids(root, sessions=("",), map_name="{}_dseg"):
    """Two subjects with a T1w on the grid of their label map in a derivative, and a T2w on another."""
    for subject in ("01", "02"):
        for session in sessions:
            place = f"sub-{subject}/{session + '/' if session else ''}anat"
            name = f"sub-{subject}{'_' + session if session else ''}"
            put_image(root / place / f"{name}_T1w.nii.gz")
            put_image(root / place / f"{name}_T2w.nii.gz", OTHER_GRID)
            put_labels(root / "derivatives/manual" / place / f"{map_name.format(name)}.nii.gz")
    return root


def test_label_maps_in_derivatives_meet_the_image_on_their_grid(tmp_path):
    dataset = opened(bids(tmp_path))
    assert (dataset.layout, dataset.ids, dataset.channels) == ("bids", ("sub-01", "sub-02"), ("T1w",))
    assert dataset.cases[0].images == (tmp_path / "sub-01/anat/sub-01_T1w.nii.gz",)
    assert dataset.cases[0].label == tmp_path / "derivatives/manual/sub-01/anat/sub-01_dseg.nii.gz"


def test_images_on_other_grids_are_counted_with_the_table_that_would_use_them(tmp_path):
    root = bids(tmp_path)
    assert (
        "Images of the same sessions on other grids than the label maps are not used: T2w (2). A table with the "
        "columns image_T1w, image_T2w would make channels of them."
    ) in opened(root).notes
    rows = [
        f"{s},sub-{s}/anat/sub-{s}_T1w.nii.gz,sub-{s}/anat/sub-{s}_T2w.nii.gz,"
        f"derivatives/manual/sub-{s}/anat/sub-{s}_dseg.nii.gz"
        for s in ("01", "02")
    ]
    (root / "cases.csv").write_text("\n".join(["case,image_T1w,image_T2w,label", *rows]))
    dataset = opened(root)
    assert dataset.channels == ("T1w", "T2w")
    for subject in ("01", "02"):
        (root / f"sub-{subject}/anat/sub-{subject}_T2w.nii.gz").unlink()
        put_image(root / f"sub-{subject}/anat/sub-{subject}_T2w.nii.gz", GRID.resampled((2, 4, 3)))
    assert list(read_case(dataset.cases[0], None, io.ReadOptions())[0].meta.own_grids) == [1]


def test_a_subject_is_a_group_whatever_its_sessions(tmp_path):
    dataset = opened(bids(tmp_path, ("ses-1", "ses-2")))
    assert dataset.ids == ("sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1", "sub-02_ses-2")
    assert [case.group for case in dataset.cases] == ["sub-01", "sub-01", "sub-02", "sub-02"]
    assert all(case.id.rpartition("_")[2] in str(case.images[0]) for case in dataset.cases)


def test_the_derivative_alone_finds_the_raw_tree_above_it(tmp_path):
    dataset = opened(bids(tmp_path) / "derivatives/manual")
    assert dataset.cases[1].images[0].resolve() == (tmp_path / "sub-02/anat/sub-02_T1w.nii.gz").resolve()


def test_label_maps_beside_their_images_are_bids_too(tmp_path):
    for subject in ("01", "02"):
        put_image(tmp_path / f"sub-{subject}/anat/sub-{subject}_T1w.nii.gz")
        put_labels(tmp_path / f"sub-{subject}/anat/sub-{subject}_dseg.nii.gz")
    dataset = opened(tmp_path)
    assert (dataset.layout, [case.group for case in dataset.cases]) == ("bids", ["sub-01", "sub-02"])


@pytest.mark.parametrize("name", ["{}_mask", "{}_label-lesion_mask", "{}_desc-manual_dseg", "{}_T1w_gmseg-manual"])
def test_the_usual_names_of_label_maps_are_known(tmp_path, name):
    assert opened(bids(tmp_path, map_name=name)).ids == ("sub-01", "sub-02")


def test_images_on_one_grid_are_channels_by_their_suffix(tmp_path):
    root = bids(tmp_path)
    for subject in ("01", "02"):
        put_image(root / f"sub-{subject}/anat/sub-{subject}_FLAIR.nii.gz")
    assert opened(root).channels == ("FLAIR", "T1w")
    (root / "sub-02/anat/sub-02_FLAIR.nii.gz").unlink()
    with pytest.raises(AmbiguousError, match=r"different channels: 1 × FLAIR \+ T1w; 1 × T1w"):
        opened(root)


def test_masks_of_one_structure_each_are_one_named_label_map(tmp_path):
    root = bids(tmp_path, map_name="{}_label-liver_mask")
    for subject in ("01", "02"):
        folder = root / f"derivatives/manual/sub-{subject}/anat"
        put_labels(folder / f"sub-{subject}_label-liver_mask.nii.gz", values=(1,))
        put_labels(folder / f"sub-{subject}_label-tumour_mask.nii.gz", values=(1,))
    dataset = opened(root)
    _, label_map, _ = read_case(dataset.cases[0], None, io.ReadOptions())
    assert label_map.labels.names == ("liver", "tumour")


def test_two_label_maps_of_one_session_are_refused_with_a_table_that_opens(tmp_path):
    root = bids(tmp_path)
    put_labels(root / "derivatives/automatic/sub-01/anat/sub-01_dseg.nii.gz")
    with pytest.raises(AmbiguousError, match="the label map of sub-01") as refused:
        opened(root)
    (root / "cases.csv").write_text(refused.value.table)
    assert opened(root).ids == ("sub-01", "sub-02")
    assert "derivatives/manual/sub-01/anat/sub-01_dseg.nii.gz" in refused.value.table


def test_names_come_from_the_nearest_table_and_must_agree(tmp_path):
    root = bids(tmp_path)
    table = root / "derivatives/manual/dseg.tsv"
    table.write_text("index\tname\tcolor\n0\tBackground\t#000000\n1\tcord\t#ff0000\n2\tgrey matter\t#00ff00\n")
    assert opened(root).labels == Labels({"cord": (1,), "grey matter": (2,)})
    (root / "derivatives/manual/sub-02/anat/sub-02_dseg.tsv").write_text("index\tname\n1\tlesion\n")
    with pytest.raises(InputError, match="calls the value 1 '"):
        opened(root)


def test_a_label_map_without_an_image_on_its_grid_is_a_problem(tmp_path):
    root = bids(tmp_path)
    put_image(root / "sub-02/anat/sub-02_T1w.nii.gz", OTHER_GRID)
    (problem,) = opened(root).problems
    assert problem.reason == "Case sub-02 has no image on the grid of its label map in the same session."
    assert GRID.shape != OTHER_GRID.shape
