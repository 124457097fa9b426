// Dense codes of the ids in a text.
#pragma once

#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "lines.h"

namespace advrec::text {

// Dense codes of tokens by first appearance. The tokens must outlive it.
class Codes {
 public:
  Codes() : slots_(1 << 10, -1) {}

  std::int32_t of(std::string_view token) {
    const auto number = small_number(token);
    if (!number) return hashed(token);
    if (*number >= numbers_.size()) numbers_.resize(2 * *number + 1, -1);
    std::int32_t& code = numbers_[*number];
    if (code < 0) code = append(token);
    return code;
  }

  pybind11::list ids() const {
    pybind11::list ids(tokens_.size());
    for (std::size_t code = 0; code < tokens_.size(); ++code) {
      ids[code] = pybind11::str(tokens_[code].data(), tokens_[code].size());
    }
    return ids;
  }

 private:
  // Most ids are short numbers: a table indexed by their value needs no hash. "007" is not "7".
  static std::optional<std::size_t> small_number(std::string_view token) {
    constexpr std::size_t kMostDigits = 6;  // at most 2 million entries
    if (token.empty() || token.size() > kMostDigits) return std::nullopt;
    if (token[0] == '0' && token.size() > 1) return std::nullopt;
    std::size_t value = 0;
    for (const char c : token) {
      if (!is_digit(c)) return std::nullopt;
      value = 10 * value + static_cast<std::size_t>(c - '0');
    }
    return value;
  }

  std::int32_t append(std::string_view token) {
    tokens_.push_back(token);
    return static_cast<std::int32_t>(tokens_.size() - 1);
  }

  std::int32_t hashed(std::string_view token) {
    const std::size_t hash = std::hash<std::string_view>{}(token);
    std::size_t slot = hash & (slots_.size() - 1);
    while (slots_[slot] >= 0) {
      if (tokens_[static_cast<std::size_t>(slots_[slot])] == token) return slots_[slot];
      slot = (slot + 1) & (slots_.size() - 1);
    }
    slots_[slot] = append(token);
    const std::int32_t code = slots_[slot];
    if (2 * ++in_slots_ > slots_.size()) grow();
    return code;
  }

  void grow() {
    std::vector<std::int32_t> old(2 * slots_.size(), -1);
    old.swap(slots_);
    for (const std::int32_t code : old) {
      if (code < 0) continue;
      const auto& token = tokens_[static_cast<std::size_t>(code)];
      std::size_t slot = std::hash<std::string_view>{}(token) & (slots_.size() - 1);
      while (slots_[slot] >= 0) slot = (slot + 1) & (slots_.size() - 1);
      slots_[slot] = code;
    }
  }

  std::vector<std::string_view> tokens_;  // by code
  std::vector<std::int32_t> numbers_;     // code of a small number, -1: not seen
  std::vector<std::int32_t> slots_;       // open addressing, a power of two, -1: free
  std::size_t in_slots_ = 0;
};

}  // namespace advrec::text
