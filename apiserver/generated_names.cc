#include "generated_names.h"

#include <random>

namespace coracle {
namespace {

constexpr std::size_t kGeneratedPrefix = 58;

std::uint64_t random_bits() {
  thread_local std::mt19937_64 engine = [] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }();
  return engine();
}

}  // namespace

std::string random_uid() {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string uid = "xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx";  // RFC 9562, version 4
  for (char& c : uid) {
    if (c == 'x') c = kHex[random_bits() & 15U];
    if (c == 'y') c = kHex[8U + (random_bits() & 3U)];
  }
  return uid;
}

std::string generated_name(const std::string& prefix) {
  constexpr std::string_view kLetters = "bcdfghjklmnpqrstvwxz2456789";
  std::string name = prefix.substr(0, kGeneratedPrefix);
  for (int i = 0; i < 5; ++i) name += kLetters[random_bits() % kLetters.size()];
  return name;
}

}  // namespace coracle
