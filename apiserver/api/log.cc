// logfmt over spdlog: values are quoted and escaped here, time and level come from its pattern.
#include <coracle/log.h>
#include <coracle/utf8.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdio>
#include <mutex>

namespace coracle::log {
namespace {

// What would end a line, hide it or turn it round, for a terminal or for a program that reads it.
bool is_harmful(char32_t code) {
  return code < 0x20 || (code >= 0x7F && code <= 0x9F) || (code >= 0x200B && code <= 0x200F) ||
         (code >= 0x2028 && code <= 0x202E) || (code >= 0x2060 && code <= 0x206F) || code == 0xFEFF;
}

void append_escaped(std::string& out, std::string_view bytes, char32_t code) {
  char text[16];
  if (code == '"' || code == '\\') {
    (out += '\\') += static_cast<char>(code);
  } else if (code == '\n') {
    out += "\\n";
  } else if (code == '\r') {
    out += "\\r";
  } else if (code == '\t') {
    out += "\\t";
  } else if (code == utf8::kInvalid) {
    (void)std::snprintf(text, sizeof(text), "\\x%02x", static_cast<unsigned char>(bytes.front()));
    out += text;
  } else if (is_harmful(code)) {
    (void)std::snprintf(text, sizeof(text), "\\u%04x", static_cast<unsigned>(code));
    out += text;
  } else {
    out += bytes;
  }
}

// Stands without quotes: nothing in it could be taken for another key, value or line.
bool is_plain(std::string_view value) {
  return !value.empty() && std::all_of(value.begin(), value.end(), [](char c) {
    return c > ' ' && c <= '~' && c != '"' && c != '=' && c != '\\';
  });
}

void append_value(std::string& out, std::string_view value) {
  const std::string_view shown = utf8::head(value, kMaxValue);
  if (shown.size() == value.size() && is_plain(value)) {
    out += value;
    return;
  }
  out += '"';
  for (std::size_t at = 0; at < shown.size();) {
    const utf8::Character c = utf8::first(shown.substr(at));
    append_escaped(out, shown.substr(at, c.size), c.code);
    at += c.size;
  }
  if (shown.size() < value.size())
    out += " (and " + std::to_string(value.size() - shown.size()) + " bytes)";
  out += '"';
}

spdlog::level::level_enum level_of(Level level) {
  switch (level) {
    case Level::Debug:
      return spdlog::level::debug;
    case Level::Info:
      return spdlog::level::info;
    case Level::Warning:
      return spdlog::level::warn;
    case Level::Error:
      return spdlog::level::err;
  }
  return spdlog::level::off;
}

}  // namespace

std::string format(std::string_view component, std::string_view message, Fields fields) {
  std::string out = "component=";
  append_value(out, component);
  out += " msg=";
  append_value(out, message);
  for (const Field& field : fields) {
    ((out += ' ') += field.key) += '=';
    append_value(out, field.value);
  }
  return out;
}

void write(Level level, std::string_view component, std::string_view message, Fields fields) {
  static std::once_flag once;
  std::call_once(once, [] {
    spdlog::set_pattern("time=%Y-%m-%dT%H:%M:%S.%eZ level=%l %v", spdlog::pattern_time_type::utc);
  });
  spdlog::logger* logger = spdlog::default_logger_raw();
  if (!logger->should_log(level_of(level))) return;
  // Not as a format: whatever braces are in it mean nothing.
  logger->log(level_of(level), spdlog::string_view_t(format(component, message, fields)));
}

}  // namespace coracle::log
