// Lines and words of a text, and what can be wrong with a line.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace advrec::text {

// What is wrong with a line. Becomes the Python exception `LineError` with these four as its args.
struct LineError {
  std::string kind;
  std::int64_t line;    // from 1
  std::int64_t number;  // a column from 0, or how many columns there are
  std::string found;
};

constexpr std::string_view kBlanks = " \t";
constexpr std::string_view kSpace = " \t\r\v\f";  // what separates the words of a line

inline bool is_digit(char c) { return c >= '0' && c <= '9'; }

inline std::string_view strip(std::string_view text, std::string_view unwanted) {
  const auto first = text.find_first_not_of(unwanted);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(unwanted) - first + 1);
}

// Walks over lines without their ends; counts from 1.
class Lines {
 public:
  explicit Lines(std::string_view data) : rest_(data) {}

  bool next(std::string_view& line) {
    if (done_) return false;
    ++number_;
    const auto end = rest_.find('\n');
    line = rest_.substr(0, end);
    done_ = end == std::string_view::npos;
    if (!done_) rest_.remove_prefix(end + 1);
    return true;
  }

  std::int64_t number() const { return number_; }

 private:
  std::string_view rest_;
  std::int64_t number_ = 0;
  bool done_ = false;
};

// The next run of anything but white space; empty at the end of the line.
inline std::string_view next_word(std::string_view& rest) {
  const auto first = rest.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  rest.remove_prefix(first);
  const auto word = rest.substr(0, rest.find_first_of(kSpace));
  rest.remove_prefix(word.size());
  return word;
}

}  // namespace advrec::text
