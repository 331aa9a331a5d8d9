"""Trainings on stored features and derivatives against the ones that compute them in every step."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from ase import Atoms
from test_compiled_step import WEIGHTS, gradients, labelled

from forgefield import descriptors
from forgefield.engine.derivative_table import TableEngine, padded_features
from forgefield.engine.features import FeatureEngine
from forgefield.errors import ConfigError, ForgefieldError
from forgefield.models import make_model, parse_settings
from forgefield.models.potential import Potential
from forgefield.models.scaler import FeatureScaler
from forgefield.training import caching
from forgefield.training.batches import LabelledSet
from forgefield.training.caching import stored_bytes, stores_derivatives
from forgefield.training.compiled import CompiledObjective
from forgefield.training.gradient import GradientTrainer
from forgefield.training.loss import Loss, LossSettings
from forgefield.training.optimisers import OPTIMISERS, AdamSettings
from forgefield.training.rows import LinearRows
from forgefield.training.stored import StoredObjective
from forgefield.training.weighting import make_weighting, parse_weights

INDEX = [4, 0, 5, 2, 1]
SNAP = {"kind": "snap", "two_j_max": 4, "cutoff": 4.0}
ACSF = {"kind": "acsf", "cutoff": 4.0}
SO3 = {"kind": "so3", "n_max": 2, "l_max": 2, "cutoff": 4.0}
EXACT = 1e-10
SINGLE = 2e-5


def potential(
    descriptor: dict[str, object],
    elements: tuple[str, ...] = ("C", "Si"),
    *,
    model: str = "network",
    dtype: torch.dtype = torch.float64,
    exact: bool = False,
) -> Potential:
    torch.manual_seed(0)
    d = descriptors.make_descriptor(descriptors.parse_settings(descriptor), elements)
    values = {"kind": model} | ({"hidden": (9, 6)} if model == "network" else {})
    m = make_model(parse_settings(values), d.n_features, len(elements))
    m.reset_parameters()
    p = Potential(d, m, dict.fromkeys(d.species, -5.0), 1.7, exact_free_atom=exact).to_dtype(dtype)
    p.scaler.fit(torch.randn(200, d.n_features) + 1.0, "whitened")
    return p


def sets(p: Potential, elements: tuple[str, ...] = ("C", "Si")) -> tuple[LabelledSet, Loss]:
    data = LabelledSet(p, labelled(elements))
    return data, Loss(LossSettings(), data.scales())


def distance(a: object, b: object) -> float:
    """Largest difference, relative to the largest number."""
    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    return float(np.abs(x - y).max() / max(np.abs(x).max(), 1e-300))


@pytest.mark.parametrize("exact", [False, True], ids=["free", "exact"])
@pytest.mark.parametrize("model", ["network", "linear", "quadratic"])
def test_models_give_the_gradients_of_the_fused_step(model: str, exact: bool) -> None:
    p = potential(SNAP, model=model, exact=exact)
    data, loss = sets(p)
    expected = CompiledObjective(p, data, loss).gradient(INDEX, WEIGHTS)
    reference = gradients(p)
    got = StoredObjective(p, data, loss).gradient(INDEX, WEIGHTS)
    assert distance(expected.total, got.total) < EXACT
    for name in ("energy", "forces", "stress"):
        assert len(getattr(expected, name)) > 0
        assert distance(getattr(expected, name), getattr(got, name)) < EXACT
    largest = max(float(g.abs().max()) for g in reference.values())
    assert largest > 0
    for name, g in gradients(p).items():
        assert float((g - reference[name]).abs().max()) < EXACT * largest


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("descriptor", [SNAP, ACSF, SO3], ids=lambda d: str(d["kind"]))
def test_descriptors_and_threads_in_single_precision(descriptor: dict[str, object], threads: int) -> None:
    p = potential(descriptor, dtype=torch.float32)
    data, loss = sets(p)
    expected = CompiledObjective(p, data, loss).gradient(INDEX, WEIGHTS)
    reference = gradients(p)
    got = StoredObjective(p, data, loss, threads).gradient(INDEX, WEIGHTS)
    assert distance(expected.forces, got.forces) < SINGLE
    assert distance(expected.stress, got.stress) < SINGLE
    largest = max(float(g.abs().max()) for g in reference.values())
    assert max(float((g - reference[k]).abs().max()) for k, g in gradients(p).items()) < 5 * SINGLE * largest


def test_rows_are_pulled_back_alike() -> None:
    p = potential(SNAP)
    data, loss = sets(p)
    rows, pulled = [], []
    for make in (CompiledObjective, StoredObjective):
        found = LinearRows(make(p, data, loss), INDEX, WEIGHTS)
        u = np.random.default_rng(3).standard_normal(len(found))
        found.pull_back(u)
        rows.append(found.residuals)
        pulled.append(np.concatenate([g.numpy().ravel() for g in gradients(p).values()]))
    assert len(rows[0]) > 100
    assert distance(*rows) < EXACT
    assert distance(*pulled) < EXACT


def test_pull_back_needs_linearise() -> None:
    p = potential(SNAP, ("Si",))
    data, loss = sets(p, ("Si",))
    objective = StoredObjective(p, data, loss)
    objective.linearise([0])
    objective.terms([0])
    with pytest.raises(ForgefieldError, match="follows `linearise`"):
        objective.pull_back(np.zeros(1), np.zeros((16, 3)), np.zeros((1, 6)))


@pytest.mark.parametrize("elements", [("Si",), ("C", "Si")], ids=["Si", "SiC"])
def test_expected_batches_are_those_put_together_one_by_one(elements: tuple[str, ...]) -> None:
    p = potential(SNAP, elements, exact=True)
    data, loss = sets(p, elements)
    objective = StoredObjective(p, data, loss)
    batches = [[3, 1], [0], [5, 2, 4]]
    one_by_one = [objective.gradient(b, WEIGHTS) for b in batches]
    single = [x.batch for x in map(objective.batches.__getitem__, batches)]
    objective.expect(batches)
    assert all(tuple(b) in objective.batches._expected for b in batches)
    for b, before, alone in zip(batches, one_by_one, single, strict=True):
        together = objective.batches[b].batch
        for field in ("structures", "starts", "rows", "slots", "species"):
            assert np.array_equal(getattr(alone, field), getattr(together, field))
        assert objective.gradient(b, WEIGHTS).total == before.total


def test_small_cells_share_the_derivatives_of_images() -> None:
    """One atom has no other neighbours; every pair of atoms of a cell counts once however many images are near."""
    d = descriptors.make_descriptor(descriptors.parse_settings(SNAP), ("Si",))
    scaler = FeatureScaler(d.n_features).double()
    cells = [Atoms("Si", cell=[2.5] * 3, pbc=True)]
    cells.append(Atoms("Si2", [[0.0] * 3, [1.6] * 3], cell=[3.0] * 3, pbc=True))
    both = np.ones(2, dtype=bool)
    table = TableEngine(FeatureEngine(d, "float64", 1), scaler, np.float64).build(cells, both, both)
    assert [b - a for a, b in pairwise(table.first.tolist())] == [0, 1, 1]
    assert len(table.derivatives) == 6 + 2 * (3 + 6)
    none = np.zeros(2, dtype=bool)
    bare = TableEngine(FeatureEngine(d, "float64", 1), scaler, np.float64).build(cells, none, none)
    assert len(bare.derivatives) == 0
    assert np.array_equal(bare.features, table.features)


@pytest.mark.parametrize("descriptor", [SNAP, ACSF], ids=["snap", "acsf"])
def test_derivatives_are_those_of_central_differences(descriptor: dict[str, object]) -> None:
    d = descriptors.make_descriptor(descriptors.parse_settings(descriptor), ("C", "Si"))
    engine, h = FeatureEngine(d, "float64", 1), 1e-4
    atoms = labelled(("C", "Si"), 1)[0]
    one = np.ones(1, dtype=bool)
    table = TableEngine(engine, FeatureScaler(d.n_features).double(), np.float64).build([atoms], one, one)
    columns = np.zeros((len(atoms), 3, d.n_features))
    i, j = 0, int(table.neighbours[0])
    for c in range(3):
        values = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[j, c] += sign * h
            values.append(engine.compute(moved))
        columns[:, c] = (values[0] - values[1]) / (2 * h)
    got = table.derivatives[table.columns[i] : table.columns[i] + 3, : d.n_features]
    assert np.abs(got).max() > 1e-3
    assert distance(columns[i], got) < 1e-6


def trainer(frames: list[Atoms], kind: str, cache: str, **values: object) -> GradientTrainer:
    p = potential(SNAP)
    data = LabelledSet(p, frames)
    settings = OPTIMISERS[kind].Settings.model_validate({"epochs": 60, "cache": cache, **values})
    loss = LossSettings()
    weights = make_weighting(parse_weights({"kind": "fixed"}), loss.weights(), 0)
    return GradientTrainer(
        p, data, data, loss=Loss(loss, data.scales()), weights=weights, settings=settings, seed=0
    )


@pytest.mark.parametrize(
    ("kind", "values"),
    [("adam", {"batch_size": 2}), ("kalman", {"batch_size": 3}), ("lbfgs", {}), ("adamw", {"accumulate": 2})],
)
def test_optimisers_take_the_same_way(kind: str, values: dict[str, object]) -> None:
    frames, found = labelled(("C", "Si")), []
    for cache in ("auto", "none"):
        t = trainer(frames, kind, cache, **values)
        assert t.stored == (cache == "auto")
        assert (t.stored_bytes > 0) == t.stored
        t.epoch()
        found.append((t.epoch(), t.flat.detach().clone()))
    assert distance(found[0][1], found[1][1]) < 1e-7
    assert found[0][0]["loss_train"] == pytest.approx(found[1][0]["loss_train"], rel=1e-7)
    assert found[0][0]["forces_rmse_valid"] == pytest.approx(found[1][0]["forces_rmse_valid"], rel=1e-7)


def test_resumed_equals_uninterrupted() -> None:
    frames = labelled(("C", "Si"))
    whole, first, second = (trainer(frames, "adam", "derivatives", batch_size=2) for _ in range(3))
    for _ in range(4):
        whole.epoch()
    for _ in range(2):
        first.epoch()
    second.load_state(*first.state())
    for _ in range(2):
        second.epoch()
    assert torch.equal(whole.flat, second.flat)


def test_what_is_stored_and_how_large_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    p = potential(SNAP)
    data, loss = sets(p)
    wanted = stored_bytes(p, data)
    exact = StoredObjective(p, data, loss).stored_bytes
    assert exact <= wanted < 1.5 * exact
    assert padded_features(p.descriptor.n_features, np.float64) % 4 == 0
    auto = AdamSettings()
    assert stores_derivatives(auto, p, [data, data])
    for other in ({"cache": "none"}, {"backend": "torch"}, {"epochs": 3}):
        assert not stores_derivatives(auto.model_copy(update=other), p, [data])
    always = auto.model_copy(update={"cache": "derivatives", "epochs": 1})
    assert stores_derivatives(always, p, [data])
    with pytest.raises(ConfigError, match="only compiled kernels"):
        stores_derivatives(always.model_copy(update={"backend": "torch"}), p, [data])
    monkeypatch.setattr(caching, "physical_memory", lambda: 7 * wanted)
    assert stores_derivatives(auto, p, [data])
    assert not stores_derivatives(auto, p, [data, data])
    assert not stores_derivatives(auto, p, [data], processes=2)
    monkeypatch.setattr(caching, "physical_memory", lambda: None)
    assert not stores_derivatives(auto, p, [data])


def test_descriptors_that_are_trained_are_not_stored() -> None:
    p = potential({"kind": "nep"})
    data, loss = sets(p)
    assert not stores_derivatives(AdamSettings(), p, [data])
    with pytest.raises(ConfigError, match="NEP descriptor has parameters that are trained"):
        stores_derivatives(AdamSettings(cache="derivatives"), p, [data])
    with pytest.raises(ForgefieldError, match="cannot be stored"):
        StoredObjective(p, data, loss)


@pytest.mark.parametrize("decay", [0.0, 0.03])
@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_adam_is_that_of_torch(kind: str, decay: float) -> None:
    t = trainer(labelled(("C", "Si")), kind, "none", weight_decay=decay)
    x = torch.nn.Parameter(t.flat.detach().clone())
    method = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[kind]([x], weight_decay=decay)
    generator = torch.Generator().manual_seed(2)
    for rate in (1e-2, 3e-3, 1e-3):
        x.grad = torch.randn(len(x), generator=generator, dtype=x.dtype)
        t.flat.grad.copy_(x.grad)
        method.param_groups[0]["lr"] = rate
        method.step()
        t.optimiser.move(rate)
        assert torch.allclose(t.flat, x, rtol=1e-12, atol=1e-14)
    assert set(t.optimiser.state()) == {"mean_norm", "torch.step", "torch.exp_avg", "torch.exp_avg_sq"}
