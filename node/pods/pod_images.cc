// PodWorker: whether a container's image is there, and what the Pod says while it is not. What the
// runtime has it has from the start, so that "pulling" never changes anything but the Events; the
// kubelet's words and pauses stay, since people and scripts know them.
#include <utility>

#include "pods/image_name.h"
#include "pods/pod_worker.h"

namespace coracle::pods {
namespace {

using namespace std::chrono_literals;

// How long ErrImagePull is to be seen.
constexpr std::chrono::seconds kPullErrorShown = 3s;

std::string in_quotes(const std::string& image) {
  return "\"" + image + "\"";
}

bool is_pull(const std::string& reason) {
  return reason == kErrImagePull || reason == kImagePullBackOff;
}

}  // namespace

void PodWorker::fail_image(const NodePod& pod, const PodContainer& container,
                           ContainerMemory& memory, StartFailure failure) {
  failure.image = container.spec.image;
  events_.warning(reference_of(pod, &container), "Failed", "Error: " + failure.reason);
  memory.failure = std::move(failure);
}

bool PodWorker::ensure_image(const NodePod& pod, const PodContainer& container,
                             ContainerMemory& memory) {
  const std::string& image = container.spec.image;
  const ObjectReference about = reference_of(pod, &container);
  if (const std::string problem = image_name_problem(image); !problem.empty()) {
    const std::string message = "Failed to apply default image tag " + in_quotes(image) +
                                ": couldn't parse image name " + in_quotes(image) + ": " + problem;
    events_.warning(about, "InspectFailed", message);
    fail_image(pod, container, memory, {"InvalidImageName", message, "", {}});
    return false;
  }
  const auto there = runtime_.check_image(image);
  if (there) return true;
  if (container.spec.image_pull_policy == "Never") {
    const std::string message =
        "Container image " + in_quotes(image) + " is not present with pull policy of Never";
    events_.warning(about, "ErrImageNeverPull", message);
    fail_image(pod, container, memory, {"ErrImageNeverPull", message, "", {}});
    return false;
  }
  events_.normal(about, "Pulling", "Pulling image " + in_quotes(image));
  events_.warning(about, "Failed",
                  "Failed to pull image " + in_quotes(image) + ": " + there.error().message);
  StartFailure failure{kErrImagePull, there.error().message, "", {}};
  if (memory.failure && memory.failure->image == image && is_pull(memory.failure->reason))
    failure.count = memory.failure->count + 1;
  const Time now = clock_.steady_now();
  failure.backoff_at = now + kPullErrorShown;
  failure.retry_at = now + pull_delay(failure.count);
  fail_image(pod, container, memory, std::move(failure));
  return false;
}

Result<void> PodWorker::run(const PodView& view, PodMemory& memory, const BackOffPull& action) {
  const PodContainer* container = view.pod.find(action.container);
  ContainerMemory& own = memory.containers[action.container];
  if (container == nullptr || !own.failure || own.failure->reason != kErrImagePull) return {};
  StartFailure next = *own.failure;
  const std::string message = "Back-off pulling image " + in_quotes(next.image);
  next.message = message + ": " + next.reason + ": " + next.message;
  next.reason = kImagePullBackOff;
  next.backoff_at.reset();
  events_.normal(reference_of(view.pod, container), "BackOff", message);
  fail_image(view.pod, *container, own, std::move(next));
  return {};
}

}  // namespace coracle::pods
