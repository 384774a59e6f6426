#include "local_client.h"

#include <nlohmann/json.hpp>

#include "registry_errors.h"
#include "schema.h"
#include "watch_filter.h"

namespace coracle {
namespace {

constexpr std::chrono::seconds kBookmarkInterval{30};

Json document_of(const Entry& entry) {
  Json document = Json::parse(entry.value, nullptr, false);
  return document.is_object() ? document : Json::object();
}

struct Selectors {
  LabelSelector labels;
  FieldSelector fields;
};

Result<Selectors> parse_selectors(const ResourceKind& kind, const ListOptions& options) {
  Selectors out{TRY(LabelSelector::parse(options.label_selector)),
                TRY(FieldSelector::parse(options.field_selector))};
  TRY(check_fields(kind, out.fields));
  return out;
}

// As for a request body, unknown fields dropped: what both clients write is the same.
Result<void> check(const ResourceKind& kind, Json& document) {
  const SchemaType* type = Schema::instance().find(kind.schema_type);
  if (type == nullptr || document.value("kind", Json()) == "Binding") return {};
  TRY(check_document(*type, document, FieldValidation::Ignore, {}));
  return {};
}

class LocalWatch : public ClientWatch {
 public:
  LocalWatch(const ResourceKind& kind, std::unique_ptr<StoreWatch> watch, Selectors selectors)
      : kind_(kind), watch_(std::move(watch)), selectors_(std::move(selectors)) {}

  Result<std::vector<WatchEvent>> next(const std::stop_token& stop) override {
    std::vector<WatchEvent> out;
    while (out.empty() && !stop.stop_requested()) {
      // A real deadline, not the injected clock's: it bounds a wait, no decision hangs on it.
      const auto deadline = std::chrono::steady_clock::now() + kBookmarkInterval;
      const auto events = TRY(watch_->next(deadline, stop));
      for (const StoreEvent& event : events) {
        const auto filtered = filter_event(event, selectors_.labels, selectors_.fields);
        if (filtered) out.push_back({filtered->type, Object(document_of(*filtered->entry))});
      }
      if (events.empty() && !stop.stop_requested()) out.push_back(bookmark());
    }
    return out;
  }

 private:
  WatchEvent bookmark() const {
    return {WatchEvent::Type::Bookmark,
            Object(Json{{"kind", kind_.resource.kind},
                        {"apiVersion", kind_.resource.api_version()},
                        {"metadata", {{"resourceVersion", std::to_string(watch_->progress())}}}})};
  }

  const ResourceKind& kind_;
  std::unique_ptr<StoreWatch> watch_;
  const Selectors selectors_;
};

}  // namespace

Result<const ResourceKind*> LocalClient::kind_of(const Resource& resource) const {
  const ResourceKind* kind = registry_.find(resource.group, resource.version, resource.plural);
  if (kind == nullptr)
    return Error{Code::NotFound, "the server could not find the requested resource"};
  return kind;
}

Result<Object> LocalClient::get(const Resource& resource, const ObjectKey& key) {
  const ResourceKind* kind = TRY(kind_of(resource));
  return Object(document_of(*TRY(registry_.get(*kind, key))));
}

Result<ObjectList> LocalClient::list(const Resource& resource, const ListOptions& options) {
  const ResourceKind* kind = TRY(kind_of(resource));
  Selectors selectors = TRY(parse_selectors(*kind, options));
  ListRequest request;
  request.ns = options.ns;
  request.labels = std::move(selectors.labels);
  request.fields = std::move(selectors.fields);
  const ListPage page = TRY(registry_.list(*kind, request));
  ObjectList out;
  out.revision = page.revision;
  out.items.reserve(page.entries.size());
  for (const EntryPtr& entry : page.entries) out.items.emplace_back(document_of(*entry));
  return out;
}

Result<std::unique_ptr<ClientWatch>> LocalClient::watch(const Resource& resource,
                                                        const ListOptions& options, Revision from) {
  const ResourceKind* kind = TRY(kind_of(resource));
  Selectors selectors = TRY(parse_selectors(*kind, options));
  auto watch = TRY(registry_.watch(*kind, options.ns, from));
  return std::unique_ptr<ClientWatch>(
      std::make_unique<LocalWatch>(*kind, std::move(watch), std::move(selectors)));
}

Result<Object> LocalClient::create(const Resource& resource, const Object& object) {
  const ResourceKind* kind = TRY(kind_of(resource));
  Json document = object.json();
  TRY(check(*kind, document));
  return Object(TRY(registry_.create(*kind, object.ns(), std::move(document), {})));
}

Result<Object> LocalClient::update(const Resource& resource, const Object& object,
                                   const std::string& subresource) {
  const ResourceKind* kind = TRY(kind_of(resource));
  Json document = object.json();
  TRY(check(*kind, document));
  return Object(TRY(registry_.update(*kind, object.key(), subresource, std::move(document), {})));
}

Result<Object> LocalClient::patch(const Resource& resource, const ObjectKey& key, PatchType type,
                                  const Json& patch, const std::string& subresource) {
  const ResourceKind* kind = TRY(kind_of(resource));
  const PatchRequest request{type, patch};
  return Object(TRY(registry_.patch(*kind, key, subresource, request, {},
                                    [&](Json& patched) { return check(*kind, patched); })));
}

Result<void> LocalClient::remove(const Resource& resource, const ObjectKey& key,
                                 const DeleteOptions& options) {
  const ResourceKind* kind = TRY(kind_of(resource));
  TRY(registry_.remove(*kind, key, options, {}));
  return {};
}

}  // namespace coracle
