"""`read`: data files of any known format to a list of frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ase import Atoms

from forgefield.data.frames import IncompleteError, RawFrame, Where, canonical
from forgefield.data.options import ReadOptions, parse_index
from forgefield.data.readers import FORMATS, Format, find_format, recognise
from forgefield.data.sources import candidate, expand
from forgefield.errors import DataError

__all__ = ["iterate", "read"]


def read(
    paths: str | Path | Sequence[str | Path],
    *,
    format: str | None = None,  # noqa: A002  (the word the user knows)
    options: ReadOptions | None = None,
) -> list[Atoms]:
    """Read structures with their labels.

    Parameters
    ----------
    paths : str, Path or sequence of them
        Files, folders (searched through) and patterns such as ``run*/OUTCAR``; ``.gz``, ``.bz2`` and ``.xz``
        are decompressed on the way.
    format : str or None
        Name of the format of all files; None lets each file decide.
    options : ReadOptions or None
        Units, conventions and names that are not the format's own.

    Returns
    -------
    list of ase.Atoms
        Each with a `SinglePointCalculator` that holds the labels found: energy [eV], forces [eV/Å], stress
        [eV/Å^3, ASE]. ``info`` has ``config_type``, a unique ``name``, ``source`` and what else was known.

    Raises
    ------
    DataError
        Nothing found, an unknown format, or a damaged file; the place is named.
    """
    options = options or ReadOptions()
    frames: list[Atoms] = []
    for path, form, label in _named_files(paths, format, options):
        frames.extend(_read_file(path, label, form, options))
    return frames


def iterate(
    paths: str | Path | Sequence[str | Path],
    *,
    format: str | None = None,  # noqa: A002  (as in `read`)
    options: ReadOptions | None = None,
) -> Iterator[Atoms]:
    """Yield structures one by one, for files that do not fit into memory; see `read`.

    Raises
    ------
    DataError
        See `read`; also for `read.index`, which counts from all structures of a file.
    """
    options = options or ReadOptions()
    if options.index is not None:
        raise DataError("`data.read.index` needs all structures of a file at once; cut the files instead")
    for path, form, label in _named_files(paths, format, options):
        count, notes = 0, list[str]()
        reader = form.read(path, options)
        while (raw := _next(reader, notes, allow=options.allow_incomplete and count > 0)) is not None:
            yield _named(raw, path, label, count, options)
            count += 1
        if not count:
            raise DataError(f"{path}: no structures found in this {form.title} file")


def _named_files(
    paths: str | Path | Sequence[str | Path], form: str | None, options: ReadOptions
) -> list[tuple[Path, Format, str]]:
    wanted = form or options.format
    files = _files(expand(paths), None if wanted is None else find_format(wanted))
    labels = _labels([(path, label) for path, label, _ in files])
    return [(path, known, label) for (path, _, known), label in zip(files, labels, strict=True)]


def _files(paths: list[Path], form: Format | None) -> list[tuple[Path, str, Format]]:
    """Return (file, label, format) of everything to read."""
    found: list[tuple[Path, str, Format]] = []
    for path in paths:
        if path.is_dir():
            found.extend(_folder(path, form))
        elif form is not None:
            candidate(path)
            found.append((path, path.name, form))
        else:
            known, _ = recognise(path)
            if known is None:
                raise DataError(
                    f"{path}: the format is not recognised; name one with `format`: {', '.join(FORMATS)}"
                )
            found.append((path, path.name, known))
    return found


def _folder(folder: Path, form: Format | None) -> Iterator[tuple[Path, str, Format]]:
    """Find the readable files of a folder and those below it."""
    count = 0
    pending = [folder]
    while pending:
        path = pending.pop(0)
        known = _known(path, form)
        if known is not None:
            label = folder.name if path == folder else f"{folder.name}/{path.relative_to(folder).as_posix()}"
            count += 1
            yield path, label, known
        elif path.is_dir():
            pending[:0] = sorted(child for child in path.iterdir() if not child.name.startswith("."))
    if not count:
        what = "of any known format" if form is None else f"of the format {form.name!r}"
        raise DataError(f"{folder}: no data {what} in this folder; formats: {', '.join(FORMATS)}")


def _known(path: Path, form: Format | None) -> Format | None:
    """Return the format of a path found in a folder; empty and unknown files are passed over."""
    try:
        known, file = recognise(path)
    except DataError:
        return None
    if form is None:
        return known
    return form if form.sniff(file) else None


def _labels(files: list[tuple[Path, str]]) -> list[str]:
    """Return short unique names: the file name, with folders before it where two files share it."""
    labels = [label for _, label in files]
    for depth in range(2, 64):
        counts = Counter(labels)
        if all(count == 1 for count in counts.values()):
            break
        labels = [
            "/".join(path.resolve().parts[-depth:]) if counts[label] > 1 else label
            for (path, _), label in zip(files, labels, strict=True)
        ]
    return labels


def _read_file(path: Path, label: str, form: Format, options: ReadOptions) -> list[Atoms]:
    frames: list[Atoms] = []
    notes: list[str] = []
    reader = form.read(path, options)
    while True:
        raw = _next(reader, notes, allow=options.allow_incomplete and bool(frames))
        if raw is None:
            break
        frames.append(_named(raw, path, label, len(frames), options))
    if not frames:
        raise DataError(f"{path}: no structures found in this {form.title} file")
    if notes:
        frames[-1].info["read_notes"] = (*frames[-1].info.get("read_notes", ()), *notes)
    return frames if options.index is None else frames[parse_index(options.index)]


def _next(reader: Iterator[RawFrame], notes: list[str], *, allow: bool) -> RawFrame | None:
    try:
        return next(reader, None)
    except IncompleteError as error:
        if not allow:
            raise
        notes.append(f"the file breaks off after this structure: {error}")
        return None


def _named(raw: RawFrame, path: Path, label: str, index: int, options: ReadOptions) -> Atoms:
    atoms = canonical(raw, options, Where(str(path), index, raw.line))
    if "name" in atoms.info:
        atoms.info["source_name"] = atoms.info["name"]
    atoms.info["name"] = f"{label}#{index}"
    atoms.info["source"] = str(path)
    return atoms
