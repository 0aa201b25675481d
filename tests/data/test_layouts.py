"""Layouts: what is recognised and why, what is mended, what is listed, and what is refused with the way out."""

import json
import shutil

import pytest

from medseg.config.schema import DataConfig
from medseg.core.errors import AmbiguousError, InputError, UsageError
from medseg.core.labels import Labels
from medseg.data.layouts import LAYOUTS, open_dataset
from tests.data.folders import GRID, declare, msd, nnunet, paired, put_image, put_labels, touch

FRONT_BACK = Labels({"front": (1,), "back": (2,)})


def opened(root, **config):
    return open_dataset(root, DataConfig(**config))


def settled(root, refused):
    """The data set once the table of a refusal was saved as it was told."""
    (root / "cases.csv").write_text(refused.value.table)
    assert refused.value.table in str(refused.value)
    dataset = opened(root)
    assert dataset.layout == "table"
    return dataset


def told(dataset):
    return " ".join(dataset.notes)


def test_a_decathlon_folder_is_recognised_and_says_why(tmp_path):
    dataset = opened(msd(tmp_path / "d"))
    assert dataset.layout == "msd"
    assert dataset.notes == ("Layout msd: dataset.json lists 3 training pairs.",)
    assert dataset.ids == ("c_0", "c_1", "c_2")
    assert dataset.cases[1].images == (tmp_path / "d/imagesTr/c_1.nii.gz",)
    assert dataset.cases[1].label == tmp_path / "d/labelsTr/c_1.nii.gz"
    assert (dataset.labels, dataset.channels) == (FRONT_BACK, ("MRI",))


def test_a_decathlon_list_may_lack_its_dot_slash_and_its_count_may_be_wrong(tmp_path):
    root = msd(tmp_path, numTraining=99)
    text = (root / "dataset.json").read_text().replace("./", "")
    (root / "dataset.json").write_text(text)
    dataset = opened(root)
    assert len(dataset.cases) == 3
    assert "says numTraining 99, but there are 3 training pairs" in told(dataset)


def test_several_declared_channels_in_one_file_are_stacked(tmp_path):
    dataset = opened(msd(tmp_path, modality={"0": "FLAIR", "1": "T1"}))
    assert dataset.channels == ("FLAIR", "T1")
    assert all(case.stacked for case in dataset.cases)


def test_unpacked_and_numbered_files_are_found_under_their_listed_name(tmp_path):
    root = msd(tmp_path, modality={"0": "FLAIR", "1": "T1"})
    (root / "imagesTr/c_0.nii.gz").unlink()
    put_image(root / "imagesTr/c_0.nii")
    (root / "imagesTr/c_1.nii.gz").unlink()
    for channel in range(2):
        put_image(root / f"imagesTr/c_1_000{channel}.nii.gz")
    unpacked, numbered, _ = opened(root).cases
    assert unpacked.images == (root / "imagesTr/c_0.nii",)
    assert numbered.images == (root / "imagesTr/c_1_0000.nii.gz", root / "imagesTr/c_1_0001.nii.gz")
    assert (numbered.id, numbered.stacked) == ("c_1", False)


def test_lists_of_channel_files_and_folds_as_monai_writes_them(tmp_path):
    root = nnunet(tmp_path)
    (root / "dataset.json").unlink()
    pairs = [
        {
            "image": [f"imagesTr/c_{n}_0000.nii.gz", f"imagesTr/c_{n}_0001.nii.gz"],
            "label": f"labelsTr/c_{n}.nii.gz",
            "fold": n,
        }
        for n in range(3)
    ]
    declare(root, labels={"1": "front", "2": "back"}, modality=["CT", "PET"], training=pairs, validation=pairs[:1])
    dataset = opened(root)
    assert dataset.ids == ("c_0", "c_1", "c_2")
    assert [case.fold for case in dataset.cases] == [0, 1, 2]
    assert [len(case.images) for case in dataset.cases] == [2, 2, 2]
    assert dataset.channels == ("CT", "PET")
    assert 'lists 1 cases under "validation"; they are not used' in told(dataset)


def test_what_is_listed_but_absent_is_a_problem_or_unlabelled(tmp_path):
    root = msd(tmp_path, n=4)
    (root / "imagesTr/c_1.nii.gz").unlink()
    (root / "labelsTr/c_2.nii.gz").unlink()
    dataset = opened(root)
    assert dataset.ids == ("c_0", "c_3")
    (problem,) = dataset.problems
    assert (problem.id, problem.reason) == (
        "c_1",
        "dataset.json lists the image ./imagesTr/c_1.nii.gz, but there is no such file.",
    )
    assert [case.id for case in dataset.unlabelled] == ["c_2"]
    assert "1 images have no label map and are not trained on: c_2" in told(dataset)


def test_test_images_and_forgotten_pairs_are_told_apart(tmp_path):
    root = msd(tmp_path, test=["./imagesTs/t_0.nii.gz", {"image": "imagesTs/gone.nii.gz"}])
    put_image(root / "imagesTs/t_0.nii.gz")
    put_image(root / "imagesTs/t_1.nii.gz")
    put_image(root / "imagesTr/extra.nii.gz")
    put_image(root / "imagesTr/alone.nii.gz")
    put_labels(root / "labelsTr/extra.nii.gz")
    dataset = opened(root)
    assert [(case.id, case.attributes.get("split")) for case in dataset.unlabelled] == [
        ("alone", None),
        ("t_0", "test"),
        ("t_1", "test"),
    ]
    assert "1 pairs in imagesTr and labelsTr are not listed in dataset.json and not used: extra" in told(dataset)
    assert '1 files under "test" in dataset.json are not in the folder' in told(dataset)
    assert "2 images are kept for testing" in told(dataset)


def test_a_decathlon_folder_without_a_list_is_paired_by_name(tmp_path):
    dataset = opened(msd(tmp_path, training=False))
    assert (dataset.layout, dataset.ids) == ("msd", ("c_0", "c_1", "c_2"))
    assert "lists no training pairs" in told(dataset)


def test_an_nnunet_folder_is_recognised_with_its_channels_in_order(tmp_path):
    root = nnunet(tmp_path)
    dataset = opened(root)
    assert (dataset.layout, dataset.channels, dataset.labels) == ("nnunet", ("CT", "PET"), FRONT_BACK)
    assert dataset.cases[2].images == (root / "imagesTr/c_2_0000.nii.gz", root / "imagesTr/c_2_0001.nii.gz")
    assert not dataset.cases[2].stacked


def test_nnunets_regions_and_ignore_are_understood(tmp_path):
    labels = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
    assert opened(nnunet(tmp_path, labels=labels)).labels == Labels({"whole": (1, 2), "core": (2,)}, ignore=3)


def test_a_label_without_image_and_a_missing_channel_are_problems(tmp_path):
    root = nnunet(tmp_path)
    (root / "imagesTr/c_1_0001.nii.gz").unlink()
    put_labels(root / "labelsTr/lost.nii.gz")
    put_image(root / "imagesTr/new_0000.nii.gz")
    put_image(root / "imagesTr/new_0001.nii.gz")
    dataset = opened(root)
    assert dataset.ids == ("c_0", "c_2")
    assert {problem.id: problem.reason for problem in dataset.problems} == {
        "c_1": "Case c_1 lacks channel 0001; it has 0000.",
        "lost": "Label map lost.nii.gz has no image of the same name.",
    }
    assert [case.id for case in dataset.unlabelled] == ["new"]


def test_nnunets_list_of_paths_is_understood(tmp_path):
    root = nnunet(tmp_path / "raw")
    shutil.move(root / "imagesTr", tmp_path / "elsewhere")
    files = {n: [f"../elsewhere/c_{n}_000{c}.nii.gz" for c in range(2)] for n in range(2)}
    content = json.loads((root / "dataset.json").read_text())
    content["dataset"] = {f"c_{n}": {"images": files[n], "label": f"labelsTr/c_{n}.nii.gz"} for n in range(2)}
    declare(root, **content)
    dataset = opened(root)
    assert dataset.ids == ("c_0", "c_1")
    assert dataset.cases[0].images[1].resolve() == (tmp_path / "elsewhere/c_0_0001.nii.gz").resolve()


def test_a_wrong_file_ending_is_named(tmp_path):
    with pytest.raises(InputError, match=r'file_ending "\.png", but no image in imagesTr ends so'):
        opened(nnunet(tmp_path, file_ending=".png"))


@pytest.mark.parametrize(("images", "labels"), [("images", "labels"), ("Images", "masks"), ("imagesTr", "labelsTr")])
def test_paired_folders_are_recognised_by_name(tmp_path, images, labels):
    dataset = opened(paired(tmp_path, images=images, labels=labels))
    assert (dataset.layout, dataset.ids, dataset.channels) == ("paired", ("c_0", "c_1", "c_2"), ("image",))
    assert dataset.labels is None
    assert f"there are the folders {images} and {labels}" in told(dataset)


@pytest.mark.parametrize(
    ("suffixes", "channels"),
    [
        (("_0000", "_0001"), ("channel 0", "channel 1")),
        (("-t2", "-t1"), ("t1", "t2")),
        (("_ct", "_pet"), ("ct", "pet")),
    ],
)
def test_paired_channels_carry_a_number_or_a_name(tmp_path, suffixes, channels):
    root = paired(tmp_path, suffixes=suffixes)
    put_image(root / f"images/odd{suffixes[0]}.nii.gz")
    dataset = opened(root)
    assert dataset.channels == channels
    assert dataset.ids == ("c_0", "c_1", "c_2")
    assert [path.name for path in dataset.cases[0].images] == [f"c_0{suffix}.nii.gz" for suffix in sorted(suffixes)]
    assert "1 cases without a label map lack a channel: odd" in told(dataset)


def test_one_file_with_an_odd_suffix_is_no_channel(tmp_path):
    root = paired(tmp_path, suffixes=("-t1", "-t2"))
    put_image(root / "images/c_1-old.nii.gz")
    dataset = opened(root)
    assert dataset.channels == ("t1", "t2")
    assert len(dataset.cases) == 3
    assert "channels that the data set does not have were left out: old" in told(dataset)


def test_images_that_no_case_has_by_name_are_counted(tmp_path):
    root = paired(tmp_path, suffixes=("-t1", "-t2"))
    for name in ("new-pd", "new-dw", "loose"):
        put_image(root / f"images/{name}.nii.gz")
    assert "3 images belong to no case by name and were left out: loose.nii.gz, new-dw.nii.gz, new-pd.nii.gz" in told(
        opened(root)
    )


def test_label_maps_may_be_called_masks(tmp_path):
    assert opened(paired(tmp_path, label_suffix="_mask")).ids == ("c_0", "c_1", "c_2")


def test_names_that_pair_in_two_ways_are_refused(tmp_path):
    root = paired(tmp_path)
    put_image(root / "images/d_0000.nii.gz")
    put_labels(root / "labels/d.nii.gz")
    with pytest.raises(
        AmbiguousError, match=r"pairs in two ways: c_0\.nii\.gz is named as its label map, but d has"
    ) as refused:
        opened(root)
    assert settled(root, refused).ids == ("c_0", "c_1", "c_2", "d")


def test_two_folders_that_could_be_the_labels_are_refused(tmp_path):
    root = paired(tmp_path)
    (root / "masks").mkdir()
    assert len(opened(root).cases) == 3
    put_labels(root / "masks/c_1.nii.gz")
    with pytest.raises(AmbiguousError, match=r"holds labels and masks; only one can be meant") as refused:
        opened(root)
    assert settled(root, refused).cases[1].label == root / "labels/c_1.nii.gz"
    assert "# c_1,images/c_1.nii.gz,masks/c_1.nii.gz" in refused.value.table


def test_two_files_of_one_stem_are_refused(tmp_path):
    root = paired(tmp_path)
    put_image(root / "images/c_1.nii")
    with pytest.raises(
        AmbiguousError, match="more than one file could be the image or the label map of c_1"
    ) as refused:
        opened(root)
    assert settled(root, refused).cases[1].images == (root / "images/c_1.nii",)
    assert "# c_1,images/c_1.nii.gz,labels/c_1.nii.gz" in refused.value.table


def test_dot_files_are_skipped_with_a_count(tmp_path):
    root = paired(tmp_path)
    for name in ("images/._c_0.nii.gz", "images/.DS_Store", "labels/._c_0.nii.gz"):
        touch(root / name)
    dataset = opened(root)
    assert dataset.ids == ("c_0", "c_1", "c_2")
    assert "3 dot-files (such as ._name or .DS_Store) were skipped" in told(dataset)


def test_ids_are_in_natural_order(tmp_path):
    root = paired(tmp_path, n=11)
    assert opened(root).ids == tuple(f"c_{n}" for n in range(11))


def test_the_order_of_layouts_is_the_contracts(tmp_path):
    assert [layout.name for layout in LAYOUTS] == ["table", "msd", "nnunet", "paired", "folders", "dicom", "bids"]
    root = msd(tmp_path)
    assert opened(root).layout == "msd"
    forced = opened(root, layout="paired")
    assert (forced.layout, forced.labels) == ("paired", FRONT_BACK)
    assert "Layout paired: as layout says" in told(forced)


def test_groups_and_nnunets_splits_are_taken_along(tmp_path):
    root = paired(tmp_path, n=4)
    (root / "splits_final.json").write_text("[]")
    dataset = opened(root, group="block:2")
    assert len({case.group for case in dataset.cases}) == 2
    assert dataset.splits_path == root / "splits_final.json"


def test_a_folder_that_is_not_there_is_wrong_use_and_the_nearest_name_is_offered(tmp_path):
    msd(tmp_path / "hippocampus")
    with pytest.raises(UsageError, match=r"hipocampus does not exist; did you mean .*hippocampus\?"):
        opened(tmp_path / "hipocampus")
    with pytest.raises(UsageError, match="is a file; give the folder"):
        opened(tmp_path / "hippocampus/dataset.json")


def test_an_empty_folder_says_what_was_looked_for(tmp_path):
    with pytest.raises(InputError, match=r"looked for .* an MSD dataset\.json .* The folder is empty"):
        opened(tmp_path)


def test_the_folder_above_or_below_is_offered(tmp_path):
    root = msd(tmp_path / "download/Task04")
    with pytest.raises(InputError, match=r"Task04 is one: did you mean that\?"):
        opened(tmp_path / "download")
    with pytest.raises(InputError, match=r"Task04 is one: did you mean that\?"):
        opened(root / "imagesTr")


def test_a_folder_of_something_else_says_what_it_holds(tmp_path):
    touch(tmp_path / "holiday.txt")
    with pytest.raises(InputError, match=r"It holds holiday\.txt"):
        opened(tmp_path)


def test_images_without_any_label_are_no_training_set(tmp_path):
    root = paired(tmp_path)
    shutil.rmtree(root / "labels")
    (root / "labels").mkdir()
    with pytest.raises(InputError, match="holds 3 images without a label map and no pair of both"):
        opened(root)


def test_a_damaged_dataset_json_is_one_sentence_with_the_line(tmp_path):
    root = msd(tmp_path)
    (root / "dataset.json").write_text('{\n "labels": {\n')
    with pytest.raises(InputError, match=r"dataset\.json .* is not valid JSON: .* in line 3"):
        opened(root)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"labels": {"0": "background", "1": "a", "2": "a"}}, r"the label name 'a' stands for \(1,\) and for \(2,\)"),
        ({"labels": {"background": 0}}, "declares nothing but background"),
        ({"labels": {"background": 0, "liver": 1.5}}, r"label 'liver' has the value 1\.5"),
        ({"labels": {"background": 0, "liver": 70000}}, r"must lie in 1…65535"),
        ({"labels": [0, 1]}, '"labels" must be an object'),
        ({"modality": {"1": "T1"}}, '"modality" must number the channels from 0'),
        ({"training": [{"image": "x.nii"}]}, "training entry 0 is"),
    ],
)
def test_a_dataset_json_that_contradicts_itself_is_refused(tmp_path, content, message):
    root = msd(tmp_path)
    declare(root, **{**json.loads((root / "dataset.json").read_text()), **content})
    with pytest.raises(InputError, match=message):
        opened(root)


def test_a_dicom_folder_can_be_the_image_of_a_case(tmp_path, shared_data):
    shutil.copytree(shared_data / "dicom/mr/siemens_enh_anat", tmp_path / "images/p_1")
    put_labels(tmp_path / "labels/p_1.nii.gz", GRID)
    dataset = opened(tmp_path)
    assert dataset.ids == ("p_1",)
    assert dataset.cases[0].images == (tmp_path / "images/p_1",)


@pytest.mark.parametrize("make", [msd, nnunet, paired])
def test_a_name_too_long_for_its_results_is_refused_before_anything_is_read(tmp_path, make):
    root, long = make(tmp_path / "d"), "x" * 235
    for file in list(root.rglob("*c_1*.nii.gz")):
        file.rename(file.with_name(file.name.replace("c_1", long)))
    for listing in root.glob("dataset.json"):
        listing.write_text(listing.read_text().replace("c_1", long))
    with pytest.raises(InputError, match=r"The name x{20}… has 235 letters"):
        opened(root)
