// The CUDA twins of kernels.h: the same arguments, on pointers to device memory.
//
// Every function only queues work on `stream` and returns: nothing waits for the device and nothing
// is allocated there. Scratch memory is the caller's: NAME_workspace says how many bytes NAME
// needs. Sums run in an order that is fixed by the arguments, so the same call gives the same bits.
// float32 only, and rows of at most kMaxDim values. An error throws std::runtime_error.
#pragma once

#include <cstdint>

#include "kernels.h"

namespace advrec::cuda {

constexpr int64_t kMaxDim = 512;

void sample_triplets(const Positives& pos, const SampleSpec& spec, int64_t first, int64_t count,
                     int32_t* users, int32_t* items, int32_t* negatives, void* stream);

// scratch holds [N, dim] and is needed for layers >= 2.
void propagate(const Adjacency<float>& graph, const float* x, int64_t dim, int64_t layers,
               float* scratch, float* out, void* stream);

// A triplet that names a row outside its table gets margin NaN and no gradient: checking ids on
// the host would mean waiting for the device.
void triplet_margin(const float* user_table, const float* item_table, int64_t n_users,
                    int64_t n_items, int64_t dim, const int32_t* triplets, int64_t count,
                    float* margin, void* stream);

int64_t triplet_margin_backward_workspace(int64_t n_users, int64_t n_items, int64_t count);
void triplet_margin_backward(const float* grad, const float* user_table, const float* item_table,
                             int64_t n_users, int64_t n_items, int64_t dim, const int32_t* triplets,
                             int64_t count, float* d_user, float* d_item, void* workspace,
                             void* stream);

void normalize_rows(const float* x, int64_t rows, int64_t dim, double eps, float* out,
                    void* stream);

// Rows outside [0, table_rows) are left out.
void optimizer_step(const Optim& optim, float* value, float* state1, float* state2,
                    const float* grad, const int32_t* rows, int64_t count, int64_t table_rows,
                    int64_t dim, void* stream);

// Users are ranked in as many rounds as the workspace requires: it must hold at least what
// rank_workspace returns for one user. n_relevant = relevant.indptr[n_users].
int64_t rank_workspace(int64_t n_users, int64_t n_items, int64_t k, int64_t n_relevant);
void rank(const float* users_or_scores, const float* item_vectors, int64_t n_users, int64_t n_items,
          int64_t dim, const Lists& mask, const Lists& relevant, int64_t n_relevant, int64_t k,
          int32_t* ids, float* scores, uint8_t* hits, int64_t* above, void* workspace,
          int64_t workspace_bytes, void* stream);

// Whole training steps. stats [2] on the device receives the clean and the adversarial losses,
// summed over all triplets. The steps are captured in a CUDA graph when there are enough of them.
int64_t mf_steps_workspace(const Table<float>& table, const Schedule& schedule,
                           const Adversary& adversary, const Optim& optim);
void mf_steps(const Table<float>& table, const Positives& pos, const SampleSpec& sample,
              const Schedule& schedule, const Adversary& adversary, const Optim& optim,
              void* workspace, double* stats, void* stream);

int64_t lightgcn_steps_workspace(const Table<float>& table, int64_t layers,
                                 const Schedule& schedule, const Adversary& adversary);
void lightgcn_steps(const Table<float>& table, const Adjacency<float>& graph, int64_t layers,
                    const Positives& pos, const SampleSpec& sample, const Schedule& schedule,
                    const Adversary& adversary, const Optim& optim, void* workspace, double* stats,
                    void* stream);

// Steps in one captured graph for this batch size. A call is fastest with a multiple of it.
int64_t window_steps(int64_t batch_size, int64_t n_rows);

}  // namespace advrec::cuda
