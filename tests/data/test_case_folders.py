"""One folder a case, or many cases in one: what is an image, what a mask, what a channel; and what is in doubt."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg import io
from medseg.config.schema import DataConfig
from medseg.core.errors import AmbiguousError, InputError
from medseg.core.labels import Labels
from medseg.data.case_ids import folder_ids
from medseg.data.cases import read_case
from medseg.data.dataset import safe_id
from medseg.data.inputs import find_cases
from medseg.data.layouts import open_dataset
from medseg.data.layouts.sources import looks_like_mask
from medseg.io.names import file_key
from tests.data.folders import declare, paired, put_image, put_labels, touch


def opened(root, **config):
    return open_dataset(root, DataConfig(**config))


def brats(root, n=2, suffixes=("flair", "t1", "t1ce", "t2"), name="BraTS20_Training_{:03d}_"):
    for number in range(1, n + 1):
        case = name.format(number)
        for channel, suffix in enumerate(suffixes):
            put_image(root / case[:-1] / f"{case}{suffix}.nii.gz", seed=10 * number + channel)
        put_labels(root / case[:-1] / f"{case}seg.nii.gz", values=(1, 4))
    return root


def settled(root, refused):
    (root / "cases.csv").write_text(refused.value.table)
    dataset = opened(root)
    assert dataset.layout == "table"
    return dataset


@pytest.mark.parametrize("name", ["BraTS20_Training_{:03d}_", "BraTS-GLI-{:05d}-000-"])
def test_brats_is_recognised_with_its_channels_and_no_name_is_invented(tmp_path, name):
    dataset = opened(brats(tmp_path, name=name))
    first = name.format(1)[:-1]
    assert (dataset.layout, dataset.channels) == ("folders", ("flair", "t1", "t1ce", "t2"))
    assert dataset.ids[0] == first
    assert dataset.cases[0].label.name == f"{name.format(1)}seg.nii.gz"
    assert dataset.labels is None
    assert f"Layout folders: {first} has {name.format(1)}flair.nii.gz and {name.format(1)}seg.nii.gz." in dataset.notes


def test_brats_in_groups_of_folders_and_with_declared_labels(tmp_path):
    brats(tmp_path / "HGG")
    brats(tmp_path / "LGG", 1, name="LGG_{:03d}_")
    declare(tmp_path, labels={"whole": [1, 4], "core": 4})
    dataset = opened(tmp_path)
    assert dataset.ids == ("BraTS20_Training_001", "BraTS20_Training_002", "LGG_001")
    assert dataset.labels == Labels({"whole": (1, 4), "core": (4,)})


def test_totalsegmentators_folders_of_masks_become_named_labels(tmp_path):
    for case in ("s0001", "s0002"):
        put_image(tmp_path / case / "ct.nii.gz")
        for organ in ("liver", "kidney_left"):
            put_labels(tmp_path / case / f"segmentations/{organ}.nii.gz", values=(1,))
    dataset = opened(tmp_path)
    assert (dataset.ids, dataset.channels) == (("s0001", "s0002"), ("ct",))
    assert dataset.cases[0].label == {
        organ: tmp_path / f"s0001/segmentations/{organ}.nii.gz" for organ in ("kidney_left", "liver")
    }
    _, label_map, _ = read_case(dataset.cases[0], None, io.ReadOptions())
    assert set(label_map.labels.names) == {"liver", "kidney_left"}


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("ct.nii.gz", "Segmentation.nii.gz"),
        ("volume.nrrd", "volume-label.nrrd"),
        ("T1.mha", "liverMask.mha"),
        ("T1.nrrd", "T1.seg.nrrd"),
        ("{case}.nii.gz", "{case}_gt.nii.gz"),
        ("scan.png", "labels.png"),
    ],
)
def test_a_mask_is_known_by_its_name(tmp_path, image, mask):
    for case in ("p1", "p2"):
        put_image(tmp_path / case / image.format(case=case)) if image[-3:] != "png" else png(tmp_path / case / image)
        put_labels(tmp_path / case / mask.format(case=case)) if mask[-3:] != "png" else png(tmp_path / case / mask)
    dataset = opened(tmp_path)
    assert dataset.ids == ("p1", "p2")
    assert dataset.cases[0].label.name == mask.format(case="p1")
    assert dataset.cases[1].images[0].name == image.format(case="p2")


def png(path):
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (5, 4)).save(path)


def test_pairs_in_one_folder_are_a_case_each_and_what_has_no_mask_is_unlabelled(tmp_path):
    for case in ("c1", "c1_late", "c2"):
        put_image(tmp_path / f"{case}.nii.gz")
        put_labels(tmp_path / f"{case}_seg.nii.gz")
    put_image(tmp_path / "new.nii.gz")
    put_labels(tmp_path / "lost_seg.nii.gz")
    dataset = opened(tmp_path)
    assert dataset.ids == ("c1", "c1_late", "c2")
    assert [path.name for case in dataset.cases for path in case.images] == ["c1.nii.gz", "c1_late.nii.gz", "c2.nii.gz"]
    assert [case.id for case in dataset.unlabelled] == ["new"]
    assert [problem.id for problem in dataset.problems] == ["lost"]


STEMS = st.from_regex(r"[a-f][a-f0-9]{0,4}([-_ ][a-f0-9]{1,3})?", fullmatch=True).filter(
    lambda s: not looks_like_mask(s)
)


@given(
    st.lists(STEMS, min_size=2, max_size=5, unique=True),
    st.sampled_from(["_seg", "-label", "_mask", ".seg", "-mask", "_labels"]),
)
def test_whatever_stems_are_called_each_meets_its_own_mask(tmp_path_factory, stems, suffix):
    root = tmp_path_factory.mktemp("flat")
    for stem in stems:
        touch(root / f"{stem}.nrrd")
        touch(root / f"{stem}{suffix}.nrrd")
    dataset = opened(root)
    assert {case.id: (case.images[0].name, case.label.name) for case in dataset.cases} == {
        stem: (f"{stem}.nrrd", f"{stem}{suffix}.nrrd") for stem in stems
    }


def test_two_masks_of_one_image_are_refused_with_a_table_that_opens(tmp_path):
    for case in ("p1", "p2"):
        put_image(tmp_path / case / "ct.nii.gz")
        for organ in ("liver", "tumour"):
            put_labels(tmp_path / case / f"{organ}_mask.nii.gz", values=(1,))
    with pytest.raises(AmbiguousError, match="could be the image or the label map of p1, p2") as refused:
        opened(tmp_path)
    assert "# p1,p1/ct.nii.gz,p1/tumour_mask.nii.gz,," in refused.value.table
    assert settled(tmp_path, refused).cases[0].label == tmp_path / "p1/liver_mask.nii.gz"
    lines = refused.value.table.splitlines()
    both = [line.removeprefix("# ") for line in lines if line.count("_mask") == 2]
    (tmp_path / "cases.csv").write_text("\n".join([lines[0], *both]))
    assert list(opened(tmp_path).cases[1].label) == ["liver", "tumour"]


def test_a_volume_and_its_series_in_one_folder_are_two_channels_or_refused_where_they_differ(tmp_path):
    for case, images in {"p1": ["ct", "pet"], "p2": ["ct"], "p3": ["ct", "mr"], "p4": ["pet"]}.items():
        for image in images:
            put_image(tmp_path / case / f"{image}.nii.gz")
        put_labels(tmp_path / case / "seg.nii.gz")
    with pytest.raises(AmbiguousError, match=r"different channels: 1 × ct \+ pet; ") as refused:
        opened(tmp_path)
    assert len(settled(tmp_path, refused).cases) == 4


def test_a_case_that_lacks_a_channel_of_most_is_a_problem(tmp_path):
    brats(tmp_path, 3)
    (tmp_path / "BraTS20_Training_002/BraTS20_Training_002_t2.nii.gz").unlink()
    put_image(tmp_path / "BraTS20_Training_003/BraTS20_Training_003_old.nii.gz")
    put_image(tmp_path / "BraTS20_Training_004/BraTS20_Training_004_t1.nii.gz")
    brats(tmp_path, 6)
    (tmp_path / "BraTS20_Training_002/BraTS20_Training_002_t2.nii.gz").unlink()
    dataset = opened(tmp_path)
    assert [problem.reason for problem in dataset.problems] == [
        "Case BraTS20_Training_002 lacks channel t2; it has flair, t1, t1ce."
    ]
    assert len(dataset.cases) == 5
    assert any("left out: old" in note for note in dataset.notes)


def test_a_dicom_series_is_an_image_beside_a_mask_file(tmp_path, shared_data):
    series = shared_data / "dicom/ct/philips_axial_5mm"
    shutil.copytree(series, tmp_path / "p1/scan")
    shutil.copytree(series, tmp_path / "p2")
    for case in ("p1", "p2"):
        put_labels(tmp_path / case / "mask.nii.gz")
    dataset = opened(tmp_path)
    assert [case.images[0] for case in dataset.cases] == [tmp_path / "p1/scan", tmp_path / "p2"]


def test_data_sets_of_another_kind_are_no_cases_of_this_one(tmp_path):
    paired(tmp_path / "one")
    paired(tmp_path / "three", images="img", labels="masks")
    brats(tmp_path / "two")
    dataset = opened(tmp_path)
    assert dataset.ids == ("BraTS20_Training_001", "BraTS20_Training_002") or dataset.ids[0].startswith("two")
    assert dataset.unlabelled == ()
    declare(tmp_path / "one", training=[{"image": "images/c_0.nii.gz", "label": "labels/c_0.nii.gz"}])
    with pytest.raises(InputError, match=r"one is one: did you mean that\?"):
        opened(tmp_path)


def test_a_folder_of_images_alone_is_no_data_set(tmp_path):
    put_image(tmp_path / "p1/ct.nii.gz")
    with pytest.raises(InputError, match="is no data set that medseg knows"):
        opened(tmp_path)
    with pytest.raises(InputError, match=r"no folder with a scan and a label map called"):
        opened(tmp_path, layout="folders")


def acdc(root, n=2):
    for number in range(1, n + 1):
        for frame in ("01", "13"):
            name = f"patient{number:03d}_frame{frame}"
            put_image(root / f"patient{number:03d}/{name}.nii.gz")
            put_labels(root / f"patient{number:03d}/{name}_gt.nii.gz")
    return root


def test_an_id_does_not_repeat_the_name_of_its_folder(tmp_path):
    ids = ("patient001_frame01", "patient001_frame13", "patient002_frame01", "patient002_frame13")
    assert opened(acdc(tmp_path)).ids == ids
    assert tuple(case.id for case in find_cases([tmp_path], 1)) == ids


def test_an_id_is_that_of_the_case_whatever_lies_beside_it(tmp_path):
    brats(tmp_path / "HGG", 1)
    alone = opened(tmp_path).ids
    brats(tmp_path / "LGG", 1, name="LGG_{:03d}_")
    brats(tmp_path / "HGG", 3)
    assert alone == ("BraTS20_Training_001",)
    assert set(alone) < set(opened(tmp_path).ids)
    assert set(alone) < set(opened(tmp_path / "HGG").ids)


def test_two_cases_of_one_name_are_told_apart_by_what_is_below_or_above(tmp_path):
    for place in ("a/p1/CT", "b/p1/CT", "c/p2/visit_1", "c/p2/visit_2"):
        put_image(tmp_path / place / "image.nii.gz")
        put_labels(tmp_path / place / "mask.nii.gz")
    assert opened(tmp_path).ids == ("a_p1_CT", "b_p1_CT", "p2_visit_1", "p2_visit_2")


@given(st.lists(st.lists(st.sampled_from(["a", "b", "CT", "a_b", "A", "1"]), max_size=4).map(tuple), max_size=8))
def test_ids_of_folders_are_files_names_and_no_two_are_alike(places):
    ids = folder_ids(places, Path("data"))
    assert len({file_key(each) for each in ids}) == len(places)
    assert all(safe_id(each) == each for each in ids)
