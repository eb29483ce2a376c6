// Where a step's time goes on the GPU. LD_PRELOAD=libstep_profile.so depth_bench ...: depth_bench calls the two functions around its
// measured steps. A line of JSON for each: ms of a step between the first and the last activity, ms in which the GPU did nothing (in
// gaps longer than 20 us, which the host makes, and in shorter ones), and ms by kernel. CUPTI makes the step itself a little longer.
#include <cupti.h>
#include <cxxabi.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

struct span {
    uint64_t start, end;
    std::string name;
};

static std::mutex lock;
static std::vector<span> spans;
static bool recording;

static std::string short_name(const char * mangled) {
    int status = 0;
    char * plain = abi::__cxa_demangle(mangled, nullptr, nullptr, &status);
    std::string name = status == 0 ? plain : mangled;
    free(plain);
    const size_t from = name.compare(0, 5, "void ") == 0 ? 5 : 0, paren = name.find('(', from + 1);
    name = name.substr(from, paren == std::string::npos ? paren : paren - from);
    std::replace(name.begin(), name.end(), '"', '\'');
    return name.substr(0, 70);
}

static void give(uint8_t ** buffer, size_t * size, size_t * records) {
    *size = 8 << 20;
    *records = 0;
    *buffer = (uint8_t *) aligned_alloc(8, *size);
}

static void take(CUcontext, uint32_t, uint8_t * buffer, size_t, size_t valid) {
    std::lock_guard<std::mutex> guard(lock);
    for (CUpti_Activity * record = nullptr; recording && cuptiActivityGetNextRecord(buffer, valid, &record) == CUPTI_SUCCESS;) {
        if (record->kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) {
            const auto * k = (const CUpti_ActivityKernel10 *) record;
            spans.push_back({ k->start, k->end, k->name ? k->name : "?" });
        } else if (record->kind == CUPTI_ACTIVITY_KIND_MEMCPY) {
            const auto * m = (const CUpti_ActivityMemcpy6 *) record;
            spans.push_back({ m->start, m->end, m->copyKind == CUPTI_ACTIVITY_MEMCPY_KIND_HTOD ? "copy to the GPU" : "copy" });
        }
    }
    free(buffer);
}

__attribute__((constructor)) static void on() { // before any CUDA graph is made: nodes of older ones are not traced
    cuptiActivityRegisterCallbacks(give, take);
    cuptiActivityEnable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL);
    cuptiActivityEnable(CUPTI_ACTIVITY_KIND_MEMCPY);
}

static void restart(bool record) {
    std::lock_guard<std::mutex> guard(lock);
    spans.clear();
    recording = record;
}

extern "C" void step_profile_begin() {
    restart(false);
    cuptiActivityFlushAll(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
    restart(true);
}

extern "C" void step_profile_end(const char * label, int steps) {
    cuptiActivityFlushAll(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
    std::lock_guard<std::mutex> guard(lock);
    recording = false;
    std::sort(spans.begin(), spans.end(), [](const span & a, const span & b) { return a.start < b.start; });
    std::map<std::string, std::pair<double, int>> by_name;
    uint64_t reached = spans.empty() ? 0 : spans.front().start;
    const uint64_t first = reached;
    double short_gaps = 0, long_gaps = 0;
    for (const span & s : spans) {
        auto & at = by_name[s.name];
        at.first += s.end - s.start;
        at.second += 1;
        if (s.start > reached) {
            (s.start - reached > 20000 ? long_gaps : short_gaps) += s.start - reached;
        }
        reached = std::max(reached, s.end);
    }
    std::map<std::string, std::pair<double, int>> merged;
    for (const auto & [name, at] : by_name) {
        auto & to = merged[name.compare(0, 4, "copy") == 0 ? name : short_name(name.c_str())];
        to.first += at.first;
        to.second += at.second;
    }
    std::vector<std::pair<std::string, std::pair<double, int>>> order(merged.begin(), merged.end());
    std::sort(order.begin(), order.end(), [](const auto & a, const auto & b) { return a.second.first > b.second.first; });
    const double each = 1e-6/steps;
    printf("{\"profile\":\"%s\",\"ms\":%.3f,\"idle_long\":%.3f,\"idle_short\":%.3f,\"launches\":%.1f,\"kernels\":{", label,
           (reached - first)*each, long_gaps*each, short_gaps*each, (double) spans.size()/steps);
    for (size_t i = 0; i < order.size() && i < 16; ++i) {
        printf("%s\"%s\":[%.4f,%.1f]", i ? "," : "", order[i].first.c_str(), order[i].second.first*each, (double) order[i].second.second/steps);
    }
    printf("}}\n");
    fflush(stdout);
}
