#include "server.h"

#include <apiserver/big_stack.h>
#include <apiserver/handlers_media.h>
#include <apiserver/http_message.h>
#include <apiserver/resources/resources.h>
#include <apiserver/schema.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

namespace coracle::fuzz {
namespace {

constexpr int kDeepestYaml = 400;  // yaml-cpp reads no deeper than 500

int depth_of(const Json& value) {
  int deepest = 0;
  if (value.is_structured())
    for (const Json& item : value) deepest = std::max(deepest, depth_of(item));
  return deepest + 1;
}

// Whichever registry is there now.
class Front : public Registry {
 public:
  explicit Front(const std::unique_ptr<Registry>& now) : now_(now) {}
  const std::vector<ResourceKind>& kinds() const override { return now_->kinds(); }
  const ResourceKind* find(std::string_view group, std::string_view version,
                           std::string_view plural) const override {
    return now_->find(group, version, plural);
  }
  Result<EntryPtr> get(const ResourceKind& kind, const ObjectKey& key) const override {
    return now_->get(kind, key);
  }
  Result<ListPage> list(const ResourceKind& kind, const ListRequest& request) const override {
    return now_->list(kind, request);
  }
  Result<std::unique_ptr<StoreWatch>> watch(const ResourceKind& kind, const std::string& ns,
                                            Revision from) override {
    return now_->watch(kind, ns, from);
  }
  Revision revision() const override { return now_->revision(); }
  // Nobody else writes: there is nothing to wait for.
  Result<void> await_revision(Revision wanted) const override {
    if (wanted <= now_->revision()) return {};
    return Error{Code::Timeout, "Too large resource version"};
  }
  Result<Json> create(const ResourceKind& kind, const std::string& ns, Json object,
                      const WriteOptions& options) override {
    return now_->create(kind, ns, std::move(object), options);
  }
  Result<Json> update(const ResourceKind& kind, const ObjectKey& key,
                      const std::string& subresource, Json object,
                      const WriteOptions& options) override {
    return now_->update(kind, key, subresource, std::move(object), options);
  }
  Result<Json> patch(const ResourceKind& kind, const ObjectKey& key, const std::string& subresource,
                     const PatchRequest& request, const WriteOptions& options,
                     const std::function<Result<void>(Json& patched)>& decode) override {
    return now_->patch(kind, key, subresource, request, options, decode);
  }
  Result<Removed> remove(const ResourceKind& kind, const ObjectKey& key,
                         const DeleteOptions& options, const WriteOptions& write) override {
    return now_->remove(kind, key, options, write);
  }

 private:
  const std::unique_ptr<Registry>& now_;
};

std::unique_ptr<Registry> registry_over(Store& store, const Clock& clock) {
  ResourceOptions kinds{};
  kinds.service_cidr = *Cidr::parse("10.96.0.0/16");
  kinds.cluster_dns = *Ip::parse("10.96.0.10");
  auto registry = Registry::create({store, clock, all_kinds(kinds)});
  require(registry.has_value(), "a registry opens");
  return std::move(*registry);
}

const ResourceKind* kind_named(const Registry& registry, const std::string& name) {
  for (const ResourceKind& kind : registry.kinds())
    if (kind.resource.kind == name) return &kind;
  return nullptr;
}

std::vector<std::string> documents_of(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::ostringstream text;
  text << in.rdbuf();
  std::string rest = "\n" + text.str();
  std::vector<std::string> out;
  for (std::size_t end = rest.find("\n---"); !rest.empty(); end = rest.find("\n---", 1)) {
    if (end != 0) out.push_back(rest.substr(0, end));
    rest.erase(0, end == std::string::npos ? end : end + 4);
  }
  return out;
}

void require_status(const HttpResponse& response, const Json& body) {
  require(json_string(body, {"kind"}) == "Status", "an error is a Status");
  require(json_int(body, {"code"}) == response.code, "a Status tells the code of its answer");
}

void require_answer(const HttpResponse& response) {
  require(response.code >= 200 && response.code < 600, "an answer has a code");
  require(response.code != 500, "no input makes the server fail: " + response.body);
  if (response.stream) return;
  if (response.content_type == "application/yaml") {
    require(parse_yaml_body(response.body).has_value(), "an answer in YAML is YAML");
    return;
  }
  if (response.content_type != "application/json" || response.body.empty()) return;
  const Json body = Json::parse(response.body, nullptr, false);
  require(!body.is_discarded(), "an answer in JSON is JSON");
  if (response.code >= 400) require_status(response, body);
}

}  // namespace

std::string collection_path(const Resource& resource, const std::string& ns) {
  return (resource.group.empty() ? "/api/" : "/apis/") + resource.api_version() +
         (resource.namespaced ? "/namespaces/" + ns : "") + "/" + resource.plural;
}

Server& Server::instance() {
  static Server server;
  return server;
}

Server::Server()
    : store_(open_memory_store(stamp_resource_version)),
      registry_(registry_over(*store_, clock_)),
      front_(std::make_unique<Front>(registry_)),
      authenticator_(std::make_unique<Authenticator>(nullptr, "secret")),
      handlers_(
          std::make_unique<Handlers>(Handlers::Options{*front_,
                                                       clock_,
                                                       *authenticator_,
                                                       "0",
                                                       [] { return std::string("192.0.2.1:6443"); },
                                                       {}})) {
  handlers_->set_ready(true);
  read_manifests();
  renew();
}

void Server::read_manifests() {
  manifests_ = {"{apiVersion: v1, kind: Namespace, metadata: {name: default}}"};
  std::set<std::filesystem::path> files;
  for (const auto& entry :
       std::filesystem::directory_iterator(CORACLE_SOURCE_DIR "/manifests/examples"))
    files.insert(entry.path());
  for (const auto& file : files)
    for (std::string& text : documents_of(file)) manifests_.push_back(std::move(text));
}

void Server::renew() {
  examples_.clear();
  registry_.reset();
  store_ = open_memory_store(stamp_resource_version);
  registry_ = registry_over(*store_, clock_);
  for (const std::string& text : manifests_) {
    auto parsed = parse_yaml_body(text);
    if (!parsed || !parsed->document.is_object()) continue;
    const ResourceKind* kind = kind_named(*registry_, json_string(parsed->document, {"kind"}));
    const std::string ns = json_string(parsed->document, {"metadata", "namespace"});
    if (kind == nullptr) continue;
    auto object = registry_->create(*kind, kind->resource.namespaced && ns.empty() ? "default" : ns,
                                    std::move(parsed->document), {});
    const bool known = std::any_of(examples_.begin(), examples_.end(),
                                   [&](const Example& e) { return e.kind == kind; });
    if (!object || known) continue;
    ObjectKey key{json_string(*object, {"metadata", "namespace"}),
                  json_string(*object, {"metadata", "name"})};
    examples_.push_back({kind, std::move(key), std::move(*object)});
  }
  require(examples_.size() >= 10, "the examples are there");
}

HttpResponse Server::ask(const Ask& ask) {
  HttpRequest request;
  request.method = ask.method;
  request.path = ask.path;
  request.query = ask.query;
  request.headers = {{"Authorization", "Bearer secret"}};
  if (!ask.content_type.empty()) request.headers.emplace_back("Content-Type", ask.content_type);
  if (!ask.accept.empty()) request.headers.emplace_back("Accept", ask.accept);
  request.body = ask.body;
  HttpResponse response;
  if (may_nest_deeply(request)) {
    require(call_on_big_stack([&] { response = handlers_->handle(request); }), "a thread");
  } else {
    response = handlers_->handle(request);
  }
  require_answer(response);
  return response;
}

void require_round_trips(const Json& document) {
  const std::string text = document.dump();
  const auto again = parse_json_body(text);
  require(again.has_value(), "what was parsed can be printed and parsed again");
  require(again->document == document, "printing and parsing change nothing");
  require(again->duplicate_fields.empty(), "a printed document has no field twice");
  if (document.is_structured() && !document.empty() && depth_of(document) < kDeepestYaml) {
    const auto yaml = parse_yaml_body(to_yaml(document));
    require(yaml.has_value(),
            "a document printed as YAML can be parsed: " + (yaml ? "" : yaml.error().message));
    require(yaml->document == document, "printing as YAML and parsing change nothing");
  }
}

}  // namespace coracle::fuzz
