// What the Node object says about this machine: facts read once, the document computed purely.
#pragma once

#include <coracle/net.h>
#include <coracle/object.h>

#include <string>

namespace coracle {

struct NodeFacts {
  std::string name;
  Ip ip;
  std::string kernel_version, os_image, architecture, machine_id, system_uuid, boot_id, version;
  unsigned cpus = 1;
  std::uint64_t memory_kib = 0;
};
NodeFacts read_node_facts(const std::string& name, const Ip& ip, const std::string& version);

struct NodeCondition {
  bool ready = false;
  std::string reason, message;
  std::string now;  // RFC 3339
};
// The Node to create.
Object compute_node(const NodeFacts& facts);
// Whether the Node says Ready, and said so since this machine booted: what it stood for may be up.
bool ready_since_boot(const Json& node, const std::string& boot_id);
// The status to write; `existing` supplies transition times, so an unchanged state yields an equal
// document.
Json compute_node_status(const NodeFacts& facts, const NodeCondition& condition,
                         const Json& existing);

}  // namespace coracle
