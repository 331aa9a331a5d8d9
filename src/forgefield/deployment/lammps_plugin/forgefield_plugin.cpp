/* What `plugin load` calls: makes the pair style known. MIT licence. */

#include "pair_forgefield.h"

#include "error.h"
#include "lammps.h"

using namespace LAMMPS_NS;

#ifndef FORGEFIELD_LAMMPS
#error "compile with -DFORGEFIELD_LAMMPS=VERSION, the number of the LAMMPS whose headers are used, such as 20250722"
#endif

extern "C" {

// The interface of LAMMPS's package PLUGIN.
typedef struct {
  const char *version, *style, *name, *info, *author;
  union {
    Pair *(*pair)(LAMMPS *);
    void *(*other)(LAMMPS *, int, char **);
  } creator;
  void *handle;
} lammpsplugin_t;

int lammps_version(void *);

static Pair *make_pair_forgefield(LAMMPS *lmp)
{
  return new PairForgefield(lmp);
}

__attribute__((visibility("default"))) void lammpsplugin_init(void *lmp, void *handle, void *registration)
{
  // A class whose layout differs from that of the headers would end in nonsense or a crash.
  LAMMPS *lammps = static_cast<LAMMPS *>(lmp);
  if (lammps_version(lmp) != FORGEFIELD_LAMMPS)
    lammps->error->all(FLERR,
                       "the forgefield plug-in is for LAMMPS {}, this is {}; export the potential again with this "
                       "LAMMPS installed, or compile the plug-in with its headers",
                       FORGEFIELD_LAMMPS, lammps_version(lmp));
  lammpsplugin_t plugin;
  plugin.version = lammps->version;
  plugin.style = "pair";
  plugin.name = "forgefield";
  plugin.info = "potentials compiled by forgefield";
  plugin.author = "the forgefield developers";
  plugin.creator.pair = make_pair_forgefield;
  plugin.handle = handle;
  reinterpret_cast<void (*)(lammpsplugin_t *, void *)>(registration)(&plugin, lmp);
}
}
