// The kernels with 16-byte vectors: SSE2 on x86, NEON on ARM, elsewhere whatever the compiler
// makes of them.
#include "../sampler_core.h"
#include "isa.h"
#include "pool.h"

#define ADVREC_ISA portable
#define ADVREC_BYTES 16
#include "kernels.inl"

namespace advrec::cpu {
const KernelSet* portable_kernels() { return portable::kernel_set("portable"); }
}  // namespace advrec::cpu
