// The text reader: numeric lists (LightGCN) and delimited tables into dense codes.
//
// Knows no torch and opens no file. The bytes come from advrec/data/readers/text.py, which has
// checked that they are UTF-8 without NUL and that "\r" stands only before "\n".
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
             py::arg("rating"), py::arg("timestamp"));
}
