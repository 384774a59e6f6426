#include <coracle/quantity.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

namespace coracle {
namespace {

constexpr std::uint64_t kLargest = std::numeric_limits<std::int64_t>::max();

std::uint64_t times(std::uint64_t a, std::uint64_t b) {
  std::uint64_t out = 0;
  return __builtin_mul_overflow(a, b, &out) ? kLargest : std::min(out, kLargest);
}
std::uint64_t power(std::uint64_t base, int exponent) {
  std::uint64_t out = 1;
  for (int i = 0; i < exponent; ++i) out = times(out, base);
  return out;
}

struct Suffix {
  const char* text;
  int tens, twos;
};
constexpr Suffix kSuffixes[] = {{"", 0, 0},    {"n", -9, 0},  {"u", -6, 0},  {"m", -3, 0},
                                {"k", 3, 0},   {"M", 6, 0},   {"G", 9, 0},   {"T", 12, 0},
                                {"P", 15, 0},  {"E", 18, 0},  {"Ki", 0, 10}, {"Mi", 0, 20},
                                {"Gi", 0, 30}, {"Ti", 0, 40}, {"Pi", 0, 50}, {"Ei", 0, 60}};

// Whether it is, times `scale`; so is one that is too large to tell.
bool is_whole(const std::string& text, std::uint64_t scale) {
  const std::int64_t number = quantity(text, scale);
  return number >= static_cast<std::int64_t>(kLargest / 1000) ||
         number * 1000 == quantity(text, scale * 1000);
}

// "e3" and the like, or one of the suffixes.
bool read_suffix(const std::string& text, int& tens, int& twos) {
  for (const Suffix& suffix : kSuffixes) {
    if (text != suffix.text) continue;
    tens += suffix.tens;
    twos = suffix.twos;
    return true;
  }
  if (text.size() < 2 || text.size() > 4 || (text[0] != 'e' && text[0] != 'E')) return false;
  const std::size_t digits = text[1] == '-' || text[1] == '+' ? 2 : 1;
  if (digits == text.size() || text.find_first_not_of("0123456789", digits) != std::string::npos)
    return false;
  const int exponent = std::stoi(text.substr(digits));
  tens += text[1] == '-' ? -exponent : exponent;
  return true;
}

}  // namespace

std::int64_t quantity(const std::string& text, std::uint64_t scale) {
  if (text.starts_with('+')) return quantity(text.substr(1), scale);
  const std::size_t end = std::min(text.find_first_not_of("0123456789."), text.size());
  std::uint64_t number = 0;
  int tens = 0;
  bool fraction = false;
  for (std::size_t i = 0; i < end; ++i) {
    if (text[i] == '.') {
      if (std::exchange(fraction, true)) return 0;
      continue;
    }
    if (number >= kLargest / 10 / scale) {  // more digits than any quantity needs
      if (!fraction) ++tens;
      continue;
    }
    number = number * 10 + static_cast<std::uint64_t>(text[i] - '0');
    if (fraction) --tens;
  }
  int twos = 0;
  if (end == 0 || !read_suffix(text.substr(end), tens, twos)) return 0;
  const std::uint64_t whole = times(times(number, power(2, twos)), scale);
  const std::uint64_t divisor = power(10, -tens);
  const std::uint64_t out =
      tens >= 0 ? times(whole, power(10, tens)) : whole / divisor + (whole % divisor != 0);
  return static_cast<std::int64_t>(out);
}

std::int64_t quantity(const Json& value, std::uint64_t scale) {
  if (value.is_string()) return quantity(value.get_ref<const std::string&>(), scale);
  return value.is_number() ? quantity(value.dump(), scale) : 0;
}

bool is_quantity(const std::string& text) {
  const std::size_t begin = text.find_first_of("+-") == 0 ? 1 : 0;
  const std::size_t end = std::min(text.find_first_not_of("0123456789.", begin), text.size());
  const auto dots = static_cast<std::size_t>(std::count(text.begin(), text.end(), '.'));
  int tens = 0;
  int twos = 0;
  return dots <= 1 && end - begin > dots && read_suffix(text.substr(end), tens, twos);
}

bool is_whole_quantity(const std::string& text) {
  return is_whole(text, 1);
}

int compare_quantities(const std::string& a, const std::string& b) {
  for (const std::uint64_t scale : {std::uint64_t{1}, std::uint64_t{1'000'000'000}}) {
    const std::int64_t left = quantity(a, scale);
    const std::int64_t right = quantity(b, scale);
    if (left != right) return left < right ? -1 : 1;
  }
  return 0;
}

std::string canonical_quantity(const std::string& text) {
  if (!is_quantity(text) || text.starts_with('-')) return text;
  const bool binary = text.ends_with('i');
  if (text.find_first_of("eE") < text.size() - 1 && !binary) return text;  // "1e3" stays one
  std::uint64_t scale = 1;
  while (scale < 1'000'000'000 && !is_whole(text, scale)) scale *= 1000;
  std::int64_t number = quantity(text, scale);
  if (number >= static_cast<std::int64_t>(kLargest / 1000)) return text;
  const bool in_twos = binary && scale == 1 && number >= 1024;
  static constexpr const char* kTens[] = {"n", "u", "m", "", "k", "M", "G", "T", "P", "E"};
  static constexpr const char* kTwos[] = {"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"};
  std::size_t unit = in_twos ? 0 : scale == 1 ? 3 : scale == 1000 ? 2 : scale == 1'000'000 ? 1 : 0;
  const std::int64_t step = in_twos ? 1024 : 1000;
  for (; number != 0 && number % step == 0 && unit < (in_twos ? 6 : 9); ++unit) number /= step;
  if (number == 0) return "0";
  return std::to_string(number) + (in_twos ? kTwos[unit] : kTens[unit]);
}

}  // namespace coracle
