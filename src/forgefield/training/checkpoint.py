"""Checkpoints: one safetensors file with a JSON header, written atomically, no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from forgefield.errors import CheckpointError
from forgefield.files import write_bytes

__all__ = ["FORMAT", "read_checkpoint", "write_checkpoint"]

FORMAT = 3
"""Second: the covariance of the Kalman filter in rows, with what is still to be taken from it. Third: the history as
tensors, the plateaus as a count.
"""


def write_checkpoint(
    path: str | Path, tensors: Mapping[str, Tensor], values: Mapping[str, Any], run: str
) -> None:
    """Write a checkpoint.

    Parameters
    ----------
    path : path
    tensors, values : what the trainer's ``state()`` returned
    run : str
        Fingerprint of configuration and data; another run's checkpoint is refused.
    """
    header = {"format": FORMAT, "run": run, "values": values}
    metadata = {"forgefield_checkpoint": json.dumps(header, allow_nan=True)}
    write_bytes(path, save_tensors(dict(tensors), metadata=metadata))


def read_checkpoint(path: str | Path, run: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and values of a checkpoint of the same run.

    Raises
    ------
    CheckpointError
        The file is missing, damaged, from a newer version, or belongs to another configuration or data set.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error.strerror or error}") from None
    try:
        size = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + size]).get("__metadata__", {})
        header = json.loads(metadata["forgefield_checkpoint"])
        tensors = load_tensors(content)
    except (SafetensorError, ValueError, KeyError, MemoryError, OverflowError) as error:
        raise CheckpointError(
            f"{path} is damaged or not a checkpoint ({error}); delete it and start without --resume"
        ) from None
    if header["format"] != FORMAT:
        raise CheckpointError(
            f"{path} has checkpoint format {header['format']}, this version reads {FORMAT}; continue with the version "
            "that wrote it, or start anew without --resume"
        )
    if header["run"] != run:
        raise CheckpointError(
            f"{path} belongs to another configuration or data set; resume with the same config and data, or start "
            "anew in another folder"
        )
    return tensors, header["values"]
