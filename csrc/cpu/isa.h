// The table of kernels that each instruction set fills in, and dispatch.cpp chooses from.
#pragma once

#include "../kernels.h"

namespace advrec::cpu {

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
  Kernels<float> f32;
  Kernels<double> f64;
};

// Null where the compiler could not build that instruction set.
const KernelSet* portable_kernels();
const KernelSet* avx2_kernels();
const KernelSet* avx512_kernels();

}  // namespace advrec::cpu
