// What ProcessRuntime does for volumes.
#include <algorithm>
#include <filesystem>

#include "runtime/etc_files.h"
#include "runtime/node_volumes.h"
#include "runtime/process_runtime.h"
#include "runtime/volume_files.h"

namespace coracle::runtime {
namespace {

Result<SandboxSpec> read_spec(int dir) {
  return decode_sandbox(TRY(read_file(dir, "sandbox")));
}

Result<Volume> find_volume(const SandboxSpec& spec, const std::string& name) {
  for (const Volume& volume : spec.volumes)
    if (volume.name == name) return volume;
  return Error{Code::NotFound, "the Pod's sandbox has no volume \"" + name + "\""};
}

std::string source_of(const Volume& volume, const std::string& disk_volumes) {
  if (volume.kind == Volume::Kind::Host) return volume.path;
  return volume.kind == Volume::Kind::Disk ? disk_volumes + "/" + volume.name : volume.name;
}

std::ptrdiff_t depth(const std::string& path) {
  return std::count(path.begin(), path.end(), '/');
}

// As the kubelet, which takes a relative path for one from the root.
std::string absolute(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path.starts_with("/") ? path : "/" + path;
}

}  // namespace

std::string ProcessRuntime::volumes_of(const std::string& pod_uid) const {
  return volumes_dir_ + "/" + pod_uid;
}

Result<void> ProcessRuntime::prepare_volume(const std::string& pod_uid, const Volume& volume) {
  if (!plain_name(pod_uid) || !plain_name(volume.name))
    return Error{Code::BadRequest, "\"" + pod_uid + "/" + volume.name + "\" names no volume"};
  switch (volume.kind) {
    case Volume::Kind::Disk:
      return prepare_disk_volume(volumes_of(pod_uid), volume);
    case Volume::Kind::Host:
      return prepare_host_volume(volume);
    case Volume::Kind::Memory:
      return {};
  }
  return {};
}

Result<Fd> ProcessRuntime::open_volume(const std::string& pod_uid, const std::string& volume,
                                       std::optional<gid_t>& group) const {
  const Fd dir = TRY(sandbox_dir(pod_uid));
  const auto pid = supervisor_pid(dir.get());
  if (!pid) return Error{Code::NotFound, "the sandbox of Pod " + pod_uid + " does not live"};
  const Volume found = TRY(find_volume(TRY(read_spec(dir.get())), volume));
  group = found.group;
  return open_memory_volume(dir.get(), *pid, volume);
}

Result<void> ProcessRuntime::write_volume(const std::string& pod_uid, const std::string& volume,
                                          const VolumeFiles& files) {
  std::optional<gid_t> group;
  const Fd dir = TRY(open_volume(pod_uid, volume, group));
  return write_volume_files(dir.get(), files, group);
}

bool ProcessRuntime::volume_written(const std::string& pod_uid, const std::string& volume) const {
  std::optional<gid_t> group;
  const auto dir = open_volume(pod_uid, volume, group);
  return dir && has_volume_files(dir->get());
}

Result<std::vector<StartMount>> ProcessRuntime::start_mounts(
    int dir, const std::string& pod_uid, const std::vector<VolumeMount>& mounts) const {
  std::vector<StartMount> out;
  if (mounts.empty()) return out;
  const SandboxSpec spec = TRY(read_spec(dir));
  for (const VolumeMount& mount : mounts) {
    const Volume volume = TRY(find_volume(spec, mount.volume));
    StartMount& start = out.emplace_back();
    start.volume = volume.name;
    start.kind = volume.kind;
    start.source = source_of(volume, volumes_of(pod_uid));
    start.target = absolute(mount.target);
    start.sub_path = mount.sub_path;
    start.read_only = mount.read_only;
    start.submounts_read_only = mount.submounts_read_only;
  }
  std::stable_sort(out.begin(), out.end(), [](const StartMount& a, const StartMount& b) {
    return depth(a.target) < depth(b.target);
  });
  return out;
}

Result<void> ProcessRuntime::remove_volumes(const std::string& pod_uid) {
  std::error_code error;
  std::filesystem::remove_all(volumes_of(pod_uid), error);
  if (error)
    return Error{Code::Internal, "removing " + volumes_of(pod_uid) + ": " + error.message()};
  return {};
}

Result<void> ProcessRuntime::remove_sandbox(const std::string& pod_uid) {
  if (!plain_name(pod_uid)) return Error{Code::BadRequest, "\"" + pod_uid + "\" is no Pod's uid"};
  TRY(reset_sandbox(pod_uid));
  return remove_volumes(pod_uid);
}

std::vector<std::string> ProcessRuntime::volumes_left() const {
  std::vector<std::string> out;
  std::error_code error;
  for (std::filesystem::directory_iterator it(volumes_dir_, error), end; !error && it != end;
       it.increment(error)) {
    const std::string uid = it->path().filename();
    if (plain_name(uid) && !sandbox_dir(uid)) out.push_back(uid);
  }
  return out;
}

}  // namespace coracle::runtime
