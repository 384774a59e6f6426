#include "runtime/cgroups.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>
#include <thread>

#include "runtime/sandbox_files.h"

namespace coracle::runtime {
namespace {

constexpr const char* kOwn = "/coracle";
constexpr std::int64_t kPeriod = 100'000;  // microseconds, as the kubelet has it
constexpr std::int64_t kLeastQuota = 1'000, kLeastShares = 2, kMostShares = 262'144;
constexpr int kAttempts = 10;

using Writes = std::vector<CgroupPlan::Write>;

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, separator);) out.push_back(part);
  return out;
}

std::set<std::string> wanted_of(const std::vector<std::string>& names) {
  std::set<std::string> out;
  for (const std::string& name : names)
    if (name == "cpu" || name == "memory" || name == "pids") out.insert(name);
  return out;
}

// Our own cgroup's path by controller; "" is version 2's.
std::string own_path(const std::string& self_cgroup, const std::string& controller) {
  for (const std::string& line : split(self_cgroup, '\n')) {
    const auto first = line.find(':');
    const auto second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string list = line.substr(first + 1, second - first - 1);
    const auto names = split(list, ',');
    if (controller.empty() ? list.empty()
                           : std::find(names.begin(), names.end(), controller) != names.end())
      return line.substr(second + 1);
  }
  return "/";
}

// `path` of the hierarchy, where `root` of it is mounted on `mount_point`.
std::string directory_of(const std::string& mount_point, const std::string& root,
                         const std::string& path) {
  std::string below = path;
  if (root != "/") below = path.starts_with(root + "/") ? path.substr(root.size()) : "";
  return below == "/" ? mount_point : mount_point + below;
}

// The nearest cgroup, from our own upwards, that hands on controllers or can be made to.
std::optional<CgroupHost::Hierarchy> find_unified(const ReadFile& read, const std::string& top,
                                                  const std::string& own) {
  for (std::string dir = own; dir.size() >= top.size(); dir = dir.substr(0, dir.rfind('/'))) {
    const auto words = [&](const char* file) {
      std::istringstream in(read(dir + file).value_or(""));
      std::vector<std::string> out;
      for (std::string word; in >> word;) out.push_back(word);
      return out;
    };
    const auto handed = wanted_of(words("/cgroup.subtree_control"));
    const auto there = wanted_of(words("/cgroup.controllers"));
    // The hierarchy's root alone has no type, and may have processes beside its children.
    const bool free =
        !read(dir + "/cgroup.type") || read(dir + "/cgroup.procs").value_or("0").empty();
    if (!there.empty() && (free || !handed.empty()))
      return CgroupHost::Hierarchy{true, free ? there : handed, dir};
  }
  return std::nullopt;
}

std::int64_t shares_of(std::int64_t millis) {
  return std::clamp(millis * 1024 / 1000, kLeastShares, kMostShares);
}

CgroupPlan::Write share(bool unified, std::int64_t millis) {
  const std::int64_t shares = shares_of(millis);
  if (!unified) return {"cpu.shares", std::to_string(shares)};
  return {"cpu.weight", std::to_string(1 + (shares - 2) * 9999 / 262142)};
}

void add_cpu(Writes& out, bool unified, const ResourceLimits& limits) {
  out.push_back(share(unified, limits.cpu_request_millis));
  const std::string period = std::to_string(kPeriod);
  const std::int64_t quota = std::max(kLeastQuota, limits.cpu_millis * kPeriod / 1000);
  const bool limited = limits.cpu_millis > 0;
  if (unified) {
    out.push_back({"cpu.max", (limited ? std::to_string(quota) : "max") + " " + period});
  } else {
    out.push_back({"cpu.cfs_period_us", period, !limited});
    out.push_back({"cpu.cfs_quota_us", limited ? std::to_string(quota) : "-1", !limited});
  }
}

void add_memory(Writes& out, bool unified, std::int64_t bytes) {
  const std::string limit = bytes > 0 ? std::to_string(bytes) : unified ? "max" : "-1";
  if (unified) {
    out.push_back({"memory.max", limit});
    out.push_back({"memory.swap.max", bytes > 0 ? "0" : "max", true});
    out.push_back({"memory.oom.group", bytes > 0 ? "1" : "0", true});
  } else {
    out.push_back({"memory.limit_in_bytes", limit});
    out.push_back({"memory.memsw.limit_in_bytes", limit, true});
  }
}

std::string child(const std::string& directory, const std::string& name) {
  return directory + "/" + name;
}

std::string limit_text(std::int64_t limit) {
  return limit > 0 ? std::to_string(limit) : "max";
}

// In version 2, that the directories below have the controllers too.
Writes handing_on(const CgroupHost::Hierarchy& hierarchy) {
  if (!hierarchy.unified) return {};
  std::string names;
  for (const std::string& c : hierarchy.controllers) names += (names.empty() ? "+" : " +") + c;
  return {{"cgroup.subtree_control", names}};
}

Result<void> write_value(const std::string& path, const std::string& value) {
  const Fd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.valid() || write(fd.get(), value.data(), value.size()) < 0)
    return Error::from_errno(errno, "cgroup " + path);
  return {};
}

// Whoever removes its last Pod may remove the parent under us.
Result<void> make_directories(const CgroupPlan& plan) {
  for (int attempt = 0;; ++attempt) {
    std::string failed;
    int error = 0;
    for (const auto& directory : plan.directories)
      if (failed.empty() && mkdir(directory.path.c_str(), 0755) != 0 && errno != EEXIST) {
        failed = directory.path;
        error = errno;
      }
    if (failed.empty()) return {};
    if (error != ENOENT || attempt == kAttempts)
      return Error::from_errno(error, "cgroup " + failed);
  }
}

bool gone(int result) {
  return result == 0 || errno == ENOENT;
}

}  // namespace

const CgroupHost::Hierarchy* CgroupHost::find(const std::string& controller) const {
  for (const Hierarchy& h : hierarchies)
    if (h.controllers.contains(controller)) return &h;
  return nullptr;
}

CgroupHost find_cgroups(const ReadFile& read) {
  CgroupHost out;
  const std::string own = read("/proc/self/cgroup").value_or("");
  for (const std::string& line : split(read("/proc/self/mountinfo").value_or(""), '\n')) {
    const auto fields = split(line, ' ');
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (fields.size() < 7 || fields.end() - dash < 4) continue;
    const std::string &type = dash[1], &root = fields[3], &mount_point = fields[4];
    if (type == "cgroup") {
      const auto controllers = wanted_of(split(dash[3], ','));
      if (controllers.empty() || out.find(*controllers.begin()) != nullptr) continue;
      out.hierarchies.push_back(
          {false, controllers,
           directory_of(mount_point, root, own_path(own, *controllers.begin()))});
    } else if (type == "cgroup2") {
      auto found =
          find_unified(read, mount_point, directory_of(mount_point, root, own_path(own, "")));
      if (found && out.find(*found->controllers.begin()) == nullptr)
        out.hierarchies.push_back(std::move(*found));
    }
  }
  return out;
}

CgroupHost host_cgroups() {
  CgroupHost out = find_cgroups([](const std::string& path) -> std::optional<std::string> {
    auto text = read_file(AT_FDCWD, path);
    return text ? std::optional(std::move(*text)) : std::nullopt;
  });
  std::erase_if(out.hierarchies, [](const auto& h) { return access(h.parent.c_str(), W_OK) != 0; });
  out.processors = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  return out;
}

CgroupPlan plan_cgroups(const CgroupHost& host, const std::string& pod_uid,
                        const std::string& container, const ResourceLimits& limits) {
  CgroupPlan plan;
  for (const CgroupHost::Hierarchy& h : host.hierarchies) {
    const bool cpu = h.controllers.contains("cpu");
    const bool memory = h.controllers.contains("memory") && (h.unified || limits.memory_bytes > 0);
    const bool pids = h.controllers.contains("pids") && (h.unified || limits.pod_pids > 0);
    if (!cpu && !memory && !pids) continue;
    const std::string all = h.parent + kOwn, pod = child(all, pod_uid);
    const std::string own = child(pod, container);
    const Writes hand_on = handing_on(h);
    Writes for_all = hand_on, for_pod = hand_on, for_one;
    if (cpu) {
      for_all.push_back(share(h.unified, std::int64_t{host.processors} * 1000));
      for_pod.push_back(share(h.unified, limits.pod_cpu_request_millis));
      add_cpu(for_one, h.unified, limits);
    }
    if (memory) {
      add_memory(for_one, h.unified, limits.memory_bytes);
      if (limits.memory_bytes > 0) plan.memory = own;
    }
    if (pids) for_pod.push_back({"pids.max", limit_text(limits.pod_pids)});
    if (h.unified) plan.directories.push_back({h.parent, hand_on});
    plan.directories.insert(plan.directories.end(),
                            {{all, for_all}, {pod, for_pod}, {own, for_one}});
    plan.pod_dirs.push_back(pod);
    plan.joins.push_back(own);
  }
  return plan;
}

Result<void> make_cgroups(const CgroupPlan& plan) {
  TRY(make_directories(plan));
  for (const auto& directory : plan.directories)
    for (const auto& [file, value, optional] : directory.writes)
      if (auto written = write_value(child(directory.path, file), value); !written && !optional)
        return written;
  return {};
}

Result<void> remove_cgroups(const std::vector<std::string>& pod_dirs) {
  for (const std::string& pod : pod_dirs) {
    if (DIR* dir = opendir(pod.c_str()); dir != nullptr) {
      // NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this call's own
      while (const dirent* entry = readdir(dir))
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
          (void)rmdir((pod + "/" + entry->d_name).c_str());
      closedir(dir);
    }
    if (!gone(rmdir(pod.c_str()))) return Error::from_errno(errno, "removing cgroup " + pod);
    (void)rmdir(pod.substr(0, pod.rfind('/')).c_str());  // other Pods keep it
  }
  return {};
}

Result<void> join_cgroup(const std::string& directory) {
  return write_value(directory + "/cgroup.procs", "0");
}

std::int64_t oom_kills(const std::string& directory) {
  if (directory.empty()) return 0;
  for (const char* file : {"/memory.oom_control", "/memory.events"}) {
    const auto text = read_file(AT_FDCWD, directory + file);
    if (!text) continue;
    std::istringstream in(*text);
    std::int64_t count = 0;
    for (std::string name; in >> name >> count;)
      if (name == "oom_kill") return count;
  }
  return 0;
}

}  // namespace coracle::runtime
