"""What a simulation looks like: a picture of its log and structure, and a film of its atoms."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ase.io
import numpy as np
from ase import Atoms
from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors
from numpy.typing import NDArray

from forgefield.errors import ConfigError, SimulationError
from forgefield.files import write_bytes
from forgefield.graph import neighbour_pairs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_md", "film_md", "pair_distribution", "recorded"]

FloatArray = NDArray[np.float64]

REACH = 8.0
"""Distance [Å] up to which pairs are counted."""
BINS = 160
LAST = 20
"""Frames of the second half of a simulation that pairs are counted in."""
MOST_FRAMES = 120
"""Frames of a film; longer trajectories are thinned."""
FRAMES_PER_SECOND = 12
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Told apart by colour-blind readers: M. Okabe and K. Ito (2008)."""


def pair_distribution(frames: Sequence[Atoms]) -> tuple[FloatArray, dict[str, FloatArray]]:
    """Return the radial distribution function of each pair of elements.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Periodic in three directions.

    Returns
    -------
    distances : (`BINS`,) array [Å]
        Middles of the bins.
    functions : dict of str to (`BINS`,) array
        By pair, such as ``O-Si``; tends to 1 where positions are uncorrelated.
    """
    edges = np.linspace(0.0, REACH, BINS + 1)
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    numbers = np.unique(frames[0].numbers)
    found = {(a, b): np.zeros(BINS) for n, a in enumerate(numbers) for b in numbers[n:]}
    for atoms in frames:
        i, j, _, vectors = neighbour_pairs(atoms, REACH)
        distances = np.sqrt((vectors * vectors).sum(axis=1))
        for a, b in found:
            chosen = (atoms.numbers[i] == a) & (atoms.numbers[j] == b)
            counts = np.histogram(distances[chosen], edges)[0]
            density = np.count_nonzero(atoms.numbers == b) / abs(atoms.get_volume())
            found[a, b] += counts / (np.count_nonzero(atoms.numbers == a) * density * shells * len(frames))
    names = {(a, b): "-".join(sorted((chemical_symbols[a], chemical_symbols[b]))) for a, b in found}
    return 0.5 * (edges[1:] + edges[:-1]), {names[pair]: values for pair, values in found.items()}


def draw_md(rows: Sequence[Mapping[str, Any]], frames: Sequence[Atoms], path: str | Path) -> Path:
    """Draw temperature, energy, pressure and radial distribution.

    Parameters
    ----------
    rows : sequence of mappings
        The log; columns as in `md_record.COLUMNS`.
    frames : sequence of ase.Atoms
        The trajectory; may be empty.
    path : str or Path
        PNG, or what else its ending says that matplotlib knows (.svg, .pdf).

    Raises
    ------
    ConfigError
        Its ending is unknown, or there are no rows.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    target, kind = Path(path), _kind(Path(path))
    if not rows:
        raise ConfigError("the log has no rows; nothing to draw")
    figure = Figure(figsize=(10.0, 7.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2)
    time = _column(rows, "time_fs") / 1000.0
    n_atoms = len(frames[0]) if frames else 1
    per_atom = " [eV/atom]" if frames else " [eV]"
    _curve(axes[0, 0], time, _column(rows, "temperature_K"), "temperature [K]", COLOURS[1])
    energy = axes[0, 1]
    for name, colour in (("potential", COLOURS[0]), ("total", COLOURS[4]), ("conserved", COLOURS[2])):
        values = _column(rows, f"{name}_eV") / n_atoms
        if np.isfinite(values).any():
            energy.plot(time, values - values[0], label=name, color=colour, linewidth=1.2)
    energy.set(xlabel="time [ps]", ylabel=f"energy - first{per_atom}")
    energy.legend(frameon=False, fontsize="small")
    _curve(axes[1, 0], time, _column(rows, "pressure_GPa"), "pressure [GPa]", COLOURS[3])
    _draw_pairs(axes[1, 1], [atoms for atoms in frames if atoms.pbc.all()])
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=120)
    return write_bytes(target, buffer.getvalue())


def _kind(path: Path) -> str:
    """Return the format of a picture, by the ending of its file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    kinds = FigureCanvasAgg.get_supported_filetypes()
    kind = path.suffix.removeprefix(".").lower() or "png"
    if kind not in kinds:
        raise ConfigError(
            f"cannot draw {path.name}: a picture may end in {', '.join('.' + k for k in kinds)}"
        )
    return kind


def _check_film(path: Path) -> None:
    if path.suffix.lower() != ".gif":
        raise ConfigError(f"a film ends in .gif, got {path.name}")


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> FloatArray:
    return np.array([np.nan if row[name] in ("", None) else float(row[name]) for row in rows])


def _curve(axes: Axes, time: FloatArray, values: FloatArray, label: str, colour: str) -> None:
    axes.set(xlabel="time [ps]", ylabel=label)
    if not np.isfinite(values).any():
        axes.text(0.5, 0.5, "not defined", transform=axes.transAxes, ha="center", color="0.5")
        return
    axes.plot(time, values, color=colour, linewidth=1.2)
    mean = float(np.nanmean(values[len(values) // 5 :]))
    axes.axhline(mean, color="0.4", linewidth=0.8, linestyle="--")
    axes.set_title(f"mean {mean:.5g}", fontsize="small", loc="right", color="0.3")


def _draw_pairs(axes: Axes, frames: list[Atoms]) -> None:
    axes.set(xlabel="distance [Å]", ylabel="g(r)")
    if not frames:
        axes.text(0.5, 0.5, "not defined", transform=axes.transAxes, ha="center", color="0.5")
        return
    half = frames[len(frames) // 2 :]
    chosen = half[:: max(1, len(half) // LAST)]
    r, functions = pair_distribution(chosen)
    for n, (name, values) in enumerate(functions.items()):
        axes.plot(r, values, label=name, color=COLOURS[n % len(COLOURS)], linewidth=1.2)
    axes.axhline(1.0, color="0.7", linewidth=0.8)
    axes.legend(frameon=False, fontsize="small")
    axes.set_title(f"{len(chosen)} frames of the second half", fontsize="small", loc="right", color="0.3")


def film_md(frames: Sequence[Atoms], path: str | Path) -> Path:
    """Film the atoms of a trajectory, seen from the side; those in front are drawn last.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Always the same atoms.
    path : str or Path
        Ends in ``.gif``.

    Raises
    ------
    ConfigError
        It ends in something else, or there are no frames.
    """
    from matplotlib.animation import FuncAnimation, PillowWriter
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    target = Path(path)
    _check_film(target)
    if not frames:
        raise ConfigError("the trajectory has no frames; nothing to film")
    chosen = frames[:: -(-len(frames) // MOST_FRAMES)]
    figure = Figure(figsize=(5.0, 5.0))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.02, 0.02, 0.96, 0.92))
    axes.set_axis_off()
    axes.set_aspect("equal")
    corners = np.concatenate([_seen(_corners(atoms)) for atoms in chosen])
    low, high = corners[:, :2].min(axis=0) - 1.0, corners[:, :2].max(axis=0) + 1.0
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    radius = covalent_radii[chosen[0].numbers]
    size = 72.0 * 0.94 * 5.0 / float((high - low).max())  # points for each Å
    points = axes.scatter([], [], linewidths=0.3, edgecolors="0.2")
    box = [axes.plot([], [], color="0.6", linewidth=0.7, zorder=0)[0] for _ in range(12)]
    title = figure.text(0.5, 0.96, "", ha="center", fontsize="small", color="0.3")

    def draw(n: int) -> list[Any]:
        atoms = chosen[n]
        wrapped = atoms.get_positions(wrap=bool(atoms.pbc.any()))
        seen = _seen(wrapped)
        order = np.argsort(seen[:, 2])
        points.set_offsets(seen[order, :2])
        points.set_sizes((1.3 * radius[order] * size) ** 2)
        points.set_facecolor(jmol_colors[atoms.numbers[order]])
        for line, (a, b) in zip(box, _edges(atoms), strict=False):
            line.set_data(*_seen(np.stack([a, b]))[:, :2].T)
        time = atoms.info.get("time_fs")
        title.set_text("" if time is None else f"{float(time) / 1000.0:.3f} ps")
        return [points, title, *box]

    film = FuncAnimation(figure, draw, frames=len(chosen), blit=False)
    with tempfile.TemporaryDirectory(prefix="forgefield-film-") as scratch:
        inside = Path(scratch, "film.gif")
        film.save(str(inside), writer=PillowWriter(fps=FRAMES_PER_SECOND), dpi=90)
        return write_bytes(target, inside.read_bytes())


def _seen(positions: FloatArray) -> FloatArray:
    """Turn positions (n, 3) so that x and y lie in the picture and z points at the reader."""
    a, b = np.deg2rad(-72.0), np.deg2rad(14.0)
    tilt = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    return np.asarray(positions @ (tilt @ turn).T)


def _corners(atoms: Atoms) -> FloatArray:
    grid = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), axis=-1).reshape(-1, 3)
    if atoms.cell.rank == 0:
        return np.stack([atoms.positions.min(axis=0), atoms.positions.max(axis=0)])
    corners = grid @ atoms.cell.array
    return corners if atoms.pbc.all() else np.concatenate([corners, atoms.positions])


def _edges(atoms: Atoms) -> list[tuple[FloatArray, FloatArray]]:
    """Return the ends of the twelve edges of the cell; none without a cell."""
    if atoms.cell.rank < 3:
        return []
    cell = atoms.cell.array
    found = []
    for a in range(3):
        b, c = (a + 1) % 3, (a + 2) % 3
        for m in (0, 1):
            for n in (0, 1):
                start = m * cell[b] + n * cell[c]
                found.append((start, start + cell[a]))
    return found


@contextmanager
def recorded(
    trajectory: Path | None, log: Path | None, picture: Path | None, movie: Path | None
) -> Iterator[Callable[[], tuple[Path | None, Path | None]]]:
    """Provide for files of trajectory and log, and draw what is asked for when the simulation is over.

    What broke down is drawn too, before the error goes on.

    Parameters
    ----------
    trajectory, log : Path, optional
        Where they are to be kept; else they are written to a temporary folder where pictures need them.
    picture, movie : Path, optional

    Yields
    ------
    callable
        Returns the paths to simulate with.
    """
    for path, check in ((picture, _kind), (movie, _check_film)):
        if path is not None:
            check(path)
            if not path.absolute().parent.is_dir():
                raise ConfigError(f"the folder of {path} does not exist; make it first")
    with tempfile.TemporaryDirectory(prefix="forgefield-md-") as scratch:
        used = trajectory, log
        if picture is not None or movie is not None:
            used = trajectory or Path(scratch, "md.traj"), log or Path(scratch, "md.csv")
        try:
            yield lambda: used
        except SimulationError:
            _draw(*used, picture, movie)
            raise
        _draw(*used, picture, movie)


def _draw(trajectory: Path | None, log: Path | None, picture: Path | None, movie: Path | None) -> None:
    if trajectory is None or log is None or not (trajectory.exists() and log.exists()):
        return
    frames = list(ase.io.read(trajectory, index=":")) if trajectory.stat().st_size else []
    with log.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if picture is not None and rows:
        draw_md(rows, frames, picture)
    if movie is not None and frames:
        film_md(frames, movie)
