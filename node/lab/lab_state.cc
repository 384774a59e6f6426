#include "lab/lab_state.h"

#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "sysctl.h"

namespace coracle::lab {
namespace {

std::string state_file(const std::string& lab) {
  return directory_of(lab) + "/network.json";
}

bool is_number(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

std::string directory_of(const std::string& lab) {
  return std::string(kLabsDir) + "/" + lab;
}
std::string sysctl_file(const std::string& lab) {
  return directory_of(lab) + "/sysctls.json";
}
std::string base_chains_file(const std::string& lab) {
  return directory_of(lab) + "/base-chains.json";
}
std::string pid_file(const std::string& lab, const std::string& node) {
  return directory_of(lab) + "/" + node + ".pid";
}

Result<State> load(const std::string& lab) {
  const std::string text = TRY(read_small_file(state_file(lab)));
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("subnet") || !json["subnet"].is_string())
    return Error{Code::Internal, state_file(lab) + " is damaged"};
  State state;
  state.subnet = TRY(Cidr::parse(json["subnet"].get<std::string>()));
  const auto is_true = [&json](const char* name) {
    const auto it = json.find(name);
    return it != json.end() && it->is_boolean() && it->get<bool>();
  };
  state.mounted_netns_dir = is_true("mountedNetnsDir");
  state.made_netns_dir = is_true("madeNetnsDir");
  const auto backend = json.find("backend");
  if (backend != json.end() && backend->is_string()) state.backend = backend->get<std::string>();
  const auto moved = json.value("moved", nlohmann::json::object());
  for (const auto& [node, ip] : moved.items()) {
    if (!ip.is_string()) return Error{Code::Internal, state_file(lab) + " is damaged"};
    state.moved[node] = TRY(Ip::parse(ip.get<std::string>()));
  }
  return state;
}

Result<void> save(const std::string& lab, const State& state) {
  nlohmann::json json = {{"subnet", state.subnet.to_string()},
                         {"mountedNetnsDir", state.mounted_netns_dir},
                         {"madeNetnsDir", state.made_netns_dir},
                         {"backend", state.backend}};
  for (const auto& [node, ip] : state.moved) json["moved"][node] = ip.to_string();
  return write_file_durably(state_file(lab), json.dump() + "\n");
}

Result<void> forget(const std::string& lab) {
  if (::unlink(state_file(lab).c_str()) != 0 && errno != ENOENT)
    return Error::from_errno(errno, state_file(lab));
  // Whoever made more in there removes it; empty directories are nobody's.
  (void)::rmdir(directory_of(lab).c_str());
  (void)::rmdir(kLabsDir);
  (void)::rmdir("/var/lib/coracle");
  return {};
}

std::vector<std::string> other_labs(const std::string& lab) {
  std::vector<std::string> labs;
  std::error_code error;
  for (std::filesystem::directory_iterator it(kLabsDir, error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name != lab && check_name(name) && load(name)) labs.push_back(name);
  }
  std::sort(labs.begin(), labs.end());
  return labs;
}

Result<void> check_name(const std::string& lab) {
  const auto good = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  };
  if (!lab.empty() && lab.size() <= 8 && std::all_of(lab.begin(), lab.end(), good) &&
      lab.front() >= 'a' && lab.back() != '-')
    return {};
  return Error{Code::BadRequest, "lab name '" + lab +
                                     "' must be 1 to 8 lower case letters, digits or '-', start "
                                     "with a letter and not end with '-'"};
}

bool is_link_of(const std::string& lab, const std::string& link) {
  if (link == lab + "-net") return true;
  return link.starts_with(lab + "-v") && is_number(std::string_view(link).substr(lab.size() + 2));
}

std::size_t node_number(const std::string& lab, const std::string& node) {
  const std::string prefix = lab + "-node-";
  if (!node.starts_with(prefix)) return 0;
  const std::string number = node.substr(prefix.size());
  if (!is_number(number) || number.size() > 3 || number.front() == '0') return 0;
  return std::stoul(number);
}

Result<NetNs> open_netns(const std::string& name) {
  if (name.empty() || name.find('/') != std::string::npos || name == "." || name == "..")
    return Error{Code::BadRequest, "not a namespace's name: '" + name + "'"};
  auto ns = NetNs::open(std::string(kNetNsDir) + "/" + name);
  if (!ns && is_not_found(ns.error()))
    return Error{Code::NotFound, "there is no network namespace " + name};
  return ns;
}

Route default_route(const LabPlan& plan) {
  return {{Ip(), 0}, kNodeLink, plan.gateway, RTPROT_STATIC};
}

std::vector<OwnChain> chains_of(const std::string& lab, const Cidr& subnet) {
  const std::string chain = "CORACLE-LAB-" + lab;
  const std::string bridge = lab + "-net";
  const std::string net = Cidr{subnet.network(), subnet.prefix}.to_string();
  return {
      {"nat",
       chain,
       "POSTROUTING",
       {"-s " + net + " -d 224.0.0.0/4 -j RETURN",
        "-s " + net + " ! -d " + net + " -j MASQUERADE --random-fully"}},
      {"filter", chain, "FORWARD", {"-i " + bridge + " -j ACCEPT", "-o " + bridge + " -j ACCEPT"}}};
}

Result<Lock> Lock::take() {
  std::error_code error;
  std::filesystem::create_directories(kLabsDir, error);
  if (error) return Error{Code::Internal, std::string(kLabsDir) + ": " + error.message()};
  // The directory's parent outlives what `down` removes, and is there already.
  const int fd = ::open("/var/lib", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Error::from_errno(errno, "/var/lib");
  Lock lock(fd);
  while (::flock(fd, LOCK_EX) != 0) {
    if (errno != EINTR) return Error::from_errno(errno, "lock");
  }
  return lock;
}

Lock::~Lock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace coracle::lab
