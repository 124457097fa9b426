// The text reader: numeric lists (LightGCN) and delimited tables into dense codes.
//
// Knows no torch and opens no file. The bytes come from advrec/data/text.py, which has checked that
// they are UTF-8 without NUL and that "\r" stands only before "\n". advrec/data/text_twin.py is the
// same in plain Python; a test compares results and errors.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace py = pybind11;

namespace {

// What is wrong with a line. Becomes the Python exception `LineError` with these four as its args.
struct LineError {
  std::string kind;
  std::int64_t line;    // from 1
  std::int64_t number;  // a column from 0, or how many columns there are
  std::string found;
};

constexpr std::string_view kBlanks = " \t";
constexpr std::string_view kSpace = " \t\r\v\f";  // what separates the words of a line

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string_view strip(std::string_view text, std::string_view unwanted) {
  const auto first = text.find_first_not_of(unwanted);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(unwanted) - first + 1);
}

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

  py::list ids() const {
    py::list ids(tokens_.size());
    for (std::size_t code = 0; code < tokens_.size(); ++code) {
      ids[code] = py::str(tokens_[code].data(), tokens_[code].size());
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
std::string_view next_word(std::string_view& rest) {
  const auto first = rest.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  rest.remove_prefix(first);
  const auto word = rest.substr(0, rest.find_first_of(kSpace));
  rest.remove_prefix(word.size());
  return word;
}

template <typename T>
py::array_t<T> to_array(std::vector<T>&& values) {
  auto* owned = new std::vector<T>(std::move(values));
  py::capsule owner(owned, [](void* pointer) { delete static_cast<std::vector<T>*>(pointer); });
  return py::array_t<T>(static_cast<py::ssize_t>(owned->size()), owned->data(), owner);
}

struct Pairs {
  std::vector<std::int32_t> users, items;
  Codes user_codes, item_codes;
};

// ---- LightGCN text ------------------------------------------------------------------------------

struct Lists : Pairs {
  std::int64_t lines = 0;  // lines that name a user
};

std::string_view checked_id(std::string_view token, std::int64_t line) {
  for (const char c : token) {
    if (!is_digit(c)) throw LineError{"id", line, 0, std::string(token)};
  }
  return token;
}

Lists parse_lists(std::string_view data) {
  Lists lists;
  Lines lines(data);
  std::string_view rest;
  while (lines.next(rest)) {
    const auto name = next_word(rest);
    if (name.empty()) continue;
    const std::int32_t user = lists.user_codes.of(checked_id(name, lines.number()));
    ++lists.lines;
    for (auto token = next_word(rest); !token.empty(); token = next_word(rest)) {
      lists.users.push_back(user);
      lists.items.push_back(lists.item_codes.of(checked_id(token, lines.number())));
    }
  }
  return lists;
}

py::tuple read_lists(const py::bytes& bytes) {
  const auto data = static_cast<std::string_view>(bytes);
  Lists lists;
  {
    py::gil_scoped_release release;
    lists = parse_lists(data);
  }
  return py::make_tuple(to_array(std::move(lists.users)), to_array(std::move(lists.items)),
                        lists.user_codes.ids(), lists.item_codes.ids(), lists.lines);
}

// ---- Numbers and dates --------------------------------------------------------------------------

std::size_t count_digits(std::string_view text) {
  std::size_t count = 0;
  while (count < text.size() && is_digit(text[count])) ++count;
  return count;
}

// [+-]? (digits [. digits?] | . digits) ([eE] [+-]? digits)?
bool is_number(std::string_view text) {
  if (!text.empty() && (text[0] == '+' || text[0] == '-')) text.remove_prefix(1);
  const std::size_t whole = count_digits(text);
  text.remove_prefix(whole);
  std::size_t fraction = 0;
  if (!text.empty() && text[0] == '.') {
    text.remove_prefix(1);
    fraction = count_digits(text);
    text.remove_prefix(fraction);
  }
  if (whole + fraction == 0) return false;
  if (text.empty()) return true;
  if (text[0] != 'e' && text[0] != 'E') return false;
  text.remove_prefix(1);
  if (!text.empty() && (text[0] == '+' || text[0] == '-')) text.remove_prefix(1);
  return !text.empty() && count_digits(text) == text.size();
}

double to_double(std::string_view text) {
#if defined(__cpp_lib_to_chars)
  const std::size_t skip = text[0] == '+' ? 1 : 0;  // from_chars takes no plus
  double value = 0;
  const auto end = text.data() + text.size();
  if (std::from_chars(text.data() + skip, end, value).ec == std::errc{}) return value;
#endif
  return std::strtod(std::string(text).c_str(), nullptr);  // too large or too small for from_chars
}

std::int64_t days_since_1970(std::int64_t year, std::int64_t month, std::int64_t day) {
  year -= month <= 2;  // the year begins in March, so that the leap day is its last
  const std::int64_t era = year / 400;
  const std::int64_t of_era = year - era * 400;
  const std::int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

std::int64_t days_in_month(std::int64_t year, std::int64_t month) {
  if (month == 2) return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28;
  return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

// Takes exactly `digits` digits off the front; -1 if they are not there.
std::int64_t take_digits(std::string_view& text, std::size_t digits) {
  if (count_digits(text.substr(0, digits)) != digits) return -1;
  std::int64_t value = 0;
  for (std::size_t at = 0; at < digits; ++at) value = 10 * value + (text[at] - '0');
  text.remove_prefix(digits);
  return value;
}

bool take_char(std::string_view& text, char wanted) {
  if (text.empty() || text[0] != wanted) return false;
  text.remove_prefix(1);
  return true;
}

// Seconds since 1970 of YYYY-MM-DD, or that and [T ]HH:MM[:SS[.fraction]][Z|+HH:MM|-HHMM].
double seconds(std::string_view text) {
  const std::int64_t year = take_digits(text, 4);
  if (year < 1 || !take_char(text, '-')) return NAN;
  const std::int64_t month = take_digits(text, 2);
  if (month < 1 || month > 12 || !take_char(text, '-')) return NAN;
  const std::int64_t day = take_digits(text, 2);
  if (day < 1 || day > days_in_month(year, month)) return NAN;
  std::int64_t hour = 0, minute = 0, second = 0, offset = 0;
  double fraction = 0;
  if (take_char(text, 'T') || take_char(text, ' ')) {
    hour = take_digits(text, 2);
    if (hour < 0 || hour > 23 || !take_char(text, ':')) return NAN;
    minute = take_digits(text, 2);
    if (minute < 0 || minute > 59) return NAN;
    if (take_char(text, ':')) {
      second = take_digits(text, 2);
      if (second < 0 || second > 59) return NAN;
      if (take_char(text, '.')) {
        const std::size_t digits = count_digits(text);
        if (digits < 1 || digits > 9) return NAN;
        const auto numerator = static_cast<double>(take_digits(text, digits));
        double denominator = 1;
        for (std::size_t at = 0; at < digits; ++at) denominator *= 10;
        fraction = numerator / denominator;
      }
    }
    if (!text.empty() && (text[0] == '+' || text[0] == '-')) {
      const int sign = text[0] == '-' ? -60 : 60;
      text.remove_prefix(1);
      const std::int64_t hours = take_digits(text, 2);
      take_char(text, ':');
      const std::int64_t minutes = take_digits(text, 2);
      if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59) return NAN;
      offset = sign * (hours * 60 + minutes);
    } else {
      take_char(text, 'Z');
    }
  }
  if (!text.empty()) return NAN;
  const std::int64_t days = days_since_1970(year, month, day);
  const std::int64_t whole = ((days * 24 + hour) * 60 + minute) * 60 + second - offset;
  return static_cast<double>(whole) + fraction;
}

double parse_number(std::string_view field, std::int64_t line, std::int64_t column, bool dates) {
  if (field.empty()) throw LineError{"empty", line, column, ""};
  double value = NAN;
  if (is_number(field)) {
    value = to_double(field);
  } else if (dates) {
    value = seconds(field);
  }
  if (!std::isfinite(value)) throw LineError{"number", line, column, std::string(field)};
  return value;
}

// ---- Delimited tables ---------------------------------------------------------------------------

struct Columns {
  std::int64_t count, user, item, rating, timestamp;  // -1: there is none
};

struct Table : Pairs {
  std::vector<double> ratings, timestamps;
  std::deque<std::string> unescaped;  // fields that held "" and so are not in the data as such
};

// Cuts lines into fields without the blanks around them.
class Splitter {
 public:
  Splitter(std::string_view separator, bool quotes, std::deque<std::string>& unescaped)
      : separator_(separator), quotes_(quotes), words_(separator == " "), unescaped_(unescaped) {}

  const std::vector<std::string_view>& split(std::string_view line, std::int64_t number) {
    fields_.clear();
    if (words_) {
      for (auto word = next_word(line); !word.empty(); word = next_word(line)) {
        fields_.push_back(word);
      }
    } else if (quotes_ && line.find('"') != std::string_view::npos) {
      split_quoted(line, number);
    } else {
      while (plain_field(line)) {
      }
    }
    return fields_;
  }

 private:
  // Takes a field and its separator off the front; false when it was the last one.
  bool plain_field(std::string_view& rest) {
    const auto end = rest.find(separator_);
    fields_.push_back(strip(rest.substr(0, end), kBlanks));
    if (end == std::string_view::npos) return false;
    rest.remove_prefix(end + separator_.size());
    return true;
  }

  void split_quoted(std::string_view rest, std::int64_t number) {
    bool more = true;
    while (more) {
      rest.remove_prefix(std::min(rest.find_first_not_of(kBlanks), rest.size()));
      more = rest.starts_with('"') ? quoted_field(rest, number) : plain_field(rest);
    }
  }

  bool quoted_field(std::string_view& rest, std::int64_t number) {
    const auto column = static_cast<std::int64_t>(fields_.size());
    bool doubled = false;
    std::size_t close = 1;
    while (true) {
      close = rest.find('"', close);
      if (close == std::string_view::npos) throw LineError{"unclosed", number, column, ""};
      if (rest.substr(close + 1, 1) != "\"") break;
      doubled = true;
      close += 2;
    }
    fields_.push_back(rest.substr(1, close - 1));
    if (doubled) fields_.back() = unescape(fields_.back());
    rest.remove_prefix(close + 1);
    const auto end = rest.find(separator_);
    const auto between = strip(rest.substr(0, end), kBlanks);
    if (!between.empty()) throw LineError{"after-quote", number, column, std::string(between)};
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
  std::deque<std::string>& unescaped_;
  std::vector<std::string_view> fields_;
};

Table parse_table(std::string_view data, std::string_view separator, bool quotes, std::int64_t skip,
                  const Columns& columns) {
  Table table;
  Splitter splitter(separator, quotes, table.unescaped);
  Lines lines(data);
  std::string_view line;
  while (lines.next(line)) {
    const std::int64_t number = lines.number();
    if (number <= skip) continue;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (strip(line, " ").empty()) continue;
    const auto& fields = splitter.split(line, number);
    const auto width = static_cast<std::int64_t>(fields.size());
    if (width != columns.count) throw LineError{"columns", number, width, ""};
    const auto field = [&](std::int64_t at) { return fields[static_cast<std::size_t>(at)]; };
    for (const std::int64_t column : {columns.user, columns.item}) {
      if (field(column).empty()) throw LineError{"empty", number, column, ""};
    }
    table.users.push_back(table.user_codes.of(field(columns.user)));
    table.items.push_back(table.item_codes.of(field(columns.item)));
    if (columns.rating >= 0) {
      table.ratings.push_back(parse_number(field(columns.rating), number, columns.rating, false));
    }
    if (columns.timestamp >= 0) {
      table.timestamps.push_back(
          parse_number(field(columns.timestamp), number, columns.timestamp, true));
    }
  }
  return table;
}

py::tuple read_table(const py::bytes& bytes, const std::string& separator, bool quotes,
                     std::int64_t skip, std::int64_t columns, std::int64_t user, std::int64_t item,
                     std::int64_t rating, std::int64_t timestamp) {
  if (separator.empty()) throw py::value_error("the separator is empty");
  for (const std::int64_t column : {user, item}) {
    if (column < 0 || column >= columns) throw py::value_error("no such column");
  }
  if (rating >= columns || timestamp >= columns) throw py::value_error("no such column");
  const auto data = static_cast<std::string_view>(bytes);
  Table table;
  {
    py::gil_scoped_release release;
    table = parse_table(data, separator, quotes, skip, {columns, user, item, rating, timestamp});
  }
  return py::make_tuple(to_array(std::move(table.users)), to_array(std::move(table.items)),
                        table.user_codes.ids(), table.item_codes.ids(),
                        to_array(std::move(table.ratings)), to_array(std::move(table.timestamps)));
}

}  // namespace

PYBIND11_MODULE(_host, module) {
  module.doc() = "Text reader; advrec/data/text_twin.py says what it does.";
  PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<py::object> line_error;
  line_error.call_once_and_store_result(
      [&] { return py::object(py::exception<LineError>(module, "LineError", PyExc_ValueError)); });
  py::register_local_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const LineError& wrong) {
      PyErr_SetObject(line_error.get_stored().ptr(),
                      py::make_tuple(wrong.kind, wrong.line, wrong.number, wrong.found).ptr());
    }
  });
  module.def("read_lists", &read_lists, py::arg("data"));
  module.def("read_table", &read_table, py::arg("data"), py::arg("separator"), py::arg("quotes"),
             py::arg("skip"), py::arg("columns"), py::arg("user"), py::arg("item"),
             py::arg("rating"), py::arg("timestamp"));
}
