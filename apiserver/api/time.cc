#include <coracle/clock.h>

#include <algorithm>
#include <cstdio>
#include <ctime>

namespace coracle {
namespace {

class SystemClock final : public Clock {
 public:
  std::chrono::system_clock::time_point now() const override {
    return std::chrono::system_clock::now();
  }
  std::chrono::steady_clock::time_point steady_now() const override {
    return std::chrono::steady_clock::now();
  }
};

std::tm to_utc(std::chrono::system_clock::time_point time) {
  const std::time_t seconds =
      std::chrono::system_clock::to_time_t(std::chrono::floor<std::chrono::seconds>(time));
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  return utc;
}

}  // namespace

const Clock& system_clock() {
  static const SystemClock clock;
  return clock;
}

std::string format_time(std::chrono::system_clock::time_point time) {
  const std::tm utc = to_utc(time);
  char text[32];
  const std::size_t size = std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return {text, size};
}

std::string format_micro_time(std::chrono::system_clock::time_point time) {
  const auto whole = std::chrono::floor<std::chrono::seconds>(time);
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(time - whole).count();
  char fraction[16];
  (void)std::snprintf(fraction, sizeof(fraction), ".%06dZ", static_cast<int>(micros));
  std::string text = format_time(whole);
  text.pop_back();
  return text + fraction;
}

std::chrono::system_clock::time_point parse_time(const std::string& text) {
  std::tm utc{};
  const char* rest = strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &utc);
  if (rest == nullptr) return {};
  std::int64_t micros = 0;
  if (*rest == '.') {
    std::int64_t scale = 100000;
    for (++rest; *rest >= '0' && *rest <= '9'; ++rest, scale /= 10) micros += scale * (*rest - '0');
  }
  std::int64_t offset = 0;
  if (*rest == '+' || *rest == '-') {
    int hours = 0;
    int minutes = 0;
    if (std::sscanf(rest + 1, "%2d:%2d", &hours, &minutes) != 2) return {};  // NOLINT(cert-err34-c)
    offset = (std::int64_t{hours} * 60 + minutes) * 60 * (*rest == '+' ? 1 : -1);
  } else if (*rest != 'Z' || rest[1] != '\0') {
    return {};
  }
  // 1900 to 2188: a time_point holds nanoseconds, and so must the difference of two.
  constexpr std::int64_t kFirst = -2'208'988'800;
  constexpr std::int64_t kLast = 6'900'000'000;
  return std::chrono::system_clock::from_time_t(
             std::clamp(std::int64_t{timegm(&utc)} - offset, kFirst, kLast)) +
         std::chrono::microseconds(micros);
}

}  // namespace coracle
