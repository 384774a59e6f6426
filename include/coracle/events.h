// Writes core/v1 Events as kubectl describe shows them. Repeats of an event count up one object
// instead of making new ones. Thread-safe; never blocks its caller on the API.
#pragma once

#include <coracle/client.h>
#include <coracle/clock.h>
#include <coracle/object.h>

#include <memory>
#include <string>

namespace coracle {

// What an event is about. `field_path` as upstream: "spec.containers{name}".
struct ObjectReference {
  std::string api_version, kind, ns, name, uid, field_path;
  bool operator==(const ObjectReference&) const = default;
};
ObjectReference reference_to(const Object& object);

class EventRecorder {
 public:
  // `component` is event.source.component, `host` event.source.host ("" for controllers).
  EventRecorder(Client& client, const Clock& clock, std::string component, std::string host);
  ~EventRecorder();  // gives up what waits
  EventRecorder(const EventRecorder&) = delete;
  EventRecorder& operator=(const EventRecorder&) = delete;
  void normal(const ObjectReference& about, const std::string& reason, const std::string& message);
  void warning(const ObjectReference& about, const std::string& reason, const std::string& message);
  // Waits until everything recorded so far has been written or given up.
  void flush();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace coracle
