"""Images of every kind, and files damaged in every way."""

import io
import math
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from PIL import Image, ImageOps

from movseg_jax import images
from movseg_jax.errors import InputError
from movseg_jax.images.ids import check_ids


def picture(height=33, width=50):
    y, x = np.mgrid[:height, :width]
    rgb = np.stack([5 * x, 7 * y, 3 * (x + y)], -1) % 256
    return rgb.astype(np.uint8)


def blocks():
    """Numbers of 64 objects, in squares."""
    numbers = np.arange(64, dtype=np.uint8).reshape(8, 8)
    return np.kron(numbers, np.ones((8, 8), np.uint8))


def encoded(image, kind="PNG", **options):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


JPEGS = {
    "plain": {}, "fine": {"quality": 97, "subsampling": 0}, "coarse": {"quality": 9},
    "progressive": {"progressive": True}, "restarts": {"restart_marker_blocks": 2},
    "4:2:2": {"subsampling": 1}, "RGB": {"keep_rgb": True},
}  # fmt: skip


@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
@pytest.mark.parametrize("size", [(33, 50), (1, 1), (17, 8)])
def test_jpegs_are_what_pillow_reads(size, options):
    data = encoded(picture(*size), "JPEG", **options)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.array(image)
    assert_array_equal(images.read_rgb(data, source="a"), expected)
    assert_array_equal(images.read_rgb(data + b"more", source="a"), expected)
    assert images.image_size(data, source="a") == size


@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
def test_a_jpeg_cut_off_anywhere_is_an_error(options):
    thumbnail = encoded(picture(8, 8), "JPEG")  # Ends as a whole image does.
    exif = Image.Exif()
    exif[0x9286] = thumbnail
    data = encoded(picture(), "JPEG", exif=exif, **options)
    assert data.count(b"\xff\xd9") == 2
    whole = images.read_rgb(data, source="a")
    for length in range(len(data)):
        try:
            image = images.read_rgb(data[:length], source="a.jpg")
        except InputError as error:
            assert str(error).startswith("a.jpg: ")
        else:  # Only its end marker is missing.
            assert length >= len(data) - 2
            assert_array_equal(image, whole)


def test_grey_cmyk_and_alpha_become_rgb():
    rgb = picture()
    grey = rgb[..., 0]
    for kind in ("PNG", "BMP", "TIFF", "PPM"):
        assert_array_equal(images.read_rgb(encoded(rgb, kind), source="a"), rgb)
        repeated = np.repeat(grey[..., None], 3, 2)
        assert_array_equal(images.read_rgb(encoded(grey, kind), source="a"), repeated)
    webp = encoded(rgb, "WEBP", lossless=True)
    assert_array_equal(images.read_rgb(webp, source="a"), rgb)
    rgba = np.dstack([rgb, grey])
    assert_array_equal(images.read_rgb(encoded(rgba), source="a"), rgb)
    cmyk = Image.fromarray(rgb).convert("CMYK")
    assert_array_equal(images.read_rgb(encoded(cmyk, "TIFF"), source="a"), rgb)
    assert images.read_rgb(encoded(cmyk, "JPEG"), source="a").shape == rgb.shape
    one_bit = Image.fromarray(grey > 99)
    expected = np.repeat((grey > 99)[..., None], 3, 2) * np.uint8(255)
    assert_array_equal(images.read_rgb(encoded(one_bit), source="a"), expected)
    with pytest.raises(InputError, match="floating-point"):
        images.read_rgb(encoded(grey.astype(np.float32), "TIFF"), source="a")


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
@pytest.mark.parametrize("top", [255, 65535])
def test_16_bits_become_8_whatever_the_picture_holds(kind, top):
    deep = np.linspace(0, top, 4096).round().astype(np.uint16).reshape(64, 64)
    expected = np.round(deep.astype(np.float64) / 65535 * 255).astype(np.uint8)
    image = images.read_rgb(encoded(deep, kind), source="a")
    assert_array_equal(image, np.repeat(expected[..., None], 3, 2))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_followed_on_demand(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(picture(), kind, exif=exif, **options)
    stored = images.read_rgb(data, source="a")
    assert stored.shape[:2] == images.image_size(data, source="a") == (33, 50)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    assert_array_equal(images.read_rgb(data, source="a", upright=True), expected)


def test_palettes_are_colours_to_read_rgb_and_numbers_to_read_ids():
    ids = blocks()
    data = images.encode_ids(ids)
    assert_array_equal(images.read_ids(data, source="a"), ids)
    assert_array_equal(images.read_rgb(data, source="a"), images.palette()[ids])
    for bits, count in ((1, 2), (2, 4), (4, 16)):
        image = Image.fromarray(ids % count, "L")
        image.putpalette(images.palette().tobytes())
        data = encoded(image, bits=bits, transparency=bytes([0, 99]))
        assert_array_equal(images.read_ids(data, source="a"), ids % count)
        colours = images.palette()[ids % count]
        assert_array_equal(images.read_rgb(data, source="a"), colours)
    first = [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert images.palette()[:4].tolist() == first


def test_ids_are_read_from_grey_images_of_all_depths():
    ids = blocks() * np.uint8(3)
    repeated = np.repeat(ids[..., None], 3, 2)
    for image in (ids, repeated, np.dstack([repeated, ids]), ids.astype(np.uint16)):
        assert_array_equal(images.read_ids(encoded(image), source="a"), ids)
    grey_and_alpha = Image.fromarray(ids).convert("LA")
    assert_array_equal(images.read_ids(encoded(grey_and_alpha), source="a"), ids)
    one_bit = encoded(Image.fromarray(ids > 99))
    assert_array_equal(images.read_ids(one_bit, source="a"), ids > 99)
    with pytest.raises(InputError, match="in colour"):
        images.read_ids(encoded(picture()), source="a")
    with pytest.raises(InputError, match="from 0 to 256"):
        images.read_ids(encoded(np.uint16([[0, 256]])), source="a")
    with pytest.raises(InputError, match="in colour"):
        images.read_ids(encoded(np.float32([[0.5]]), "TIFF"), source="a")


@pytest.mark.parametrize(
    "header, dtype", [(b"P5\n4 1\n%d\n", ">u1"), (b"P2\n4 1\n%d\n", None)]
)
@pytest.mark.parametrize("top", [3, 7, 100, 254, 255, 256, 1000, 65535])
def test_ids_of_a_pgm_are_the_numbers_in_it_whatever_its_greatest(header, dtype, top):
    ids = [0, 1, 2, min(top, 255)]
    values = np.array(ids, ">u2" if top > 255 else ">u1").tobytes()
    values = values if dtype else " ".join(map(str, ids)).encode()
    read = images.read_ids(header % top + values, source="x")
    assert read.tolist() == [ids]


def test_ids_of_a_pgm_or_ppm_that_cannot_be_are_refused():
    with pytest.raises(InputError, match=r"the number 3, but .* 2 is the greatest"):
        images.read_ids(b"P5\n2 1\n2\n\1\3", source="x")
    with pytest.raises(InputError, match="from 256 to 256"):
        images.read_ids(b"P5\n1 1\n999\n\1\0", source="x")
    with pytest.raises(InputError, match="several channels of 16 bits"):
        images.read_ids(b"P6\n1 1\n999\n" + b"\0\1" * 3, source="x")
    for data in (b"P5\n2 1\n3\n\1", b"P2\n2 1\n3\n1"):
        with pytest.raises(InputError, match=r"^x: (cannot be read|is a damaged)"):
            images.read_ids(data, source="x")
    assert images.read_ids(b"P6\n1 1\n3\n\2\2\2", source="x").tolist() == [[2]]
    assert images.read_ids(b"P1\n2 1\n0 1", source="x").tolist() == [[1, 0]]


OBJECTS = st.lists(
    st.tuples(
        st.floats(20, 180), st.floats(20, 120), st.floats(12, 60), st.floats(0, 6.28)
    ),
    min_size=1,
    max_size=4,
)


def with_objects(objects, numbers, size=(140, 200)):
    """A mask of ellipses; the later cover the earlier."""
    ids = np.zeros(size, np.uint8)
    for (x, y, radius, angle), number in zip(objects, numbers, strict=False):
        axes = (int(radius), int(radius * 0.6))
        centre, degrees = (int(x), int(y)), math.degrees(angle)
        cv2.ellipse(ids, centre, axes, degrees, 0, 360, int(number), -1)
    return ids


@given(OBJECTS, st.permutations([1, 2, 3, 100]), st.floats(0.3, 3))
def test_masks_of_objects_numbers_are_read_as_they_are(objects, numbers, factor):
    ids = with_objects(objects, numbers)
    nearest = cv2.resize(
        ids, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST
    )
    for mask in (ids, nearest, np.where(ids, ids, 255).astype(np.uint8)):
        read = images.read_ids(images.encode_ids(mask), source="a")
        assert_array_equal(read, mask)


@given(
    OBJECTS,
    st.sampled_from([1, 255]),
    st.floats(0.5, 3).filter(lambda factor: abs(factor - round(factor)) > 0.1),
    st.sampled_from([cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA]),
)
def test_masks_that_were_resized_with_interpolation_are_refused(
    objects, number, factor, way
):
    mask = with_objects(objects, [number] * 4)
    resized = cv2.resize(mask, None, fx=factor, fy=factor, interpolation=way)
    assume((mask > 0).mean() > 0.02)
    if number == 1:  # There is no number between: a mask, whatever made it.
        check_ids(resized, "a")
    else:
        with pytest.raises(InputError, match="as after resizing with interpolation"):
            images.read_ids(images.encode_png(resized), source="a")


@pytest.mark.parametrize("quality", [75, 95])
@pytest.mark.parametrize("number", [2, 255])
def test_masks_that_were_compressed_with_loss_are_refused(number, quality):
    mask = with_objects([(80, 70, 50, 0.5)], [number])
    for kind, options in (
        ("JPEG", {}),
        ("WEBP", {}),
        ("TIFF", {"compression": "jpeg"}),
    ):
        lossy = encoded(mask, kind, quality=quality, **options)
        with pytest.raises(InputError, match=f"compressed with loss .{kind}"):
            images.read_ids(lossy, source="a")
        with pytest.raises(InputError, match=f"compressed with loss .{kind}"):
            images.mask_size(lossy, source="a")
    for kind, options in (
        ("WEBP", {"lossless": True}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("BMP", {}),
        ("PPM", {}),
    ):
        kept = encoded(mask, kind, **options)
        assert_array_equal(images.read_ids(kept, source="a"), mask)
    if number == 255:  # Saved as a PNG afterwards, it is no better.
        with Image.open(io.BytesIO(encoded(mask, "JPEG", quality=quality))) as image:
            again = encoded(image)
        with pytest.raises(InputError, match="compression with loss"):
            images.read_ids(again, source="a")


def test_the_result_has_the_depth_of_the_file():
    for depth in (np.uint8, np.uint16):
        for most in (255, 65535):
            read = images.read_ids(encoded(depth([[3, 255]])), source="a", most=most)
            assert read.dtype == depth


def deep_or_shallow_png(bits, colour, row):
    header = struct.pack(">2I5B", 4, 1, bits, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c))
        for k, c in chunks
    )


def test_ids_of_shallow_grey_images_are_the_numbers_in_them():
    two = deep_or_shallow_png(2, 0, bytes([0b00011011]))
    assert images.read_ids(two, source="x").tolist() == [[0, 1, 2, 3]]
    four = deep_or_shallow_png(4, 0, bytes([0x01, 0x2F]))
    assert images.read_ids(four, source="x").tolist() == [[0, 1, 2, 15]]
    sixteen = deep_or_shallow_png(16, 0, bytes([0, 0, 0, 1, 0, 2, 0, 255]))
    assert images.read_ids(sixteen, source="x").tolist() == [[0, 1, 2, 255]]
    for colour, channels in ((2, 3), (4, 2), (6, 4)):
        row = np.repeat(np.arange(4, dtype=">u2"), channels).tobytes()
        with pytest.raises(InputError, match="several channels of 16 bits"):
            images.read_ids(deep_or_shallow_png(16, colour, row), source="x")


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_all_pictures_of_a_file_are_read_or_it_is_refused(kind, tmp_path):
    pages = [picture(), 255 - picture(), picture()[::-1].copy(), picture()]
    others = [Image.fromarray(page) for page in pages[1:]]
    lossless = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(pages[0], kind, save_all=True, append_images=others, **lossless)
    (tmp_path / "a").write_bytes(data)
    assert images.read_header(tmp_path / "a").pictures == 4
    assert_array_equal(list(images.read_pictures(tmp_path / "a")), pages)
    for use in (images.read_rgb, images.read_ids):
        with pytest.raises(InputError, match=r"a\.tif: holds 4 pictures, expected one"):
            use(data, source="a.tif")
    (tmp_path / "one").write_bytes(encoded(pages[0], kind, **lossless))
    assert images.read_header(tmp_path / "one").pictures == 1
    assert_array_equal(list(images.read_pictures(tmp_path / "one")), pages[:1])


def test_thumbnails_and_previews_are_no_pictures(tmp_path):
    small = Image.fromarray(picture(8, 12))
    thumbnail = Image.fromarray(picture(8, 12))
    thumbnail.encoderinfo = {"tiffinfo": {254: 1}}
    data = encoded(picture(), "TIFF", save_all=True, append_images=[thumbnail])
    assert_array_equal(images.read_rgb(data, source="a"), picture())
    (tmp_path / "a.tif").write_bytes(data)
    assert images.read_header(tmp_path / "a.tif").pictures == 1
    whole = Image.fromarray(picture())
    whole.encoderinfo = {"tiffinfo": {254: 0}}
    first = {"tiffinfo": {254: 1}, "append_images": [whole]}  # As cameras write it.
    data = encoded(Image.fromarray(picture(8, 12)), "TIFF", save_all=True, **first)
    assert images.image_size(data, source="a") == (33, 50)
    assert_array_equal(images.read_rgb(data, source="a"), picture())
    preview = encoded(picture(), "MPO", save_all=True, append_images=[small])
    assert images.image_size(preview, source="a") == (33, 50)
    (tmp_path / "a.jpg").write_bytes(preview)
    assert images.read_header(tmp_path / "a.jpg").pictures == 1


@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("shape", [(33, 50), (33, 50, 3), (33, 50, 4)])
def test_the_value_that_is_white_can_be_given(bits, suffix, shape, tmp_path):
    top = 2**bits - 1
    values = np.random.default_rng(0).integers(0, top, shape, np.uint16, endpoint=True)
    values[0, 0] = top
    _, data = cv2.imencode(suffix, values)  # In the order BGR.
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data.tobytes())
    rgb = np.stack([values] * 3, -1) if values.ndim == 2 else values[..., 2::-1]
    for white in (None, top, 300):
        expected = np.minimum(np.round(rgb / (white or 65535) * 255), 255)
        image = images.read_rgb(path, white=white)
        assert np.abs(image - expected).max() <= (white is not None)  # Of two halves.
        assert_array_equal(
            image, images.read_rgb(data.tobytes(), source="a", white=white)
        )
        assert_array_equal([image], list(images.read_pictures(path, white=white)))
    assert images.brightest(path) == rgb.max()
    assert images.read_header(path).bits == 16


def test_a_tiff_of_12_bits_is_white_at_the_greatest_of_them():
    values = np.linspace(0, 4095, 24).round().astype(np.uint16)
    pairs = values.astype(np.uint32).reshape(-1, 2)
    packed = (pairs[:, 0] << 12 | pairs[:, 1]).astype(">u4")
    pixels = packed.view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()
    tags = [
        (256, 8), (257, 3), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1),
        (278, 3), (279, len(pixels)),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<2HIHH", tag, 3, 1, n, 0) for tag, n in tags)
    start = struct.pack("<2sHI", b"II", 42, 8 + len(pixels)) + pixels
    data = start + struct.pack("<H", len(tags)) + entries + bytes(4)
    expected = np.round(values / 4095 * 255).reshape(3, 8, 1).repeat(3, 2)
    assert_array_equal(images.read_rgb(data, source="a.tif"), expected)


def test_pages_of_16_bits_in_colour_are_read_each(tmp_path):
    pages = np.random.default_rng(0).integers(0, 4096, (5, 9, 12, 3), np.uint16)
    assert cv2.imwritemulti(str(tmp_path / "a.tif"), [p[..., ::-1] for p in pages])
    found = list(images.read_pictures(tmp_path / "a.tif", white=4095))
    assert_array_equal(found, np.round(pages / 4095 * 255).astype(np.uint8))


def test_in_8_bits_nothing_else_is_white(tmp_path):
    assert images.brightest(write(tmp_path / "a.png", encoded(picture()))) is None
    with pytest.raises(InputError, match=r"a\.png: has 8 bits a channel"):
        images.read_rgb(tmp_path / "a.png", white=4095)


def write(path, data):
    path.write_bytes(data)
    return path


def test_what_is_no_image_is_an_error_that_names_it(tmp_path):
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.png").touch()
    (tmp_path / "animated.gif").write_bytes(encoded(picture(), "GIF"))
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    os.symlink("nowhere", tmp_path / "broken.png")
    names = [path.name for path in tmp_path.iterdir()]
    for name in [*names, "missing.png", "a\0.png", "x" * 5000]:
        for use in (images.read_rgb, images.read_ids, images.image_size):
            with pytest.raises(InputError, match=name[:20].replace("\0", ".")):
                use(tmp_path / name)
    with pytest.raises(InputError, match="here: "):
        images.read_rgb(b"", source="here")


def bomb(width, height):
    def chunk(kind, data):
        crc = zlib.crc32(kind + data)
        return len(data).to_bytes(4, "big") + kind + data + crc.to_bytes(4, "big")

    header = (
        width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    )
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9999)))
    return b"\x89PNG\r\n\x1a\n" + data + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [8193, 9500, 20_000, 2**31 - 1])
def test_decompression_bombs_are_refused_by_their_header(side):
    for use in (images.read_rgb, images.read_ids, images.image_size):
        with pytest.raises(InputError, match=r"a: .*images\.MAX_PIXELS"):
            use(bomb(side, side), source="a")


def test_limits_are_inclusive(monkeypatch, tmp_path):
    data = encoded(picture())
    monkeypatch.setattr(images.codecs, "MAX_PIXELS", 33 * 50)
    monkeypatch.setattr(images.codecs, "MAX_BYTES", len(data))
    images.read_rgb(data, source="a")
    (tmp_path / "a.png").write_bytes(data + b"0")
    with pytest.raises(InputError, match=r"images\.MAX_BYTES"):
        images.read_rgb(tmp_path / "a.png")
    monkeypatch.setattr(images.codecs, "MAX_PIXELS", 33 * 50 - 1)
    with pytest.raises(InputError, match=r"images\.MAX_PIXELS"):
        images.read_rgb(data, source="a")


VALID = [
    encoded(picture(), "JPEG"), encoded(picture(), "PNG"), encoded(picture(), "WEBP"),
    encoded(picture(), "BMP"), encoded(picture(), "PPM"), encoded(picture(), "TIFF"),
    encoded(picture(), "TIFF", compression="tiff_lzw"),
    encoded(picture(), "JPEG", progressive=True), images.encode_ids(picture()[..., 0]),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # As for users: Pillow warns of odd metadata.
@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(VALID),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255))),
    st.floats(0, 1),
    st.booleans(),
)
def test_mutated_files_are_images_or_errors(data, changes, kept, cut):
    mutant = bytearray(data)
    for place, value in changes:
        mutant[int(place * len(mutant))] = value
    mutant = bytes(mutant[: int(kept * len(mutant))] if cut else mutant)
    for use in (images.read_rgb, images.read_ids):
        try:
            image = use(mutant, source="here")
        except InputError as error:
            assert str(error).startswith("here: ")
        else:
            assert image.dtype == np.uint8
            assert image.shape[:2] == images.image_size(mutant, source="here")


def test_what_is_encoded_is_read_back():
    rgb = picture()
    assert_array_equal(images.read_rgb(images.encode_png(rgb), source="a"), rgb)
    grey = images.read_ids(images.encode_png(blocks()), source="a")
    assert_array_equal(grey, blocks())
    smooth = cv2.GaussianBlur(picture() // 2, (9, 9), 3)
    back = images.read_rgb(images.encode_jpeg(smooth), source="a")
    assert np.abs(back.astype(int) - smooth).mean() < 2
