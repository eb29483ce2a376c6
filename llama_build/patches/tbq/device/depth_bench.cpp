// Decode speed of several KV cache types at depth, in turns, without a prefill: a short real prefill is saved, its cells are
// repeated up to the depth, and the result is restored. Only positions are new; attention reads as many bytes as after a real one.
//   depth_bench MODEL pairs(f16,tbq3_0:tbq4_0,..) depths(0,32768,..) n_gen rounds
// One line of JSON for each pair and depth: t/s (median of the rounds) with 1 token a step and with 4, as a verification of 3
// drafted tokens has it. With libstep_profile.so preloaded, its lines come between these.
#include "llama.h"
#include "ggml.h"
#include "ggml-backend.h"

#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

static double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

static std::vector<std::string> split(const std::string & s, char by) {
    std::vector<std::string> out(1);
    for (char c : s) {
        if (c == by) {
            out.emplace_back();
        } else {
            out.back() += c;
        }
    }
    return out;
}

static ggml_type type_named(const std::string & name) {
    for (int i = 0; i < GGML_TYPE_COUNT; ++i) {
        const char * n = ggml_type_name((ggml_type) i);
        if (n && name == n) {
            return (ggml_type) i;
        }
    }
    fprintf(stderr, "no type %s\n", name.c_str());
    exit(2);
}

struct reader {
    const uint8_t * p;

    template <class T> T get() {
        T v;
        memcpy(&v, p, sizeof v);
        p += sizeof v;
        return v;
    }
};

struct writer {
    uint8_t * base;
    size_t at = 0;

    template <class T> void put(T v) {
        memcpy(base + at, &v, sizeof v);
        at += sizeof v;
    }
};

// one cache: `grow` repeats its cells up to n, otherwise its cells move by `shift`
static void cache(reader & r, writer & w, uint32_t n, bool grow, int shift) {
    const uint32_t streams = r.get<uint32_t>(), cells = r.get<uint32_t>();
    const uint32_t out = grow ? n : cells;
    w.put(streams);
    w.put(out);
    for (uint32_t i = 0; i < cells; ++i) {
        const int32_t  pos = r.get<int32_t>();
        const uint32_t ns  = r.get<uint32_t>();
        const int32_t  seq = r.get<int32_t>();
        if (streams != 1 || ns != 1) {
            fprintf(stderr, "streams %u, sequences %u\n", streams, ns);
            exit(2);
        }
        if (!grow) {
            w.put(pos + shift);
            w.put(ns);
            w.put(seq);
        }
    }
    for (uint32_t i = 0; grow && i < n; ++i) {
        w.put<int32_t>(i);
        w.put<uint32_t>(1);
        w.put<int32_t>(0);
    }
    const uint32_t transposed = r.get<uint32_t>(), layers = r.get<uint32_t>();
    w.put(transposed);
    w.put(layers);
    for (uint32_t l = 0; l < 2*layers; ++l) {
        const int32_t  type = r.get<int32_t>();
        const uint64_t row  = r.get<uint64_t>();
        w.put(type);
        w.put(row);
        for (uint32_t done = 0; done < out;) {
            const uint32_t k = std::min(cells, out - done);
            memcpy(w.base + w.at, r.p, k*row);
            w.at += k*row;
            done += k;
        }
        r.p += cells*row;
    }
}

struct arm {
    std::string name;
    llama_context * ctx = nullptr;
    std::vector<uint8_t> state;
    std::vector<double> one, four;
    double prefill = 0, sum = 0;
};

static const auto profile_begin = (void (*)()) dlsym(RTLD_DEFAULT, "step_profile_begin");
static const auto profile_end   = (void (*)(const char *, int)) dlsym(RTLD_DEFAULT, "step_profile_end");

static int vocab;

static void decode(llama_context * ctx, int n) {
    static unsigned seed = 1;
    std::vector<llama_token> t(n);
    for (auto & x : t) {
        seed = seed*1664525u + 1013904223u;
        x = 300 + (seed >> 8) % (vocab - 300);
    }
    if (llama_decode(ctx, llama_batch_get_one(t.data(), n))) {
        fprintf(stderr, "decode failed\n");
        exit(4);
    }
    llama_synchronize(ctx);
}

static double median(std::vector<double> v) {
    std::sort(v.begin(), v.end());
    return v[v.size()/2];
}

int main(int argc, char ** argv) {
    if (argc < 6) {
        return 1;
    }
    const auto pairs = split(argv[2], ','), depths = split(argv[3], ',');
    const int n_gen = atoi(argv[4]), rounds = atoi(argv[5]), base = 2048;
    llama_log_set([](ggml_log_level l, const char * t, void *) { if (l == GGML_LOG_LEVEL_ERROR) fputs(t, stderr); }, nullptr);
    ggml_backend_load_all();
    llama_backend_init();
    auto mp = llama_model_default_params();
    mp.n_gpu_layers = 99;
    llama_model * model = llama_model_load_from_file(argv[1], mp);
    if (!model) {
        return 3;
    }
    vocab = llama_vocab_n_tokens(llama_model_get_vocab(model));
    int deepest = 0;
    for (const auto & d : depths) {
        deepest = std::max(deepest, atoi(d.c_str()));
    }

    std::vector<arm> arms;
    for (const auto & pair : pairs) {
        const auto kv = split(pair, ':');
        auto cp = llama_context_default_params();
        cp.n_ctx = std::max(deepest, base) + 2048;
        cp.n_batch = base;
        cp.n_ubatch = 512;
        cp.n_seq_max = 1;
        cp.type_k = type_named(kv.front());
        cp.type_v = type_named(kv.back());
        cp.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
        cp.swa_full = false;
        cp.no_perf = true;
        cp.n_threads = cp.n_threads_batch = std::min(8u, std::thread::hardware_concurrency());
        arm a;
        a.name = pair;
        a.ctx = llama_init_from_model(model, cp);
        if (!a.ctx) {
            printf("{\"kv\":\"%s\",\"error\":\"context\"}\n", pair.c_str());
            continue;
        }
        decode(a.ctx, 64);
        llama_memory_clear(llama_get_memory(a.ctx), false);
        const double start = now();
        decode(a.ctx, base);
        a.prefill = base/(now() - start);
        a.state.resize(llama_state_seq_get_size(a.ctx, 0));
        llama_state_seq_get_data(a.ctx, a.state.data(), a.state.size(), 0);
        arms.push_back(std::move(a));
    }

    for (const auto & depth : depths) {
        const int d = atoi(depth.c_str());
        for (auto & a : arms) {
            llama_memory_clear(llama_get_memory(a.ctx), false);
            a.one.clear();
            a.four.clear();
            if (d) {
                writer w{(uint8_t *) malloc(a.state.size()*((size_t) d/base + 1) + (1 << 20))};
                reader r{a.state.data()};
                w.put(r.get<uint32_t>());
                w.put(r.get<int32_t>());
                cache(r, w, d, true, 0);
                cache(r, w, d, false, d - base);
                if (llama_state_seq_set_data(a.ctx, w.base, w.at, 0) != w.at) {
                    fprintf(stderr, "restore failed\n");
                    return 5;
                }
                free(w.base);
            }
            for (int i = 0; i < 4; ++i) {
                decode(a.ctx, 1);
            }
        }
        for (int round = 0; round < rounds; ++round) {
            for (auto & a : arms) {
                for (int n : { 1, 4 }) {
                    decode(a.ctx, n); // another graph than the last
                    decode(a.ctx, n);
                    decode(a.ctx, n);
                    const int steps = n == 1 ? n_gen : std::max(4, n_gen/2);
                    if (profile_begin) {
                        profile_begin();
                    }
                    const double start = now();
                    for (int i = 0; i < steps; ++i) {
                        decode(a.ctx, n);
                    }
                    (n == 1 ? a.one : a.four).push_back((now() - start)/steps);
                    if (profile_end) {
                        profile_end((a.name + " " + depth + " " + std::to_string(n)).c_str(), steps);
                    }
                }
                const float * logits = llama_get_logits_ith(a.ctx, -1);
                a.sum = 0;
                for (int i = 0; i < vocab; ++i) {
                    a.sum += logits[i];
                }
            }
        }
        for (auto & a : arms) {
            const auto mm = std::minmax_element(a.one.begin(), a.one.end());
            printf("{\"kv\":\"%s\",\"depth\":%d,\"tps\":%.2f,\"ms\":%.4f,\"min\":%.4f,\"max\":%.4f,\"ms4\":%.4f,\"pp2048\":%.0f,\"finite\":%d}\n",
                   a.name.c_str(), d, 1/median(a.one), median(a.one)*1e3, *mm.first*1e3, *mm.second*1e3, median(a.four)*1e3, a.prefill, std::isfinite(a.sum) ? 1 : 0);
            fflush(stdout);
        }
    }
    for (auto & a : arms) {
        llama_free(a.ctx);
    }
    llama_model_free(model);
    return 0;
}
