#include "pods/pod_etc.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace coracle::pods {
namespace {

constexpr std::size_t kMostNameservers = 3;  // resolv.h: MAXNS
constexpr std::size_t kMostSearch = 32;      // what Kubernetes admits
constexpr std::size_t kLongestSearch = 2048;
constexpr const char* kHostFile = "/etc/resolv.conf";
constexpr std::size_t kLongestHostname = 63;
constexpr std::size_t kLongestKernelHostname = 64;  // uname(2)

std::string read_text(const char* path) {
  const std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

bool usable(const std::string& nameserver) {
  // A zone ("fe80::1%eth0") names a link that the Pod does not have.
  const auto ip = Ip::parse(nameserver);
  return ip && !ip->is_loopback() && !ip->is_unspecified();
}

void add_new(std::vector<std::string>& to, const std::vector<std::string>& from) {
  for (const std::string& value : from)
    if (std::find(to.begin(), to.end(), value) == to.end()) to.push_back(value);
}

// As the kubelet has it: domains end without their dot.
std::string without_dot(std::string domain) {
  if (domain.size() > 1 && domain.ends_with('.')) domain.pop_back();
  return domain;
}

std::string option_name(const std::string& option) {
  return option.substr(0, option.find(':'));
}

// A later option replaces an earlier one of the same name.
void merge_option(std::vector<std::string>& options, const std::string& option) {
  for (std::string& old : options) {
    if (option_name(old) != option_name(option)) continue;
    old = option;
    return;
  }
  options.push_back(option);
}

void add_dns_config(ResolvConf& conf, const Json& spec) {
  add_new(conf.nameservers, json_string_list(spec, {"dnsConfig", "nameservers"}));
  add_new(conf.search, json_string_list(spec, {"dnsConfig", "searches"}));
  const Json* options = json_find(spec, {"dnsConfig", "options"});
  if (options == nullptr || !options->is_array()) return;
  for (const Json& option : *options) {
    std::string text = json_string(option, {"name"});
    const std::string value = json_string(option, {"value"});
    if (text.empty()) continue;
    if (!value.empty()) text.append(":").append(value);
    merge_option(conf.options, text);
  }
}

std::vector<std::string> cluster_search(const std::string& ns, const std::string& domain) {
  return {ns + ".svc." + domain, "svc." + domain, domain};
}

void cut(ResolvConf& conf) {
  if (conf.nameservers.size() > kMostNameservers) conf.nameservers.resize(kMostNameservers);
  if (conf.search.size() > kMostSearch) conf.search.resize(kMostSearch);
  std::size_t length = 0;
  for (const std::string& domain : conf.search) length += domain.size() + 1;
  while (!conf.search.empty() && length - 1 > kLongestSearch) {
    length -= conf.search.back().size() + 1;
    conf.search.pop_back();
  }
}

ResolvConf without_loopback(ResolvConf host) {
  std::erase_if(host.nameservers, [](const std::string& server) { return !usable(server); });
  return host;
}

// The name's part behind the hostname; "" when the Pod has no subdomain.
std::string domain_of(const Pod& pod, const std::string& cluster_domain) {
  if (pod.subdomain.empty()) return "";
  return pod.subdomain + "." + pod.meta.ns + ".svc." + cluster_domain;
}

std::string host_aliases(const Json& spec) {
  const Json* aliases = json_find(spec, {"hostAliases"});
  if (aliases == nullptr || !aliases->is_array() || aliases->empty()) return "";
  std::string out = "\n# Entries added by HostAliases.\n";
  for (const Json& alias : *aliases) {
    out += json_string(alias, {"ip"});
    for (const std::string& name : json_string_list(alias, {"hostnames"})) out += "\t" + name;
    out += "\n";
  }
  return out;
}

}  // namespace

ResolvConf parse_resolv_conf(const std::string& text) {
  ResolvConf out;
  std::istringstream lines(text);
  std::string line;
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::string keyword;
    std::string word;
    words >> keyword;
    if (keyword == "nameserver" && words >> word) out.nameservers.push_back(word);
    if (keyword == "search" || keyword == "domain") {  // the last one counts
      out.search.clear();
      while (words >> word) out.search.push_back(without_dot(word));
    }
    if (keyword == "options")
      while (words >> word) merge_option(out.options, word);
  }
  return out;
}

std::string to_string(const ResolvConf& conf) {
  std::string out;
  const auto line = [&](const char* keyword, const std::vector<std::string>& words) {
    if (words.empty()) return;
    out += keyword;
    for (const std::string& word : words) out += " " + word;
    out += "\n";
  };
  line("search", conf.search);
  for (const std::string& server : conf.nameservers) line("nameserver", {server});
  line("options", conf.options);
  return out;
}

ResolvConf read_resolv_conf(const std::string& path) {
  if (path.empty()) return {};
  ResolvConf conf = parse_resolv_conf(read_text(path.c_str()));
  if (path != kHostFile) return conf;
  const bool only_loopback = std::none_of(conf.nameservers.begin(), conf.nameservers.end(), usable);
  if (!only_loopback) return conf;
  const ResolvConf upstream = parse_resolv_conf(read_text("/run/systemd/resolve/resolv.conf"));
  return upstream.nameservers.empty() ? conf : upstream;
}

ResolvConf compute_resolv_conf(const NodePod& pod, const ClusterNames& cluster,
                               const ResolvConf& host) {
  const std::string& policy = pod.pod.dns_policy;
  const bool cluster_first =
      policy == "ClusterFirstWithHostNet" || (policy == "ClusterFirst" && !pod.pod.host_network);
  ResolvConf out;
  if (policy == "None") {
    // What dnsConfig says.
  } else if (cluster_first && cluster.dns) {
    // It asks the host's servers itself; their options are for those who ask them.
    out = {.nameservers = {cluster.dns->to_string()},
           .search = cluster_search(pod.pod.meta.ns, cluster.domain),
           .options = {"ndots:5"}};
    add_new(out.search, host.search);
  } else {
    // In the node's own network its loopback nameservers are usable too.
    out = pod.pod.host_network ? host : without_loopback(host);
  }
  add_dns_config(out, pod.spec());
  cut(out);
  return out;
}

std::string compute_hosts(const NodePod& pod, const Ip& ip, const std::string& cluster_domain,
                          const std::string& host_file) {
  if (pod.pod.host_network)
    return "# Kubernetes-managed hosts file (host network).\n" + host_file +
           host_aliases(pod.spec());
  std::string out =
      "# Kubernetes-managed hosts file.\n"
      "127.0.0.1\tlocalhost\n"
      "::1\tlocalhost ip6-localhost ip6-loopback\n"
      "fe00::0\tip6-localnet\n"
      "fe00::0\tip6-mcastprefix\n"
      "fe00::1\tip6-allnodes\n"
      "fe00::2\tip6-allrouters\n";
  const std::string hostname = compute_hostname(pod.pod, "");
  out += ip.to_string() + "\t";
  const std::string domain = domain_of(pod.pod, cluster_domain);
  if (!domain.empty()) out += hostname + "." + domain + "\t";
  return out + hostname + "\n" + host_aliases(pod.spec());
}

std::string compute_hostname(const Pod& pod, const std::string& node_name) {
  std::string out = pod.hostname.empty() ? pod.meta.name : pod.hostname;
  if (pod.host_network) out = node_name;
  if (out.size() > kLongestHostname) out.resize(kLongestHostname);
  // A name may not end in what was a separator before the cut.
  while (!out.empty() && (out.back() == '-' || out.back() == '.')) out.pop_back();
  return out;
}

Result<std::string> compute_kernel_hostname(const NodePod& pod, const std::string& node_name,
                                            const std::string& cluster_domain) {
  std::string out = compute_hostname(pod.pod, node_name);
  const std::string domain = domain_of(pod.pod, cluster_domain);
  if (pod.pod.host_network || domain.empty() || !json_bool(pod.spec(), {"setHostnameAsFQDN"}))
    return out;
  out += "." + domain;
  if (out.size() > kLongestKernelHostname)
    return Error{Code::Invalid,
                 "failed to construct FQDN from Pod hostname and cluster domain, FQDN " + out +
                     " is too long (64 characters is the max, " + std::to_string(out.size()) +
                     " characters requested)"};
  return out;
}

}  // namespace coracle::pods
