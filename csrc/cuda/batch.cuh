// Mini-batches on the device, drawn and bucketed by row a window of many at a time; with batch.cu
// the twin of cpu/batch.inl.
//
// Neither depends on the embeddings, so a window's batches are made together: one kernel draws all
// triplets, and one stable sort by (batch, row) puts the places of every row side by side, in batch
// order. A run of equal keys becomes a slot. Slots are numbered through the window; those of batch
// w are [slot_base[w], slot_base[w + 1]).
#pragma once

#include <functional>

#include "../sampler_core.h"
#include "optim.cuh"
#include "replay.cuh"
#include "row_sum.cuh"
#include "sort.cuh"

namespace advrec::cuda {

enum Role : int32_t { kUser = 0, kPositive = 1, kNegative = 2 };

// What changes from step to step, kept on the device so that a captured graph can be replayed.
struct Clock {
  uint64_t seed;
  uint32_t epoch;
  int64_t step;     // of the epoch: the window's first
  int64_t updates;  // made before it
  sampler::Order order;
};

struct StepInfo {
  int32_t count;  // triplets of the batch
  float weight;   // of a triplet's loss: 1 / count for the mean, else 1
  OptimStep optim;
};

// A batch seen from its rows. Pointers are to device memory.
struct Batch {
  const int32_t* triplets;   // [3, capacity] users, positives, negatives
  const int32_t* slots;      // [3, capacity] the slot of each of them
  const int32_t* rows;       // table row of a slot, users first
  const int32_t* begin;      // where a slot's places start; one entry more than slots
  const int32_t* places;     // triplet * 4 + role
  const int32_t* slot_base;  // [2] first slot of this batch and of the next
  const StepInfo* info;
  int64_t capacity;

  __device__ int64_t n_slots() const { return slot_base[1] - slot_base[0]; }
  __device__ int32_t row(int64_t s) const { return rows[slot_base[0] + s]; }
  __device__ Span span(int64_t s) const {
    return {begin[slot_base[0] + s], begin[slot_base[0] + s + 1]};
  }
};

// Where the losses of a batch's triplets go. [capacity] each
struct Losses {
  float* clean;
  float* perturbed;
};

// Buffers of a window of `batches` batches of `capacity` triplets.
struct Window {
  int64_t batches, capacity;
  Clock* clock;
  StepInfo* info;       // [batches]
  int32_t* entries;     // [1] triplets of the window, times three
  int32_t* triplets;    // [batches, 3, capacity]
  int32_t* slots;       // [batches, 3, capacity]
  int32_t* rows;        // [entries]
  int32_t* begin;       // [entries + 1]
  int32_t* places;      // [entries]
  int32_t* slot_base;   // [batches + 1]
  int32_t* head_count;  // [tiles]
  float* loss;          // [batches, capacity]
  float* perturbed_loss;
  double* stats;  // [2] the sums of both over the windows so far
  SortSpace sort;

  int64_t max_entries() const { return 3 * batches * capacity; }
  Batch batch(int64_t w) const {
    return {triplets + 3 * w * capacity,
            slots + 3 * w * capacity,
            rows,
            begin,
            places,
            slot_base + w,
            info + w,
            capacity};
  }
  Losses losses(int64_t w) const { return {loss + w * capacity, perturbed_loss + w * capacity}; }
};

// Without `losses`, the last three arrays are left out: for bucket_triplets alone.
Window take_window(Arena& arena, int64_t batches, int64_t capacity, bool losses);

// Runs step(batch, losses, stream) for every step of the schedule, a window at a time and as CUDA
// graphs where it pays, then copies the sums of the losses to stats [2]. slot_of [N], if not null,
// is set to -1 before each window. `key` has what the step depends on besides the arguments here.
void run_steps(const Window& window, const Table<float>& table, const Positives& pos,
               const SampleSpec& sample, const Schedule& schedule, const Adversary& adversary,
               const Optim& optim, int32_t* slot_of, Key key,
               const std::function<void(const Batch&, const Losses&, void*)>& step, double* stats,
               void* stream);

// Buckets the one batch in window.triplets. Triplets with an id outside their table go
// to a slot of row n_users + n_items, which does not exist.
void bucket_triplets(const Window& window, int64_t n_users, int64_t n_items, void* stream);

}  // namespace advrec::cuda
