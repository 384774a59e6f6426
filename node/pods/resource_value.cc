#include "pods/resource_value.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

namespace coracle::pods {
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

struct Reference {
  const char* list;  // of the container's resources
  std::string name;
};
Result<Reference> parse(const std::string& resource) {
  for (const char* list : {"limits", "requests"})
    for (const char* name : {"cpu", "memory", "ephemeral-storage"})
      if (resource == std::string(list) + "." + name) return Reference{list, name};
  return Error{Code::BadRequest, "unsupported container resource: " + resource};
}

}  // namespace

std::int64_t quantity(const std::string& text, std::uint64_t scale) {
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

Result<std::string> resource_value(const NodePod& pod, const PodContainer& container,
                                   const Json& reference, const Allocatable& allocatable) {
  const auto [list, name] = TRY(parse(json_string(reference, {"resource"})));
  const std::string other = json_string(reference, {"containerName"});
  const PodContainer* of = other.empty() ? &container : pod.find(other);
  if (of == nullptr) return Error{Code::NotFound, "container " + other + " not found"};
  std::string amount = json_string(pod.document(*of), {"resources", list, name.c_str()});
  if (amount.empty() && std::string(list) == "limits")
    if (const auto it = allocatable.find(name); it != allocatable.end()) amount = it->second;
  const std::uint64_t scale = name == "cpu" ? 1000 : 1;
  const std::int64_t value = quantity(amount, scale);
  std::int64_t divisor = quantity(json_string(reference, {"divisor"}), scale);
  if (divisor <= 0) divisor = static_cast<std::int64_t>(scale);
  return std::to_string(value / divisor + (value % divisor != 0));
}

int oom_score_adj(const NodePod& pod, const PodContainer& container, std::int64_t memory) {
  constexpr int kGuaranteed = -997, kBestEffort = 1000;
  const std::string qos = json_string(pod.status(), {"qosClass"});
  if (qos == "Guaranteed") return kGuaranteed;
  if (qos != "Burstable" || memory <= 0) return kBestEffort;
  // The more it asked for, the later; never before nor after the other classes.
  const std::int64_t asked =
      quantity(json_string(pod.document(container), {"resources", "requests", "memory"}), 1);
  const double share = static_cast<double>(asked) / static_cast<double>(memory);
  return std::clamp(1000 - static_cast<int>(1000 * std::min(share, 1.0)), 1000 + kGuaranteed, 999);
}

}  // namespace coracle::pods
