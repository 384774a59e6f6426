// Lists and watches, request by request: what is answered, what is refused and how. The
// combinations are those of the API's documentation on resource versions.
#include <thread>

#include "list_watch_fixture.h"

namespace coracle {
namespace {

using resources::kConfigMaps;

struct Row {
  std::string query;
  int code;
  std::string outcome;  // names of the items, or fields and reasons of the causes, or the reason
};

TEST_F(ListWatchTest, Lists) {
  const std::string match = "resourceVersionMatch";
  const std::vector<Row> rows = {
      {"", 200, "a b c"},
      {"resourceVersion=", 200, "a b c"},
      {"resourceVersion=0", 200, "a b c"},
      {"resourceVersion={mid}", 200, "a b c"},  // at least that new
      {"resourceVersion={gone}", 200, "a b c"},
      {"resourceVersion={new}", 504, "Timeout"},
      {"resourceVersion={mid}&resourceVersionMatch=NotOlderThan", 200, "a b c"},
      {"resourceVersion=0&resourceVersionMatch=NotOlderThan", 200, "a b c"},
      {"resourceVersion={new}&resourceVersionMatch=NotOlderThan", 504, "Timeout"},
      {"resourceVersion={old}&resourceVersionMatch=Exact", 200, "a"},
      {"resourceVersion={mid}&resourceVersionMatch=Exact", 200, "a b"},
      {"resourceVersion={now}&resourceVersionMatch=Exact", 200, "a b c"},
      {"resourceVersion={mid}&resourceVersionMatch=Exact&labelSelector=group%3Dtwo", 200, "b"},
      {"resourceVersion={mid}&resourceVersionMatch=Exact&fieldSelector=metadata.name%3Dc", 200, ""},
      {"resourceVersion={gone}&resourceVersionMatch=Exact", 410, "Expired"},
      {"resourceVersion={new}&resourceVersionMatch=Exact", 504, "Timeout"},
      {"limit=2", 200, "a b"},
      {"limit=0", 200, "a b c"},
      {"limit=2&resourceVersion=0", 200, "a b"},
      {"limit=5&resourceVersion={mid}", 200, "a b"},  // a limited list is of that revision
      {"limit=5&resourceVersion={gone}", 410, "Expired"},
      {"limit=5&resourceVersion={mid}&resourceVersionMatch=NotOlderThan", 200, "a b c"},
      {"labelSelector=group%3Done", 200, "a c"},
      {"labelSelector=group%20in%20(two,three),!other", 200, "b"},
      {"fieldSelector=metadata.name!%3Da", 200, "b c"},
      {"timeoutSeconds=5", 200, "a b c"},
      {"allowWatchBookmarks=true&watch=false&unheardOf=1", 200, "a b c"},
      {match + "=Exact", 422, match + " FieldValueForbidden"},
      {match + "=NotOlderThan", 422, match + " FieldValueForbidden"},
      {match + "=Exact&resourceVersion=0", 422, match + " FieldValueForbidden"},
      {match + "=Near&resourceVersion=5", 422, match + " FieldValueNotSupported"},
      {match + "=Near", 422, match + " FieldValueForbidden, " + match + " FieldValueNotSupported"},
      {match + "=Exact&continue=x", 422,
       match + " FieldValueForbidden, " + match + " FieldValueForbidden"},
      {"sendInitialEvents=true", 422, "sendInitialEvents FieldValueForbidden"},
      {"sendInitialEvents=false", 422, "sendInitialEvents FieldValueForbidden"},
      {"limit=x", 400, "BadRequest"},
      {"limit=99999999999999999999", 400, "BadRequest"},
      {"resourceVersion=x", 400, "resourceVersion FieldValueInvalid"},
      {"resourceVersion=99999999999999999999", 400, "resourceVersion FieldValueInvalid"},
      {"continue=x", 400, "BadRequest"},
      {"labelSelector=a%3D%3D%3Db", 400, "BadRequest"},
      {"fieldSelector=data.a%3D1", 400, "BadRequest"},
  };
  for (const Row& row : rows) {
    const Response response = maps(row.query);
    EXPECT_EQ(response.code, row.code) << row.query << "\n" << response.body;
    const Json document = response.json();
    std::string outcome = response.names();
    if (response.code != 200) outcome = causes(document);
    if (response.code == 504) {
      EXPECT_EQ(causes(document), " ResourceVersionTooLarge") << row.query;
    }
    if (response.code == 504 || (response.code != 200 && outcome.empty()))
      outcome = json_string(document, {"reason"});
    EXPECT_EQ(outcome, row.outcome) << row.query;
  }
}

TEST_F(ListWatchTest, ListsSayWhichRevisionTheyAre) {
  EXPECT_EQ(maps("").revision(), now());
  EXPECT_EQ(maps("resourceVersion={old}").revision(), now());
  const Response exact = maps("resourceVersion={mid}&resourceVersionMatch=Exact");
  EXPECT_EQ(exact.revision(), mid_);
  EXPECT_EQ(json_string(exact.json()["items"][0], {"data", "a"}), "1") << "as it was then";
}

class CatchUpTest : public ListWatchTest {
 protected:
  CatchUpTest() { catch_up_ = std::chrono::seconds(60); }
};

TEST_F(CatchUpTest, ARevisionThatIsAlmostThereIsAwaited) {
  const std::string next = std::to_string(registry_->revision() + 1);
  std::jthread writer([&] { make(kConfigMaps, config_map("d")); });
  EXPECT_EQ(maps("resourceVersion=" + next).names(), "a b c d");
  EXPECT_EQ(get(std::string(kMaps) + "/d?resourceVersion=" + next).code, 200);
}

TEST_F(ListWatchTest, Gets) {
  const std::string one = std::string(kMaps) + "/a";
  const std::vector<std::pair<std::string, int>> rows = {
      {"", 200},
      {"?resourceVersion=0", 200},
      {"?resourceVersion={old}", 200},
      {"?resourceVersion={new}", 504},
      {"?resourceVersion=x", 400},
      // Those are a list's.
      {"?limit=x&resourceVersionMatch=Exact&sendInitialEvents=true&labelSelector=%3D", 200},
  };
  for (const auto& [query, code] : rows) EXPECT_EQ(get(one + filled(query)).code, code) << query;
}

TEST_F(ListWatchTest, WatchRefusals) {
  const std::string match = "resourceVersionMatch";
  const std::string initial = "sendInitialEvents=true";
  const std::vector<Row> rows = {
      {initial, 422, match + " FieldValueForbidden"},
      {"sendInitialEvents=false", 422, match + " FieldValueForbidden"},
      {initial + "&" + match + "=Exact", 422,
       match + " FieldValueForbidden, " + match + " FieldValueNotSupported"},
      {match + "=NotOlderThan", 422, match + " FieldValueForbidden"},
      {match + "=Exact", 422, match + " FieldValueForbidden, " + match + " FieldValueNotSupported"},
      {initial + "&" + match + "=NotOlderThan&continue=x", 422, match + " FieldValueForbidden"},
      {"resourceVersion={new}", 504, " ResourceVersionTooLarge"},
      {"resourceVersion={new}&" + initial + "&" + match + "=NotOlderThan", 504,
       " ResourceVersionTooLarge"},
      {"resourceVersion=x", 400, "resourceVersion FieldValueInvalid"},
      {"timeoutSeconds=x", 400, ""},
      {"labelSelector=%3D", 400, ""},
      {"fieldSelector=data.a%3D1", 400, ""},
  };
  for (const Row& row : rows) {
    const Response response = maps("watch=1&" + row.query);
    EXPECT_EQ(response.code, row.code) << row.query << "\n" << response.body;
    EXPECT_EQ(causes(response.json()), row.outcome) << row.query;
  }
}

TEST_F(ListWatchTest, WatchBeginnings) {
  const std::string all = "ADDED a, ADDED b, ADDED c";
  const std::string initial = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
  const std::string none = "sendInitialEvents=false&resourceVersionMatch=NotOlderThan";
  const std::string marks = "allowWatchBookmarks=true&";
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"", all},
      {"resourceVersion=0", all},
      {"resourceVersion={now}", ""},
      {"resourceVersion={mid}", "MODIFIED a, ADDED c"},
      {"resourceVersion={gone}", "ERROR"},
      {marks, all + ", BOOKMARK"},
      {marks + "resourceVersion={mid}", "MODIFIED a, ADDED c"},
      {initial, all},
      {marks + initial, all + ", BOOKMARK"},
      {marks + initial + "&resourceVersion=0", all + ", BOOKMARK"},
      {marks + initial + "&resourceVersion={mid}", all + ", BOOKMARK"},
      {marks + initial + "&resourceVersion={gone}", all + ", BOOKMARK"},
      {marks + initial + "&labelSelector=group%3Done", "ADDED a, ADDED c, BOOKMARK"},
      {marks + initial + "&labelSelector=group%3Dnone", "BOOKMARK"},
      {none, ""},
      {marks + none + "&resourceVersion=0", ""},
      {none + "&resourceVersion={mid}", "MODIFIED a, ADDED c"},
      {"resourceVersion={mid}&labelSelector=group%3Done", "MODIFIED a, ADDED c"},
      {"resourceVersion={mid}&fieldSelector=metadata.name%3Dc", "ADDED c"},
  };
  for (const auto& [query, expected] : rows) {
    const Response response = maps("watch=1&" + query);
    EXPECT_EQ(response.code, 200) << response.body;
    EXPECT_EQ(read(response).summary(), expected) << query;
  }
}

TEST_F(ListWatchTest, AStateByWatchEndsWithAMarkedBookmark) {
  const Response response = maps(
      "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true");
  const std::string then = now();
  make(kConfigMaps, config_map("d"));
  const Watched watched = read(response);
  EXPECT_EQ(watched.summary(), "ADDED a, ADDED b, ADDED c, BOOKMARK, ADDED d");
  const Json bookmark = watched.events.at(3)["object"];
  EXPECT_EQ(bookmark["kind"], "ConfigMap");
  EXPECT_EQ(bookmark["apiVersion"], "v1");
  EXPECT_EQ(json_string(bookmark, {"metadata", "resourceVersion"}), then);
  EXPECT_EQ(json_string(bookmark, {"metadata", "annotations", "k8s.io/initial-events-end"}),
            "true");
  EXPECT_EQ(read(response).summary(), "") << "it comes once";
}

TEST_F(ListWatchTest, TooOldIsAnEventAndTheEnd) {
  const Watched watched = read(maps("watch=1&resourceVersion={gone}", kTable));
  ASSERT_EQ(watched.events.size(), 1U);
  EXPECT_TRUE(watched.ended);
  const Json status = watched.events[0]["object"];
  EXPECT_EQ(status["kind"], "Status") << "whatever form was asked for";
  EXPECT_EQ(status["code"], 410);
  EXPECT_EQ(status["reason"], "Expired");
}

TEST_F(ListWatchTest, EventsCarryTheirRevisions) {
  const Response plain = maps("watch=1&resourceVersion={now}");
  const Response one = maps("watch=1&resourceVersion={now}&labelSelector=group%3Done");
  ASSERT_TRUE(patch(kConfigMaps, "a", {{"metadata", {{"labels", {{"group", "two"}}}}}}));
  const std::string left = now();
  ASSERT_TRUE(remove(kConfigMaps, "b"));
  const std::string removed = now();
  ASSERT_TRUE(patch(kConfigMaps, "a", {{"metadata", {{"labels", {{"group", "one"}}}}}}));
  const std::string back = now();
  const Watched all = read(plain);
  EXPECT_EQ(all.summary(), "MODIFIED a, DELETED b, MODIFIED a");
  const Json last = all.events.at(1)["object"];
  EXPECT_EQ(json_string(last, {"metadata", "resourceVersion"}), removed);
  EXPECT_EQ(json_string(last, {"data", "a"}), "1");
  const Watched some = read(one);
  EXPECT_EQ(some.summary(), "DELETED a, ADDED a");
  const Json gone = some.events.at(0)["object"];
  EXPECT_EQ(json_string(gone, {"metadata", "resourceVersion"}), left);
  EXPECT_EQ(json_string(gone, {"metadata", "labels", "group"}), "one") << "as it was selected";
  EXPECT_EQ(json_string(some.events.at(1)["object"], {"metadata", "resourceVersion"}), back);
}

TEST_F(ListWatchTest, WatchesOfOneObject) {
  const std::string one = std::string(kMaps) + "/b?watch=1";
  EXPECT_EQ(read(get(one)).summary(), "ADDED b");
  EXPECT_EQ(read(get(one + "&fieldSelector=metadata.name%3Db")).summary(), "ADDED b");
  EXPECT_EQ(get(one + "&fieldSelector=metadata.name%3Da").code, 400);
  EXPECT_EQ(get(one + "&fieldSelector=metadata.namespace%3Ddefault").code, 400);
  const Response absent = get(std::string(kMaps) + "/z?watch=1");
  EXPECT_EQ(read(absent).summary(), "");
  make(kConfigMaps, config_map("z"));
  make(kConfigMaps, config_map("zz"));
  EXPECT_EQ(read(absent).summary(), "ADDED z");
}

TEST_F(ListWatchTest, BookmarksAreTimelyAndOnlyWhereAllowed) {
  times_.bookmark_interval = std::chrono::milliseconds(0);
  handlers_ = std::make_unique<Handlers>(Handlers::Options{
      *registry_, clock_, authenticator_, "test", [] { return std::string("test:1"); }, times_});
  EXPECT_EQ(read(maps("watch=1&resourceVersion={now}")).summary(), "");
  const Response marked = maps("watch=1&resourceVersion={mid}&allowWatchBookmarks=true");
  make(resources::kPods, simple_pod("elsewhere"));
  const Watched watched = read(marked);
  EXPECT_EQ(watched.summary(), "MODIFIED a, ADDED c, BOOKMARK");
  const Json metadata = watched.events.at(2)["object"]["metadata"];
  EXPECT_EQ(metadata["resourceVersion"], now()) << "of the store, not of the last event";
  EXPECT_FALSE(metadata.contains("annotations"));
}

TEST_F(ListWatchTest, TablesAndMetadataOfWatches) {
  const Response table = maps("watch=1&allowWatchBookmarks=true", kTable);
  const Watched rows = read(table);
  ASSERT_EQ(rows.events.size(), 4U);
  EXPECT_TRUE(rows.events[0]["object"]["columnDefinitions"].is_array());
  EXPECT_TRUE(rows.events[1]["object"]["columnDefinitions"].is_null());
  EXPECT_EQ(rows.events[1]["object"]["rows"][0]["cells"][0], "b");
  const Json mark = rows.events[3]["object"]["rows"][0]["object"];
  EXPECT_EQ(json_string(mark, {"metadata", "annotations", "k8s.io/initial-events-end"}), "true");
  for (const char* accept : {kPartial, kPartials}) {
    const Watched partial = read(maps("watch=1&allowWatchBookmarks=true", accept));
    ASSERT_EQ(partial.events.size(), 4U);
    for (const Json& event : partial.events)
      EXPECT_EQ(event["object"]["kind"], "PartialObjectMetadata");
    EXPECT_FALSE(partial.events[0]["object"].contains("data"));
    EXPECT_EQ(json_string(partial.events[0]["object"], {"metadata", "labels", "group"}), "one");
  }
}

TEST_F(ListWatchTest, MediaTypes) {
  const std::string one = std::string(kMaps) + "/a";
  const std::string watch = std::string(kMaps) + "?watch=1";
  struct {
    std::string target, accept;
    int code;
    std::string kind;
  } const rows[] = {
      {one, "", 200, "ConfigMap"},
      {one, "*/*", 200, "ConfigMap"},
      {one, "application/*", 200, "ConfigMap"},
      {one, "text/html", 406, "Status"},
      {one, "application/json;q=0", 406, "Status"},
      {one, kTable, 200, "Table"},
      {one, kPartial, 200, "PartialObjectMetadata"},
      {one, kPartials, 406, "Status"},
      {one, "application/json;as=Table;v=v2;g=meta.k8s.io", 406, "Status"},
      {one, "application/json;as=Table;v=v2;g=meta.k8s.io,application/json", 200, "ConfigMap"},
      {kMaps, kTable, 200, "Table"},
      {kMaps, kPartials, 200, "PartialObjectMetadataList"},
      {kMaps, kPartial, 406, "Status"},
      {kMaps, "application/vnd.kubernetes.protobuf", 406, "Status"},
      {kMaps, "application/vnd.kubernetes.protobuf,application/json", 200, "ConfigMapList"},
      {watch, "application/yaml", 406, "Status"},
      {watch, "application/vnd.kubernetes.protobuf;stream=watch", 406, "Status"},
      {watch, "application/json;stream=watch", 200, ""},
      {watch, "application/yaml,application/json", 200, ""},
  };
  for (const auto& row : rows) {
    const Response response = get(row.target, row.accept);
    EXPECT_EQ(response.code, row.code) << row.target << " " << row.accept;
    const Json document = response.json();
    if (!row.kind.empty()) {
      EXPECT_EQ(json_string(document, {"kind"}), row.kind) << row.accept;
    }
  }
}

}  // namespace
}  // namespace coracle
