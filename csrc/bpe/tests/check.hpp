// A test framework on a page: TEST("what holds") { CHECK(...); } registers a test, check_main.cpp runs them
// all.
#pragma once

#include <ranges>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace check {

struct Test {
  std::string_view file;
  std::string_view name;
  void (*run)();
};

inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

struct Registration {
  Registration(std::string_view file, std::string_view name, void (*run)()) {
    tests().push_back({file, name, run});
  }
};

/// A value as it should stand in a failure message: lists by their elements, text in quotes.
template <typename Value>
std::string show(const Value& value) {
  std::ostringstream out;
  if constexpr (std::convertible_to<Value, std::string_view>) {
    out << '"' << std::string_view(value) << '"';
  } else if constexpr (std::ranges::range<Value>) {
    for (const auto& element : value) out << (out.tellp() > 0 ? " " : "[") << show(element);
    out << (out.tellp() > 0 ? "]" : "[]");
  } else if constexpr (requires { out << value; }) {
    out << value;
  } else {
    out << "(a value)";
  }
  return out.str();
}

[[noreturn]] inline void fail(std::string_view file, int line, const std::string& message) {
  std::ostringstream out;
  out << file << ':' << line << ": " << message;
  throw std::runtime_error(out.str());
}

}  // namespace check

#define CHECK_JOIN_(a, b) a##b
#define CHECK_JOIN(a, b) CHECK_JOIN_(a, b)
#define TEST(name)                                                                                   \
  static void CHECK_JOIN(test_, __LINE__)();                                                         \
  static const check::Registration CHECK_JOIN(registration_, __LINE__)(__FILE__, name,               \
                                                                       CHECK_JOIN(test_, __LINE__)); \
  static void CHECK_JOIN(test_, __LINE__)()

#define CHECK(condition) \
  if (!(condition)) check::fail(__FILE__, __LINE__, #condition " does not hold")

#define CHECK_EQ(actual, expected)                                                                 \
  do {                                                                                             \
    const auto& actual_ = (actual);                                                                \
    const auto& expected_ = (expected);                                                            \
    if (!(actual_ == expected_)) {                                                                 \
      check::fail(__FILE__, __LINE__,                                                              \
                  #actual " is " + check::show(actual_) + ", expected " + check::show(expected_)); \
    }                                                                                              \
  } while (false)

/// The expression must throw an `Error` whose message holds `part`.
#define CHECK_THROWS(expression, Error, part)                                                     \
  do {                                                                                            \
    std::string message_ = "nothing";                                                             \
    try {                                                                                         \
      static_cast<void>(expression);                                                              \
    } catch (const Error& error) {                                                                \
      message_ = error.what();                                                                    \
    }                                                                                             \
    if (message_.find(part) == std::string::npos) {                                               \
      check::fail(__FILE__, __LINE__, #expression " threw " + message_ + ", expected " + (part)); \
    }                                                                                             \
  } while (false)
