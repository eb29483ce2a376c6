#!/bin/bash
# check.sh KIT [part...]: after build.sh, everything that the README's tables say. Parts, about 15 minutes on an H100 in all; a machine
# that is lent for ten minutes at a time does the first four in one call and the others in the next:
#   perf  depth  ratio  profile      (nothing else may run beside these)
#   ops   kld    sanitizer  server
kit=$(cd "$1" && pwd) b=/tmp/tbq/b/bin start=$(date +%s)
shift
parts=" ${*:-perf depth ratio profile ops kld sanitizer server} "
want() { [[ $parts == *" $1 "* ]]; }
at() { echo "[$(($(date +%s) - start)) s] $*"; }
out=${OUT:-/tmp/tbq/out}
mkdir -p "$out" && cd /tmp/tbq || exit
nvidia-smi --query-gpu=name,driver_version,clocks.max.sm --format=csv,noheader
# All layer kinds, small enough for the CPU. Random weights make random attention, whose few peaks turn every rounding into another
# text: a tenth of Q makes it as flat as a real model's. /tmp/tbq/real.gguf, where it is there, is a real model for the same checks.
[ -e small/e4b.gguf ] || (cd "$kit" && python3 full_twin.py e4b /tmp/tbq/small --layers 12 --vocabulary 1024 > /dev/null && python3 - << 'E'
import gguf
for tensor in gguf.GGUFReader("/tmp/tbq/small/e4b.gguf", "r+").tensors:
    if tensor.name.endswith("attn_q_norm.weight"):
        tensor.data[:] = 0.1
E
)

if want perf; then # attention alone
    for t in f16 q8_0 q4_0 tbq3_0 tbq4_0 'tbq3_0,type_V=tbq4_0'; do
        [[ $t == *,* ]] || t=$t,type_V=$t
        timeout 45 $b/test-backend-ops perf -b CUDA0 -o FLASH_ATTN_EXT -p "hsk=512,.*nh=4,nr23=.8,1.,kv=(1024|32768|131072),nb=(1|4),.*type_K=$t,.*permute=.0,2,1,3" 2>&1 |
            grep us/run | sed 's/.*kv=/kv=/; s/mask=.*type_K/type_K/; s/,permute.*runs - */ /; s/ us\/run.*//'
    done | tee "$out/perf.txt"
    at perf
fi

if want depth; then # whole decode at true size
    for m in 31b 26b e4b; do
        timeout 110 $b/depth_bench /tmp/tbq/twins/$m.gguf f16,q8_0,q4_0,tbq3_0,tbq3_0:tbq4_0 0,32768,131072 24 5 2>&1 | sed "s/^{/{\"model\":\"$m\",/" | tee -a "$out/depth.jsonl"
        at $m
    done
fi

if want ratio && [ -e unpatched-libggml-cuda.so.0 ]; then # other caches with and without the CUDA patches
    [ -e unpatched ] || { cp -r $b unpatched && rm unpatched/libggml-cuda.so* && cp unpatched-libggml-cuda.so.0 unpatched/libggml-cuda.so.0 && ln -s libggml-cuda.so.0 unpatched/libggml-cuda.so; }
    for round in 1 2 3; do
        for side in b/bin unpatched; do
            ./$side/depth_bench /tmp/tbq/twins/e4b.gguf f16,q8_0 0,32768 32 3 2>&1 | sed "s|^{|{\"side\":\"$side\",\"round\":$round,|" | tee -a "$out/ratio.jsonl"
        done
    done
    at ratio
fi

if want profile; then # where a step's time goes
    for m in e4b 31b; do
        timeout 60 env LD_PRELOAD=$b/libstep_profile.so $b/depth_bench /tmp/tbq/twins/$m.gguf f16,tbq3_0 0,131072 16 1 2>&1 | sed "s/^{/{\"model\":\"$m\",/" >> "$out/profile.jsonl"
        at "profile $m"
    done
    grep -h profile "$out/profile.jsonl" | cut -c1-700
fi

if want ops; then # the reference is the CPU and slow, so by head size side by side
    jobs=()
    for sel in 'FLASH_ATTN_EXT hsk=128,.*tbq' 'FLASH_ATTN_EXT hsk=256,.*tbq' 'FLASH_ATTN_EXT hsk=512,.*type_K=tbq3_0' \
        'FLASH_ATTN_EXT hsk=512,.*type_K=(tbq4_0|f16|q8_0),type_V=tbq' 'FLASH_ATTN_EXT hsk=512,.*type_K=tbq4_0,type_V=(f16|q8_0|q4_0)' \
        'FLASH_ATTN_ROTATE tbq' 'ROTATE_SET_ROWS tbq' 'SET_ROWS tbq' 'CPY tbq' 'GET_ROWS tbq'; do
        log=$out/ops-${#jobs[@]}.log
        timeout 300 $b/test-backend-ops test -b CUDA0 -o "${sel%% *}" -p "${sel#* }" > "$log" 2>&1 &
        jobs+=($!)
    done
    wait "${jobs[@]}"
    for log in "$out"/ops-*.log; do
        echo "$(basename "$log"): $(grep -c ': .*OK' "$log") passed, $(grep -c FAIL "$log") failed, $(grep -c 'not supported' "$log") unsupported, $(tail -1 "$log" | cut -c1-60)"
    done
    at 'op tests'
fi

if want kld; then # from F16 KV on the CPU: the CPU's own, and CUDA's by conversion (512 tokens a batch) and by the fused kernel (4, 1)
    for model in small/e4b.gguf real.gguf; do
        [ -e $model ] || continue
        name=${model%.gguf} && name=${name%/*}
        p="$b/llama-perplexity -m $model -f $kit/text.txt -c 512 --chunks 2 -fa on --no-warmup"
        $p -dev none -t "$(nproc)" --kl-divergence-base base.bin > "$out/kld-$name-base.log" 2>&1
        kld() {
            timeout 90 $p --kl-divergence-base base.bin --kl-divergence "${@:2}" > "$out/kld-$name-$1.log" 2>&1
            echo "$name $1 $(grep -E 'Mean +KLD' "$out/kld-$name-$1.log" | tr -s ' ')"
        }
        pairs() {
            for k in tbq3_0 tbq4_0 f16 q8_0; do
                for v in tbq3_0 tbq4_0 f16 q8_0; do
                    case $k$v in *tbq* | q8_0q8_0) "$@" $k $v ;; esac
                done
            done
        }
        on_cpu() { kld "$1-$2-cpu" -dev none -t 12 -ctk "$1" -ctv "$2"; }
        on_gpu() {
            kld "$1-$2-gpu" -ngl 99 -t 4 -ctk "$1" -ctv "$2"
            kld "$1-$2-gpu-4" -ngl 99 -t 4 -ctk "$1" -ctv "$2" -b 4 -ub 4
        }
        pairs on_cpu > kld-cpu.txt &
        cpu=$!
        kld f16-f16-gpu -ngl 99 -t 4
        pairs on_gpu
        kld tbq3_0-tbq3_0-gpu-1 -ngl 99 -t 4 -ctk tbq3_0 -ctv tbq3_0 -b 1 -ub 1
        wait $cpu
        cat kld-cpu.txt
        at "KLD $name"
    done | tee "$out/kld.txt"
fi

if want sanitizer; then # on the smallest sizes
    for tool in memcheck racecheck; do
        timeout 60 compute-sanitizer --tool $tool $b/test-backend-ops test -b CUDA0 -o FLASH_ATTN_EXT \
            -p 'hsk=(128|256|512),.*nh=2,nr23=.4,1.,kv=113,nb=(1|3),.*type_K=tbq3_0,type_V=tbq(3|4)_0' > "$out/$tool.log" 2>&1
        echo "$tool: $(grep SUMMARY "$out/$tool.log")"
        timeout 60 compute-sanitizer --tool $tool $b/test-backend-ops test -b CUDA0 -o FLASH_ATTN_EXT \
            -p 'hsk=512,.*nr23=.8,1.,kv=4096,nb=(1|4),.*type_K=tbq3_0,type_V=tbq3_0' > "$out/$tool-4096.log" 2>&1 # more than 32 splits
        echo "$tool, 4096 cells: $(grep SUMMARY "$out/$tool-4096.log")"
        timeout 40 compute-sanitizer --tool $tool $b/test-backend-ops test -b CUDA0 -o ROTATE_SET_ROWS -p tbq > "$out/$tool-rotate.log" 2>&1
        echo "$tool, rotate and store: $(grep SUMMARY "$out/$tool-rotate.log")"
    done
    at sanitizer
fi

if want server; then
    timeout 240 python3 "$kit/server_check.py" $b small/e4b.gguf /tmp/tbq | tee "$out/server.jsonl"
    [ -e real.gguf ] && timeout 200 python3 "$kit/server_check.py" $b real.gguf /tmp/tbq "$kit/text.txt" | tee "$out/server-real.jsonl"
    at server
fi

# few files come back from such a machine, and only from the folder itself
cd "$out" && tar cJf logs.tar.xz ./*.log 2> /dev/null && rm -f ./*.log
