/* The spread of a committee: sqrt(mean over members of |F - mean F|^2) for each atom, as `fix pair` reads it. MIT licence. */

#include "pair_forgefield.h"

#include "atom.h"
#include "comm.h"

#include <algorithm>
#include <cmath>
#include <cstring>

using namespace LAMMPS_NS;

template <typename Real> void PairForgefield::add_spread(const Real *forces)
{
  const size_t n = static_cast<size_t>(atom->nlocal) + atom->nghost, own = atom->nlocal;
  member_forces.resize(3 * n);
  for (size_t i = 0; i < n; i++)
    for (size_t c = 0; c < 3; c++) member_forces[3 * i + c] = forces[4 * i + c];
  comm->reverse_comm(this);
  for (size_t i = 0; i < own; i++)
    for (size_t c = 0; c < 3; c++) {
      const double f = member_forces[3 * i + c];
      sums[4 * i + c] += f;
      sums[4 * i + 3] += f * f;
    }
}

template void PairForgefield::add_spread(const double *);
template void PairForgefield::add_spread(const float *);

void PairForgefield::end_spread()
{
  const size_t own = atom->nlocal;
  const double share = 1.0 / static_cast<double>(members.size());
  spread.assign(std::max(own, size_t(1)), 0.0);    // never without an address, which LAMMPS would take for an error
  if (members.size() < 2) return;
  for (size_t i = 0; i < own; i++) {
    double variance = share * sums[4 * i + 3];
    for (size_t c = 0; c < 3; c++) variance -= share * share * sums[4 * i + c] * sums[4 * i + c];
    spread[i] = std::sqrt(std::max(variance, 0.0));
  }
}

int PairForgefield::pack_reverse_comm(int n, int first, double *buffer)
{
  std::copy_n(member_forces.data() + 3 * static_cast<size_t>(first), 3 * static_cast<size_t>(n), buffer);
  return 3 * n;
}

void PairForgefield::unpack_reverse_comm(int n, int *list, double *buffer)
{
  for (int i = 0; i < n; i++)
    for (int c = 0; c < 3; c++) member_forces[3 * static_cast<size_t>(list[i]) + c] += buffer[3 * i + c];
}

void *PairForgefield::extract(const char *name, int &dim)
{
  dim = 0;
  return std::strcmp(name, "spread_flag") == 0 ? &spread_wanted : nullptr;
}

void *PairForgefield::extract_peratom(const char *name, int &ncol)
{
  ncol = 0;
  return std::strcmp(name, "spread") == 0 ? spread.data() : nullptr;
}
