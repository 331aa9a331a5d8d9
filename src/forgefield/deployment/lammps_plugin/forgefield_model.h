/* -*- c++ -*- A potential as a shared library: compiled kernels and constants. No LAMMPS in here. MIT licence. */

#ifndef FORGEFIELD_MODEL_H
#define FORGEFIELD_MODEL_H

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <dlfcn.h>
#include <locale>
#include <new>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace LAMMPS_NS {

// Whether this processor runs kernels of a level.
inline bool forgefield_runs(const std::string &level)
{
#if defined(__x86_64__)
  if (level == "sse2") return true;
  const bool middle = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  if (level == "avx2") return middle;
  if (level == "avx512")
    return middle && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl");
#endif
  return level == "host";
}

class ForgefieldModel {
 public:
  using Kernel = void (*)(void *const *);

  int bits = 0;                            // of the kernels' numbers
  int lanes = 0;                           // atoms of a block
  int64_t workspace[2] = {0, 0};           // rows of memory: without and with atomic virials
  Kernel kernel[2] = {nullptr, nullptr};
  std::string level;
  std::vector<std::string> elements;
  std::vector<double> offsets;             // energy per atom added to what the kernels say [eV]
  std::vector<double> cutoffs;             // one for each list [Å]
  std::vector<int64_t> rows_per_edge;      // scratch memory of each expansion
  std::vector<void *> tables;              // constants of each list
  void *parameters = nullptr, *integers = nullptr, *numbers = nullptr;

  explicit ForgefieldModel(const std::string &path)
  {
    // Without a slash the system would search its own folders.
    const std::string place = path.find('/') == std::string::npos ? "./" + path : path;
    handle = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle) throw std::runtime_error(dlerror());
    try {
      read();
    } catch (...) {
      dlclose(handle);
      throw;
    }
  }

  ~ForgefieldModel() { dlclose(handle); }
  ForgefieldModel(const ForgefieldModel &) = delete;
  ForgefieldModel &operator=(const ForgefieldModel &) = delete;

  // Whether another potential can work on the same rows of neighbours.
  bool same_rows(const ForgefieldModel &other) const
  {
    return bits == other.bits && lanes == other.lanes && elements == other.elements && cutoffs == other.cutoffs;
  }

  double largest_cutoff() const
  {
    double largest = 0.0;
    for (const double c : cutoffs) largest = c > largest ? c : largest;
    return largest;
  }

 private:
  void *handle = nullptr;

  void *symbol(const std::string &name) const
  {
    void *found = dlsym(handle, ("forgefield_" + name).c_str());
    if (!found)
      throw std::runtime_error("it has no " + name + "; write it with `forgefield export POTENTIAL --to lammps`");
    return found;
  }

  void read()
  {
    std::istringstream text(static_cast<const char *>(symbol("text")));
    const char *wanted = std::getenv("FORGEFIELD_SIMD");
    const std::string limit = wanted ? wanted : "";
    bool below = limit.empty();
    std::string line, levels;
    while (std::getline(text, line)) {
      std::istringstream words(line);
      words.imbue(std::locale::classic());
      std::string key, name;
      words >> key;
      if (key == "format") {
        int format = 0;
        words >> format;
        if (format != 1)
          throw std::runtime_error("its format " + std::to_string(format) +
                                   " is newer than this plug-in (1); use the plug-in that was written with it");
      } else if (key == "bits")
        words >> bits;
      else if (key == "elements")
        while (words >> name) elements.push_back(name);
      else if (key == "offsets")
        fill(words, offsets);
      else if (key == "cutoffs")
        fill(words, cutoffs);
      else if (key == "rows_per_edge")
        fill(words, rows_per_edge);
      else if (key == "level") {
        // The fastest comes first.
        words >> name;
        levels += " " + name;
        below = below || name == limit || name == "host";
        if (level.empty() && below && forgefield_runs(name)) {
          level = name;
          words >> lanes >> workspace[0] >> workspace[1];
        }
      }
    }
    if (level.empty())
      throw std::runtime_error("its kernels are for processors with" + levels +
                               ", this one is none of them; export it on a machine like this one");
    for (int n = 0; n < 2; n++)
      kernel[n] = reinterpret_cast<Kernel>(symbol("values_" + level + "_" + std::to_string(n) + "_call"));
    for (size_t n = 0; n < cutoffs.size(); n++) tables.push_back(symbol("table" + std::to_string(n)));
    parameters = symbol("parameters");
    integers = symbol("integers");
    numbers = symbol("numbers");
  }

  template <typename T> static void fill(std::istream &words, std::vector<T> &values)
  {
    T x;
    while (words >> x) values.push_back(x);
  }
};

// Memory on 64-byte boundaries that grows and keeps.
class ForgefieldMemory {
 public:
  ~ForgefieldMemory() { std::free(start); }
  ForgefieldMemory() = default;
  ForgefieldMemory(const ForgefieldMemory &) = delete;
  ForgefieldMemory &operator=(const ForgefieldMemory &) = delete;

  void *get(size_t bytes)
  {
    if (bytes > size) {
      std::free(start);
      size = ((bytes + bytes / 8) / 64 + 1) * 64;
      start = std::aligned_alloc(64, size);
      if (!start) {
        size = 0;
        throw std::bad_alloc();
      }
    }
    return start;
  }
  template <typename T> T *as(size_t count) { return static_cast<T *>(get(count * sizeof(T))); }
  size_t bytes() const { return size; }

 private:
  void *start = nullptr;
  size_t size = 0;
};

}    // namespace LAMMPS_NS

#endif
