#!/bin/bash
# check.sh KIT: after build.sh, everything that the README's tables say, in order of weight; about 6 minutes on an H100.
# KIT/unpatched-libggml-cuda.so.0, if it is there, is the CUDA library of the same build without patches 0005-0008.
kit=$(cd "$1" && pwd) b=/tmp/tbq/b/bin start=$(date +%s)
at() { echo "[$(($(date +%s) - start)) s] $*"; }
out=${OUT:-/tmp/tbq/out}
mkdir -p "$out" /tmp/tbq/twins && cd /tmp/tbq || exit
nvidia-smi --query-gpu=name,driver_version,clocks.max.sm --format=csv,noheader
(cd "$kit" && python3 full_twin.py e4b /tmp/tbq/small --layers 12 --vocabulary 4096 > /dev/null) # all layer kinds, small enough for the CPU
(cd "$kit" && for m in 31b 26b e4b; do python3 full_twin.py $m /tmp/tbq/twins --script script.json; done) > twins.log 2>&1 &
twins=$!

# 1. op tests; the reference is the CPU and slow, so by head size side by side
jobs=()
for sel in 'FLASH_ATTN_EXT hsk=128,.*tbq' 'FLASH_ATTN_EXT hsk=256,.*tbq' 'FLASH_ATTN_EXT hsk=512,.*type_K=tbq3_0' \
    'FLASH_ATTN_EXT hsk=512,.*type_K=(tbq4_0|f16|q8_0),type_V=tbq' 'FLASH_ATTN_ROTATE tbq' 'ROTATE_SET_ROWS tbq' 'SET_ROWS tbq' 'CPY tbq' 'GET_ROWS tbq'; do
    log=$out/ops-${#jobs[@]}.txt
    timeout 300 $b/test-backend-ops test -b CUDA0 -o "${sel%% *}" -p "${sel#* }" > "$log" 2>&1 &
    jobs+=($!)
done
wait "${jobs[@]}"
for log in "$out"/ops-*.txt; do
    echo "$(basename "$log"): $(grep -c ': .*OK' "$log") passed, $(grep -c FAIL "$log") failed, $(grep -c 'not supported' "$log") unsupported"
done
at 'op tests'

# 2. KL divergence from F16 KV on the CPU: the CPU's own, and CUDA's by conversion (512 tokens a batch) and by the fused kernel (4, 1)
p="$b/llama-perplexity -m /tmp/tbq/small/e4b.gguf -f $kit/text.txt -c 512 --chunks 2 -fa on --no-warmup -t $(nproc)"
$p -dev none --kl-divergence-base base.bin > "$out/kld-base.txt" 2>&1
kld() { timeout 90 $p --kl-divergence-base base.bin --kl-divergence "${@:2}" > "$out/kld-$1.txt" 2>&1; echo "$1: $(grep -E 'Mean +KLD|Same top' "$out/kld-$1.txt" | tr -s ' \n' ' ')"; }
kld gpu-f16 -ngl 99
for k in tbq3_0 tbq4_0 f16 q8_0; do
    for v in tbq3_0 tbq4_0 f16 q8_0; do
        case $k$v in *tbq*) ;; *) continue ;; esac
        kld cpu-$k-$v -dev none -ctk $k -ctv $v
        kld gpu-$k-$v -ngl 99 -ctk $k -ctv $v
        kld gpu-$k-$v-4 -ngl 99 -ctk $k -ctv $v -b 4 -ub 4
    done
done
kld gpu-tbq3_0-tbq3_0-1 -ngl 99 -ctk tbq3_0 -ctv tbq3_0 -b 1 -ub 1
at KLD

# 3. compute-sanitizer on the smallest sizes
for tool in memcheck racecheck; do
    timeout 60 compute-sanitizer --tool $tool $b/test-backend-ops test -b CUDA0 -o FLASH_ATTN_EXT \
        -p 'hsk=(128|256|512),.*nh=2,nr23=.4,1.,kv=113,nb=(1|3),.*type_K=tbq3_0,type_V=tbq(3|4)_0' > "$out/$tool.txt" 2>&1
    echo "$tool: $(grep SUMMARY "$out/$tool.txt")"
done
timeout 60 compute-sanitizer $b/test-backend-ops test -b CUDA0 -o ROTATE_SET_ROWS -p tbq > "$out/memcheck-rotate.txt" 2>&1
grep SUMMARY "$out/memcheck-rotate.txt"
at sanitizer

# 4. attention alone
for t in f16 q8_0 tbq3_0 tbq4_0; do
    timeout 40 $b/test-backend-ops perf -b CUDA0 -o FLASH_ATTN_EXT -p "hsk=512,.*nh=4,nr23=..,..,kv=(1024|32768|131072),.*type_K=$t,type_V=$t,.*kv_view=0" 2>&1 |
        grep us/run | sed 's/.*kv=/kv=/; s/mask=.*type_K/type_K/; s/,permute.*runs - */ /; s/ us\/run.*//'
done | tee "$out/perf.txt"
at perf

# 5. whole decode at true size
wait $twins
for m in 31b 26b e4b; do
    timeout 120 $b/depth_bench /tmp/tbq/twins/$m.gguf f16,q8_0,q4_0,tbq3_0,tbq3_0:tbq4_0 0,32768,131072 24 5 | sed "s/^{/{\"model\":\"$m\",/" | tee -a "$out/depth.jsonl"
    at $m
done

# 6. other caches with and without the CUDA patches
if [ -e "$kit/unpatched-libggml-cuda.so.0" ]; then
    cp -r $b /tmp/tbq/unpatched && cp "$kit/unpatched-libggml-cuda.so.0" /tmp/tbq/unpatched/libggml-cuda.so.0
    for round in 1 2 3; do
        for side in $b /tmp/tbq/unpatched; do
            $side/depth_bench /tmp/tbq/twins/e4b.gguf f16,q8_0 0,32768 32 3 | sed "s|^{|{\"side\":\"$side\",\"round\":$round,|" | tee -a "$out/ratio.jsonl"
        done
    done
    at ratio
fi
