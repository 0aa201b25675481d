"""Stored values come back bit for bit, however they lie in the file; damage is a sentence and never other pixels."""

import contextlib
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.pixels import pixel_array
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
)

from medseg.core.errors import InputError
from medseg.io.dicom.find import look, numbers
from medseg.io.dicom.stored import layout_of, n_zeros_after, stored_frames, stored_values
from tests.io.test_decode import JPEG_2000, JPEG_LS, RLE, coded_as

DEFLATED_FRAMES, JPEG_EXTENDED = "1.2.840.10008.1.2.8.1", "1.2.840.10008.1.2.4.51"
NATIVE = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]


def write(path, frames, syntax=ExplicitVRLittleEndian, pixels=None, **attributes):
    """A file with frames (n, rows, columns), put together by hand: pydicom refuses to write most of what is read here.

    `pixels` are the bytes of the pixel element if they are not simply the frames'; its VR is OB where they are bytes.
    """
    header = Dataset()
    header.SOPClassUID = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    header.SOPInstanceUID, header.Modality = "1.2.3", "OT"
    header.NumberOfFrames, header.Rows, header.Columns = frames.shape
    bits = frames.dtype.itemsize * 8
    header.BitsAllocated, header.BitsStored, header.HighBit = bits, bits, bits - 1
    header.PixelRepresentation = int(frames.dtype.kind == "i")
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    vr, keyword = attributes.pop("vr", "OB" if bits == 8 else "OW"), attributes.pop("keyword", "PixelData")
    for name, value in attributes.items():
        setattr(header, name, value)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    if pixels is None:
        pixels = frames.astype(frames.dtype.newbyteorder(order)).tobytes()
        if vr == "OW" and bits == 8 and order == ">":
            pixels = swapped(pixels)
    content = DicomBytesIO()
    content.is_little_endian, content.is_implicit_VR = order == "<", syntax == ImplicitVRLittleEndian
    write_dataset(content, header)
    length = 0xFFFFFFFF if UID(syntax) not in NATIVE and pixels[:4] == b"\xfe\xff\x00\xe0" else len(pixels)
    group, element = divmod(tag_for_keyword(keyword), 1 << 16)
    content.write(struct.pack(f"{order}HH", group, element))
    if syntax != ImplicitVRLittleEndian:
        content.write(vr.encode() + b"\0\0")
    content.write(struct.pack(f"{order}L", length) + pixels + (b"\0" if len(pixels) % 2 else b""))
    if length == 0xFFFFFFFF:
        content.write(b"\xfe\xff\xdd\xe0\0\0\0\0")
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    meta.TransferSyntaxUID = UID(syntax)
    head = DicomBytesIO(bytes(128) + b"DICM")
    head.seek(132)
    write_file_meta_info(head, meta)
    data_set = content.getvalue()
    path.write_bytes(head.getvalue() + (deflated(data_set) if syntax == DeflatedExplicitVRLittleEndian else data_set))
    return path


def swapped(content):
    """Bytes in words of two, the other way round."""
    return np.frombuffer(content + bytes(len(content) % 2), np.uint8).reshape(-1, 2)[:, ::-1].tobytes()


def deflated(content):
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()


def first(path):
    found = look(path)
    return (found.images + found.objects)[0]


def frames_of(path, n_frames):
    """All frames, each asked for alone and in an order of no use, and one after the other."""
    file = first(path)
    alone = {k: stored_values(replace(file, index=k, n_frames=n_frames)) for k in reversed(range(n_frames))}
    together = list(stored_frames(file, n_frames))
    for k in range(n_frames):
        np.testing.assert_array_equal(alone[k], together[k])
    return np.stack(together)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("stored")


@settings(max_examples=60)
@given(
    st.sampled_from(NATIVE),
    st.sampled_from([8, 16, 32]),
    st.booleans(),
    st.sampled_from(["OB", "OW"]),
    st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)),
    st.data(),
)
def test_uncompressed_values_come_back_whatever_lies_in_unused_bits(folder, syntax, allocated, signed, vr, shape, data):
    stored = data.draw(st.integers(1, allocated))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    raw = rng.integers(0, 1 << allocated, shape, dtype=np.uint64)
    values = (raw & ((1 << stored) - 1)).astype(np.int64)
    if signed:
        values -= (values >> (stored - 1)) << stored
    bits = {"BitsStored": stored, "HighBit": stored - 1, "PixelRepresentation": int(signed)}
    vr = vr if allocated == 8 else "OW"
    path = write(folder / "native.dcm", raw.astype(f"u{allocated // 8}"), syntax, vr=vr, **bits)
    found = frames_of(path, shape[0])
    np.testing.assert_array_equal(found, values)
    assert found.dtype == np.dtype(f"{'i' if signed else 'u'}{allocated // 8}")


@settings(max_examples=40)
@given(
    st.sampled_from(NATIVE),
    st.sampled_from(["OB", "OW"]),
    st.tuples(st.integers(1, 5), st.integers(1, 7), st.integers(1, 7)),
    st.integers(0, 99),
)
def test_bits_run_across_the_borders_of_frames(folder, syntax, vr, shape, seed):
    bits = np.random.default_rng(seed).integers(0, 2, shape, dtype=np.uint8)
    packed = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    if syntax == ExplicitVRBigEndian and vr == "OW":
        packed = swapped(packed)
    path = write(folder / "bits.dcm", bits, syntax, packed, vr=vr, BitsAllocated=1, BitsStored=1, HighBit=0)
    np.testing.assert_array_equal(frames_of(path, shape[0]), bits)


FRAMES = np.random.default_rng(5).integers(0, 4000, (3, 40, 36)).astype(np.uint16)


LAYOUTS = [
    (syntax, table, n_fragments)
    for syntax in (RLE, JPEG_LS, JPEG_2000)
    for table in ("none", "right", "wrong", "extended")
    for n_fragments in (1, 3)
    if not (n_fragments > 1 and table == "extended")  # frames of an extended table are one fragment each
    and not (n_fragments > 1 and table != "right" and syntax == RLE)  # nothing tells them apart
]


@pytest.mark.parametrize(("syntax", "table", "n_fragments"), LAYOUTS)
def test_fragments_are_put_together_whatever_the_offset_table_says(tmp_path, syntax, table, n_fragments):
    streams_ = [coded_as(syntax, frame)[1] for frame in FRAMES]
    more = {}
    if table == "extended":
        pixels, more["ExtendedOffsetTable"], more["ExtendedOffsetTableLengths"] = encapsulate_extended(streams_)
    else:
        pixels = encapsulate(streams_, fragments_per_frame=n_fragments, has_bot=table != "none")
    if table == "wrong":
        pixels = pixels[:8] + (777).to_bytes(4, "little") * 3 + pixels[20:]
    path = write(tmp_path / "coded.dcm", FRAMES, syntax, pixels, **more)
    np.testing.assert_array_equal(frames_of(path, 3), FRAMES)


def test_fragments_that_nothing_tells_apart_are_refused(tmp_path):
    pixels = encapsulate([coded_as(RLE, frame)[1] for frame in FRAMES], fragments_per_frame=2, has_bot=False)
    path = write(tmp_path / "coded.dcm", FRAMES, RLE, pixels)
    with pytest.raises(InputError, match="holds 6 compressed fragments for 3 frames and does not say whose"):
        frames_of(path, 3)


@pytest.mark.parametrize("bits", [1, 8, 16])
def test_deflated_frames_are_inflated_in_bounds(tmp_path, bits):
    frames = FRAMES.astype(np.uint8) & 1 if bits == 1 else FRAMES.astype(f"u{bits // 8}")
    contents = [np.packbits(f, bitorder="little").tobytes() if bits == 1 else f.tobytes() for f in frames]
    more = {"BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1}
    path = write(tmp_path / "ok.dcm", frames, DEFLATED_FRAMES, encapsulate([deflated(c) for c in contents]), **more)
    np.testing.assert_array_equal(frames_of(path, 3), frames)
    bomb = [deflated(c + bytes(1 << 24)) for c in contents]
    path = write(tmp_path / "bomb.dcm", frames, DEFLATED_FRAMES, encapsulate(bomb), **more)
    with pytest.raises(InputError, match=r"more than the \d+ bytes that were expected"):
        frames_of(path, 3)


def test_packed_bits_with_run_lengths_are_read(tmp_path):
    bits = (FRAMES & 1).astype(np.uint8)
    rows = [np.packbits(frame, bitorder="little")[None] for frame in bits]
    pixels = encapsulate([coded_as(RLE, row)[1] for row in rows])
    path = write(tmp_path / "bits.dcm", bits, RLE, pixels, BitsAllocated=1, BitsStored=1, HighBit=0)
    np.testing.assert_array_equal(frames_of(path, 3), bits)


def test_a_deflated_file_that_would_fill_the_memory_is_no_image(tmp_path):
    frames = FRAMES[:1]
    path = write(tmp_path / "bomb.dcm", frames, DeflatedExplicitVRLittleEndian)
    content = path.read_bytes()
    start = 144 + int.from_bytes(content[140:144], "little")
    inside = zlib.decompress(content[start:], -zlib.MAX_WBITS)
    n_bomb = (1 << 26) + (1 << 20)
    # A private element of zeros before the pixels.
    filler = (
        b"\x09\x00\x10\x00LO\x04\x00BOMB" + b"\x09\x00\x01\x10OB\0\0" + n_bomb.to_bytes(4, "little") + bytes(n_bomb)
    )
    path.write_bytes(content[:start] + deflated(filler + inside))
    assert len(path.read_bytes()) < 1 << 20
    found = look(path)
    assert (found.images, found.damaged) == ((), (path,))


SENTENCES = [
    ({"BitsAllocated": 12}, r"stores 16 bits in 12"),
    ({"BitsStored": 12, "HighBit": 15}, r"unusual place \(HighBit 15, BitsStored 12\)"),
    ({"Rows": 0}, "has 36 columns and 0 rows"),
    ({"Rows": 41}, r"cut off: 8640 bytes of pixels, 8856 expected"),
    ({"Rows": 39}, r"holds 8640 bytes of pixels where 8424 were expected: its Rows"),
    ({"NumberOfFrames": 2}, "NumberOfFrames is wrong"),
    ({"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}, "BitsAllocated"),
    ({"SamplesPerPixel": 2}, "has SamplesPerPixel 2"),
]


@pytest.mark.parametrize(("attributes", "sentence"), SENTENCES)
def test_a_header_that_contradicts_the_pixels_is_refused_with_figures(tmp_path, attributes, sentence):
    path = write(tmp_path / "x.dcm", FRAMES, **attributes)
    file = first(path)
    with pytest.raises(InputError, match=sentence):
        list(stored_frames(file, attributes.get("NumberOfFrames", 3)))


def test_zeros_after_the_pixels_are_padding_and_told(tmp_path):
    path = write(tmp_path / "x.dcm", FRAMES, pixels=FRAMES.tobytes() + bytes(72))
    np.testing.assert_array_equal(frames_of(path, 3), FRAMES)
    assert n_zeros_after(first(path)) == 72


@pytest.mark.parametrize("syntax", [RLE, JPEG_LS, JPEG_2000])
def test_a_stream_of_another_size_than_the_header_is_refused_before_a_decoder_sees_it(tmp_path, syntax):
    pixels = encapsulate([coded_as(syntax, FRAMES[0])[1]])
    for rows, columns in ((39, 36), (41, 36), (36, 40) if syntax != RLE else (20, 36)):
        frame = np.zeros((1, rows, columns), np.uint16)
        path = write(tmp_path / "x.dcm", frame, syntax, pixels)
        with pytest.raises(InputError, match="is damaged"):
            stored_values(first(path))


def test_values_that_need_more_bits_than_are_stored_are_refused_where_nothing_else_can_be_there(tmp_path):
    path = write(
        tmp_path / "x.dcm", FRAMES[:1], JPEG_LS, encapsulate([coded_as(JPEG_LS, FRAMES[0])[1]]), BitsStored=8, HighBit=7
    )
    with pytest.raises(InputError, match=r"stores 8 bits, and its compressed pixels have values from \d+ to 39\d\d"):
        stored_values(first(path))


def test_unknown_syntaxes_and_float_pixels_are_refused_by_name(tmp_path):
    path = write(tmp_path / "x.dcm", FRAMES[:1], "1.2.840.10008.1.2.4.100", encapsulate([b"moving"]))
    with pytest.raises(InputError, match="compressed with MPEG2 Main Profile.*, which medseg cannot decode. Export it"):
        stored_values(first(path))
    path = write(tmp_path / "x.dcm", FRAMES[:1], "1.2.840.10008.1.2.4.90.7", encapsulate([b"?"]))
    with pytest.raises(InputError, match=r"compressed with 1\.2\.840\.10008\.1\.2\.4\.90\.7, which"):
        stored_values(first(path))
    pixels = FRAMES[0].astype("<f4").tobytes()
    write(tmp_path / "f.dcm", FRAMES[:1], pixels=pixels, vr="OF", keyword="FloatPixelData")
    with pytest.raises(InputError, match=r"floating-point pixels \(FloatPixelData\)"):
        stored_values(first(tmp_path / "f.dcm"))


def test_a_native_file_that_says_it_is_compressed_and_the_reverse_are_refused(tmp_path):
    write(tmp_path / "x.dcm", FRAMES[:1], JPEG_2000)
    with pytest.raises(InputError, match=r"says that it is compressed with JPEG 2000 .*and its pixels are not"):
        stored_values(first(tmp_path / "x.dcm"))
    path = write(tmp_path / "y.dcm", FRAMES[:1], JPEG_LS, encapsulate([coded_as(JPEG_LS, FRAMES[0])[1]]))
    path.write_bytes(path.read_bytes().replace(JPEG_LS.encode(), ExplicitVRLittleEndian.ljust(22, "\0").encode()))
    with pytest.raises(InputError, match="says that its pixels are not compressed"):
        stored_values(first(path))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLE, JPEG_LS, JPEG_2000])
def test_a_cut_anywhere_in_the_pixels_is_refused(tmp_path, syntax):
    pixels = None if syntax in NATIVE else encapsulate([coded_as(syntax, FRAMES[0])[1]])
    whole = write(tmp_path / "whole.dcm", FRAMES[:1], syntax, pixels).read_bytes()
    file = first(tmp_path / "whole.dcm")
    begin = file.pixels_at + 20 if syntax != DeflatedExplicitVRLittleEndian else len(whole) // 2
    end = len(whole) - (8 if pixels else 4)  # the mark that nothing follows is not needed, nor deflate's own end
    for at in np.linspace(begin, end - 2, 12).astype(int):
        (tmp_path / "cut.dcm").write_bytes(whole[:at])
        with pytest.raises(InputError, match="is cut off|is damaged"):
            stored_values(first(tmp_path / "cut.dcm"))


@pytest.mark.parametrize("syntax", [JPEG_LS, JPEG_2000])
def test_a_stream_that_ends_too_early_in_a_whole_file_is_refused(tmp_path, syntax):
    stream = coded_as(syntax, FRAMES[0])[1]
    path = write(tmp_path / "x.dcm", FRAMES[:1], syntax, encapsulate([stream[: len(stream) * 3 // 4]]))
    with pytest.raises(InputError, match=r"is cut off: its compressed stream \(JPEG.*\) has no end"):
        stored_values(first(path))


@pytest.mark.parametrize(
    ("photometric", "syntax"),
    [("RGB", "native"), ("RGB", "planar"), ("YBR_FULL", "native"), ("YBR_FULL_422", "native"), ("RGB", RLE)],
)
def test_colour_that_holds_greys_only_is_one_channel_and_any_colour_is_refused(tmp_path, photometric, syntax):
    grey = np.random.default_rng(3).integers(0, 256, (6, 8)).astype(np.uint8)
    attributes = {"SamplesPerPixel": 3, "PhotometricInterpretation": photometric, "PlanarConfiguration": 0}
    for tint in (0, 9):
        other = grey if photometric == "RGB" else np.full_like(grey, 128)
        channels = np.stack([grey, other, other + np.uint8(tint)], -1)
        if photometric == "YBR_FULL_422":
            pairs = channels.reshape(-1, 2, 3)
            pixels = np.stack([pairs[:, 0, 0], pairs[:, 1, 0], pairs[:, 0, 1], pairs[:, 0, 2]], -1).tobytes()
        elif syntax == "planar":
            attributes["PlanarConfiguration"] = 1
            pixels = np.moveaxis(channels, -1, 0).tobytes()
        elif syntax == RLE:
            pixels = encapsulate([colour_run_lengths(channels)])
        else:
            pixels = channels.tobytes()
        used = RLE if syntax == RLE else ExplicitVRLittleEndian
        path = write(tmp_path / f"{tint}.dcm", grey[None], used, pixels, **attributes)
        if tint:
            with pytest.raises(InputError, match=rf"is in colour \({photometric}\); medseg reads grey"):
                stored_values(first(path))
        else:
            np.testing.assert_array_equal(stored_values(first(path)), grey)


def colour_run_lengths(channels):
    rows, columns, _ = channels.shape
    return get_encoder(RLE).encode(
        channels,
        rows=rows,
        columns=columns,
        samples_per_pixel=3,
        number_of_frames=1,
        photometric_interpretation="RGB",
        bits_allocated=8,
        bits_stored=8,
        pixel_representation=0,
        planar_configuration=0,
        encoding_plugin="pylibjpeg",
    )


def test_tiles_are_cut_from_their_picture(tmp_path):
    picture = np.arange(48, dtype=np.uint16).reshape(6, 8)
    file = first(write(tmp_path / "x.dcm", picture[None]))
    header = file.header
    header.Rows, header.Columns = 3, 4
    tile = replace(file, header=header, tile=(3, 4, 6, 8))
    assert (layout_of(tile).rows, layout_of(tile).columns) == (6, 8)
    np.testing.assert_array_equal(stored_values(tile), picture[3:, 4:])
    np.testing.assert_array_equal(stored_values(replace(tile, tile=(0, 4, 6, 8))), picture[:3, 4:])


def test_pydicoms_own_files_agree_with_pydicom():
    n_same = 0
    for path in sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm")):
        found = look(path)
        for file in found.images + found.objects:
            n_frames = numbers(file.header, "NumberOfFrames") or (1.0,)
            syntax = file.header.file_meta.get("TransferSyntaxUID")
            if "Rows" not in file.header or syntax in (DeflatedExplicitVRLittleEndian, JPEG_EXTENDED):
                continue  # pydicom inflates no files in this call, and leaves 12 bits to another package
            try:
                mine = list(stored_frames(file, int(n_frames[0])))
            except InputError:
                continue
            if layout_of(file).samples == 1:
                np.testing.assert_array_equal(np.squeeze(np.stack(mine)), np.squeeze(pixel_array(path, raw=True)), path)
                n_same += 1
    assert n_same >= 20


@pytest.mark.data
def test_garbage_in_any_syntax_of_the_corpus_is_a_sentence_or_pixels_of_the_right_size(shared_data, tmp_path):
    rng = np.random.default_rng(20)
    folders = sorted(path for path in (shared_data / "dicom" / "syntax").iterdir() if path.is_dir())
    assert len(folders) >= 18
    for folder in folders:
        whole = sorted(folder.iterdir())[0].read_bytes()
        (tmp_path / "x.dcm").write_bytes(whole)
        file = first(tmp_path / "x.dcm")
        shape = stored_values(file).shape
        begin = (file.pixels_at or 0) if folder.name != "ct_deflated" else 1000
        for n_changes in (1, 20, 400):
            content = np.frombuffer(whole, np.uint8).copy()
            where = rng.integers(begin, len(whole), n_changes)
            content[where] ^= rng.integers(1, 256, n_changes, dtype=np.uint8)
            (tmp_path / "x.dcm").write_bytes(content.tobytes())
            for damaged in look(tmp_path / "x.dcm").images:  # none, where the header is deflated too
                with contextlib.suppress(InputError):
                    assert stored_values(damaged).shape == shape
