// Ranking's integer scan with the byte products of AVX-512 VNNI; everything else of such a machine
// is in isa_avx512.cpp. Headers are included before the target changes, as there.
#include <cstdint>
#include <cstdlib>
#include <new>

#include "isa.h"

#if defined(__x86_64__)
#include <immintrin.h>
#ifdef __clang__
#pragma clang attribute push(                                                          \
    __attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx512vnni,avx2,fma"))), \
    apply_to = function)
#else
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw,avx512vnni,avx2,fma,prefer-vector-width=512")
#endif

#define ADVREC_ISA avx512vnni
#define ADVREC_BYTES 64
#define ADVREC_VNNI
#include "simd.h"
// After simd.h.
#include "int8.inl"

#ifdef __clang__
#pragma clang attribute pop
#endif
#endif

namespace advrec::cpu {
const Int8Scan* avx512vnni_scan() {
#if defined(__x86_64__)
  return avx512vnni::own_int8_scan();
#else
  return nullptr;
#endif
}
}  // namespace advrec::cpu
