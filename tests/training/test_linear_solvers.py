"""Solvers on compressed rows give what they would give on all rows; rows of products are derivatives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read
from sklearn.linear_model import ARDRegression, BayesianRidge, ElasticNet

from forgefield.api.train import train
from forgefield.descriptors import SO3
from forgefield.errors import ConfigError
from forgefield.models import make_model
from forgefield.models.potential import Potential
from forgefield.training.batches import LabelledSet
from forgefield.training.initialise import initialise
from forgefield.training.least_squares import Columns, LeastSquaresSettings, design_rows, fit_linear
from forgefield.training.linear import bayesian
from forgefield.training.linear.compress import Compressed, Compressor
from forgefield.training.linear.design import design_batch
from forgefield.training.linear.solvers import solve
from forgefield.training.loss import PRESETS, Loss, LossSettings

N_ROWS, N = 400, 9


@pytest.fixture
def problem():
    """Correlated columns of different sizes, some without use, and noise of 0.1."""
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((N_ROWS, N)) @ (np.eye(N) + 0.3 * rng.standard_normal((N, N)))
    rows *= 10.0 ** rng.uniform(-2, 2, N)
    truth = np.where(np.arange(N) % 3 == 0, 0.0, 1.0) / np.sqrt((rows**2).mean(axis=0))
    return rows, rows @ truth + 0.1 * rng.standard_normal(N_ROWS), truth


def compressed(rows, labels, parts=1):
    result = []
    for part in np.array_split(np.arange(len(rows)), parts):
        one = Compressor(rows.shape[1])
        for some in np.array_split(part, 7):
            one.add(rows[some], labels[some])
        result.append(one.result())
    return result


def nothing_free():
    return np.zeros(N, dtype=bool)


def standardised(rows, labels):
    return rows / np.sqrt((rows**2).mean(axis=0)), labels / np.sqrt((labels**2).mean())


def test_a_triangle_holds_all_sums_of_squares(problem):
    rows, labels, _ = problem
    (one,) = compressed(rows, labels)
    joined = Compressed.join(compressed(rows, labels, parts=4))
    for c in (one, joined):
        assert c.n_rows == N_ROWS
        assert len(c.rows) == N + 1
        assert np.allclose(c.rows.T @ c.rows, rows.T @ rows, rtol=1e-12)
        assert np.allclose(c.rows.T @ c.labels, rows.T @ labels, rtol=1e-10)
        assert c.labels @ c.labels == pytest.approx(labels @ labels, rel=1e-13)


@pytest.mark.parametrize("rcond", [1e-13, 1e-6, 0.02])
def test_svd_drops_what_it_says_and_zero_columns_get_zero(problem, rcond):
    rows, labels, _ = problem
    rows = np.column_stack([rows * 10.0 ** -np.linspace(0, 3, N), np.zeros(N_ROWS)])
    found = solve(
        compressed(rows, labels), np.zeros(N + 1, bool), LeastSquaresSettings(solver="svd", rcond=rcond)
    )
    u, s, vt = np.linalg.svd(rows, full_matrices=False)
    keep = s > rcond * s[0]
    assert found.rank == keep.sum() <= N
    assert np.allclose(found.values, vt[keep].T @ ((u.T @ labels)[keep] / s[keep]), rtol=1e-8)
    assert found.condition == pytest.approx(s[keep][0] / s[keep][-1], rel=1e-5)
    noise = ((labels - rows @ found.values) ** 2).sum() / (N_ROWS - keep.sum())
    assert found.noise == pytest.approx(noise, rel=1e-9)
    expected = noise * (vt[keep].T / s[keep] ** 2) @ vt[keep]
    assert np.allclose(found.covariance, expected, rtol=1e-7, atol=1e-12 * np.abs(expected).max())
    assert found.values[-1] == 0.0


def test_svd_is_least_squares_and_its_covariance_the_textbook_one(problem):
    rows, labels, _ = problem
    found = solve(compressed(rows, labels), nothing_free(), LeastSquaresSettings(solver="svd"))
    expected, squares, _, _ = np.linalg.lstsq(rows, labels)
    assert np.allclose(found.values, expected, rtol=1e-9)
    noise = squares[0] / (N_ROWS - N)
    assert found.noise == pytest.approx(noise, rel=1e-9)
    assert np.allclose(found.covariance, noise * np.linalg.inv(rows.T @ rows), rtol=1e-6)


def test_ridge_with_a_free_column_is_the_minimum_of_its_cost(problem):
    rows, labels, _ = problem
    free = np.arange(N) == 4
    found = solve(compressed(rows, labels), free, LeastSquaresSettings(solver="ridge", ridge=1e-2))
    norms = np.sqrt((rows**2).sum(axis=0))
    scaled = rows / norms
    basis, _ = np.linalg.qr(scaled[:, free])
    rest = scaled[:, ~free] - basis @ (basis.T @ scaled[:, ~free])
    cost = 1e-2 * np.linalg.svd(rest, compute_uv=False)[0] ** 2 * np.diag(~free)
    expected = np.linalg.solve(scaled.T @ scaled + cost, scaled.T @ labels)
    assert np.allclose(found.values * norms, expected, rtol=1e-9)
    covariance = found.noise * np.linalg.inv(scaled.T @ scaled + cost)
    assert np.allclose(found.covariance * np.outer(norms, norms), covariance, rtol=1e-8, atol=1e-14)


def test_bayesian_ridge_is_that_of_all_rows(problem):
    x, y = standardised(*problem[:2])
    (c,) = compressed(x, y)
    found = bayesian.bayesian_ridge(c.rows, c.labels, c.n_rows, tolerance=1e-12)
    reference = BayesianRidge(fit_intercept=False, tol=1e-12, max_iter=1000).fit(x, y)
    assert np.allclose(found.mean, reference.coef_, rtol=1e-6)
    assert found.noise == pytest.approx(1 / reference.alpha_, rel=1e-6)
    assert np.allclose(found.covariance, reference.sigma_, rtol=1e-5, atol=1e-12)


def test_ard_is_that_of_all_rows_and_drops_what_is_useless(problem):
    rows, labels, truth = problem
    x, y = standardised(rows, labels)
    (c,) = compressed(x, y)
    found = bayesian.ard(c.rows, c.labels, c.n_rows, tolerance=1e-9)
    reference = ARDRegression(fit_intercept=False, tol=1e-9, max_iter=1000, threshold_lambda=1e4).fit(x, y)
    assert np.allclose(found.mean, reference.coef_, rtol=1e-4, atol=1e-6)
    assert found.noise == pytest.approx(1 / reference.alpha_, rel=1e-4)
    solution = solve([c], nothing_free(), LeastSquaresSettings(solver="ard"))
    assert 1 <= solution.n_zero <= (truth == 0).sum()
    assert (truth[solution.values == 0] == 0).all()


@pytest.mark.parametrize("solver", ["lasso", "elastic_net"])
def test_magnitudes_cost_what_they_cost_on_all_rows(solver, problem):
    rows, labels, _ = problem
    settings = LeastSquaresSettings(solver=solver, alpha=0.03)
    found = solve(compressed(rows, labels), nothing_free(), settings)
    norms = np.sqrt((rows**2).sum(axis=0))
    ratio = 1.0 if solver == "lasso" else settings.l1_ratio
    alpha = 0.03 * np.abs((rows / norms).T @ labels).max() / (N_ROWS * ratio)
    reference = ElasticNet(alpha=alpha, l1_ratio=ratio, fit_intercept=False, tol=1e-10, max_iter=10**5)
    assert np.allclose(found.values * norms, reference.fit(rows / norms, labels).coef_, rtol=1e-3, atol=1e-2)
    strongest = solve(
        compressed(rows, labels), nothing_free(), LeastSquaresSettings(solver="lasso", alpha=1.0)
    )
    assert strongest.n_zero == N


def test_cross_validation_takes_the_best_strength_on_what_is_left_out():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((60, 40))
    labels = rows @ rng.standard_normal(40) + 8.0 * rng.standard_normal(60)
    free = np.zeros(40, dtype=bool)
    parts = compressed(rows, labels, parts=5)
    chosen = solve(parts, free, LeastSquaresSettings(solver="ridge", ridge=None)).strength

    def error(strength):
        total = 0.0
        for part in np.array_split(np.arange(60), 5):
            rest = np.setdiff1d(np.arange(60), part)
            settings = LeastSquaresSettings(solver="ridge", ridge=strength)
            x = solve(compressed(rows[rest], labels[rest]), free, settings).values
            total += float(((labels[part] - rows[part] @ x) ** 2).sum())
        return total

    assert 1e-4 < chosen < 1.0
    assert error(chosen) < min(error(chosen * 10**0.5), error(chosen / 10**0.5))
    lasso = solve(parts, free, LeastSquaresSettings(solver="lasso"))
    assert 1e-5 < lasso.strength < 1.0


# ---- quadratic models ----------------------------------------------------------------------------------------


def potential_of(frames, kind="quadratic", *, exact=False):
    descriptor = SO3(["Cu", "Au"], cutoff=3.8, n_max=2, l_max=1)
    potential = Potential(
        descriptor, make_model({"kind": kind}, descriptor.n_features, 2), exact_free_atom=exact
    )
    potential.to_dtype(torch.float64)
    data = LabelledSet(potential, frames)
    initialise(potential, data, "whitened", torch.Generator().manual_seed(0))
    return potential, data


@pytest.mark.parametrize("exact", [False, True])
def test_quadratic_rows_give_the_predictions(frames, *, exact):
    potential, data = potential_of(frames, exact=exact)
    batch = data.batch([1, 0, 3], torch.float64)
    columns = Columns.of(potential)
    x = columns.read(potential.model)
    for i, rows in zip([1, 0, 3], design_batch(potential, batch.graph), strict=True):
        predicted = potential.predict(frames[i])
        assert rows.energy @ x == pytest.approx(predicted.energy, rel=1e-11)
        assert np.allclose(rows.forces @ x, predicted.forces, rtol=0, atol=1e-11)
        stress = rows.strain_gradient @ x / frames[i].get_volume()
        assert np.allclose(stress, predicted.stress, rtol=0, atol=1e-12)
        alone = design_rows(potential, data.batch([i], torch.float64).graph)
        assert np.allclose(alone.forces, rows.forces, rtol=0, atol=1e-12)


def test_parameters_survive_reading_and_writing(frames):
    potential, _ = potential_of(frames)
    columns = Columns.of(potential)
    before = {k: v.clone() for k, v in potential.model.state_dict().items()}
    values = columns.read(potential.model)
    columns.write(potential.model, np.zeros(len(columns)))
    assert not any(p.any() for p in potential.model.parameters())
    columns.write(potential.model, values)
    assert all(torch.allclose(v, before[k], rtol=1e-14) for k, v in potential.model.state_dict().items())


@pytest.mark.parametrize("normalisation", sorted(PRESETS))
def test_quadratic_solution_has_no_gradient_of_the_loss(normalisation, frames):
    potential, data = potential_of(frames)
    settings = LossSettings(energy=2.0, forces=0.5, stress=1.5, normalisation=normalisation)
    fit = fit_linear(potential, data, settings, LeastSquaresSettings(ridge=1e-14))
    assert fit.solution.rank > potential.descriptor.n_features
    batch = data.batch(range(len(data)), torch.float64)
    out = potential.evaluate(batch.graph, training=True)
    terms = Loss(settings, data.scales()).terms(out, batch).values
    total = torch.stack([settings.weights()[k] * v for k, v in terms.items()]).sum()
    gradients = torch.autograd.grad(total, list(potential.model.parameters()))
    assert max(float(g.abs().max()) for g in gradients) < 1e-7 / PRESETS[normalisation].stress_unit


def test_row_weights_are_those_of_the_rows(frames):
    for k, atoms in enumerate(frames):
        atoms.info["config_type"] = "ab"[k % 2]
    potential, data = potential_of(frames, "linear")
    weights = {"a": (100.0, 1.0, 1e-6), "b": (3.0, 0.2, 0.0)}
    given = {g: dict(zip(("eweight", "fweight", "vweight"), w, strict=True)) for g, w in weights.items()}
    settings = LeastSquaresSettings(solver="svd", row_weights=given)
    fit = fit_linear(potential, data, LossSettings(), settings)
    rows, labels = [], []
    for k, atoms in enumerate(frames):
        e, f, v = weights["ab"[k % 2]]
        design = design_rows(potential, data.batch([k], torch.float64).graph)
        bars = 1.602176634e6
        stress = design.strain_gradient / atoms.get_volume() * bars
        rows += [
            e * design.energy[None] / len(atoms),
            f * design.forces.reshape(3 * len(atoms), -1),
            v * stress,
        ]
        labels += [[e * atoms.get_potential_energy() / len(atoms)], f * atoms.get_forces().ravel()]
        labels += [v * bars * atoms.get_stress()]
    expected = np.linalg.lstsq(np.concatenate(rows), np.concatenate(labels), rcond=1e-13)[0]
    assert np.allclose(fit.solution.values, expected, rtol=1e-6, atol=1e-9)
    with pytest.raises(
        ConfigError, match="lacks 'b': every group of the training data needs an entry, such as `b: "
    ):
        fit_linear(potential, data, LossSettings(), LeastSquaresSettings(row_weights={"a": given["a"]}))


def test_error_bars_are_those_of_repeated_fits(frames):
    """Noise on the labels, many times: the spread of predictions is the deviation that one fit states."""
    truth, _ = potential_of(frames, "linear")
    rng = np.random.default_rng(1)
    unseen = frames[0].copy()
    unseen.rattle(0.1, seed=7)
    energies, stated = [], []
    weights = {"default": {"eweight": 1.0, "fweight": 1.0, "vweight": 0.0}}
    exact = [truth.predict(a) for a in frames]
    for _ in range(40):
        noisy = []
        for atoms, p in zip(frames, exact, strict=True):
            copy = atoms.copy()
            copy.info = {"config_type": "default"}
            copy.calc = SinglePointCalculator(
                copy,
                energy=p.energy + 0.05 * len(atoms) * rng.standard_normal(),
                forces=p.forces + 0.05 * rng.standard_normal(p.forces.shape),
            )
            noisy.append(copy)
        learner = Potential(truth.descriptor, make_model({"kind": "linear"}, truth.descriptor.n_features, 2))
        learner.to_dtype(torch.float64)
        learner.scaler = truth.scaler
        fit = fit_linear(
            learner,
            LabelledSet(learner, noisy),
            LossSettings(),
            LeastSquaresSettings(solver="svd", row_weights=weights),
        )
        energies.append(learner.predict(unseen).energy)
        stated.append(fit.energy_deviation(learner, unseen))
    assert np.std(energies, ddof=1) == pytest.approx(np.mean(stated), rel=0.3)
    assert np.sqrt(fit.solution.noise) == pytest.approx(0.05, rel=0.3)
    assert fit.forces_deviation(learner, unseen).shape == (len(unseen), 3)


def test_no_error_bars_without_a_covariance(frames):
    potential, data = potential_of(frames, "linear")
    fit = fit_linear(potential, data, LossSettings(), LeastSquaresSettings(solver="lasso", alpha=0.01))
    with pytest.raises(ConfigError, match="bayesian_ridge"):
        fit.energy_deviation(potential, frames[0])
    with pytest.raises(ConfigError, match="folds"):
        fit_linear(potential, data, LossSettings(), LeastSquaresSettings(solver="lasso", folds=50))


@pytest.mark.parametrize(
    "training",
    [{"solver": "bayesian_ridge"}, {"solver": "ridge", "ridge": None, "folds": 3}],
    ids=["bayesian_ridge", "cross-validated"],
)
def test_a_run_from_settings(training, alloy_file, tmp_path):
    config = {
        "data": {"train": [str(alloy_file)]},
        "descriptor": {"kind": "so3", "cutoff": 4.2, "n_max": 2, "l_max": 1},
        "model": {"kind": "quadratic"},
        "training": {"kind": "least_squares", **training},
        "dtype": "float64",
        "threads": 1,
    }
    run = train(config, output=tmp_path / "run")
    frames = read(alloy_file, ":")
    labels = np.concatenate([a.get_forces() for a in frames])
    predicted = np.concatenate([run.potential.predict(a).forces for a in frames])
    assert np.sqrt(((predicted - labels) ** 2).mean()) < 0.1 * np.sqrt((labels**2).mean())
