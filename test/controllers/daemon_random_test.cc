// DaemonSets under random changes, with a kubelet that takes its time: in the end there is one Pod
// of the right template on each node that is meant, and on no other.
#include <coracle/api/apps.h>
#include <coracle/api/pod.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <random>

#include "controllers_fixture.h"
#include "fake_kubelet.h"

namespace coracle {
namespace {

using test::ControllersTest;
using test::FakeKubelet;

class DaemonRandomTest : public ControllersTest {
 protected:
  const ObjectKey key_{"default", "agent"};

  void begin(unsigned seed) {
    random_.seed(seed);
    kubelet_ = std::make_unique<FakeKubelet>(*api_, seed);
    for (int i = 0; i < 3; ++i) add_node();
    make_set();
  }
  void make_set() {
    make(resources::kDaemonSets,
         {{"metadata", {{"name", key_.name}, {"namespace", key_.ns}}},
          {"spec",
           {{"revisionHistoryLimit", 1000},
            {"selector", {{"matchLabels", {{"app", "agent"}}}}},
            {"updateStrategy", {{"rollingUpdate", {{"maxUnavailable", unavailable_}}}}},
            {"template",
             {{"metadata", {{"labels", {{"app", "agent"}}}}},
              {"spec",
               {{"nodeSelector", {{"disk", "ssd"}}},
                {"containers", Json::array({{{"name", "c"}, {"image", image_}}})}}}}}}}});
  }
  int pick(std::size_t below) { return static_cast<int>(random_() % below); }
  void add_node() {
    const std::string name = "n" + std::to_string(nodes_.size());
    node(name);
    nodes_[name] = false;
    label(name, pick(2) == 0);
  }
  void label(const std::string& name, bool wanted) {
    nodes_[name] = wanted;
    const Json value = wanted ? Json("ssd") : Json();
    const auto done = api_->patch(resources::kNodes, {"", name}, PatchType::JsonMerge,
                                  {{"metadata", {{"labels", {{"disk", value}}}}}}, "");
    ASSERT_TRUE(done) << done.error().message;
  }
  void change(PatchType type, const Json& patch) {
    const auto done = api_->patch(resources::kDaemonSets, key_, type, patch, "");
    ASSERT_TRUE(done) << done.error().message;
  }
  void set_image(const std::string& image) {
    image_ = image;
    change(PatchType::StrategicMerge,
           {{"spec",
             {{"template",
               {{"spec", {{"containers", Json::array({{{"name", "c"}, {"image", image}}})}}}}}}}});
  }
  std::vector<Object> pods() {
    return api_->list(resources::kPods, {.ns = "default", .label_selector = "app=agent"})->items;
  }
  void lose_pod() {
    const auto all = pods();
    if (all.empty()) return;
    const ObjectKey key = all[random_() % all.size()].key();
    if (pick(2) == 0) {
      (void)api_->remove(resources::kPods, key, {}).has_value();
    } else {  // or it is taken out of the set
      const Json other = {{"metadata", {{"labels", {{"app", "other"}}}}}};
      (void)api_->patch(resources::kPods, key, PatchType::JsonMerge, other, "").has_value();
    }
  }
  // As `kubectl rollout undo` does.
  void undo() {
    const auto all = api_->list(resources::kControllerRevisions, {.ns = "default"});
    if (all->items.empty()) return;
    const Json data = all->items[random_() % all->items.size()].json()["data"];
    image_ = data["spec"]["template"]["spec"]["containers"][0]["image"].get<std::string>();
    change(PatchType::StrategicMerge, data);
  }
  // Another DaemonSet of the name takes over what the first leaves behind.
  void start_over() {
    ASSERT_TRUE(api_->remove(resources::kDaemonSets, key_, {.propagation_policy = "Orphan"}));
    ASSERT_TRUE(gone(resources::kDaemonSets, key_)) << log_;
    make_set();
  }
  void disturb() {
    const int deed = pick(9);
    log_ += " " + std::to_string(deed);
    switch (deed) {
      case 0:
        if (nodes_.size() < 6) add_node();
        return;
      case 1:
      case 2: {
        const auto it = std::next(nodes_.begin(), pick(nodes_.size()));
        return label(it->first, !it->second);
      }
      case 3:
        return set_image("i:" + std::to_string(++images_));
      case 4:
        return set_image("i:" + std::to_string(pick(static_cast<std::size_t>(images_) + 1)));
      case 5:
        return lose_pod();
      case 6:
        unavailable_ = 1 + pick(3);
        return change(
            PatchType::StrategicMerge,
            {{"spec",
              {{"updateStrategy", {{"rollingUpdate", {{"maxUnavailable", unavailable_}}}}}}}});
      case 7:
        return start_over();
      default:
        return undo();
    }
  }

  std::int64_t meant() const {
    return std::count_if(nodes_.begin(), nodes_.end(), [](const auto& n) { return n.second; });
  }
  bool pods_as_wanted() {
    std::map<std::string, int> on;
    const auto all = pods();
    for (const Object& object : all) {
      const Pod pod = *Pod::decode(object);
      if (++on[pod.node_name] > 1 || !nodes_[pod.node_name] || pod.meta.deleting() ||
          !pod.ready() || pod.containers.front().image != image_)
        return false;
    }
    return static_cast<std::int64_t>(all.size()) == meant();
  }
  bool as_wanted(const Json& set) const {
    for (const char* counter : {"desiredNumberScheduled", "currentNumberScheduled", "numberReady",
                                "numberAvailable", "updatedNumberScheduled"})
      if (json_int(set, {"status", counter}) != meant()) return false;
    return json_int(set, {"status", "numberMisscheduled"}) == 0 &&
           json_int(set, {"status", "observedGeneration"}) ==
               json_int(set, {"metadata", "generation"});
  }
  void settle() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (std::chrono::steady_clock::now() < deadline && !HasFailure()) {
      ASSERT_TRUE(api_.await(resources::kPods, {"default", "none"}, [&](const Json&) {
        return pods_as_wanted();
      })) << log_;
      ASSERT_TRUE(api_.await(resources::kDaemonSets, key_, [&](const Json& set) {
        return as_wanted(set);
      })) << log_;
      // The one may be a moment older than the other.
      if (pods_as_wanted() && as_wanted(api_.get(resources::kDaemonSets, key_))) return;
    }
    FAIL() << "does not settle:" << log_;
  }
  void run_phases(int phases) {
    settle();
    for (int i = 0; i < phases && !HasFailure(); ++i) {
      log_ += " |";
      const int deeds = 1 + pick(5);
      for (int k = 0; k < deeds; ++k) disturb();
      settle();
    }
    kubelet_.reset();
  }

  std::minstd_rand random_;
  std::unique_ptr<FakeKubelet> kubelet_;
  std::map<std::string, bool> nodes_;  // whether the set's Pods are meant to be there
  std::string image_ = "i:0";
  int unavailable_ = 1, images_ = 0;
  std::string log_;
};

class DaemonSeeds : public DaemonRandomTest, public ::testing::WithParamInterface<unsigned> {};

TEST_P(DaemonSeeds, ArriveWithOnePodANode) {
  begin(GetParam());
  run_phases(10);
}
INSTANTIATE_TEST_SUITE_P(Random, DaemonSeeds, ::testing::Range(1U, 9U));

}  // namespace
}  // namespace coracle
