// The table of kernels that each instruction set fills in, and dispatch.cpp chooses from.
#pragma once

#include "../kernels.h"

namespace advrec::cpu {

// Ranking's integer scan of one instruction set; int8.inl says what the numbers mean.
constexpr int kInt8Items = 256, kInt8Words = kInt8Items / 64;  // of a tile
constexpr int kInt8MostUsers = 8;                              // that a scan takes at a time
struct Int8Scan {
  int item_levels, user_levels, offset;
  int users;  // at a time
  int lanes;  // items of a vector
  void (*scan)(const int8_t* const* users, const uint8_t* tile, int64_t steps,
               const int32_t* limits, uint64_t* hits);
};
// Null where the compiler could not build it; null where this machine does not have it.
const Int8Scan* avx512vnni_scan();
const Int8Scan* vnni_scan_here();

template <class T>
struct Kernels {
  decltype(&cpu::propagate<T>) propagate;
  decltype(&cpu::triplet_margin<T>) triplet_margin;
  decltype(&cpu::triplet_margin_backward<T>) triplet_margin_backward;
  decltype(&cpu::normalize_rows<T>) normalize_rows;
  decltype(&cpu::optimizer_step<T>) optimizer_step;
  decltype(&cpu::rank<T>) rank;
  decltype(&cpu::smallest_radii<T>) smallest_radii;
  decltype(&cpu::smooth_rank<T>) smooth_rank;
  decltype(&cpu::mf_steps<T>) mf_steps;
  decltype(&cpu::lightgcn_steps<T>) lightgcn_steps;
  decltype(&cpu::amr_steps<T>) amr_steps;
};

struct KernelSet {
  const char* name;
  decltype(&cpu::sample_triplets) sample_triplets;
  decltype(&cpu::lightgcn_steps_bf16) lightgcn_steps_bf16;
  const Int8Scan* int8_scan;
  Kernels<float> f32;
  Kernels<double> f64;
};

// Null where the compiler could not build that instruction set.
const KernelSet* portable_kernels();
const KernelSet* avx2_kernels();
const KernelSet* avx512_kernels();

}  // namespace advrec::cpu
