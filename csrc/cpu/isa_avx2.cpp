// The kernels with 32-byte vectors. Everything is included before the target changes except the
// kernels themselves, so that no shared inline function is compiled for this instruction set.
#include <cstdint>
#include <cstdlib>
#include <new>

#include "isa.h"
#include "pool.h"

#if defined(__x86_64__)
#include <immintrin.h>
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#include "../sampler_core.h"

#define ADVREC_ISA avx2
#define ADVREC_BYTES 32
#include "kernels.inl"

#ifdef __clang__
#pragma clang attribute pop
#endif
#endif

namespace advrec::cpu {
const KernelSet* avx2_kernels() {
#if defined(__x86_64__)
  return avx2::kernel_set("avx2");
#else
  return nullptr;
#endif
}
}  // namespace advrec::cpu
