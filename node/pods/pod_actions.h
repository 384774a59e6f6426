// What to do next for a Pod: pure. The caller applies the actions in order, looks again, and asks
// again, until there is nothing left but to wait.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "pods/pod_state.h"

namespace coracle::pods {

struct CreateSandbox {
  bool operator==(const CreateSandbox&) const = default;
};
// What the volumes need before there is a sandbox.
struct PrepareVolumes {
  bool operator==(const PrepareVolumes&) const = default;
};
// Their contents, at first and again; containers see what is new.
struct WriteVolumes {
  bool operator==(const WriteVolumes&) const = default;
};
// Its supervisor is gone: away with what is left. The Pod keeps its address and what its volumes
// have on disk.
struct ReplaceSandbox {
  bool operator==(const ReplaceSandbox&) const = default;
};
// Address, links, /etc/hosts and /etc/resolv.conf. Idempotent, so also how a Pod is adopted.
struct ConnectNetwork {
  bool operator==(const ConnectNetwork&) const = default;
};
// Of a Pod that is done: its address is free for others, its logs stay.
struct DisconnectNetwork {
  bool operator==(const DisconnectNetwork&) const = default;
};
struct StartContainer {
  std::string container;
  bool operator==(const StartContainer&) const = default;
};
// Its image could not be had, and is not tried again for a while.
struct BackOffPull {
  std::string container;
  bool operator==(const BackOffPull&) const = default;
};
struct RunPostStart {
  std::string container;
  bool operator==(const RunPostStart&) const = default;
};
// SIGTERM, with `why` as the Event's message. `held`: first its preStop hook, and the end of those
// that it must outlive.
struct StopContainer {
  std::string container;
  std::chrono::seconds grace{0};
  std::string why;
  bool held = false;
  bool operator==(const StopContainer&) const = default;
};
// SIGTERM for one that was held.
struct TerminateContainer {
  std::string container;
  bool operator==(const TerminateContainer&) const = default;
};
// SIGKILL
struct KillContainer {
  std::string container;
  bool operator==(const KillContainer&) const = default;
};
struct RemoveSandbox {
  bool operator==(const RemoveSandbox&) const = default;
};
// The last status, then the API may forget the Pod.
struct Finish {
  bool operator==(const Finish&) const = default;
};
using PodAction =
    std::variant<PrepareVolumes, CreateSandbox, WriteVolumes, ReplaceSandbox, ConnectNetwork,
                 DisconnectNetwork, StartContainer, BackOffPull, RunPostStart, StopContainer,
                 TerminateContainer, KillContainer, RemoveSandbox, Finish>;

struct PodPlan {
  std::vector<PodAction> actions;
  std::optional<Time> wake_at;           // when something becomes due by itself
  std::vector<std::string> backing_off;  // containers that wait for their next start
};
PodPlan pod_actions(const PodView& view);

// Pending, Running, Succeeded or Failed, from the containers' states.
std::string pod_phase(const PodView& view);
// Every init container has done its work (sidecars: runs).
bool initialized(const PodView& view);
// Whether a container that ended is to be started again. A Pod that is being deleted or has
// finished starts nothing.
bool restarts(const PodView& view, const PodContainer& container, int exit_code);

}  // namespace coracle::pods
