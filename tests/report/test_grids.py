"""Grids of sample images, and their PNG files."""

import io

import numpy as np
import pytest
from PIL import Image

from gsu_jax import report
from gsu_jax.report._grids import NOT_A_NUMBER


def test_images_are_placed_row_by_row_with_gaps():
    images = np.full((5, 4, 6, 1), 40, np.uint8) * np.arange(5, dtype=np.uint8)[:, None, None, None]
    grid = report.image_grid(images, 3, scale=2, gap=2, background=255)
    assert grid.shape == (2 * 8 + 2, 3 * 12 + 4, 3)
    assert grid.dtype == np.uint8
    assert (grid[0:8, 14:26] == 40).all()
    assert (grid[10:18, 0:12] == 120).all()
    assert (grid[8:10] == 255).all()
    assert (grid[10:18, 28:] == 255).all()


def test_floats_are_clipped_and_uint8_is_kept():
    images = np.array([-1.0, 0.0, 0.5, 1.0, 7.0]).reshape(1, 1, 5, 1)
    assert report.image_grid(images, scale=1)[0, :, 0].tolist() == [0, 0, 128, 255, 255]
    colors = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    np.testing.assert_array_equal(report.image_grid(colors, scale=1), colors[0])


@pytest.mark.parametrize("channels", [1, 3])
def test_non_finite_pixels_are_red(channels):
    images = np.full((2, 3, 3, channels), 0.5, np.float32)
    images[0, 0, 0, -1] = np.nan
    images[0, 1, 1, 0] = np.inf
    red = (report.image_grid(images, scale=1, gap=0) == NOT_A_NUMBER).all(axis=-1)
    assert np.argwhere(red).tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize(("size", "tile"), [(8, 56), (28, 56), (32, 64), (64, 64), (200, 200)])
def test_small_images_are_magnified_and_large_images_kept(size, tile):
    assert report.image_grid(np.zeros((1, size, size, 1))).shape == (tile, tile, 3)


@pytest.mark.parametrize(
    ("images", "arguments", "error", "message"),
    [
        (np.zeros((3, 8, 8)), {}, ValueError, r"images.*got shape \(3, 8, 8\)"),
        (np.zeros((3, 8, 8, 2)), {}, ValueError, "images.*got"),
        (np.zeros((0, 8, 8, 1)), {}, ValueError, "images.*got"),
        (np.zeros((3, 8, 8, 1), np.int32), {}, TypeError, "images.*got int32"),
        (np.zeros((3, 8, 8, 1)), {"columns": 0}, ValueError, "columns.*got 0"),
        (np.zeros((3, 8, 8, 1)), {"scale": 0}, ValueError, "scale.*got 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(images, arguments, error, message):
    with pytest.raises(error, match=message):
        report.image_grid(images, **arguments)


def test_save_grid_writes_the_grid_as_png(tmp_path):
    images = np.random.default_rng(0).random((7, 8, 8, 3))
    report.save_grid(tmp_path / "new" / "grid.png", images, columns=4)
    written = Image.open(io.BytesIO((tmp_path / "new" / "grid.png").read_bytes()))
    np.testing.assert_array_equal(np.asarray(written), report.image_grid(images, 4))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["grid.png"]
