#include <coracle/lab.h>
#include <gtest/gtest.h>

#include "node/lab/lab_state.h"

namespace coracle {
namespace {

TEST(LabPlan, NamesAndAddressesFollowFromTheLabsName) {
  const auto plan = lab_plan("lab", 2, std::vector<Cidr>{});
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->bridge, "lab-net");
  EXPECT_EQ(plan->subnet.to_string(), "10.250.0.0/24");
  EXPECT_EQ(plan->gateway.to_string(), "10.250.0.254");
  ASSERT_EQ(plan->nodes.size(), 2U);
  EXPECT_EQ(plan->nodes[0], (LabNode{"lab-node-1", *Ip::parse("10.250.0.1"), "lab-v1",
                                     *Mac::parse("0a:58:0a:fa:00:01")}));
  EXPECT_EQ(plan->nodes[1].name, "lab-node-2");
}

TEST(LabPlan, TakesTheFirstSubnetThatIsFree) {
  const auto in = [](const std::vector<const char*>& texts) {
    std::vector<Cidr> taken;
    for (const char* text : texts) taken.push_back(*Cidr::parse(text));
    const auto plan = lab_plan("lab", 1, taken);
    return plan ? plan->subnet.to_string() : plan.error().message;
  };
  EXPECT_EQ(in({"10.250.0.254/24"}), "10.250.1.0/24");
  EXPECT_EQ(in({"192.168.0.0/16", "10.250.1.0/24"}), "10.250.0.0/24");
  EXPECT_EQ(in({"10.250.0.0/17"}), "10.250.128.0/24");
  EXPECT_EQ(in({"10.0.0.0/8"}), "no subnet of 10.250.0.0/16 is free");
}

TEST(LabPlan, RefusesNamesAndSizesThatDoNotFit) {
  for (const char* name : {"", "toolongname", "Lab", "1lab", "-lab", "lab-", "a/b", "a b", ".."}) {
    SCOPED_TRACE(name);
    EXPECT_EQ(lab_plan(name, 1, std::vector<Cidr>{}).error().code, Code::BadRequest);
  }
  for (const int nodes : {-1, 0, 251}) {
    SCOPED_TRACE(nodes);
    EXPECT_EQ(lab_plan("lab", nodes, std::vector<Cidr>{}).error().code, Code::BadRequest);
  }
  const auto widest = lab_plan("eightchr", 250, std::vector<Cidr>{});
  ASSERT_TRUE(widest.has_value());
  for (const LabNode& node : widest->nodes) EXPECT_LT(node.veth.size(), 16U);
}

TEST(LabPlan, ALabsLinksAreNotThoseOfOneWithALongerName) {
  EXPECT_TRUE(lab::is_link_of("lab", "lab-net"));
  EXPECT_TRUE(lab::is_link_of("lab", "lab-v12"));
  for (const char* other : {"lab-2-net", "lab-v", "lab-v1-net", "lab2-v1", "lab-v1x"})
    EXPECT_FALSE(lab::is_link_of("lab", other)) << other;
}

}  // namespace
}  // namespace coracle
