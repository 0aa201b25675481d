"""Volumes of a 4-D series are told apart by their headers and taken when asked, never stacked on each other."""

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from medseg import io
from medseg.core.errors import InputError, UsageError
from medseg.io import ReadOptions
from medseg.io.dicom.find import Frame
from medseg.io.dicom.select import matching, value_of
from tests.io.dicom_files import write_series

N_SLICES = 4
STEP = np.array([0, 0, 2.5])


def write_volumes(folder, changes):
    """A series of volumes at the same places; volume n is filled with n and differs by `changes[n](k, slice)`."""
    stored = np.repeat(np.arange(len(changes)), N_SLICES)[:, None, None] * np.ones((1, 3, 4))

    def change(m, slice_):
        n, k = divmod(m, N_SLICES)
        slice_.ImagePositionPatient = [f"{x:.4f}" for x in STEP * k]
        changes[n](k, slice_)

    return write_series(folder, stored.astype(np.uint16), change=change, RescaleIntercept="0")


def having(**attributes):
    def change(k, slice_):
        for name, value in attributes.items():
            setattr(slice_, name, value)

    return change


def kind(word):
    return ["ORIGINAL", "PRIMARY", "PHASE MAP" if word == "P" else "M_FFE", word, "FFE"]


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ([having(EchoTime="2.3"), having(EchoTime="4.6")], ["EchoTime=2.3", "EchoTime=4.6"]),
        ([having(EchoTime="10.0"), having(EchoTime="2.5")], ["EchoTime=2.5", "EchoTime=10"]),
        ([having(ImageType=kind("M")), having(ImageType=kind("P"))], ["ImageType=M", "ImageType=P"]),
        (
            [having(ImageType=["ORIGINAL", "PRIMARY", "M", word]) for word in "MP"],
            ["ImageType=ORIGINAL/PRIMARY/M/M", "ImageType=ORIGINAL/PRIMARY/M/P"],
        ),
        (
            [having(ImageType=["ORIGINAL", "PRIMARY", "M", "ND", *more]) for more in ([], ["NORM"])],
            ["ImageType=ORIGINAL/PRIMARY/M/ND", "ImageType=ORIGINAL/PRIMARY/M/ND/NORM"],
        ),
        (
            [having(TemporalPositionIdentifier=n, AcquisitionTime=f"12000{n}") for n in (1, 2, 3)],
            [f"TemporalPositionIdentifier={n}" for n in (1, 2, 3)],
        ),
        ([having(InversionTime="100"), having(InversionTime="2000")], ["InversionTime=100", "InversionTime=2000"]),
        ([having(AcquisitionNumber=7), having(AcquisitionNumber=8)], ["AcquisitionNumber=7", "AcquisitionNumber=8"]),
        (
            [
                having(DiffusionBValue=0.0),
                having(DiffusionBValue=1000.0, DiffusionGradientOrientation=[1.0, 0.0, 0.0]),
                having(DiffusionBValue=1000.0, DiffusionGradientOrientation=[0.0, 0.6, 0.8]),
            ],
            [
                "DiffusionBValue=0",
                "DiffusionBValue=1000,DiffusionGradientOrientation=0/0.6/0.8",
                "DiffusionBValue=1000,DiffusionGradientOrientation=1/0/0",
            ],
        ),
        (
            [having(ImageType=kind(word), EchoTime=echo) for word in "PM" for echo in ("2.3", "4.6")],
            [f"ImageType={word},EchoTime={echo}" for word in "MP" for echo in ("2.3", "4.6")],
        ),
    ],
)
def test_volumes_are_named_by_one_or_two_attributes_and_each_can_be_taken(tmp_path, changes, names):
    write_volumes(tmp_path / "s", changes)
    with pytest.raises(InputError) as refusal:
        io.read_geometry(tmp_path / "s")
    assert f"4 positions of series 5 hold {len(changes)} images each, differing in" in str(refusal.value)
    assert f"({'; '.join(names)})" in str(refusal.value)
    assert f"--read select={names[0]}, or in this order with --read volume=0 to {len(names) - 1}." in str(refusal.value)
    taken = []
    for n, name in enumerate(names):
        volume = io.read(tmp_path / "s", ReadOptions(select=name))
        assert volume.geometry.shape == (4, 3, N_SLICES)
        assert np.ptp(volume.array) == 0
        by_number = io.read(tmp_path / "s", ReadOptions(volume=n))
        np.testing.assert_array_equal(volume.array, by_number.array)
        assert f"Volume {n} of {len(names)} was taken ({name})." in by_number.meta.warnings
        taken.append(int(volume.array.flat[0]))
    assert sorted(taken) == list(range(len(names)))


def test_a_number_that_rises_from_volume_to_volume_orders_them(tmp_path):
    """As General Electric's scanners write time series: nothing but the instance number differs."""
    write_volumes(tmp_path / "s", [lambda k, s, n=n: setattr(s, "InstanceNumber", 4 * n + k + 1) for n in (2, 0, 1)])
    with pytest.raises(
        InputError, match=r"3 volumes in the order of InstanceNumber: choose one with --read volume=0 to 2"
    ):
        io.read(tmp_path / "s")
    assert [int(io.read(tmp_path / "s", ReadOptions(volume=n)).array.max()) for n in range(3)] == [1, 2, 0]
    with pytest.raises(InputError, match="has 3 volumes, counted from 0; there is no volume 3"):
        io.read(tmp_path / "s", ReadOptions(volume=3))


def test_numbers_that_rise_within_a_position_only_order_nothing(tmp_path):
    """Slices one after the other, all times of one before the next: the n-th at each place is a guess."""
    write_volumes(tmp_path / "s", [lambda k, s, n=n: setattr(s, "InstanceNumber", 2 * k + n) for n in (0, 1)])
    for options in (ReadOptions(), ReadOptions(volume=0)):
        with pytest.raises(InputError, match="4 positions of series 5 hold 2 images each, .*are at the same place"):
            io.read(tmp_path / "s", options)


def test_an_incomplete_volume_is_judged_after_it_is_chosen(tmp_path):
    paths = write_volumes(tmp_path / "s", [having(EchoTime="10"), having(EchoTime="20")])
    paths[5].unlink()
    with pytest.raises(InputError, match="3 positions of series 5 hold up to 2 images each, differing in EchoTime"):
        io.read(tmp_path / "s")
    assert io.read(tmp_path / "s", ReadOptions(select="EchoTime=10")).array.max() == 0
    with pytest.raises(InputError, match="lacks 1 slice"):
        io.read(tmp_path / "s", ReadOptions(select="EchoTime=20"))


def test_what_is_selected_must_be_there(tmp_path):
    write_volumes(tmp_path / "s", [having(EchoTime="10"), having(EchoTime="20")])
    with pytest.raises(InputError, match=r"No image has EchoTime=15 .*; there are 10, 20\."):
        io.read(tmp_path / "s", ReadOptions(select="EchoTime=15"))
    with pytest.raises(InputError, match="no image has a InversionTime"):
        io.read(tmp_path / "s", ReadOptions(select="EchoTime=10,InversionTime=5"))
    with pytest.raises(UsageError, match="select=EchoTime is not allowed"):
        ReadOptions.parse({"select": "EchoTime"})
    with pytest.raises(UsageError, match="not allowed"):
        ReadOptions.parse({"select": "EchoTime=10,"})
    with pytest.raises(UsageError, match="'EchoTme' .* is no attribute of DICOM; did you mean EchoTime"):
        io.read(tmp_path / "s", ReadOptions(select="EchoTme=10"))
    with pytest.raises(UsageError, match="free text may name a patient") as refusal:
        io.read(tmp_path / "s", ReadOptions(select="PatientName=X"))
    assert "Doe" not in str(refusal.value)
    with pytest.raises(InputError) as refusal:
        io.read(tmp_path / "s", ReadOptions(select="00100010=X"))
    assert "Doe" not in str(refusal.value)
    note = io.read(tmp_path / "s", ReadOptions.parse({"select": "EchoTime=10"})).meta.warnings[0]
    assert note == "4 images other than EchoTime=10 were left aside."


def test_one_of_two_stacks_of_a_series_is_selected_by_what_differs(tmp_path):
    def change(k, slice_):
        if k >= 5:
            slice_.PixelSpacing = ["1", "1"]

    write_series(tmp_path / "s", np.zeros((9, 3, 4), np.uint16), change=change)
    with pytest.raises(InputError, match=r"of 5, 4 images; choose one with --read select=PixelSpacing=0\.8/0\.6\."):
        io.read(tmp_path / "s")
    assert io.read(tmp_path / "s", ReadOptions(select="PixelSpacing=0.8/0.6")).geometry.shape == (4, 3, 5)
    assert io.read(tmp_path / "s", ReadOptions(select=r"PixelSpacing=1\1")).geometry.shape == (4, 3, 4)


@settings(max_examples=30, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.data())
def test_volumes_are_never_stacked_on_each_other(tmp_path_factory, data):
    """Whatever differs between images at a place: those taken are of one kind, or the series is refused.

    Times may rise from slice to slice within a volume.
    """
    values = st.sampled_from([("EchoTime", "10"), ("EchoTime", "20"), ("TriggerTime", "5"), ("TriggerTime", "6")])
    chosen = {(n, k): data.draw(values) for n in range(2) for k in range(N_SLICES)}
    changes = [lambda k, s, n=n: setattr(s, *chosen[n, k]) for n in range(2)]
    folder = tmp_path_factory.mktemp("volumes")
    write_volumes(folder / "s", changes)
    with pytest.raises(InputError, match="hold"):
        io.read(folder / "s")
    for options in (ReadOptions(volume=0), ReadOptions(select="EchoTime=10")):
        try:
            volume = io.read(folder / "s", options)
        except InputError:
            continue
        taken = [chosen[int(volume.array[0, 0, 0, k]), round(float(z[2] / 2.5))] for k, z in places(volume)]
        assert len(set(taken)) == 1 or {key for key, _ in taken} == {"TriggerTime"}


def places(volume):
    return [(k, volume.geometry.to_world([0, 0, k])) for k in range(volume.geometry.shape[2])]


def frame(*elements, **attributes):
    header = Dataset()
    for name, value in attributes.items():
        setattr(header, name, value)
    for tag, vr, value in elements:
        header.add(DataElement(Tag(tag), vr, value))
    return Frame("x", header)


@pytest.mark.parametrize(
    ("image", "b_value", "gradient"),
    [
        (frame(DiffusionBValue=800.0, DiffusionGradientOrientation=[0.0, -1.0, 0.0]), "800", "0/-1/0"),
        (frame((0x0019100C, "IS", "1000"), (0x0019100E, "FD", [0.0, 0.0, 1.0])), "1000", "0/0/1"),
        (frame((0x0019100C, "UN", b"1000 ")), "1000", ""),
        (
            frame((0x20011003, "UN", b"\0\0zD"), *((0x200510B0 + n, "FL", float(n == 2)) for n in range(3))),
            "1000",
            "0/0/1",
        ),
        (
            frame(
                (0x00431039, "IS", ["1000000700", "8", "0", "0"]),
                *((0x001910BB + n, "DS", f"{n / 2}") for n in range(3)),
                Manufacturer="GE MEDICAL SYSTEMS",
            ),
            "700",
            "0/0.5/1",
        ),
        (frame((0x00431039, "IS", ["700", "8", "0", "0"]), Manufacturer="other"), "", ""),
    ],
)
def test_private_b_values_have_the_names_of_the_standard(image, b_value, gradient):
    assert value_of(image, "DiffusionBValue") == b_value
    assert value_of(image, "DiffusionGradientOrientation") == gradient


def test_numbers_fit_by_value_and_words_as_one_of_several():
    image = frame((0x0019100C, "IS", "5"), EchoTime="12.460", ImageType=kind("M"), AcquisitionTime="120000.5")
    assert matching(image, "EchoTime", "12.46")
    assert matching(image, "EchoTime", "12.4605")
    assert not matching(image, "EchoTime", "12.5")
    assert matching(image, "ImageType", "M")
    assert matching(image, "ImageType", "/".join(kind("M")))
    assert not matching(image, "ImageType", "P")
    assert not matching(image, "AcquisitionTime", "120000.6")
    assert matching(image, "0019100C", "5")
    assert not matching(image, "InversionTime", "")


def test_what_one_volume_alone_has_is_offered_where_nothing_tells_all_apart(tmp_path):
    """Canon's diffusion: one volume of b=0 and several of b=1500 without directions."""

    def weighted(n):
        def change(k, slice_):
            slice_.DiffusionBValue = 0.0 if n == 0 else 1500.0
            slice_.InstanceNumber = 1 + n * N_SLICES + k

        return change

    write_volumes(tmp_path / "s", [weighted(n) for n in range(4)])
    with pytest.raises(InputError, match=r"choose one with --read volume=0 to 3\. One image .* by ") as refusal:
        io.read(tmp_path / "s")
    option = str(refusal.value).rpartition("--read select=")[2].removesuffix(".")
    assert option == "DiffusionBValue=0"
    assert np.unique(io.read(tmp_path / "s", ReadOptions(select=option)).array).tolist() == [0]
    assert np.unique(io.read(tmp_path / "s", ReadOptions(volume=0)).array).tolist() == [0]


def test_where_volumes_are_mixed_what_is_offered_leads_to_a_volume_or_nothing_is(tmp_path):
    echoes = [having(EchoTime="2", InstanceNumber=None), having(EchoTime="5"), having(EchoTime="5")]
    write_volumes(tmp_path / "a", echoes)
    with pytest.raises(InputError, match=r"One image at each position is left by --read select=EchoTime=2\.$"):
        io.read(tmp_path / "a")
    assert io.read(tmp_path / "a", ReadOptions(select="EchoTime=2")).geometry.shape[2] == N_SLICES
    write_volumes(tmp_path / "b", [having(EchoTime="5", InstanceNumber=None)] * 2 + [having(EchoTime="2")] * 2)
    with pytest.raises(InputError) as refusal:
        io.read(tmp_path / "b")
    assert "--read" not in str(refusal.value)
