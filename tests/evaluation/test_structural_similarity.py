"""SSIM and MS-SSIM against pytorch-msssim, torchmetrics and a plain double loop; diversity of sets; small images."""

import numpy as np
import pytest

from vaegan_jax.errors import UserError
from vaegan_jax.evaluation import structural_similarity as ss


def pairs(count=2, side=176, channels=1, seed=0, noise=25.0):
    """Smooth images, and the same with noise, as uint8."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.normal(size=(count, side, side, channels)), (0, 5, 5, 0)) * 900 + 128
    other = smooth + rng.normal(0, noise, smooth.shape)
    return tuple(np.clip(images, 0, 255).astype(np.uint8) for images in (smooth, other))


def torch_images(images):
    torch = pytest.importorskip("torch")
    return torch.tensor(images.transpose(0, 3, 1, 2).astype(np.float64))


def by_hand(a, b, size=11, deviation=1.5):
    """SSIM and contrast-structure of two (h, w) images by the definitions, window by window."""
    at = np.arange(size) - (size - 1) / 2
    window = np.exp(-(at[:, None] ** 2 + at[None] ** 2) / (2 * deviation**2))
    window /= window.sum()
    whole, contrast = [], []
    for top in range(a.shape[0] - size + 1):
        for left in range(a.shape[1] - size + 1):
            p, q = (image[top : top + size, left : left + size] for image in (a, b))
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq, cov = ((window * d * e).sum() for d, e in ((p - mp, p - mp), (q - mq, q - mq), (p - mp, q - mq)))
            contrast.append((2 * cov + 58.5225) / (vp + vq + 58.5225))
            whole.append(contrast[-1] * (2 * mp * mq + 6.5025) / (mp**2 + mq**2 + 6.5025))
    return np.mean(whole), np.mean(contrast)


def test_ssim_is_its_definition_window_by_window():
    a, b = pairs(2, 20)
    expected = [by_hand(*(image[..., 0].astype(float) for image in pair))[0] for pair in zip(a, b, strict=True)]
    np.testing.assert_allclose(ss.ssim(a, b), expected, rtol=1e-10)


def test_constant_images_have_the_closed_form():
    """No contrast: only the luminance is left, (2 ab + C1) / (a^2 + b^2 + C1)."""
    a, b = (np.full((1, 200, 200, 3), value, np.uint8) for value in (50, 200))
    expected = (2 * 50 * 200 + 6.5025) / (50**2 + 200**2 + 6.5025)
    np.testing.assert_allclose(ss.ssim(a, b), expected, rtol=1e-12)
    np.testing.assert_allclose(ss.ms_ssim(a, b), expected**0.1333, rtol=1e-12)


@pytest.mark.parametrize("measure", [ss.ssim, ss.ms_ssim])
def test_an_image_is_1_with_itself_and_both_orders_are_one(measure):
    a, b = pairs(2, 176, 3)
    np.testing.assert_allclose(measure(a, a), 1, rtol=1e-12)
    np.testing.assert_allclose(measure(a, b), measure(b, a), rtol=1e-12)
    assert (measure(a, b) < 0.99).all()


@pytest.mark.slow  # imports torch
@pytest.mark.parametrize("channels", [1, 3])
def test_both_are_those_of_pytorch_msssim(channels):
    """Which takes MS-SSIM of each channel."""
    peer = pytest.importorskip("pytorch_msssim")
    a, b = pairs(2, 176, channels)
    x, y = torch_images(a), torch_images(b)
    np.testing.assert_allclose(ss.ssim(a, b), peer.ssim(x, y, size_average=False), rtol=1e-5)
    np.testing.assert_allclose(ss.ms_ssim(a, b, channels="apart"), peer.ms_ssim(x, y, size_average=False), rtol=1e-5)


@pytest.mark.slow  # imports torchmetrics
@pytest.mark.parametrize("channels", [1, 3])
def test_both_are_those_of_torchmetrics_without_its_border(channels):
    """It averages each scale over channels; and SSIM, also at the coarsest scale, over windows of mirrored pixels."""
    torch = pytest.importorskip("torch")
    peer = pytest.importorskip("torchmetrics.functional.image")
    a, b = pairs(2, 176, channels)
    x, y = torch_images(a), torch_images(b)
    options = {"data_range": 255.0, "reduction": "none"}

    def whole_and_valid(x, y):
        whole, places = peer.structural_similarity_index_measure(x, y, return_full_image=True, **options)
        return whole, places[..., 5:-5, 5:-5].mean((1, 2, 3))

    np.testing.assert_allclose(ss.ssim(a, b), whole_and_valid(x, y)[1], rtol=1e-6)
    found = peer.multiscale_structural_similarity_index_measure(x, y, **options)
    whole, valid = whole_and_valid(*(torch.nn.functional.avg_pool2d(z, 16) for z in (x, y)))
    np.testing.assert_allclose(ss.ms_ssim(a, b), found * (valid / whole) ** 0.1333, rtol=1e-6)
    np.testing.assert_allclose(ss.ms_ssim(a, b), found, rtol=2e-4)


def test_for_color_the_two_averages_differ_and_for_gray_they_do_not():
    a, b = pairs(2, 176, 3)
    b[..., 0] = 255 - b[..., 0]
    apart = ss.ms_ssim(a, b, channels="apart")
    assert (abs(ss.ms_ssim(a, b) - apart) > 0.01).all()
    single = [ss.ms_ssim(a[..., [channel]], b[..., [channel]]) for channel in range(3)]
    np.testing.assert_allclose(apart, np.mean(single, axis=0), rtol=1e-12)
    a, b = pairs(2, 176, 1)
    np.testing.assert_allclose(ss.ms_ssim(a, b), ss.ms_ssim(a, b, channels="apart"), rtol=1e-12)


def test_an_image_with_its_negative_counts_as_0_not_as_a_complex_number():
    a, _ = pairs(1, 176)
    assert ss.ms_ssim(a, 255 - a)[0] == 0


@pytest.mark.parametrize("side", [160, 28])
def test_images_below_161_pixels_are_refused_and_the_way_out_is_named(side):
    a = np.zeros((2, side, 200, 1), np.uint8)
    for refused in (lambda: ss.ms_ssim(a, a), lambda: ss.diversity(a)):
        with pytest.raises(UserError, match="161 pixels.*small='progan'"):
            refused()


def test_161_pixels_are_enough():
    a, b = pairs(1, 161)
    assert 0 < ss.ms_ssim(a, b)[0] < 1


@pytest.mark.parametrize("side", [28, 64])
def test_small_images_are_compared_with_a_shrunken_window_on_demand(side):
    """Written out: windows of at most the scale's own size, even ones centered between pixels, deviations in
    proportion."""
    a, b = pairs(2, side, noise=10.0)
    expected = np.ones(2)
    for n in range(2):
        x, y = (image[n, ..., 0].astype(float) for image in (a, b))
        for scale, weight in enumerate(ss.WEIGHTS):
            size = min(11, *x.shape)
            whole, contrast = by_hand(x, y, size, 1.5 * size / 11)
            expected[n] *= max(whole if scale == 4 else contrast, 0) ** weight
            x, y = (np.pad(z, [(0, z.shape[0] % 2)] * 2, mode="edge") for z in (x, y))
            x, y = ((z[::2, ::2] + z[1::2, ::2] + z[::2, 1::2] + z[1::2, 1::2]) / 4 for z in (x, y))
    np.testing.assert_allclose(ss.ms_ssim(a, b, small="progan"), expected, rtol=1e-9)


def test_where_the_window_fits_shrinking_it_changes_nothing():
    a, b = pairs(1, 176)
    assert ss.ms_ssim(a, b) == ss.ms_ssim(a, b, small="progan")


def test_chunks_do_not_change_a_bit(monkeypatch):
    a, b = pairs(5, 32)
    whole = ss.ssim(a, b)
    monkeypatch.setattr(ss, "CHUNK", 2)
    np.testing.assert_array_equal(ss.ssim(a, b), whole)


def test_ssim_refuses_images_of_two_sizes_or_smaller_than_its_window():
    for shapes in (((1, 16, 16, 1), (1, 32, 32, 1)), ((1, 10, 10, 1), (1, 10, 10, 1))):
        with pytest.raises(ValueError, match="one size"):
            ss.ssim(*(np.zeros(shape, np.uint8) for shape in shapes))


def test_by_default_every_image_is_in_one_pair_and_never_with_itself():
    chosen = ss.draw_pairs(np.arange(50, 61), None, np.random.RandomState(0))
    assert chosen.shape == (5, 2) and len(set(chosen.ravel())) == 10 and chosen.min() >= 50


def test_drawn_pairs_are_any_two_different_members_all_alike():
    chosen = ss.draw_pairs(np.array([3, 5, 9]), 60_000, np.random.RandomState(0))
    found, counts = np.unique(chosen, axis=0, return_counts=True)
    assert [tuple(pair) for pair in found] == [(3, 5), (3, 9), (5, 3), (5, 9), (9, 3), (9, 5)]
    assert abs(counts - 10_000).max() < 5 * np.sqrt(10_000 * 5 / 6)


def test_diversity_is_the_mean_over_pairs_and_1_for_one_image_repeated():
    a, b = pairs(1, 32)
    same = ss.diversity(np.repeat(a, 6, 0), small="progan")
    np.testing.assert_allclose(same.score, 1, rtol=1e-12)
    two = ss.diversity(np.concatenate([a, b]), pairs=7, small="progan")
    np.testing.assert_allclose(two.score, ss.ms_ssim(a, b, small="progan")[0], rtol=1e-12)
    assert two.pairs == 7 and two.error < 1e-12 and two.by_class == {}


def test_with_labels_pairs_are_within_a_class_and_a_class_of_one_image_has_none():
    """Two classes of one image each, repeated: within a class all pairs are 1, whatever is between them."""
    a, b = pairs(2, 32, noise=80.0)
    images, labels = np.concatenate([a[[0, 0, 0]], a[[1, 1]], b[:1]]), np.array([4, 4, 4, 7, 7, 9])
    result = ss.diversity(images, labels, pairs=20, small="progan")
    np.testing.assert_allclose([result.score, *result.by_class.values()], 1, rtol=1e-12)
    assert list(result.by_class) == [4, 7] and result.pairs == 40
    assert ss.diversity(images, pairs=20, small="progan").score < 0.95


def test_the_seed_decides_which_pairs():
    images = np.random.default_rng(0).integers(0, 256, (9, 16, 16, 1), np.uint8)
    scores = [ss.diversity(images, pairs=5, seed=seed, small="progan").score for seed in (0, 0, 1)]
    assert scores[0] == scores[1] != scores[2]


@pytest.mark.parametrize(
    "options,told",
    [
        ({"pairs": 0}, "at least 1"),
        ({"labels": np.arange(3)}, "of one class, and there are none"),
        ({"labels": np.zeros(2, int)}, "as many labels"),
    ],
)
def test_diversity_refuses_what_has_no_pairs(options, told):
    with pytest.raises(UserError, match=told):
        ss.diversity(np.zeros((3, 16, 16, 1), np.uint8), small="progan", **options)
