#include "pods/pod_manager.h"

namespace coracle::pods {

PodConnector connector_of(PodNetwork& network) {
  PodConnector out;
  out.add = [&network](const std::string& pod_uid, const NetNs& netns) -> Result<Ip> {
    return TRY(network.add(pod_uid, netns.fd())).ip;
  };
  out.del = [&network](const std::string& pod_uid) { return network.del(pod_uid); };
  out.gc = [&network](const std::set<std::string>& uids) { return network.gc(uids); };
  return out;
}

}  // namespace coracle::pods
