"""Candidates of `recipe_selection.py`: overrides of the first recipe, tried in the order of four selections."""

from __future__ import annotations

__all__ = ["BATCH", "CANDIDATES", "EPOCHS", "PRESENT", "STEPS"]

STEPS, EPOCHS, BATCH = "steps=", "epochs=", "batch="
"""Prefixes of the least number of steps and of epochs, and of the share of the suggested step size, at the same epochs."""
PRESENT = [
    "training={kind: kalman}",
    "training.blocks=all",
    "training.block_size=7000",
    "weights.early={}",
    "loss.energy=1",
    "model.hidden=[24]",
]
"""The recipe that the candidates change: loss weights 1, 1, 0.1, 800 steps and at least 16 epochs."""
START = ["training.anchor=start"]
HEAVY = ["loss.energy=3", "loss.stress=0.3"]
QUIET = [*HEAVY, "training.variance=0.1"]
NAME = "energy 3, stress 0.3, variance 0.1"
THIRD = "third recipe"
"""Priors 3e-4 and 3e-2 of the output, 24 neurons and 4 probes unless said."""
BEST = "member of best"
"""40 neurons, 2 probes, l_max 6, output prior 1e-2."""
ADAMW = [
    "model.hidden=[40]",
    "loss.energy=0.3",
    "loss.stress=0.1",
    "weights.early={energy: 0.1, stress: 0.1}",
]


def _priors(rest: str, output: str = "null") -> list[str]:
    return [*QUIET, f"training.prior={rest}", f"training.output_prior={output}"]


CANDIDATES: dict[str, list[str]] = {
    "present": [],
    "prior 1e-4": ["training.prior=1e-4", *START],
    "prior 1e-3": ["training.prior=1e-3", *START],
    "prior 1e-3, 32 epochs": ["training.prior=1e-3", *START, "epochs=32"],
    "energy 3, stress 0.3": HEAVY,
    NAME: QUIET,
    "energy 1.5, forces 0.5, stress 0.15": ["loss.energy=1.5", "loss.forces=0.5", "loss.stress=0.15"],
    "energy 3, stress 0.3, prior 2e-5": [*HEAVY, "training.prior=2e-5", *START],
    "energy 3, stress 0.3, prior 5e-5": [*HEAVY, "training.prior=5e-5", *START],
    "energy 3, stress 0.3, prior 1e-4": [*HEAVY, "training.prior=1e-4", *START],
    "energy 3, stress 0.3, prior 2e-4": [*HEAVY, "training.prior=2e-4", *START],
    "energy 3, stress 0.3, prior 2e-4, 1600 steps": [*HEAVY, "training.prior=2e-4", *START, "steps=1600"],
    "energy 5, stress 0.5, prior 1e-4": ["loss.energy=5", "loss.stress=0.5", "training.prior=1e-4", *START],
    "energy 3, stress 0.3, l_max 6": [*HEAVY, "descriptor.l_max=6"],
    **{f"{NAME}, prior {rest} about zero": _priors(rest) for rest in ("1e-4", "3e-4", "1e-3", "3e-3")},
    **{
        f"{NAME}, priors {rest} and {output} of the output": _priors(rest, output)
        for rest, output in (("1e-3", "1e-2"), ("3e-4", "1e-2"), ("3e-4", "3e-2"), ("1e-4", "3e-2"))
    },
    **{
        f"{NAME}, priors {rest} and 1e-2 of the output, 40 neurons": [
            *_priors(rest, "1e-2"),
            "model.hidden=[40]",
        ]
        for rest in ("1e-3", "3e-4")
    },
    f"{NAME}, priors 1e-3 and 1e-2 of the output, 1600 steps": [*_priors("1e-3", "1e-2"), "steps=1600"],
    **{
        f"{THIRD}, {what}": [*_priors("3e-4", "3e-2"), *changes]
        for what, changes in {
            "one-pass covariance": [],
            "half batches": ["batch=0.5"],
            "quarter batches": ["batch=0.25"],
            "half batches, longer memory": ["batch=0.5", "training.forget_memory=0.99935"],
            "2 probes": ["training.probes=2"],
            "2 probes, half batches": ["training.probes=2", "batch=0.5"],
            "40 neurons": ["model.hidden=[40]"],
            "40 neurons, half batches": ["model.hidden=[40]", "batch=0.5"],
            "40 neurons, 2 probes": ["model.hidden=[40]", "training.probes=2"],
            "40 neurons, 2 probes, half batches": ["model.hidden=[40]", "training.probes=2", "batch=0.5"],
            "40 neurons, 2 probes, energy 2, stress 0.2": [
                "model.hidden=[40]",
                "training.probes=2",
                "loss.energy=2",
                "loss.stress=0.2",
            ],
            "40 neurons, 2 probes, 1e-2 of the output": [
                "model.hidden=[40]",
                "training.probes=2",
                "training.output_prior=1e-2",
            ],
        }.items()
    },
    **{
        f"{BEST}, {what}": [
            *_priors("3e-4", "1e-2"),
            "model.hidden=[40]",
            "training.probes=2",
            "descriptor.l_max=6",
            *more,
        ]
        for what, more in {
            "as suggested": [],
            "output prior 3e-3": ["training.output_prior=3e-3"],
            "priors 1e-4 and 3e-3": ["training.prior=1e-4", "training.output_prior=3e-3"],
            "32 epochs": ["epochs=32", "steps=1600"],
            "half batches": ["batch=0.5"],
            "energy 2, stress 0.2": ["loss.energy=2", "loss.stress=0.2"],
            "energy 2, stress 0.2, 24 epochs": [
                "loss.energy=2",
                "loss.stress=0.2",
                "epochs=24",
                "steps=1200",
            ],
            "n_max 10": [
                f"descriptor.{key}_{part}=10"
                for key in ("n_max", "basis_size")
                for part in ("radial", "angular")
            ],
            "cutoff 5.5": ["descriptor.cutoff_radial=5.5", "descriptor.cutoff_angular=5.5"],
        }.items()
    },
    **{
        f"AdamW, {epochs} epochs, weight decay {decay}": [
            f"training={{kind: adamw, weight_decay: {decay}, epochs: {epochs}, batch_size: 6}}",
            *ADAMW,
        ]
        for epochs, decay in ((120, 0.02), (120, 0.1), (480, 0.02), (480, 0.1))
    },
}
"""Overrides of `PRESENT`."""
