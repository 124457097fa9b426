// Cuts the lines of a table into fields.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "lines.h"

namespace advrec::text {

// Fields come without the blanks around them. A field in quotes may run over several lines: the
// splitter then takes them from `lines`, which is just past the line that is split.
class Splitter {
 public:
  Splitter(std::string_view separator, bool quotes, Lines& lines)
      : separator_(separator), quotes_(quotes), words_(separator == " "), lines_(lines) {}

  const std::vector<std::string_view>& split(std::string_view line) {
    fields_.clear();
    first_ = lines_.number();
    if (words_) {
      for (auto word = next_word(line); !word.empty(); word = next_word(line)) {
        fields_.push_back(word);
      }
    } else if (quotes_ && line.find('"') != std::string_view::npos) {
      split_quoted(line);
    } else {
      split_plain(line);
    }
    return fields_;
  }

  std::int64_t first() const { return first_; }  // line on which the fields begin
  bool spans() const { return lines_.number() > first_; }

 private:
  void split_plain(std::string_view rest) {
    while (plain_field(rest)) {
    }
  }

  // Takes a field and its separator off the front; false when it was the last one.
  bool plain_field(std::string_view& rest) {
    const auto end = rest.find(separator_);
    fields_.push_back(strip(rest.substr(0, end), kBlanks));
    if (end == std::string_view::npos) return false;
    rest.remove_prefix(end + separator_.size());
    return true;
  }

  void split_quoted(std::string_view rest) {
    bool more = true;
    while (more) {
      rest.remove_prefix(std::min(rest.find_first_not_of(kBlanks), rest.size()));
      more = rest.starts_with('"') ? quoted_field(rest) : plain_field(rest);
    }
  }

  bool quoted_field(std::string_view& rest) {
    const auto column = static_cast<std::int64_t>(fields_.size());
    bool doubled = false;
    std::size_t close = 1;
    while (true) {
      const std::size_t from = close;
      close = rest.find('"', from);
      if (close == std::string_view::npos) {
        close = std::max(from, rest.size());
        if (!lines_.extend(rest)) throw LineError{"unclosed", first_, column, ""};
        continue;
      }
      if (rest.substr(close + 1, 1) != "\"") break;
      doubled = true;
      close += 2;
    }
    fields_.push_back(rest.substr(1, close - 1));
    if (doubled) fields_.back() = unescape(fields_.back());
    rest.remove_prefix(close + 1);
    const auto end = rest.find(separator_);
    const auto between = strip(rest.substr(0, end), kBlanks);
    if (!between.empty()) throw LineError{"after-quote", first_, column, std::string(between)};
    if (end == std::string_view::npos) return false;
    rest.remove_prefix(end + separator_.size());
    return true;
  }

  std::string_view unescape(std::string_view content) {
    std::string& text = unescaped_.emplace_back();
    for (std::size_t at = 0; at < content.size(); ++at) {
      text.push_back(content[at]);
      if (content[at] == '"') ++at;
    }
    return text;
  }

  const std::string_view separator_;
  const bool quotes_, words_;
  Lines& lines_;
  std::int64_t first_ = 0;
  std::deque<std::string> unescaped_;  // fields that held "" and so are not in the data as such
  std::vector<std::string_view> fields_;
};

}  // namespace advrec::text
