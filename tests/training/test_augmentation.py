"""Both augmentations, function by function."""

from __future__ import annotations

import colorsys
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from apvit.data.augmentation import Augmentation, augment, random_affine, random_erasing, random_light
from apvit.data.paper_augmentation import (
    PaperAugmentation,
    augment_as_paper,
    colour_jitter,
    random_flip,
    random_grey,
    random_resized_crop,
    random_rotation,
    resize_crops,
    turn_hue,
)

OFF = Augmentation(flip=0, rotate=0, scale=0, shift=0, brightness=0, contrast=0, erase=0)
PAPER_OFF = PaperAugmentation(rotate_probability=0, crop_scale=(1, 1), flip=0, grey=0, jitter_probability=0, erase=0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some(count: int, channels: int, size: int) -> torch.Tensor:
    return torch.rand(count, channels, size, size, generator=generator(7))


def test_no_augmentation_only_normalises():
    images = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8)
    mean, std = torch.tensor([0.5]), torch.tensor([0.25])
    expected = (images / 255 - 0.5) / 0.25
    torch.testing.assert_close(augment(images, mean, std, OFF, generator()), expected, atol=1e-5, rtol=0)
    paper = augment_as_paper(images, mean, std, 8, PAPER_OFF, generator())
    torch.testing.assert_close(paper, expected, atol=1e-5, rtol=0)


def test_flip_mirrors():
    images = some(2, 1, 6)
    flipped = random_affine(images, Augmentation(flip=1, rotate=0, scale=0, shift=0), generator())
    torch.testing.assert_close(flipped, images.flip(-1), atol=1e-5, rtol=0)
    assert torch.equal(random_flip(images, 1.0, generator()), images.flip(-1))
    assert torch.equal(random_flip(images, 0.0, generator()), images)


def test_erasing_covers_the_share_it_says():
    images = torch.zeros(64, 1, 48, 48)
    erased = random_erasing(images, 1.0, (0.1, 0.2), generator()) != 0
    share = erased.float().mean((1, 2, 3))
    assert (share > 0.05).all()
    assert (share < 0.25).all()
    assert not random_erasing(images, 0.0, (0.1, 0.2), generator()).any()


def test_erasing_keeps_its_ratio_and_is_noise():
    erased = random_erasing(torch.zeros(400, 1, 64, 64), 1.0, (0.1, 0.1), generator(), ratio=(2.0, 3.0))
    heights = (erased != 0).any(3).sum((1, 2))
    widths = (erased != 0).any(2).sum((1, 2))
    ratio = heights / widths
    assert ratio.min() > 1.7
    assert ratio.max() < 3.5
    noise = erased[erased != 0]
    assert noise.mean().item() == pytest.approx(0, abs=0.02)
    assert noise.std().item() == pytest.approx(1, abs=0.02)


def test_rotation_turns_about_the_centre_and_uncovers_black():
    image = torch.ones(1, 1, 33, 33)
    image[..., 16, 28] = 5.0  # 12 px right of the centre
    turned = random_rotation(image.repeat(64, 1, 1, 1), 6.0, 1.0, generator())
    brightest = turned.flatten(1).argmax(1)
    y, x = brightest // 33, brightest % 33
    assert (x.float() - 16 > 11).all()
    assert (y - 16).abs().max() <= 1 + 12 * math.sin(math.radians(6))
    assert len(y.unique()) > 1
    assert (turned[:, 0, 0, 0] < 1).any()  # a corner beyond the picture
    assert torch.allclose(random_rotation(image, 6.0, 0.0, generator()), image, atol=1e-5)
    turned = random_rotation(image.repeat(2000, 1, 1, 1), 6.0, 0.5, generator())
    assert (turned - image).abs().amax((1, 2, 3)).gt(1e-3).float().mean().item() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("top", "left", "side", "size"), [(3, 5, 40, 16), (0, 0, 48, 48), (10, 2, 20, 32), (7, 7, 33, 24)]
)
def test_crops_are_resized_as_torch_and_pillow_do(top, left, side, size):
    image = some(1, 3, 48)
    ours = resize_crops(image, torch.tensor([top]), torch.tensor([left]), torch.tensor([side]), size)
    crop = image[..., top : top + side, left : left + side]
    torchs = F.interpolate(crop, (size, size), mode="bilinear", antialias=True, align_corners=False)
    torch.testing.assert_close(ours, torchs, atol=1e-5, rtol=0)
    pillow = Image.fromarray((crop[0, 0] * 255).round().byte().numpy()).resize((size, size), Image.Resampling.BILINEAR)
    assert np.abs(np.asarray(pillow) / 255 - ours[0, 0].numpy()).max() < 1.5 / 255  # Pillow rounds after each pass


def test_every_image_has_its_own_crop_of_the_share_it_says():
    # A ramp shows where each crop begins and ends.
    ramp = torch.arange(100.0).expand(1, 1, 100, 100).repeat(500, 1, 1, 1)
    crops = random_resized_crop(ramp, 50, (0.8, 1.0), generator())
    side = (crops[:, 0, 0, -1] - crops[:, 0, 0, 0]) / 49 * 50
    assert side.min() > 88.5  # sqrt(0.8) of 100 px
    assert side.max() < 101
    assert len(crops[:, 0, 0, 0].unique()) > 10


def test_grey():
    images = some(2000, 3, 2)
    grey = random_grey(images, 0.2, generator())
    changed = (grey != images).any(3).any(2).any(1)
    assert changed.float().mean().item() == pytest.approx(0.2, abs=0.03)
    expected = images[:, 0] * 0.299 + images[:, 1] * 0.587 + images[:, 2] * 0.114
    for channel in range(3):
        torch.testing.assert_close(grey[changed, channel], expected[changed])
    one = some(3, 1, 4)
    assert torch.equal(random_grey(one, 1.0, generator()), one)


@pytest.mark.parametrize("turn", [-0.1, 0.0, 0.05, 0.5])
def test_hue_turns_as_in_colorsys(turn):
    image = some(1, 3, 6)
    image[0, :, 0, 0] = 0.4  # grey has no hue
    turned = turn_hue(image, torch.tensor([turn]))
    for y in range(6):
        for x in range(6):
            h, s, v = colorsys.rgb_to_hsv(*image[0, :, y, x].tolist())
            expected = colorsys.hsv_to_rgb((h + turn) % 1, s, v)
            assert turned[0, :, y, x].tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("jitter", "kept"),
    [
        ((0.4, 0, 0, 0), lambda x: x / x.mean((1, 2, 3), keepdim=True)),  # brightness: ratios
        ((0, 0.4, 0, 0), lambda x: x.mean((2, 3)) @ torch.tensor([0.299, 0.587, 0.114])),  # contrast: the mean grey
        ((0, 0, 0.4, 0), lambda x: (x * torch.tensor([0.299, 0.587, 0.114]).view(-1, 1, 1)).sum(1)),  # luma
        ((0, 0, 0, 0.1), lambda x: x.amax(1)),  # HSV value
    ],
)
def test_each_jitter_keeps_what_it_should(jitter, kept):
    images = 0.4 + 0.2 * some(16, 3, 8)  # far enough from 0 and 1 not to be cut off
    changed = colour_jitter(images, jitter, 1.0, generator())
    assert (changed - images).abs().amax((1, 2, 3)).gt(1e-4).all()
    torch.testing.assert_close(kept(changed), kept(images), atol=1e-5, rtol=1e-5)


def test_jitter_is_as_strong_and_frequent_as_it_says():
    images = torch.full((4000, 1, 2, 2), 0.5)
    changed = colour_jitter(images, (0.4, 0.4, 0.4, 0.1), 0.8, generator())[:, 0, 0, 0]
    assert changed.min() >= 0.3
    assert changed.max() <= 0.7
    assert (changed != 0.5).float().mean().item() == pytest.approx(0.8, abs=0.02)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**40), channels=st.sampled_from((1, 3)), size=st.integers(8, 32), count=st.integers(1, 5))
def test_augmentation_repeats_itself_and_stays_in_range(seed, channels, size, count):
    images = torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8, generator=generator(1))
    mean, std = torch.zeros(channels), torch.ones(channels)
    a = augment(images, mean, std, Augmentation(), generator(seed))
    assert torch.equal(a, augment(images, mean, std, Augmentation(), generator(seed)))
    assert a.isfinite().all()
    light = random_light(images / 255, Augmentation(), generator(seed))
    assert light.min() >= 0
    assert light.max() <= 1
    for target in (size // 2, size, size + 7):
        b = augment_as_paper(images, mean, std, target, PaperAugmentation(), generator(seed))
        assert b.shape == (count, channels, target, target)
        assert torch.equal(b, augment_as_paper(images, mean, std, target, PaperAugmentation(), generator(seed)))
        c = augment_as_paper(images, mean, std, target, PaperAugmentation(erase=0), generator(seed))
        assert c.min() >= -1e-6
        assert c.max() <= 1 + 1e-6


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Augmentation(flip=1.5), "flip.*1.5"),
        (lambda: Augmentation(rotate=200), "rotate.*200"),
        (lambda: Augmentation(erase_area=(0.5, 0.2)), "erase_area"),
        (lambda: PaperAugmentation(grey=-1), "grey.*-1"),
        (lambda: PaperAugmentation(crop_scale=(0.5, 1.2)), "crop_scale"),
        (lambda: PaperAugmentation(jitter=(0.4, 0.4, 0.4, 0.9)), "jitter.*0.9"),
    ],
)
def test_wrong_fields(make, message):
    with pytest.raises(ValueError, match=message):
        make()
