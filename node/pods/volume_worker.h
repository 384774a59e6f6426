// VolumeWorker: gets a Pod's volumes ready and their contents written, and keeps them as the
// objects they come from are. Thread-safe for different Pods.
#pragma once

#include <coracle/client.h>
#include <coracle/clock.h>
#include <coracle/events.h>

#include <string>

#include "pods/pod_state.h"
#include "pods/pod_volumes.h"
#include "pods/volume_payload.h"
#include "runtime/runtime.h"

namespace coracle::pods {

class VolumeWorker {
 public:
  VolumeWorker(Client& client, const Clock& clock, Runtime& runtime, EventRecorder& events,
               std::string node_name)
      : client_(client),
        clock_(clock),
        runtime_(runtime),
        events_(events),
        node_name_(std::move(node_name)) {}

  // Before there is a sandbox: fetches what the contents come from and makes ready what the node
  // gives. An error says, as an Event does, what is missing.
  Result<void> prepare(const NodePod& pod, VolumeMemory& memory);
  // In a living sandbox, at first and when the contents may be others. What is in it already stays
  // when the objects cannot be had.
  Result<void> write(const PodView& view, VolumeMemory& memory);

 private:
  Result<VolumeFiles> contents_of(const NodePod& pod, const PodVolume& volume);
  Result<void> write_one(const PodView& view, const PodVolume& volume, const VolumeMemory& memory);
  Error failed(const NodePod& pod, const PodVolume& volume, const Error& error);

  Client& client_;
  const Clock& clock_;
  Runtime& runtime_;
  EventRecorder& events_;
  const std::string node_name_;
};

}  // namespace coracle::pods
