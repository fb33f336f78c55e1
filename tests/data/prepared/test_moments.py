"""Mean and covariance against numpy's own, over all pixels at once."""

import numpy as np
import pytest

from alexnet_zoo.data.prepared.moments import moments, principal_components


@pytest.fixture
def images():
    noise = np.random.default_rng(0).integers(0, 256, (21, 6, 6, 3))
    mixed = noise @ np.array([[0.6, 0.2, 0.1], [0.3, 0.5, 0.3], [0.1, 0.3, 0.6]])
    return mixed.astype(np.uint8)


def cut(images, lengths):
    return np.split(images, np.cumsum(lengths)[:-1])


def test_against_numpy(images):
    mean, covariance = moments(cut(images, [10, 10, 1]), threads=2)
    assert mean.dtype == np.float32 and np.allclose(mean, images.mean(0), rtol=1e-6)
    assert np.allclose(covariance, np.cov(images.reshape(-1, 3).T / 255, bias=True), rtol=1e-9)


def test_shards_and_threads_do_not_change_a_bit(images):
    mean, covariance = moments(cut(images, [3, 0, 7, 11]), threads=3)
    again, covariance_again = moments([images], threads=1)
    assert (mean == again).all() and (covariance == covariance_again).all()


def test_white_images_do_not_overflow():
    mean, covariance = moments([np.full((3, 256, 256, 3), 255, np.uint8)], threads=1)
    assert (mean == 255).all() and np.abs(covariance).max() < 1e-12


def test_principal_components(images):
    covariance = np.cov(images.reshape(-1, 3).T / 255)
    values, vectors = principal_components(covariance)
    assert values[0] > values[1] > values[2] > 0
    assert np.allclose(covariance @ vectors, vectors * values)
    assert np.allclose(vectors.T @ vectors, np.eye(3))
    assert (vectors[np.abs(vectors).argmax(0), range(3)] > 0).all()


def test_grey_images_have_one_component():
    values, vectors = principal_components(np.full((3, 3), 0.04))
    assert np.allclose(values, [0.12, 0, 0]) and (values >= 0).all()
    assert np.allclose(vectors[:, 0], 3**-0.5)
