// The client over HTTPS against a real server, beside the one without HTTP: both say the same.
#include <apiserver/local_client.h>
#include <coracle/http_client.h>
#include <coracle/informer.h>
#include <gtest/gtest.h>

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
  std::unique_ptr<Client> connect(const std::function<void(HttpClientOptions&)>& change) const {
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
  std::unique_ptr<Client> http_;
};

// What a script of operations gives, without what differs between any two objects.
std::vector<std::string> script(Client& client, const std::string& tag) {
  std::vector<std::string> out;
  const auto said = [&](const auto& result, const std::string& what) {
    std::string line = what + ": ";
    if (!result) {
      line += std::to_string(static_cast<int>(result.error().code)) + " " + result.error().message;
      for (const Cause& c : result.error().causes) line += " [" + c.field + " " + c.reason + "]";
    } else {
      line += "ok";
    }
    for (auto at = line.find(tag); at != std::string::npos; at = line.find(tag))
      line.replace(at, tag.size(), "TAG");
    line = line.substr(0, line.find(", UID in object meta"));
    out.push_back(line);
  };
  const Resource& maps = resources::kConfigMaps;
  const ObjectKey key{"default", "m-" + tag};
  said(client.get(maps, key), "get absent");
  said(client.create(maps, map_object(key.name, "1")), "create");
  said(client.create(maps, map_object(key.name, "1")), "create again");
  said(client.create(maps, map_object("Bad_Name", "1")), "create badly named");
  Object stale = *client.get(maps, key);
  Object changed = stale;
  changed.json()["data"]["k"] = "2";
  said(client.update(maps, changed, ""), "update");
  said(client.update(maps, stale, ""), "update a stale one");
  said(client.patch(maps, key, PatchType::JsonMerge, {{"data", {{"k", nullptr}, {"j", "3"}}}}, ""),
       "merge patch");
  said(client.patch(maps, key, PatchType::StrategicMerge, {{"data", {{"s", "4"}}}}, ""),
       "strategic patch");
  const Json bad_test = Json::array({{{"op", "test"}, {"path", "/data/j"}, {"value", "no"}}});
  said(client.patch(maps, key, PatchType::JsonPatch, bad_test, ""), "json patch");
  out.push_back(client.get(maps, key)->json()["data"].dump());
  said(client.list(maps, {.ns = "default", .label_selector = "a in ("}), "bad selector");
  Json service = {{"metadata", {{"name", "s-" + tag}, {"namespace", "default"}}},
                  {"spec", {{"type", "Nonsense"}, {"ports", Json::array({{{"port", 99999}}})}}}};
  said(client.create(resources::kServices, Object(service)), "bad service");
  said(client.remove(maps, key, {.uid = "another"}), "delete another");
  said(client.remove(maps, key, {}), "delete");
  said(client.remove(maps, key, {}), "delete again");
  return out;
}

TEST_F(HttpClientTest, SaysWhatTheLocalClientSays) {
  LocalClient local(*registry_, system_clock());
  const auto here = script(local, "local");
  const auto there = script(*http_, "remote");
  EXPECT_EQ(here, there);
  EXPECT_EQ(std::count_if(here.begin(), here.end(),
                          [](const std::string& line) { return line.ends_with(": ok"); }),
            5);
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
  ASSERT_TRUE(informer.wait_synced(std::chrono::steady_clock::now() + std::chrono::seconds(10)));
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
