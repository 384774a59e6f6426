// Names of images: "registry:port/path/name:tag@digest".
#pragma once

#include <string>
#include <string_view>

namespace coracle::pods {

// Why it is none, in the words of the parser that the kubelet uses; "" when it is one. Pure.
std::string image_name_problem(std::string_view image);

}  // namespace coracle::pods
