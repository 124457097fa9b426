// A test program in one header: TEST(name) { CHECK(...); }, and run_tests(argc, argv) in main.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

namespace testing {

struct Case {
  const char* name;
  void (*body)();
};
inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}
inline int failures = 0;

inline bool add(const char* name, void (*body)()) {
  cases().push_back({name, body});
  return true;
}

inline void fail(const char* file, int line, const std::string& what) {
  // A few lines tell enough of a kernel that is wrong everywhere.
  if (++failures <= 20) std::printf("    %s:%d: %s\n", file, line, what.c_str());
}

// Runs the tests whose names contain one of the arguments, or all. 0 if none failed.
inline int run_tests(int argc, char** argv) {
  int passed = 0, failed = 0;
  for (const Case& test : cases()) {
    bool selected = argc < 2;
    for (int k = 1; k < argc; ++k) selected |= std::strstr(test.name, argv[k]) != nullptr;
    if (!selected) continue;
    const int before = failures;
    try {
      test.body();
    } catch (const std::exception& error) {
      fail(test.name, 0, error.what());
    }
    const bool ok = failures == before;
    std::printf("%s %s\n", ok ? "ok    " : "FAILED", test.name);
    std::fflush(stdout);
    ++(ok ? passed : failed);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed || !passed;
}

// The largest difference, as a share of the tolerance for that entry; NaN counts as infinite
// unless both are NaN.
template <class A, class B>
double worst_error(const std::vector<A>& actual, const std::vector<B>& expected, double relative,
                   double absolute) {
  if (actual.size() != expected.size()) return HUGE_VAL;
  double worst = 0;
  for (size_t k = 0; k < actual.size(); ++k) {
    const double a = double(actual[k]), b = double(expected[k]);
    if (a == b || (a != a && b != b)) continue;
    const double error = std::fabs(a - b) / (relative * std::fabs(b) + absolute);
    worst = error == error ? std::fmax(worst, error) : HUGE_VAL;
  }
  return worst;
}

}  // namespace testing

#define TEST(name)                                                              \
  static void name();                                                           \
  [[maybe_unused]] static const bool name##_added = testing::add(#name, &name); \
  static void name()

#define CHECK(condition)                                             \
  do {                                                               \
    if (!(condition)) testing::fail(__FILE__, __LINE__, #condition); \
  } while (0)

#define CHECK_SAME(actual, expected, what)                                            \
  do {                                                                                \
    if ((actual) != (expected))                                                       \
      testing::fail(__FILE__, __LINE__, std::string(what) + ": " #actual " differs"); \
  } while (0)

#define CHECK_CLOSE(actual, expected, relative, absolute, what)                              \
  do {                                                                                       \
    const double worst = testing::worst_error(actual, expected, relative, absolute);         \
    if (!(worst <= 1))                                                                       \
      testing::fail(__FILE__, __LINE__,                                                      \
                    std::string(what) + ": " #actual " is off by " + std::to_string(worst) + \
                        " times the tolerance");                                             \
  } while (0)
