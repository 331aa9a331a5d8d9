/* -*- c++ -*- LAMMPS pair style of potentials written by `forgefield export --to lammps`. MIT licence. */

#ifdef PAIR_CLASS
// clang-format off
PairStyle(forgefield,PairForgefield);
// clang-format on
#else

#ifndef LMP_PAIR_FORGEFIELD_H
#define LMP_PAIR_FORGEFIELD_H

#include "pair.h"

#include <memory>
#include <vector>

namespace LAMMPS_NS {

class ForgefieldModel;    // a potential: its compiled kernels and their constants
class ForgefieldBlocks;   // atoms and neighbours in the order the kernels want, and their memory

class PairForgefield : public Pair {
 public:
  PairForgefield(class LAMMPS *);
  ~PairForgefield() override;
  void compute(int, int) override;
  void settings(int, char **) override;
  void coeff(int, char **) override;
  void init_style() override;
  double init_one(int, int) override;
  double memory_usage() override;
  void *extract(const char *, int &) override;
  void *extract_peratom(const char *, int &) override;
  int pack_reverse_comm(int, int, double *) override;
  void unpack_reverse_comm(int, int *, double *) override;

 private:
  double inner_skin;                          // reach of our own list beyond the cutoffs
  std::vector<std::unique_ptr<ForgefieldModel>> members;    // more than one: a committee, whose mean is taken
  const ForgefieldModel *model = nullptr;     // the member at work
  std::unique_ptr<ForgefieldBlocks> blocks;
  std::vector<int> element_of_type;           // index among the potential's elements, -1 for NULL
  std::vector<double> listed_positions;       // where all points were when our list was made
  std::vector<int> listed_types;
  int spread_wanted = 0;                      // set by `fix pair` for the steps at which it reads the spread
  std::vector<double> member_forces;          // of the member at work, on owned and ghost atoms
  std::vector<double> sums;                   // over members: of each atom's force (3) and of its square
  std::vector<double> spread;                 // of the force on each atom

  void allocate();
  bool outdated() const;
  void make_list();
  template <typename Real> void run(bool atomic);
  template <typename Real> void collect(bool atomic);
  template <typename Real> void add_spread(const Real *forces);
  void end_spread();
};

}    // namespace LAMMPS_NS

#endif
#endif
