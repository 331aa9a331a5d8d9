/* LAMMPS pair style of potentials written by `forgefield export --to lammps`. MIT licence.

   A kernel works on blocks of atoms of one element, one atom per lane, with rows of one neighbour per lane. Energies
   belong to centres; the gradient of an atom's energy with respect to its neighbours goes to owned and ghost points
   alike, and LAMMPS adds what ghosts collected to their owners (newton on). So nothing is communicated but forces.

   Several files are a committee: its members work one after the other on the same rows, and what they say is divided by
   their number. How far the forces of the members spread is computed at the steps at which `fix pair` asks for it. */

#include "pair_forgefield.h"

#include "forgefield_model.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "memory.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "update.h"

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstring>
#include <utility>

using namespace LAMMPS_NS;

namespace {

// Where the points that fill up rows lie [Å]: beyond every cutoff of every atom.
constexpr double FAR_AWAY = 1.0e5;

// Components of the kernel's strain gradients (xx yy zz yz xz xy) in LAMMPS's order (xx yy zz xy xz yz).
constexpr int STRAIN[6] = {0, 1, 2, 5, 4, 3};
constexpr int ROW[9] = {0, 1, 2, 0, 0, 1, 1, 2, 2};
constexpr int COLUMN[9] = {0, 1, 2, 1, 2, 2, 0, 0, 1};

}    // namespace

/* ---- atoms and neighbours as the kernels want them ---- */

class LAMMPS_NS::ForgefieldBlocks {
 public:
  struct List {
    double cutoff;
    int longest;
    std::vector<int> offsets, picked;
  };

  int n_points = 0, n_blocks = 0;
  std::vector<int> centres, species, unused;
  std::vector<List> lists;          // of different cutoffs, the largest first
  std::vector<int> list_of;         // which of them each list of the model is
  ForgefieldMemory positions, forces, energies, strain, virials[3], work, scratch;

  explicit ForgefieldBlocks(const ForgefieldModel &model)
  {
    std::vector<double> distinct = model.cutoffs;
    std::sort(distinct.begin(), distinct.end(), [](double a, double b) { return a > b; });
    distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
    for (const double c : distinct) lists.push_back({c, 0, {}, {}});
    for (const double c : model.cutoffs)
      list_of.push_back(static_cast<int>(std::find(distinct.begin(), distinct.end(), c) - distinct.begin()));
  }

  double bytes() const
  {
    double total = 4.0 * (centres.capacity() + species.capacity() + unused.capacity());
    for (const auto &l : lists) total += 4.0 * (l.offsets.capacity() + l.picked.capacity());
    for (const auto *m : {&positions, &forces, &energies, &strain, &work, &scratch})
      total += static_cast<double>(m->bytes());
    for (const auto &m : virials) total += static_cast<double>(m.bytes());
    return total;
  }
};

/* ---- */

PairForgefield::PairForgefield(LAMMPS *lmp) : Pair(lmp), inner_skin(0.3)
{
  single_enable = 0;
  restartinfo = 0;
  one_coeff = 1;
  manybody_flag = 1;
  no_virial_fdotr_compute = 1;
  comm_reverse = 3;
  centroidstressflag = CENTROID_AVAIL;
}

PairForgefield::~PairForgefield()
{
  if (allocated) {
    memory->destroy(setflag);
    memory->destroy(cutsq);
  }
}

void PairForgefield::allocate()
{
  allocated = 1;
  const int n = atom->ntypes + 1;
  memory->create(setflag, n, n, "pair:setflag");
  memory->create(cutsq, n, n, "pair:cutsq");
  map = new int[n];
}

void PairForgefield::settings(int narg, char **arg)
{
  for (int n = 0; n < narg; n += 2) {
    if (std::strcmp(arg[n], "skin") != 0 || n + 1 >= narg)
      error->all(FLERR, "pair_style forgefield: unknown argument {}; allowed: skin VALUE", arg[n]);
    inner_skin = utils::numeric(FLERR, arg[n + 1], false, lmp);
    if (!(inner_skin >= 0.0)) error->all(FLERR, "pair_style forgefield: skin must be >= 0, got {}", arg[n + 1]);
  }
}

void PairForgefield::coeff(int narg, char **arg)
{
  if (!allocated) allocate();
  const int n_files = narg - 2 - atom->ntypes;
  if (n_files < 1)
    error->all(FLERR,
               "pair_coeff of forgefield needs: * * FILE ... ELEMENT ..., with one element (or NULL) for each of the {} "
               "atom types; got {} words after * *",
               atom->ntypes, narg - 2);
  blocks.reset();
  members.clear();
  for (int n = 2; n < 2 + n_files; n++) {
    const std::string path = utils::get_potential_file_path(arg[n]);
    if (path.empty())
      error->all(FLERR,
                 "cannot open the potential {}: no such file here or in LAMMPS_POTENTIALS; after the files pair_coeff "
                 "needs one element (or NULL) for each of the {} atom types",
                 arg[n], atom->ntypes);
    try {
      members.push_back(std::make_unique<ForgefieldModel>(path));
    } catch (const std::exception &problem) {
      error->one(FLERR, "cannot use the potential {}: {}", path, problem.what());
    }
    if (!members.back()->same_rows(*members.front()))
      error->all(FLERR,
                 "the potentials {} and {} cannot be a committee: elements, cutoffs and number types must be the same",
                 arg[2], arg[n]);
  }
  model = members.front().get();
  blocks = std::make_unique<ForgefieldBlocks>(*model);
  char **elements = arg + 2 + n_files;
  map_element2type(atom->ntypes, elements);
  std::string known;
  for (const auto &e : model->elements) known += " " + e;
  element_of_type.assign(atom->ntypes + 1, -1);
  for (int t = 1; t <= atom->ntypes; t++) {
    const std::string name = elements[t - 1];
    if (name == "NULL") continue;
    const auto found = std::find(model->elements.begin(), model->elements.end(), name);
    if (found == model->elements.end())
      error->all(FLERR, "the potential {} does not know {}, the element of atom type {}; it knows:{}", arg[2], name, t,
                 known);
    element_of_type[t] = static_cast<int>(found - model->elements.begin());
  }
  if (comm->me == 0)
    utils::logmesg(lmp, "Potential {}{}: elements{}, float{}, {} kernels, cutoff {:.6g}\n", arg[2],
                   n_files > 1 ? fmt::format(" and {} more, mean taken", n_files - 1) : "", known, model->bits,
                   model->level, model->largest_cutoff());
}

void PairForgefield::init_style()
{
  if (std::strcmp(update->unit_style, "metal") != 0)
    error->all(FLERR, "pair_style forgefield needs `units metal` (eV and Angstrom), got `units {}`", update->unit_style);
  if (!force->newton_pair) error->all(FLERR, "pair_style forgefield needs `newton on` for pairs");
  if (!model) error->all(FLERR, "pair_style forgefield: give the potential with `pair_coeff * * FILE ELEMENT ...`");
  // Pairs with a weight of zero are not even in LAMMPS's list.
  if (atom->molecular != Atom::ATOMIC && atom->nbonds > 0)
    for (int n = 1; n < 4; n++)
      if (force->special_lj[n] == 0.0 && force->special_coul[n] == 0.0)
        error->all(FLERR, "pair_style forgefield needs bonded atoms as neighbours; use `special_bonds lj/coul 1 1 1`");
  neighbor->add_request(this, NeighConst::REQ_FULL);
}

double PairForgefield::init_one(int i, int j)
{
  if (setflag[i][j] == 0) error->all(FLERR, "pair_style forgefield: not all pair coeffs are set");
  return model->largest_cutoff();
}

double PairForgefield::memory_usage()
{
  double total = Pair::memory_usage() + 8.0 * listed_positions.capacity() + 4.0 * listed_types.capacity();
  total += 8.0 * (member_forces.capacity() + sums.capacity() + spread.capacity());
  return blocks ? total + blocks->bytes() : total;
}

/* ---- our own list: LAMMPS's within a short distance beyond each cutoff, in blocks ---- */

bool PairForgefield::outdated() const
{
  const int n = atom->nlocal + atom->nghost;
  if (neighbor->ago == 0 || n + 2 != blocks->n_points) return true;
  if (std::memcmp(listed_types.data(), atom->type, n * sizeof(int)) != 0) return true;
  const double limit = 0.25 * inner_skin * inner_skin;
  const double *now = n ? atom->x[0] : nullptr, *then = listed_positions.data();
  for (int i = 0; i < n; i++) {
    const double dx = now[3 * i] - then[3 * i], dy = now[3 * i + 1] - then[3 * i + 1],
                 dz = now[3 * i + 2] - then[3 * i + 2];
    if (!(dx * dx + dy * dy + dz * dz < limit)) return true;
  }
  return false;
}

void PairForgefield::make_list()
{
  ForgefieldBlocks &b = *blocks;
  const int n = atom->nlocal + atom->nghost, lanes = model->lanes;
  const int n_species = static_cast<int>(model->elements.size());
  const int n_lists = static_cast<int>(b.lists.size());
  const int *type = atom->type;
  double **x = atom->x;
  b.n_points = n + 2;
  listed_types.assign(type, type + n);
  listed_positions.resize(3 * static_cast<size_t>(n));
  if (n) std::copy(x[0], x[0] + 3 * static_cast<size_t>(n), listed_positions.begin());

  std::vector<std::vector<int>> of_species(n_species);
  for (int ii = 0; ii < list->inum; ii++) {
    const int i = list->ilist[ii], e = element_of_type[type[i]];
    if (e >= 0) of_species[e].push_back(i);
  }
  b.centres.clear();
  b.species.clear();
  for (int e = 0; e < n_species; e++) {
    auto &own = of_species[e];
    own.resize((own.size() + lanes - 1) / lanes * lanes, n + 1);
    b.centres.insert(b.centres.end(), own.begin(), own.end());
    b.species.insert(b.species.end(), own.size() / lanes, e);
  }
  b.n_blocks = static_cast<int>(b.species.size());
  b.unused.assign(static_cast<size_t>(b.n_blocks) * n_species * lanes + 1, 0);

  std::vector<double> limits;
  for (auto &l : b.lists) {
    const double reach = l.cutoff + inner_skin;
    limits.push_back(reach * reach);
    l.longest = 1;
    l.offsets.assign(static_cast<size_t>(b.n_blocks) * (n_species + 1), 0);
    l.picked.clear();
  }
  // Neighbours of the atoms of a block, by list, species and lane.
  std::vector<std::vector<int>> found(static_cast<size_t>(n_lists) * n_species * lanes);
  for (int block = 0; block < b.n_blocks; block++) {
    for (auto &f : found) f.clear();
    for (int lane = 0; lane < lanes; lane++) {
      const int i = b.centres[static_cast<size_t>(block) * lanes + lane];
      if (i >= n) continue;
      const int *neighbours = list->firstneigh[i];
      const double xi = x[i][0], yi = x[i][1], zi = x[i][2];
      for (int jj = 0; jj < list->numneigh[i]; jj++) {
        const int j = neighbours[jj] & NEIGHMASK, e = element_of_type[type[j]];
        const double dx = x[j][0] - xi, dy = x[j][1] - yi, dz = x[j][2] - zi;
        const double r2 = dx * dx + dy * dy + dz * dz;
        if (e < 0) continue;
        for (int l = 0; l < n_lists && r2 < limits[l]; l++)
          found[(static_cast<size_t>(l) * n_species + e) * lanes + lane].push_back(j);
      }
    }
    for (int l = 0; l < n_lists; l++) {
      auto &own = b.lists[l];
      int *offsets = own.offsets.data() + static_cast<size_t>(block) * (n_species + 1);
      offsets[0] = static_cast<int>(own.picked.size() / lanes);
      for (int e = 0; e < n_species; e++) {
        const auto *f = &found[(static_cast<size_t>(l) * n_species + e) * lanes];
        size_t rows = 0;
        for (int lane = 0; lane < lanes; lane++) rows = std::max(rows, f[lane].size());
        const size_t start = own.picked.size();
        if (start / lanes + rows > INT_MAX) error->one(FLERR, "too many neighbours for one process; use more processes");
        own.picked.resize(start + rows * lanes, n);
        for (int lane = 0; lane < lanes; lane++)
          for (size_t r = 0; r < f[lane].size(); r++) own.picked[start + r * lanes + lane] = f[lane][r];
        offsets[e + 1] = offsets[e] + static_cast<int>(rows);
      }
      own.longest = std::max(own.longest, offsets[n_species] - offsets[0]);
    }
  }
}

/* ---- energies, forces, virials ---- */

template <typename Real> void PairForgefield::run(bool atomic)
{
  ForgefieldBlocks &b = *blocks;
  const ForgefieldModel &m = *model;
  const size_t n = b.n_points, lanes = m.lanes, n_blocks = b.n_blocks;
  double *places = b.positions.as<double>(4 * n);
  const double *x = n > 2 ? atom->x[0] : nullptr;
  for (size_t i = 0; i + 2 < n; i++) {
    places[4 * i] = x[3 * i];
    places[4 * i + 1] = x[3 * i + 1];
    places[4 * i + 2] = x[3 * i + 2];
    places[4 * i + 3] = 0.0;
  }
  std::fill(places + 4 * (n - 2), places + 4 * (n - 1), FAR_AWAY);
  std::fill(places + 4 * (n - 1), places + 4 * n, -FAR_AWAY);
  Real *forces = b.forces.as<Real>(4 * n);
  std::fill(forces, forces + 4 * n, Real(0));

  size_t scratch = 1;
  for (size_t l = 0; l < m.rows_per_edge.size(); l++)
    scratch += b.lists[b.list_of[l]].longest * m.rows_per_edge[l];
  Real *energies = b.energies.as<Real>(n_blocks * lanes + 1);

  std::vector<void *> a;
  const auto integer = [&a](int64_t i) { a.push_back(reinterpret_cast<void *>(static_cast<intptr_t>(i))); };
  integer(0);
  integer(b.n_blocks);
  a.insert(a.end(), {places, b.centres.data(), b.species.data()});
  integer(0);    // the rows of neighbours are there already
  for (size_t l = 0; l < b.list_of.size(); l++) {
    auto &own = b.lists[b.list_of[l]];
    a.insert(a.end(),
             {b.unused.data(), b.unused.data(), b.unused.data(), own.offsets.data(), own.picked.data(), m.tables[l]});
  }
  a.insert(a.end(), {m.parameters, m.integers, m.numbers, b.work.as<Real>((m.workspace[atomic] + 1) * lanes),
                     b.scratch.as<Real>(scratch * lanes), energies, forces, energies,
                     b.strain.as<Real>(n_blocks * 6 * lanes + 1)});
  if (atomic)
    for (auto &axis : b.virials) {
      Real *virial = axis.as<Real>(4 * n);
      std::fill(virial, virial + 4 * n, Real(0));
      a.push_back(virial);
    }
  if (n_blocks) m.kernel[atomic](a.data());
  collect<Real>(atomic);
}

template <typename Real> void PairForgefield::collect(bool atomic)
{
  ForgefieldBlocks &b = *blocks;
  const int n = b.n_points - 2, lanes = model->lanes;
  const double share = 1.0 / static_cast<double>(members.size());
  const Real *forces = b.forces.as<Real>(0), *energies = b.energies.as<Real>(0), *strain = b.strain.as<Real>(0);
  double **f = atom->f;
  for (int i = 0; i < n; i++)
    for (int c = 0; c < 3; c++) f[i][c] += share * forces[4 * static_cast<size_t>(i) + c];
  if (!evflag) return;
  for (int block = 0; block < b.n_blocks; block++)
    for (int lane = 0; lane < lanes; lane++) {
      const size_t at = static_cast<size_t>(block) * lanes + lane;
      const int i = b.centres[at];
      if (i >= n) continue;
      const double energy = share * (static_cast<double>(energies[at]) + model->offsets[b.species[block]]);
      if (eflag_global) eng_vdwl += energy;
      if (eflag_atom) eatom[i] += energy;
      for (int k = 0; k < 6; k++) {
        const double s = share * strain[(static_cast<size_t>(block) * 6 + STRAIN[k]) * lanes + lane];
        if (vflag_global) virial[k] -= s;
        if (vflag_atom) vatom[i][k] -= 0.5 * s;
      }
    }
  if (!atomic) return;
  const Real *axes[3] = {b.virials[0].as<Real>(0), b.virials[1].as<Real>(0), b.virials[2].as<Real>(0)};
  for (int i = 0; i < n; i++)
    for (int k = 0; k < 9; k++) {
      const double w = share * axes[ROW[k]][4 * static_cast<size_t>(i) + COLUMN[k]];
      if (vflag_atom && k < 6) vatom[i][k] += 0.5 * w;
      if (cvflag_atom) cvatom[i][k] += w;
    }
}

void PairForgefield::compute(int eflag, int vflag)
{
  ev_init(eflag, vflag);
  try {
    if (outdated()) make_list();
    const bool atomic = vflag_atom || cvflag_atom, spreading = spread_wanted && members.size() > 1;
    if (spreading) sums.assign(4 * static_cast<size_t>(atom->nlocal), 0.0);
    for (const auto &member : members) {
      model = member.get();
      if (model->bits == 64) {
        run<double>(atomic);
        if (spreading) add_spread(blocks->forces.as<double>(0));
      } else {
        run<float>(atomic);
        if (spreading) add_spread(blocks->forces.as<float>(0));
      }
    }
    if (spread_wanted) end_spread();
  } catch (const std::bad_alloc &) {
    error->one(FLERR, "pair_style forgefield: not enough memory; use more processes");
  }
}
