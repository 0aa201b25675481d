"""Compressed frames → arrays, in a child process with bounds on time and memory.

Decoders are C code fed by strangers. Here one may crash, hang or ask for all memory there is: that is one failed frame,
told in words, never the end of the program. The child is started when the first frame comes, serves all that follow,
and ends with this process: it reads from a pipe that breaks then. It imports neither torch nor the user's script.

The child knows no files and no headers: it gets a stream and what the header says of it, and answers with pixels. Both
ways a message is a JSON object and raw bytes; nothing that comes back can run code here.
"""

import atexit
import contextlib
import faulthandler
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bounds", "Coded", "DecodeError", "Decoder", "decoded", "is_decodable"]

Reason = Literal["start", "failed", "crashed", "time", "memory", "answer"]

_JPEG_BASELINE, _JPEG_EXTENDED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"
_PLUGINS = {
    _JPEG_BASELINE: ("pillow", "gdcm"),
    _JPEG_EXTENDED: ("pillow", "gdcm"),
    "1.2.840.10008.1.2.4.57": ("gdcm",),  # JPEG lossless
    "1.2.840.10008.1.2.4.70": ("gdcm",),
    "1.2.840.10008.1.2.4.80": ("pyjpegls", "gdcm"),  # JPEG-LS
    "1.2.840.10008.1.2.4.81": ("pyjpegls", "gdcm"),
    "1.2.840.10008.1.2.4.90": ("pylibjpeg", "gdcm"),  # JPEG 2000
    "1.2.840.10008.1.2.4.91": ("pylibjpeg", "gdcm"),
    "1.2.840.10008.1.2.4.201": ("pylibjpeg",),  # HTJ2K
    "1.2.840.10008.1.2.4.202": ("pylibjpeg",),
    "1.2.840.10008.1.2.4.203": ("pylibjpeg",),
    "1.2.840.10008.1.2.5": ("pylibjpeg", "pydicom"),  # RLE
}
"""Transfer syntax → pydicom's names of decoders, the most exact first.

Not among them: Pillow for JPEG 2000 (it scales values and shifts them back), pylibjpeg-libjpeg (GPL).
"""

_LENGTHS = struct.Struct("<LQ")
_LONGEST_ANSWER_HEAD = 4096
_START_S = 60.0
"""How long the child may take to say that it is there, on a busy machine."""

_READY = b"!"


class DecodeError(Exception):
    """No pixels came back; `reason` says why."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason: Reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return self.detail or self.reason


@dataclass(frozen=True)
class Bounds:
    """What a frame may cost: seconds, and bytes beyond what the idle child has."""

    time_s: float
    memory_bytes: int


@dataclass(frozen=True)
class Coded:
    """What the header says of a compressed frame: `bits_stored` as the stream says it where it does."""

    syntax: str
    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    is_signed: bool
    photometric: str
    planar: int = 0

    @property
    def n_pixels(self) -> int:
        return self.rows * self.columns * self.samples

    def bounds(self, n_stream: int) -> Bounds:
        """Generous for any honest frame: JPEG 2000 takes some 20 bytes a pixel, the slowest decoder 1 s for 1 Mpx."""
        return Bounds(30 + self.n_pixels / 250_000, (256 << 20) + 64 * self.n_pixels + 8 * n_stream)


def is_decodable(syntax: str) -> bool:
    """Whether there is a decoder for a compressed transfer syntax."""
    return syntax in _PLUGINS


def decoded(coded: Coded, stream: bytes, bounds: Bounds | None = None) -> NDArray[Any]:
    """Pixels as they were stored: (rows, columns), in colour (rows, columns, samples) in RGB.

    Raises:
        DecodeError: The stream is damaged, or does more harm than that.
    """
    return _decoder.decoded(coded, stream, bounds or coded.bounds(len(stream)))


class Decoder:
    """The child process, started when it is first needed and again after it had to be ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    @property
    def process_id(self) -> int | None:
        """Of the child; None if there is none."""
        return None if self._process is None else self._process.pid

    def decoded(self, coded: Coded, stream: bytes, bounds: Bounds) -> NDArray[Any]:
        """As the function of this name."""
        with self._lock:
            process = self._process if self._process is not None and self._process.poll() is None else self._started()
            with _killed_after(process, bounds.time_s) as too_late:
                try:
                    head, payload = _asked(process, coded, stream, bounds)
                except (OSError, EOFError) as error:
                    self._ended()
                    raise DecodeError("time" if too_late.is_set() else "crashed", _death(process)) from error
                except BaseException:  # an interrupt: an answer may still come, which would be taken for the next one's
                    self._ended()
                    raise
        if "reason" in head:
            raise DecodeError(head["reason"], str(head.get("detail", "")))
        return np.frombuffer(payload, np.dtype(head["dtype"])).reshape(head["shape"])

    def close(self) -> None:
        """End the child; a later frame starts another."""
        with self._lock:
            self._ended()

    def forget(self) -> None:
        """In a forked process: the child is the parent's, and ends with it only if its pipes are closed here too."""
        process, self._process, self._lock = self._process, None, threading.Lock()
        if process is not None:
            _close_pipes(process)
            process.returncode = 0  # nobody waits for it here

    def _started(self) -> "subprocess.Popen[bytes]":
        self._ended()
        code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import serve; serve()"
        try:
            self._process = process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            raise DecodeError("start", error.strerror or "") from error
        try:
            with _killed_after(process, _START_S):
                answer = process.stdout.read(len(_READY)) if process.stdout is not None else b""
        except BaseException:  # an interrupt: a child that is half started is of no use
            self._ended()
            raise
        if answer != _READY:
            self._ended()
            raise DecodeError("start", _death(process))
        return process

    def _ended(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        _close_pipes(process)
        process.wait()


@contextlib.contextmanager
def _killed_after(process: "subprocess.Popen[bytes]", time_s: float) -> Iterator[threading.Event]:
    """A child that takes longer is killed, which ends all waiting for it; the event tells so."""
    too_late = threading.Event()

    def stop() -> None:
        too_late.set()
        process.kill()

    watch = threading.Timer(time_s, stop)
    watch.daemon = True
    watch.start()
    try:
        yield too_late
    finally:
        watch.cancel()


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):  # what was written and not taken is lost on purpose
                pipe.close()


def _death(process: subprocess.Popen[bytes]) -> str:
    code = process.returncode
    if code is None or code >= 0:
        return ""
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


def _asked(
    process: subprocess.Popen[bytes], coded: Coded, stream: bytes, bounds: Bounds
) -> tuple[dict[str, Any], bytes]:
    """Send a frame, wait for the answer, and believe only an answer that fits."""
    if process.stdin is None or process.stdout is None:  # it was started with pipes
        raise EOFError
    _send(process.stdin, {"coded": asdict(coded), "bounds": asdict(bounds)}, stream)
    n_head, n_payload = _LENGTHS.unpack(_exactly(process.stdout, _LENGTHS.size))
    if n_head > _LONGEST_ANSWER_HEAD or n_payload > 8 * coded.n_pixels:
        raise EOFError
    head, payload = json.loads(_exactly(process.stdout, n_head)), _exactly(process.stdout, n_payload)
    if "reason" in head:
        return head, b""
    shape = (coded.rows, coded.columns, coded.samples)[: 2 if coded.samples == 1 else 3]
    dtype = np.dtype(head["dtype"])
    if tuple(head["shape"]) != shape or dtype.kind not in "ui" or n_payload != coded.n_pixels * dtype.itemsize:
        return {"reason": "answer", "detail": f"{head['shape']} of type {dtype}"}, b""
    return head, payload


def _send(pipe: IO[bytes], head: dict[str, Any], payload: bytes | memoryview) -> None:
    text = json.dumps(head).encode()
    pipe.write(_LENGTHS.pack(len(text), len(payload)))
    pipe.write(text)
    pipe.write(payload)
    pipe.flush()


def _exactly(pipe: IO[bytes], n_bytes: int) -> bytes:
    content = pipe.read(n_bytes)
    if len(content) < n_bytes:
        raise EOFError
    return content


# In the child.


def serve() -> None:
    """Answer until the pipe breaks; decoders may print what they like, it goes nowhere."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
    with contextlib.suppress(EOFError, OSError):
        answers.write(_READY)
        answers.flush()
        while True:
            n_head, n_payload = _LENGTHS.unpack(_exactly(requests, _LENGTHS.size))
            head, stream = json.loads(_exactly(requests, n_head)), _exactly(requests, n_payload)
            answer, payload = _answer(Coded(**head["coded"]), Bounds(**head["bounds"]), stream)
            _send(answers, answer, payload)


def _answer(coded: Coded, bounds: Bounds, stream: bytes) -> tuple[dict[str, Any], bytes | memoryview]:
    # Should the parent be gone, nobody else ends a decoder that hangs: a thread in C does, without asking Python.
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123
        faulthandler.dump_traceback_later(2 * bounds.time_s + 1, exit=True, file=nowhere)
        try:
            decode = _way_to_decode(coded)
            with _bounded(bounds.memory_bytes):
                array = np.ascontiguousarray(decode(stream))
            return {"dtype": array.dtype.str, "shape": array.shape}, array.reshape(-1).view(np.uint8).data
        except MemoryError:
            return {"reason": "memory"}, b""
        except Exception as error:  # noqa: BLE001  whatever a plugin raises on garbage
            return {"reason": "failed", "detail": type(error).__name__}, b""
        finally:
            faulthandler.cancel_dump_traceback_later()


@contextlib.contextmanager
def _bounded(memory_bytes: int) -> Iterator[None]:
    """No more than `memory_bytes` beyond what is in use, where the system can say and limit that (Linux)."""
    try:
        import resource

        with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123
            in_use = int(statm.read().split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = in_use + memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit if hard < 0 else min(limit, hard), hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, OSError, ValueError):
        yield
        return
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _way_to_decode(coded: Coded) -> Callable[[bytes], NDArray[Any]]:
    """What decodes a stream; libraries are loaded here, before memory is limited: they take more than a frame does."""
    if coded.syntax in (_JPEG_BASELINE, _JPEG_EXTENDED) and coded.bits_stored > 8:
        return _way_by_itk(coded)
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import get_decoder

    decoder = get_decoder(coded.syntax)
    options: dict[str, Any] = {
        "number_of_frames": 1,
        "rows": coded.rows,
        "columns": coded.columns,
        "samples_per_pixel": coded.samples,
        "bits_allocated": coded.bits_allocated,
        "bits_stored": coded.bits_stored,
        "pixel_representation": int(coded.is_signed),
        "photometric_interpretation": coded.photometric,
        "planar_configuration": coded.planar,
        "pixel_keyword": "PixelData",
    }

    def decode(stream: bytes) -> NDArray[Any]:
        source, failure = encapsulate([stream], has_bot=False), Exception("no plugin")
        for plugin in _PLUGINS[coded.syntax]:
            try:
                return decoder.as_array(source, raw=coded.samples == 1, decoding_plugin=plugin, **options)[0]
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001  the next may do better
                failure = error
        raise failure

    return decode


def _way_by_itk(coded: Coded) -> Callable[[bytes], NDArray[Any]]:
    """JPEG of 12 bits, by the GDCM in SimpleITK: it reads files, so the frame becomes one, with no rescale to undo."""
    import SimpleITK as sitk  # noqa: N813
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID, SecondaryCaptureImageStorage, generate_uid

    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = UID(coded.syntax)
    image.SOPClassUID, image.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    image.Rows, image.Columns, image.SamplesPerPixel = coded.rows, coded.columns, coded.samples
    image.PhotometricInterpretation, image.PixelRepresentation = "MONOCHROME2", int(coded.is_signed)
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, coded.bits_stored, coded.bits_stored - 1

    def decode(stream: bytes) -> NDArray[Any]:
        image.PixelData = encapsulate([stream], has_bot=False)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "frame.dcm")  # noqa: PTH118
            image.save_as(path, enforce_file_format=True)
            array = sitk.GetArrayFromImage(sitk.ReadImage(path, imageIO="GDCMImageIO"))
        return np.asarray(array).reshape(array.shape[-2:])

    return decode


_decoder = Decoder()
atexit.register(_decoder.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_decoder.forget)
