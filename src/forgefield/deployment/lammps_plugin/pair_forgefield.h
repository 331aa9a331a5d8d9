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

 private:
  double inner_skin;                          // reach of our own list beyond the cutoffs
  std::unique_ptr<ForgefieldModel> model;
  std::unique_ptr<ForgefieldBlocks> blocks;
  std::vector<int> element_of_type;           // index among the potential's elements, -1 for NULL
  std::vector<double> listed_positions;       // where all points were when our list was made
  std::vector<int> listed_types;

  void allocate();
  bool outdated() const;
  void make_list();
  template <typename Real> void run(bool atomic);
  template <typename Real> void collect(bool atomic);
};

}    // namespace LAMMPS_NS

#endif
#endif
