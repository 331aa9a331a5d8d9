"""Damaged nep.txt files: the message names the line and what belongs there."""

from __future__ import annotations

import pytest
from nep_files import made_up

from forgefield.deployment.gpumd import parse_nep
from forgefield.errors import PotentialFileError

GOOD = made_up(["Si", "O"], zbl="zbl 1 2")


def with_line(number, text):
    lines = GOOD.splitlines()
    lines[number - 1 : number] = [] if text is None else [text]
    return "\n".join(lines)


DAMAGE = {
    "line 1: expected the kind of a potential.*'nep4_dipole'": with_line(1, "nep4_dipole 2 Si O"),
    "line 1: expected the kind of a potential.*'nep2'": with_line(1, "nep2 2 Si O"),
    "line 1: expected the number of elements.*'nep4_zbl 3 Si O'": with_line(1, "nep4_zbl 3 Si O"),
    "line 1: expected symbols of chemical elements, got 'Xx'": with_line(1, "nep4_zbl 2 Si Xx"),
    "line 1: expected every element once": with_line(1, "nep4_zbl 2 Si Si"),
    "line 2: expected `zbl INNER OUTER": with_line(2, None),
    "line 2: expected `zbl INNER OUTER.*INNER < OUTER.*'zbl 2 1'": with_line(2, "zbl 2 1"),
    "line 3: expected `cutoff RADIAL.*'cutoff 5 x 1 1'": with_line(3, "cutoff 5 x 1 1"),
    "line 3: expected `cutoff RADIAL.*ANGULAR <= RADIAL": with_line(3, "cutoff 4 5 100 100"),
    "line 3: expected .*retired": with_line(3, "cutoff 5 4 100 100 2.5 2 0.7"),
    "line 4: expected `n_max RADIAL ANGULAR`.*'n_max 3'": with_line(4, "n_max 3"),
    "line 4: expected .*integers >= 0": with_line(4, "n_max 3 -2"),
    "nep.txt: `descriptor.n_max_angular`.*got 70": with_line(4, "n_max 3 70"),
    "line 5: expected `basis_size": with_line(5, "basis 4 4"),
    "line 6: expected `l_max L": with_line(6, "l_max 4 3 1"),
    "line 7: expected `ANN NEURONS 0`, one hidden layer.*'ANN 6 6'": with_line(7, "ANN 6 6"),
    "line 20: expected a number, got '1.0e-3x'": with_line(20, "1.0e-3x"),
    "line 20: expected a finite number, got 'nan'": with_line(20, "nan"),
    "ends after .* parameters on line .*header announces": "\n".join(GOOD.splitlines()[:-1]),
    "expected the end of the file after .* parameters": GOOD + "1.0\n",
    "ends where `l_max L": "\n".join(GOOD.splitlines()[:5]),
}


@pytest.mark.parametrize("message", DAMAGE)
def test_damaged_files_name_the_line(message):
    text = DAMAGE[message]
    if "70" in message:  # as many numbers as this header announces
        dim, types = 4 + 71 * 6, 2
        count = types * 6 * (dim + 2) + 1 + types**2 * (4 * 5 + 71 * 6) + dim
        text = "\n".join([*text.splitlines()[:7], *["0.5"] * count])
    with pytest.raises(PotentialFileError, match=message):
        parse_nep(text)
