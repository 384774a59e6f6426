// Structured log lines, one per call, on standard output:
//   time=2026-01-02T03:04:05.678Z level=warning component=pods msg="..." pod=default/web
//   error="..."
// Whatever a value holds, it stays on its line and inside its quotes. Only programs' loops log;
// what is called by others returns its errors (see STYLE). Thread-safe.
#pragma once

#include <concepts>
#include <initializer_list>
#include <string>
#include <string_view>

namespace coracle::log {

enum class Level { Debug, Info, Warning, Error };

// The key is ours, a plain word; the value may be anything.
struct Field {
  Field(std::string_view k, std::string_view v) : key(k), value(v) {}
  template <std::integral Number>
  Field(std::string_view k, Number v) : key(k), value(std::to_string(v)) {}
  std::string_view key;
  std::string value;
};
using Fields = std::initializer_list<Field>;

// Of a longer value only this much is shown, and how much more there was.
inline constexpr std::size_t kMaxValue = 2048;

// component=... msg=... and the fields: what follows time and level. Pure.
std::string format(std::string_view component, std::string_view message, Fields fields);

// Debug lines are dropped unless the program's level was lowered. The message says what happens,
// and what happens next when it is a trouble; what it is about goes into fields.
void write(Level level, std::string_view component, std::string_view message, Fields fields = {});

inline void debug(std::string_view component, std::string_view message, Fields fields = {}) {
  write(Level::Debug, component, message, fields);
}
inline void info(std::string_view component, std::string_view message, Fields fields = {}) {
  write(Level::Info, component, message, fields);
}
inline void warn(std::string_view component, std::string_view message, Fields fields = {}) {
  write(Level::Warning, component, message, fields);
}
inline void error(std::string_view component, std::string_view message, Fields fields = {}) {
  write(Level::Error, component, message, fields);
}

}  // namespace coracle::log
