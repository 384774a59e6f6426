// What a Pod's dnsPolicy and dnsConfig may say.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "apiserver/resources/kinds.h"

namespace coracle {
namespace {

std::string problems(Json spec) {
  spec.emplace("dnsPolicy", "ClusterFirst");
  spec["restartPolicy"] = "Always";
  spec["containers"] = Json::array({{{"name", "c"},
                                     {"image", "x"},
                                     {"imagePullPolicy", "Always"},
                                     {"terminationMessagePolicy", "File"}}});
  FieldErrors errors;
  validate_pod_spec(spec, "spec", errors);
  std::string out;
  for (const Cause& cause : errors.causes()) out += cause.field + ": " + cause.message + "\n";
  return out;
}

Json dns_config(const char* key, const std::vector<std::string>& values) {
  return {{"dnsConfig", {{key, values}}}};
}

TEST(PodDnsValidation, Refusals) {
  const std::string config = "spec.dnsConfig";
  struct Case {
    Json spec;
    std::string problem;  // contained; "": none
  };
  const Case cases[] = {
      {Json::object(), ""},
      {{{"dnsPolicy", "ClusterFirstWithHostNet"}}, ""},
      {{{"dnsPolicy", "Sometimes"}}, "spec.dnsPolicy: Unsupported value: \"Sometimes\""},
      {{{"dnsPolicy", "None"}},
       config + ": Required value: must provide `dnsConfig` when `dnsPolicy` is None"},
      {{{"dnsPolicy", "None"}, {"dnsConfig", Json::object()}},
       config + ".nameservers: Required value: must provide at least one DNS nameserver when "
                "`dnsPolicy` is None"},
      {{{"dnsPolicy", "None"}, {"dnsConfig", {{"nameservers", {"192.0.2.1"}}}}}, ""},
      {dns_config("nameservers", {"192.0.2.1", "fd00::1", "192.0.2.3"}), ""},
      {dns_config("nameservers", {"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"}),
       config + ".nameservers: Invalid value"},
      {dns_config("nameservers", {"ns.example.com"}),
       config + ".nameservers[0]: Invalid value: \"ns.example.com\": must be valid IP address"},
      {dns_config("searches", {"example.com", "corp.", ".", "_x.example.com"}), ""},
      {dns_config("searches", {"a", "No Good"}), config + ".searches[1]: Invalid value"},
      {dns_config("searches", {""}), config + ".searches[0]: Invalid value"},
      {dns_config("searches", std::vector<std::string>(32, "a")), ""},
      {dns_config("searches", std::vector<std::string>(33, "a")),
       "must not have more than 32 search paths"},
      {dns_config("searches",
                  std::vector<std::string>(12, std::string(60, 'a') + "." + std::string(60, 'b') +
                                                   "." + std::string(63, 'c'))),
       "must not have more than 2048 characters (including spaces) in the search list"},
      {{{"dnsConfig", {{"options", {{{"name", "ndots"}, {"value", "2"}}, {{"name", "rotate"}}}}}}},
       ""},
      {{{"dnsConfig", {{"options", {{{"value", "2"}}}}}}},
       config + ".options[0]: Required value: must not be empty"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.spec.dump());
    if (c.problem.empty())
      EXPECT_EQ(problems(c.spec), "");
    else
      EXPECT_NE(problems(c.spec).find(c.problem), std::string::npos) << problems(c.spec);
  }
}

}  // namespace
}  // namespace coracle
