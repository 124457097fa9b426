// The BPR/APR arithmetic of one mini-batch on the rows it touches; with batch_step.cu the twin of
// cpu/batch_step.inl.
#pragma once

#include "bpr.cuh"
#include "optim.cuh"
#include "rows.cuh"

namespace advrec::cuda {

// Scratch of one step; `capacity` triplets have at most 3 * capacity slots.
struct StepSpace {
  Slopes slopes;   // [capacity] each
  float* grad;     // [slots, dim] d(clean + lambda * adversarial) / d vectors
  float* moved;    // [slots, dim] the perturbed vectors, unless norm = sample
  float* squares;  // [slots] of the clean gradient, for norm = joint
  float* scale;    // [1] eps / |gradient|, for norm = joint
};

StepSpace take_step_space(Arena& arena, int64_t capacity, int64_t dim, const Adversary& adversary);

// How a table's row follows its gradient.
struct RowUpdate {
  Table<float> table;
  OptimKind kind;
  float reg;  // gamma
};

// The penalty's gradient is this times the row: gamma * weight * places of slot s (negative: none).
__device__ inline float penalty_of(const Batch& batch, float reg, int64_t s) {
  if (s < 0 || reg == 0) return 0;
  const Span span = batch.span(s);
  return reg * batch.info->weight * float(span.end - span.begin);
}

// Moves VEC values of the table at `at`, after adding the penalty of the values as they were.
template <int VEC>
__device__ inline void update_values(const RowUpdate& u, const OptimStep& step, float penalty,
                                     int64_t at, Pack<VEC> grad) {
  const Table<float>& t = u.table;
  if (penalty != 0) {
    const Pack<VEC> x = load<VEC>(t.value + at);
#pragma unroll
    for (int i = 0; i < VEC; ++i) grad.v[i] = fmaf(penalty, x.v[i], grad.v[i]);
  }
  update<VEC>(u.kind, step, t.value, t.state1, t.state2, at, grad);
}

template <class Row>
__device__ inline void update_row(const Batch& batch, const RowUpdate& u, int64_t s, int64_t r,
                                  const Row& grad, const Lanes& lanes, int dim) {
  const OptimStep step = batch.info->optim;
  const float penalty = penalty_of(batch, u.reg, s);
  Row::each(lanes, dim, [&](int b, int column) {
    update_values<Row::kVec>(u, step, penalty, r * dim + column, grad.block[b]);
  });
}

// slope[b] = factor * weight * dL/d margin at x; loss[b] is unweighted.
void score(const Batch& batch, const Vectors& x, int64_t dim, float factor, float* slope,
           float* loss, void* stream);

// Where every slot's gradient at x goes.
struct GradientOut {
  float* grad;                    // [slots, dim] where it goes,
  const float* add_to = nullptr;  // [slots, dim] after this was added;
  RowUpdate update{};             // with a table: it moves the row instead
  float* moved = nullptr;         // [slots, dim] x + eps * gradient / |gradient|
  float eps = 0;
  float* squares = nullptr;    // [slots] |gradient|^2
  int32_t* slot_of = nullptr;  // [N] the slot of each row of the batch is noted here
};
void gradient(const Batch& batch, const Vectors& x, const Slopes& slopes, const GradientOut& out,
              int64_t dim, bool aligned, void* stream);

// *scale = eps / sqrt(sum of squares[0, n)), zero if that is zero; n = range[1] - range[0], or
// `rows` without a range.
void joint_scale(const float* squares, const int32_t* range, int64_t rows, double eps, float* scale,
                 void* stream);

// Scores, gradient, perturbation, scores and gradient there. space.grad has the whole gradient of
// every slot, unless `update` has a table and norm is row or joint: then the rows have been moved.
void batch_step(const Batch& batch, const Vectors& x, const StepSpace& space,
                const Adversary& adversary, const Losses& losses, const RowUpdate& update,
                int32_t* slot_of, int64_t dim, void* stream);

// Moves the table's rows against grad: those of the batch, or with slot_of all of them.
void apply(const Batch& batch, const float* grad, const RowUpdate& update, const int32_t* slot_of,
           void* stream);

}  // namespace advrec::cuda
