// Every kernel of the core as a function on raw pointers and sizes.
//
// Nothing here depends on torch, Python or CUDA: the operators in torch/, the C++ tests in
// tests/native and the CUDA launchers share these declarations. The comment behind a pointer gives
// its shape. In a table of U + I rows users come first; ids are int32, offsets int64.
//
// A family of kernels has one name everywhere: rank is cpu/rank.inl, cuda/rank.cu and `rank` here.
// A new kernel goes into four places:
//   1. its declaration: here, and for CUDA in kernels_cuda.h;
//   2. its code: cpu/NAME.inl (listed in cpu/kernels.inl, cpu/isa.h and cpu/dispatch.cpp), and
//      cuda/NAME.cu, which the build finds by itself;
//   3. its operator: schema and CPU side in torch/ops_cpu.cpp, CUDA side in torch/ops_cuda.cpp,
//      checks of its arguments in torch/arguments*.h;
//   4. its Python side in advrec/ops/functional.py, and its slow twin in advrec/ops/reference.
// Its tests: tests/native/test_core.cpp (CPU), tests/emu/test_kernels.cpp or test_steps.cpp (CUDA
// against CPU), tests/test_ops.py (against the twin), OPERATORS in tests/cuda_check.py (loads).
//
// Whole training steps are built from batch (draws and buckets), bpr (loss), batch_step (gradient
// and noise), rows and optim: a new model adds a file like mf and uses those. What is computed from
// a user's finished ranking belongs at the end of `merge` in cpu/rank.inl and cuda/rank.cu.
#pragma once

#include <cstdint>

namespace advrec {

// Bipartite adjacency over N = U + I nodes, symmetric, columns ascending within a row.
template <class T>
struct Adjacency {
  const int64_t* indptr;   // [N + 1]
  const int32_t* indices;  // [2 * pairs]
  const T* scale;          // [N] degree^-1/2, 0 for an isolated node
  int64_t rows;            // N
};

// What the sampler draws from; sampler_core.h defines the scheme.
struct Positives {
  const int32_t* pair_users;    // [pairs]
  const int32_t* pair_items;    // [pairs]
  int64_t pairs;                // pairs of users that have at least one negative
  const int32_t* active_users;  // [active] users with 0 < degree < n_items
  int64_t active;
  const int64_t* indptr;  // [U + 1] the user's training items, ascending
  const int32_t* items;   // [all pairs]
  int64_t n_items;
};

enum class Sampling : int32_t { kPairs = 0, kUsers = 1 };

struct SampleSpec {
  uint64_t seed;
  uint32_t epoch;
  int64_t negatives;  // triplets per positive
  Sampling sampling;
};

// Rows of a ragged matrix of item ids, ascending within a row.
struct Lists {
  const int64_t* indptr;  // [rows + 1]
  const int32_t* items;
};

// How far rows can move: budget times `users` or `items`, and rounding in any case. See
// advrec/robustness/radius.py.
struct Reach {
  const double* users;       // [U]
  const double* items;       // [I]
  const double* user_slack;  // [U]
  const double* item_slack;  // [I]
  const double* levers;      // [U], or null: the users' norms
};

enum class Smooth : int32_t { kNdcg = 0, kSoftmax = 1 };

enum class Norm : int32_t { kRow = 0, kSample = 1, kJoint = 2 };
enum class Site : int32_t { kEgo = 0, kFinal = 1 };
enum class OptimKind : int32_t { kSgd = 0, kAdagrad = 1, kAdam = 2, kSparseAdam = 3 };

// State tensors of an optimizer: Adagrad has a sum of squares, both Adams have m and v.
constexpr int states_of(OptimKind kind) {
  switch (kind) {
    case OptimKind::kSgd:
      return 0;
    case OptimKind::kAdagrad:
      return 1;
    case OptimKind::kAdam:
    case OptimKind::kSparseAdam:
      return 2;
  }
  return 0;
}

// True if rows without a gradient move too, so that a step must visit the whole table.
constexpr bool moves_untouched_rows(OptimKind kind) { return kind == OptimKind::kAdam; }

struct Adversary {
  double eps;     // L2 budget
  double weight;  // lambda; 0 trains the base model
  Norm norm;
  Site site;
};

struct Optim {
  OptimKind kind;
  double lr, beta1, beta2, eps;
  int64_t step;  // updates made before this call, for Adam's bias correction
};

// Which mini-batches of an epoch to run, and how their loss is put together.
struct Schedule {
  int64_t first_step, steps;
  int64_t batch_size;  // triplets
  bool mean;           // loss is the batch's mean, else its sum
  double reg;          // gamma
};

template <class T>
struct Table {
  T* value;   // [N, dim]
  T* state1;  // [N, dim], or null: see states_of
  T* state2;  // [N, dim], or null
  int64_t n_users, n_items, dim;
};

// VBPR with AMR's scorer: users P, items Q, projection E, each with its optimizer's states, and
// the features. Only users.n_users and the common dim are read, not the other tables' counts.
template <class T>
struct AmrTables {
  Table<T> users, items, projection;  // [U, dim], [I, dim], [F, dim]
  const T* feature_rows;              // [I, F]
  int64_t features;                   // F
};

struct StepStats {
  double clean = 0, adversarial = 0;  // losses summed over all triplets
};

namespace cpu {

// Threads used by every kernel below (at least 1). Results never depend on it.
void set_threads(int threads);
int threads();

// Instruction set in use: "avx512", "avx2" or "portable" (ADVREC_ISA in the environment overrides).
const char* isa();
bool set_isa(const char* name);  // false if this machine or build does not have it

void sample_triplets(const Positives& pos, const SampleSpec& spec, int64_t first, int64_t count,
                     int32_t* users, int32_t* items, int32_t* negatives);

// out = mean_{k=0..layers} A^k x, by Horner: two buffers, no layer is stored twice.
// scratch holds [N, dim] and is needed for layers >= 3.
template <class T>
void propagate(const Adjacency<T>& graph, const T* x, int64_t dim, int64_t layers, T* scratch,
               T* out);

// margin[b] = p_u . (q_i - q_j)
template <class T>
void triplet_margin(const T* user_table, const T* item_table, int64_t dim, const int32_t* triplets,
                    int64_t count, T* margin);

// Gradients of sum_b grad[b] * margin[b]; both outputs are overwritten, duplicates summed in batch
// order by the row's owner.
template <class T>
void triplet_margin_backward(const T* grad, const T* user_table, const T* item_table,
                             int64_t n_users, int64_t n_items, int64_t dim, const int32_t* triplets,
                             int64_t count, T* d_user, T* d_item);

// out_r = eps * x_r / |x_r|; a zero row stays zero.
template <class T>
void normalize_rows(const T* x, int64_t rows, int64_t dim, double eps, T* out);

// One optimizer update of the listed rows, or of all rows if `rows` is null.
template <class T>
void optimizer_step(const Optim& optim, T* value, T* state1, T* state2, const T* grad,
                    const int32_t* rows, int64_t count, int64_t dim);

// The k best unmasked items of each user: score descending, then non-relevant before relevant,
// then id ascending. above[n] (may be null): unmasked non-relevant items scoring at least as much
// as relevant item n. Scores come from vectors (item_vectors given) or are read from
// `users_or_scores`.
template <class T>
void rank(const T* users_or_scores, const T* item_vectors, int64_t n_users, int64_t n_items,
          int64_t dim, const Lists& mask, const Lists& relevant, int64_t k, int32_t* ids, T* scores,
          uint8_t* hits, int64_t* above);

// For relevant item n: its rank (ties count against it), the k smallest radii of unmasked items
// that are not relevant, ascending, rivals[n, k], and the k-th smallest of any unmasked item,
// stays[n].
template <class T>
void smallest_radii(const T* users, const T* items, int64_t n_users, int64_t n_items, int64_t dim,
                    const Reach& reach, const Lists& mask, const Lists& relevant, int64_t k,
                    int64_t* ranks, double* rivals, double* stays);

// The smooth loss of a ranking over all relevant items, and its gradients, which are overwritten.
// Rivals are the items that are not `known`; temperature[U] > 0, weights[U] are 1/IDCG.
template <class T>
double smooth_rank(Smooth smooth, const T* users, const T* items, int64_t n_users, int64_t n_items,
                   int64_t dim, const T* temperature, const double* weights, const Lists& relevant,
                   const Lists& known, int64_t k, T* d_users, T* d_items);

// Whole training steps: sample, score, gradient, perturb, score again, gradient, update.
template <class T>
StepStats mf_steps(const Table<T>& table, const Positives& pos, const SampleSpec& sample,
                   const Schedule& schedule, const Adversary& adversary, const Optim& optim);
template <class T>
StepStats lightgcn_steps(const Table<T>& table, const Adjacency<T>& graph, int64_t layers,
                         const Positives& pos, const SampleSpec& sample, const Schedule& schedule,
                         const Adversary& adversary, const Optim& optim);
// The same with every gathered table stored as bfloat16; sums and master weights stay float32.
StepStats lightgcn_steps_bf16(const Table<float>& table, const Adjacency<float>& graph,
                              int64_t layers, const Positives& pos, const SampleSpec& sample,
                              const Schedule& schedule, const Adversary& adversary,
                              const Optim& optim);
// VBPR, or AMR if the adversary has a weight: the noise is on the features, by row. The penalty on
// item vectors is reg_items * schedule.reg; rates are the learning rates of users, items and
// projection.
template <class T>
StepStats amr_steps(const AmrTables<T>& tables, const Positives& pos, const SampleSpec& sample,
                    const Schedule& schedule, double reg_items, const Adversary& adversary,
                    const Optim& optim, const double* rates);

}  // namespace cpu
}  // namespace advrec
