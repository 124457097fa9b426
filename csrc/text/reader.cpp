// The text reader: numeric lists (LightGCN) and delimited tables into dense codes.
//
// Does not use torch and opens no files. The bytes come from advrec/data/readers/text.py, which has
// checked that they are UTF-8 without NUL and that "\r" occurs only before "\n".
// advrec/data/readers/text_twin.py is the same in plain Python; a test compares results and errors.

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

#include "codes.h"
#include "lines.h"
#include "numbers.h"
#include "scan.h"
#include "split.h"

namespace py = pybind11;

namespace {

using namespace advrec::text;

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

// ---- Delimited tables ---------------------------------------------------------------------------

struct Columns {
  std::int64_t count, user, item, rating, timestamp;  // -1: there is none
};

struct Table : Pairs {
  std::vector<double> ratings, timestamps;  // where they are texts: codes into the words
  Codes rating_words, timestamp_words;
  std::int64_t dropped = 0;   // rows without a value in a column that is read
  std::int64_t spanning = 0;  // rows that run over several lines
};

struct Layout {
  std::string_view separator;
  bool quotes;
  std::int64_t skip;
  Columns columns;
  bool rating_text, timestamp_text, drop;
};

class TableParser {
 public:
  TableParser(std::string_view data, const Layout& layout)
      : layout_(layout), lines_(data), splitter_(layout.separator, layout.quotes, lines_) {
    const Columns& columns = layout.columns;
    for (const auto column : {columns.user, columns.item, columns.rating, columns.timestamp}) {
      if (column >= 0) read_.push_back(column);
    }
  }

  Table parse() {
    std::string_view line;
    while (lines_.next(line)) {
      if (lines_.number() <= layout_.skip) continue;
      if (line.ends_with('\r')) line.remove_suffix(1);
      if (strip(line, " ").empty()) continue;
      fields_ = &splitter_.split(line);
      const auto width = static_cast<std::int64_t>(fields_->size());
      if (width != layout_.columns.count) throw LineError{"columns", splitter_.first(), width, ""};
      if (splitter_.spans()) check_span(line);
      row();
    }
    return std::move(table_);
  }

 private:
  std::string_view field(std::int64_t at) const { return (*fields_)[static_cast<std::size_t>(at)]; }

  // A stray quote would swallow rows: a value that is read is on one line, and no line looks like a
  // row.
  void check_span(std::string_view line) {
    ++table_.spanning;
    for (const std::int64_t column : read_) {
      if (field(column).find('\n') == std::string_view::npos) continue;
      throw LineError{"unclosed", splitter_.first(), column, ""};
    }
    Lines inside(std::string_view(line.data(), lines_.here() - line.data()));
    std::string_view piece;
    inside.next(piece);
    for (std::int64_t number = splitter_.first() + 1; inside.next(piece); ++number) {
      if (looks_like_row(piece)) throw LineError{"swallowed", splitter_.first(), number, ""};
    }
  }

  bool looks_like_row(std::string_view line) const {
    std::vector<std::string_view> fields;
    while (true) {
      const auto end = line.find(layout_.separator);
      fields.push_back(strip(line.substr(0, end), kSpace));
      if (end == std::string_view::npos) break;
      line.remove_prefix(end + layout_.separator.size());
    }
    if (static_cast<std::int64_t>(fields.size()) != layout_.columns.count) return false;
    if (fields[0].find('"') != std::string_view::npos) return false;  // the end of the first field
    for (const std::int64_t column : read_) {
      const auto text = fields[static_cast<std::size_t>(column)];
      const bool plain = text.find_first_of(kSpace) == std::string_view::npos && !text.empty();
      const bool id = column == layout_.columns.user || column == layout_.columns.item;
      if (id ? !plain : !(text.empty() || is_digit(text[0]))) return false;
    }
    return true;
  }

  void row() {
    const Columns& columns = layout_.columns;
    const std::int64_t number = splitter_.first();
    if (layout_.drop) {
      for (const std::int64_t column : read_) {
        if (!is_missing(field(column))) continue;
        ++table_.dropped;
        return;
      }
    }
    for (const std::int64_t column : {columns.user, columns.item}) check_text(number, column);
    table_.users.push_back(table_.user_codes.of(field(columns.user)));
    table_.items.push_back(table_.item_codes.of(field(columns.item)));
    if (columns.rating >= 0) {
      table_.ratings.push_back(value(number, columns.rating, layout_.rating_text, false));
    }
    if (columns.timestamp >= 0) {
      table_.timestamps.push_back(value(number, columns.timestamp, layout_.timestamp_text, true));
    }
  }

  void check_text(std::int64_t number, std::int64_t column) const {
    const auto text = field(column);
    if (text.empty()) throw LineError{"empty", number, column, ""};
    if (is_missing(text)) throw LineError{"missing", number, column, std::string(text)};
  }

  double value(std::int64_t number, std::int64_t column, bool text, bool dates) {
    if (!text) return parse_number(field(column), number, column, dates);
    check_text(number, column);
    return (dates ? table_.timestamp_words : table_.rating_words).of(field(column));
  }

  const Layout layout_;
  Lines lines_;
  Splitter splitter_;
  std::vector<std::int64_t> read_;
  const std::vector<std::string_view>* fields_ = nullptr;
  Table table_;
};

py::tuple read_table(const py::bytes& bytes, const std::string& separator, bool quotes,
                     std::int64_t skip, std::int64_t columns, std::int64_t user, std::int64_t item,
                     std::int64_t rating, std::int64_t timestamp, bool rating_text,
                     bool timestamp_text, bool drop) {
  if (separator.empty()) throw py::value_error("the separator is empty");
  for (const std::int64_t column : {user, item}) {
    if (column < 0 || column >= columns) throw py::value_error("no such column");
  }
  if (rating >= columns || timestamp >= columns) throw py::value_error("no such column");
  const auto data = static_cast<std::string_view>(bytes);
  TableParser parser(data, {separator,
                            quotes,
                            skip,
                            {columns, user, item, rating, timestamp},
                            rating_text,
                            timestamp_text,
                            drop});
  Table table;
  {
    py::gil_scoped_release release;
    table = parser.parse();
  }
  return py::make_tuple(to_array(std::move(table.users)), to_array(std::move(table.items)),
                        table.user_codes.ids(), table.item_codes.ids(),
                        to_array(std::move(table.ratings)), to_array(std::move(table.timestamps)),
                        table.rating_words.ids(), table.timestamp_words.ids(), table.dropped,
                        table.spanning);
}

// ---- The shape of a text ------------------------------------------------------------------------

py::tuple scan(const py::bytes& bytes, std::int64_t skip) {
  const auto data = static_cast<std::string_view>(bytes);
  Scan result;
  {
    py::gil_scoped_release release;
    result = scan_text(data, skip);
  }
  py::list widths;
  for (const auto& counts : result.widths) {
    py::dict of;
    for (std::size_t fields = 0; fields < counts.size(); ++fields) {
      if (counts[fields]) of[py::int_(fields)] = counts[fields];
    }
    widths.append(of);
  }
  return py::make_tuple(result.lines, result.numeric, result.repeats, widths);
}

}  // namespace

PYBIND11_MODULE(_host, module) {
  module.doc() = "Text reader; advrec/data/readers/text_twin.py says what it does.";
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
             py::arg("rating"), py::arg("timestamp"), py::arg("rating_text") = false,
             py::arg("timestamp_text") = false, py::arg("drop") = false);
  module.def("scan", &scan, py::arg("data"), py::arg("skip"));
}
