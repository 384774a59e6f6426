// What the server makes up for new objects. Thread-safe.
#pragma once

#include <string>

namespace coracle {

std::string random_uid();
// The prefix, cut to 58 characters, and five random ones, as generateName asks for.
std::string generated_name(const std::string& prefix);

}  // namespace coracle
