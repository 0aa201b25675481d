"""The child that decodes: right pixels, and never more harm than one failed frame."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from pydicom.pixels.encoders.base import get_encoder

from medseg.io.dicom.decode import Bounds, Coded, DecodeError, Decoder, decoded, is_decodable

RLE, JPEG_LS, JPEG_2000 = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"
ENCODERS = {RLE: "pylibjpeg", JPEG_LS: "pyjpegls", JPEG_2000: "pylibjpeg"}
"""Not GDCM: its RLE encoder ends the process at some sizes."""

HAS_SIGNALS = hasattr(signal, "SIGSTOP")
AMPLE = Bounds(60, 1 << 30)


def coded_as(syntax, array):
    """The stream of an array, and what a header says of it."""
    bits = array.dtype.itemsize * 8
    rows, columns = array.shape
    stream = get_encoder(syntax).encode(
        array,
        rows=rows,
        columns=columns,
        samples_per_pixel=1,
        number_of_frames=1,
        photometric_interpretation="MONOCHROME2",
        bits_allocated=bits,
        bits_stored=bits,
        pixel_representation=int(array.dtype.kind == "i"),
        encoding_plugin=ENCODERS[syntax],
    )
    return Coded(syntax, rows, columns, 1, bits, bits, array.dtype.kind == "i", "MONOCHROME2"), stream


FRAME = np.random.default_rng(1).integers(0, 60_000, (37, 53)).astype(np.uint16)


@pytest.fixture
def decoder():
    decoder = Decoder()
    yield decoder
    decoder.close()


def images():
    # What encoders (not decoders) can: no pictures smaller than 32 for openjpeg, nothing that grows for pyjpegls.
    shapes = npst.array_shapes(min_dims=2, max_dims=2, min_side=33, max_side=48)
    types = st.sampled_from([np.uint8, np.uint16, np.int16])
    return types.flatmap(lambda dtype: npst.arrays(dtype, shapes, fill=st.integers(0, 127)))


@settings(max_examples=40)
@given(images(), st.sampled_from([RLE, JPEG_LS, JPEG_2000]))
def test_what_was_coded_without_loss_comes_back(array, syntax):
    coded, stream = coded_as(syntax, array)
    np.testing.assert_array_equal(decoded(coded, stream), array)


def test_one_child_serves_all_frames_and_loads_no_torch(decoder):
    coded, stream = coded_as(RLE, FRAME)
    assert decoder.process_id is None
    decoder.decoded(coded, stream, AMPLE)
    first = decoder.process_id
    np.testing.assert_array_equal(decoder.decoded(*coded_as(JPEG_LS, FRAME), AMPLE), FRAME)
    assert decoder.process_id == first
    if sys.platform == "linux":
        assert "torch" not in Path(f"/proc/{first}/maps").read_text(encoding="utf-8")


def test_a_stream_that_is_garbage_is_a_failure_and_the_child_goes_on(decoder):
    coded, stream = coded_as(JPEG_2000, FRAME)
    with pytest.raises(DecodeError) as caught:
        decoder.decoded(coded, b"\xff\x4f\xff\x51" + bytes(range(256)), AMPLE)
    assert caught.value.reason in ("failed", "crashed")
    np.testing.assert_array_equal(decoder.decoded(coded, stream, AMPLE), FRAME)


def test_a_stream_with_too_few_pixels_is_refused(decoder):
    coded, stream = coded_as(JPEG_LS, FRAME)
    with pytest.raises(DecodeError):
        decoder.decoded(replace(coded, rows=38), stream, AMPLE)


@pytest.mark.skipif(not HAS_SIGNALS, reason="the system has no such signals")
class TestHarm:
    def test_a_child_that_died_meanwhile_is_started_again_without_a_word(self, decoder):
        coded, stream = coded_as(RLE, FRAME)
        decoder.decoded(coded, stream, AMPLE)
        first = decoder.process_id
        os.kill(first, signal.SIGKILL)
        time.sleep(0.1)
        np.testing.assert_array_equal(decoder.decoded(coded, stream, AMPLE), FRAME)
        assert decoder.process_id != first

    def test_a_crash_in_the_middle_of_a_frame_is_told_with_its_signal(self, decoder):
        coded, stream = coded_as(RLE, FRAME)
        decoder.decoded(coded, stream, AMPLE)
        os.kill(decoder.process_id, signal.SIGSTOP)  # it will not answer before it dies
        killer = threading.Timer(0.3, os.kill, (decoder.process_id, signal.SIGKILL))
        killer.start()
        with pytest.raises(DecodeError, match="SIGKILL") as caught:
            decoder.decoded(coded, stream, AMPLE)
        killer.join()
        assert caught.value.reason == "crashed"
        np.testing.assert_array_equal(decoder.decoded(coded, stream, AMPLE), FRAME)

    def test_a_decoder_that_hangs_is_ended_in_time(self, decoder):
        coded, stream = coded_as(RLE, FRAME)
        decoder.decoded(coded, stream, AMPLE)
        hanging = decoder.process_id
        os.kill(hanging, signal.SIGSTOP)
        begin = time.monotonic()
        with pytest.raises(DecodeError) as caught:
            decoder.decoded(coded, stream, Bounds(0.3, 1 << 30))
        assert caught.value.reason == "time"
        assert time.monotonic() - begin < 20
        with pytest.raises(ProcessLookupError):  # it was waited for: no zombie is left
            os.kill(hanging, 0)
        np.testing.assert_array_equal(decoder.decoded(coded, stream, AMPLE), FRAME)

    @pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux alone")
    def test_a_decoder_gets_no_more_memory_than_its_bounds(self, decoder):
        coded, stream = coded_as(RLE, np.zeros((4000, 4000), np.uint16))
        with pytest.raises(DecodeError) as caught:
            decoder.decoded(coded, stream, Bounds(60, 1 << 20))
        assert caught.value.reason in ("memory", "failed", "crashed")
        assert decoder.decoded(coded, stream, AMPLE).shape == (4000, 4000)

    def test_an_interrupt_leaves_no_answer_for_the_next_frame(self, decoder, request):
        other = FRAME[::-1].copy()
        decoder.decoded(*coded_as(RLE, FRAME), AMPLE)
        # Whatever ran before in this process may have left a handler of its own.
        handler = signal.signal(signal.SIGINT, signal.default_int_handler)
        request.addfinalizer(lambda: signal.signal(signal.SIGINT, handler or signal.SIG_DFL))
        os.kill(decoder.process_id, signal.SIGSTOP)
        interrupt = threading.Timer(0.2, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
        interrupt.start()
        with pytest.raises(KeyboardInterrupt):
            decoder.decoded(*coded_as(RLE, FRAME), AMPLE)
        interrupt.join()
        np.testing.assert_array_equal(decoder.decoded(*coded_as(RLE, other), AMPLE), other)


SCRIPT = """
    import os, sys, time
    import numpy as np
    from medseg.io.dicom.decode import Coded, _decoder, decoded
    coded, stream = Coded("1.2.840.10008.1.2.5", 1, 4, 1, 8, 8, False, "MONOCHROME2"), bytes.fromhex({stream!r})
    assert decoded(coded, stream).tolist() == [[1, 2, 3, 4]]
"""
"""A user's script without `if __name__ == "__main__"`."""


def run(more):
    _, stream = coded_as(RLE, np.array([[1, 2, 3, 4]], np.uint8))
    script = textwrap.dedent(SCRIPT).format(stream=stream.hex()) + textwrap.dedent(more)
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def is_gone(process_id, within_s=10):
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            os.kill(process_id, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{process_id}/stat").exists() and ") Z " in Path(f"/proc/{process_id}/stat").read_text(
            encoding="utf-8"
        ):
            return True  # dead; that nobody waits for it is this machine's first process's doing
        time.sleep(0.05)
    return False


@pytest.mark.skipif(not HAS_SIGNALS, reason="the system has no such signals")
class TestEnds:
    def test_a_script_ends_without_a_warning_and_takes_the_child_along(self):
        done = run("print(_decoder.process_id)")
        assert (done.returncode, done.stderr) == (0, "")
        assert is_gone(int(done.stdout))

    def test_the_child_ends_when_the_parent_is_killed(self):
        done = run("print(_decoder.process_id, flush=True); os.kill(os.getpid(), 9)")
        assert done.returncode == -9
        assert is_gone(int(done.stdout))

    def test_a_forked_process_has_a_child_of_its_own(self):
        done = run("""
            first = _decoder.process_id
            if (forked := os.fork()) == 0:
                assert _decoder.process_id is None
                assert decoded(coded, stream).tolist() == [[1, 2, 3, 4]]
                _decoder.close()
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]) == 0
            assert decoded(coded, stream).tolist() == [[1, 2, 3, 4]]
            assert _decoder.process_id == first
        """)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_child_that_cannot_start_is_not_blamed_on_the_file(decoder, monkeypatch):
    for nowhere in ("/no/such/python", "/bin/false"):
        monkeypatch.setattr(sys, "executable", nowhere)
        with pytest.raises(DecodeError) as caught:
            decoder.decoded(*coded_as(RLE, FRAME), AMPLE)
        assert caught.value.reason == "start"
    monkeypatch.undo()
    np.testing.assert_array_equal(decoder.decoded(*coded_as(RLE, FRAME), AMPLE), FRAME)


def test_syntaxes_without_a_decoder_are_known():
    assert is_decodable(JPEG_2000)
    assert not is_decodable("1.2.840.10008.1.2.4.100")  # MPEG-2
    assert not is_decodable("1.2.840.10008.1.2.1")


def test_bounds_grow_with_the_frame():
    coded, _ = coded_as(RLE, FRAME)
    small, large = coded.bounds(1000), replace(coded, rows=8192, columns=8192).bounds(1000)
    assert small.time_s < large.time_s < 600
    assert small.memory_bytes < large.memory_bytes < 8 << 30
