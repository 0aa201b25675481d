import errno
import multiprocessing
import os
import signal
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from medseg import io
from medseg.config.schema import DataConfig
from medseg.core.errors import InputError, MachineError
from medseg.core.geometry import Geometry
from medseg.core.volume import Volume
from medseg.data.cases import read_case, read_image
from medseg.data.inputs import find_inputs
from medseg.data.layouts import open_dataset
from medseg.io.options import ReadOptions
from medseg.train.batches import PatchBatches
from medseg.train.cache import Cache
from medseg.train.loaders import MedsegReader, batch_loader, load_image, prepare, prepared
from medseg.transforms.preprocess import preprocess


def test_monai_reads_with_our_door(balls):
    path = balls / "images" / "ball_0.nii.gz"
    image = load_image()(str(path), MedsegReader())
    ours = io.read(path)
    np.testing.assert_array_equal(image.numpy(), ours.array)
    np.testing.assert_allclose(image.affine.numpy(), ours.geometry.affine)


def test_monai_gets_label_maps_as_whole_numbers(balls):
    path = balls / "labels" / "ball_0.nii.gz"
    labels = load_image()(str(path), MedsegReader(labels=True))
    assert labels.shape[0] == 1
    assert set(np.unique(labels.numpy())) == {0, 3, 7}


def test_several_files_are_the_channels_of_one_case(tmp_path):
    grid = Geometry.from_spacing((4, 5, 6))
    paths = [tmp_path / f"scan_000{c}.nii.gz" for c in range(2)]
    for c, path in enumerate(paths):
        io.write(Volume(np.full((1, 4, 5, 6), c, np.float32), grid), path)
    image = load_image()([str(p) for p in paths], MedsegReader())
    assert image.shape == (2, 4, 5, 6)
    assert image.numpy().mean(axis=(1, 2, 3)).tolist() == [0, 1]


def prepare_all(balls, plan, folder, workers=0):
    dataset = open_dataset(balls, DataConfig())
    cache = Cache(folder, plan)
    ids = [case.id for case in dataset.cases]
    return dataset, cache, list(prepare(dataset, ids, plan, ReadOptions(), cache, workers))


def test_training_and_prediction_preprocess_alike(balls, plan, tmp_path):
    """Voxel by voxel: what MONAI's loaders put into the cache is what the predictor makes of the file."""
    dataset, cache, events = prepare_all(balls, plan, tmp_path / "cache")
    assert [event.case for event in events] == [case.id for case in dataset.cases]
    for case in dataset.cases:
        predicted_from = preprocess(io.read(case.images[0]), plan.preprocessing)
        np.testing.assert_array_equal(cache.get(case.id).image, predicted_from.array)
        volume, label_map, _ = read_case(case, plan.label_names, ReadOptions())
        image, classes = prepared(volume, label_map, plan)
        np.testing.assert_array_equal(cache.get(case.id).image, image)
        np.testing.assert_array_equal(cache.get(case.id).classes, classes)
        assert set(np.unique(classes)) == {0, 1, 2}


def test_a_tilted_scan_too_is_preprocessed_alike_for_training_and_prediction(balls, plan, tmp_path):
    """The same images and masks on a grid that leans as under a tilted gantry; the plan grid is at right angles."""
    for folder in ("images", "labels"):
        for number in range(2):
            path = balls / folder / f"ball_{number}.nii.gz"
            thing = io.read(path) if folder == "images" else io.read_labels(path)
            affine = thing.geometry.affine.copy()
            affine[:3, 2] += 0.3 * affine[:3, 1]
            io.write(
                replace(thing, geometry=Geometry(thing.geometry.shape, affine)), tmp_path / "data" / folder / path.name
            )
    dataset, cache, _ = prepare_all(tmp_path / "data", plan, tmp_path / "cache")
    for case in dataset.cases:
        volume = io.read(case.images[0])
        seen = preprocess(volume, plan.preprocessing)
        assert not volume.geometry.is_orthogonal
        assert seen.grid.is_orthogonal
        np.testing.assert_array_equal(cache.get(case.id).image, seen.array)
        assert cache.get(case.id).classes.shape == seen.grid.shape
        assert set(np.unique(cache.get(case.id).classes)) == {0, 1, 2}


def test_a_channel_on_a_grid_of_its_own_is_preprocessed_alike_for_training_and_prediction(balls, plan, tmp_path):
    """A second channel with coarser, turned voxels and a smaller field of view beside the first."""
    for number in range(2):
        first = io.read(balls / f"images/ball_{number}.nii.gz")
        coarse = first.geometry.resampled([2.3 * mm for mm in first.geometry.spacing_mm]).permute((1, 2, 0))
        coarse = coarse.crop((1, 0, 2), coarse.shape)
        values = np.random.default_rng(number).uniform(5, 9, (1, *coarse.shape)).astype(np.float32)
        io.write(first, tmp_path / f"data/images/b_{number}_0000.nii.gz")
        io.write(Volume(values, coarse), tmp_path / f"data/images/b_{number}_0001.nii.gz")
        io.write(io.read_labels(balls / f"labels/ball_{number}.nii.gz"), tmp_path / f"data/labels/b_{number}.nii.gz")
    how = plan.preprocessing.model_copy(update={"normalisation": 2 * plan.preprocessing.normalisation})
    two = plan.model_copy(update={"channels": ("CT", "PET"), "preprocessing": how})
    dataset, cache, _ = prepare_all(tmp_path / "data", two, tmp_path / "cache")
    inputs = find_inputs([tmp_path / "data/images"], 2).cases
    for case, scan in zip(dataset.cases, inputs, strict=True):
        volume = read_image(scan, ReadOptions(), two.channels)
        assert 0 < np.mean(volume.array[1] == volume.array[1].min()) < 0.9
        np.testing.assert_array_equal(cache.get(case.id).image, preprocess(volume, how).array)


def test_what_is_in_the_cache_is_not_read_again(balls, plan, tmp_path):
    prepare_all(balls, plan, tmp_path / "cache")
    assert prepare_all(balls, plan, tmp_path / "cache")[2] == []


@pytest.mark.parametrize("workers", [0, 1])
def test_a_case_that_broke_since_is_refused_in_our_own_words(balls, plan, tmp_path, workers):
    dataset = open_dataset(balls, DataConfig())
    whole = dataset.cases[0].images[0].read_bytes()
    try:
        dataset.cases[0].images[0].write_bytes(whole[: len(whole) // 2])
        cache = Cache(tmp_path / "c", plan)
        with pytest.raises(InputError, match="ball_0.nii.gz is damaged") as caught:
            list(prepare(dataset, [dataset.cases[0].id], plan, ReadOptions(), cache, workers))
        assert "Traceback" not in str(caught.value)
    finally:
        dataset.cases[0].images[0].write_bytes(whole)


def test_spawned_workers_give_the_very_same_batches(balls, plan, tmp_path):
    _, cache, _ = prepare_all(balls, plan, tmp_path / "cache")
    batches = PatchBatches(cache, [f"ball_{n}" for n in range(6)], plan, 0.5, 0)
    alone, helped = batch_loader(batches, 2, workers=0), batch_loader(batches, 2, workers=2)
    for _ in range(3):
        for ours, theirs in zip(next(alone), next(helped), strict=True):
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    del helped


class Exhausted(PatchBatches):
    def __getitem__(self, step):
        raise OSError(errno.EMFILE, "Too many open files", "ball_0.image.npy")


@pytest.mark.parametrize("workers", [0, 1])
def test_what_the_system_refuses_a_loader_comes_up_with_its_number(plan, tmp_path, workers):
    batches = Exhausted(Cache(tmp_path / "c", plan), ["ball_0"], plan, 0.5, 0)
    with pytest.raises(OSError, match="Too many open files") as caught:
        next(batch_loader(batches, 0, workers))
    assert (caught.value.errno, caught.value.filename) == (errno.EMFILE, "ball_0.image.npy")


@pytest.mark.skipif(os.name != "posix", reason="Windows sends no signals to groups")
def test_a_loader_hears_no_signal_of_the_group_but_its_death_is_a_sentence(balls, plan, tmp_path):
    _, cache, _ = prepare_all(balls, plan, tmp_path / "cache")
    batches = batch_loader(PatchBatches(cache, ["ball_0"], plan, 0.5, 0), 0, workers=1)
    next(batches)
    (worker,) = multiprocessing.active_children()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(worker.pid, number)
    for _ in range(5):
        next(batches)
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(MachineError, match="loads training data was ended by the system"):
        list(islice(batches, 50))
