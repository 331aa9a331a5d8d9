"""A potential as a driver of i-PI: path integrals, replica exchange and all else i-PI does.

i-PI loads this file by its path, inside its own process or in ``i-pi-driver-py``::

    <ffdirect name='forgefield'>
      <pes>custom</pes>
      <pes_path> PATH </pes_path>
      <parameters> {template: start.xyz, potential: potential.ff} </parameters>
    </ffdirect>

    i-pi-driver-py -u -a ADDRESS -m custom -P PATH -o template=start.xyz,potential=potential.ff

PATH is what ``python -m forgefield.deployment.ipi`` prints.
"""

from __future__ import annotations

from typing import Any

from forgefield.deployment.ase import ForgefieldCalculator
from forgefield.errors import ForgefieldError

try:
    from ipi.pes._ase import ASEDriver
except ImportError as _error:
    raise ForgefieldError(f"i-PI cannot be imported ({_error}); install it: pip install ipi") from None

__all__ = ["ForgefieldDriver"]

__DRIVER_NAME__ = "forgefield"
__DRIVER_CLASS__ = "ForgefieldDriver"


class ForgefieldDriver(ASEDriver):  # type: ignore[misc]
    """Energies, forces and virial of a potential for i-PI.

    Parameters
    ----------
    template : str
        File with the structure, any format ASE reads; elements and periodicity are taken from it.
    potential : str
        File of a potential or committee.
    dtype : {'float32', 'float64'}, optional
        Default: that of the potential.
    threads : int, optional
    has_stress : bool, optional
        Default: whether the template is periodic in three directions.
    **options
        Of i-PI's driver.
    """

    def __init__(
        self,
        template: str,
        potential: str,
        dtype: Any = None,
        threads: int | None = None,
        has_stress: bool | None = None,
        **options: Any,
    ) -> None:
        self._asked = {"dtype": dtype, "threads": threads}
        self._potential = potential
        self._stress = has_stress
        super().__init__(template, has_stress=has_stress is not False, **options)

    def check_parameters(self) -> None:
        """Load the structure and the potential."""
        super().check_parameters()
        self.ase_calculator = ForgefieldCalculator(self._potential, **self._asked)
        if self._stress is None and not self.template_ase.pbc.all():
            self.capabilities.remove("stress")


if __name__ == "__main__":
    print(__file__)  # noqa: T201 - what it is for
