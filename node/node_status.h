// What the Node object says about this machine: facts read once, the document computed purely.
#pragma once

#include <coracle/net.h>
#include <coracle/object.h>

#include <optional>
#include <string>

#include "peer_report.h"

namespace coracle {

struct NodeFacts {
  std::string name;
  Ip ip;
  std::string kernel_version, os_image, architecture, machine_id, system_uuid, boot_id, version;
  unsigned cpus = 1;
  std::uint64_t memory_kib = 0;
  std::uint64_t storage_kib = 0;  // of the file system with the data directory; 0: not known
};
NodeFacts read_node_facts(const std::string& name, const Ip& ip, const std::string& version,
                          const std::string& data_dir);

struct NodeCondition {
  bool ready = false;
  std::string reason, message;
  std::string now;  // RFC 3339
  // Of the tests of the way to the other nodes; none: nothing to say yet.
  std::optional<PeerReport> peers = {};
};
// The Node to create.
Object compute_node(const NodeFacts& facts);
// Whether the Node says Ready, and said so since this machine booted: what it stood for may be up.
bool ready_since_boot(const Json& node, const std::string& boot_id);
// Makes the Node's annotation what the report says, if there is one; true when that changed it.
bool annotate_peers(Json& node, const std::optional<PeerReport>& peers);
// The status to write; `existing` supplies transition times, so an unchanged state yields an equal
// document.
Json compute_node_status(const NodeFacts& facts, const NodeCondition& condition,
                         const Json& existing);

}  // namespace coracle
