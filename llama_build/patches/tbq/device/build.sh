#!/bin/bash
# build.sh KIT: builds everything into /tmp/tbq/b (400 s on 16 cores), and packs the programs into $OUT, in pieces that come back; a
# later machine is given them as KIT/build.tar.xz.* and is ready in seconds. Then the CUDA library without patches 0005-0008, where the
# kit has KIT/unpatched (those files of ggml-cuda that the patches change, without them), and the twins of true size.
# No bare `wait` in these scripts: it also waits for `tee`.
kit=$(cd "$1" && pwd)
mkdir -p /tmp/tbq/twins && cd /tmp/tbq || exit
twins() { (cd "$kit" && for m in 31b 26b e4b; do python3 full_twin.py $m /tmp/tbq/twins --script script.json; done) > /tmp/tbq/twins.log 2>&1; }
if ls "$kit"/build.tar.xz.* > /dev/null 2>&1; then
    cat "$kit"/build.tar.xz.* | tar xJ
    twins
    exit
fi
tar xzf "$kit/source.tar.gz"
off=(-DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_CURL=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_LLGUIDANCE=OFF)
# not native: another machine of the kind may have another processor
cmake -S . -B b -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DGGML_NATIVE=OFF -DGGML_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES=90-real \
    -DGGML_CUDA_NCCL=OFF -DLLAMA_BUILD_TESTS=ON "${off[@]}" -DLLAMA_BUILD_COMMIT=tbq -DLLAMA_BUILD_NUMBER=1 -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON \
    '-DCMAKE_INSTALL_RPATH=$ORIGIN' > cmake.log 2>&1 || { tail -20 cmake.log; exit 1; }
ninja -k 0 -C b test-backend-ops llama-server llama-bench llama-perplexity > build.log 2>&1 || { grep -n 'error' build.log | head -20; exit 1; }
g++ -std=c++17 -O2 -Iinclude -Iggml/include "$kit/depth_bench.cpp" -o b/bin/depth_bench -Lb/bin -l:libllama.so.0 -l:libggml.so.0 \
    -l:libggml-base.so.0 -ldl '-Wl,-rpath,$ORIGIN' -Wl,--allow-shlib-undefined
cupti=$(find / -name cupti.h -not -path '/proc/*' 2> /dev/null | head -1)
library=$(find / -name 'libcupti.so*' -not -path '/proc/*' 2> /dev/null | grep -v stubs | head -1)
g++ -std=c++17 -O2 -shared -fPIC "$kit/step_profile.cpp" -o b/bin/libstep_profile.so -I"$(dirname "$cupti")" -I/usr/local/cuda/include "$library" \
    "-Wl,-rpath,$(dirname "$library")"
twins &
twins=$!
rm -rf packed && mkdir packed && cp -a b packed/b.whole && mkdir packed/b && cp -a b/bin packed/b/
[ "$OUT" ] && tar cf - -C packed b/bin | xz -T6 -3 | split -b 15900K - "$OUT/build.tar.xz." &
pack=$!
if [ -d "$kit/unpatched" ]; then # fattn-tbq*.cu and tbq.cu stay: nothing calls them
    cp -a ggml/src/ggml-cuda packed/ggml-cuda
    cp "$kit"/unpatched/*.cu ggml/src/ggml-cuda/
    ninja -C b ggml-cuda > unpatched.log 2>&1 && cp -L b/bin/libggml-cuda.so.0 unpatched-libggml-cuda.so.0 || grep -n -m 5 error unpatched.log
    rm -rf b ggml/src/ggml-cuda && mv packed/b.whole b && mv packed/ggml-cuda ggml/src/
fi
wait $twins $pack
