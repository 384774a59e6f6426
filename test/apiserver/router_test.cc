#include "apiserver/router.h"

#include <gtest/gtest.h>

namespace coracle {
namespace {

using Target = ApiPath::Target;

struct Case {
  const char* path;
  Target target;
  const char *group, *version, *ns, *plural, *name, *subresource;
};

TEST(Router, Paths) {
  const Case cases[] = {
      {"/", Target::Root, "", "", "", "", "", ""},
      {"/version", Target::Version, "", "", "", "", "", ""},
      {"/livez", Target::Health, "", "", "", "", "", ""},
      {"/readyz/ping", Target::Health, "", "", "", "", "", ""},
      {"/api", Target::CoreVersions, "", "", "", "", "", ""},
      {"/api/", Target::CoreVersions, "", "", "", "", "", ""},
      {"/apis", Target::Groups, "", "", "", "", "", ""},
      {"/apis/apps", Target::Group, "apps", "", "", "", "", ""},
      {"/api/v1", Target::ResourceList, "", "v1", "", "", "", ""},
      {"/apis/apps/v1", Target::ResourceList, "apps", "v1", "", "", "", ""},
      {"/api/v1/pods", Target::Resource, "", "v1", "", "pods", "", ""},
      {"/api/v1/nodes/n1", Target::Resource, "", "v1", "", "nodes", "n1", ""},
      {"/api/v1/nodes/n1/status", Target::Resource, "", "v1", "", "nodes", "n1", "status"},
      {"/api/v1/namespaces", Target::Resource, "", "v1", "", "namespaces", "", ""},
      {"/api/v1/namespaces/a", Target::Resource, "", "v1", "", "namespaces", "a", ""},
      {"/api/v1/namespaces/a/status", Target::Resource, "", "v1", "", "namespaces", "a", "status"},
      {"/api/v1/namespaces/a/finalize", Target::Resource, "", "v1", "", "namespaces", "a",
       "finalize"},
      {"/api/v1/namespaces/a/pods", Target::Resource, "", "v1", "a", "pods", "", ""},
      {"/api/v1/namespaces/a/pods/p", Target::Resource, "", "v1", "a", "pods", "p", ""},
      {"/api/v1/namespaces/a/pods/p/binding", Target::Resource, "", "v1", "a", "pods", "p",
       "binding"},
      {"/api/v1/namespaces/status/pods/p", Target::Resource, "", "v1", "status", "pods", "p", ""},
      {"/apis/discovery.k8s.io/v1/namespaces/a/endpointslices/e", Target::Resource,
       "discovery.k8s.io", "v1", "a", "endpointslices", "e", ""},
      {"/api/v1/watch/pods", Target::Resource, "", "v1", "", "pods", "", ""},
      {"/api/v1/watch/namespaces/a/pods/p", Target::Resource, "", "v1", "a", "pods", "p", ""},
      {"/api/v1/pods/a%20b", Target::Resource, "", "v1", "", "pods", "a b", ""},
      {"/openapi/v2", Target::OpenApiV2, "", "", "", "", "", ""},
      {"/openapi/v3", Target::OpenApiV3, "", "", "", "", "", ""},
      {"/openapi/v3/apis/apps/v1", Target::OpenApiV3Document, "", "", "", "", "", ""},
      {"/nothing", Target::Unknown, "", "", "", "", "", ""},
      {"/api/v1//pods", Target::Unknown, "", "", "", "", "", ""},
      {"/api/v1/pods//", Target::Unknown, "", "", "", "", "", ""},
      {"/api/v1/namespaces/a/pods/p/x/y", Target::Unknown, "", "", "", "", "", ""},
      {"/api/v1/watch", Target::Unknown, "", "", "", "", "", ""},
      {"/apis//v1", Target::Unknown, "", "", "", "", "", ""},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.path);
    const auto route = parse_route(c.path);
    ASSERT_TRUE(route) << route.error().message;
    EXPECT_EQ(static_cast<int>(route->target), static_cast<int>(c.target));
    if (c.target == Target::Unknown) continue;
    EXPECT_EQ(route->group, c.group);
    EXPECT_EQ(route->version, c.version);
    EXPECT_EQ(route->ns, c.ns);
    EXPECT_EQ(route->plural, c.plural);
    EXPECT_EQ(route->name, c.name);
    EXPECT_EQ(route->subresource, c.subresource);
  }
}

TEST(Router, WhatFollowsTheProxyOfANodeIsTheNodes) {
  struct ProxyCase {
    const char* path;
    const char* extra;  // null: no such path
  };
  const ProxyCase cases[] = {
      {"/api/v1/nodes/n1/proxy", ""},
      {"/api/v1/nodes/n1/proxy/", ""},
      {"/api/v1/nodes/n1/proxy/metrics", "metrics"},
      {"/api/v1/nodes/n1/proxy/metrics/", "metrics"},
      {"/api/v1/nodes/n1/proxy/metrics/cadvisor", "metrics/cadvisor"},
      {"/api/v1/nodes/n1/proxy/%6detrics", "metrics"},
      {"/api/v1/nodes/n1/proxy/a%20b/proxy/c", "a b/proxy/c"},
      {"/api/v1/%6eodes/n1/prox%79/metrics", "metrics"},
      {"/api/v1/nodes/n1/proxy//metrics", nullptr},
      {"/api/v1/nodes/n1/proxy/metrics//", nullptr},
      {"/api/v1/nodes//proxy/metrics", nullptr},
      {"/api/v1/nodes/n1/status/metrics", nullptr},
      {"/api/v1/pods/n1/proxy/metrics", nullptr},
      {"/api/v1/watch/nodes/n1/proxy/metrics", nullptr},
      {"/api/v1/namespaces/a/nodes/n1/proxy/metrics", nullptr},
      {"/api/v1/namespaces/a/pods/p/proxy/metrics", nullptr},
      {"/api/v1/namespaces/a/services/s/proxy/metrics", nullptr},
      {"/apis/apps/v1/nodes/n1/proxy/metrics", nullptr},
  };
  for (const auto& [path, extra] : cases) {
    SCOPED_TRACE(path);
    const auto route = parse_route(path);
    ASSERT_TRUE(route) << route.error().message;
    EXPECT_EQ(route->target == Target::Resource, extra != nullptr);
    if (extra == nullptr) continue;
    EXPECT_EQ(route->plural + " " + route->name + " " + route->subresource, "nodes n1 proxy");
    EXPECT_EQ(route->extra, extra);
    EXPECT_EQ(verb_name(*verb_of("GET", *route, *Query::parse("watch=1"))), "get");
  }
  EXPECT_EQ(parse_route("/api/v1/nodes/n1/status")->extra, "");
}

TEST(Router, HostilePathsAreRefused) {
  for (const char* path : {"/api/v1/nodes/n1/proxy/..",
                           "/api/v1/nodes/n1/proxy/../../n2",
                           "/api/v1/nodes/n1/proxy/./metrics",
                           "/api/v1/nodes/n1/proxy/%2e%2e/status",
                           "/api/v1/nodes/n1/proxy/metrics%2fcadvisor",
                           "/api/v1/nodes/n1/proxy/%2F",
                           "/api/v1/nodes/n1/proxy/a%5cb",
                           "/api/v1/nodes/n1/proxy/%00",
                           "/api/v1/nodes/n1%2fproxy/metrics",
                           "/api/v1/nodes/n1/proxy/%zz",
                           "",
                           "api",
                           "/api/v1/namespaces/a%2fb/pods",
                           "/api/v1/pods/a%2Fb",
                           "/api/v1/../v1/pods",
                           "/api/v1/./pods",
                           "/api/v1/%2e%2e/pods",
                           "/api/v1/%2E/pods",
                           "/api/v1/.%2e/pods",
                           "/livez/..",
                           "/api/v1/pods/%00",
                           "/api/v1/pods/%0a",
                           "/api/v1/pods/%zz",
                           "/api/v1/pods/%2",
                           "/api/v1/pods/%5c"}) {
    SCOPED_TRACE(path);
    const auto route = parse_route(path);
    ASSERT_FALSE(route);
    EXPECT_EQ(static_cast<int>(route.error().code), static_cast<int>(Code::BadRequest));
  }
}

TEST(Router, Verbs) {
  struct VerbCase {
    const char *method, *path, *query;
    Verb verb;
  };
  const VerbCase cases[] = {
      {"GET", "/api/v1/pods", "", Verb::List},
      {"HEAD", "/api/v1/pods", "", Verb::List},
      {"GET", "/api/v1/pods", "watch=1", Verb::Watch},
      {"GET", "/api/v1/pods", "watch=true", Verb::Watch},
      {"GET", "/api/v1/pods", "watch=false", Verb::List},
      {"GET", "/api/v1/watch/pods", "", Verb::Watch},
      {"GET", "/api/v1/namespaces/a/pods/p", "", Verb::Get},
      {"GET", "/api/v1/namespaces/a/pods/p", "watch", Verb::Watch},
      {"GET", "/api/v1/namespaces/a/pods/p/status", "", Verb::Get},
      {"POST", "/api/v1/namespaces/a/pods", "", Verb::Create},
      {"POST", "/api/v1/namespaces/a/pods/p/binding", "", Verb::Create},
      {"PUT", "/api/v1/namespaces/a/pods/p", "", Verb::Update},
      {"PATCH", "/api/v1/namespaces/a/pods/p", "", Verb::Patch},
      {"DELETE", "/api/v1/namespaces/a/pods/p", "", Verb::Delete},
      {"DELETE", "/api/v1/namespaces/a/pods", "", Verb::DeleteCollection},
  };
  for (const VerbCase& c : cases) {
    SCOPED_TRACE(std::string(c.method) + " " + c.path + "?" + c.query);
    const auto verb = verb_of(c.method, *parse_route(c.path), *Query::parse(c.query));
    ASSERT_TRUE(verb);
    EXPECT_EQ(verb_name(*verb), verb_name(c.verb));
  }
  for (const char* method : {"POST", "TRACE", "BREW"})
    EXPECT_FALSE(verb_of(method, *parse_route("/api/v1/namespaces/a/pods/p"), {})) << method;
  EXPECT_FALSE(verb_of("PUT", *parse_route("/api/v1/pods"), {}));
}

TEST(Router, Queries) {
  const auto query =
      Query::parse("a=1&b=x%20y+z&c&a=2&&labelSelector=app%3Dweb%2Ctier+in+%28a%2Cb%29");
  ASSERT_TRUE(query);
  EXPECT_EQ(query->get("a"), "1");
  EXPECT_EQ(query->all("a"), (std::vector<std::string>{"1", "2"}));
  EXPECT_EQ(query->get("b"), "x y z");
  EXPECT_TRUE(query->flag("c"));
  EXPECT_FALSE(query->flag("d"));
  EXPECT_EQ(query->get("labelSelector"), "app=web,tier in (a,b)");
  EXPECT_FALSE(Query::parse("a=%g1"));
  EXPECT_FALSE(Query::parse("%=1"));
}

}  // namespace
}  // namespace coracle
