// How much of the machine's processors the control group of this process may use.
#pragma once

#include <string>

namespace genfast {

// Processors' worth of time: the smallest quota of the group and of those it lies in; 0: no limit,
// or none that can be read. `root` stands before /proc and /sys (tests).
double cgroup_quota(const std::string& root = "");

}  // namespace genfast
