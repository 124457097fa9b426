// Large pages for large arrays that are read at random.
//
// A table of 17 MB has 4,300 pages of 4 KiB, more than the processor keeps translations for, so
// that gathering its rows would wait for page tables as often as for data.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25  // Linux 6.1
#endif
#endif

namespace advrec::cpu {

constexpr size_t kHugePage = size_t(2) << 20;

// Asks the system to hold [data, data + bytes) in huge pages: at once if it has been written
// already
// (`filled`), else when it is first written. Only a hint: the system may ignore it.
[[maybe_unused]] static inline void want_huge_pages(const void* data, size_t bytes, bool filled) {
#if defined(__linux__)
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + kHugePage - 1) & ~(kHugePage - 1);
  const uintptr_t end = (reinterpret_cast<uintptr_t>(data) + bytes) & ~(kHugePage - 1);
  if (end <= begin) return;
  void* const at = reinterpret_cast<void*>(begin);
  madvise(at, end - begin, MADV_HUGEPAGE);
  if (filled) madvise(at, end - begin, MADV_COLLAPSE);
#else
  (void)data, (void)bytes, (void)filled;
#endif
}

}  // namespace advrec::cpu
