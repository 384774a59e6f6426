// /etc/hosts and /etc/resolv.conf of a Pod: pure.
#pragma once

#include <coracle/net.h>
#include <coracle/result.h>

#include <optional>
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
// The node's, in the file `path`, with the one behind systemd-resolved's stub where that is what
// /etc/resolv.conf names; nothing when there is none, or the path is "".
ResolvConf read_resolv_conf(const std::string& path);

struct ClusterNames {
  std::string domain;     // "cluster.local"
  std::optional<Ip> dns;  // who knows them; absent: nobody, and Pods get the host's
};
// By dnsPolicy and dnsConfig, as the kubelet does. Loopback nameservers of the host are left out:
// in a Pod's network they are the Pod. At most 3 nameservers and 32 search domains of 2,048
// characters, as libc reads them.
ResolvConf compute_resolv_conf(const NodePod& pod, const ClusterNames& cluster,
                               const ResolvConf& host);

// As the kubelet writes it. `host_file` is the node's own /etc/hosts, for Pods in its network.
std::string compute_hosts(const NodePod& pod, const Ip& ip, const std::string& cluster_domain,
                          const std::string& host_file);
// The node's for a Pod in its network, else spec.hostname or the Pod's name, cut to the 63
// characters that a hostname may have.
std::string compute_hostname(const Pod& pod, const std::string& node_name);
// What the Pod's kernel is told: with setHostnameAsFQDN and a subdomain the whole name. Invalid
// when that is longer than the kernel takes.
Result<std::string> compute_kernel_hostname(const NodePod& pod, const std::string& node_name,
                                            const std::string& cluster_domain);

}  // namespace coracle::pods
