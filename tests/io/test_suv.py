"""SUVbw: by hand, by QIBA's pseudo-code word for word, and refused by name wherever something is missing."""

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import PositronEmissionTomographyImageStorage

from medseg import io
from medseg.core.errors import InputError
from medseg.io import ReadOptions
from medseg.io.dicom.find import find_images
from medseg.io.dicom.suv import PetFacts, facts_of, suv_of, suvs_of_slices
from tests.io.dicom_files import write_series

F18_S = 6586.2


def injection(**changes):
    item = Dataset()
    item.RadiopharmaceuticalStartTime = "090000.00"
    item.RadionuclideTotalDose = "400000000"
    item.RadionuclideHalfLife = str(F18_S)
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "C-111A1", "SRT", "^18^Fluorine"
    item.RadionuclideCodeSequence = [code]
    return changed(item, changes)


def changed(dataset, changes):
    for name, value in changes.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    return dataset


def header(injections=None, **changes):
    """Of one slice of PET, an hour after the injection."""
    slice_ = Dataset()
    slice_.Modality, slice_.Units, slice_.DecayCorrection = "PT", "BQML", "START"
    slice_.CorrectedImage = ["NORM", "DTIM", "ATTN", "SCAT", "DECY"]
    slice_.PatientWeight = "75"
    slice_.SeriesDate, slice_.SeriesTime = "20200131", "100000.0"
    slice_.AcquisitionDate, slice_.AcquisitionTime = "20200131", "100000"
    slice_.RadiopharmaceuticalInformationSequence = [injection()] if injections is None else injections
    return changed(slice_, changes)


def factor(header_, earliest=None):
    facts = facts_of(header_)
    return suv_of(facts, earliest or facts.acquired).factor


def private(header_, group, owner, element, vr, value):
    header_.private_block(group, owner, create=True).add_new(element, vr, value)
    return header_


def qiba(ds, earliest):
    """QIBA's vendor neutral pseudo-code for SUVbw, with its own names and in its own order; times are of one day."""
    corrected, units = ds.CorrectedImage, ds.Units
    if not ("ATTN" in corrected and "DECY" in corrected and ds.DecayCorrection == "START"):
        raise ValueError

    def by_activity():
        series = datetime.strptime(ds.SeriesDate + ds.SeriesTime[:6], "%Y%m%d%H%M%S")
        scan = series
        if series > earliest:  # may be a post-processed series: GE's private scan date and time
            scan = datetime.strptime(str(ds[0x0009, 0x100D].value)[:14], "%Y%m%d%H%M%S")
        item = ds.RadiopharmaceuticalInformationSequence[0]
        start = datetime.strptime(ds.SeriesDate + item.RadiopharmaceuticalStartTime[:6], "%Y%m%d%H%M%S")
        decay_time = (scan - start).total_seconds()
        half_life = float(item.RadionuclideHalfLife)
        injected_dose = float(item.RadionuclideTotalDose)
        decayed_dose = injected_dose * pow(2, -decay_time / half_life)
        return float(ds.PatientWeight) * 1000 / decayed_dose

    if units == "BQML":
        return by_activity()
    if units == "CNTS":
        if (0x7053, 0x1000) in ds:
            return float(ds[0x7053, 0x1000].value)
        return float(ds[0x7053, 0x1009].value) * by_activity()
    if units == "GML":
        return 1.0
    raise ValueError


def clock(seconds):
    return (datetime(2020, 1, 31) + timedelta(seconds=seconds)).strftime("%H%M%S")


@given(
    st.integers(3600, 50_000),
    st.integers(0, 30_000),
    st.integers(-600, 600),
    st.floats(3, 300).map(lambda x: round(x, 1)),
    st.integers(1_000_000, 2_000_000_000),
    st.sampled_from(["BQML", "GML", "CNTS", "CNTS/Bq"]),
)
def test_the_factor_is_that_of_qibas_pseudo_code(injected_s, waited_s, acquired_after_s, weight, dose, units):
    ds = header([injection(RadiopharmaceuticalStartTime=clock(injected_s), RadionuclideTotalDose=str(dose))])
    ds.PatientWeight, ds.Units = str(weight), units.partition("/")[0]
    ds.SeriesTime = clock(injected_s + waited_s + max(0, -acquired_after_s))
    ds.AcquisitionTime = clock(injected_s + waited_s + max(0, acquired_after_s))
    private(ds, 0x0009, "GEMS_PETD_01", 0x0D, "DT", "20200131" + clock(injected_s + waited_s))
    if units == "CNTS":
        private(ds, 0x7053, "Philips PET Private Group", 0x00, "DS", "0.0123")
    private(ds, 0x7053, "Philips PET Private Group", 0x09, "DS", "1.75")
    facts = facts_of(ds)
    assert suv_of(facts, facts.acquired).factor == pytest.approx(qiba(ds, facts.acquired), rel=1e-9)


def test_an_hour_of_fluorine_by_hand():
    # 400 MBq decay to 400 · 2^(-3600/6586.2) = 273.84 MBq; 75 kg are 75,000 g.
    assert factor(header()) == pytest.approx(75_000 / 273.84e6, rel=1e-4)


def test_corrected_to_the_injection_the_dose_is_not_decayed():
    assert factor(header(DecayCorrection="ADMIN")) == 75_000 / 400e6


def test_a_series_that_was_processed_later_counts_from_its_scan():
    later = header(SeriesTime="183000")
    assert factor(later) == factor(header())
    earlier_bed = facts_of(header(AcquisitionTime="095000")).acquired
    assert factor(later, earlier_bed) == factor(header(SeriesTime="095000", AcquisitionTime="095000"))
    private(later, 0x0009, "GEMS_PETD_01", 0x0D, "DT", "20200131094000.00")
    assert factor(later, earlier_bed) == factor(header(SeriesTime="094000", AcquisitionTime="095000"))


@pytest.mark.filterwarnings("ignore:Invalid value for VR TM")  # the colons of old files
@pytest.mark.parametrize(
    ("start", "elapsed_s"),
    [
        ({"RadiopharmaceuticalStartTime": "233000"}, 2700),  # before midnight
        ({"RadiopharmaceuticalStartTime": "23:30"}, 2700),  # as old files write it
        ({"RadiopharmaceuticalStartTime": "2330"}, 2700),
        ({"RadiopharmaceuticalStartDateTime": "20200130233000.000000"}, 2700),
        ({"RadiopharmaceuticalStartDateTime": "20200130223000.00+0000"}, 2700),  # the file is in +0100
        ({"RadiopharmaceuticalStartTime": "001459.500000"}, 0.5),
    ],
)
def test_the_time_of_the_injection_is_found_over_midnight_and_time_zones(start, elapsed_s):
    slice_ = header([injection(**start)], SeriesTime="001500", AcquisitionTime="001500", TimezoneOffsetFromUTC="+0100")
    expected = 75_000 / (400e6 * 2 ** (-elapsed_s / F18_S))
    assert factor(slice_) == pytest.approx(expected, rel=1e-9)


REFUSED = [
    (header(Units="PROPCNTS"), "Units is none of BQML, GML and CNTS"),
    (header(Units=None), "Units is missing"),
    (header(DecayCorrection="NONE"), "DecayCorrection is NONE"),
    (header(DecayCorrection=None), "DecayCorrection is missing"),
    (header(CorrectedImage=None), "CorrectedImage is missing"),
    (header(CorrectedImage=["DECY"]), "CorrectedImage is without ATTN"),
    (header(CorrectedImage=["ATTN"]), "CorrectedImage is without DECY"),
    (header(PatientWeight=None), "PatientWeight is missing"),
    (header(PatientWeight="0"), "PatientWeight is zero"),
    (header(PatientWeight="750"), r"PatientWeight is implausible \(750 kg\)"),
    (header([]), "RadiopharmaceuticalInformationSequence is missing"),
    (header([injection(), injection()]), r"RadiopharmaceuticalInformationSequence is implausible \(2 injections\)"),
    (header([injection(RadionuclideTotalDose=None)]), "RadionuclideTotalDose is missing"),
    (
        header([injection(RadionuclideTotalDose="400")]),
        r"RadionuclideTotalDose is implausible \(400 Bq, probably MBq\)",
    ),
    (header([injection(RadionuclideTotalDose="4e10")]), r"RadionuclideTotalDose is implausible \(4e\+10 Bq\)"),
    (header([injection(RadionuclideHalfLife=None)]), "RadionuclideHalfLife is missing"),
    (
        header([injection(RadionuclideHalfLife="109.77")]),
        r"implausible \(109.77 s; that of the radionuclide is 6586.2 s\)",
    ),
    (header([injection(RadiopharmaceuticalStartTime=None)]), "RadiopharmaceuticalStartDateTime is missing"),
    (header([injection(RadiopharmaceuticalStartDateTime="20200131110000")]), r"implausible \(-3600 s before the scan"),
    (header([injection(RadiopharmaceuticalStartDateTime="20200130100000")]), r"implausible \(86400 s before the scan"),
    (header(SeriesTime=None), "SeriesDate or SeriesTime is missing"),
    (header(AcquisitionDate=""), "AcquisitionDate or AcquisitionTime is missing"),
    (header(Units="CNTS"), r"Units is CNTS, and Philips' factor \(7053,1000\) is missing"),
    (header(Units="GML", SUVType="LBM"), "SUVType is not BW"),
    (header(Units="GML", CorrectedImage=["DECY"]), "CorrectedImage is without ATTN"),
]


@pytest.mark.parametrize(("slice_", "sentence"), REFUSED, ids=[sentence[:40] for _, sentence in REFUSED])
def test_what_is_missing_or_implausible_is_named(slice_, sentence, tmp_path):
    path = write_series(tmp_path / "s", np.ones((1, 2, 2), np.uint16))[0]
    frame = replace(find_images(path).images[0], header=slice_)
    with pytest.raises(InputError, match=rf"SUV cannot be computed for series 7: .*{sentence}.*--read pet=raw"):
        suvs_of_slices([frame], "7")


def test_a_half_life_is_judged_by_the_radionuclide_or_by_all_if_none_is_named():
    unnamed = injection(RadionuclideCodeSequence=None)
    assert factor(header([unnamed])) == factor(header())
    with pytest.raises(Exception, match="no usual radionuclide has it"):
        factor(header([changed(unnamed, {"RadionuclideHalfLife": "5000"})]))
    rare = injection(RadionuclideHalfLife="5000")
    rare.RadionuclideCodeSequence[0].CodeValue = "126601"
    assert factor(header([rare])) == pytest.approx(75_000 / (400e6 * 2 ** (-3600 / 5000)))


def test_g_per_ml_needs_nothing_else():
    facts = PetFacts(units="GML")
    assert suv_of(facts, None).factor == 1


def pet_series(folder, change=lambda k, slice_: None, **attributes):
    def as_pet(k, slice_):
        for element in header():
            slice_.add(element)
        slice_.SOPClassUID = PositronEmissionTomographyImageStorage
        slice_.RescaleSlope, slice_.RescaleIntercept = str(0.5 + k), "0"
        slice_.AcquisitionTime = f"10{k:02d}00"
        change(k, slice_)

    stored = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    write_series(folder, stored, change=as_pet, **attributes)
    return stored


def test_a_series_is_read_in_suv_or_aloud_as_it_is(tmp_path):
    stored = pet_series(tmp_path / "s")
    suv, raw = io.read(tmp_path / "s"), io.read(tmp_path / "s", ReadOptions(pet="raw"))
    expected = (stored * np.array([0.5, 1.5])[:, None, None]).transpose(2, 1, 0)
    np.testing.assert_allclose(raw.array[0], expected)
    np.testing.assert_allclose(suv.array[0], expected * factor(header()), rtol=1e-6)
    assert suv.array.dtype == raw.array.dtype == np.float32
    assert any("PET values are SUVbw" in note and "3600 s" in note for note in suv.meta.warnings)
    assert "PET values were taken as they are, not as SUV." in raw.meta.warnings
    assert not any("75" in note for note in suv.meta.warnings)  # what a patient weighs is the patient's


def test_slices_must_tell_the_same(tmp_path):
    pet_series(tmp_path / "s", lambda k, slice_: setattr(slice_, "PatientWeight", str(70 + k)))
    with pytest.raises(InputError, match="SUV cannot be computed for series 5: PatientWeight differs between"):
        io.read(tmp_path / "s")
    assert io.read(tmp_path / "s", ReadOptions(pet="raw")).array.shape == (1, 4, 3, 2)


def test_geometry_and_labels_on_pet_ask_for_no_dose(tmp_path):
    pet_series(tmp_path / "s", lambda k, slice_: delattr(slice_, "PatientWeight"))
    assert io.read_geometry(tmp_path / "s")[0].shape == (4, 3, 2)
    with pytest.raises(InputError, match="PatientWeight is missing"):
        io.read(tmp_path / "s")


def test_philips_factors_may_differ_from_slice_to_slice(tmp_path):
    def philips(k, slice_):
        slice_.Units = "CNTS"
        private(slice_, 0x7053, "Philips PET Private Group", 0x00, "DS", str(0.001 * (k + 1)))

    stored = pet_series(tmp_path / "s", philips)
    expected = (stored * np.array([0.5 * 0.001, 1.5 * 0.002])[:, None, None]).transpose(2, 1, 0)
    np.testing.assert_allclose(io.read(tmp_path / "s").array[0], expected, rtol=1e-6)


@pytest.mark.data
def test_a_real_series_in_becquerels_gives_the_reference_times_the_factor(shared_data):
    folder = shared_data / "dicom" / "pet"
    reference = io.read(folder / "bqml_single_a.nii.gz").array
    suv = io.read(folder / "bqml_single_a").array
    raw = io.read(folder / "bqml_single_a", ReadOptions(pet="raw")).array
    # 69.7344 kg; 178,340,011.6 Bq at 14:17:00, the scan at 15:23:16.921: 3976.921 s later.
    by_hand = 69_734.4 / (178_340_011.59668 * 2 ** (-3976.921 / 6586.2))
    assert np.sort(raw, axis=None) == pytest.approx(np.sort(reference, axis=None))
    np.testing.assert_allclose(suv, raw * by_hand, rtol=1e-6)
    slice_ = dcmread(next((folder / "bqml_single_a").iterdir()), stop_before_pixels=True)
    assert by_hand == pytest.approx(qiba(slice_, facts_of(slice_).acquired), rel=3e-4)  # it leaves out fractions


@pytest.mark.data
@pytest.mark.parametrize("patient", ["STS_002", "STS_003"])
def test_real_series_in_g_per_ml_are_suv_as_they_are(shared_data, patient):
    folder = shared_data / "dicom" / "rtstruct" / "sts" / patient / "PET"
    suv, raw = (io.read(folder / "image", ReadOptions(pet=pet)).array for pet in ("suv", "raw"))
    np.testing.assert_array_equal(suv, raw)
    assert 1 < suv.max() < 60
