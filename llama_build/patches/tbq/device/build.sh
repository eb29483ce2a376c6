#!/bin/bash
# build.sh KIT: builds everything into /tmp/tbq/b (403 s on 16 cores), and packs the programs into $OUT, in pieces that come back; a
# later machine is given them as KIT/build.tar.xz.* and is ready in seconds. No bare `wait` in these scripts: it also waits for `tee`.
kit=$(cd "$1" && pwd)
mkdir -p /tmp/tbq && cd /tmp/tbq || exit
if ls "$kit"/build.tar.xz.* > /dev/null 2>&1; then
    cat "$kit"/build.tar.xz.* | tar xJ
    exit
fi
tar xJf "$kit/source.tar.xz"
off=(-DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_CURL=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_LLGUIDANCE=OFF)
# not native: another machine of the kind may have another processor
cmake -S . -B b -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DGGML_NATIVE=OFF -DGGML_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES=90-real \
    -DGGML_CUDA_NCCL=OFF -DLLAMA_BUILD_TESTS=ON "${off[@]}" -DLLAMA_BUILD_COMMIT=tbq -DLLAMA_BUILD_NUMBER=1 -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON \
    '-DCMAKE_INSTALL_RPATH=$ORIGIN' > cmake.log 2>&1 || { tail -20 cmake.log; exit 1; }
ninja -k 0 -C b test-backend-ops llama-server llama-bench llama-perplexity > build.log 2>&1 || { grep -n 'error' build.log | head -20; exit 1; }
g++ -std=c++17 -O2 -Iinclude -Iggml/include "$kit/depth_bench.cpp" -o b/bin/depth_bench -Lb/bin -l:libllama.so.0 -l:libggml.so.0 \
    -l:libggml-base.so.0 '-Wl,-rpath,$ORIGIN' -Wl,--allow-shlib-undefined
[ "$OUT" ] && tar cf - b/bin | xz -T0 -3 | split -b 15900K - "$OUT/build.tar.xz."
