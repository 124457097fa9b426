// Runs the same window of steps again and again, as one captured CUDA graph.
//
// Everything that differs between two windows is read from device memory (Clock), so a window is
// captured once, if there are enough of them, and then costs one launch. A graph is kept for later
// calls under its key: every pointer, size and constant that the capture fixed.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <functional>
#include <string>

namespace advrec::cuda {

class Key {
 public:
  template <class... T>
  Key& add(const T&... values) {
    (append(&values, sizeof(T)), ...);
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  void append(const void* data, size_t size) {
    bytes_.append(static_cast<const char*>(data), size);
  }
  std::string bytes_;
};

// Calls or replays body(n, stream) for windows of `window` steps, and once more for the rest.
void run_windows(int64_t steps, int64_t window, const Key& key,
                 const std::function<void(int64_t, void*)>& body, void* stream);

}  // namespace advrec::cuda
