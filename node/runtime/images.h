// The images that are built into this executable, and what they execute. Pure.
#pragma once

#include <coracle/result.h>

#include <string>
#include <vector>

#include "runtime/runtime.h"

namespace coracle::runtime {

// NotFound, saying what there is, when the image is not built in. A tag or digest is ignored.
Result<void> check_builtin_image(const std::string& image);

// What starts the container: argv[0] is kEchoProgram for the echo server, followed by its ports.
// BadRequest when nothing would be executed; NotFound.
Result<std::vector<std::string>> compute_argv(const ContainerSpec& spec);

}  // namespace coracle::runtime
