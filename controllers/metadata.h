// Metadata: of an object of any kind, only what owners and selectors of namespaces need, so that
// caches of every kind stay small.
#pragma once

#include <coracle/informer.h>
#include <coracle/object.h>

#include <string>
#include <vector>

namespace coracle {

struct Metadata {
  Meta meta;  // annotations left out
  static Result<Metadata> decode(const Object& object) {
    Metadata out{object.meta()};
    out.meta.annotations.clear();
    return out;
  }
};

}  // namespace coracle
