// Entry point: a Pod's supervisor or echo server when called as one, else the command line.
#include <coracle/echo.h>
#include <coracle/supervisor.h>

#include <CLI/CLI.hpp>
#include <cstring>
#include <iostream>

#include "commands.h"

namespace coracle {
namespace {

void add_node_options(CLI::App& app, NodeFlags& flags) {
  app.add_option("--dns-stub-domain", flags.dns_stub_domains,
                 "ZONE=IP[:PORT]: who knows the names of a zone outside the cluster; repeatable")
      ->allow_extra_args(false);
  app.add_option("--dns-host", flags.dns_hosts,
                 "NAME=IP: a name outside the cluster, of at least two labels; repeatable")
      ->allow_extra_args(false);
  app.add_option("--resolv-conf", flags.resolv_conf,
                 "whose servers this node asks for names outside the cluster; \"\": none")
      ->capture_default_str();
  app.add_option("--pod-max-pids", flags.pod_max_pids,
                 "how many processes and threads a Pod of this node may have; -1: any number")
      ->check(CLI::Range(-1, 4'194'304))
      ->capture_default_str();
}

void add_server_options(CLI::App& app, ServerFlags& flags) {
  app.add_option("--data-dir", flags.data_dir, "where everything is kept")->capture_default_str();
  app.add_option("--node-name", flags.node_name, "this node's name (default: the host name)");
  app.add_option("--node-ip", flags.node_ip,
                 "this node's address (default: that of the default route)");
  app.add_option("--bind-address", flags.bind_address, "address the API is served on")
      ->capture_default_str();
  app.add_option("--secure-port", flags.secure_port, "port the API is served on")
      ->check(CLI::Range(1, 65535))
      ->capture_default_str();
  app.add_option("--tunnel-port", flags.tunnel_port,
                 "port where nodes open the connections over which their logs are read (default: "
                 "the one after --secure-port)")
      ->check(CLI::Range(1, 65535));
  app.add_option("--pod-cidr,--pod-network-cidr", flags.pod_cidr, "addresses of Pods")
      ->capture_default_str();
  app.add_option("--service-cidr", flags.service_cidr, "virtual addresses of Services")
      ->capture_default_str();
  app.add_option("--cluster-domain", flags.cluster_domain, "DNS zone of the cluster")
      ->capture_default_str();
  app.add_option("--cluster-dns", flags.cluster_dns, "address of the cluster DNS")
      ->capture_default_str();
  app.add_option("--proxy-mode", flags.proxy_mode, "how Service rules are made: iptables")
      ->capture_default_str();
  app.add_option("--backend", flags.backend,
                 "how nodes reach each other's Pods: vxlan, host-gw or auto")
      ->capture_default_str();
  app.add_option("--runtime", flags.runtime, "what runs containers: process")
      ->capture_default_str();
  add_node_options(app, flags.node);
  app.add_option("--node-monitor-grace-period", flags.node_monitor_grace_period,
                 "seconds without a sign of life until a node is NotReady")
      ->check(CLI::Range(4, 86'400))
      ->capture_default_str();
  app.add_option("--default-not-ready-toleration-seconds", flags.not_ready_toleration,
                 "seconds that Pods stay bound to a node that is NotReady")
      ->check(CLI::Range(0, 1'000'000'000))
      ->capture_default_str();
  app.add_option("--default-unreachable-toleration-seconds", flags.unreachable_toleration,
                 "seconds that Pods stay bound to a node that is silent")
      ->check(CLI::Range(0, 1'000'000'000))
      ->capture_default_str();
  app.add_flag("--no-agent", flags.no_agent,
               "serve the API and run the controllers, but be no node");
}

// The lab's subcommands share --name and the position of their result.
void add_lab(CLI::App& app, LabFlags& flags, int& result) {
  auto* lab = app.add_subcommand("lab", "a cluster of network namespaces on this machine");
  lab->require_subcommand(1);
  auto add = [&](const char* name, const char* what) {
    auto* command = lab->add_subcommand(name, what);
    command->add_option("--name", flags.name, "the lab's name")->capture_default_str();
    return command;
  };
  auto* up = add("up", "start a lab, or what is missing of it");
  up->add_option("--nodes", flags.nodes, "how many nodes (default: those it has, at first 3)")
      ->check(CLI::Range(1, 250));
  up->add_option("--backend", flags.backend,
                 "how nodes reach each other's Pods (default: as it does, at first vxlan)")
      ->check(CLI::IsMember({"vxlan", "host-gw", "auto"}));
  up->add_option(
      "--resolv-conf", flags.resolv_conf,
      "whose servers the nodes ask for names outside the cluster; \"\": none (default: as "
      "they do, at first the machine's)");
  up->callback([&] { result = lab_up(flags); });
  add("down", "stop a lab and leave nothing behind")->callback([&] { result = lab_down(flags); });
  add("status", "the lab's nodes and their processes")->callback([&] {
    result = lab_status(flags);
  });
  add("kubeconfig", "print the path of the kubeconfig")->callback([&] {
    result = lab_kubeconfig(flags);
  });

  static std::string ns = "default", service, node,
                     pod;  // outlive this function: the callbacks refer to them
  static std::vector<std::string> argv;
  const auto fault = [&](const char* name, const char* what) {
    auto* command = add(name, what);
    command->add_option("NODE", node)->required();
    command->callback([&flags, &result, name] { result = lab_fault(flags, name, node); });
  };
  fault("cut", "pull a node's network cable out");
  fault("heal", "put a node's network cable in again");
  fault("move", "give a node another address");
  fault("power-cut", "kill everything on a node; `lab up` starts it again");
  fault("flush", "remove all iptables rules of a node");
  auto* url = add("url", "print the URLs of a Service");
  url->add_option("SERVICE", service)->required();
  url->add_option("-n,--namespace", ns)->capture_default_str();
  url->callback([&] { result = lab_url(flags, ns, service); });
  auto* exec = add("exec", "run a command on a node, or in a Pod of it");
  exec->add_option("NODE", node)->required();
  exec->add_option("--pod", pod, "NAMESPACE/NAME");
  exec->add_option("COMMAND", argv)->required();
  exec->callback([&] {
    if (!argv.empty() && argv.front() == "--") argv.erase(argv.begin());  // ended the options
    result = lab_exec_command(flags, node, pod, argv);
  });
}

void add_copies(CLI::App& app, int& result) {
  static std::string data_dir = "/var/lib/coracle", file;  // outlive this function, see add_lab
  static bool force = false;
  const auto add = [&](const char* name, const char* what) {
    auto* command = app.add_subcommand(name, what);
    command->add_option("FILE", file)->required();
    command->add_option("--data-dir", data_dir)->capture_default_str();
    return command;
  };
  auto* save = add("backup", "copy the database to FILE, also while the server runs");
  save->add_flag("--force", force, "replace FILE when it exists");
  save->callback([&] { result = backup(data_dir, file, force); });
  add("restore", "put the backup FILE into the place of a stopped server's database")
      ->callback([&] { result = restore(data_dir, file); });
}

void add_agent(CLI::App& app, AgentFlags& flags, int& result) {
  auto* agent = app.add_subcommand("agent", "a node of a cluster whose server runs elsewhere");
  agent->add_option("--server", flags.server,
                    "https://HOST[:6443]; not needed again once this node has joined");
  agent->add_option("--token", flags.token, "a join token (`coracle token create`), to join with");
  agent->add_option("--data-dir", flags.data_dir, "where everything is kept")
      ->capture_default_str();
  agent->add_option("--node-name", flags.node_name, "this node's name (default: the host name)");
  agent->add_option("--node-ip", flags.node_ip,
                    "this node's address (default: that of the default route)");
  add_node_options(*agent, flags.node);
  agent->add_flag("--replace", flags.replace,
                  "take the place of a node of this name that joined before");
  agent->callback([&] { result = run_agent(flags); });
}

void add_token(CLI::App& app, int& result) {
  static TokenFlags flags;  // outlive this function, see add_lab
  static std::string id;
  auto* token = app.add_subcommand("token", "join tokens: what a machine needs to become a node");
  token->require_subcommand(1);
  const auto add = [&](const char* name, const char* what) {
    auto* command = token->add_subcommand(name, what);
    command->add_option("--data-dir", flags.data_dir, "of the server")->capture_default_str();
    command->add_option("--kubeconfig", flags.kubeconfig, "the server's, instead of --data-dir");
    return command;
  };
  auto* create = add("create", "make one and print it");
  create
      ->add_option("--ttl", flags.ttl,
                   "how long it can be used, as 90s, 30m, 24h or 7d; 0: for ever")
      ->capture_default_str();
  create->add_option("--description", flags.description, "what it is for");
  create->callback([&] { result = token_create(flags); });
  add("list", "show those there are")->callback([&] { result = token_list(flags); });
  auto* remove = add("delete", "make one useless; nodes that joined with it stay");
  remove->add_option("ID", id, "the token, or its first 6 characters")->required();
  remove->callback([&] { result = token_delete(flags, id); });
}

int run(int argc, char** argv) {
  CLI::App app("Coracle: a Kubernetes network in one binary", "coracle");
  app.require_subcommand(1);
  int result = 0;
  ServerFlags flags;
  auto* server =
      app.add_subcommand("server", "API server, controllers and node agent in one process");
  add_server_options(*server, flags);
  server->callback([&] { result = run_server(flags); });
  AgentFlags agent;
  add_agent(app, agent, result);
  add_token(app, result);
  LabFlags lab;
  add_lab(app, lab, result);

  std::string data_dir = "/var/lib/coracle", ns = "default", service;
  auto* status = app.add_subcommand("status", "nodes, Pods and Services at a glance");
  status->add_option("--data-dir", data_dir)->capture_default_str();
  status->callback([&] { result = print_status(data_dir); });
  auto* url = app.add_subcommand("url", "print the URLs of a Service");
  url->add_option("SERVICE", service)->required();
  url->add_option("-n,--namespace", ns)->capture_default_str();
  url->add_option("--data-dir", data_dir)->capture_default_str();
  url->callback([&] { result = print_url(data_dir, ns, service); });
  add_copies(app, result);
  auto* remove =
      app.add_subcommand("uninstall", "remove Pods, links, rules and files of this node");
  remove->add_option("--data-dir", flags.data_dir)->capture_default_str();
  remove->callback([&] { result = uninstall(flags); });
  int port = 8080;
  auto* echo = app.add_subcommand("echo", "the echo server of the image coracle/echo");
  echo->add_option("--port", port, "TCP and UDP port")->capture_default_str();
  echo->callback([&] { result = echo_main({static_cast<Port>(port)}); });
  app.add_subcommand("version", "print the version")->callback([] {
    std::cout << "coracle " << CORACLE_VERSION << "\n";
  });

  CLI11_PARSE(app, argc, argv);
  return result;
}

}  // namespace
}  // namespace coracle

int main(int argc, char** argv) {
  // Before any library is set up: supervisors are many and must stay small.
  if (coracle::is_supervisor(argc, argv)) return coracle::supervisor_main(argc, argv);
  return coracle::run(argc, argv);
}
