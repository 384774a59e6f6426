#include "pods/volume_worker.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace coracle::pods {

// One Event for each volume, whatever else fails.
Error VolumeWorker::failed(const NodePod& pod, const PodVolume& volume, const Error& error) {
  const Error out =
      error.context("MountVolume.SetUp failed for volume \"" + volume.volume.name + "\" ");
  events_.warning(reference_of(pod), "FailedMount", out.message);
  return out;
}

Result<VolumeFiles> VolumeWorker::contents_of(const NodePod& pod, const PodVolume& volume) {
  PayloadSources sources;
  sources.fetch = [&](const Resource& resource, const std::string& name) {
    return client_.get(resource, {pod.pod.meta.ns, name});
  };
  sources.allocatable = [&]() -> Result<Allocatable> {
    const Object node = TRY(client_.get(resources::kNodes, {"", node_name_}));
    return json_string_map(node.json(), {"status", "allocatable"});
  };
  return compute_payload(pod, *volume.source, sources);
}

Result<void> VolumeWorker::prepare(const NodePod& pod, VolumeMemory& memory) {
  std::optional<Error> first;
  const auto note = [&](const PodVolume& volume, const Error& error) {
    const Error told = failed(pod, volume, error);
    if (!first) first = told;
  };
  for (const PodVolume& volume : volumes_of(pod)) {
    if (!volume.unsupported.empty()) {
      note(volume,
           Error{Code::Invalid,
                 "the runtime \"process\" does not support volumes of type " + volume.unsupported});
      continue;
    }
    if (const auto ready = runtime_.prepare_volume(pod.pod.meta.uid, volume.volume); !ready)
      note(volume, ready.error());
    if (!volume.payload) continue;
    auto contents = contents_of(pod, volume);
    if (contents)
      memory.contents[volume.volume.name] = std::move(*contents);
    else
      note(volume, contents.error());
  }
  if (first) {
    memory.contents.clear();
    return *first;
  }
  memory.prepared = true;
  return {};
}

Result<void> VolumeWorker::write_one(const PodView& view, const PodVolume& volume,
                                     const VolumeMemory& memory) {
  const std::string& uid = view.pod.pod.meta.uid;
  const std::string& name = volume.volume.name;
  const auto fetched = memory.contents.find(name);
  const auto contents = fetched == memory.contents.end() ? contents_of(view.pod, volume)
                                                         : Result<VolumeFiles>(fetched->second);
  if (contents) {
    const auto written = runtime_.write_volume(uid, name, *contents);
    return written ? written : failed(view.pod, volume, written.error());
  }
  // While the server is away nothing is said of what it may have.
  const Code code = contents.error().code;
  const bool there = memory.written || runtime_.volume_written(uid, name);
  if (there && (code == Code::Unavailable || code == Code::Timeout)) return {};
  const Error error = failed(view.pod, volume, contents.error());
  return there ? Result<void>() : error;
}

Result<void> VolumeWorker::write(const PodView& view, VolumeMemory& memory) {
  const std::vector<Volume>& made = view.sandbox->spec.volumes;
  bool refresh = false;
  for (const PodVolume& volume : volumes_of(view.pod)) {
    // A sandbox of an agent that knew no volumes has none.
    const bool known = std::any_of(made.begin(), made.end(),
                                   [&](const Volume& v) { return v.name == volume.volume.name; });
    if (!volume.payload || !known) continue;
    refresh = refresh || refers_to_objects(*volume.source);
    const auto written = write_one(view, volume, memory);
    // Containers go on with what they have.
    if (!written && !memory.written) return written;
  }
  memory.contents.clear();
  memory.prepared = memory.written = true;
  memory.labels = view.pod.pod.meta.labels;
  memory.annotations = view.pod.pod.meta.annotations;
  memory.refresh_at.reset();
  if (refresh) memory.refresh_at = clock_.steady_now() + kVolumeRefresh;
  return {};
}

}  // namespace coracle::pods
