// The client over HTTPS against a real server, beside the one without HTTP: both say the same.
#include <apiserver/local_client.h>
#include <coracle/http_client.h>
#include <coracle/informer.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "support/api_fixture.h"

namespace coracle {
namespace {

struct AnyObject {
  Object object;
  static Result<AnyObject> decode(const Object& o) { return AnyObject{o}; }
};

Object map_object(const std::string& name, const std::string& value) {
  return Object(
      Json{{"metadata", {{"name", name}, {"namespace", "default"}}}, {"data", {{"k", value}}}});
}

class HttpClientTest : public ClusterFixture {
 protected:
  void SetUp() override {
    ClusterFixture::SetUp();
    http_ = connect({});
  }
  std::unique_ptr<HttpClient> connect(const std::function<void(HttpClientOptions&)>& change) const {
    HttpClientOptions options;
    options.server = "https://127.0.0.1:" + std::to_string(server_->port());
    options.ca_pem = read("pki/ca.crt");
    options.client_cert_pem = read("pki/admin.crt");
    options.client_key_pem = read("pki/admin.key");
    if (change) change(options);
    auto client = make_http_client(options);
    EXPECT_TRUE(client) << client.error().message;
    return client ? std::move(*client) : nullptr;
  }
  std::unique_ptr<HttpClient> http_;
};

// What a client says to a script of operations, without what differs between any two objects.
class Script {
 public:
  Script(Client& client, std::string tag) : client_(client), tag_(std::move(tag)) {}
  std::vector<std::string> run() {
    write_and_read();
    patch();
    subresources();
    refuse_and_remove();
    return std::move(out_);
  }

 private:
  template <typename T>
  void said(const Result<T>& result, const std::string& what) {
    if (result) return say(what + ": ok");
    std::string line = what + ": " + std::to_string(static_cast<int>(result.error().code)) + " " +
                       result.error().message;
    for (const Cause& c : result.error().causes) line += " [" + c.field + " " + c.reason + "]";
    say(line);
  }
  void say(std::string line) {
    for (auto at = line.find(tag_); at != std::string::npos; at = line.find(tag_))
      line.replace(at, tag_.size(), "TAG");
    for (const char* field : {"UID", "ResourceVersion"})
      line = line.substr(0, line.find(std::string(", ") + field + " in object meta"));
    out_.push_back(line);
  }

  void write_and_read() {
    said(client_.get(maps_, key_), "get absent");
    said(client_.create(maps_, map_object(key_.name, "1")), "create");
    said(client_.create(maps_, map_object(key_.name, "1")), "create again");
    said(client_.create(maps_, map_object("Bad_Name", "1")), "create badly named");
    const auto stale = client_.get(maps_, key_);
    ASSERT_TRUE(stale) << stale.error().message;
    Object changed = *stale;
    changed.json()["data"]["k"] = "2";
    changed.json()["metadata"]["labels"] = {{"app", tag_}, {"odd", ""}};
    said(client_.update(maps_, changed, ""), "update");
    said(client_.update(maps_, *stale, ""), "update a stale one");
    const auto some = client_.list(
        maps_, {.ns = "default", .label_selector = "app in (a, " + tag_ + "),odd=,app!=x&y"});
    said(some, "list by a bad label");
    const auto mine = client_.list(maps_, {.label_selector = "app in (a, " + tag_ + "),odd=,app!=x",
                                           .field_selector = "metadata.name==" + key_.name});
    ASSERT_TRUE(mine) << mine.error().message;
    for (const Object& item : mine->items)
      say(item.kind() + " " + item.api_version() + " " + item.json()["data"].dump());
  }

  void patch() {
    said(client_.patch(maps_, key_, PatchType::JsonMerge, {{"data", {{"k", nullptr}, {"j", "3"}}}},
                       ""),
         "merge patch");
    said(client_.patch(maps_, key_, PatchType::StrategicMerge, {{"data", {{"s", "4"}}}}, ""),
         "strategic patch");
    const Json bad_test = Json::array({{{"op", "test"}, {"path", "/data/j"}, {"value", "no"}}});
    said(client_.patch(maps_, key_, PatchType::JsonPatch, bad_test, ""), "json patch");
    say(client_.get(maps_, key_)->json()["data"].dump());
  }

  void subresources() {
    const std::string name = "p-" + tag_;
    const Json container = {{"name", "c"}, {"image", "i"}};
    const Json pod = {{"metadata", {{"name", name}, {"namespace", "default"}}},
                      {"spec", {{"containers", Json::array({container})}}}};
    const auto bind = [&](const std::string& node) {
      return client_.update(resources::kPods,
                            Object(Json{{"apiVersion", "v1"},
                                        {"kind", "Binding"},
                                        {"metadata", {{"name", name}, {"namespace", "default"}}},
                                        {"target", {{"kind", "Node"}, {"name", node}}}}),
                            "binding");
    };
    said(bind("n1"), "bind an absent Pod");
    said(client_.create(resources::kPods, Object(pod)), "create a Pod");
    said(bind(""), "bind to nothing");
    said(bind("n1"), "bind");
    said(bind("n2"), "bind again");
    said(client_.patch(resources::kPods, {"default", name}, PatchType::StrategicMerge,
                       {{"status", {{"phase", "Running"}}}, {"spec", {{"nodeName", "n3"}}}},
                       "status"),
         "patch the status");
    const auto bound = client_.get(resources::kPods, {"default", name});
    ASSERT_TRUE(bound) << bound.error().message;
    say(json_string(bound->json(), {"spec", "nodeName"}) + " " +
        json_string(bound->json(), {"status", "phase"}));
    Object ns(Json{{"metadata", {{"name", "n-" + tag_}}}});
    said(client_.create(resources::kNamespaces, ns), "create a Namespace");
    ns.json()["spec"] = {{"finalizers", Json::array()}};
    const auto finalized = client_.update(resources::kNamespaces, ns, "finalize");
    said(finalized, "finalize");
    if (finalized) say(finalized->json()["spec"].dump());
  }

  void refuse_and_remove() {
    said(client_.list(maps_, {.ns = "default", .label_selector = "a in ("}), "bad label selector");
    said(client_.list(maps_, {.ns = "default", .field_selector = "spec.x=1"}),
         "bad field selector");
    Json service = {{"metadata", {{"name", "s-" + tag_}, {"namespace", "default"}}},
                    {"spec", {{"type", "Nonsense"}, {"ports", Json::array({{{"port", 99999}}})}}}};
    said(client_.create(resources::kServices, Object(service)), "bad service");
    said(client_.get({"", "v1", "nothings", "Nothing", true}, key_), "unknown kind");
    said(client_.remove(maps_, key_, {.uid = "another"}), "delete another");
    said(client_.remove(maps_, key_, {.revision = 1}), "delete an older one");
    said(client_.remove(maps_, key_, {}), "delete");
    said(client_.remove(maps_, key_, {}), "delete again");
  }

  Client& client_;
  const std::string tag_;
  const Resource& maps_ = resources::kConfigMaps;
  const ObjectKey key_{"default", "m-" + tag_};
  std::vector<std::string> out_;
};

TEST_F(HttpClientTest, SaysWhatTheLocalClientSays) {
  LocalClient local(*registry_, system_clock());
  const auto here = Script(local, "local").run();
  const auto there = Script(*http_, "remote").run();
  EXPECT_EQ(here, there);
  EXPECT_EQ(std::count_if(here.begin(), here.end(),
                          [](const std::string& line) { return line.ends_with(": ok"); }),
            10);
}

TEST_F(HttpClientTest, ReadsWhatTheLocalClientReads) {
  LocalClient local(*registry_, system_clock());
  for (const char* name : {"a", "b"})
    ASSERT_TRUE(http_->create(resources::kConfigMaps, map_object(name, "\u00e9\n")));
  const auto here = local.list(resources::kConfigMaps, {});
  const auto there = http_->list(resources::kConfigMaps, {});
  ASSERT_TRUE(here && there);
  EXPECT_EQ(here->revision, there->revision);
  ASSERT_EQ(here->items.size(), there->items.size());
  for (std::size_t i = 0; i < here->items.size(); ++i)
    EXPECT_EQ(here->items[i].json(), there->items[i].json());
  const auto first_event = [](Client& client, Revision from) {
    const auto watch = client.watch(resources::kConfigMaps, {}, from);
    const auto events = watch ? (*watch)->next({}) : watch.error();
    return events ? (*events)[0].object.json() : Json(events.error().message);
  };
  const Revision before_b = here->items[1].revision() - 1;
  EXPECT_EQ(first_event(local, before_b), here->items[1].json());
  EXPECT_EQ(first_event(*http_, before_b), here->items[1].json());
}

TEST_F(HttpClientTest, ListsAllPages) {
  for (int i = 0; i < 1203; ++i)
    ASSERT_TRUE(registry_->create(kind("", "v1", "configmaps"), "default",
                                  map_object("c" + std::to_string(i), "x").json(), {}));
  const auto all = http_->list(resources::kConfigMaps, {.ns = "default"});
  ASSERT_TRUE(all) << all.error().message;
  EXPECT_EQ(all->items.size(), 1203U);
  EXPECT_EQ(all->revision, registry_->revision());
}

TEST_F(HttpClientTest, WatchesInOrderAndStops) {
  const auto from = http_->list(resources::kConfigMaps, {.ns = "default"})->revision;
  auto watch = http_->watch(resources::kConfigMaps, {.ns = "default"}, from);
  ASSERT_TRUE(watch);
  std::vector<std::string> seen;
  for (int i = 0; i < 3000; ++i)
    ASSERT_TRUE(registry_->create(kind("", "v1", "configmaps"), "default",
                                  map_object("w" + std::to_string(i), "x").json(), {}));
  while (seen.size() < 3000) {
    const auto events = (*watch)->next({});
    ASSERT_TRUE(events) << events.error().message;
    for (const WatchEvent& e : *events)
      if (e.type == WatchEvent::Type::Added) seen.push_back(e.object.name());
  }
  for (int i = 0; i < 3000; ++i)
    ASSERT_EQ(seen[static_cast<std::size_t>(i)], "w" + std::to_string(i));
  std::stop_source stop;
  std::jthread waiter([&] {
    const auto none = (*watch)->next(stop.get_token());
    EXPECT_TRUE(none && none->empty());
  });
  stop.request_stop();
}

TEST_F(HttpClientTest, WatchErrorsAreTheRequests) {
  auto watch = http_->watch({"", "v1", "nothings", "Nothing", true}, {}, 0);
  ASSERT_TRUE(watch);
  const auto events = (*watch)->next({});
  ASSERT_FALSE(events);
  EXPECT_EQ(events.error().code, Code::NotFound);
}

TEST_F(HttpClientTest, TrustsOnlyItsAuthority) {
  const auto stranger = connect([](HttpClientOptions& o) {
    // A well-formed certificate of someone else: the admin's own.
    o.ca_pem = o.client_cert_pem;
  });
  const auto got = stranger->get(resources::kNamespaces, {"", "default"});
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::Unavailable);
}

TEST_F(HttpClientTest, ATokenServesInsteadOfACertificate) {
  const auto with = [&](const std::string& token) {
    return connect([&](HttpClientOptions& o) {
      o.client_cert_pem.clear();
      o.client_key_pem.clear();
      o.token = token;
    });
  };
  EXPECT_TRUE(with(admin_token())->get(resources::kNamespaces, {"", "default"}));
  EXPECT_EQ(with("wrong")->get(resources::kNamespaces, {"", "default"}).error().code,
            Code::Unauthorized);
}

TEST_F(HttpClientTest, RefusesOptionsThatCannotWork) {
  HttpClientOptions options;
  options.server = "http://127.0.0.1";
  options.ca_pem = read("pki/ca.crt");
  EXPECT_EQ(make_http_client(options).error().code, Code::BadRequest);
  options.server = "https://127.0.0.1";
  options.ca_pem = "no certificate";
  EXPECT_EQ(make_http_client(options).error().code, Code::BadRequest);
}

// An informer over HTTPS goes through a server's restart without a word to its listeners that is
// not true.
TEST_F(HttpClientTest, ReconnectingEndsWhatWaitsAndNothingElse) {
  const auto revision = http_->list(resources::kConfigMaps, {})->revision;
  auto watch = http_->watch(resources::kConfigMaps, {}, revision);
  ASSERT_TRUE(watch);
  ASSERT_TRUE(http_->create(resources::kConfigMaps, map_object("before", "1")));
  const std::stop_source never;
  EXPECT_EQ((*watch)->next(never.get_token())->at(0).object.name(), "before");  // it is connected
  http_->reconnect();
  EXPECT_EQ((*watch)->next(never.get_token()).error().code, Code::Unavailable);
  // A kept connection that has ended is not used again.
  EXPECT_TRUE(http_->create(resources::kConfigMaps, map_object("after", "1")));
}

TEST_F(HttpClientTest, GoesOnAtAnotherServerWhenToldTo) {
  std::atomic<int> unreachable{0};
  http_->on_unreachable([&] { ++unreachable; });
  const auto revision = http_->list(resources::kConfigMaps, {})->revision;
  auto watch = http_->watch(resources::kConfigMaps, {}, revision);
  ASSERT_TRUE(watch);
  ASSERT_TRUE(http_->create(resources::kConfigMaps, map_object("before", "1")));
  const std::stop_source never;
  ASSERT_EQ((*watch)->next(never.get_token())->at(0).object.name(), "before");
  EXPECT_EQ(unreachable, 0);
  const auto old = std::move(server_);
  start_server();
  HttpClientOptions options;
  options.server = "http://127.0.0.1:1";
  EXPECT_EQ(http_->use(options).error().code, Code::BadRequest);
  options.server = "https://127.0.0.1:" + std::to_string(server_->port());
  options.ca_pem = read("pki/ca.crt");
  options.client_cert_pem = read("pki/admin.crt");
  options.client_key_pem = read("pki/admin.key");
  ASSERT_TRUE(http_->use(options));
  EXPECT_EQ((*watch)->next(never.get_token()).error().code, Code::Unavailable);
  EXPECT_EQ(unreachable, 1);
  old->stop();
  EXPECT_TRUE(http_->create(resources::kConfigMaps, map_object("after", "1")));
  server_.reset();
  EXPECT_FALSE(http_->create(resources::kConfigMaps, map_object("never", "1")));
  EXPECT_EQ(unreachable, 2);
}

TEST_F(HttpClientTest, TheServersCertificateAndKubeconfigFollowItsAddress) {
  server_.reset();
  tune_ = [](ApiServerOptions& options) { options.bind_address = "0.0.0.0"; };
  start_server();
  const auto asks = [&](const std::string& host) {
    HttpClientOptions options;
    options.server = "https://" + host + ":" + std::to_string(server_->port());
    options.ca_pem = read("pki/ca.crt");
    options.client_cert_pem = read("pki/admin.crt");
    options.client_key_pem = read("pki/admin.key");
    return http_get(options, "/api");
  };
  const auto waiting = connect({});
  const auto revision = waiting->list(resources::kConfigMaps, {})->revision;
  auto watch = waiting->watch(resources::kConfigMaps, {}, revision);
  ASSERT_TRUE(waiting->create(resources::kConfigMaps, map_object("before", "1")));
  const std::stop_source never;
  ASSERT_EQ((*watch)->next(never.get_token())->at(0).object.name(), "before");

  EXPECT_FALSE(asks("127.0.0.2"));
  ASSERT_TRUE(server_->set_addresses({*Ip::parse("127.0.0.2")}));
  const auto answer = asks("127.0.0.2");
  ASSERT_TRUE(answer) << answer.error().message;
  const std::string now = "127.0.0.2:" + std::to_string(server_->port());
  EXPECT_NE(answer->find("\"serverAddress\":\"" + now + "\""), std::string::npos) << *answer;
  EXPECT_NE(read("kubeconfig").find("server: https://" + now), std::string::npos);
  ASSERT_TRUE(waiting->create(resources::kConfigMaps, map_object("after", "1")));
  EXPECT_EQ((*watch)->next(never.get_token())->at(0).object.name(), "after") << "it stayed open";
}

TEST_F(HttpClientTest, AnInformerSurvivesTheServersRestart) {
  const int port = server_->port();
  Informer<AnyObject> informer(*http_, resources::kConfigMaps, {.ns = "default"});
  std::mutex mutex;
  std::condition_variable heard;
  std::vector<std::string> keys;
  informer.on_change([&](const ObjectKey& key) {
    const std::lock_guard lock(mutex);
    keys.push_back(key.name);
    heard.notify_all();
  });
  const auto hears = [&](const std::string& name) {
    std::unique_lock lock(mutex);
    return heard.wait_for(lock, std::chrono::seconds(20),
                          [&] { return !keys.empty() && keys.back() == name; });
  };
  informer.start();
  ASSERT_TRUE(informer.wait_synced(std::chrono::steady_clock::now() + std::chrono::seconds(60)));
  const auto make = [&](const std::string& name) {
    return registry_->create(kind("", "v1", "configmaps"), "default", map_object(name, "x").json(),
                             {});
  };
  ASSERT_TRUE(make("before"));
  EXPECT_TRUE(hears("before"));
  server_.reset();
  ASSERT_TRUE(make("meanwhile"));
  tune_ = [port](ApiServerOptions& o) { o.port = port; };
  start_server();
  EXPECT_TRUE(hears("meanwhile"));
  EXPECT_EQ(keys, (std::vector<std::string>{"before", "meanwhile"}));
  EXPECT_EQ(informer.list().size(), 2U);
}

}  // namespace
}  // namespace coracle
