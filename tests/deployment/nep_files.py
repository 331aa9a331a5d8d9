"""Files made up for tests, from the format alone."""

from __future__ import annotations

import numpy as np


def made_up(
    elements=("Si",),
    version=4,
    *,
    zbl=None,
    cutoffs=(5.0, 4.0),
    l_max="4 2 1",
    n_higher=2,
    tail=(),
    seed=0,
):
    """Return the text of a nep.txt with random parameters, put together from the format alone."""
    rng = np.random.default_rng(seed)
    types, n, k, neurons = len(elements), (3, 2), (4, 5), 6
    dim = n[0] + 1 + (n[1] + 1) * (int(l_max.split()[0]) + n_higher)
    networks = 1 if version == 3 else types
    size = networks * (neurons * (dim + 2) + (version == 5)) + 1
    size += types**2 * sum((a + 1) * (b + 1) for a, b in zip(n, k, strict=True))
    parameters = [*rng.normal(0.0, 0.5, size), *rng.uniform(0.2, 1.0, dim), *tail]
    kind = f"nep{version}" + ("_zbl" if zbl else "")
    head = [
        f"{kind} {types} {' '.join(elements)}",
        *([zbl] if zbl else []),
        f"cutoff {' '.join(map(str, cutoffs))} 200 100",
        f"n_max {n[0]} {n[1]}",
        f"basis_size {k[0]} {k[1]}",
        f"l_max {l_max}",
        f"ANN {neurons} 0",
    ]
    return "\n".join(head) + "\n" + "".join(f"{v:15.7e}\n" for v in parameters)
