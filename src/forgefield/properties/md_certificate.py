"""The certificate "ready for molecular dynamics": one page, passed or failed, with reasons."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from pydantic import Field

from forgefield import __version__
from forgefield.config import Schema
from forgefield.errors import DataError
from forgefield.files import write_text
from forgefield.properties.base import Curve, Progress, Property, PropertyResult, Quantity, silent
from forgefield.properties.md_checks import (
    Check,
    Watch,
    check_cold_curve,
    check_conservation,
    check_derivative,
    check_dimers,
    check_grades,
    check_phonons,
    check_run,
    runs,
)
from forgefield.properties.phonons import supercell_for
from forgefield.properties.relaxation import relax_cell, require_relaxed
from forgefield.properties.structures import require_crystal

__all__ = ["MD_CERTIFICATE", "CertificateSettings", "page"]


class CertificateSettings(Schema):
    """Settings of the certificate."""

    relax: bool = Field(
        default=True, description="relax cell and ions first; false: they must be at rest already"
    )
    length: float = Field(
        10.0, gt=0, description="simulation cell: least distance between opposite faces [Å]"
    )
    temperature: float = Field(300.0, gt=0, description="of the conservation and the strained runs [K]")
    hot_temperature: float = Field(1000.0, gt=0, description="of the hot run [K]")
    timestep: float = Field(1.0, gt=0, le=10, description="[fs]")
    steps: int = Field(2000, ge=40, description="of the conservation run; the others are half as long")
    strain: float = Field(0.05, gt=0, le=0.2, description="of the strained runs")
    drift_limit: float = Field(1e-3, gt=0, description="of the energy without a thermostat [eV/atom/ps]")
    grade_limit: float = Field(10.0, gt=0, description="highest extrapolation grade allowed")
    dimer_barrier: float = Field(
        5.0, gt=0, description="repulsion of two atoms before any hole [eV]; a collision at 1000 K has 0.1"
    )
    smallest_scale: float = Field(0.75, gt=0, lt=1, description="of the lengths of the compressed crystal")
    phonon_length: float = Field(8.0, gt=0, description="supercell of the phonons [Å]")
    imaginary_tolerance: float = Field(
        0.2, ge=0, description="imaginary frequencies that count as noise [THz]"
    )
    phases: tuple[str, ...] = Field(
        (), description="files of other phases known to be stable: phonons of them too"
    )
    seed: int = Field(0, ge=0, description="of velocities and thermostats")


def _phases(atoms: Atoms, files: tuple[str, ...]) -> dict[str, Atoms]:
    from ase.io import read
    from ase.io.formats import UnknownFileTypeError

    found = {f"the structure ({atoms.get_chemical_formula('metal')})": atoms}
    for name in files:
        try:
            other = read(name, index=-1)
        except (UnknownFileTypeError, OSError, ValueError, KeyError, IndexError, StopIteration) as error:
            raise DataError(f"`phases`: cannot read {name}: {error}") from None
        require_crystal(other, f"the phase {name}")
        found[Path(name).name] = other
    return found


def _compute(
    atoms: Atoms,
    calculator: Any,
    settings: CertificateSettings,
    *,
    folder: Path | None = None,
    progress: Progress = silent,
) -> PropertyResult:
    require_crystal(atoms, "the certificate")
    begin = time.perf_counter()
    phases = _phases(atoms, settings.phases)  # before anything is computed
    progress(0.0, "at rest")
    if settings.relax:
        atoms = relax_cell(atoms, calculator)
    else:
        require_relaxed(atoms, calculator)
        atoms = atoms.copy()
    cells = atoms.repeat(supercell_for(atoms, settings.length))
    rng, watch = np.random.default_rng(settings.seed), Watch(calculator)
    elements = sorted(set(atoms.get_chemical_symbols()))
    checks = [
        check_derivative(cells, calculator, settings.seed),
        check_dimers(elements, calculator, settings.dimer_barrier),
        check_cold_curve(atoms, calculator, settings.smallest_scale),
    ]
    for n, (name, phase) in enumerate(phases.items()):
        progress(0.1, f"phonons of {name}")
        start = atoms if n == 0 else phase
        checks.append(
            check_phonons(
                start,
                calculator,
                name,
                length=settings.phonon_length,
                tolerance=settings.imaginary_tolerance,
            )
        )
    progress(0.2, "energy conservation")
    checks.append(check_conservation(cells, calculator, watch, settings, rng))
    for n, (name, start, temperature) in enumerate(runs(cells, settings)):
        progress(0.5 + 0.12 * n, name)
        seed = int(rng.integers(2**31 - 100))
        checks.append(
            check_run(
                name, start, calculator, watch, settings, temperature=temperature, seed=seed, folder=folder
            )
        )
    checks.append(check_grades(watch, settings.grade_limit))
    return _result(checks, len(cells), settings, folder, time.perf_counter() - begin)


def _result(
    checks: list[Check], n_atoms: int, settings: CertificateSettings, folder: Path | None, seconds: float
) -> PropertyResult:
    count = {s: sum(c.status == s for c in checks) for s in ("passed", "failed", "not available")}
    curves: dict[str, Curve] = {}
    for check in checks:
        curves |= check.curves
    result = PropertyResult(
        name="md-certificate",
        quantities={
            "passed": Quantity(count["passed"], "", note=f"checks of {len(checks)}"),
            "failed": Quantity(
                count["failed"], "", note="READY FOR MD" if not count["failed"] else "NOT READY"
            ),
            "not_available": Quantity(count["not available"], ""),
            "seconds": Quantity(seconds, "s"),
        },
        conditions={
            "ready": count["failed"] == 0,
            "checks": [c.to_dict() for c in checks],
            "simulation_atoms": n_atoms,
            "version": __version__,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            **settings.model_dump(mode="json"),
        },
        curves=curves,
        warnings=tuple(f"{c.name}: {c.reason}" for c in checks if c.status == "failed"),
    )
    if folder is not None:
        write_text(folder / "md-certificate.html", page(result))
    return result


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Ready for molecular dynamics?</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h1 { font-size: 1.4rem } table { border-collapse: collapse; width: 100% }
td, th { text-align: left; padding: .4rem .6rem; border-bottom: 1px solid #ddd; vertical-align: top }
.passed { color: #00704f; font-weight: 600 } .failed { color: #b00020; font-weight: 600 } .none { color: #666 }
img { max-width: 100% } small { color: #555 }
</style></head><body>
<h1>Ready for molecular dynamics:
<span class="{{ 'passed' if ready else 'failed' }}">{{ 'yes' if ready else 'no' }}</span></h1>
<table><tr><th>Check</th><th>Result</th><th>Why</th></tr>
{% for c in checks %}<tr><td>{{ c.name }}</td>
<td class="{{ c.status if c.status != 'not available' else 'none' }}">{{ c.status }}</td><td>{{ c.reason }}</td></tr>
{% endfor %}</table>
<p><img alt="short range, compression and extrapolation" src="data:image/png;base64,{{ image }}"></p>
<p><small>{{ atoms }} atoms; settings: {% for k, v in settings.items() %}{{ k }} = {{ v }}{{ "; " if not loop.last }}{% endfor %}.
Forgefield {{ version }}, {{ date }}.</small></p>
</body></html>
"""


def page(result: PropertyResult) -> str:
    """Return the certificate as one HTML page that needs no other file."""
    import base64

    from jinja2 import Environment

    from forgefield.properties.picture import picture

    content = dict(result.conditions)
    known = CertificateSettings.model_fields
    template = Environment(autoescape=True).from_string(PAGE)
    return template.render(
        ready=content["ready"],
        checks=content["checks"],
        atoms=content["simulation_atoms"],
        version=content["version"],
        date=content["date"],
        settings={k: v for k, v in content.items() if k in known},
        image=base64.b64encode(picture(result)).decode("ascii") if result.curves else "",
    )


MD_CERTIFICATE = Property(
    "md-certificate",
    "ready for molecular dynamics? drift, short range, strain, heat, phonons, extrapolation",
    CertificateSettings,
    _compute,
)
