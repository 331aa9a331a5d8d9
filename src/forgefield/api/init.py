"""A configuration suggested by the data, written with a comment on every line."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.data import atomic_numbers
from pydantic import BaseModel
from torch import nn

from forgefield.api.describe import allowed_values, flow_yaml
from forgefield.api.recipe import KALMAN_NEURONS, QUALITIES, Quality, Workload, recipe
from forgefield.api.survey import FARTHEST, Survey, survey
from forgefield.data import SplitSettings, detect_conventions, get_stress, read, split
from forgefield.descriptors import DESCRIPTORS, make_descriptor, parse_settings
from forgefield.errors import ConfigError, DataError, LabelError, did_you_mean
from forgefield.formulas.zbl import COVALENT_RADII
from forgefield.models import MODELS, NetworkSettings, make_model
from forgefield.training.batches import elements_of
from forgefield.training.loss import LossSettings
from forgefield.training.settings import TRAINERS, RunSettings
from forgefield.training.weighting import WEIGHTINGS

__all__ = ["commented_yaml", "suggest", "suggest_cutoff", "suggest_repulsion"]

# ---- the values suggested, all in one place --------------------------------------------------------------------
CUTOFF = 5.0
"""Cutoff [Å] unless the number of neighbours says otherwise."""
FEWEST_NEIGHBOURS, MOST_NEIGHBOURS = 20.0, 60.0
"""Mean number of neighbours that the cutoff should give."""
SMALLEST_CUTOFF, LARGEST_CUTOFF = 3.0, 7.0
"""Limits [Å] of a suggested cutoff, whatever the neighbours."""
N_MAX: dict[Quality, int] = {"fast": 8, "standard": 8, "best": 10}
"""Radial functions, and basis functions of each; more lower forces by 2 to 4 % and take a quarter longer."""
L_MAX: dict[Quality, int] = {"fast": 4, "standard": 4, "best": 6}
"""Degree of the harmonics; six lowers the energy errors of some sets by a fifth and takes longer in use."""
INVARIANTS = ("four_body", "five_body", "q_112", "q_123", "q_233", "q_134")
"""All that nep.txt knows: the further four-body ones lower the force error on silicon by an eighth."""
SMALLEST_BATCH, LARGEST_BATCH = 1, 32
"""Structures per step: few, for they train best, unless there are so many that..."""
STEPS_PER_EPOCH = 100
"""... an epoch has more steps than this, or..."""
ATOMS_PER_STEP = 190
"""... a step has fewer atoms than this."""
SECONDS_PER_STEP, SECONDS_PER_PAIR = 1e-3, 1.2e-7
"""Cost of a step and of a neighbour, for one element [s]: a rough model."""
STEP_PER_ELEMENT, PAIR_PER_ELEMENT = 0.6, 0.6
"""Share that each further element adds to them."""
REPULSION, REPULSION_SHARE = 0.7, 0.95
"""The repulsion of nuclei ends at this part of the sum of two elements' radii (a bond has 0.85), or at this part of the nearest
distance in the data, so that it changes nothing there and..."""
LEAST_REPULSION, LARGEST_OUTER = 0.2, 2.5
"""... is left out where the data themselves reach closer than this part; largest end [Å], as in GPUMD."""
VALID_FRACTION, FEWEST_VALID = 0.05, 8
"""Part of the structures for validation where the data bring no split of their own, and the least number."""
TEST_FRACTION = 0.1
"""Part for testing where the data bring no split, from this many structures on:"""
FEWEST_FOR_TEST = 1000
# ----------------------------------------------------------------------------------------------------------------

COMMENT_COLUMN, LINE_LENGTH = 34, 118
SHORTENED = ("read",)
"""Sections named in one comment while all their settings are the defaults."""
KINDS: dict[str, Iterable[str]] = {
    "descriptor": DESCRIPTORS,
    "model": MODELS,
    "training": TRAINERS,
    "weights": WEIGHTINGS,
}


def suggest(
    data: Sequence[Atoms] | str | Path | Sequence[str | Path],
    *,
    paths: Sequence[str | Path] | None = None,
    quality: Quality | str = "standard",
) -> RunSettings:
    """Return settings that suit the data.

    Parameters
    ----------
    data : sequence of ase.Atoms, or path(s) of data files
    paths : sequence of paths, optional
        What the settings name as training data, where structures are given; default: ``data.xyz``.
    quality : {'fast', 'standard', 'best'}
        ``fast``: a look at the data in seconds to a minute; ``standard``: the best single potential of a few minutes;
        ``best``: a committee, which costs as many times more in training and in use as it has members.

    Raises
    ------
    ConfigError
        An unknown quality.
    DataError, LabelError
        The data cannot be read or hold no label.
    """
    wanted = next((q for q in QUALITIES if q == quality), None)
    if wanted is None:
        raise ConfigError(f"`quality` is {quality!r}: {did_you_mean(str(quality), QUALITIES)}")
    if isinstance(data, str | Path):
        data = [data]
    names = [item for item in data if isinstance(item, str | Path)]
    frames = read(names) if names else [item for item in data if isinstance(item, Atoms)]
    listed = [str(path) for path in (names or paths or ["data.xyz"])]
    return RunSettings.parse(_values(frames, survey(frames), listed, wanted))


def _values(frames: Sequence[Atoms], found: Survey, paths: list[str], quality: Quality) -> dict[str, Any]:
    if not any(found.n_with.values()):
        raise LabelError(
            f"none of the {found.n_structures} structures has an energy, force or stress label, so there is nothing "
            "to train on; check how the files name their labels"
        )
    shares, n_train = _split(frames)
    cutoff = suggest_cutoff(found)
    wanted = max(n_train / STEPS_PER_EPOCH, ATOMS_PER_STEP * found.n_structures / found.n_atoms)
    batch_size = min(max(math.ceil(wanted), SMALLEST_BATCH), LARGEST_BATCH)
    seconds = seconds_per_epoch(found, n_train, batch_size, cutoff)
    descriptor = {
        "kind": "nep",
        "cutoff_radial": cutoff,
        "cutoff_angular": cutoff,
        "n_max_radial": N_MAX[quality],
        "n_max_angular": N_MAX[quality],
        "basis_size_radial": N_MAX[quality],
        "basis_size_angular": N_MAX[quality],
        "l_max": L_MAX[quality],
        **dict.fromkeys(INVARIANTS, True),
    }
    species = elements_of(frames)
    parameters = {neurons: count_parameters(descriptor, species, neurons) for neurons in KALMAN_NEURONS}
    suited = recipe(quality, Workload(parameters, n_train, batch_size, seconds))
    given = {**LossSettings().weights(), **suited.pop("loss", {})}
    return {
        "title": f"{'-'.join(found.atoms_of)} potential",
        "data": {
            "train": paths,
            "split": shares,
            "stress_convention": suggest_convention(frames),
            "references": {"method": "auto" if found.n_with["energy"] else "none"},
        },
        "descriptor": descriptor,
        "zbl": suggest_repulsion(found),
        "loss": {name: weight if found.n_with[name] else 0.0 for name, weight in given.items()},
        **suited,
    }


def count_parameters(descriptor: dict[str, Any], species: Sequence[str], neurons: int) -> int:
    """Return the number of parameters of a potential with one hidden layer."""
    built = make_descriptor(parse_settings(descriptor), species)
    model = make_model(NetworkSettings(hidden=(neurons,)), built.n_features, len(species))
    own = [p for part in (built, model) if isinstance(part, nn.Module) for p in part.parameters()]
    return sum(p.numel() for p in own)


def seconds_per_epoch(found: Survey, n_train: int, batch_size: int, cutoff: float) -> float:
    """Estimate the time of a pass over the training structures on one core."""
    more = len(found.atoms_of) - 1
    steps = math.ceil(max(n_train, 1) / batch_size)
    pairs = max(n_train, 1) * found.n_atoms / found.n_structures * (found.neighbours(cutoff) + 1.0)
    per_step = SECONDS_PER_STEP * (1.0 + STEP_PER_ELEMENT * more)
    return steps * per_step + pairs * SECONDS_PER_PAIR * (1.0 + PAIR_PER_ELEMENT * more)


def suggest_convention(frames: Sequence[Atoms]) -> str:
    """Return ``detect`` where the data contradict the meaning of a stress label, else ``auto``."""
    if not any(get_stress(atoms) is not None for atoms in frames):
        return "auto"
    return "detect" if detect_conventions(frames).contradictions else "auto"


def suggest_repulsion(found: Survey) -> dict[str, float] | None:
    """Return settings of the nuclear repulsion that begins where the data end; None where it would be too short.

    Nothing in the data says that atoms may not pass through each other; a melt finds the holes in what was learned.
    """
    if found.nearest_share is None:
        return None
    factor = math.floor(100.0 * min(REPULSION, REPULSION_SHARE * found.nearest_share)) / 100.0
    if factor < LEAST_REPULSION:
        return None
    largest = 2.0 * max(COVALENT_RADII[atomic_numbers[name] - 1] for name in found.atoms_of)
    outer = min(math.ceil(10.0 * factor * largest) / 10.0, LARGEST_OUTER)
    return {"outer": outer, "typewise_factor": factor}


def suggest_cutoff(found: Survey) -> float:
    """Return the cutoff [Å] nearest to `CUTOFF` that gives a sensible number of neighbours."""
    grid = [round(0.1 * k, 1) for k in range(round(10 * SMALLEST_CUTOFF), round(10 * LARGEST_CUTOFF) + 1)]
    grid = [c for c in grid if c <= FARTHEST]
    here = found.neighbours(CUTOFF)
    if here > MOST_NEIGHBOURS:
        return max((c for c in grid if found.neighbours(c) <= MOST_NEIGHBOURS), default=SMALLEST_CUTOFF)
    if here < FEWEST_NEIGHBOURS:
        return min((c for c in grid if found.neighbours(c) >= FEWEST_NEIGHBOURS), default=LARGEST_CUTOFF)
    return CUTOFF


def _split(frames: Sequence[Atoms]) -> tuple[dict[str, Any], int]:
    """Return split settings and the number of training structures: a split of the data's own is kept."""
    roles = [a.info.get("split") for a in frames]
    n = len(frames)
    has_test, has_valid = "test" in roles, "valid" in roles
    valid = 0.0 if has_valid else min(max(VALID_FRACTION, FEWEST_VALID / n), 0.2)
    test = TEST_FRACTION if not has_test and not has_valid and n >= FEWEST_FOR_TEST else 0.0
    free = n - roles.count("test") - roles.count("valid")
    values = {"valid": round(valid, 3), "test": test}
    try:
        split(frames, SplitSettings.parse(values))
    except DataError:  # too few, or too few of each group, to spare any
        valid = values["valid"] = 0.0
    return values, math.floor(free * (1.0 - valid - test))


def commented_yaml(settings: RunSettings) -> str:
    """Return the settings as YAML with the meaning, unit and allowed values of each in a comment.

    The text parses back to the same settings.
    """
    lines = [
        "# Configuration of a training run. Start it with: forgefield train THIS_FILE -o run",
        "# Every setting is listed with its meaning and what it may hold; lines may be left out.",
    ]
    return "\n".join([*lines, *_lines(settings, 0)]) + "\n"


def _lines(settings: BaseModel, depth: int, parent: str = "") -> Iterator[str]:
    indent = "  " * depth
    after_section = depth == 0  # a blank line sets sections apart
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if name in SHORTENED and value == field.get_default(call_default_factory=True):
            known = ", ".join(type(value).model_fields)
            text = f"{name}: {field.description}; not needed here. Settings: {known}"
            for part in textwrap.wrap(text, LINE_LENGTH - len(indent) - 2):
                yield f"{indent}# {part}"
            continue
        if isinstance(value, BaseModel):
            if depth == 0:
                yield ""
            yield f"{indent}{name}:" + (f"  # {field.description}" if field.description else "")
            yield from _lines(value, depth + 1, name)
            after_section = True
            continue
        if depth == 0 and after_section:
            yield ""
        after_section = False
        kinds = KINDS.get(parent, {}) if name == "kind" else {}
        allowed = " | ".join(kinds) if kinds else allowed_values(field)
        comment = "; ".join(part for part in (field.description, allowed) if part)
        plain = settings.model_dump(mode="json", include={name})[name]
        line = f"{f'{indent}{name}: {flow_yaml(plain)}':<{COMMENT_COLUMN}}  # {comment}"
        if len(line) <= LINE_LENGTH:
            yield line
            continue
        for part in textwrap.wrap(comment, LINE_LENGTH - len(indent) - 2):
            yield f"{indent}# {part}"
        yield f"{indent}{name}: {flow_yaml(plain)}"
