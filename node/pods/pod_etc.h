// /etc/hosts and /etc/resolv.conf of a Pod: pure.
#pragma once

#include <coracle/net.h>

#include <string>
#include <vector>

#include "pods/node_pod.h"

namespace coracle::pods {

struct ResolvConf {
  std::vector<std::string> nameservers, search, options;
  bool operator==(const ResolvConf&) const = default;
};
// What resolv.conf(5) would read from the text; lines it does not know are ignored.
ResolvConf parse_resolv_conf(const std::string& text);
std::string to_string(const ResolvConf& conf);
// The node's, with the file behind systemd-resolved's stub where that is what /etc/resolv.conf
// names; nothing when there is none.
ResolvConf read_host_resolv_conf();

// By dnsPolicy and dnsConfig. Loopback nameservers of the host are left out: in a Pod's network
// they are the Pod. At most 3 nameservers and 32 search domains, as libc reads them.
ResolvConf compute_resolv_conf(const NodePod& pod, const std::string& cluster_domain,
                               const ResolvConf& host);

// As the kubelet writes it. `host_file` is the node's own /etc/hosts, for Pods in its network.
std::string compute_hosts(const NodePod& pod, const Ip& ip, const std::string& cluster_domain,
                          const std::string& host_file);
// The node's for a Pod in its network, else spec.hostname or the Pod's name, cut to the 63
// characters that a hostname may have.
std::string compute_hostname(const Pod& pod, const std::string& node_name);

}  // namespace coracle::pods
