#include "runtime/images.h"

#include <set>

#include "runtime/sandbox_files.h"

namespace coracle::runtime {
namespace {

constexpr const char* kEcho = "coracle/echo";
constexpr const char* kHost = "coracle/host";

std::string image_name(const std::string& image) {
  return image.substr(0, image.find_first_of(":@"));
}

// A number may be declared for TCP and for UDP: the server takes both at once.
std::vector<std::string> echo_argv(const ContainerSpec& spec) {
  std::vector<std::string> out = {kEchoProgram};
  for (const auto& [name, value] : spec.env)
    if (name == "PORT" && !value.empty()) return {kEchoProgram, value};
  for (const std::uint16_t port : std::set<std::uint16_t>(spec.ports.begin(), spec.ports.end()))
    out.push_back(std::to_string(port));
  if (spec.ports.empty()) out.emplace_back("8080");
  return out;
}

}  // namespace

Result<void> check_builtin_image(const std::string& image) {
  const std::string name = image_name(image);
  if (name == kEcho || name == kHost) return {};
  return Error{Code::NotFound, "the runtime \"process\" cannot run image \"" + image +
                                   "\": it has coracle/echo and coracle/host only"};
}

Result<std::vector<std::string>> compute_argv(const ContainerSpec& spec) {
  TRY(check_builtin_image(spec.image));
  if (spec.command.empty() && image_name(spec.image) == kEcho) return echo_argv(spec);
  std::vector<std::string> out = spec.command;
  out.insert(out.end(), spec.args.begin(), spec.args.end());
  if (out.empty())
    return Error{Code::BadRequest, "no command specified: image coracle/host has no entry point"};
  return out;
}

}  // namespace coracle::runtime
