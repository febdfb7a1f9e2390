// The team of threads: who takes part, how it gives way to others, what it costs when idle; and how
// many threads a control group allows.
#include <sys/resource.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "core/cgroup.h"
#include "core/error.h"
#include "core/thread_pool.h"
#include "selftest.h"

namespace genfast {
namespace {

using std::chrono::milliseconds;

constexpr int64_t kMillisecond = 1'000'000;

void crowd() {
    Crowd crowd(8);
    int64_t now = 0;
    auto run =
        [&](int waiting) {  // one millisecond, of which each member but one waits some percent
            int count = crowd.members(now);
            now += kMillisecond;
            if (count > 1)
                crowd.ran(count, now - kMillisecond, now,
                          kMillisecond / 100 * waiting * (count - 1));
            return count;
        };
    for (int i = 0; i < 100; ++i) expect(run(i % 2 ? 90 : 10) == 8, "now and then is no crowd");
    while (run(90) == 8) {
    }
    for (int i = 0; i < 20; ++i) run(90);
    expect(run(90) == 1, "halved until nobody is waited for");
    int64_t tried = 0, runs = 2000;
    for (int i = 0; i < runs; ++i) tried += run(90) > 1;
    expect(tried > 0 && tried < runs / 50, "more members are tried, seldom");
    for (int i = 0; i < 10000 && run(10) != 8; ++i) {
    }
    expect(run(10) == 8, "alone again, all take part");
}

// Every job of a run is done once, by whichever members there are. Returns how many.
int covered(ThreadPool& pool, milliseconds late) {
    std::vector<int> done(1000), drawn(1000);
    int members = 0;
    pool.run([&](Team& team) {
        if (team.index == 0) members = team.count;
        if (team.index == 1) std::this_thread::sleep_for(late);
        Range mine = share(int64_t(done.size()), team);
        for (int64_t i = mine.begin; i < mine.end; ++i) ++done[size_t(i)];
        team.sync();
        team.each_job(int64_t(drawn.size()),
                      [&](int64_t i) { drawn[size_t(i)] += done[size_t(i)]; });
    });
    expect(done == std::vector<int>(1000, 1) && drawn == done, "each job is done once");
    return members;
}

void pool_in_a_crowd() {
    ThreadPool pool(4, true);
    expect(covered(pool, {}) == 4, "all members");
    int members = 4;
    for (int i = 0; i < 200 && members > 1; ++i) members = covered(pool, milliseconds(5));
    expect(members == 1, "members that are late are left out");
    // That they are taken back is shown by crowd(): here it would need a machine with nothing else
    // to do.
    expect(covered(pool, {}) >= 1, "and nothing is lost without them");
}

double processor_seconds() {
    rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    auto seconds = [](timeval t) { return double(t.tv_sec) + 1e-6 * double(t.tv_usec); };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

void idle() {
    ThreadPool pool(4);
    covered(pool, {});
    std::this_thread::sleep_for(milliseconds(100));  // workers wait a little before they park
    double before = processor_seconds();
    std::this_thread::sleep_for(milliseconds(500));
    expect(processor_seconds() - before < 0.02, "an idle pool takes no processor time");
}

void quota() {
    namespace fs = std::filesystem;
    fs::path root = fs::temp_directory_path() / cat("genfast-cgroup-", processor_seconds());
    auto write = [&](const fs::path& path, const std::string& text) {
        fs::create_directories((root / path).parent_path());
        std::ofstream(root / path) << text;
    };
    expect(cgroup_quota(root) == 0, "no control groups");
    write("proc/self/cgroup", "12:memory:/m\n0::/a/b\n");
    write("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    expect(cgroup_quota(root) == 0, "no limit");
    write("sys/fs/cgroup/a/cpu.max", "150000 100000\n");
    expect(cgroup_quota(root) == 1.5, "the limit of a group around ours");
    write("sys/fs/cgroup/a/b/cpu.max", "50000 100000\n");
    expect(cgroup_quota(root) == 0.5, "the smallest limit");
    write("proc/self/cgroup", "4:cpuset:/c\n3:cpuacct,cpu:/d\n");
    expect(cgroup_quota(root) == 0, "version 1, no limit");
    write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "300000\n");
    write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    expect(cgroup_quota(root) == 3, "version 1, the root's, as containers see it");
    write("sys/fs/cgroup/cpu/d/cpu.cfs_quota_us", "-1\n");
    write("sys/fs/cgroup/cpu/d/cpu.cfs_period_us", "100000\n");
    expect(cgroup_quota(root) == 3, "version 1, -1 is no limit");
    fs::remove_all(root);
}

}  // namespace

void threads() {
    crowd();
    pool_in_a_crowd();
    idle();
    quota();
}

}  // namespace genfast
