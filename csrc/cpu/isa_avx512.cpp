// The kernels with 64-byte vectors. Everything is included before the target changes except the
// kernels themselves, so that no shared inline function is compiled for this instruction set.
#include <cstdint>
#include <cstdlib>
#include <new>

#include "isa.h"
#include "pool.h"

#if defined(__x86_64__)
#include <immintrin.h>
#ifdef __clang__
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,prefer-vector-width=512")
#endif
#include "../sampler_core.h"

#define ADVREC_ISA avx512
#define ADVREC_BYTES 64
#include "kernels.inl"

#ifdef __clang__
#pragma clang attribute pop
#endif
#endif

namespace advrec::cpu {
const KernelSet* avx512_kernels() {
#if defined(__x86_64__)
  return avx512::kernel_set("avx512");
#else
  return nullptr;
#endif
}
}  // namespace advrec::cpu
