// Chooses the instruction set once, at run time, and forwards every launcher of kernels.h to it.
#include <cstdlib>
#include <cstring>
#include <initializer_list>

#include "isa.h"

namespace advrec::cpu {
namespace {

bool runs_here(const KernelSet* set) {
  if (!set) return false;
#if defined(__x86_64__)
  if (!std::strcmp(set->name, "avx512"))
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
  if (!std::strcmp(set->name, "avx2"))
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
  return true;
}

const KernelSet* find(const char* name) {
  for (const KernelSet* set : {avx512_kernels(), avx2_kernels(), portable_kernels()})
    if (runs_here(set) && (!name || !std::strcmp(set->name, name))) return set;
  return nullptr;
}

const KernelSet*& chosen() {
  static const KernelSet* set = [] {
    const KernelSet* named = find(std::getenv("ADVREC_ISA"));
    return named ? named : find(nullptr);
  }();
  return set;
}

template <class T>
const Kernels<T>& kernels();
template <>
const Kernels<float>& kernels() {
  return chosen()->f32;
}
template <>
const Kernels<double>& kernels() {
  return chosen()->f64;
}

}  // namespace

const char* isa() { return chosen()->name; }

bool set_isa(const char* name) {
  const KernelSet* set = find(name);
  if (set) chosen() = set;
  return set != nullptr;
}

void sample_triplets(const Positives& pos, const SampleSpec& spec, int64_t first, int64_t count,
                     int32_t* users, int32_t* items, int32_t* negatives) {
  chosen()->sample_triplets(pos, spec, first, count, users, items, negatives);
}

template <class T>
void propagate(const Adjacency<T>& graph, const T* x, int64_t dim, int64_t layers, T* scratch,
               T* out) {
  kernels<T>().propagate(graph, x, dim, layers, scratch, out);
}

template <class T>
void triplet_margin(const T* user_table, const T* item_table, int64_t dim, const int32_t* triplets,
                    int64_t count, T* margin) {
  kernels<T>().triplet_margin(user_table, item_table, dim, triplets, count, margin);
}

template <class T>
void triplet_margin_backward(const T* grad, const T* user_table, const T* item_table,
                             int64_t n_users, int64_t n_items, int64_t dim, const int32_t* triplets,
                             int64_t count, T* d_user, T* d_item) {
  kernels<T>().triplet_margin_backward(grad, user_table, item_table, n_users, n_items, dim,
                                       triplets, count, d_user, d_item);
}

template <class T>
void normalize_rows(const T* x, int64_t rows, int64_t dim, double eps, T* out) {
  kernels<T>().normalize_rows(x, rows, dim, eps, out);
}

template <class T>
void optimizer_step(const Optim& optim, T* value, T* state1, T* state2, const T* grad,
                    const int32_t* rows, int64_t count, int64_t dim) {
  kernels<T>().optimizer_step(optim, value, state1, state2, grad, rows, count, dim);
}

template <class T>
void rank(const T* users_or_scores, const T* item_vectors, int64_t n_users, int64_t n_items,
          int64_t dim, const Lists& mask, const Lists& relevant, int64_t k, int32_t* ids, T* scores,
          uint8_t* hits, int64_t* above) {
  kernels<T>().rank(users_or_scores, item_vectors, n_users, n_items, dim, mask, relevant, k, ids,
                    scores, hits, above);
}

template <class T>
void smallest_radii(const T* users, const T* items, int64_t n_users, int64_t n_items, int64_t dim,
                    const Reach& reach, const Lists& mask, const Lists& relevant, int64_t k,
                    int64_t* ranks, double* rivals, double* stays) {
  kernels<T>().smallest_radii(users, items, n_users, n_items, dim, reach, mask, relevant, k, ranks,
                              rivals, stays);
}

template <class T>
double smooth_rank(Smooth smooth, const T* users, const T* items, int64_t n_users, int64_t n_items,
                   int64_t dim, const T* temperature, const double* weights, const Lists& relevant,
                   const Lists& known, int64_t k, T* d_users, T* d_items) {
  return kernels<T>().smooth_rank(smooth, users, items, n_users, n_items, dim, temperature, weights,
                                  relevant, known, k, d_users, d_items);
}

template <class T>
StepStats mf_steps(const Table<T>& table, const Positives& pos, const SampleSpec& sample,
                   const Schedule& schedule, const Adversary& adversary, const Optim& optim) {
  return kernels<T>().mf_steps(table, pos, sample, schedule, adversary, optim);
}

template <class T>
StepStats lightgcn_steps(const Table<T>& table, const Adjacency<T>& graph, int64_t layers,
                         const Positives& pos, const SampleSpec& sample, const Schedule& schedule,
                         const Adversary& adversary, const Optim& optim) {
  return kernels<T>().lightgcn_steps(table, graph, layers, pos, sample, schedule, adversary, optim);
}

StepStats lightgcn_steps_bf16(const Table<float>& table, const Adjacency<float>& graph,
                              int64_t layers, const Positives& pos, const SampleSpec& sample,
                              const Schedule& schedule, const Adversary& adversary,
                              const Optim& optim) {
  return chosen()->lightgcn_steps_bf16(table, graph, layers, pos, sample, schedule, adversary,
                                       optim);
}

template <class T>
StepStats amr_steps(const AmrTables<T>& tables, const Positives& pos, const SampleSpec& sample,
                    const Schedule& schedule, double reg_items, const Adversary& adversary,
                    const Optim& optim, const double* rates) {
  return kernels<T>().amr_steps(tables, pos, sample, schedule, reg_items, adversary, optim, rates);
}

#define ADVREC_INSTANTIATE(T)                                                                    \
  template void propagate(const Adjacency<T>&, const T*, int64_t, int64_t, T*, T*);              \
  template void triplet_margin(const T*, const T*, int64_t, const int32_t*, int64_t, T*);        \
  template void triplet_margin_backward(const T*, const T*, const T*, int64_t, int64_t, int64_t, \
                                        const int32_t*, int64_t, T*, T*);                        \
  template void normalize_rows(const T*, int64_t, int64_t, double, T*);                          \
  template void optimizer_step(const Optim&, T*, T*, T*, const T*, const int32_t*, int64_t,      \
                               int64_t);                                                         \
  template void rank(const T*, const T*, int64_t, int64_t, int64_t, const Lists&, const Lists&,  \
                     int64_t, int32_t*, T*, uint8_t*, int64_t*);                                 \
  template void smallest_radii(const T*, const T*, int64_t, int64_t, int64_t, const Reach&,      \
                               const Lists&, const Lists&, int64_t, int64_t*, double*, double*); \
  template double smooth_rank(Smooth, const T*, const T*, int64_t, int64_t, int64_t, const T*,   \
                              const double*, const Lists&, const Lists&, int64_t, T*, T*);       \
  template StepStats mf_steps(const Table<T>&, const Positives&, const SampleSpec&,              \
                              const Schedule&, const Adversary&, const Optim&);                  \
  template StepStats lightgcn_steps(const Table<T>&, const Adjacency<T>&, int64_t,               \
                                    const Positives&, const SampleSpec&, const Schedule&,        \
                                    const Adversary&, const Optim&);                             \
  template StepStats amr_steps(const AmrTables<T>&, const Positives&, const SampleSpec&,         \
                               const Schedule&, double, const Adversary&, const Optim&,          \
                               const double*);
ADVREC_INSTANTIATE(float)
ADVREC_INSTANTIATE(double)

}  // namespace advrec::cpu
