"""Each piece of the augmentation against plain numpy, one image at a time."""

import numpy as np
import pytest
import torch

from alexnet_zoo.data.batches.augment import (
    AS_RUN_SCALE,
    centre_crop,
    colour_shift,
    draw_crops,
    fixed_crops,
    ten_crop_offsets,
    to_input,
)

S, s = 20, 14
VALUES = np.array([0.2, 0.02, 0.003])
VECTORS = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(batch, seed=0, **options):
    return draw_crops(generator(seed), batch, S, s, **({"components": (VALUES, VECTORS)} | options))


@pytest.mark.parametrize("scale", [1.0, AS_RUN_SCALE, torch.tensor([2.0, 3.0, 4.0]).reshape(3, 1, 1)])
@pytest.mark.parametrize("batch, mean_place", [(0, "crop"), (1, "crop"), (11, "crop"), (11, "centre")])
def test_to_input_against_numpy(batch, mean_place, scale):
    rng = np.random.default_rng(0)
    images, mean = rng.integers(0, 256, (batch, S, S, 3), dtype=np.uint8), rng.uniform(0, 255, (S, S, 3))
    crops = draw(batch)
    places = list(zip(crops.tops.tolist(), crops.lefts.tolist(), strict=True))
    cut = [image[top : top + s, left : left + s] for image, (top, left) in zip(images, places, strict=True)]
    pixels = np.stack(cut) if batch else np.zeros((0, s, s, 3), np.uint8)
    arguments = torch.from_numpy(pixels), crops, torch.from_numpy(mean).float(), scale
    found = to_input(*arguments, mean_place=mean_place)
    assert found.dtype == torch.float32 and found.shape == (batch, 3, s, s) and found.is_contiguous()
    again = torch.full_like(found, 7)
    assert to_input(*arguments, again, mean_place) is again
    assert torch.equal(again, found)
    for number, (top, left) in enumerate(places):
        under, turned = mean[top : top + s, left : left + s], slice(None, None, -1 if crops.mirror[number] else 1)
        if mean_place == "centre":  # the same, the same way round, under every crop
            under = mean[(S - s) // 2 : (S + s) // 2, (S - s) // 2 : (S + s) // 2][:, turned]
        expected = (pixels[number] - under + crops.colour[number].numpy())[:, turned]
        assert np.allclose(found[number].numpy(), expected.transpose(2, 0, 1) / np.asarray(scale), atol=1e-4)
    assert batch < 11 or 0 < crops.mirror.sum() < batch


def test_every_place_is_drawn_and_as_often():
    crops = draw(49 * 400)
    counts = np.zeros((S - s + 1, S - s + 1))
    np.add.at(counts, (crops.tops.numpy(), crops.lefts.numpy()), 1)
    assert crops.tops.dtype == crops.lefts.dtype == torch.int64
    assert counts.sum() == 49 * 400  # an offset beyond S - s would have been an IndexError
    assert ((counts - 400) ** 2 / 400).sum() < 85  # chi squared, 48 degrees of freedom, p = 0.001
    assert abs(crops.mirror.float().mean() - 0.5) < 0.02


def test_a_crop_of_the_whole_image():
    crops = draw_crops(generator(), 9, S, S, colour="none")
    assert not crops.tops.any() and not crops.lefts.any()


@pytest.mark.parametrize("colour, strength", [("published", VALUES), ("as_run", np.sqrt(VALUES))])
def test_colour_shift_against_the_formula(colour, strength):
    alpha = np.random.default_rng(2).normal(0, 0.1, (7, 3))
    expected = [255 * sum(VECTORS[:, k] * row[k] * strength[k] for k in range(3)) for row in alpha]
    found = colour_shift(torch.from_numpy(alpha).float(), VALUES, VECTORS, colour)
    assert found.dtype == torch.float32 and np.allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("colour, strength", [("published", VALUES), ("as_run", np.sqrt(VALUES))])
def test_colour_noise_has_its_covariance(colour, strength):
    shift = draw(100_000, colour=colour).colour.numpy().astype(float) / 255
    expected = VECTORS @ np.diag((0.1 * strength) ** 2) @ VECTORS.T
    assert np.abs(np.cov(shift.T) - expected).max() < 0.03 * expected.max()
    assert np.abs(shift.mean(0)).max() < 0.01 * strength.max()


def test_ablations_see_the_same_crops():
    full, plain, still = draw(50), draw(50, colour="none"), draw(50, mirror=False, random_crop=False)
    assert (full.tops == plain.tops).all() and (full.mirror == plain.mirror).all() and not plain.colour.any()
    assert (still.tops == 3).all() and (still.lefts == 3).all() and not still.mirror.any()
    assert (still.colour == full.colour).all() and full.colour.any()


def test_the_generator_decides():
    again = draw(50)
    assert all((getattr(draw(50), name) == getattr(again, name)).all() for name in vars(again))
    assert not all((getattr(draw(50, seed=1), name) == getattr(again, name)).all() for name in vars(again))


def test_unknown_colour():
    with pytest.raises(ValueError, match="'pca'"):
        draw(1, colour="pca")


def test_centre_crop():
    crops = centre_crop(4, 256, 224)
    assert crops.tops.tolist() == crops.lefts.tolist() == [16] * 4
    assert not crops.mirror.any() and not crops.colour.any() and crops.colour.shape == (4, 3)


def test_ten_crops_are_the_corners_the_centre_and_their_mirror_images():
    offsets = ten_crop_offsets(256, 224)
    assert offsets[:5] == [(0, 0, False), (0, 32, False), (32, 0, False), (32, 32, False), (16, 16, False)]
    assert offsets[5:] == [(top, left, True) for top, left, _ in offsets[:5]]


def test_ten_crops_against_torchvision():
    from torchvision.transforms.v2.functional import ten_crop

    image = torch.randint(256, (S, S, 3), dtype=torch.uint8, generator=generator())
    expected = {tuple(view.flatten().tolist()) for view in ten_crop(image.permute(2, 0, 1), [s, s])}
    found = set()
    for top, left, mirror in ten_crop_offsets(S, s):
        crops = fixed_crops(1, top, left, mirror)
        view = to_input(image[None, top : top + s, left : left + s], crops, torch.zeros(S, S, 3))
        found.add(tuple(view.flatten().int().tolist()))
    assert found == expected and len(found) == 10


def test_packed_holds_every_field():
    crops = draw(3)
    packed = crops.packed()
    assert packed.dtype == torch.float32
    for column, field in enumerate((crops.tops, crops.lefts, crops.mirror, *crops.colour.T)):
        assert (packed[:, column] == field).all()


def test_chunks_share_place_and_mirror_but_not_colour():
    crops = draw(70)
    chunks = crops.in_chunks(32)
    for start in range(0, 70, 32):
        part = slice(start, start + 32)
        assert set(chunks.tops[part].tolist()) == {crops.tops[start].item()}
        assert set(chunks.lefts[part].tolist()) == {crops.lefts[start].item()}
        assert set(chunks.mirror[part].tolist()) == {crops.mirror[start].item()}
    assert torch.equal(chunks.colour, crops.colour)
