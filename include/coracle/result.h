// Result<T>: a value or an Error, neither of which can be dropped by accident.
// The member names are those of std::expected, so readers survive a move to C++23.
#pragma once

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace coracle {

// Kubernetes' reasons, which is also how callers ask about an error (see apiserver/status.cc for
// the one place that turns them into HTTP codes).
enum class Code {
  BadRequest,
  Unauthorized,
  Forbidden,
  NotFound,
  MethodNotAllowed,
  NotAcceptable,
  AlreadyExists,
  Conflict,
  Expired,
  TooLarge,
  UnsupportedMediaType,
  Invalid,
  TooManyRequests,
  Internal,
  Unavailable,
  Timeout,
};

// One bad field of a request: a StatusCause. `reason` is Kubernetes' ("FieldValueInvalid", ...).
struct Cause {
  std::string reason;
  std::string message;
  std::string field;
  bool operator==(const Cause&) const = default;
};

struct [[nodiscard]] Error {
  Code code = Code::Internal;
  std::string message;
  std::vector<Cause> causes = {};
  int retry_after_seconds = 0;

  // The same error with "what: " before its message.
  Error context(const std::string& what) const& {
    Error e = *this;
    e.message = what + ": " + message;
    return e;
  }
  static Error from_errno(int error_number, const std::string& what) {
    Code code = Code::Internal;
    if (error_number == ENOENT || error_number == ESRCH || error_number == ENODEV)
      code = Code::NotFound;
    if (error_number == EEXIST) code = Code::AlreadyExists;
    if (error_number == EINVAL) code = Code::BadRequest;
    return {code, what + ": " +
                      std::strerror(error_number)};  // NOLINT(concurrency-mt-unsafe): glibc's is
  }
};

template <typename T>
class [[nodiscard]] Result {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor): a value or an error is returned as it is
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  // NOLINTNEXTLINE(google-explicit-constructor): a value or an error is returned as it is
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }
  // REQUIRES: has_value().
  T& value() & { return *std::get_if<0>(&state_); }
  const T& value() const& { return *std::get_if<0>(&state_); }
  T&& value() && { return std::move(*std::get_if<0>(&state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return std::get_if<0>(&state_); }
  const T* operator->() const { return std::get_if<0>(&state_); }
  // REQUIRES: !has_value().
  Error& error() & { return *std::get_if<1>(&state_); }
  const Error& error() const& { return *std::get_if<1>(&state_); }
  Error&& error() && { return std::move(*std::get_if<1>(&state_)); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  // NOLINTNEXTLINE(google-explicit-constructor): a value or an error is returned as it is
  Result(Error error) : error_(std::move(error)), failed_(true) {}

  bool has_value() const { return !failed_; }
  explicit operator bool() const { return !failed_; }
  void value() const {}
  Error& error() & { return error_; }
  const Error& error() const& { return error_; }
  Error&& error() && { return std::move(error_); }

 private:
  Error error_;
  bool failed_ = false;
};

inline bool is_not_found(const Error& e) {
  return e.code == Code::NotFound;
}
inline bool is_conflict(const Error& e) {
  return e.code == Code::Conflict;
}
inline bool is_already_exists(const Error& e) {
  return e.code == Code::AlreadyExists;
}
inline bool is_expired(const Error& e) {
  return e.code == Code::Expired;
}

}  // namespace coracle

// TRY(expr): the value of a Result, or return its error from the enclosing function. Nests.
#define TRY(expression) CORACLE_TRY_AS(expression, __COUNTER__)
#define CORACLE_TRY_AS(expression, id) CORACLE_TRY_WITH(expression, CORACLE_TRY_NAME(id))
#define CORACLE_TRY_NAME(id) try_result_##id
#define CORACLE_TRY_WITH(expression, result)                   \
  __extension__({                                              \
    auto result = (expression);                                \
    if (!result.has_value()) return std::move(result).error(); \
    std::move(result).value();                                 \
  })
