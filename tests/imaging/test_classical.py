import cv2
import numpy as np
import pytest
import torch

from darkroom.images import from_uint8, to_uint8
from darkroom.imaging import classical


def picture(channels=3, size=(64, 48)):
    rows, columns = torch.meshgrid(*(torch.linspace(-1, 1, side) for side in size), indexing="ij")
    return torch.stack([torch.sin(3 * rows + channel) * columns for channel in range(channels)])


def error(made, whole):
    return (made - whole).square().mean().item()


def noise(shape, sigma=25):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)) * sigma / 127.5


def holes(size=(64, 48)):
    mask = torch.zeros(1, *size, dtype=torch.bool)
    mask[:, 10:16, 5:40] = True
    mask[:, 30:60, 20:25] = True
    return mask


@pytest.mark.parametrize("channels", [1, 3])
def test_wavelets_are_those_of_scikit_image_and_help(channels):
    from skimage.restoration import denoise_wavelet

    whole = picture(channels)
    damaged = whole + noise(whole.shape)
    made = classical.wavelet(damaged, 25)
    assert error(made, whole) < 0.25 * error(damaged, whole)
    settings = {"channel_axis": -1, "convert2ycbcr": True} if channels == 3 else {}
    levels = np.squeeze(damaged.permute(1, 2, 0).double().numpy() / 2 + 0.5)
    expected = denoise_wavelet(levels, sigma=25 / 255, wavelet="sym4", wavelet_levels=2, rescale_sigma=True, **settings)
    assert np.allclose(np.squeeze(made.permute(1, 2, 0).numpy()) / 2 + 0.5, expected, atol=1e-6)


def test_wavelets_that_are_not_told_estimate():
    damaged = picture() + noise((3, 64, 48))
    assert error(classical.wavelet(damaged), picture()) < 1.1 * error(classical.wavelet(damaged, 25), picture())


def test_bicubic_keeps_a_constant_and_knows_its_scale():
    assert torch.allclose(classical.bicubic(torch.full((3, 5, 7), 0.3), 4), torch.full((3, 20, 28), 0.3), atol=1e-6)
    array = np.random.default_rng(0).random((6, 9)).astype(np.float32)
    from PIL import Image

    expected = np.asarray(Image.fromarray(array).resize((18, 12), Image.Resampling.BICUBIC))
    assert np.allclose(classical.bicubic(torch.from_numpy(array)[None], 2)[0].numpy(), expected, atol=1e-5)


def laplace_by_scipy(whole, mask):
    """Laplace's equation on the missing pixels of one channel, solved at once."""
    from scipy.sparse import lil_matrix
    from scipy.sparse.linalg import spsolve

    places = {tuple(place): number for number, place in enumerate(np.argwhere(mask))}
    matrix, right = lil_matrix((len(places), len(places))), np.zeros(len(places))
    for (row, column), number in places.items():
        for beside in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            if not (0 <= beside[0] < mask.shape[0] and 0 <= beside[1] < mask.shape[1]):
                continue
            matrix[number, number] += 1
            if beside in places:
                matrix[number, places[beside]] -= 1
            else:
                right[number] += whole[beside]
    made = whole.copy()
    made[mask] = spsolve(matrix.tocsr(), right)
    return made


def test_a_membrane_is_the_solution_of_laplace_and_only_inside():
    random = np.random.default_rng(0)
    whole, mask = random.uniform(-1, 1, (48, 48)), np.zeros((48, 48), bool)
    mask[5:11, 3:40], mask[20:40, 8:14], mask[42:, 42:] = True, True, True
    expected = laplace_by_scipy(whole, mask)
    given = torch.from_numpy(np.where(mask, 7.0, whole))[None, None]
    made = classical.harmonic(given, torch.from_numpy(mask)[None, None])[0, 0].numpy()
    assert np.array_equal(made[~mask], whole[~mask])
    rough = classical.pull_push(given, torch.from_numpy(mask)[None, None])[0, 0].numpy()
    assert np.abs(made - expected).max() < 0.05 < 0.5 < np.abs(rough - expected).max()


def test_a_membrane_in_a_tile_is_that_of_the_whole():
    whole, mask = torch.rand(1, 3, 160, 256, dtype=torch.float64) * 2 - 1, torch.zeros(1, 1, 160, 256, dtype=torch.bool)
    mask[:, :, 20:90, 30:36] = mask[:, :, 40:48, 10:240] = True
    tile = classical.harmonic(whole[..., :128, 32:224], mask[..., :128, 32:224])
    inner = (..., slice(0, 48), slice(80, 112))  # as far from each cut as the coarsest means and the steps reach
    expected = classical.harmonic(whole, mask)[..., :48, 112:144]
    assert torch.allclose(tile[inner], expected, atol=1e-9)


def test_telea_is_that_of_opencv_and_only_inside():
    whole, mask = picture(), holes()
    damaged = torch.where(mask, 0.0, whole)
    made = classical.telea(damaged, mask)
    assert torch.equal(made[:, ~mask[0]], damaged[:, ~mask[0]])
    levels = to_uint8(damaged).permute(1, 2, 0).contiguous().numpy()
    expected = cv2.inpaint(levels, mask[0].numpy().astype(np.uint8), 3, cv2.INPAINT_TELEA)
    inside = from_uint8(torch.from_numpy(expected.transpose(2, 0, 1).copy()))
    assert torch.equal(made[:, mask[0]], inside[:, mask[0]])


def test_biharmonic_is_that_of_scikit_image_and_fills_what_is_smooth():
    from skimage.restoration import inpaint_biharmonic

    whole, mask = picture(), holes()
    damaged = torch.where(mask, 0.0, whole)
    made = classical.biharmonic(damaged, mask)
    assert torch.equal(made[:, ~mask[0]], damaged[:, ~mask[0]])
    assert error(made, whole) < 1e-3 * error(damaged, whole)
    levels = damaged.permute(1, 2, 0).double().numpy() / 2 + 0.5
    expected = inpaint_biharmonic(levels, mask[0].numpy(), channel_axis=-1)
    assert np.allclose(made.permute(1, 2, 0).numpy() / 2 + 0.5, expected, atol=1e-6)
    assert torch.equal(classical.biharmonic(whole, torch.zeros_like(mask)), whole)


def test_pulling_and_pushing_fills_a_constant_exactly_and_a_picture_roughly():
    mask = holes((61, 47))[None]
    constant = torch.full((1, 3, 61, 47), -0.4)
    assert torch.allclose(classical.pull_push(torch.where(mask, 0.9, constant), mask), constant, atol=1e-6)
    whole = picture(size=(61, 47))[None]
    made = classical.pull_push(torch.where(mask, 5.0, whole), mask)
    assert torch.equal(made[:, :, ~mask[0, 0]], whole[:, :, ~mask[0, 0]])
    assert error(made, whole) < 0.05 * error(torch.where(mask, 0.0, whole), whole)


def test_what_no_means_reach_is_grey():
    made = classical.pull_push(torch.ones(1, 1, 32, 32), torch.ones(1, 1, 32, 32, dtype=torch.bool))
    assert not made.any()


def test_the_others_undo_what_they_are_for():
    whole = picture()
    specks = whole.clone()
    specks[:, 8::16, 8::16] = 1
    assert error(classical.median(specks), whole) < 0.1 * error(specks, whole)
    soft = classical.unsharp(whole, 1.5, -0.9)  # takes away what unsharp masking adds
    assert error(classical.unsharp(soft, 1.5, 0.9), whole) < error(soft, whole)
    damaged = whole + noise(whole.shape, 5)
    assert error(classical.bilateral(damaged), whole) < 0.7 * error(damaged, whole)
    pale = 0.3 * whole + 0.2
    levels = classical.stretched(pale)
    assert levels.min() == -1
    assert levels.max() == 1
    assert classical.equalised(pale).std() > 1.1 * pale.std()


def test_every_operation_has_its_methods():
    told = classical.Told(holes(), 25.0, 2)
    for operation, rivals in classical.RIVALS.items():
        size = (3, 128, 96) if operation == "enlarge" else (3, 64, 48)
        for rival in rivals:
            assert hasattr(classical, rival.name)
            made = [rival.apply(picture(), told), *(method(picture()) for method in rival.tries)]
            assert {tuple(one.shape) for one in made} == {size}
            if operation != "enlarge":
                assert rival.apply(picture(), classical.Told()).shape == size  # told nothing, it still does something
