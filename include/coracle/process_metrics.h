// Memory, CPU time, descriptors and start time of this process among its metrics.
#pragma once

namespace coracle {

// From the first call on. Thread-safe.
void serve_process_metrics();

}  // namespace coracle
