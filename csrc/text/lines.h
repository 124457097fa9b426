// Lines and words of a text, and what can be wrong with a line.
#pragma once

#include <cstddef>
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
    rest_.remove_prefix(done_ ? rest_.size() : end + 1);
    return true;
  }

  // Takes the next line into `line`, which is the end of the last one; false at the end of the
  // text.
  bool extend(std::string_view& line) {
    const char* begin = line.data();
    std::string_view following;
    if (!next(following)) return false;
    if (following.ends_with('\r')) following.remove_suffix(1);
    line = {begin, static_cast<std::size_t>(following.data() + following.size() - begin)};
    return true;
  }

  std::int64_t number() const { return number_; }

  // Where the line that was taken last ends.
  const char* here() const { return rest_.data() - (done_ ? 0 : 1); }

 private:
  std::string_view rest_;
  std::int64_t number_ = 0;
  bool done_ = false;
};

// Does a field say that there is no value? As pandas, Python, R, Excel and SQL write it.
inline bool is_missing(std::string_view field) {
  if (field.empty()) return true;
  if (field.size() < 2 || field.size() > 4) return false;
  for (const std::string_view word :
       {"nan", "NaN", "NAN", "None", "null", "NULL", "<NA>", "NA", "N/A", "#N/A", "\\N"}) {
    if (field == word) return true;
  }
  return false;
}

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
