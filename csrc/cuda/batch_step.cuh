// The BPR/APR arithmetic of one mini-batch on the vectors of its triplets, shared by both models.
#pragma once

#include "triplet.cuh"

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

// The row update of MF, or null pointers: then gradients only go to StepSpace.grad.
struct RowUpdate {
  Table<float> table;
  OptimKind kind;
  float reg;  // gamma
};

// slopes.clean[b] = factor * weight * dL/d margin at x, loss[b] unweighted.
void score(const Batch& batch, const Vectors& x, int64_t dim, float factor, float* slope,
           float* loss, void* stream);

// grad = clean gradient at x. With `moved`: x + eps * unit gradient of every slot; with `squares`:
// its |gradient|^2. With slot_of: notes every row's slot. Norm sample (slopes.perturbed set) adds
// the adversarial gradient.
struct GradientOut {
  float* grad;
  const float* add_to = nullptr;  // [slots, dim] added first
  float* moved = nullptr;
  float eps = 0;
  float* squares = nullptr;
  int32_t* slot_of = nullptr;
  // With value set, the row is updated with the gradient instead of storing it.
  RowUpdate update{};
};
void gradient(const Batch& batch, const Vectors& x, const Slopes& slopes, const GradientOut& out,
              int64_t dim, bool aligned, void* stream);

// *scale = eps / sqrt(sum of squares[0, n)), zero if that is zero; n = range[1] - range[0], or
// `rows` without a range.
void joint_scale(const float* squares, const int32_t* range, int64_t rows, double eps,
                 float* scale, void* stream);

// Clean score, perturbation, score again, at x; the clean slopes, and whatever `last` asks for at
// the end. `plain` vectors: space.grad has the result when last.update is not set.
struct Losses {
  float* clean;
  float* perturbed;
};
void batch_step(const Batch& batch, const Vectors& x, const StepSpace& space,
                const Adversary& adversary, const Losses& losses, const RowUpdate& update,
                int32_t* slot_of, int64_t dim, void* stream);

// Adds grad's penalty and moves the table's rows: those of the batch, or with slot_of all of them.
void apply(const Batch& batch, const float* grad, const RowUpdate& update, const int32_t* slot_of,
           void* stream);

}  // namespace advrec::cuda
