// Numbers and dates as tables write them.
#pragma once

#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "lines.h"

namespace advrec::text {

inline std::size_t count_digits(std::string_view text) {
  std::size_t count = 0;
  while (count < text.size() && is_digit(text[count])) ++count;
  return count;
}

// [+-]? (digits [. digits?] | . digits) ([eE] [+-]? digits)?
inline bool is_number(std::string_view text) {
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

inline double to_double(std::string_view text) {
#if defined(__cpp_lib_to_chars)
  const std::size_t skip = text[0] == '+' ? 1 : 0;  // from_chars takes no plus
  double value = 0;
  const auto end = text.data() + text.size();
  if (std::from_chars(text.data() + skip, end, value).ec == std::errc{}) return value;
#endif
  return std::strtod(std::string(text).c_str(), nullptr);  // too large or too small for from_chars
}

inline std::int64_t days_since_1970(std::int64_t year, std::int64_t month, std::int64_t day) {
  year -= month <= 2;  // the year begins in March, so that the leap day is its last
  const std::int64_t era = year / 400;
  const std::int64_t of_era = year - era * 400;
  const std::int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

inline std::int64_t days_in_month(std::int64_t year, std::int64_t month) {
  if (month == 2) return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28;
  return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

// Takes exactly `digits` digits off the front; -1 if they are not there.
inline std::int64_t take_digits(std::string_view& text, std::size_t digits) {
  if (count_digits(text.substr(0, digits)) != digits) return -1;
  std::int64_t value = 0;
  for (std::size_t at = 0; at < digits; ++at) value = 10 * value + (text[at] - '0');
  text.remove_prefix(digits);
  return value;
}

inline bool take_char(std::string_view& text, char expected) {
  if (text.empty() || text[0] != expected) return false;
  text.remove_prefix(1);
  return true;
}

// Seconds since 1970 of YYYY-MM-DD, or that and [T ]HH:MM[:SS[.fraction]][Z|+HH:MM|-HHMM].
inline double seconds(std::string_view text) {
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

inline double parse_number(std::string_view field, std::int64_t line, std::int64_t column,
                           bool dates) {
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

}  // namespace advrec::text
