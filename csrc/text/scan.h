// How many fields each separator would give on every line of a text.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "lines.h"
#include "split.h"

namespace advrec::text {

constexpr std::array<std::string_view, 7> kSeparators = {"::", "\t", ",", ";", "|", " ", ":"};
constexpr std::array<std::size_t, 3> kQuoted = {2, 3, 4};  // those whose fields may be in quotes
constexpr std::size_t kMostFields = 1 << 12;               // larger numbers count as this

struct Scan {
  std::int64_t lines = 0;    // that are not blank
  std::int64_t numeric = 0;  // of them, lines of whole numbers between blanks
  bool repeats = false;      // does a numeric line begin with the number of an earlier one?
  // How many lines have so many fields; 0 where the quotes are not sound.
  std::array<std::vector<std::int64_t>, kSeparators.size()> widths;

  void count(std::size_t separator, std::size_t fields, std::int64_t times) {
    auto& of = widths[separator];
    fields = std::min(fields, kMostFields);
    if (fields >= of.size()) of.resize(fields + 1);
    of[fields] += times;
  }
};

// Most lines of a table have the fields of the line before: they are counted together.
class Runs {
 public:
  using Fields = std::array<std::size_t, kSeparators.size()>;  // 0: not counted here

  explicit Runs(Scan& scan) : scan_(scan) {}

  void add(const Fields& fields) {
    if (fields != fields_) {
      flush();
      fields_ = fields;
    }
    ++times_;
  }

  void flush() {
    for (std::size_t at = 0; times_ && at < fields_.size(); ++at) {
      if (fields_[at] || at == kBlank) scan_.count(at, fields_[at], times_);
    }
    times_ = 0;
  }

 private:
  static constexpr std::size_t kBlank = 5;  // a line of tabs has no word
  Scan& scan_;
  Fields fields_{};
  std::int64_t times_ = 0;
};

// Counts of the bytes that matter, eight bits each in one number: at most 255 bytes at a time.
class Marks {
 public:
  enum Mark : std::size_t { kTab, kComma, kSemicolon, kBar, kColon, kOther, kMarks };

  explicit Marks(std::string_view line) {
    static const auto table = weights();
    for (std::size_t at = 0; at < line.size(); at += 255) {
      std::uint64_t sum = 0;
      for (const char c : line.substr(at, 255)) sum += table[static_cast<unsigned char>(c)];
      for (std::size_t mark = 0; mark < kMarks; ++mark) {
        counts_[mark] += static_cast<std::size_t>(sum >> (8 * mark) & 255);
      }
    }
  }

  std::size_t operator[](Mark mark) const { return counts_[mark]; }

 private:
  static std::array<std::uint64_t, 256> weights() {
    std::array<std::uint64_t, 256> table{};
    table.fill(std::uint64_t{1} << (8 * kOther));  // neither a digit nor white space
    for (unsigned char c = '0'; c <= '9'; ++c) table[c] = 0;
    for (const char c : kSpace) table[static_cast<unsigned char>(c)] = 0;
    table['\t'] = std::uint64_t{1} << (8 * kTab);
    table[','] = (std::uint64_t{1} << (8 * kComma)) + (std::uint64_t{1} << (8 * kOther));
    table[';'] = (std::uint64_t{1} << (8 * kSemicolon)) + (std::uint64_t{1} << (8 * kOther));
    table['|'] = (std::uint64_t{1} << (8 * kBar)) + (std::uint64_t{1} << (8 * kOther));
    table[':'] = (std::uint64_t{1} << (8 * kColon)) + (std::uint64_t{1} << (8 * kOther));
    return table;
  }

  std::array<std::size_t, kMarks> counts_{};
};

inline std::size_t count_words(std::string_view line) {
  static const auto space = [] {
    std::array<bool, 256> table{};
    for (const char c : kSpace) table[static_cast<unsigned char>(c)] = true;
    return table;
  }();
  std::size_t words = 0;
  bool before = true;
  for (const char c : line) {
    const bool here = space[static_cast<unsigned char>(c)];
    words += static_cast<std::size_t>(before && !here);
    before = here;
  }
  return words;
}

inline std::size_t count_of(std::string_view line, std::string_view part) {
  std::size_t count = 0;
  for (auto at = line.find(part); at != std::string_view::npos;
       at = line.find(part, at + part.size())) {
    ++count;
  }
  return count;
}

inline void scan_quoted(std::string_view data, std::int64_t skip, std::size_t which, Scan& scan) {
  Lines lines(data);
  Splitter splitter(kSeparators[which], true, lines);
  std::string_view line;
  while (lines.next(line)) {
    if (lines.number() <= skip) continue;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (strip(line, " ").empty()) continue;
    const Lines before = lines;
    std::size_t fields = 0;
    try {
      fields = splitter.split(line).size();
    } catch (const LineError&) {
      lines = before;
    }
    scan.count(which, fields, 1);
  }
}

inline Scan scan_text(std::string_view data, std::int64_t skip) {
  Scan scan;
  const bool quotes = data.find('"') != std::string_view::npos;
  std::unordered_set<std::string_view> users;
  Runs runs(scan);
  Lines lines(data);
  std::string_view line;
  while (lines.next(line)) {
    if (lines.number() <= skip) continue;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (strip(line, " ").empty()) continue;
    ++scan.lines;
    const Marks marks(line);
    const std::size_t colons = marks[Marks::kColon];
    const std::size_t words = count_words(line);
    const auto quotable = [&](Marks::Mark mark) { return quotes ? 0 : 1 + marks[mark]; };
    runs.add({1 + (colons > 1 ? count_of(line, kSeparators[0]) : 0), 1 + marks[Marks::kTab],
              quotable(Marks::kComma), quotable(Marks::kSemicolon), quotable(Marks::kBar), words,
              1 + colons});
    if (marks[Marks::kOther] || !words) continue;
    ++scan.numeric;
    if (!scan.repeats) scan.repeats = !users.insert(next_word(line)).second;
  }
  runs.flush();
  if (quotes) {
    for (const std::size_t which : kQuoted) scan_quoted(data, skip, which, scan);
  }
  return scan;
}

}  // namespace advrec::text
