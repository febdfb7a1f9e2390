#include "core/cgroup.h"

#include <fstream>

#include "core/error.h"

namespace genfast {
namespace {

// "max 100000" (no limit) or "150000 100000": microseconds of processor time, of how many.
double quota_of(const std::string& group) {
    std::string quota;
    double period = 0;
    if (std::ifstream both(group + "/cpu.max"); both >> quota >> period) {
        // The file of version 1 has -1 for no limit and the period in a file of its own.
    } else if (std::ifstream first(group + "/cpu.cfs_quota_us"); first >> quota) {
        std::ifstream second(group + "/cpu.cfs_period_us");
        second >> period;
    }
    if (quota.empty() || quota == "max" || quota[0] == '-' || !(period > 0)) return 0;
    return std::stod(quota) / period;
}

// The path in a line "0::/path" (version 2) or "4:cpu,cpuacct:/path" (1) of /proc/self/cgroup.
bool group_of(const std::string& line, bool* version2, std::string* path) {
    size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) return false;
    std::string controllers = cat(",", line.substr(first + 1, second - first - 1), ",");
    *version2 = controllers == ",,";
    *path = line.substr(second + 1);
    return *version2 || controllers.find(",cpu,") != std::string::npos;
}

}  // namespace

double cgroup_quota(const std::string& root) {
    double least = 0;
    std::ifstream groups(root + "/proc/self/cgroup");
    for (std::string line, path; std::getline(groups, line);) {
        bool version2;
        if (!group_of(line, &version2, &path)) continue;
        std::string mount = root + (version2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu");
        // Up to the root, where a container that does not see its own path has its limit.
        for (;; path.resize(path.rfind('/'))) {
            while (!path.empty() && path.back() == '/') path.pop_back();
            double quota = quota_of(mount + path);
            if (quota > 0 && (least == 0 || quota < least)) least = quota;
            if (path.empty()) break;
        }
    }
    return least;
}

}  // namespace genfast
