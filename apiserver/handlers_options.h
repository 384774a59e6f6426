// The options in a request's query (or a DELETE's body), checked. Pure.
#pragma once

#include <coracle/client.h>
#include <coracle/result.h>

#include <chrono>
#include <string>

#include "registry.h"
#include "router.h"
#include "schema.h"

namespace coracle {

// dryRun, fieldManager. `options_kind` names them in errors: "CreateOptions".
Result<WriteOptions> write_options(const Query& query, const std::string& options_kind);
// Absent: Warn, as upstream.
Result<FieldValidation> field_validation(const Query& query, const std::string& options_kind);

// The revision that what is read must have reached.
Result<Revision> get_options(const Query& query);
Result<ListRequest> list_options(const Query& query, const ApiPath& route);

struct WatchOptions {
  LabelSelector labels;
  FieldSelector fields;
  Revision from = 0;     // 0: none given
  bool initial = false;  // begin with what there is, which must have reached `from`
  bool bookmarks = false;
  std::optional<std::chrono::seconds> timeout;
};
Result<WatchOptions> watch_options(const Query& query, const ApiPath& route);

struct RemoveOptions {
  DeleteOptions options;
  WriteOptions write;
};
// From the query and, when there is one, the body's DeleteOptions document.
Result<RemoveOptions> remove_options(const Query& query, const Json* body);

// A non-negative decimal number; `name` for the error.
Result<std::int64_t> parse_number(const std::string& text, const std::string& name);

}  // namespace coracle
