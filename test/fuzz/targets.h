// What is fuzzed: one function a target, the same under libFuzzer (entry.cc) and in the unit suite,
// which replays test/fuzz/corpus/<name>/ through it (replay_test.cc). A target throws Broken when a
// promise does not hold; a crash, a sanitizer's report or a time-out are findings of their own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

namespace coracle::fuzz {

struct Broken : std::runtime_error {
  using std::runtime_error::runtime_error;
};
inline void require(bool holds, const std::string& promise) {
  if (!holds) throw Broken(promise);
}

using Input = std::span<const std::uint8_t>;
inline std::string_view text_of(Input input) {
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): bytes as characters
  return {reinterpret_cast<const char*>(input.data()), input.size()};
}

// Takes the first line, without its end, off `text`.
inline std::string_view take_line(std::string_view& text) {
  const std::size_t end = text.find('\n');
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return line;
}

// A choice out of `count` by the first byte of `text`, which is taken off: 'a' is the first.
inline std::size_t take_choice(std::string_view& text, std::size_t count) {
  if (text.empty()) return 0;
  const auto byte = static_cast<unsigned char>(text.front() - 'a');
  text.remove_prefix(1);
  return byte % count;
}

void fuzz_router(Input input);         // "METHOD /path?query"
void fuzz_options(Input input);        // lines: query, Accept, Content-Type, continue token
void fuzz_json_body(Input input);      // a Send (server.h) and a body
void fuzz_yaml_body(Input input);      // the same
void fuzz_protobuf_body(Input input);  // the same
void fuzz_patch(Input input);          // type, kind, and a patch; or a document, NUL and a patch
void fuzz_selector(Input input);       // lines: label selector, field selector, labels "k=v"
void fuzz_net(Input input);            // lines: address, range, MAC address
void fuzz_probe(Input input);          // a packet between nodes, or a server's URL
void fuzz_logs(Input input);           // lines: query, request to the node; log before NUL log
void fuzz_tunnel(Input input);         // a choice of the end, and what it hears from the other
void fuzz_dns(Input input);            // a question to the cluster's DNS, or an upstream reply

struct Target {
  const char* name;
  void (*run)(Input input);
};
constexpr Target kTargets[] = {
    {"router", fuzz_router},
    {"options", fuzz_options},
    {"json_body", fuzz_json_body},
    {"yaml_body", fuzz_yaml_body},
    {"protobuf_body", fuzz_protobuf_body},
    {"patch", fuzz_patch},
    {"selector", fuzz_selector},
    {"net", fuzz_net},
    {"probe", fuzz_probe},
    {"logs", fuzz_logs},
    {"tunnel", fuzz_tunnel},
    {"dns", fuzz_dns},
};

}  // namespace coracle::fuzz
