// Deployments under random changes, with a kubelet that takes its time: whatever happens, there are
// never too many Pods nor too few available ones, and it ends as it was asked for.
#include <coracle/api/apps.h>
#include <coracle/api/pod.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <random>

#include "controllers_fixture.h"
#include "deployment_plan.h"
#include "fake_kubelet.h"

namespace coracle {
namespace {

using test::ControllersTest;
using test::FakeKubelet;

struct PodSeen {
  bool ready = false, deleting = false, owned = false;
};

// How the Deployment is meant to be; what it may look like until it is.
struct Wanted {
  std::int64_t replicas = 3, surge = 1, unavailable = 1;
  std::string image = "i:0";
  std::int64_t most() const { return replicas + surge; }
  std::int64_t fewest() const { return std::max<std::int64_t>(replicas - unavailable, 0); }
};

class RolloutRandomTest : public ControllersTest {
 protected:
  static constexpr const char* kName = "web";
  const ObjectKey key_{"default", kName};

  void begin(unsigned seed) {
    random_.seed(seed);
    const auto list = api_->list(resources::kPods, {});
    watch_ = std::move(*api_->watch(resources::kPods, {}, list->revision));
    node("n1");
    kubelet_ = std::make_unique<FakeKubelet>(*api_, seed);
    most_ = wanted_.most();
    fewest_ = 0;
    make_deployment();
  }
  void make_deployment() {
    make(resources::kDeployments,
         {{"metadata", {{"name", kName}, {"namespace", "default"}}},
          {"spec",
           {{"replicas", wanted_.replicas},
            {"revisionHistoryLimit", 1000},
            {"paused", paused_},
            {"selector", {{"matchLabels", {{"app", "web"}}}}},
            {"strategy",
             {{"rollingUpdate",
               {{"maxSurge", wanted_.surge}, {"maxUnavailable", wanted_.unavailable}}}}},
            {"template",
             {{"metadata", {{"labels", {{"app", "web"}}}}},
              {"spec",
               {{"containers", Json::array({{{"name", "c"}, {"image", wanted_.image}}})}}}}}}}});
  }
  int pick(int below) { return static_cast<int>(random_() % static_cast<unsigned>(below)); }
  void change(const Json& spec) {
    const auto done =
        api_->patch(resources::kDeployments, key_, PatchType::StrategicMerge, {{"spec", spec}}, "");
    ASSERT_TRUE(done) << done.error().message;
  }
  void set_image(const std::string& image) {
    wanted_.image = image;
    change({{"template",
             {{"spec", {{"containers", Json::array({{{"name", "c"}, {"image", image}}})}}}}}});
  }
  Json any_pod() {
    const auto list = api_->list(resources::kPods, {.ns = "default", .label_selector = "app=web"});
    if (list->items.empty()) return Json();
    return list->items[random_() % list->items.size()].json();
  }

  // One random deed; the bounds are widened by what it excuses.
  void disturb() {
    const int deed = pick(13);
    log_ += " " + std::to_string(deed);
    switch (deed) {
      case 0:
      case 1:
        wanted_.replicas = pick(8);
        widen();
        return change({{"replicas", wanted_.replicas}});
      case 2:
      case 3:
        return set_image("i:" + std::to_string(++images_));
      case 4:  // back to any template there was
        return set_image("i:" + std::to_string(pick(images_ + 1)));
      case 5:  // for the rest of the phase, or until the next
        return pause(!paused_);
      case 6:
        wanted_.surge = pick(3);
        wanted_.unavailable = wanted_.surge == 0 ? 1 + pick(2) : pick(3);
        widen();
        return change(
            {{"strategy",
              {{"rollingUpdate",
                {{"maxSurge", wanted_.surge}, {"maxUnavailable", wanted_.unavailable}}}}}});
      case 7:
        return lose_pod();
      case 8:
        return undo();
      case 9:
        pause(true);
        set_image("i:" + std::to_string(++images_));
        return pause(false);
      case 10:
        return lose_set();
      case 11:
        return start_over();
      default:
        return add_orphan();
    }
  }
  void pause(bool paused) {
    paused_ = paused;
    change({{"paused", paused}});
  }
  Json any_set() {
    const auto list = api_->list(resources::kReplicaSets, {.ns = "default"});
    if (list->items.empty()) return Json();
    return list->items[random_() % list->items.size()].json();
  }
  // As `kubectl rollout undo` does: the template of a revision takes the place of the present one.
  void undo() {
    Json set = any_set();
    if (set.is_null()) return;
    Json& old = set["spec"]["template"];
    old["metadata"]["labels"].erase(kTemplateHashLabel);
    wanted_.image = old["spec"]["containers"][0]["image"].get<std::string>();
    const Json patch =
        Json::array({{{"op", "replace"}, {"path", "/spec/template"}, {"value", old}}});
    const auto done = api_->patch(resources::kDeployments, key_, PatchType::JsonPatch, patch, "");
    ASSERT_TRUE(done) << done.error().message;
  }
  void widen() {
    most_ = std::max(most_, wanted_.most());
    fewest_ = std::min(fewest_, wanted_.fewest());
  }
  void lose_pod() {
    const Json pod = any_pod();
    if (pod.is_null()) return;
    ++lost_;
    const ObjectKey key{"default", pod["metadata"]["name"]};
    if (pick(2) == 0) {
      (void)api_->remove(resources::kPods, key, {}).has_value();
    } else {  // or it is taken out of the set
      const Json other = {{"metadata", {{"labels", {{"app", "other"}}}}}};
      (void)api_->patch(resources::kPods, key, PatchType::JsonMerge, other, "").has_value();
    }
  }
  void add_orphan() {
    Json pod = any_pod();
    if (pod.is_null()) return;
    ++added_;
    Json orphan = test::pod_json("orphan-" + std::to_string(++orphans_));
    orphan["metadata"]["labels"] = pod["metadata"]["labels"];
    orphan["spec"]["containers"] = pod["spec"]["containers"];
    make(resources::kPods, orphan);
  }

  // Somebody deletes one of its sets, and so the set's Pods: at most as many as there may be, and
  // until they go, those that take their place are too many.
  void lose_set() {
    const Json set = any_set();
    if (set.is_null()) return;
    lost_ += most_;
    added_ += most_;
    const ObjectKey key{"default", set["metadata"]["name"]};
    (void)api_->remove(resources::kReplicaSets, key, {}).has_value();
  }
  // Another Deployment of the name takes over what the first leaves behind.
  void start_over() {
    ASSERT_TRUE(api_->remove(resources::kDeployments, key_, {.propagation_policy = "Orphan"}));
    ASSERT_TRUE(gone(resources::kDeployments, key_)) << log_;
    make_deployment();
  }

  // Looks at one event of a Pod, and at the bounds after it.
  void see(const WatchEvent& event) {
    const std::string name = event.object.name();
    const Pod pod = *Pod::decode(event.object);
    const auto app = pod.meta.labels.find("app");
    seen_.erase(name);
    if (event.type != WatchEvent::Type::Deleted && pod.meta.ns == "default" &&
        app != pod.meta.labels.end() && app->second == "web")
      seen_[name] = {pod.ready(), pod.meta.deleting(), !pod.meta.owners.empty()};
    std::int64_t total = 0, available = 0;
    for (const auto& [key, one] : seen_) {
      total += one.deleting ? 0 : 1;
      available += one.ready && !one.deleting ? 1 : 0;
    }
    EXPECT_LE(total, most_ + added_) << name << log_;
    EXPECT_GE(available, fewest_ - lost_) << name << log_;
  }
  // All events up to now. A Pod of another namespace marks the end.
  void catch_up() {
    const std::string marker = "marker-" + std::to_string(++markers_);
    Json pod = test::pod_json(marker);
    pod["metadata"]["namespace"] = "kube-node-lease";
    make(resources::kPods, pod);
    std::stop_source never;
    for (bool over = false; !over;) {
      const auto events = watch_->next(never.get_token());
      ASSERT_TRUE(events);
      for (const WatchEvent& event : *events) {
        if (event.type == WatchEvent::Type::Bookmark) continue;
        if (event.object.name() == marker) over = true;
        see(event);
      }
    }
    (void)api_->remove(resources::kPods, {"kube-node-lease", marker}, {}).has_value();
  }
  bool as_wanted(const Json& deployment) {
    const auto number = [&](const char* key) { return json_int(deployment, {"status", key}); };
    return number("observedGeneration") == json_int(deployment, {"metadata", "generation"}) &&
           number("replicas") == wanted_.replicas &&
           number("updatedReplicas") == wanted_.replicas &&
           number("availableReplicas") == wanted_.replicas && number("unavailableReplicas") == 0;
  }
  // What is left of a set that somebody deleted has gone, and what a set may adopt it has adopted.
  bool pods_as_wanted() {
    std::set<std::string> uids, hashes;  // of the sets
    const auto sets = api_->list(resources::kReplicaSets, {.ns = "default"});
    for (const Object& set : sets->items) {
      uids.insert(set.uid());
      hashes.insert(set.meta().labels[kTemplateHashLabel]);
    }
    std::int64_t good = 0;
    const auto pods = api_->list(resources::kPods, {.ns = "default", .label_selector = "app=web"});
    for (const Object& object : pods->items) {
      Pod pod = *Pod::decode(object);
      if (pod.meta.owners.empty()) {
        if (hashes.contains(pod.meta.labels[kTemplateHashLabel])) return false;
        continue;  // its set was deleted first: it stays, until a set of its labels comes
      }
      if (!uids.contains(pod.meta.owners.front().uid) || pod.meta.deleting() || !pod.ready() ||
          pod.containers.front().image != wanted_.image)
        return false;
      ++good;
    }
    return good == wanted_.replicas;
  }
  void settle() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (std::chrono::steady_clock::now() < deadline && !HasFailure()) {
      ASSERT_TRUE(api_.await(resources::kPods, {"default", "none"}, [&](const Json&) {
        return pods_as_wanted();
      })) << log_;
      ASSERT_TRUE(api_.await(resources::kDeployments, key_, [&](const Json& d) {
        return as_wanted(d);
      })) << log_;
      catch_up();
      // The one may be a moment older than the other.
      if (pods_as_wanted() && as_wanted(api_.get(resources::kDeployments, key_))) return;
    }
    FAIL() << "does not settle:" << log_;
  }
  void restart_controllers() {
    controllers_->stop();
    auto made = Controllers::create(*api_, clock_, {.pod_cidr = *Cidr::parse("10.42.0.0/16")});
    ASSERT_TRUE(made);
    controllers_ = std::move(*made);
    controllers_->start();
  }

  void run_phases(int phases) {
    settle();
    for (int i = 0; i < phases && !HasFailure(); ++i) {
      most_ = wanted_.most();
      fewest_ = wanted_.fewest();
      added_ = std::count_if(seen_.begin(), seen_.end(),
                             [](const auto& one) { return !one.second.owned; });
      lost_ = 0;
      log_ += " |";
      const int deeds = 1 + pick(4);
      for (int k = 0; k < deeds; ++k) {
        disturb();
        if (pick(4) == 0) restart_controllers();
      }
      if (paused_) pause(false);
      settle();
    }
    kubelet_.reset();
  }

  std::minstd_rand random_;
  std::unique_ptr<ClientWatch> watch_;
  std::unique_ptr<FakeKubelet> kubelet_;
  std::map<std::string, PodSeen> seen_;
  Wanted wanted_;
  std::int64_t most_ = 0, fewest_ = 0;  // of what was wanted in this phase
  std::int64_t added_ = 0, lost_ = 0;   // Pods, by others
  int images_ = 0, orphans_ = 0, markers_ = 0;
  bool paused_ = false;
  std::string log_;
};

class RolloutSeeds : public RolloutRandomTest, public ::testing::WithParamInterface<unsigned> {};

TEST_P(RolloutSeeds, StayWithinBoundsAndArrive) {
  begin(GetParam());
  run_phases(8);
}
INSTANTIATE_TEST_SUITE_P(Random, RolloutSeeds, ::testing::Range(1U, 13U));

}  // namespace
}  // namespace coracle
