// Device memory that is not there: aligned as cudaMalloc aligns, and never zero by luck.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

class Scratch {
 public:
  explicit Scratch(int64_t bytes) : data_(size_t(bytes) + 256) {
    std::memset(data_.data(), 0xA5, data_.size());
  }
  void* get() {
    const auto address = reinterpret_cast<uintptr_t>(data_.data());
    return reinterpret_cast<void*>((address + 255) / 256 * 256);
  }

 private:
  std::vector<char> data_;
};
