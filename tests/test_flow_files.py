"""Flow files against their formats' definitions, and damaged in every way.

`python test_flow_files.py fuzz` reads damaged files in a process with little memory.
"""

import io
import os
import resource
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal

from movseg_jax import images
from movseg_jax.errors import InputError
from movseg_jax.flow import files
from movseg_jax.flow.encoding import to_picture
from movseg_jax.flow.files import read_flow, read_flow_valid, write_flow
from tests.outside import needs, outside

ROOT = Path(__file__).parents[1]
PAIRS = "data/flow_pairs"
FORMATS = list(files.SUFFIX_OF)
LOSSLESS = ["flo", "pfm", "npz"]


def some_flow(height=5, width=7, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(height, width, 2)) * 3).astype(np.float32)


def written(folder, flow, to):
    path = folder / f"a{files.SUFFIX_OF[to]}"
    write_flow(path, flow, to=to)
    return path


# Formats -------------------------------------------------------------------------


@pytest.mark.parametrize("to", LOSSLESS)
@given(
    flow=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 5), st.integers(1, 5), st.just(2)),
        elements=st.floats(-9, 9, width=32),
    )
)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_lossless_formats_return_what_was_written(tmp_path, to, flow):
    read, valid = read_flow_valid(written(tmp_path, flow, to))
    assert read.dtype == np.float32 and valid.all()
    assert_array_equal(read, flow)


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("size", [(1, 1), (1, 6), (6, 1), (31, 17)])
def test_every_format_has_every_size(tmp_path, to, size):
    flow = some_flow(*size)
    path = written(tmp_path, flow, to)
    step = np.ptp(np.linalg.norm(flow, axis=-1)) / 255
    tolerance = {"kitti": 0.5 / 64, "png": step + 10 * np.pi / 255}.get(to, 0)
    assert_allclose(read_flow(path, frame_size=size), flow, atol=tolerance)


@pytest.mark.parametrize("to", FORMATS)
def test_what_is_read_may_be_changed(tmp_path, to):
    path = written(tmp_path, some_flow(), to)
    flow = read_flow(path)
    flow[:] = 0
    assert flow.flags.c_contiguous and not flow.any() and read_flow(path).any()


@needs(PAIRS)
@pytest.mark.parametrize("i", [1, 2, 3])
def test_published_flo_files_are_read_as_opencv_reads_them_and_written_alike(i):
    path = outside(PAIRS) / f"0000{i}_flow.flo"
    flow = read_flow(path, frame_size=(384, 512))
    assert_array_equal(flow, cv2.readOpticalFlow(str(path)))
    assert files.encode_flo(flow) == path.read_bytes()


def test_flo_files_are_those_of_opencv(tmp_path):
    flow = some_flow()
    cv2.writeOpticalFlow(str(tmp_path / "b.flo"), flow)
    assert (tmp_path / "b.flo").read_bytes() == files.encode_flo(flow)


@pytest.mark.parametrize("order, scale", [("<", "-1.0"), (">", "1"), ("<", "-0.5e1")])
def test_the_sign_of_a_pfm_s_scale_is_its_byte_order(tmp_path, order, scale):
    flow = some_flow(2, 3)
    path = tmp_path / "a.pfm"
    data = f"PF\n3 2\n{scale}\n".encode()
    for y in (1, 0):  # From the bottom.
        for x in range(3):
            data += struct.pack(f"{order}3f", *flow[y, x], 17)
    path.write_bytes(data)
    assert_array_equal(read_flow(path), flow)


def test_pfm_files_are_those_of_opencv(tmp_path):
    path, flow = written(tmp_path, some_flow(), "pfm"), some_flow()
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert_array_equal(image[..., ::-1], np.pad(flow, ((0, 0), (0, 0), (0, 1))))


def test_kitti_is_sixty_fourths_from_two_to_the_fifteenth(tmp_path):
    pixels = np.full((40, 30, 3), (2**15 + 64, 2**15 - 32, 1), np.uint16)
    pixels[0, 1] = 0
    pixels[1, 2] = (0, 2**16 - 1, 1)
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), pixels[..., ::-1])
    flow, valid = read_flow_valid(path)
    expected = np.full((40, 30, 2), (1, -0.5))
    expected[0, 1] = 0
    expected[1, 2] = (-512, 512 - 1 / 64)
    assert_array_equal(flow, expected)
    assert not valid[0, 1] and valid.sum() == 40 * 30 - 1


def test_kitti_clips_what_it_cannot_hold(tmp_path):
    flow = some_flow(40, 60)
    flow[:2, :2] = [[(600, -600), (511, -511)], [(512, -512), (1e8, -1e8)]]
    read = read_flow(written(tmp_path, flow, "kitti"))
    assert_allclose(read, np.clip(flow, -512, 512 - 1 / 64), atol=0.5 / 64)


def test_the_authors_files_are_an_rgb_png_and_a_text(tmp_path):
    flow = some_flow()
    path = written(tmp_path, flow, "png")
    picture, text = to_picture(flow)
    assert_array_equal(cv2.imread(str(path))[..., ::-1], picture)
    assert (tmp_path / "a_magnitude_minmax.txt").read_text() == text
    assert_array_equal(to_picture(read_flow(path))[0], picture)


@pytest.mark.parametrize("vector", [(0, 0), (2, 1)])
def test_constant_flow_can_be_an_authors_file(tmp_path, vector):
    flow = np.full((5, 7, 2), vector, np.float32)
    read = read_flow(written(tmp_path, flow, "png"))
    assert_allclose(read, flow, atol=2 * np.pi / 255 * 3)


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npz_files_hold_floats_of_any_kind(tmp_path, dtype, order):
    flow = np.asarray(some_flow(), dtype, order=order)
    np.savez_compressed(tmp_path / "a.npz", flow=flow, other=[1])
    assert_array_equal(read_flow(tmp_path / "a.npz"), flow.astype(np.float32))


@given(
    height=st.integers(3, 9),
    width=st.integers(3, 9),
    channels_first=st.booleans(),
    batch=st.booleans(),
    order=st.sampled_from("CF"),
    name=st.sampled_from(["flow", "arr_0", "prediction", None]),
)
def test_arrays_of_other_programs_are_flow(
    height, width, channels_first, batch, order, name
):
    """[h, w, 2] or [2, h, w], alone or in a batch, in .npy or by any name in .npz."""
    flow = some_flow(height, width)
    array = np.moveaxis(flow, 2, 0) if channels_first else flow
    array = np.asarray(array[None] if batch else array, order=order)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("a.npz" if name else "a.npy")
        np.savez(path, **{name: array}) if name else np.save(path, array)
        read = read_flow(path, frame_size=(height, width))
    assert_array_equal(read, flow)
    assert read.flags.c_contiguous


def test_of_several_arrays_the_one_called_flow_is_read_and_none_is_guessed(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, other=some_flow(3, 3), flow=some_flow())
    assert_array_equal(read_flow(path), some_flow())
    np.savez(path, forward=some_flow(), backward=some_flow())
    with pytest.raises(InputError, match=r'no array "flow" .*: forward, backward\.'):
        read_flow(path)


def test_a_name_must_have_the_suffix_of_its_format(tmp_path):
    with pytest.raises(InputError, match=r"expected a name that ends in \.flo"):
        write_flow(tmp_path / "a.png", some_flow(), to="flo")
    for name in ("a.jpg", "a.npy"):
        with pytest.raises(InputError, match=r"expected a name that ends in \.flo, "):
            write_flow(tmp_path / name, some_flow())
    with pytest.raises(InputError, match="no format 'exr'; expected one of flo"):
        write_flow(tmp_path / "a.exr", some_flow(), to="exr")


# Unknown and implausible flow ----------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.7e9])
@pytest.mark.parametrize("to", [*LOSSLESS, "kitti"])
def test_unknown_flow_is_counted_or_zero(tmp_path, to, value):
    flow = some_flow()
    flow[1, 2, 0] = flow[3, 3, 1] = value
    path = written(tmp_path, flow, to)
    with pytest.raises(InputError, match=r"a\.\w+: .* unknown in 2 of 35 pixels"):
        read_flow(path)
    read, valid = read_flow_valid(path)
    expected = np.ones((5, 7), bool)
    expected[1, 2] = expected[3, 3] = False
    assert_array_equal(valid, expected)
    known = np.where(expected[..., None], flow, 0)
    assert_allclose(read, known, atol=0.5 / 64 if to == "kitti" else 0)
    assert_array_equal(read_flow(path, unknown="zero"), read)


@pytest.mark.parametrize("value", [np.nan, -np.inf, 1.7e9])
def test_the_authors_files_cannot_hold_unknown_flow(tmp_path, value):
    flow = some_flow()
    flow[1, 2, 0] = value
    with pytest.raises(InputError, match=r"a\.png: .* unknown in 1 pixels"):
        write_flow(tmp_path / "a.png", flow)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((2, 5, 7), np.float32),
        np.zeros((5, 7, 3), np.float32),
        np.zeros((5, 7), np.float32),
        np.zeros((0, 7, 2), np.float32),
        np.zeros((5, 0, 2), np.float32),
        np.zeros((5, 7, 2), bool),
        np.zeros((5, 7, 2), complex),
    ],
    ids=lambda flow: f"{flow.dtype}{flow.shape}",
)
def test_what_is_no_flow_is_not_written(tmp_path, to, wrong):
    path = tmp_path / f"a{files.SUFFIX_OF[to]}"
    with pytest.raises(InputError, match=r"a\.\w+: the flow is .*, expected numbers"):
        write_flow(path, wrong, to=to)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("dtype", [np.float64, np.int16])
def test_flow_of_other_numbers_is_written_as_float32(tmp_path, to, dtype):
    flow = (10 * some_flow()).astype(dtype)
    path = written(tmp_path, flow, to)
    assert read_flow(path).dtype == np.float32
    same = tmp_path / "same"
    same.mkdir()
    assert path.read_bytes() == written(same, flow.astype(np.float32), to).read_bytes()


def test_flow_far_longer_than_the_image_is_something_else(tmp_path):
    path = written(tmp_path, some_flow() * 100, "flo")
    with pytest.raises(InputError, match="move by more than 10 diagonals"):
        read_flow(path)
    flow = some_flow(20, 30)
    flow[0, 0] = 1e5  # As in a few frames of FlyingThings3D.
    assert_array_equal(read_flow(written(tmp_path, flow, "flo")), flow)


@pytest.mark.parametrize("to", FORMATS)
def test_the_size_of_the_frame_is_checked(tmp_path, to):
    path = written(tmp_path, some_flow(5, 7), to)
    with pytest.raises(InputError, match=r"is flow of 7x5 .* 5x7\. Transposed\?"):
        read_flow(path, frame_size=(7, 5))
    with pytest.raises(InputError, match=r"expected the frame's 7x6\.$"):
        read_flow(path, frame_size=(6, 7))


# Damaged files -------------------------------------------------------------------


def archive(content, name="flow.npy", to=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", to) as opened:
        opened.writestr(name, content)
    return file.getvalue()


def npy(header, content=b""):
    text = repr(header).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + content


def png(width, height, bits, colour, content=b"", interlacing=0):
    def chunk(kind, data):
        sum_ = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + sum_

    header = struct.pack(">2I5B", width, height, bits, colour, 0, 0, interlacing)
    chunks = [(b"IHDR", header), (b"IDAT", content), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks)


FLOATS = {"descr": "<f4", "fortran_order": False, "shape": (2, 3, 2)}
DAMAGED = {
    "flo empty": ("a.flo", b"", "is not a .flo file"),
    "flo magic": ("a.flo", b"RIFF" * 5, r"begins with b'RIFF', expected b'PIEH'"),
    "flo claims": ("a.flo", b"PIEH" + struct.pack("<2i", 2**16, 2**15), "MAX_PIXELS"),
    "flo huge": ("a.flo", b"PIEH" + struct.pack("<2i", 2**31 - 1, 1), "MAX_PIXELS"),
    "flo negative": ("a.flo", b"PIEH" + struct.pack("<2i", -3, -2), "at least one"),
    "flo zero": ("a.flo", b"PIEH" + struct.pack("<2i", 0, 4), "at least one"),
    "flo order": ("a.flo", b"PIEH" + struct.pack(">2i", 1, 1) + bytes(8), "byte order"),
    "flo short": ("a.flo", b"PIEH" + struct.pack("<2i", 3, 2) + bytes(47), "47 bytes"),
    "flo long": ("a.flo", b"PIEH" + struct.pack("<2i", 3, 2) + bytes(49), "49 bytes"),
    "npy text": ("a.npy", b"no array", "damaged .npy"),
    "npy short": ("a.npy", npy(FLOATS, bytes(47)), "47 bytes of flow"),
    "npy long": ("a.npy", npy(FLOATS, bytes(49)), "49 bytes of flow"),
    "npy claims": ("a.npy", npy({**FLOATS, "shape": (2, 2**20, 2**20)}), "MAX_PIXELS"),
    "npy integers": ("a.npy", npy({**FLOATS, "descr": "<i4"}), "expected floats"),
    "npy three channels": ("a.npy", npy({**FLOATS, "shape": (2**9, 9, 3)}), "floats"),
    "npy two in a batch": ("a.npy", npy({**FLOATS, "shape": (2, 2, 9, 9)}), "floats"),
    "pfm grey": ("a.pfm", b"Pf\n3 2\n-1\n" + bytes(24), "three channels"),
    "pfm scale": ("a.pfm", b"PF\n3 2\n0\n" + bytes(72), "not zero"),
    "pfm nan": ("a.pfm", b"PF\n3 2\n-1e999\n" + bytes(72), "not zero"),
    "pfm words": ("a.pfm", b"PF\n3 2\n-+.\n" + bytes(72), "not zero"),
    "pfm claims": ("a.pfm", b"PF\n99999 99999\n-1\n", "MAX_PIXELS"),
    "pfm short": ("a.pfm", b"PF\n3 2\n-1\n" + bytes(71), "71 bytes of flow"),
    "npz text": ("a.npz", b"no archive", "damaged .npz"),
    "npz other": ("a.npz", archive(b"", "f.txt"), 'no array "flow" .* array: none'),
    "npz short": ("a.npz", archive(npy(FLOATS, bytes(47))), "47 bytes of flow"),
    "npz long": ("a.npz", archive(npy(FLOATS, bytes(99))), "bytes of flow"),
    "npz object": ("a.npz", archive(npy({**FLOATS, "descr": "|O"})), "expected float"),
    "npz shape": ("a.npz", archive(npy({**FLOATS, "shape": (2, 3)})), "expected float"),
    "npz claims": (
        "a.npz",
        archive(npy({**FLOATS, "shape": (2**20, 2**20, 2)})),
        "MAX_PIXELS",
    ),
    "npz negative": ("a.npz", archive(npy({**FLOATS, "shape": (-2, 3, 2)})), "a.npz"),
    "npz truth": ("a.npz", archive(npy({**FLOATS, "shape": (True, True, 2)})), "float"),
    "npz truth in two": (
        "a.npz",
        archive(npy({**FLOATS, "shape": (2, True)})),
        "float",
    ),
    "npz bzip2": ("a.npz", archive(npy(FLOATS), to=zipfile.ZIP_BZIP2), "by method 12"),
    "npz lzma": ("a.npz", archive(npy(FLOATS), to=zipfile.ZIP_LZMA), "by method 14"),
    "npz text in header": ("a.npz", archive(npy("__import__('os')")), "damaged .npz"),
    "npz version": ("a.npz", archive(b"\x93NUMPY\x09\0" + bytes(99)), "damaged .npz"),
    "png text": ("a.png", b"no picture", "none of JPEG, PNG"),
    "png claims": ("a.png", png(2**31 - 1, 2**31 - 1, 16, 2), "MAX_PIXELS"),
    "png grey": ("a.png", png(3, 2, 16, 0), "expected a PNG in RGB"),
    "png palette": ("a.png", png(3, 2, 8, 3), "expected a PNG in RGB"),
    "png empty": ("a.png", png(3, 2, 16, 2), "cannot be read as an image"),
    "png short": ("a.png", png(3, 2, 16, 2, zlib.compress(bytes(37))), "truncated"),
    "png filter": ("a.png", png(3, 2, 16, 2, zlib.compress(b"\7" * 38)), "data stream"),
    "jpeg": ("a.png", images.encode_jpeg(np.zeros((2, 3, 3), np.uint8)), "a JPEG file"),
    "png no text": (
        "a.png",
        png(3, 2, 8, 2, zlib.compress(bytes(20))),
        "needs the file a_magnitude_minmax.txt beside it",
    ),
    "suffix": ("a.jpg", b"", "expected one of .flo, .pfm, .png, .npz, .npy"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_files_are_input_errors_that_name_the_file(tmp_path, case):
    name, data, message = DAMAGED[case]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message) as error:
        read_flow(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


@pytest.mark.parametrize(
    "text", ["", "1", "1 2 3", "a b", "2 1", "-1 2", "0 nan", "0 inf", "0 1e300"]
)
def test_a_damaged_text_beside_an_authors_file_is_an_error(tmp_path, text):
    path = written(tmp_path, some_flow(), "png")
    (tmp_path / "a_magnitude_minmax.txt").write_text(text)
    with pytest.raises(InputError, match="expected two numbers"):
        read_flow(path)


def test_files_that_are_missing_or_no_files_are_errors(tmp_path):
    os.mkfifo(tmp_path / "pipe.flo")
    for name, message in (
        ("b.flo", "there is no such file"),
        ("pipe.flo", "is not a file"),
        ("a\0.flo", "cannot be read"),
    ):
        with pytest.raises(InputError, match=message):
            read_flow(tmp_path / name)


def test_a_packed_array_of_zeros_is_not_unpacked(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(archive(npy(FLOATS, bytes(2**24))))
    with pytest.raises(InputError, match="49 bytes of flow"):
        read_flow(path)


def test_deep_pngs_of_any_content_survive():
    rng = np.random.default_rng(0)
    for size in ((1, 1), (3, 50), (64, 64)):
        pixels = rng.integers(0, 2**16, (*size, 3)).astype(np.uint16)
        data = images.encode_deep_rgb(pixels)
        assert_array_equal(images.read_deep_rgb(data, source="a"), pixels)


def test_a_deep_png_with_any_byte_changed_is_an_error_or_the_same(capfd):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 2**16, (5, 7, 3)).astype(np.uint16)
    data = images.encode_deep_rgb(pixels)
    refused = 0
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        try:
            read = images.read_deep_rgb(bytes(changed), source="a.png")
        except InputError as error:
            refused += "a.png" in str(error)
        else:
            assert_array_equal(read, pixels)
    assert refused > 0.9 * len(data)
    for length in range(len(data) - 12):  # Without its last chunk it is complete, too.
        with pytest.raises(InputError, match=r"a\.png"):
            images.read_deep_rgb(data[:length], source="a.png")


def test_the_header_of_a_pfm_may_have_lines_of_windows(tmp_path):
    flow = some_flow(5, 4)
    data = files.encode_pfm(flow)
    path = tmp_path / "a.pfm"
    header = data[: data.index(b"-1.0\n") + 5]
    for end in (b"\n", b"\r\n", b"\r"):
        path.write_bytes(header.replace(b"\n", end) + data[len(header) :])
        assert_array_equal(read_flow(path), flow)
    # The first byte of the flow may be a line feed's.
    values = data[len(header) :]
    path.write_bytes(header[:-1] + b"\r" + b"\n" + values[1:])
    assert read_flow(path).shape == flow.shape


def damage(data, rng):
    """A file cut off, or with bytes changed, moved or repeated."""
    data = bytearray(data)
    kind = rng.integers(4)
    if kind == 0:
        return bytes(data[: rng.integers(len(data))])
    start, end = sorted(rng.integers(0, min(len(data), 2**9), 2))
    if kind == 1:
        return bytes(data[:start] + data[end:])
    if kind == 2:
        return bytes(data[:end] + data[start:])
    for _ in range(rng.integers(1, 6)):
        place = rng.integers(min(len(data), 60 if rng.integers(2) else len(data)))
        data[place] = rng.integers(256)
    return bytes(data)


def fuzz(folder, rounds):
    """Reads damaged files; anything but flow and an InputError ends the process."""
    rng = np.random.default_rng(0)
    read = 0
    originals = [written(folder, some_flow(9, 8), to) for to in ("png", *LOSSLESS)]
    originals.append(folder / "kitti.png")
    write_flow(originals[-1], some_flow(9, 8), to="kitti")
    originals.append(folder / "other.npy")
    np.save(originals[-1], np.moveaxis(some_flow(9, 8), 2, 0))
    (folder / "b_magnitude_minmax.txt").write_text("0.1 9.5")
    contents = [(path.suffix, path.read_bytes()) for path in originals]
    for round_ in range(rounds):
        suffix, data = contents[round_ % len(contents)]
        path = folder / f"b{suffix}"
        path.write_bytes(damage(data, rng))
        try:
            flow, valid = read_flow_valid(path)
            assert flow.dtype == np.float32 and flow.shape == (*valid.shape, 2)
            assert np.isfinite(flow).all()
            read += 1
        except InputError as error:
            assert "b." in str(error), error
    print(f"read {read} of {rounds}")


@pytest.mark.parametrize("rounds", [1000, pytest.param(50_000, marks=pytest.mark.slow)])
def test_damaged_files_never_crash_or_take_memory(tmp_path, rounds):
    result = subprocess.run(
        [sys.executable, __file__, "fuzz", str(tmp_path), str(rounds)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=20 + rounds // 100,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.startswith("read ")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
    fuzz(Path(sys.argv[2]), int(sys.argv[3]))
