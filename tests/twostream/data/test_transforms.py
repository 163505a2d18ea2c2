"""From images to clips: oracles (NumPy indexing, flow.encoding), laws of the mirror, errors."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flow import encoding
from flow.errors import InputError
from twostream.data import transforms
from twostream.data.jitter import jittered
from twostream.data.transforms import (
    BGR_MEAN,
    Augmentation,
    Geometry,
    crop_views,
    mirrored,
    train_view,
)
from twostream.data.window import crop_boxes, random_box_window

AS_THEY_ARE = Geometry(resize=None, crop=(20, 30))


def random_images(channels, frames=4, height=20, width=30, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (frames, height, width, channels), dtype=np.uint8)


def smooth_images(channels, frames=3, height=48, width=64):
    """Waves of some pixels' length, as real pictures are smooth; each frame and channel differs."""
    t, y, x, c = np.ogrid[:frames, :height, :width, :channels]
    wave = np.sin(x / 5 + t + c) + np.cos(y / 7 - t + 2 * c)
    return np.rint(128 + 60 * wave).astype(np.uint8)


def windows(images, height, width):
    for top in range(images.shape[1] - height + 1):
        for left in range(images.shape[2] - width + 1):
            yield images[:, top : top + height, left : left + width]


def test_rgb_becomes_bgr_minus_the_mean():
    images = random_images(3)
    clip = transforms.test_view(images, "rgb", AS_THEY_ARE)
    assert clip.dtype == torch.float32
    assert clip.shape == (3, 4, 20, 30)
    assert clip.is_contiguous()
    for channel, (source, mean) in enumerate(zip((2, 1, 0), BGR_MEAN, strict=True)):
        expected = images[..., source].astype(np.float64) - mean
        np.testing.assert_array_equal(clip[channel].numpy(), expected)
    assert BGR_MEAN == (104, 117, 123)


def test_flow_is_centred_so_that_no_motion_is_zero():
    images = np.maximum(random_images(2), 1)
    clip = transforms.test_view(images, "flow", AS_THEY_ARE)
    assert clip.shape == (2, 4, 20, 30)
    np.testing.assert_array_equal(clip.numpy(), images.transpose(3, 0, 1, 2) - 128.0)
    still = encoding.encode(np.zeros((4, 48, 64, 2), np.float32))
    for geometry in (AS_THEY_ARE, Geometry(resize=(31, 41), crop=(20, 30))):
        assert not transforms.test_view(still, "flow", geometry).any()


@settings(derandomize=True, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 9), st.integers(1, 9))
def test_mirroring_the_clip_is_mirroring_the_flow_images(seed, height, width):
    images = random_images(2, 2, height, width, seed)
    geometry = Geometry(resize=None, crop=(height, width))
    clip = transforms.test_view(images, "flow", geometry)
    assert torch.equal(
        mirrored(clip, "flow"), transforms.test_view(encoding.flip(images), "flow", geometry)
    )
    assert torch.equal(mirrored(mirrored(clip, "flow"), "flow"), clip)


def test_mirror_negates_x_alone_and_leaves_its_argument():
    clip = torch.arange(2 * 2 * 1 * 1 * 3.0).reshape(2, 2, 1, 1, 3)
    before = clip.clone()
    flipped = mirrored(clip, "flow")
    assert torch.equal(flipped[:, 0], -clip[:, 0].flip(-1))
    assert torch.equal(flipped[:, 1], clip[:, 1].flip(-1))
    assert torch.equal(mirrored(clip, "rgb"), clip.flip(-1))
    assert torch.equal(clip, before)


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_the_centre_crop_is_in_the_centre(stream):
    channels = 3 if stream == "rgb" else 2
    images = random_images(channels, height=26, width=37)
    clip = transforms.test_view(images, stream, AS_THEY_ARE)
    whole = transforms.test_view(images, stream, Geometry(None, (26, 37)))
    assert torch.equal(clip, whole[:, :, 3:23, 3:33])
    turned = transforms.test_view(images, stream, AS_THEY_ARE, mirror=True)
    assert torch.equal(turned, mirrored(clip, stream))


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_train_view_takes_every_window_and_both_sides_equally_often(stream):
    images = random_images(3 if stream == "rgb" else 2, 2, 6, 7)
    geometry = Geometry(None, (5, 5))
    known = [
        transforms.test_view(np.ascontiguousarray(window), stream, geometry, mirror=mirror)
        for window in windows(images, 5, 5)
        for mirror in (False, True)
    ]
    assert len(known) == 2 * 2 * 3
    rng = np.random.default_rng(0)
    seen = np.zeros(len(known))
    for _ in range(2400):
        clip = train_view(images, stream, geometry, rng)
        seen[[torch.equal(clip, one) for one in known].index(True)] += 1
    # Five standard deviations of a count of 2400 draws with a probability of 1/12.
    np.testing.assert_allclose(seen, 200, atol=5 * np.sqrt(2400 / 12 * 11 / 12))


def test_train_view_without_a_mirror_takes_the_same_windows():
    images = random_images(3, 2, 9, 9)
    geometry = Geometry(None, (5, 5))
    turned = 0
    for seed in range(20):
        either = train_view(images, "rgb", geometry, np.random.default_rng(seed))
        rng = np.random.default_rng(seed)
        plain = train_view(images, "rgb", geometry, rng, Augmentation(mirror=False))
        turned += torch.equal(either, plain.flip(-1))
        assert torch.equal(either, plain) or torch.equal(either, plain.flip(-1))
    assert 0 < turned < 20


@pytest.mark.parametrize("resize", [None, (40, 60)])
def test_both_streams_see_the_same_window_and_side(resize):
    # Flow whose channels are two of the picture's, so that equal windows have equal values.
    rgb = smooth_images(3)
    flow = np.ascontiguousarray(rgb[..., :2])
    geometry = Geometry(resize, (24, 24))
    for seed in range(20):
        colour = train_view(rgb, "rgb", geometry, np.random.default_rng(seed))
        motion = train_view(flow, "flow", geometry, np.random.default_rng(seed))
        y = motion[1] if resize is None else motion[1] / (resize[0] / 48)
        green = colour[1] + BGR_MEAN[1] - 128
        # A resized picture is rounded to whole values, a resized flow is not.
        assert torch.equal(y, green) if resize is None else (y - green).abs().max() < 1.01


def bilinear(images, height, width):
    """Half-pixel centres, clamped at the border, in float64: written plainly, a pixel at a time."""
    frames, rows, columns, channels = images.shape
    result = np.empty((frames, height, width, channels))
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) * rows / height - 0.5, 0), rows - 1)
            x = min(max((j + 0.5) * columns / width - 0.5, 0), columns - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            upper = images[:, top, left] * (1 - x + left) + images[:, top, right] * (x - left)
            lower = images[:, bottom, left] * (1 - x + left) + images[:, bottom, right] * (x - left)
            result[:, i, j] = upper * (1 - y + top) + lower * (y - top)
    return result


SIZES = [(36, 50), (48, 33), (61, 80), (24, 32), (1, 1)]


@pytest.mark.parametrize("size", SIZES)
def test_rgb_is_resized_bilinearly(size):
    images = random_images(3, 2, 48, 64)
    clip = transforms.test_view(images, "rgb", Geometry(size, size)).numpy()
    found = clip[::-1].transpose(1, 2, 3, 0) + np.array(BGR_MEAN[::-1])
    # OpenCV's 8-bit arithmetic gives whole values; measured on seven pairs of sizes, it is up to
    # 0.80 off, and 0.13 too low on average.
    np.testing.assert_array_equal(found, np.rint(found))
    error = found - bilinear(images.astype(np.float64), *size)
    assert np.abs(error).max() < 0.9
    assert abs(error.mean()) < 0.2 or size == (1, 1)


@pytest.mark.parametrize("size", SIZES)
def test_flow_is_resized_in_floats_and_its_vectors_with_it(size):
    images = np.maximum(random_images(2, 2, 48, 64), 1)
    clip = transforms.test_view(images, "flow", Geometry(size, size)).numpy()
    # With a bound of 127 pixels a value is a pixel. OpenCV's resize of floats from -128 to 127 is
    # up to 3.1e-5 off at these sizes (of two channels at once it would be 4.9e-4).
    pixels = encoding.decode(images, bound=127.0)
    for t in range(2):
        law = encoding.resize(pixels[t], *size)
        np.testing.assert_allclose(clip[:, t].transpose(1, 2, 0), law, atol=1e-4)
    plain = bilinear(images - 128.0, *size) * [size[1] / 64, size[0] / 48]
    np.testing.assert_allclose(clip.transpose(1, 2, 3, 0), plain, atol=1e-4)


def test_mirror_and_resize_commute():
    for stream, channels, rounding in (("rgb", 3, 1.0), ("flow", 2, 1e-4)):
        images = random_images(channels, 2, 48, 64)
        geometry = Geometry((36, 50), (30, 30))
        turned = encoding.flip(images) if stream == "flow" else images[:, :, ::-1].copy()
        one = transforms.test_view(images, stream, geometry, mirror=True)
        other = transforms.test_view(turned, stream, geometry)
        assert (one - other).abs().max() <= rounding


SCALED = Augmentation(scale=(0.2, 0.9))


def box_of(seed, geometry, height=48, width=64):
    """The window that a training view takes of pictures of this size, and whether it is turned."""
    rng = np.random.default_rng(seed)
    resize = geometry.resize or (height, width)
    window = random_box_window((height, width), resize, geometry.crop, SCALED.scale, rng)
    return window.box, rng.random() < 0.5


@pytest.mark.parametrize("resize", [None, (40, 30)])
def test_a_random_box_of_rgb_is_resized_to_the_crop(resize):
    images = random_images(3, 2, 48, 64)
    geometry = Geometry(resize, (24, 28))
    turns = set()
    for seed in range(8):
        clip = train_view(images, "rgb", geometry, np.random.default_rng(seed), SCALED).numpy()
        box, turn = box_of(seed, geometry)
        expected = bilinear(images[:, *box.slices].astype(np.float64), 24, 28)
        found = clip[::-1].transpose(1, 2, 3, 0) + np.array(BGR_MEAN[::-1])
        error = (found[:, :, ::-1] if turn else found) - expected
        assert np.abs(error).max() < 0.9  # as above
        turns.add(turn)
    assert turns == {False, True}


@pytest.mark.parametrize("resize", [None, (40, 30)])
def test_a_random_box_of_flow_is_the_flow_of_the_resized_video(resize):
    images = np.maximum(random_images(2, 2, 48, 64), 1)
    geometry = Geometry(resize, (24, 28))
    turns = set()
    for seed in range(8):
        clip = train_view(images, "flow", geometry, np.random.default_rng(seed), SCALED)
        box, turn = box_of(seed, geometry)
        pixels = encoding.decode(images[:, *box.slices], bound=127.0)
        law = np.stack([encoding.resize(field, 24, 28) for field in pixels])
        expected = torch.from_numpy(np.ascontiguousarray(law.transpose(3, 0, 1, 2)))
        if turn:
            expected = mirrored(expected, "flow")
        torch.testing.assert_close(clip, expected, atol=1e-4, rtol=0)  # as above
        turns.add(turn)
    assert turns == {False, True}


def test_a_random_box_may_be_smaller_than_the_crop():
    images = random_images(2, 2, 12, 10)
    clip = train_view(images, "flow", Geometry(None, (32, 32)), np.random.default_rng(0), SCALED)
    assert clip.shape == (2, 2, 32, 32)


def test_a_still_video_stays_still_in_a_random_box():
    still = encoding.encode(np.zeros((4, 48, 64, 2), np.float32))
    for seed in range(5):
        rng = np.random.default_rng(seed)
        assert not train_view(still, "flow", Geometry(None, (30, 30)), rng, SCALED).any()


@pytest.mark.parametrize("scale", [None, (0.3, 1.0)])
def test_jitter_is_that_of_the_crop_and_leaves_the_window(scale):
    images = smooth_images(3)
    geometry = Geometry((40, 60), (24, 24))
    plain, varied = Augmentation(scale=scale), Augmentation(scale=scale, jitter=0.5)
    mean = np.array(BGR_MEAN, np.float32).reshape(3, 1, 1, 1)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        clip = train_view(images, "rgb", geometry, rng, plain).numpy()
        expected = jittered(clip + mean, 0.5, rng) - mean
        found = train_view(images, "rgb", geometry, np.random.default_rng(seed), varied).numpy()
        np.testing.assert_array_equal(found, expected)
        assert np.abs(found - clip).max() > 1


def test_jitter_leaves_flow_as_it_is():
    flow = random_images(2)
    for seed in range(5):
        one, other = (
            train_view(flow, "flow", AS_THEY_ARE, np.random.default_rng(seed), augmentation)
            for augmentation in (Augmentation(), Augmentation(jitter=1.0))
        )
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"scale": (0.0, 1.0)}, r"scale is \(0.0, 1.0\)"),
        ({"scale": (0.5, 0.4)}, "scale is"),
        ({"scale": (0.5, 1.1)}, "scale is"),
        ({"scale": (0.5,)}, "scale is"),
        ({"scale": (float("nan"), 1.0)}, "scale is"),
        ({"jitter": -0.1}, "jitter is -0.1"),
        ({"jitter": 1.1}, "jitter is 1.1"),
        ({"jitter": float("nan")}, "jitter is nan"),
    ],
)
def test_augmentations_that_there_cannot_be(wrong, reason):
    with pytest.raises(InputError, match=reason):
        Augmentation(**wrong)


def test_images_that_have_the_size_already_are_left_as_they_are():
    images = random_images(3, 2, 40, 50)
    resized = transforms.test_view(images, "rgb", Geometry((40, 50), (20, 30)))
    assert torch.equal(resized, transforms.test_view(images, "rgb", AS_THEY_ARE))


def test_arguments_are_not_changed():
    for stream, channels in (("rgb", 3), ("flow", 2)):
        images = random_images(channels, 2, 48, 64)
        before = images.copy()
        for geometry in (AS_THEY_ARE, Geometry((36, 50), (30, 30)), Geometry(None, (48, 64))):
            for augmentation in (Augmentation(), Augmentation(scale=(0.5, 1), jitter=0.5)):
                clip = train_view(images, stream, geometry, np.random.default_rng(0), augmentation)
                clip += 1
            clip = transforms.test_view(images, stream, geometry)
            clip += 1
            np.testing.assert_array_equal(images, before)


def test_the_default_geometry_is_the_papers():
    images = random_images(3, 1, 240, 320)
    assert transforms.test_view(images, "rgb", Geometry()).shape == (3, 1, 160, 160)
    assert Geometry() == Geometry(resize=(182, 242), crop=(160, 160))


def test_sizes_that_do_not_fit():
    with pytest.raises(InputError, match=r"crop of 160x160 .* images of 120x240"):
        Geometry(resize=(120, 240), crop=(160, 160))
    for view in (
        lambda images: transforms.test_view(images, "rgb", Geometry(None, (20, 31))),
        lambda images: train_view(images, "rgb", Geometry(None, (20, 31)), np.random.default_rng()),
    ):
        with pytest.raises(InputError, match=r"crop of 20x31 .* images of 20x30 \(height x width"):
            view(random_images(3))
    with pytest.raises(InputError, match="crop is"):
        Geometry(None, (0, 5))
    with pytest.raises(InputError, match="resize is"):
        Geometry((5,), (1, 1))


@pytest.mark.parametrize(
    ("images", "stream", "reason"),
    [
        (random_images(2), "rgb", r"give uint8 \(T, H, W, 3\)"),
        (random_images(3), "flow", r"give uint8 \(T, H, W, 2\)"),
        (random_images(3)[0], "rgb", "rgb images are uint8"),
        (random_images(3).astype(np.float32), "rgb", "rgb images are float32"),
        (random_images(3), "depth", "'depth' is unknown; give one of rgb, flow"),
    ],
)
def test_images_of_another_kind(images, stream, reason):
    with pytest.raises(InputError, match=reason):
        transforms.test_view(images, stream, AS_THEY_ARE)


@pytest.mark.parametrize("stream", ["rgb", "flow"])
@pytest.mark.parametrize("resize", [None, (40, 60), 33])
@pytest.mark.parametrize("crops", [1, 3, 5])
def test_crops_are_windows_of_the_whole_picture(stream, resize, crops):
    images = random_images(3 if stream == "rgb" else 2, 2, 48, 64)
    geometry = Geometry(resize, (24, 28))
    size = geometry.resized(48, 64)
    whole = transforms.test_view(images, stream, Geometry(resize, size))
    found = crop_views(images, stream, geometry, crops)
    boxes = crop_boxes(size, (24, 28), crops)
    assert torch.equal(found, torch.stack([whole[:, :, *box.slices] for box in boxes]))
    if crops == 1:
        assert torch.equal(found[0], transforms.test_view(images, stream, geometry))


@pytest.mark.parametrize(
    ("picture", "short_side", "size"),
    [
        ((240, 320), 256, (256, 341)),
        ((320, 240), 256, (341, 256)),
        ((100, 100), 7, (7, 7)),
        ((1080, 1920), 256, (256, 455)),
        ((3, 4000), 1, (1, 1333)),
    ],
)
def test_a_short_side_keeps_the_shape(picture, short_side, size):
    geometry = Geometry(short_side, (1, 1))
    assert geometry.resized(*picture) == size
    assert geometry.size == f"short side {short_side}"


def test_a_short_side_resizes_the_flow_with_the_picture():
    """48 x 64 with a short side of 24 is 24 x 32: half the size, half the motion."""
    images = np.maximum(random_images(2, 2, 48, 64), 1)
    one, other = (
        transforms.test_view(images, "flow", Geometry(resize, (24, 32)))
        for resize in (24, (24, 32))
    )
    assert torch.equal(one, other)
    still = train_view(images, "flow", Geometry(24, (24, 32)), np.random.default_rng(0))
    assert torch.equal(still, one) or torch.equal(still, mirrored(one, "flow"))


def test_a_crop_that_no_short_side_fits():
    with pytest.raises(InputError, match="does not fit into images with a short side of 20"):
        Geometry(20, (21, 30))
    narrow = Geometry(20, (30, 20))
    assert transforms.test_view(random_images(3, 2, 30, 20), "rgb", narrow).shape[-2:] == (30, 20)
    with pytest.raises(InputError, match=r"crop of 30x20 .* images of 20x30"):
        transforms.test_view(random_images(3), "rgb", narrow)
    with pytest.raises(InputError, match=r"resize is \(0, 0\)"):
        Geometry(0, (1, 1))
