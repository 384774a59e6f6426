// The admin's kubeconfig: one file with everything in it, for kubectl of any version.
#pragma once

#include <coracle/result.h>

#include <string>

#include "pki.h"

namespace coracle {

std::string base64_encode(const std::string& bytes);
// `server` is the URL. Pure.
std::string kubeconfig_text(const Pki& pki, const std::string& server);
// 0600, whole or not at all.
Result<void> write_kubeconfig(const std::string& path, const Pki& pki, const std::string& server);

}  // namespace coracle
