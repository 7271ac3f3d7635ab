"""Files of other frameworks: every format reads back, and none can do harm."""

import collections
import io
import os
import pickle
import resource
import struct
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from safetensors.numpy import save as save_safetensors

from movseg_jax.convert import foreign, pickle_machine
from movseg_jax.convert.foreign import read_file
from movseg_jax.convert.pickled_objects import Array, Tensor
from movseg_jax.errors import InputError

GOLDEN = Path(__file__).parent / "golden"
ARRAYS = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big_endian": np.arange(3, dtype=">f4"),
    "half": np.float16([0.5, -1]),
    "count": np.array(7),
    "bools": np.array([True, False]),
    "empty": np.zeros((0, 4), np.float32),
}


def read_tensors(path):
    return read_file(path).tensors


@pytest.fixture
def written(tmp_path):
    """Writes bytes to a file and returns its path."""

    def write(data, name="weights.bin"):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return write


def npz(arrays, save=np.savez):
    buffer = io.BytesIO()
    save(buffer, **arrays)
    return buffer.getvalue()


def python2_pickle(blobs):
    """{'blobs': blobs} as Python 2 wrote it: every string a byte string."""

    def string(text):
        return b"U" + bytes([len(text)]) + text

    def array(a):
        shape = b"(" + b"".join(b"M" + struct.pack("<H", n) for n in a.shape) + b"t"
        dtype = (
            b"cnumpy\ndtype\n" + string(a.dtype.str[1:].encode()) + b"K\x00K\x01\x87R"
        )
        dtype += (
            b"(K\x03" + string(b"<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        )
        data = b"T" + struct.pack("<i", a.nbytes) + a.tobytes()
        return (
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85"
            + string(b"b") + b"\x87R(K\x01" + shape + dtype + b"\x89" + data + b"tb"
        )  # fmt: skip

    items = b"".join(string(name.encode()) + array(a) for name, a in blobs.items())
    cfg = string(b"cfg") + string(b"MODEL: \xe9")
    return b"\x80\x02}(" + string(b"blobs") + b"}(" + items + b"u" + cfg + b"u."


def assert_same(tensors, expected):
    assert set(tensors) == set(expected)
    for name, array in expected.items():
        assert_array_equal(tensors[name], array)
        assert tensors[name].dtype == array.dtype.newbyteorder("="), name


@pytest.mark.parametrize("name", ["weights_zip.pth", "weights_legacy.pth"])
def test_pytorch_files_hold_what_pytorch_saved(name):
    file = read_file(GOLDEN / name)
    with np.load(GOLDEN / "weights.npz") as expected:
        expected = dict(expected)
    assert file.tensors["nested.bfloat16"].dtype == ml_dtypes.bfloat16
    file.tensors["nested.bfloat16"] = file.tensors["nested.bfloat16"].astype(np.float32)
    assert_same(file.tensors, expected)
    assert file.ignored == ["step", "optimizer"]


def test_tensors_saved_on_a_gpu_read_as_others(written):
    data = (GOLDEN / "weights_legacy.pth").read_bytes()
    assert b"ctorch\nFloatStorage" in data
    data = data.replace(b"ctorch\nFloatStorage", b"ctorch.cuda\nFloatStorage")
    expected = read_tensors(GOLDEN / "weights_legacy.pth")
    assert_same(read_tensors(written(data)), expected)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("wrap", ["model", "state_dict", "blobs", None])
def test_pickled_arrays_read_back(protocol, wrap, written):
    tree = {wrap: ARRAYS, "step": np.float32(3), "author": "x"} if wrap else ARRAYS
    file = read_file(written(pickle.dumps(tree, protocol)))
    assert_same(file.tensors, ARRAYS)
    assert file.ignored == (["step", "author"] if wrap else [])


def test_a_python_2_pickle_of_detectron_reads_back(written):
    blobs = {"conv1_w": np.random.default_rng(0).normal(size=(3, 5)).astype("<f4")}
    file = read_file(written(python2_pickle(blobs)))
    assert_same(file.tensors, blobs)
    assert file.ignored == ["cfg"]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_reads_back(save, written):
    assert_same(read_tensors(written(npz(ARRAYS, save))), ARRAYS)


def test_safetensors_reads_back(written):
    arrays = {k: v for k, v in ARRAYS.items() if k not in ("big_endian", "fortran")}
    assert_same(read_tensors(written(save_safetensors(arrays))), arrays)


def test_nested_dicts_become_dotted_names_and_the_rest_is_listed(written):
    tree = collections.OrderedDict(a={"b": {"c": np.ones(2)}, "note": "x"}, list=[1])
    file = read_file(written(pickle.dumps(tree)))
    assert list(file.tensors) == ["a.b.c"]
    assert sorted(file.ignored) == ["a.note", "list"]


def test_arrays_cannot_be_written_to():
    for name in ("weights_zip.pth", "weights_legacy.pth"):
        for array in read_tensors(GOLDEN / name).values():
            assert not array.flags.writeable


# What must never happen.


class Evil:
    """Pickles to a call, however the protocol in use spells calls."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def evil_pickles(canary):
    touch = f"open({str(canary)!r}, 'w')"
    command = f"touch {canary}".encode()
    for protocol in (0, 2, 4):
        for function, argument in [
            (os.system, command.decode()),
            (exec, touch),
            (eval, touch),
            (getattr, "x"),
        ]:
            for tree in (
                Evil(function, argument),
                {"model": {"w": [Evil(function, 1)]}},
            ):
                yield function.__name__, pickle.dumps(tree, protocol)
    text = touch.encode()
    yield "exec", b"(S" + repr(touch).encode() + b"\ni__builtin__\nexec\n."  # INST
    yield "system", b"(cposix\nsystem\nV" + command + b"\no."  # OBJ
    yield (
        "eval",
        b"\x80\x02cbuiltins\neval\nX"
        + struct.pack("<I", len(text))
        + text
        + (
            b"\x85\x81."  # NEWOBJ
        ),
    )
    yield "system", b"\x80\x04\x8c\x02os\x8c\x06system\x93."  # Named, not even called.
    yield "EXT1", b"\x80\x02\x82\x01)R."
    yield "NEWOBJ", b"\x80\x02ccollections\nOrderedDict\n)\x81."
    yield "PERSID", b"\x80\x02Pfile\n."
    yield "outside", b"\x80\x02U\x04fileQ."
    # Names that begin or end like ones that are known.
    yield "torch.load", b"\x80\x02ctorch\nload\n."
    yield "numpy._core.numeric.eval", b"\x80\x02cnumpy._core.numeric\neval\n."
    yield (
        "OrderedDict.fromkeys",
        b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.fromkeys\x93.",
    )


EVIL = range(sum(1 for _ in evil_pickles(Path("x"))))


@pytest.mark.parametrize("i", EVIL)
@pytest.mark.parametrize("container", ["pkl", "zip", "legacy"])
def test_no_file_can_run_code(container, i, tmp_path, written):
    canary = tmp_path / "canary"
    name, data = list(evil_pickles(canary))[i]
    if container == "zip":
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("archive/data.pkl", data)
        data = buffer.getvalue()
    elif container == "legacy":
        system = {"little_endian": True}
        start = (foreign._LEGACY_MAGIC, 1001, system)
        data = b"".join(pickle.dumps(part, 2) for part in start) + data
    with pytest.raises(InputError) as error:
        read_tensors(written(data))
    assert "weights.bin" in str(error.value)
    if not (name == "outside" and container != "pkl"):
        assert name in str(error.value)
    assert not canary.exists()


def test_an_object_array_in_an_npz_is_refused(tmp_path, written):
    objects = np.empty(1, object)
    objects[0] = Evil(os.system, f"touch {tmp_path / 'canary'}")
    with pytest.raises(InputError, match=r"w\.npy: has dtype '\|O'"):
        read_tensors(written(npz({"w": objects})))
    assert not (tmp_path / "canary").exists()


def memory_bombs():
    yield (
        "names more than once",
        b"\x80\x02]" + b"q\x00" + b"(h\x00h\x00e" * 200_000 + b".",
    )
    deep = b"\x80\x02}q\x00" + b"".join(
        b"}(U\x01ah" + bytes([i]) + b"U\x01bh" + bytes([i]) + b"uq" + bytes([i + 1])
        for i in range(60)
    )
    yield "dicts that double", deep + b"."
    yield "tuples that double as a key", b"\x80\x02)" + b"2\x86" * 5000 + b"}2h\x00N s."
    yield "one string encoded often", (
        b"\x80\x02c_codecs\nencode\nq\x00T" + struct.pack("<i", 10**6) + b"a" * 10**6
        + b"U\x06latin1\x86q\x01" + b"h\x00h\x01R" * 10**5 + b"."
    )  # fmt: skip
    yield "a huge number of instructions", b"\x80\x02" + b"]" * 3_000_000 + b"."
    long = b"T" + struct.pack("<i", 10**6) + b"a" * 10**6 + b"q\x00"
    yield "a long name many times", b"\x80\x02}(" + long + b"}(h\x00}uu."
    yield "a declared length", b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"."
    yield (
        "an array of no data",
        python2_pickle({"w": np.zeros(1, np.float32)}).replace(
            b"M\x01\x00t", b"J\xff\xff\xff\x7ft"
        ),
    )
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x010cpu"
    yield "a damaged persistent id", b"\x80\x02" + storage
    yield (
        "a deep nest",
        b"\x80\x02" + b"}U\x01a" * 100_000 + b"N" + b"s" * 100_000 + b".",
    )
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999,), }\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        head = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
        archive.writestr("w.npy", head)
    yield "an npy header", buffer.getvalue()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w.npy", bytes(10**8))
    yield "a zip of zeros", buffer.getvalue()
    # The same, with a directory that says it is small.
    yield (
        "a lying zip of zeros",
        buffer.getvalue().replace(struct.pack("<I", 10**8), struct.pack("<I", 100)),
    )
    yield "a safetensors header", struct.pack("<Q", 2**60) + b"{"
    header = b'{"a":{"dtype":"F32","shape":[99999999999],"data_offsets":[0,4]}}'
    yield "a safetensors shape", struct.pack("<Q", len(header)) + header + bytes(4)


BOMBS = dict(memory_bombs())


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_errors_and_take_no_memory(name, written):
    path = written(BOMBS[name])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"weights\.bin"):
        read_tensors(path)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 300 * 1024  # KiB


def torch_tensor(storage_size, offset, shape, strides):
    """A zip archive of PyTorch with one tensor of float32."""

    buffer = io.BytesIO()
    text = b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n("
    number = lambda n: pickle.dumps(n, 2)[2:-1]
    text += b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000"
    text += b"X\x03\x00\x00\x00cpu" + number(storage_size) + b"tQ" + number(offset)
    text += number(shape) + number(strides) + b"\x89ccollections\nOrderedDict\n)RtRs."
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", text)
        archive.writestr("a/data/0", np.arange(6, dtype="<f4").tobytes())
    return buffer.getvalue()


def test_a_tensor_is_a_strided_view_of_its_storage(written):
    tensor = read_tensors(written(torch_tensor(6, 1, (2, 2), (1, 3))))["w"]
    assert_array_equal(tensor, [[1, 4], [2, 5]])


@pytest.mark.parametrize(
    "description",
    [
        pytest.param((6, 1, (2, 3), (3, 1)), id="ends after its storage"),
        pytest.param((6, 0, (1,), (-1,)), id="negative stride"),
        pytest.param((6, -1, (1,), (1,)), id="negative offset"),
        pytest.param((6, 0, (10**9,), (0,)), id="expanded"),
        pytest.param((6, 0, (2**40, 2**40), (0, 0)), id="overflows"),
        pytest.param((6, 0, (2,), (1, 1)), id="two strides"),
        pytest.param((7, 0, (2,), (1,)), id="storage of another size"),
        pytest.param((10**15, 0, (2,), (1,)), id="huge storage"),
        pytest.param((6, 0, (2.0,), (1,)), id="shape of floats"),
        pytest.param((6, 0, (1,) * 100, (1,) * 100), id="many dimensions"),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(description, written):
    with pytest.raises(InputError, match=r"weights\.bin"):
        read_tensors(written(torch_tensor(*description)))


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "not a weight file"),
        (b"<!DOCTYPE html>", "web page instead of a download"),
        (b"PK\x03\x04 and nothing else", "not a complete zip archive"),
        (b"\x80\x02}", "not a complete pickle"),
        (b"\x80\x02K\x01.", "holds a int"),
    ],
)
def test_what_is_no_weight_file_is_named_as_such(data, message, written):
    with pytest.raises(InputError, match=message):
        read_tensors(written(data))


def test_a_missing_file_is_an_input_error(tmp_path):
    for name, message in (("missing.pth", "there is no such file"), ("", "not a file")):
        with pytest.raises(InputError, match=message):
            read_tensors(tmp_path / name)


@pytest.mark.parametrize(
    "name", ["weights_zip.pth", "weights_legacy.pth", "weights.npz"]
)
def test_a_file_cut_off_anywhere_is_an_error(name, written):
    data = (GOLDEN / name).read_bytes()
    for end in range(0, len(data), 61):
        with pytest.raises(InputError):
            read_tensors(written(data[:end]))


MUTABLE = {
    "zip": (GOLDEN / "weights_zip.pth").read_bytes(),
    "legacy": (GOLDEN / "weights_legacy.pth").read_bytes(),
    "npz": npz(
        {"a": np.arange(6.0).reshape(2, 3), "b": np.zeros(50)}, np.savez_compressed
    ),
    "pickle 0": pickle.dumps(ARRAYS, 0),
    "pickle 2": python2_pickle({"w": np.ones((3, 4), np.float32)}),
    "pickle 4": pickle.dumps({"model": ARRAYS}, 4),
    "pickle 5": pickle.dumps({"model": ARRAYS}, 5),
    "safetensors": save_safetensors({"a": np.ones((2, 3), np.float32)}),
}


@pytest.mark.parametrize("kind", MUTABLE)
@settings(max_examples=150, deadline=2000)
@given(
    edits=st.lists(
        st.tuples(
            st.floats(0, 1, exclude_max=True), st.binary(max_size=4), st.booleans()
        ),
        min_size=1,
        max_size=4,
    )
)
@example(edits=[(0.0, b"", False)])
@example(edits=[(0.400390625, b"H", False)])
def test_a_mutated_file_is_an_error_or_reads_as_no_more_than_it_holds(
    kind, edits, tmp_path_factory
):
    data = MUTABLE[kind]
    for where, new, inserts in edits:
        at = int(where * len(data))
        data = data[:at] + new + data[at + (0 if inserts else len(new)) :]
    path = tmp_path_factory.getbasetemp() / "mutated"
    path.write_bytes(data)
    try:
        tensors = read_tensors(path)
    except InputError as error:
        assert str(path) in str(error)
    else:
        for array in tensors.values():
            assert array.nbytes <= 20 * len(data)
            with np.errstate(over="ignore"):  # Any float64 may come of it.
                np.isfinite(array.astype(np.float32, copy=False)).sum()


@settings(max_examples=300, deadline=2000)
@given(st.binary(max_size=200))
def test_any_bytes_are_an_error_or_a_value(data):
    try:
        value = pickle_machine.read_pickle(io.BytesIO(data), "bytes")
    except InputError as error:
        assert str(error).startswith("bytes: ")
    else:
        assert_plain(value)


def assert_plain(value):
    """Nothing but data: numbers, strings, containers of those, and arrays."""
    if isinstance(value, dict):
        for pair in value.items():
            assert_plain(pair)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            assert_plain(item)
    else:
        plain = (bool, int, float, complex, str, bytes, bytearray, type(None))
        assert isinstance(value, (*plain, Array, Tensor)), type(value)
