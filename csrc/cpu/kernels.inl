// All kernel families for one instruction set. The including isa_*.cpp has set ADVREC_ISA,
// ADVREC_BYTES and the compiler's target.
#include "simd.h"

// In the order in which they need each other.
#include "rows.inl"
#include "propagate.inl"
#include "optim.inl"
#include "sample.inl"
#include "batch.inl"
#include "bpr.inl"
#include "triplet.inl"
#include "batch_step.inl"
#include "mf.inl"
#include "lightgcn.inl"
#include "amr.inl"
#include "tile.inl"
#include "rank.inl"
#include "radii.inl"
#include "smooth_rank.inl"

namespace advrec::cpu::ADVREC_ISA {

template <class T>
constexpr Kernels<T> kernels() {
  return {&ADVREC_ISA::propagate<T>,
          &ADVREC_ISA::triplet_margin<T>,
          &ADVREC_ISA::triplet_margin_backward<T>,
          &ADVREC_ISA::normalize_rows<T>,
          &ADVREC_ISA::optimizer_step<T>,
          &ADVREC_ISA::rank<T>,
          &ADVREC_ISA::smallest_radii<T>,
          &ADVREC_ISA::smooth_rank<T>,
          &ADVREC_ISA::mf_steps<T>,
          &ADVREC_ISA::lightgcn_steps<T, T>,
          &ADVREC_ISA::amr_steps<T>};
}

inline const KernelSet* kernel_set(const char* name) {
  static const KernelSet set{name, &ADVREC_ISA::sample_triplets,
                             &ADVREC_ISA::lightgcn_steps<float, Bf16>, kernels<float>(),
                             kernels<double>()};
  return &set;
}

}  // namespace advrec::cpu::ADVREC_ISA
