"""Where forgotten latents are sent: the optimal transport map, and who receives them."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg, stats

from gsu_jax.methods.ingredients import Transport, find_neighbors, fit_transport
from gsu_jax.methods.ingredients._transport import Neighbors, quantile, transport_matrix
from gsu_jax.models import Posteriors


def covariance(seed, size=5, spread=1.0):
    half = np.random.default_rng(seed).normal(size=(size, size)) * spread ** np.arange(size)
    return half @ half.T + 1e-2 * np.eye(size)


@pytest.mark.parametrize("spread", [1.0, 0.5])
def test_the_transport_turns_one_covariance_into_the_other(spread):
    source, target = covariance(0, spread=spread), covariance(1, spread=spread)
    matrix = np.asarray(transport_matrix(jnp.float32(source), jnp.float32(target)), np.float64)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-4)
    np.testing.assert_allclose(matrix @ source @ matrix, target, atol=1e-3 * target.max())
    assert np.linalg.eigvalsh(matrix).min() > 0


def test_the_transport_is_that_of_scipys_matrix_square_roots():
    source, target = covariance(2), covariance(3)
    root = linalg.sqrtm(source)
    inverse = np.linalg.inv(root)
    expected = inverse @ linalg.sqrtm(root @ target @ root) @ inverse
    found = transport_matrix(jnp.float32(source), jnp.float32(target))
    np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())


def test_the_transport_of_a_gaussian_to_itself_is_the_identity():
    same = jnp.float32(covariance(4))
    np.testing.assert_allclose(transport_matrix(same, same), np.eye(5), atol=1e-3)


def test_the_transport_moves_mean_to_mean_and_covariance_to_covariance():
    rng = np.random.default_rng(0)
    source, target = covariance(5, 3), covariance(6, 3)
    transport = Transport(
        jnp.array([1.0, 2, 3]),
        jnp.array([-1.0, 0, 4]),
        transport_matrix(jnp.float32(source), jnp.float32(target)),
    )
    moved = transport(jnp.float32(rng.multivariate_normal([1, 2, 3], source, size=50_000)))
    np.testing.assert_allclose(moved.mean(0), transport.target, atol=0.1)
    np.testing.assert_allclose(np.cov(moved.T), target, atol=0.05 * target.max())


def test_posteriors_have_the_moments_of_their_samples():
    rng = np.random.default_rng(0)
    mean = np.float32(rng.normal(size=(30, 2)) @ [[1, 0.5], [0, 1]])
    log_variance = np.float32(rng.normal(size=(30, 2)) - 1)
    samples = stats.norm(mean, np.exp(log_variance / 2)).rvs((20_000, 30, 2), random_state=0)
    found_mean, found_covariance = Posteriors(jnp.array(mean), jnp.array(log_variance)).moments()
    np.testing.assert_allclose(found_mean, samples.mean((0, 1)), atol=0.01)
    np.testing.assert_allclose(found_covariance, np.cov(samples.reshape(-1, 2).T), atol=0.01)


def test_one_image_has_a_transport_as_well():
    alone = Posteriors(jnp.array([[1.0, 2.0]]), jnp.array([[-2.0, -2.0]])).moments()[1]
    matrix = transport_matrix(alone, jnp.eye(2))
    np.testing.assert_allclose(matrix @ alone @ matrix, np.eye(2), atol=1e-4)


def test_an_image_of_twice_the_weight_counts_as_two():
    rng = np.random.default_rng(1)
    mean, log_variance = jnp.float32(rng.normal(size=(2, 3, 4)))
    weighted = Posteriors(mean, log_variance).moments(jnp.array([0.5, 0.25, 0.25]))
    twice = Posteriors(*(x[jnp.array([0, 0, 1, 2])] for x in (mean, log_variance))).moments()
    for found, expected in zip(weighted, twice, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


# Who receives


def cloud(center, n, spread=1.0, seed=0):
    """Latents around (center, 0, 0)."""
    z = np.random.default_rng(seed).normal(size=(n, 3)) * spread
    return jnp.float32(z + np.array([center, 0, 0]))


def certain(mean):
    """Posteriors of next to no variance."""
    return Posteriors(mean, jnp.full(mean.shape, -30.0))


def neighbors(forget, retain, ratio):
    return find_neighbors(certain(forget), certain(retain), ratio)


def nearest(found):
    return found.indices[: found.count].tolist()


def test_far_sets_do_not_overlap():
    assert neighbors(cloud(0.0, 200), cloud(20.0, 300, seed=1), 0.2).weight == 0.0


def test_images_among_the_forgotten_are_neighbors_of_half_a_weight():
    forget = cloud(0.0, 200)
    near, far = cloud(0.0, 60, spread=0.3, seed=1), cloud(20.0, 240, seed=2)
    found = neighbors(forget, jnp.concatenate([far, near]), 0.2)
    assert set(nearest(found)) == set(range(240, 300))
    assert found.weight == pytest.approx(0.5 * (1 - 60 / 300))


def test_a_partial_overlap_weighs_its_share():
    forget = cloud(0.0, 200)
    retain = jnp.concatenate([cloud(20.0, 270, seed=2), cloud(0.0, 30, spread=0.3, seed=1)])
    found = neighbors(forget, retain, 0.2)  # 30 of the 60 nearest lie among the forgotten
    assert found.weight == pytest.approx(0.25 * (1 - 60 / 300))


@pytest.mark.parametrize(("ratio", "count"), [(1e-3, 32), (0.2, 60), (5.0, 300)])
def test_as_many_are_neighbors_as_are_forgotten_within_bounds(ratio, count):
    same = cloud(0.0, 300)
    assert neighbors(same, 0.1 * same, ratio).count == count


def test_where_all_retained_are_neighbors_none_is_set_apart():
    same = cloud(0.0, 300)
    assert neighbors(same, 0.1 * same, ratio=1.0).weight == 0.0


def test_the_nearest_are_those_of_the_forgotten_latents_own_metric():
    forget = cloud(0.0, 400) * jnp.array([10.0, 1.0, 1.0])
    along, across = np.zeros((2, 60, 3), np.float32)
    along[:, 0], across[:, 1] = 8.0, 4.0  # 0.8 and 4 deviations; across is nearer in plain metric
    found = neighbors(forget, jnp.concatenate([along, across]), 0.5)
    assert set(nearest(found)) == set(range(60))


@pytest.mark.parametrize(("quantile", "weight"), [(0.88, 0.4), (0.92, 0.0)])
def test_the_overlap_ends_at_the_radius_of_nine_tenths_of_the_forgotten(quantile, weight):
    forget = cloud(0.0, 2000)
    covariance = jnp.cov(forget.T, bias=True)
    root = linalg.sqrtm(np.asarray(covariance, np.float64))
    centered = np.asarray(forget - forget.mean(0), np.float64)
    radius = np.quantile(np.linalg.norm(centered @ linalg.inv(root), axis=1), quantile)
    near = forget.mean(0) + radius * jnp.float32(root[0])
    retain = jnp.concatenate([jnp.tile(near, (40, 1)), cloud(30.0, 160, seed=1)])
    assert neighbors(forget, retain, 0.2).weight == pytest.approx(weight)


def test_a_handful_of_images_overlaps_with_nothing():
    forget, retain = cloud(0.0, 3), cloud(0.0, 300, seed=1)
    assert neighbors(forget, retain, ratio=0.01).weight < 0.05


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_the_moved_latents_have_the_moments_of_the_receiving(weight):
    forget = Posteriors(cloud(0.0, 200), jnp.full((200, 3), -1.0))
    near, far = cloud(0.0, 30, spread=0.3, seed=1), cloud(20.0, 270, seed=2)
    retain = Posteriors(jnp.concatenate([near, far]), jnp.full((300, 3), -2.0))
    transport = fit_transport(forget, retain, Neighbors(jnp.arange(300), 30, jnp.float32(weight)))
    weights = np.full(300, (1 - weight) / 300) + weight * (np.arange(300) < 30) / 30
    target, receiving = retain.moments(jnp.float32(weights))
    np.testing.assert_allclose(transport.target, target, rtol=1e-4, atol=1e-5)
    covariance = forget.moments()[1]
    moved = transport.matrix @ covariance @ transport.matrix
    np.testing.assert_allclose(moved, receiving, atol=1e-3 * float(receiving.max()))


def test_a_single_forgotten_image_is_sent_to_all_retained():
    forget = Posteriors(jnp.zeros((1, 3)), jnp.zeros((1, 3)))
    retain = Posteriors(cloud(3.0, 100), jnp.zeros((100, 3)))
    transport = fit_transport(forget, retain, find_neighbors(forget, retain, ratio=0.01))
    np.testing.assert_allclose(transport.target, retain.mean.mean(0), rtol=1e-5)


def test_the_overshoot_goes_past_the_mean_of_the_receiving():
    forget = Posteriors(cloud(0.0, 50), jnp.zeros((50, 3)))
    retain = Posteriors(cloud(20.0, 80, seed=1), jnp.zeros((80, 3)))
    near = find_neighbors(forget, retain, 0.5)
    short, far = (fit_transport(forget, retain, near, overshoot=o) for o in (0.0, 0.5))
    past = 0.5 * (short.target - short.origin)
    np.testing.assert_allclose(far.target, short.target + past, rtol=1e-5)
    np.testing.assert_array_equal(far.matrix, short.matrix)


# Sets with room


def with_room(latents, rows):
    """The same posteriors, and rows after them that are not there."""
    more = jnp.full((rows, latents.mean.shape[1]), 3.0)
    joined = (jnp.concatenate([x, more]) for x in latents[:2])
    return Posteriors(*joined, jnp.int32(len(latents.mean)))


@pytest.mark.parametrize("ratio", [1e-3, 0.4, 3.0])
def test_rows_that_are_not_there_change_no_map(ratio):
    forget, retain = certain(cloud(0.0, 120)), certain(cloud(1.0, 200, seed=1))
    maps = []
    for sets in ((forget, retain), (with_room(forget, 40), with_room(retain, 9))):
        near = find_neighbors(*sets, ratio)
        maps.append((nearest(near), near.weight, *fit_transport(*sets, near, 0.3)))
    for plain, roomy in zip(*maps, strict=True):
        np.testing.assert_allclose(plain, roomy, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 7, 50])
def test_a_quantile_is_numpys(count):
    values = np.random.default_rng(count).normal(size=60).astype(np.float32)
    values[count:] = np.inf
    for q in (0.0, 0.3, 0.9, 1.0):
        found = quantile(jnp.asarray(values), q, jnp.int32(count))
        np.testing.assert_allclose(found, np.quantile(values[:count], q), rtol=1e-5)
